//! Keys, certificates, CAs and lists that cannot be used are refused before anything is bound, and the error says what to do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use capstan_tests::tls::{self, Authority, Leaf};
use capstan_tests::{Refused, Setup};
use rcgen::date_time_ymd;

use super::ca;
use crate::CAPSTAN;

/// A key that is encrypted, in both forms that there are. The bytes are never looked at.
const ENCRYPTED: [&str; 2] = [
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8GCSqGSIb3DQEFDTBS\n-----END ENCRYPTED PRIVATE KEY-----\n",
    "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n",
];

/// Refused, with these words, and before anything was bound.
#[track_caller]
fn assert_told(refused: &Refused, code: i32, words: &[&str]) {
    assert_eq!(refused.status.code(), Some(code), "{refused:?}");
    assert!(refused.stdout.is_empty(), "it was found only after something was bound: {refused:?}");
    for word in words {
        assert!(refused.stderr.contains(word), "{word:?} is not in {refused:?}");
    }
}

/// With good files that `spoil` has changed.
fn spoilt(ca: &Authority, spoil: impl FnOnce(&Path)) -> Refused {
    let setup = Setup::new(CAPSTAN).tls(&ca.server()).tls_ca(ca);
    let list = tls::write(setup.folder(), "crl.pem", &ca.revoked(&[]));
    spoil(setup.folder());
    setup.arg("--tls-crl").arg(list).refused()
}

fn of(leaf: &Leaf) -> Refused {
    Setup::new(CAPSTAN).tls(leaf).refused()
}

#[test]
fn files_that_are_missing_empty_or_something_else_are_named() {
    let ca = ca();
    for name in ["own.pem", "own.key", "ca.pem", "crl.pem"] {
        let missing = spoilt(&ca, |folder| std::fs::remove_file(folder.join(name)).unwrap());
        assert_told(&missing, 1, &["cannot read", name, "No such file"]);
        let empty = spoilt(&ca, |folder| std::fs::write(folder.join(name), "").unwrap());
        assert_told(&empty, 1, &["there is no", name]);
        let other = spoilt(&ca, |folder| std::fs::write(folder.join(name), "hello\n").unwrap());
        assert_told(&other, 1, &["there is no", name]);
        let cut = spoilt(&ca, |folder| {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, &text[..text.len() / 2]).unwrap();
        });
        assert_told(&cut, 1, &[name]);
    }
    // Right in form, and nonsense in it.
    let nonsense = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    for (name, kind) in
        [("own.pem", "CERTIFICATE"), ("own.key", "PRIVATE KEY"), ("ca.pem", "CERTIFICATE"), ("crl.pem", "X509 CRL")]
    {
        let refused = spoilt(&ca, |folder| drop(tls::write(folder, name, &nonsense(kind))));
        assert_told(&refused, 1, &[name]);
    }
}

#[test]
fn a_key_that_is_encrypted_or_everyones_or_anothers_is_refused() {
    let ca = ca();
    for text in ENCRYPTED {
        let refused = spoilt(&ca, |folder| drop(tls::write(folder, "own.key", text)));
        assert_told(&refused, 1, &["own.key", "encrypted", "openssl"]);
    }
    for mode in [0o644, 0o604, 0o602] {
        let refused = spoilt(&ca, |folder| {
            std::fs::set_permissions(folder.join("own.key"), std::fs::Permissions::from_mode(mode)).unwrap();
        });
        assert_told(&refused, 1, &["own.key", &format!("{mode:04o}"), "chmod"]);
    }
    let refused = spoilt(&ca, |folder| drop(tls::write(folder, "own.key", &ca.server().key)));
    assert_told(&refused, 1, &["own.key", "own.pem", "is not that of"]);
}

#[tokio::test]
async fn a_key_that_a_group_may_read_is_used() {
    let ca = ca();
    let setup = Setup::new(CAPSTAN).tls(&ca.server());
    std::fs::set_permissions(setup.folder().join("own.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let client = setup.start().tls_client(tls::config(&ca, None));
    drop(client);
}

#[test]
fn a_certificate_that_no_client_would_accept_is_refused() {
    let ca = ca();
    let expired = ca.issue(tls::SERVER, |params| params.not_after = date_time_ymd(2020, 1, 1));
    assert_told(&of(&expired), 1, &["own.pem", "expired at 2020-01-01"]);
    let future = ca.issue(tls::SERVER, |params| params.not_before = date_time_ymd(4000, 1, 1));
    assert_told(&of(&future), 1, &["own.pem", "not valid before 4000-01-01", "clock"]);
    let client = ca.issue(tls::CLIENT, |_| {});
    assert_told(&of(&client), 1, &["own.pem", "may not be used by a server"]);
}

#[test]
fn a_list_of_what_was_revoked_that_is_out_of_date_is_refused() {
    let ca = ca();
    let refused = spoilt(&ca, |folder| drop(tls::write(folder, "crl.pem", &ca.revoked_until(&[], 2021))));
    assert_told(&refused, 1, &["crl.pem", "was good until 2021-01-01"]);
}

#[test]
fn files_that_need_others_are_refused_with_their_names() {
    let setup = || Setup::new(CAPSTAN);
    assert_told(&setup().arg("--tls-cert").arg("x").refused(), 125, &["--tls-key"]);
    assert_told(&setup().arg("--tls-key").arg("x").refused(), 125, &["--tls-cert"]);
    assert_told(&setup().arg("--tls-ca").arg("x").refused(), 125, &["--tls-cert"]);
    let pair = setup().arg("--tls-cert").arg("x").arg("--tls-key").arg("x");
    assert_told(&pair.arg("--tls-crl").arg("x").refused(), 125, &["--tls-ca"]);
    assert_told(&setup().config("[tls]\nkey = \"x\"").refused(), 125, &["--tls-cert"]);
    assert_told(&setup().config("[tls]\nverify = true").refused(), 125, &["verify"]);
}

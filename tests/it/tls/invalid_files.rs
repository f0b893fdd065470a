//! Unusable keys, certificates, CAs and revocation lists are rejected before anything is bound, with a helpful error.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use capstan_tests::tls::{self, Authority, Leaf};
use capstan_tests::{FailedStart, Setup};
use rcgen::date_time_ymd;

use super::ca;
use crate::CAPSTAN;

/// An encrypted key in both formats. The content is never parsed.
const ENCRYPTED: [&str; 2] = [
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8GCSqGSIb3DQEFDTBS\n-----END ENCRYPTED PRIVATE KEY-----\n",
    "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n",
];

/// Checks that the daemon failed to start with these words in its log, before anything was bound.
#[track_caller]
fn assert_start_fails(refused: &FailedStart, code: i32, words: &[&str]) {
    assert_eq!(refused.status.code(), Some(code), "{refused:?}");
    assert!(refused.stdout.is_empty(), "it was found only after something was bound: {refused:?}");
    for word in words {
        assert!(refused.stderr.contains(word), "{word:?} is not in {refused:?}");
    }
}

/// Starts a daemon with valid files that `modify` has modified, and expects a failure.
fn start_with_modified_files(ca: &Authority, modify: impl FnOnce(&Path)) -> FailedStart {
    let setup = Setup::new(CAPSTAN).tls(&ca.server()).tls_ca(ca);
    let list = tls::write(setup.folder(), "crl.pem", &ca.revoked(&[]));
    modify(setup.folder());
    setup.arg("--tls-crl").arg(list).start_must_fail()
}

fn start_with_certificate(leaf: &Leaf) -> FailedStart {
    Setup::new(CAPSTAN).tls(leaf).start_must_fail()
}

#[test]
fn missing_empty_or_invalid_files_are_named() {
    let ca = ca();
    for name in ["own.pem", "own.key", "ca.pem", "crl.pem"] {
        let missing = start_with_modified_files(&ca, |folder| std::fs::remove_file(folder.join(name)).unwrap());
        assert_start_fails(&missing, 1, &["cannot read", name, "No such file"]);
        let empty = start_with_modified_files(&ca, |folder| std::fs::write(folder.join(name), "").unwrap());
        assert_start_fails(&empty, 1, &["there is no", name]);
        let other = start_with_modified_files(&ca, |folder| std::fs::write(folder.join(name), "hello\n").unwrap());
        assert_start_fails(&other, 1, &["there is no", name]);
        let cut = start_with_modified_files(&ca, |folder| {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, &text[..text.len() / 2]).unwrap();
        });
        assert_start_fails(&cut, 1, &[name]);
    }
    // The right format with nonsense content.
    let nonsense = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    for (name, kind) in
        [("own.pem", "CERTIFICATE"), ("own.key", "PRIVATE KEY"), ("ca.pem", "CERTIFICATE"), ("crl.pem", "X509 CRL")]
    {
        let refused = start_with_modified_files(&ca, |folder| drop(tls::write(folder, name, &nonsense(kind))));
        assert_start_fails(&refused, 1, &[name]);
    }
}

#[test]
fn encrypted_readable_or_mismatched_key_is_rejected() {
    let ca = ca();
    for text in ENCRYPTED {
        let refused = start_with_modified_files(&ca, |folder| drop(tls::write(folder, "own.key", text)));
        assert_start_fails(&refused, 1, &["own.key", "encrypted", "openssl"]);
    }
    for mode in [0o644, 0o604, 0o602] {
        let refused = start_with_modified_files(&ca, |folder| {
            std::fs::set_permissions(folder.join("own.key"), std::fs::Permissions::from_mode(mode)).unwrap();
        });
        assert_start_fails(&refused, 1, &["own.key", &format!("{mode:04o}"), "chmod"]);
    }
    let refused = start_with_modified_files(&ca, |folder| drop(tls::write(folder, "own.key", &ca.server().key)));
    assert_start_fails(&refused, 1, &["own.key", "own.pem", "is not that of"]);
}

#[tokio::test]
async fn group_readable_key_is_accepted() {
    let ca = ca();
    let setup = Setup::new(CAPSTAN).tls(&ca.server());
    std::fs::set_permissions(setup.folder().join("own.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let client = setup.start().tls_client(tls::config(&ca, None));
    drop(client);
}

#[test]
fn expired_or_unsuitable_certificate_is_rejected() {
    let ca = ca();
    let expired = ca.issue(tls::SERVER, |params| params.not_after = date_time_ymd(2020, 1, 1));
    assert_start_fails(&start_with_certificate(&expired), 1, &["own.pem", "expired at 2020-01-01"]);
    let future = ca.issue(tls::SERVER, |params| params.not_before = date_time_ymd(4000, 1, 1));
    assert_start_fails(&start_with_certificate(&future), 1, &["own.pem", "not valid before 4000-01-01", "clock"]);
    let client = ca.issue(tls::CLIENT, |_| {});
    assert_start_fails(&start_with_certificate(&client), 1, &["own.pem", "may not be used by a server"]);
}

#[test]
fn outdated_revocation_list_is_rejected() {
    let ca = ca();
    let refused =
        start_with_modified_files(&ca, |folder| drop(tls::write(folder, "crl.pem", &ca.revoked_until(&[], 2021))));
    assert_start_fails(&refused, 1, &["crl.pem", "was good until 2021-01-01"]);
}

#[test]
fn incomplete_sets_of_tls_files_are_rejected() {
    let setup = || Setup::new(CAPSTAN);
    assert_start_fails(&setup().arg("--tls-cert").arg("x").start_must_fail(), 125, &["--tls-key"]);
    assert_start_fails(&setup().arg("--tls-key").arg("x").start_must_fail(), 125, &["--tls-cert"]);
    assert_start_fails(&setup().arg("--tls-ca").arg("x").start_must_fail(), 125, &["--tls-cert"]);
    let pair = setup().arg("--tls-cert").arg("x").arg("--tls-key").arg("x");
    assert_start_fails(&pair.arg("--tls-crl").arg("x").start_must_fail(), 125, &["--tls-ca"]);
    assert_start_fails(&setup().config("[tls]\nkey = \"x\"").start_must_fail(), 125, &["--tls-cert"]);
    assert_start_fails(&setup().config("[tls]\nverify = true").start_must_fail(), 125, &["verify"]);
}

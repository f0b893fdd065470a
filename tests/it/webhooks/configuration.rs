//! What is wrong with a configuration of webhooks, and that the daemon says so at its start.

use std::fs;

use super::{VARIABLE, setup};

const URL: &str = "url = \"https://example.com/\"";
const SECRET: &str = "secret = { env = \"HOOK_KEY\" }";
const HANDLERS: &str = "handlers = [\"*\"]";

#[test]
fn invalid_section_is_an_error_that_says_what_is_wrong() {
    for (lines, named) in [
        ([SECRET, HANDLERS, ""], "missing field `url`"),
        ([URL, HANDLERS, ""], "missing field `secret`"),
        ([URL, SECRET, ""], "missing field `handlers`"),
        ([URL, SECRET, "handlers = []"], "webhooks.audit: handlers is empty"),
        ([URL, SECRET, "handlers = [\"a b\"]"], "webhooks.audit: handlers: \"a b\" is not a handler name"),
        ([URL, SECRET, "handlers = [\"webhook\"]"], "the ends of deliveries are not delivered"),
        (["url = \"ftp://h/\"", SECRET, HANDLERS], "webhooks.audit: url: it must start with https:// or http://"),
        (["url = \"https://\"", SECRET, HANDLERS], "webhooks.audit: url: it has no host"),
        (["url = \"https://h:70000\"", SECRET, HANDLERS], "webhooks.audit: url: its port"),
        (["url = \"https://a b/\"", SECRET, HANDLERS], "webhooks.audit: url: it is not a URL"),
        (["url = \"https://u:p@h/\"", SECRET, HANDLERS], "must not contain a user or password"),
        ([URL, "secret = {}", HANDLERS], "webhooks.audit: secret needs exactly one source"),
        ([URL, "secret = { env = \"A\", file = \"/b\" }", HANDLERS], "webhooks.audit: secret needs exactly one source"),
        ([URL, "secret = \"text\"", HANDLERS], "secret"),
        ([URL, "secret = { value = \"text\" }\nhandlers = [\"*\"]", ""], "unknown field `value`"),
        ([URL, SECRET, "handlers = [\"*\"]\non = \"sometimes\""], "unknown variant `sometimes`"),
        ([URL, SECRET, "handlers = [\"*\"]\non = { outcome = [\"exploded\"] }"], "names the outcome \"exploded\""),
        ([URL, SECRET, "handlers = [\"*\"]\non = { outcome = [] }"], "on.outcome is empty"),
        ([URL, SECRET, "handlers = [\"*\"]\ntimeout = \"0s\""], "webhooks.audit: timeout is 0ns; set it to"),
        ([URL, SECRET, "handlers = [\"*\"]\ntimeout = \"1h\""], "webhooks.audit: timeout is 3600s"),
        ([URL, SECRET, "handlers = [\"*\"]\nretry = { attempts = 0 }"], "webhooks.audit: retry.attempts is 0"),
        ([URL, SECRET, "handlers = [\"*\"]\nheaders = {}"], "unknown field `headers`"),
        (["url = \"http://h\"", SECRET, "handlers = [\"*\"]\ntls_ca = \"/ca\""], "tls_ca is set"),
        ([URL, SECRET, "handlers = [\"*\"]\n[webhooks.audit]"], "duplicate key"),
    ] {
        let toml = format!("[webhooks.audit]\n{}", lines.join("\n"));
        let failed = setup(&toml).start_must_fail();
        assert_eq!(failed.status.code(), Some(125), "{toml}\n{}", failed.stderr);
        assert!(failed.stderr.contains(named), "{toml}\n{}", failed.stderr);
    }
    let failed = setup(&format!("[webhooks.\"a b\"]\n{URL}\n{SECRET}\n{HANDLERS}")).start_must_fail();
    assert!(failed.stderr.contains("webhooks.a b: the name of the section"), "{}", failed.stderr);
}

#[test]
fn secret_or_certificate_that_cannot_be_used_is_an_error() {
    for (secret, more, named) in [
        ("env = \"UNSET\"", "", "webhook audit: cannot read its secret: the variable is not set"),
        ("file = \"/nonexistent/key\"", "", "webhook audit: cannot read its secret: No such file"),
        ("env = \"SHORT\"", "", "webhook audit: its secret: the key has 8 bytes; use 24 or more"),
        ("env = \"BROKEN\"", "", "webhook audit: its secret: what follows whsec_ is not base64"),
        ("env = \"HOOK_KEY\"", "tls_ca = \"/nonexistent/ca.pem\"", "webhook audit: tls_ca: "),
    ] {
        let toml = format!("[webhooks.audit]\n{URL}\nsecret = {{ {secret} }}\n{HANDLERS}\n{more}");
        let failed = setup(&toml).env("SHORT", "too-weak").env("BROKEN", "whsec_!").start_must_fail();
        assert_eq!(failed.status.code(), Some(1), "{toml}\n{}", failed.stderr);
        assert!(failed.stderr.contains(named), "{toml}\n{}", failed.stderr);
        assert!(failed.stderr.contains("check [webhooks.audit]"), "{}", failed.stderr);
    }
    let failed = setup(&format!("[webhooks.audit]\n{URL}\n{SECRET}\n{HANDLERS}")).env("SSL_CERT_FILE", "/dev/null");
    let failed = failed.start_must_fail();
    assert!(failed.stderr.contains("no certificate that this machine trusts was found"), "{}", failed.stderr);
}

#[test]
fn secret_is_read_from_a_file_and_a_key_in_base64() {
    let key = setup("");
    let file = key.folder().join("hook.key");
    fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let toml =
        format!("[webhooks.a]\nurl = \"http://[::1]:9/\"\nsecret = {{ file = \"{}\" }}\n{HANDLERS}", file.display());
    let daemon = setup(&toml).start();
    assert!(!daemon.log().contains(VARIABLE) && !daemon.log().contains("whsec_"));
}

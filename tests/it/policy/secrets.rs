//! Secrets: available to the handlers that the operator names, and visible to nobody else.

use std::fs;

use capstan_tests::{Client, Daemon, Setup, guests};
use serde_json::{Value, json};

use crate::CAPSTAN;
use crate::jobs::api::{output_of, submit, wait_for_end};

const PASSWORD: &str = "correct horse battery staple";

/// Starts a daemon with secrets from all three sources, and with the probe as `billing` and as `other`.
async fn daemon_with_secrets() -> (Daemon, Client) {
    let setup = Setup::new(CAPSTAN);
    fs::create_dir(setup.folder().join("credentials")).unwrap();
    fs::write(setup.folder().join("password"), format!("{PASSWORD}\n")).unwrap();
    fs::write(setup.folder().join("credentials/token"), "token-from-the-manager").unwrap();
    let toml = format!(
        "[secrets.db-password]\nfile = \"{}/password\"\nhandlers = [\"billing\"]\n\
         [secrets.token]\ncredential = \"token\"\nhandlers = [\"*\"]\n\
         [secrets.key]\nenv = \"THE_KEY\"\nhandlers = [\"billing\", \"other\"]\n",
        setup.folder().display()
    );
    let credentials = setup.folder().join("credentials");
    let daemon =
        setup.config(&toml).env("CREDENTIALS_DIRECTORY", credentials).env("THE_KEY", "key-of-the-daemon").start();
    let client = daemon.client();
    for handler in ["billing", "other"] {
        client.push(handler, guests::compiled("probe.p1")).await;
    }
    (daemon, client)
}

#[tokio::test]
async fn secrets_are_variables_that_override_those_of_the_caller() {
    let (_daemon, client) = daemon_with_secrets().await;
    let policy = json!({"secrets": [{"name": "db-password"}, {"name": "token", "env": "T"}, {"name": "key"}]});
    let call = client.run("billing").arg("env").query("policy", &policy.to_string());
    let mut lines: Vec<String> =
        call.env("DB_PASSWORD", "from the caller").send().await.text().lines().map(str::to_owned).collect();
    lines.sort();
    let password = format!("DB_PASSWORD={PASSWORD}");
    assert_eq!(lines, [password.as_str(), "KEY=key-of-the-daemon", "T=token-from-the-manager"]);
}

#[tokio::test]
async fn secret_not_allowed_for_a_handler_is_denied_with_the_rule() {
    let (_daemon, client) = daemon_with_secrets().await;
    for (handler, secret, rule) in [
        ("other", json!({"name": "db-password"}), "does not offer it to handler other"),
        ("billing", json!({"name": "nothing"}), "no secret of this name"),
        ("billing", json!({"name": "token", "env": "A=B"}), "is not a valid variable name"),
    ] {
        let policy = json!({"secrets": [secret]}).to_string();
        let denied = client.run(handler).arg("env").query("policy", &policy).send().await;
        denied.error(403, "policy_denied");
        assert!(denied.text().contains(rule), "{}", denied.text());
    }
    assert_eq!(client.run("billing").arg("env").send().await.text(), "", "no secret was requested");
}

#[tokio::test]
async fn secrets_are_masked_in_logs_errors_and_events() {
    let (daemon, client) = daemon_with_secrets().await;
    let policy = json!({"secrets": [{"name": "db-password"}, {"name": "token"}]});
    let id = submit(&client, &json!({"handler": "billing", "args": ["env"], "policy": policy})).await;
    let job = wait_for_end(&client, &id).await;
    assert_eq!(job["policy"]["secrets"][0], json!({"name": "db-password", "env": "DB_PASSWORD"}));
    assert_eq!(output_of(&client, &id).await, "DB_PASSWORD=***\nTOKEN=***\n");
    // A program that fails and prints its password in the error message.
    let args = json!(["blurt", "DB_PASSWORD"]);
    let id = submit(&client, &json!({"handler": "billing", "args": args, "policy": policy})).await;
    let job: Value = wait_for_end(&client, &id).await;
    assert_eq!(job["error"], "cannot log in with ***");
    assert_eq!(output_of(&client, &id).await, "cannot log in with ***\n");
    let everything = [
        job.to_string(),
        client.get("/v1/jobs").send().await.text().to_owned(),
        client.get("/v1/events?since=0&until=0s").send().await.text().to_owned(),
        daemon.log(),
    ];
    for reported in everything {
        assert!(!reported.contains("horse") && !reported.contains("from-the-manager"), "{reported}");
    }
}

#[test]
fn missing_or_invalid_secret_prevents_the_start() {
    for (table, content, why) in [
        ("file = \"{}/secret\"", None, "cannot read secret key"),
        ("file = \"{}/secret\"", Some("abc"), "secret key: it has 3 bytes"),
        ("file = \"{}/secret\"", Some("a\0bcdef"), "secret key: it contains NUL"),
        ("file = \"{}\"", None, "cannot read secret key"),
        ("env = \"NOT_SET\"", None, "the variable is not set"),
        ("credential = \"key\"", None, "no service manager"),
        ("credential = \"../key\"", None, "needs exactly one source"),
        ("env = \"A\"\nfile = \"/b\"", None, "needs exactly one source"),
        ("", None, "needs exactly one source"),
    ] {
        let setup = Setup::new(CAPSTAN);
        let folder = setup.folder().display().to_string();
        if let Some(content) = content {
            fs::write(setup.folder().join("secret"), content).unwrap();
        }
        let toml = format!("[secrets.key]\nhandlers = [\"*\"]\n{}\n", table.replace("{}", &folder));
        let refused = setup.config(&toml).start_must_fail();
        assert!(refused.stderr.contains(why), "{table}: {refused:?}");
    }
    for (toml, why) in [("[secrets.key]\nenv = \"A\"\n", "handlers"), ("[policy]\nsecrets = []\n", "[secrets.NAME]")] {
        let refused = Setup::new(CAPSTAN).config(toml).start_must_fail();
        assert!(refused.stderr.contains(why), "{toml}: {refused:?}");
    }
}

//! Network access: only what a rule allows, within limits, with accounting per peer. The guest is `probe.p2`.

mod hostile;
mod names;
mod server;

use capstan_tests::frames::Framed;
use capstan_tests::{Cli, Client, Daemon, Setup, eventually, guests};
use serde_json::{Value, json};

use self::server::{Server, SilentListener};
use crate::{CAPSTAN, oracle};

/// Starts a daemon with the probe whose operator allows `rules`.
async fn daemon_with_rules(rules: &[String], rest: &str) -> (Daemon, Client) {
    let daemon = Setup::new(CAPSTAN).config(&format!("[policy]\nnetwork = {rules:?}\n{rest}")).start();
    let client = daemon.client();
    client.push("probe", guests::compiled("probe.p2")).await;
    (daemon, client)
}

/// Runs the probe. `requested` is the requested policy, a JSON object.
async fn run(client: &Client, requested: &Value, args: &[&str]) -> Framed {
    let call = client.run("probe").query("policy", &requested.to_string());
    args.iter().fold(call, |call, arg| call.arg(arg)).framed().send().await.frames()
}

fn policy_with_rule(rule: impl Into<String>) -> Value {
    json!({"network": [rule.into()]})
}

fn network_usage(framed: &Framed) -> &Value {
    &framed.last["usage"]["network"]
}

#[track_caller]
fn assert_stdout(framed: &Framed, text: &str) {
    assert_eq!(String::from_utf8_lossy(&framed.stdout), text, "{}", framed.last);
}

/// Checks that the guest got an error and that the denial is accounted for.
#[track_caller]
fn assert_denied(framed: &Framed, target: &str, why: &str) {
    assert_stdout(framed, "error: access-denied\n");
    framed.assert_outcome("exited", 1);
    let denied = &network_usage(framed)["denied"][0];
    assert_eq!((&denied["target"], &denied["count"]), (&json!(target), &json!(1)), "{}", framed.last);
    assert!(denied["why"].as_str().unwrap().contains(why), "{denied}");
}

#[tokio::test]
async fn connections_need_a_rule_of_operator_and_caller() {
    let server = Server::tcp("hello").await;
    let address = server.address.to_string();
    let (mut daemon, client) = daemon_with_rules(&[], "").await;
    assert_denied(&run(&client, &json!({}), &["connect", &address]).await, &format!("{address}/tcp"), "no rule");
    assert_denied(&run(&client, &json!({}), &["resolve", "example.com"]).await, "example.com", "no rule");
    assert_denied(&run(&client, &json!({}), &["udp", &address, "x"]).await, &format!("{address}/udp"), "no rule");
    let refused =
        client.run("probe").arg("name").query("policy", &policy_with_rule(address.as_str()).to_string()).send().await;
    refused.error(403, "policy_denied");
    assert!(refused.text().contains("the operator grants no network"), "{}", refused.text());
    oracle::still_answers(&mut daemon).await;

    let (_daemon, client) = daemon_with_rules(&["127.0.0.0/8".to_owned()], "").await;
    // Allowed for callers that request it, and only for them.
    assert_denied(&run(&client, &json!({}), &["connect", &address]).await, &format!("{address}/tcp"), "no rule");
    assert_eq!(server.connections(), 0);
    run(&client, &policy_with_rule(address.as_str()), &["connect", &address]).await.assert_outcome("exited", 0);
}

#[tokio::test]
async fn allowed_connection_works_and_is_accounted_for() {
    let server = Server::tcp("the answer\n").await;
    let (address, port) = (server.address.to_string(), server.address.port());
    let (_daemon, client) = daemon_with_rules(&[format!("127.0.0.0/8:{port}")], "").await;
    let framed = run(
        &client,
        &policy_with_rule(format!("127.0.0.1:{port}")),
        &["tcp", "127.0.0.1", &port.to_string(), "question"],
    )
    .await;
    assert_stdout(&framed, "the answer\n");
    framed.assert_outcome("exited", 0);
    let peer = json!({"host": "127.0.0.1", "port": port, "protocol": "tcp", "connections": 1, "sent_bytes": 8, "received_bytes": 11});
    assert_eq!(network_usage(&framed), &json!({"peers": [peer], "denied": []}));
    let id = framed.last["job"].as_str().unwrap();
    let reported = client.get(&format!("/v1/jobs/{id}")).send().await.json();
    assert_eq!(
        (&reported["usage"]["network"], &reported["runs"][0]["usage"]["network"]),
        (network_usage(&framed), network_usage(&framed))
    );
    assert_eq!(reported["policy"]["network"], json!([format!("127.0.0.1:{port}")]));
    // Other ports, addresses and protocols are not included.
    let other = Server::tcp("").await;
    for target in [other.address.to_string(), format!("127.0.0.2:{port}")] {
        let framed = run(&client, &policy_with_rule(format!("127.0.0.1:{port}")), &["connect", &target]).await;
        assert_denied(&framed, &format!("{target}/tcp"), "");
    }
    let framed = run(&client, &policy_with_rule(format!("127.0.0.1:{port}")), &["udp", &address, "x"]).await;
    assert_denied(&framed, &format!("{address}/udp"), "no rule");
    assert_eq!((server.connections(), other.connections()), (1, 0));
}

#[tokio::test]
async fn special_addresses_need_a_rule_that_names_them() {
    let server = Server::tcp("").await;
    let port = server.address.port();
    let everything = ["0.0.0.0/0", "[::]/0", "*", "0.0.0.0/0/udp", "[::]/0/udp", "*/udp"].map(str::to_owned);
    let (mut daemon, client) = daemon_with_rules(&everything, "").await;
    let requested = json!({"network": everything});
    for (target, why) in [
        (format!("127.0.0.1:{port}"), "loopback"),
        (format!("127.1.2.3:{port}"), "loopback"),
        (format!("[::1]:{port}"), "loopback"),
        ("169.254.169.254:80".to_owned(), "link-local"),
        ("10.0.0.1:80".to_owned(), "private"),
        ("192.168.0.1:80".to_owned(), "private"),
        ("100.64.0.1:80".to_owned(), "carrier-grade NAT"),
        ("[fd00::1]:80".to_owned(), "private"),
        ("[64:ff9b::7f00:1]:80".to_owned(), "loopback"),
        ("[2002:7f00:1::]:80".to_owned(), "6to4"),
    ] {
        assert_denied(&run(&client, &requested, &["connect", &target]).await, &format!("{target}/tcp"), why);
        assert_denied(&run(&client, &requested, &["udp", &target, "x"]).await, &format!("{target}/udp"), why);
        assert_denied(&run(&client, &requested, &["udp-connected", &target, "x"]).await, &format!("{target}/udp"), why);
    }
    // The library itself rejects these as invalid addresses.
    for target in [
        format!("0.0.0.0:{port}"),
        format!("[::]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::7f00:1]:{port}"),
    ] {
        assert_stdout(&run(&client, &requested, &["connect", &target]).await, "error: invalid-argument\n");
    }
    assert_denied(
        &run(&client, &requested, &["udp", "255.255.255.255:9", "x"]).await,
        "255.255.255.255:9/udp",
        "broadcast",
    );
    assert_denied(&run(&client, &requested, &["resolve", "127.0.0.1"]).await, "127.0.0.1", "no rule");
    // The name of this machine can be resolved, but its address is not allowed.
    let framed = run(&client, &requested, &["tcp", "localhost", &port.to_string(), "x"]).await;
    assert_stdout(&framed, "error: access-denied\n");
    assert!(network_usage(&framed)["denied"][0]["why"].as_str().unwrap().contains("loopback"), "{}", framed.last);
    // A caller cannot allow an address that the operator does not.
    let refused =
        client.run("probe").query("policy", &policy_with_rule(format!("127.0.0.1:{port}")).to_string()).send().await;
    refused.error(403, "policy_denied");
    assert_eq!(server.connections(), 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn port_of_the_daemon_needs_its_own_rule() {
    let setup = |rules: &str| Setup::new(CAPSTAN).config(&format!("[policy]\nnetwork = [{rules}]")).start();
    let daemon = setup("\"127.0.0.0/8\"");
    let (client, own) = (daemon.client(), daemon.addr().to_string());
    client.push("probe", guests::compiled("probe.p2")).await;
    for rule in ["127.0.0.0/8", "127.0.0.1", &own] {
        let framed = run(&client, &policy_with_rule(rule), &["connect", &own]).await;
        assert_denied(&framed, &format!("{own}/tcp"), "the daemon listens there");
    }
    let port = daemon.addr().port();
    drop(daemon);
    let daemon = Setup::new(CAPSTAN).hosts([format!("tcp://127.0.0.1:{port}")]);
    let daemon = daemon.config(&format!("[policy]\nnetwork = [\"127.0.0.0/8\", \"{own}\"]")).start();
    let client = daemon.client();
    client.push("probe", guests::compiled("probe.p2")).await;
    run(&client, &policy_with_rule("127.0.0.0/8"), &["connect", &own]).await.assert_outcome("exited", 0);
}

#[tokio::test]
async fn datagrams_reach_allowed_peers_and_responses_arrive() {
    let server = Server::udp("!").await;
    let (address, port) = (server.address.to_string(), server.address.port());
    let rule = format!("127.0.0.1:{port}/udp");
    let (_daemon, client) = daemon_with_rules(std::slice::from_ref(&rule), "").await;
    for command in ["udp", "udp-connected"] {
        // The server sends an unrelated datagram from another socket before each response; the guest must not receive it.
        let framed = run(&client, &policy_with_rule(rule.as_str()), &[command, &address, "one", "three"]).await;
        assert_stdout(&framed, "one!\nthree!\n");
        let peer = json!({"host": "127.0.0.1", "port": port, "protocol": "udp", "connections": 1, "sent_bytes": 8, "received_bytes": 10});
        assert_eq!(network_usage(&framed), &json!({"peers": [peer], "denied": []}), "{command}");
        let other = format!("127.0.0.1:{}", port ^ 1);
        assert_denied(
            &run(&client, &policy_with_rule(rule.as_str()), &[command, &other, "x"]).await,
            &format!("{other}/udp"),
            "no rule",
        );
    }
}

#[tokio::test]
async fn guests_cannot_listen() {
    let rules = ["127.0.0.0/8".to_owned(), "0.0.0.0/0".to_owned()];
    let (_daemon, client) = daemon_with_rules(&rules, "").await;
    for address in ["127.0.0.1:0", "0.0.0.0:8080", "127.0.0.1:8080", "0.0.0.0:0"] {
        let framed = run(&client, &json!({"network": rules}), &["listen", address]).await;
        assert_stdout(&framed, "error: access-denied\n");
        assert_eq!(network_usage(&framed)["denied"][0]["why"], "nothing may be bound or listened on");
    }
}

#[tokio::test]
async fn traffic_limit_is_exact() {
    let server = Server::tcp(vec![b'y'; 200_000]).await;
    let (address, port) = (server.address.to_string(), server.address.port());
    let (mut daemon, client) = daemon_with_rules(&[format!("127.0.0.1:{port}")], "traffic = \"100000 B\"\n").await;
    let requested = policy_with_rule(address.as_str());
    let framed = run(&client, &requested, &["send", &address, "100001"]).await;
    framed.assert_outcome("network_cap", 137);
    assert_eq!((&framed.outcome()["what"], &framed.outcome()["limit"]), (&json!("traffic"), &json!(100_000)));
    assert_eq!(network_usage(&framed)["peers"][0]["sent_bytes"], 100_000);
    eventually("the server to receive everything", async || (server.bytes() == 100_000).then_some(())).await;
    // Sending exactly the limit is allowed.
    run(&client, &requested, &["send", &address, "100000"]).await.assert_outcome("exited", 0);
    eventually("the server to receive everything", async || (server.bytes() == 200_000).then_some(())).await;

    let framed = run(&client, &requested, &["receive", &address]).await;
    framed.assert_outcome("network_cap", 137);
    assert!(framed.stdout.starts_with(b"100000\n"), "{framed:?}");
    assert_eq!(network_usage(&framed)["peers"][0]["received_bytes"], 100_000);
    let listed = client.get("/v1/jobs?outcome=network_cap").send().await.json();
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(2));
    let page = client.get("/v1/metrics").send().await;
    assert!(page.text().contains("outcome=\"network_cap\"} 2\n"), "{}", page.text());

    let exact = Server::tcp(vec![b'y'; 5000]).await;
    let (_daemon, client) = daemon_with_rules(&[format!("127.0.0.1:{}", exact.address.port())], "").await;
    let requested = json!({"network": [exact.address.to_string()], "traffic": 5000});
    let framed = run(&client, &requested, &["receive", &exact.address.to_string()]).await;
    assert_stdout(&framed, "5000\n");
    framed.assert_outcome("exited", 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn datagrams_over_the_traffic_limit_are_dropped() {
    let server = Server::udp("").await;
    let address = server.address.to_string();
    let rule = format!("{address}/udp");
    let (_daemon, client) = daemon_with_rules(std::slice::from_ref(&rule), "").await;
    let run = async |traffic: u64, texts: &[&str]| {
        let requested = json!({"network": [rule], "traffic": traffic});
        run(&client, &requested, &[&["udp", address.as_str()], texts].concat()).await
    };
    run(12, &["one", "two"]).await.assert_outcome("exited", 0);
    assert_eq!(server.bytes(), 6);
    // The second datagram is sent, but its response exceeds the limit.
    let framed = run(11, &["one", "two"]).await;
    framed.assert_outcome("network_cap", 137);
    assert_eq!(
        (&network_usage(&framed)["peers"][0]["sent_bytes"], &network_usage(&framed)["peers"][0]["received_bytes"]),
        (&json!(6), &json!(3))
    );
    // The second datagram itself exceeds the limit.
    let framed = run(8, &["one", "two"]).await;
    framed.assert_outcome("network_cap", 137);
    assert_eq!((&network_usage(&framed)["peers"][0]["sent_bytes"], server.bytes()), (&json!(3), 6 + 6 + 3));
}

#[tokio::test]
async fn connections_over_the_limit_are_denied() {
    let server = Server::tcp("").await;
    let address = server.address.to_string();
    let (_daemon, client) = daemon_with_rules(std::slice::from_ref(&address), "connections = 3\n").await;
    let requested = policy_with_rule(address.as_str());
    // A guest that handles the error continues.
    let framed = run(&client, &requested, &["dial", &address, "10"]).await;
    assert_stdout(&framed, "3\n");
    framed.assert_outcome("exited", 0);
    assert_eq!((&network_usage(&framed)["peers"][0]["connections"], server.connections()), (&json!(3), 3));
    assert!(
        network_usage(&framed)["denied"][0]["why"].as_str().unwrap().contains("as many connections"),
        "{}",
        framed.last
    );
    let framed = run(&client, &json!({"network": [address], "connections": 0}), &["connect", &address]).await;
    framed.assert_outcome("network_cap", 137);
    assert_eq!(framed.outcome(), &json!({"kind": "network_cap", "what": "connections", "limit": 0}));
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn connect_to_a_silent_host_ends_at_the_deadline_or_on_cancel() {
    let silent = SilentListener::new().await;
    let address = silent.address.to_string();
    let (mut daemon, client) =
        daemon_with_rules(std::slice::from_ref(&address), "[limits]\nruns = 1\nqueue = 0\n").await;
    let framed = run(&client, &json!({"network": [address], "timeout": "300ms"}), &["connect", &address]).await;
    framed.assert_outcome("timed_out", 124);
    assert!(framed.last["usage"]["run_seconds"].as_f64().unwrap() < 30.0, "{}", framed.last);
    let order = json!({"handler": "probe", "args": ["connect", address], "policy": policy_with_rule(address.as_str())});
    let id = client.post("/v1/jobs").body(order.to_string()).send().await.json()["id"].as_str().unwrap().to_owned();
    eventually("the guest to wait for the host", async || {
        let reported = client.get(&format!("/v1/jobs/{id}")).send().await.json();
        (reported["usage"]["network"]["peers"][0]["connections"] == 1).then_some(())
    })
    .await;
    client.post(&format!("/v1/jobs/{id}/cancel")).send().await;
    let reported = client.post(&format!("/v1/jobs/{id}/wait")).send().await.json();
    assert_eq!(reported["outcome"]["kind"], "cancelled", "{reported}");
    // The only slot must be free.
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn policy_check_reports_the_missing_network_rule() {
    let (daemon, client) = daemon_with_rules(&["*.example.com:443".to_owned(), "10.1.0.0/16".to_owned()], "").await;
    let check = async |rule: &str| {
        let requested = json!({"handler": "probe", "policy": policy_with_rule(rule)});
        client.post("/v1/policy/check").body(requested.to_string()).send().await
    };
    let reported = check("API.example.com.:443").await.json();
    assert_eq!((&reported["allowed"], &reported["policy"]["network"]), (&json!(true), &json!(["api.example.com:443"])));
    let reported = check("example.org:443").await.json();
    assert_eq!(reported["allowed"], false);
    let finding = &reported["findings"][0];
    assert_eq!((&finding["key"], &finding["asked"]), (&json!("network"), &json!("example.org:443")));
    assert_eq!(finding["rule"], "the rules of the operator do not cover it: *.example.com:443, 10.1.0.0/16");
    let command = Cli::for_daemon(CAPSTAN, &daemon).args([
        "check",
        "--allow-net",
        "10.1.2.3:80",
        "--allow-net",
        "example.org",
        "probe",
    ]);
    let reported = command.run().await.assert_exit_code(125);
    assert!(reported.text().starts_with("denied\n") && reported.text().contains("example.org"), "{reported:?}");
    assert!(!reported.text().contains("10.1.2.3"), "an allowed rule must not be a finding: {reported:?}");
    let wrong = check("10.1.0.1/16").await;
    wrong.error(400, "bad_request");
    assert!(wrong.text().contains("the network is 10.1.0.0/16"), "{}", wrong.text());
}

#[tokio::test]
async fn invalid_network_rules_prevent_the_start() {
    for (rule, named) in [
        ("10.0.0.1/8", "the network is 10.0.0.0/8"),
        ("example.com:90-80", "is reversed"),
        ("bücher.example", "punycode"),
        ("localhost:80", "by its address"),
        ("2001:db8::1", "in brackets"),
    ] {
        let refused = Setup::new(CAPSTAN).config(&format!("[policy]\nnetwork = [\"{rule}\"]")).start_must_fail();
        assert_eq!(refused.status.code(), Some(125), "{rule}: {refused:?}");
        assert!(refused.stderr.contains(named), "{rule}: {refused:?}");
    }
}

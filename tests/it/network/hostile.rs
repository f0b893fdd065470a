//! Destinations that a guest cannot reach without a rule, or with a rule for another destination.

use serde_json::json;

use super::server::Server;
use super::{assert_stdout, daemon_with_rules, network_usage, policy_with_rule, run};
use crate::oracle;

#[tokio::test]
async fn disguised_local_addresses_are_denied_without_a_rule() {
    let server = Server::tcp("").await;
    let (mut daemon, client) = daemon_with_rules(&[], "").await;
    for port in [server.address.port(), daemon.addr().port(), 80] {
        for (host, code) in [
            ("127.0.0.1", "access-denied"),
            ("127.255.255.254", "access-denied"),
            ("169.254.169.254", "access-denied"),
            ("93.184.216.34", "access-denied"),
            ("[::1]", "access-denied"),
            ("[fe80::1]", "access-denied"),
            ("[64:ff9b::7f00:1]", "access-denied"),
            // The library itself rejects these as invalid addresses.
            ("0.0.0.0", "invalid-argument"),
            ("[::]", "invalid-argument"),
            ("[::ffff:127.0.0.1]", "invalid-argument"),
            ("[::ffff:169.254.169.254]", "invalid-argument"),
        ] {
            let target = format!("{host}:{port}");
            for args in [&["connect", &target][..], &["udp", &target, "x"], &["udp-connected", &target, "x"]] {
                assert_stdout(&run(&client, &json!({}), args).await, &format!("error: {code}\n"));
            }
        }
    }
    assert_eq!(server.connections(), 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn connected_socket_cannot_send_to_another_address() {
    let (granted, other) = (Server::udp("").await, Server::udp("").await);
    let rule = format!("{}/udp", granted.address);
    let (mut daemon, client) = daemon_with_rules(std::slice::from_ref(&rule), "").await;
    let (address, other_address) = (granted.address.to_string(), other.address.to_string());
    let framed = run(&client, &policy_with_rule(rule.as_str()), &["udp-astray", &address, &other_address]).await;
    assert_stdout(&framed, "error: invalid-argument\n");
    let framed = run(&client, &policy_with_rule(rule.as_str()), &["udp-again", &address, &other_address]).await;
    assert_stdout(&framed, "error: access-denied\n");
    assert_eq!(network_usage(&framed)["denied"][0]["target"], format!("{other_address}/udp"));
    // The socket can be reconnected to the same address.
    let framed = run(&client, &policy_with_rule(rule.as_str()), &["udp-again", &address, &address]).await;
    framed.assert_outcome("exited", 0);
    assert_eq!(other.bytes(), 0);
    oracle::still_answers(&mut daemon).await;
}

//! Where a guest must not get without a rule, and where it must not get with one for somewhere else.

use serde_json::json;

use super::server::Server;
use super::{asking, granting, network, printed, run};
use crate::oracle;

#[tokio::test]
async fn without_a_rule_no_disguise_of_this_machine_is_reached() {
    let server = Server::tcp("").await;
    let (mut daemon, client) = granting(&[], "").await;
    for port in [server.address.port(), daemon.addr().port(), 80] {
        for (host, code) in [
            ("127.0.0.1", "access-denied"),
            ("127.255.255.254", "access-denied"),
            ("169.254.169.254", "access-denied"),
            ("93.184.216.34", "access-denied"),
            ("[::1]", "access-denied"),
            ("[fe80::1]", "access-denied"),
            ("[64:ff9b::7f00:1]", "access-denied"),
            // The library itself takes these for no address to speak to.
            ("0.0.0.0", "invalid-argument"),
            ("[::]", "invalid-argument"),
            ("[::ffff:127.0.0.1]", "invalid-argument"),
            ("[::ffff:169.254.169.254]", "invalid-argument"),
        ] {
            let target = format!("{host}:{port}");
            for args in [&["connect", &target][..], &["udp", &target, "x"], &["udp-connected", &target, "x"]] {
                printed(&run(&client, &json!({}), args).await, &format!("error: {code}\n"));
            }
        }
    }
    assert_eq!(server.connections(), 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn a_socket_that_is_connected_to_where_it_may_sends_nowhere_else() {
    let (granted, other) = (Server::udp("").await, Server::udp("").await);
    let rule = format!("{}/udp", granted.address);
    let (mut daemon, client) = granting(std::slice::from_ref(&rule), "").await;
    let (address, other_address) = (granted.address.to_string(), other.address.to_string());
    let framed = run(&client, &asking(rule.as_str()), &["udp-astray", &address, &other_address]).await;
    printed(&framed, "error: invalid-argument\n");
    let framed = run(&client, &asking(rule.as_str()), &["udp-again", &address, &other_address]).await;
    printed(&framed, "error: access-denied\n");
    assert_eq!(network(&framed)["denied"][0]["target"], format!("{other_address}/udp"));
    // The same socket may go back to where it was.
    let framed = run(&client, &asking(rule.as_str()), &["udp-again", &address, &address]).await;
    framed.ended("exited", 0);
    assert_eq!(other.bytes(), 0);
    oracle::still_answers(&mut daemon).await;
}

//! Components that were linked into one program from several, as `wac plug` and `wasm-tools compose` do.

use capstan_tests::{foreach_guest, guests};

use crate::{configured, serving};

foreach_guest!(composed, tested);

async fn assert_succeeds(guest: &[u8]) {
    let (_daemon, client) = serving("composed", guest).await;
    let framed = client.run("composed").framed().send().await.frames();
    framed.assert_outcome("exited", 0);
}

#[tokio::test]
async fn string() {
    assert_succeeds(guests::composed::STRING).await;
}

#[tokio::test]
async fn list() {
    assert_succeeds(guests::composed::LIST).await;
}

#[tokio::test]
async fn resource() {
    assert_succeeds(guests::composed::RESOURCE).await;
}

#[tokio::test]
async fn chain() {
    assert_succeeds(guests::composed::CHAIN).await;
}

/// The memories of the components are several, but the program uses no module with more than one.
#[tokio::test]
async fn module_with_several_memories_is_still_rejected_without_the_feature() {
    let (_daemon, client) = configured("[policy]\nfeatures = []", "composed", guests::composed::STRING).await;
    let reply = client.put("/v1/handlers/memories", guests::features::MULTI_MEMORY.to_vec()).send().await;
    reply.error(422, "feature_disabled");
}

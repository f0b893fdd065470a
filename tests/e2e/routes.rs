//! `capstan routes`.

use capstan_tests::{Setup, guests};
use serde_json::json;

use crate::{CAPSTAN, command_for};

#[tokio::test]
async fn routes_lists_what_handlers_claim() {
    let daemon = Setup::new(CAPSTAN).arg("--serve").arg("tcp://127.0.0.1:0").start();
    let manifest =
        b"[[route]]\npath = \"/hello\"\nmethods = [\"GET\"]\nhost = \"a.example\"\n[[route]]\npath = \"/{*all}\"\n";
    let push = command_for(&daemon).file("web.wasm", &guests::compiled("web")).file("job.toml", manifest);
    push.args(["push", "web.wasm", "--manifest", "job.toml"]).run().await.assert_exit_code(0);
    let table = command_for(&daemon).args(["routes"]).run().await.assert_exit_code(0);
    let expected = "\
METHODS  HOST       PATH     HANDLER  FILES
GET      a.example  /hello   web      -
any      any        /{*all}  web      -
";
    assert_eq!(table.text(), expected);
    let listed = command_for(&daemon).args(["routes", "--json"]).run().await.assert_exit_code(0);
    let listed = listed.json();
    assert_eq!((&listed["routes"][0]["handler"], &listed["routes"][0]["path"]), (&json!("web"), &json!("/hello")));

    let push = command_for(&daemon).file("web.wasm", &guests::compiled("web")).file("job.toml", manifest);
    let refused = push.args(["push", "other=web.wasm", "--manifest", "job.toml"]).run().await.assert_exit_code(125);
    assert!(refused.stderr.contains("of handler web"), "{}", refused.stderr);
}

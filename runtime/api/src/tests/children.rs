//! Jobs that were started by other jobs, over HTTP.

use serde_json::Value;

use super::*;

#[tokio::test]
async fn child_job_names_its_parent() {
    let served = TestServer::open().await;
    let engine = served.engine.clone();
    let parent = Native::work("Starts another", move |call: Call| {
        let child = engine.job("wait").unwrap().child_of(&call.as_parent).build().unwrap();
        child.start().unwrap();
        async { Outcome::Exited { code: 4 } }
    });
    served.engine.register("parent", parent).unwrap();
    let mut connection = served.unix().await;
    send(&mut connection, "POST /handlers/parent/run HTTP/1.0\r\n\r\n").await;
    read_to_end(&mut connection).await;
    wait_idle(&served.engine).await;

    let mut connection = served.unix().await;
    send(&mut connection, "GET /jobs HTTP/1.0\r\n\r\n").await;
    let (response, _) = read_to_end(&mut connection).await;
    let jobs: Value = serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap();
    let (child, parent) = (&jobs["jobs"][0], &jobs["jobs"][1]);
    assert_eq!((&child["handler"], &child["parent"]), (&"wait".into(), &parent["id"]), "{jobs}");
    assert_eq!(child["outcome"], serde_json::json!({"kind": "cancelled", "by": "parent"}));
    assert_eq!((&parent["handler"], &parent["parent"]), (&"parent".into(), &Value::Null));
    assert_eq!((&child["error"], &parent["error"]), (&"cancelled by parent".into(), &"exited with status 4".into()));
}

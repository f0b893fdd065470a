//! Jobs that jobs start, as they are told of over HTTP.

use serde_json::Value;

use super::*;

#[tokio::test]
async fn a_job_that_another_started_names_it() {
    let served = Served::open().await;
    let engine = served.engine.clone();
    let starts = Native::work("Starts another", move |call: Call| {
        let child = engine.job("wait").unwrap().child_of(&call.as_parent).build().unwrap();
        child.start().unwrap();
        async { Outcome::Exited { code: 4 } }
    });
    served.engine.register("parent", starts).unwrap();
    let mut connection = served.unix().await;
    ask(&mut connection, "POST /handlers/parent/run HTTP/1.0\r\n\r\n").await;
    rest(&mut connection).await;
    idle(&served.engine).await;

    let mut connection = served.unix().await;
    ask(&mut connection, "GET /jobs HTTP/1.0\r\n\r\n").await;
    let (answer, _) = rest(&mut connection).await;
    let jobs: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let (child, parent) = (&jobs["jobs"][0], &jobs["jobs"][1]);
    assert_eq!((&child["handler"], &child["parent"]), (&"wait".into(), &parent["id"]), "{jobs}");
    assert_eq!(child["outcome"], serde_json::json!({"kind": "cancelled", "by": "parent"}));
    assert_eq!((&parent["handler"], &parent["parent"]), (&"parent".into(), &Value::Null));
    assert_eq!((&child["error"], &parent["error"]), (&"cancelled by parent".into(), &"exited with status 4".into()));
}

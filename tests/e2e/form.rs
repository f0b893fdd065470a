//! The job `form`: a Python script that answers requests as CGI.

use capstan_tests::{Daemon, guests};

use crate::prebuilt::prebuilt;
use crate::{CAPSTAN, command_for};

#[tokio::test]
async fn form_is_shown_checked_and_repeated_escaped() {
    let Some(python) = prebuilt("python") else { return };
    let daemon = Daemon::start(CAPSTAN);
    let run = |args: &[&str]| command_for(&daemon).args(args.iter().copied()).run();
    run(&["runtime", "add", "python", python.to_str().unwrap()]).await.assert_exit_code(0);
    let manifest = guests::root().join("jobs/form/job.toml");
    run(&["push", "--manifest", manifest.to_str().unwrap()]).await.assert_exit_code(0);

    let client = daemon.client();
    let shown = client.get("/x/form/").send().await;
    assert_eq!((shown.status, shown.header("content-type")), (200, Some("text/html; charset=utf-8")), "{shown:?}");
    assert!(shown.text().contains(r#"<form method="post" action="/x/form/""#), "{}", shown.text());

    let send = |body: &'static str| {
        client.post("/x/form/").header("content-type", "application/x-www-form-urlencoded").body(body).send()
    };
    let accepted = send("name=%3Cscript%3Ealert%281%29%3C%2Fscript%3E&guests=3&message=%C3%BC+%26").await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    let page = accepted.text();
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("<dd>ü &amp;</dd>"), "{page}");
    assert!(!page.contains("<script>"), "{page}");
    let rejected = send("name=&guests=99").await;
    assert_eq!((rejected.status, rejected.text().matches(r#"class="error""#).count()), (422, 2), "{rejected:?}");
    assert_eq!(client.post("/x/form/").body("{}").send().await.status, 415);
    assert_eq!(client.delete("/x/form/").send().await.header("allow"), Some("GET, HEAD, POST"));
}

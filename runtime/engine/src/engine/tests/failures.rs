//! The error of a job that was no success.

use super::*;

/// Returns a handler that writes `text` to stderr and exits with 3.
fn fails_with_stderr(text: &'static str) -> Arc<Native> {
    Native::work("fails", move |mut call: Call| async move {
        call.stderr.write_all(text.as_bytes()).await.unwrap();
        Outcome::Exited { code: 3 }
    })
}

async fn error(engine: &Engine, name: &str) -> Option<String> {
    let job = engine.job(name).unwrap().build().unwrap();
    job.start().unwrap();
    job.wait().await.error.clone().map(Into::into)
}

#[tokio::test]
async fn error_is_last_line_of_stderr_or_exit_status() {
    for (text, expected) in [
        ("", "exited with status 3"),
        ("\n\n", "exited with status 3"),
        ("warning: odd\nno such file\n", "no such file"),
        ("no such file\n\n", "no such file"),
        ("no newline", "no newline"),
    ] {
        let engine = engine();
        engine.register("a", fails_with_stderr(text)).unwrap();
        assert_eq!(error(&engine, "a").await.as_deref(), Some(expected), "{text:?}");
    }
}

#[tokio::test]
async fn success_has_no_error_whatever_it_wrote() {
    let engine = engine();
    let warns = Native::work("warns", |mut call: Call| async move {
        call.stderr.write_all(b"only a warning\n").await.unwrap();
        Outcome::SUCCESS
    });
    engine.register("a", warns).unwrap();
    assert_eq!(error(&engine, "a").await, None);
}

#[tokio::test]
async fn error_of_job_ended_by_capstan_is_its_outcome() {
    let engine = engine();
    let panics = Native::work("panics", |mut call: Call| async move {
        call.stderr.write_all(b"last words\n").await.unwrap();
        panic!("on purpose")
    });
    engine.register("panics", panics).unwrap();
    engine.register("waits", runs_until_stopped()).unwrap();
    assert_eq!(error(&engine, "panics").await.as_deref(), Some("host error: the handler panicked"));
    let job = engine.job("waits").unwrap().build().unwrap();
    job.start().unwrap();
    job.cancel(CancelledBy::Operator);
    assert_eq!(job.wait().await.error.as_deref(), Some("cancelled by operator"));
}

#[tokio::test]
async fn fail_writes_reason_on_a_line_of_its_own() {
    for (why, line) in [("100%d of {}", "100%d of {}\n"), ("", "\n")] {
        let engine = engine();
        engine
            .register("a", Native::work("fails", move |mut call: Call| async move { call.fail(9, why).await }))
            .unwrap();
        let (stderr, mut printed) = stream::pipe(64);
        let job = engine.job("a").unwrap().stderr(stderr).build().unwrap();
        job.start().unwrap();
        let mut text = String::new();
        printed.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), job.wait().await.outcome.clone()), (line, Outcome::Exited { code: 9 }));
    }
}

/// The ancestor reported the error of the sink instead of the job's, and left the other streams open.
#[tokio::test]
async fn failed_sink_does_not_change_outcome() {
    /// A sink that accepts nothing and cannot be closed.
    struct Broken;
    impl tokio::io::AsyncWrite for Broken {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::task::Poll::Ready(Err(std::io::Error::other("no room")))
        }
        fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Err(std::io::Error::other("no room")))
        }
        fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Err(std::io::Error::other("no room")))
        }
    }
    let engine = engine();
    let tries = Native::work("tries to write", |mut call: Call| async move {
        assert!(call.stdout.write_all(b"x").await.is_err());
        Outcome::Exited { code: 2 }
    });
    engine.register("a", tries).unwrap();
    let (stderr, mut printed) = stream::pipe(64);
    let job = engine.job("a").unwrap().stdout(Sink::new(Broken)).stderr(stderr).build().unwrap();
    job.start().unwrap();
    assert_eq!(job.wait().await.outcome.clone(), Outcome::Exited { code: 2 });
    assert_eq!(printed.read(&mut [0; 1]).await.unwrap(), 0, "stderr was left open");
}

//! The request's body on its way to stdin.

use capstan_core::outcome::CancelledBy;
use capstan_core::stream::{self, PIPE_CAPACITY, Sink, Source};
use capstan_engine::job::Job;
use capstan_engine::tasks::Tasks;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

/// A body that has not been looked at yet.
#[derive(Debug)]
pub(super) struct Input(Option<(Incoming, Sink)>);

/// How far a body has come: cancelled once nothing more of it will be read.
pub(super) type InputEnd = CancellationToken;

impl Input {
    /// A body, and the stdin that it will feed; at its end at once where there is no body.
    pub(super) fn of(body: Incoming) -> (Self, Source) {
        if body.is_end_stream() {
            return (Self(None), Source::empty());
        }
        let (sink, stdin) = stream::pipe(PIPE_CAPACITY);
        (Self(Some((body, sink))), stdin)
    }

    /// Feeds the stdin of `job`, which has been started, until the body or the run ends.
    pub(super) fn feed(self, tasks: &Tasks, job: &Job) -> InputEnd {
        let end = InputEnd::new();
        let Some((body, sink)) = self.0 else {
            end.cancel();
            return end;
        };
        let (job, ended) = (job.clone(), end.clone().drop_guard());
        tasks.spawn("api", "input of a run", async move {
            tokio::select! {
                _ = pump(body, sink, &job) => {}
                // A client that sends nothing, and does not end, shall not outlive its run either.
                _ = job.wait() => {}
            }
            drop(ended);
        });
        end
    }
}

/// Hands on the body piece by piece, each when the guest has room for it; whether it came to its end. A guest that reads no more ends
/// it quietly.
pub(super) async fn pump(mut body: Incoming, mut sink: Sink, job: &Job) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // It was broken off. Half an input is no input: the guest must not take this for its end.
            job.cancel(CancelledBy::Client);
            job.wait().await;
            return false;
        };
        if let Ok(data) = frame.into_data()
            && sink.write_all(&data).await.is_err()
        {
            return false;
        }
    }
    true
}

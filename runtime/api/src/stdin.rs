//! Copies the body of a request to the stdin of a job.

use capstan_core::outcome::CancelledBy;
use capstan_core::stream::{self, PIPE_CAPACITY, Sink, Source};
use capstan_engine::job::Job;
use capstan_engine::tasks::Tasks;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

/// A body that becomes the stdin of a job, and of which nothing has been read yet.
#[derive(Debug)]
pub(super) struct StdinBody(Option<(Incoming, Sink)>);

/// Cancelled once no more of the body will be read.
pub(super) type StdinEnd = CancellationToken;

impl StdinBody {
    /// Returns a body and the stdin that it will be copied to. Without a body the stdin is empty.
    pub(super) fn new(body: Incoming) -> (Self, Source) {
        if body.is_end_stream() {
            return (Self(None), Source::empty());
        }
        let (sink, stdin) = stream::pipe(PIPE_CAPACITY);
        (Self(Some((body, sink))), stdin)
    }

    /// Spawns a task that copies the body to the stdin of `job`, which has been started, until the body or the run ends.
    pub(super) fn spawn_copy(self, tasks: &Tasks, job: &Job) -> StdinEnd {
        let end = StdinEnd::new();
        let Some((body, sink)) = self.0 else {
            end.cancel();
            return end;
        };
        let (job, end_guard) = (job.clone(), end.clone().drop_guard());
        tasks.spawn("api", "stdin of a run", async move {
            tokio::select! {
                _ = copy(body, sink, &job) => {}
                // The task must end with the run even if the client neither sends anything nor ends its body.
                _ = job.wait() => {}
            }
            drop(end_guard);
        });
        end
    }
}

/// Copies a body to `sink` at the speed of the guest, and returns whether it was copied to its end.
///
/// Returns `false` where the guest stops reading. A body that is cut cancels the job.
pub(super) async fn copy(mut body: Incoming, mut sink: Sink, job: &Job) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The guest must not take the cut for the end of its input.
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

//! Copies the body of a request to the stdin of a job.

use std::time::Duration;

use bytes::Bytes;
use capstan_core::http::Trailers;
use capstan_core::outcome::CancelledBy;
use capstan_core::stream::{self, PIPE_CAPACITY, Sink, Source};
use capstan_engine::job::Job;
use capstan_engine::tasks::Tasks;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::header::EXPECT;
use tokio_util::sync::CancellationToken;

use super::guest_http;

/// How long a client that waits for `100 Continue` is given to send the first piece of its body before the response starts.
const EXPECT_TIMEOUT: Duration = Duration::from_millis(10);

/// A body that becomes the stdin of a job.
#[derive(Debug)]
pub(super) struct StdinBody(Option<Unread>);

#[derive(Debug)]
struct Unread {
    /// What was read of the body already.
    read: Bytes,
    body: Incoming,
    sink: Sink,
    /// Where the fields after the body go. `None` if nobody reads them.
    trailers: Option<Trailers>,
}

/// Cancelled once no more of the body will be read.
pub(super) type StdinEnd = CancellationToken;

impl StdinBody {
    /// Returns a body, of which `read` was read already, and the stdin that it will be copied to. Without a body the stdin is empty.
    pub(super) fn new(body: Incoming, read: Bytes) -> (Self, Source) {
        if body.is_end_stream() {
            let stdin = if read.is_empty() { Source::empty() } else { Source::from_bytes(read) };
            return (Self(None), stdin);
        }
        let (sink, stdin) = stream::pipe(PIPE_CAPACITY);
        (Self(Some(Unread { read, body, sink, trailers: None })), stdin)
    }

    /// Keeps the fields after the body in `trailers`.
    pub(super) fn with_trailers(mut self, trailers: Trailers) -> Self {
        if let Some(unread) = &mut self.0 {
            unread.trailers = Some(trailers);
        }
        self
    }

    /// Spawns a task that copies the body to the stdin of `job`, which has been started, until the body or the run ends.
    pub(super) fn spawn_copy(self, tasks: &Tasks, job: &Job) -> StdinEnd {
        let end = StdinEnd::new();
        let Some(Unread { read, body, mut sink, trailers }) = self.0 else {
            end.cancel();
            return end;
        };
        let (job, end_guard) = (job.clone(), end.clone().drop_guard());
        tasks.spawn("api", "stdin of a run", async move {
            let copying = async {
                if sink.write_bytes(read).await.is_ok() {
                    copy_with_trailers(body, sink, &job, trailers).await;
                }
            };
            tokio::select! {
                () = copying => {}
                // The task must end with the run even if the client neither sends anything nor ends its body.
                _ = job.wait() => {}
            }
            drop(end_guard);
        });
        end
    }
}

/// Reads the first piece of a body whose client waits for `100 Continue`, and returns it after `read`: hyper sends that only while the body is
/// read and before the response has started.
pub(super) async fn read_expected(headers: &HeaderMap, body: &mut Incoming, read: Bytes) -> Bytes {
    if !headers.contains_key(EXPECT) || !read.is_empty() {
        return read;
    }
    match tokio::time::timeout(EXPECT_TIMEOUT, body.frame()).await {
        Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => read,
    }
}

/// Copies a body to `sink` at the speed of the guest, and returns whether it was copied to its end.
///
/// Returns `false` where the guest stops reading. A body that is cut cancels the job.
pub(super) async fn copy(body: Incoming, sink: Sink, job: &Job) -> bool {
    copy_with_trailers(body, sink, job, None).await
}

async fn copy_with_trailers(mut body: Incoming, mut sink: Sink, job: &Job, trailers: Option<Trailers>) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The guest must not take the cut for the end of its input.
            job.cancel(CancelledBy::Client);
            job.wait().await;
            return false;
        };
        match frame.into_data() {
            Ok(data) => {
                if sink.write_bytes(data).await.is_err() {
                    return false;
                }
            }
            Err(frame) => {
                if let (Some(trailers), Ok(fields)) = (&trailers, frame.into_trailers()) {
                    trailers.set(guest_http::to_all_fields(&fields));
                }
            }
        }
    }
    true
}

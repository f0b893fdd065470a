//! The three streams of a job: bounded pipes with one owner at each end.
//!
//! A write waits while the pipe is full, so a slow reader slows down its writer and no other. Dropping an end closes it: the reader then
//! sees the end of the stream, and the writer a broken pipe. Nothing else closes a stream, so it is closed once and by its owner.
//!
//! In reading order:
//!
//! - [`pipe`](fn@pipe), [`Sink`] and [`Source`] are the basic streams; [`EarlyEnd`] ends one for its reader;
//! - [`FanOut`] copies one stream to many readers, [`SharedSink`] lets many writers use one sink;
//! - [`OutputTarget`] collects the sinks of a job's output before the job starts;
//! - [`Tail`] and [`LineCapture`] keep the end of a stream;
//! - [`decode`] parses the output of a job.

pub mod decode;
mod early_end;
mod fanout;
mod line_capture;
mod output_target;
mod pipe;
mod shared_sink;
mod tail;

pub use self::early_end::EarlyEnd;
pub use self::fanout::{Evicted, FanOut, ForwardError, LagPolicy, Piece, SinkError, Tap};
pub use self::line_capture::LineCapture;
pub use self::output_target::OutputTarget;
pub use self::pipe::{PIPE_CAPACITY, Sink, Source, pipe};
pub use self::shared_sink::SharedSink;
pub use self::tail::Tail;

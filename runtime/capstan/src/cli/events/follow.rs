//! [`Follower`]: prints a stream of events, and connects again where it was.

use std::time::Duration;

use bytes::BytesMut;
use serde_json::Value;

use crate::cli::client::{Client, ClientError, Response, with_query};
use crate::cli::error::CliError;
use crate::cli::output;

/// The maximum length of a line of the response, in bytes.
const MAX_LINE: usize = 1 << 20;
/// How long to wait before the first attempt to connect again, and the longest such time.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The header with the number of the event after which a stream starts.
const EVENTS_AFTER: &str = "capstan-events-after";

/// Prints a stream of events.
#[derive(Debug)]
pub(super) struct Follower<'a> {
    client: &'a Client,
    /// The parameters of each request, without `since`.
    query: Vec<(&'static str, String)>,
    /// Where the next stream starts. `None` is with the next event.
    since: Option<String>,
    /// Whether the stream has an end of its own.
    ends: bool,
    format: fn(&Value) -> String,
    pause: Duration,
}

/// Splits a text that arrives in pieces into lines.
#[derive(Debug, Default)]
struct LineBuffer(BytesMut);

impl<'a> Follower<'a> {
    pub(super) fn new(
        client: &'a Client,
        query: Vec<(&'static str, String)>,
        since: Option<String>,
        ends: bool,
        format: fn(&Value) -> String,
    ) -> Self {
        Self { client, query, since, ends, format, pause: PAUSES.0 }
    }

    /// Prints events. Returns at the end of a stream that has one, and otherwise never.
    ///
    /// # Errors
    /// [`CliError`], also if the daemon cannot be reached at first. Later it is waited for.
    pub(super) async fn run(mut self) -> Result<(), CliError> {
        let mut response = self.open().await?;
        loop {
            match self.print(&mut response).await {
                Ok(()) if self.ends => return Ok(()),
                Err(CliError::Client(error)) if !is_temporary(&error) => return Err(error.into()),
                Ok(()) | Err(CliError::Client(_)) => {}
                Err(error) => return Err(error),
            }
            output::print_note("the daemon has ended the stream; waiting for it to start again");
            response = self.open_again().await?;
        }
    }

    async fn open(&mut self) -> Result<Response, ClientError> {
        let since = self.since.iter().map(|since| ("since", since.clone()));
        let query = since.chain(self.query.iter().cloned());
        let response = self.client.open_stream(&with_query("/events", query), "application/x-ndjson").await?;
        if self.since.is_none() {
            let after = response.headers().get(EVENTS_AFTER).and_then(|after| after.to_str().ok());
            self.since = after.map(str::to_owned);
        }
        Ok(response)
    }

    /// Waits until there is a stream again.
    async fn open_again(&mut self) -> Result<Response, ClientError> {
        loop {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSES.1);
            match self.open().await {
                Err(error) if is_temporary(&error) => {}
                opened => return opened,
            }
        }
    }

    /// Prints a stream until it ends.
    async fn print(&mut self, response: &mut Response) -> Result<(), CliError> {
        let mut lines = LineBuffer::default();
        while let Some(bytes) = response.chunk().await? {
            lines.0.extend_from_slice(&bytes);
            let mut text = String::new();
            while let Some(line) = lines.next() {
                let event: Value =
                    serde_json::from_slice(&line).map_err(|error| self.client.unexpected_response(&error))?;
                if let Some(number) = event["seq"].as_u64() {
                    self.since = Some(number.to_string());
                    self.pause = PAUSES.0;
                }
                text += &(self.format)(&event);
                text.push('\n');
            }
            if lines.0.len() > MAX_LINE {
                return Err(self.client.unexpected_response(&"it sent an event of more than 1 MiB").into());
            }
            output::print(text.as_bytes())?;
        }
        Ok(())
    }
}

/// Returns whether a daemon that is started again does not answer so.
fn is_temporary(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::ResponseTimeout { .. }
        | ClientError::NoResponse(_)
        | ClientError::Disconnected => true,
        ClientError::Rejected { code, .. } => matches!(code.as_str(), "starting" | "draining" | "busy"),
        ClientError::Tls { .. } | ClientError::UnexpectedResponse { .. } | ClientError::Frame(_) => false,
    }
}

impl LineBuffer {
    /// Returns the next complete line that is not empty, without its line break.
    fn next(&mut self) -> Option<BytesMut> {
        loop {
            let end = self.0.iter().position(|byte| *byte == b'\n')?;
            let mut line = self.0.split_to(end + 1);
            line.truncate(line.trim_ascii_end().len());
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_however_text_is_split() {
        let text = b"{\"a\":1}\n\r\n{}\r\n{\"b";
        for size in 1..=text.len() {
            let (mut lines, mut found) = (LineBuffer::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.0.extend_from_slice(piece);
                found.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(found, [&b"{\"a\":1}"[..], b"{}"], "{size}");
            assert_eq!(lines.0, &b"{\"b"[..]);
        }
    }
}

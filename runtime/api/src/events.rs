//! `GET /events`: earlier and new events, one JSON object per line, or as server-sent events.
//!
//! Earlier and new events are read in the same way. A client that reads too slowly gets the number of events that it missed, and blocks
//! nobody. The stream ends when the daemon stops, after the end of the last job.

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::units;
use capstan_engine::engine::Engine;
use capstan_engine::events::{Event, Events, Filter, Item, Subscription};
use hyper::body::Frame;
use hyper::header::{ACCEPT, CACHE_CONTROL, HeaderValue};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use super::body::{self, Body};
use super::disconnect::{Client, FrameSender};
use super::error::Error;
use super::headers;
use super::query::Parameters;
use super::request::Request;
use super::state::ApiState;
use super::timeouts::{self, ResponseKind};

const NDJSON: &str = "application/x-ndjson";
const SSE: &str = "text/event-stream";
/// The header with which a browser resumes a stream: the number of the last event that it received.
const LAST_EVENT_ID: &str = "last-event-id";
/// What `since` and `until` accept.
const POSITION: &str =
    "the number of an event, a time such as 2026-01-31T12:00:00Z or 1769860800, or how long ago that was, such as 10m";

/// A position in the sequence of events.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Position {
    Number(u64),
    Time(Timestamp),
}

/// Which events a client gets, and in which format.
struct Selection {
    filter: Filter,
    /// Excludes earlier events. Needed for a time in the future.
    since: Option<Timestamp>,
    until: Option<Position>,
    is_sse: bool,
}

/// Responds with a stream of events.
pub(super) async fn events(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::parse(&request, &["since", "until"], &["filter"])?;
    let now = Timestamp::now();
    let position = |key| parameters.parse_value(key, POSITION, |text| Position::parse(text, now));
    let (since, until) = (position("since")?, position("until")?);
    let mut filter = Filter::default();
    parameters.all("filter").try_for_each(|condition| filter.add(condition))?;
    let events = state.engine.events();
    let subscription = match last_event_id(&request)? {
        Some(number) => resume(events, number),
        None => subscribe(events, since)?,
    };
    let since = match since {
        Some(Position::Time(time)) => Some(time),
        _ => None,
    };
    let is_sse = request.header_lists(&ACCEPT, SSE);
    let position = subscription.position();
    let (frames, body) = Client::new(&request).channel_response();
    let selection = Selection { filter, since, until, is_sse };
    let sending = send_events(state.engine.clone(), subscription, selection, frames);
    state.tasks.spawn("api", "follower of events", sending);
    let mut response = body::response(StatusCode::OK, if is_sse { SSE } else { NDJSON }, body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(headers::EVENTS_AFTER, position.into());
    timeouts::set_response_kind(&mut response, ResponseKind::Stream);
    Ok(response)
}

/// Returns the number of the last event that a reconnecting client has received.
fn last_event_id(request: &Request) -> Result<Option<u64>, Error> {
    let Some(value) = request.head.headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        Error::bad_request(format!("the header {LAST_EVENT_ID} must be the number of an event, as in the field id"))
    })
}

/// Subscribes to the events after `number`.
///
/// A number that does not exist yet is from a daemon with another data directory: the client has received nothing from this one, and gets all
/// events.
fn resume(events: &Events, number: u64) -> Subscription {
    events.after(if number > events.last() { 0 } else { number })
}

fn subscribe(events: &Events, since: Option<Position>) -> Result<Subscription, Error> {
    match since {
        None => Ok(events.live()),
        Some(Position::Time(time)) => Ok(events.since(time)),
        Some(Position::Number(number)) if number <= events.last() => Ok(events.after(number)),
        Some(Position::Number(number)) => {
            let last = events.last();
            let message = format!("since={number} is beyond the last event, which has the number {last}");
            Err(Error::bad_request(message))
        }
    }
}

async fn send_events(engine: Engine, mut subscription: Subscription, selection: Selection, frames: FrameSender) {
    let until = selection.until_time();
    let mut until = std::pin::pin!(until);
    let mut drained = std::pin::pin!(engine.wait_until_drained());
    let mut is_drained = false;
    loop {
        // Without this, events that arrive faster than they are read, and none of which is selected, would block the thread.
        tokio::task::consume_budget().await;
        if frames.is_closed() {
            return;
        }
        // Read before the subscription, so that an event that is published in between is still sent.
        let last = engine.events().last();
        let item = match subscription.try_next() {
            Some(item) => item,
            None if is_drained || selection.is_complete(last) => return,
            None => tokio::select! {
                biased;
                item = subscription.next() => item,
                () = frames.closed() => return,
                () = &mut until => return,
                () = &mut drained => {
                    // Events that were published before this point are still sent.
                    is_drained = true;
                    continue;
                }
            },
        };
        if selection.ends_before(&item) {
            return;
        }
        if let Some(text) = selection.encode(&item)
            && frames.send(Ok(Frame::data(text))).await.is_err()
        {
            return;
        }
    }
}

impl Position {
    fn parse(text: &str, now: Timestamp) -> Option<Self> {
        if units::is_unix_time(text) {
            return units::time(text, now).map(Self::Time);
        }
        text.parse().map(Self::Number).ok().or_else(|| units::time(text, now).map(Self::Time))
    }
}

impl Selection {
    /// Waits until the time `until`; forever where it is not a time.
    fn until_time(&self) -> impl Future<Output = ()> + use<> {
        let until = self.until;
        async move {
            match until {
                Some(Position::Time(time)) => {
                    let remaining = time.duration_since(Timestamp::now());
                    tokio::time::sleep(remaining.try_into().unwrap_or_default()).await;
                }
                Some(Position::Number(_)) | None => std::future::pending().await,
            }
        }
    }

    /// Returns whether no event after the number `last` is selected.
    fn is_complete(&self, last: u64) -> bool {
        matches!(self.until, Some(Position::Number(number)) if number <= last)
    }

    /// Returns whether the selection ends before `item`.
    fn ends_before(&self, item: &Item) -> bool {
        let Item::Event(event) = item else { return false };
        match self.until {
            Some(Position::Number(number)) => event.seq > number,
            Some(Position::Time(time)) => event.at > time,
            None => false,
        }
    }

    /// Encodes `item`; `None` where it is not selected.
    fn encode(&self, item: &Item) -> Option<Bytes> {
        match item {
            Item::Event(event) if self.since.is_some_and(|since| event.at < since) => None,
            Item::Event(event) if !self.filter.matches(event) => None,
            Item::Event(event) => Some(self.encode_event(event)),
            Item::Gap { missed } => Some(self.encode_line("", &body::json_line(&json!({"gap": missed})))),
            Item::Restart { missed, at } => {
                let json = json!({"gap": missed, "restarted": at.to_string()});
                Some(self.encode_line("", &body::json_line(&json)))
            }
        }
    }

    fn encode_event(&self, event: &Event) -> Bytes {
        self.encode_line(&format!("id: {}\n", event.seq), &body::json_line(event))
    }

    fn encode_line(&self, id: &str, json: &Bytes) -> Bytes {
        if self.is_sse { [id.as_bytes(), b"data: ", json, b"\n"].concat().into() } else { json.clone() }
    }
}

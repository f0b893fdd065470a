//! `GET /events`: what happened and what happens, one event a line, or as server-sent events.
//!
//! What was and what comes are read in the same way. A client that reads too slowly is told how many events it missed, and holds
//! nobody back. The stream ends when the daemon stops, after the end of the last job.

use std::sync::Arc;

use bytes::Bytes;
use capstan_engine::engine::Engine;
use capstan_engine::events::{Event, Events, Filter, Item, Subscription};
use hyper::body::Frame;
use hyper::header::{ACCEPT, CACHE_CONTROL, HeaderValue};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use super::Api;
use super::body::{self, Body};
use super::disconnect::{Client, Pieces};
use super::error::Error;
use super::query::{self, Parameters};
use super::request::Request;
use super::timeouts::{self, Reading};

const NDJSON: &str = "application/x-ndjson";
const SSE: &str = "text/event-stream";
/// The header in which a browser says how far it had come.
const LAST_EVENT_ID: &str = "last-event-id";
/// What `since` and `until` may be.
const PLACE: &str =
    "the number of an event, a time such as 2026-01-31T12:00:00Z, or how long ago that was, such as 10m";

/// A place in the order of events.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Number(u64),
    Time(Timestamp),
}

/// Which events a client gets, and how.
struct Wanted {
    filter: Filter,
    /// Nothing that happened earlier: for a time that is still to come.
    since: Option<Timestamp>,
    until: Option<Place>,
    is_sse: bool,
}

/// Answers with events.
pub(super) async fn events(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let parameters = Parameters::of(&request, &["since", "until"], &["filter"])?;
    let now = Timestamp::now();
    let place = |key| parameters.read(key, PLACE, |text| Place::read(text, now));
    let (since, until) = (place("since")?, place("until")?);
    let mut filter = Filter::default();
    parameters.all("filter").try_for_each(|wish| filter.add(wish))?;
    let events = api.engine.events();
    let subscription = match last_event_id(&request)? {
        Some(number) => resumed(events, number),
        None => subscription(events, since)?,
    };
    let since = match since {
        Some(Place::Time(time)) => Some(time),
        _ => None,
    };
    let is_sse = request.lists(&ACCEPT, SSE);
    let (pieces, body) = Client::of(&request).answer(());
    let wanted = Wanted { filter, since, until, is_sse };
    api.tasks.spawn("api", "follower of events", tell(api.engine.clone(), subscription, wanted, pieces));
    let mut response = body::typed(StatusCode::OK, if is_sse { SSE } else { NDJSON }, body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    timeouts::read_as(&mut response, Reading::Follows);
    Ok(response)
}

/// The number of the last event that a client has seen which comes back.
fn last_event_id(request: &Request) -> Result<Option<u64>, Error> {
    let Some(value) = request.head.headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Error::bad_request(format!("{LAST_EVENT_ID} is not the number of an event")))
}

/// Goes on after the event `number`. One that has not been yet is of a daemon that is gone: the client has seen nothing of this one.
fn resumed(events: &Events, number: u64) -> Subscription {
    events.after(if number > events.last() { 0 } else { number })
}

fn subscription(events: &Events, since: Option<Place>) -> Result<Subscription, Error> {
    match since {
        None => Ok(events.live()),
        Some(Place::Time(time)) => Ok(events.since(time)),
        Some(Place::Number(number)) if number <= events.last() => Ok(events.after(number)),
        Some(Place::Number(number)) => {
            let last = events.last();
            Err(Error::bad_request(format!("since={number}: the last event has the number {last}")))
        }
    }
}

async fn tell(engine: Engine, mut subscription: Subscription, wanted: Wanted, pieces: Pieces) {
    let over = wanted.over();
    let mut over = std::pin::pin!(over);
    let mut drained = std::pin::pin!(engine.wait_until_drained());
    let mut is_last = false;
    loop {
        // Events that come faster than they are read, and none of which is wanted, would keep it from ever looking up.
        tokio::task::consume_budget().await;
        if pieces.is_closed() {
            return;
        }
        // Looked at before the events are read: one that comes in between is still sent.
        let last = engine.events().last();
        let item = match subscription.try_next() {
            Some(item) => item,
            None if is_last || wanted.is_over(last) => return,
            None => tokio::select! {
                biased;
                item = subscription.next() => item,
                () = pieces.closed() => return,
                () = &mut over => return,
                () = &mut drained => {
                    // What happened until here is still told.
                    is_last = true;
                    continue;
                }
            },
        };
        if wanted.is_beyond(&item) {
            return;
        }
        if let Some(text) = wanted.text(&item)
            && pieces.send(Ok(Frame::data(text))).await.is_err()
        {
            return;
        }
    }
}

impl Place {
    fn read(text: &str, now: Timestamp) -> Option<Self> {
        text.parse().map(Self::Number).ok().or_else(|| query::time(text, now).map(Self::Time))
    }
}

impl Wanted {
    /// Waits until nothing more is wanted.
    fn over(&self) -> impl Future<Output = ()> + use<> {
        let until = self.until;
        async move {
            match until {
                Some(Place::Time(time)) => {
                    let left = time.duration_since(Timestamp::now());
                    tokio::time::sleep(left.try_into().unwrap_or_default()).await;
                }
                Some(Place::Number(_)) | None => std::future::pending().await,
            }
        }
    }

    /// Whether nothing that is wanted comes after the event `last`, which was the last.
    fn is_over(&self, last: u64) -> bool {
        matches!(self.until, Some(Place::Number(number)) if number <= last)
    }

    /// Whether `item` comes after all that is wanted.
    fn is_beyond(&self, item: &Item) -> bool {
        let Item::Event(event) = item else { return false };
        match self.until {
            Some(Place::Number(number)) => event.seq > number,
            Some(Place::Time(time)) => event.at > time,
            None => false,
        }
    }

    /// What is sent of `item`; nothing where it is not wanted.
    fn text(&self, item: &Item) -> Option<Bytes> {
        match item {
            Item::Event(event) if self.since.is_some_and(|since| event.at < since) => None,
            Item::Event(event) if !self.filter.matches(event) => None,
            Item::Event(event) => Some(self.event(event)),
            Item::Gap { missed } => Some(self.line("", &body::json_line(&json!({"gap": missed})))),
        }
    }

    fn event(&self, event: &Event) -> Bytes {
        self.line(&format!("id: {}\n", event.seq), &body::json_line(event))
    }

    fn line(&self, id: &str, json: &Bytes) -> Bytes {
        if self.is_sse { [id.as_bytes(), b"data: ", json, b"\n"].concat().into() } else { json.clone() }
    }
}

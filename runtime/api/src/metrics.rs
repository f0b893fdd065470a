//! The requests that were answered, counted, and the page that tells of them.

use std::sync::Arc;

use capstan_core::metrics::StaticFamily;
use hyper::{Response, StatusCode};
use prometheus_client::metrics::counter::Counter;

use super::Api;
use super::body::Body;
use super::error::Error;
use super::request::Request;
use super::system::printed;

/// What a scraper is told that it gets.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Classes of status, by their first digit.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests by route, method and class of status.
pub(crate) type Counts = StaticFamily<3, Counter>;

/// Counts the requests of a table of routes.
#[derive(Debug)]
pub(super) struct Requests(Counts);

impl Requests {
    /// Of these routes, each a method and a path, and of what finds none.
    pub(super) fn new(routes: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let all = routes.chain([("other", "unknown")]);
        let labels =
            all.flat_map(|(method, path)| CLASSES.map(|class| [("method", method), ("path", path), ("status", class)]));
        Self(StaticFamily::new(labels.collect::<Vec<_>>()))
    }

    /// Counts an answer of the route at this place of the table, or of none.
    pub(super) fn count(&self, route: Option<usize>, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let place = route.map_or(self.0.len() - CLASSES.len(), |route| route * CLASSES.len());
        self.0.at(place + class).inc();
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.0
    }
}

/// `GET /metrics`: the job `metrics`.
pub(super) async fn metrics(api: Arc<Api>, _request: Request) -> Result<Response<Body>, Error> {
    printed(&api, "metrics", MEDIA_TYPE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_under_its_route_and_class() {
        let requests = Requests::new([("GET", "/a"), ("PUT", "/b")].into_iter());
        requests.count(Some(1), StatusCode::CREATED);
        requests.count(Some(1), StatusCode::NOT_FOUND);
        requests.count(None, StatusCode::NOT_FOUND);
        let count =
            |method, path, class| requests.counts().get(&[("method", method), ("path", path), ("status", class)]).get();
        assert_eq!((count("PUT", "/b", "2xx"), count("PUT", "/b", "4xx")), (1, 1));
        assert_eq!((count("GET", "/a", "2xx"), count("other", "unknown", "4xx")), (0, 1));
    }
}

//! `RequestCounts`: counters of answered requests by route.

use capstan_core::metrics::StaticFamily;
use hyper::StatusCode;
use prometheus_client::metrics::counter::Counter;

/// Classes of status, by their first digit.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counters by method, path of the route, and class of status.
pub(crate) type Counts = StaticFamily<3, Counter>;

/// Counts the requests of a table of routes.
#[derive(Debug)]
pub(super) struct RequestCounts(Counts);

impl RequestCounts {
    /// Creates counters for these routes, each a method and a path, and for requests that match no route.
    pub(super) fn new(routes: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let all = routes.chain([("other", "unknown")]);
        let labels =
            all.flat_map(|(method, path)| CLASSES.map(|class| [("method", method), ("path", path), ("status", class)]));
        Self(StaticFamily::new(labels.collect::<Vec<_>>()))
    }

    /// Counts a response of the route with this index in the table; `None` where no route matched.
    pub(super) fn count(&self, route: Option<usize>, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let first = route.map_or(self.0.len() - CLASSES.len(), |route| route * CLASSES.len());
        self.0.at(first + class).inc();
    }

    pub(super) fn counters(&self) -> &Counts {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_increments_counter_of_route_and_status_class() {
        let requests = RequestCounts::new([("GET", "/a"), ("PUT", "/b")].into_iter());
        requests.count(Some(1), StatusCode::CREATED);
        requests.count(Some(1), StatusCode::NOT_FOUND);
        requests.count(None, StatusCode::NOT_FOUND);
        let count = |method, path, class| {
            requests.counters().get(&[("method", method), ("path", path), ("status", class)]).get()
        };
        assert_eq!((count("PUT", "/b", "2xx"), count("PUT", "/b", "4xx")), (1, 1));
        assert_eq!((count("GET", "/a", "2xx"), count("other", "unknown", "4xx")), (0, 1));
    }
}

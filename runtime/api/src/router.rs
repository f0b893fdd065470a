//! The router: one table of everything that is served.
//!
//! Each route is served bare and under `/v1`; those of debug mode bare only, and only there. The table prints itself, so that what is
//! served can be read in one place.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use hyper::{Method, Response};

use super::body::{self, Body};
use super::error::Error;
use super::metrics::{self, Requests};
use super::request::Request;
use super::{Api, debug, events, handlers, jobs, policy, run, system};

/// The versions of the API that are served.
pub const MIN_VERSION: u32 = 1;
pub const MAX_VERSION: u32 = 1;

/// What an API function comes to.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

/// A method and a path, and the API function that they call.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    function: fn(Arc<Api>, Request) -> Answer,
}

const fn route(method: Method, path: &'static str, function: fn(Arc<Api>, Request) -> Answer) -> Route {
    Route { method, path, function }
}

static ROUTES: &[Route] = &[
    route(Method::GET, "/_ping", |api, request| Box::pin(system::ping(api, request))),
    route(Method::GET, "/_ready", |api, request| Box::pin(system::ready(api, request))),
    route(Method::GET, "/version", |api, request| Box::pin(system::version(api, request))),
    route(Method::GET, "/info", |api, request| Box::pin(system::info(api, request))),
    route(Method::GET, "/metrics", |api, request| Box::pin(metrics::metrics(api, request))),
    route(Method::GET, "/handlers", |api, request| Box::pin(handlers::list(api, request))),
    route(Method::GET, "/handlers/{name}", |api, request| Box::pin(handlers::inspect(api, request))),
    route(Method::PUT, "/handlers/{name}", |api, request| Box::pin(handlers::put(api, request))),
    route(Method::DELETE, "/handlers/{name}", |api, request| Box::pin(handlers::remove(api, request))),
    route(Method::GET, "/handlers/{name}/wasm", |api, request| Box::pin(handlers::wasm(api, request))),
    route(Method::POST, "/handlers/{name}/run", |api, request| Box::pin(run::run(api, request))),
    route(Method::POST, "/policy/check", |api, request| Box::pin(policy::check(api, request))),
    route(Method::POST, "/jobs", |api, request| Box::pin(jobs::submit(api, request))),
    route(Method::GET, "/jobs", |api, request| Box::pin(jobs::list(api, request))),
    route(Method::GET, "/jobs/{id}", |api, request| Box::pin(jobs::inspect(api, request))),
    route(Method::DELETE, "/jobs/{id}", |api, request| Box::pin(jobs::remove(api, request))),
    route(Method::GET, "/jobs/{id}/logs", |api, request| Box::pin(jobs::logs(api, request))),
    route(Method::POST, "/jobs/{id}/wait", |api, request| Box::pin(jobs::wait(api, request))),
    route(Method::POST, "/jobs/{id}/cancel", |api, request| Box::pin(jobs::cancel(api, request))),
    route(Method::POST, "/jobs/{id}/kill", |api, request| Box::pin(jobs::kill(api, request))),
    route(Method::PUT, "/jobs/{id}/stdin", |api, request| Box::pin(jobs::stdin(api, request))),
    route(Method::GET, "/jobs/{id}/attach", |api, request| Box::pin(jobs::attach_messages(api, request))),
    route(Method::POST, "/jobs/{id}/attach", |api, request| Box::pin(jobs::attach(api, request))),
    route(Method::GET, "/events", |api, request| Box::pin(events::events(api, request))),
];

/// What is served in debug mode besides, without a version: no program should rely on it.
static DEBUG_ROUTES: &[Route] = &[
    route(Method::GET, "/debug/cmdline", |api, request| Box::pin(debug::cmdline(api, request))),
    route(Method::GET, "/debug/tasks", |api, request| Box::pin(debug::tasks(api, request))),
    route(Method::GET, "/debug/vars", |api, request| Box::pin(debug::vars(api, request))),
    route(Method::GET, "/debug/pprof/", |api, request| Box::pin(debug::index(api, request))),
    route(Method::GET, "/debug/jobs/{id}/profile", |api, request| Box::pin(debug::guest_profile(api, request))),
    route(Method::GET, "/debug/pprof/heap", |api, request| Box::pin(debug::heap(api, request))),
    route(Method::GET, "/debug/pprof/profile", |api, request| Box::pin(debug::profile(api, request))),
];

type Table = matchit::Router<Vec<&'static Route>>;

static TABLE: LazyLock<Table> = LazyLock::new(|| table(ROUTES));
static DEBUG_TABLE: LazyLock<Table> = LazyLock::new(|| table(DEBUG_ROUTES));

fn table(all: &'static [Route]) -> Table {
    let mut table = matchit::Router::new();
    for path in all.iter().map(|route| route.path) {
        if table.at(path).is_err() {
            let routes = all.iter().filter(|route| route.path == path).collect();
            table.insert(path, routes).expect("the paths of the table do not overlap");
        }
    }
    table
}

/// What counts the requests of the table.
pub(super) fn requests() -> Requests {
    Requests::new(ROUTES.iter().map(|route| (known(&route.method), route.path)))
}

/// The name of a method of the table.
fn known(method: &Method) -> &'static str {
    ["GET", "PUT", "POST", "DELETE"].into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

/// Finds the API function that `request` calls, calls it, and counts the answer. Whoever may not call anything comes with what is
/// answered instead.
pub(crate) async fn call(api: Arc<Api>, request: Request, allowed: Result<(), Error>) -> Response<Body> {
    let mut route = None;
    let answer = match allowed {
        Ok(()) => routed(api.clone(), request, &mut route).await,
        Err(error) => Err(error),
    };
    let response = answer.unwrap_or_else(|error| {
        tracing::debug!(%error, "refused a request");
        error.into_response()
    });
    api.requests.count(route, response.status());
    response
}

/// Notes in `taken` the place of the route in the table.
async fn routed(api: Arc<Api>, mut request: Request, taken: &mut Option<usize>) -> Result<Response<Body>, Error> {
    let (method, path) = (&request.head.method, request.head.uri.path());
    match find(method, path, api.debug.is_some())? {
        Found::Route(route, name) => {
            *taken = ROUTES.element_offset(route);
            request.name = name.to_owned();
            (route.function)(api, request).await
        }
        Found::Methods(allow) if *method == Method::OPTIONS => Ok(body::allowing(&allow.to_string())),
        Found::Methods(allow) => Err(Error::method_not_allowed(method, &allow.to_string())),
    }
}

/// What is at a path.
pub(super) enum Found<'a> {
    /// What the method calls, and the name of a handler or the id of a job in the path.
    Route(&'static Route, &'a str),
    /// Nothing for that method.
    Methods(Allow<'static>),
}

/// What `method` and `path` lead to.
///
/// # Errors
/// [`Error`], 404 or 400.
pub(super) fn find<'a>(method: &Method, path: &'a str, is_debug: bool) -> Result<Found<'a>, Error> {
    let found = match path.starts_with("/debug/") && is_debug {
        true => DEBUG_TABLE.at(path),
        false => TABLE.at(unversioned(path)?),
    };
    let found = found.map_err(|_| Error::not_found(format!("nothing is served at {path}")))?;
    let matches = |route: &&&Route| route.method == *method || (route.method == Method::GET && *method == Method::HEAD);
    match found.value.iter().find(matches) {
        Some(route) => Ok(Found::Route(route, found.params.iter().next().map(|(_, value)| value).unwrap_or_default())),
        None => Ok(Found::Methods(Allow(found.value))),
    }
}

/// The path without the version before it.
pub(super) fn unversioned(path: &str) -> Result<&str, Error> {
    let Some(rest) = path.strip_prefix("/v") else { return Ok(path) };
    let version = rest.split('/').next().expect("split gives one piece at least");
    if !version.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(path);
    }
    if version.parse::<u32>().is_ok_and(|number| (MIN_VERSION..=MAX_VERSION).contains(&number)) {
        return Ok(&rest[version.len()..]);
    }
    Err(Error::unsupported_version(version, MIN_VERSION, MAX_VERSION))
}

/// The methods of some routes, as `Allow` has them.
pub(super) struct Allow<'a>(&'a [&'static Route]);

impl fmt::Display for Allow<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for route in self.0 {
            write!(formatter, "{}, ", route.method)?;
            if route.method == Method::GET {
                write!(formatter, "HEAD, ")?;
            }
        }
        write!(formatter, "OPTIONS")
    }
}

/// The table, one route a line.
pub(crate) struct Routes;

impl fmt::Display for Routes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        ROUTES.iter().try_for_each(|route| writeln!(formatter, "{:<7}{}", route.method.as_str(), route.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound_and_prints_itself() {
        LazyLock::force(&TABLE);
        LazyLock::force(&DEBUG_TABLE);
        let printed = Routes.to_string();
        assert_eq!(printed.lines().count(), ROUTES.len());
        assert!(printed.contains("POST   /handlers/{name}/run\n"), "{printed}");
        for (at, route) in ROUTES.iter().enumerate() {
            let twice = ROUTES[..at].iter().any(|other| (&other.method, other.path) == (&route.method, route.path));
            assert!(!twice, "{} {} is there twice", route.method, route.path);
        }
    }

    #[test]
    fn the_version_is_taken_off_or_refused() {
        for (path, bare) in [
            ("/info", "/info"),
            ("/v1/info", "/info"),
            ("/version", "/version"),
            ("/v1", ""),
            ("/v1/v1/x", "/v1/x"),
            ("/vx/y", "/vx/y"),
        ] {
            assert_eq!(unversioned(path).unwrap(), bare);
        }
        for path in ["/v0/info", "/v2/info", "/v1.41/info", "/v99999999999/info", "/v2"] {
            let error = unversioned(path).unwrap_err().to_string();
            assert!(
                error.contains("unsupported_version") && error.contains("lowest is 1 and the highest 1"),
                "{error}"
            );
        }
    }

    #[test]
    fn allow_names_the_methods_of_a_path() {
        assert_eq!(Allow(TABLE.at("/handlers/x").unwrap().value).to_string(), "GET, HEAD, PUT, DELETE, OPTIONS");
        assert_eq!(Allow(TABLE.at("/handlers/x/run").unwrap().value).to_string(), "POST, OPTIONS");
    }
}

//! The router: one table of all routes.
//!
//! Each route is served bare and under `/v1`. The routes of debug mode are served bare only, and only in debug mode. [`Routes`] prints
//! the table.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use hyper::{Method, Response};

use super::body::{self, Body};
use super::error::Error;
use super::request::Request;
use super::request_counts::RequestCounts;
use super::state::ApiState;
use super::surface::Surface;
use super::{
    dead_letters, debug, events, guest_http, handlers, jobs, metrics, policy, queues, routes, run, schedules, system,
};

/// The lowest and the highest version of the API that are supported.
pub const MIN_VERSION: u32 = 1;
pub const MAX_VERSION: u32 = 1;

/// The future of an API function.
pub(crate) type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

/// A method and a path, and the API function that they call.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    function: fn(Arc<ApiState>, Request) -> ResponseFuture,
}

const fn route(method: Method, path: &'static str, function: fn(Arc<ApiState>, Request) -> ResponseFuture) -> Route {
    Route { method, path, function }
}

static ROUTES: &[Route] = &[
    route(Method::GET, "/_ping", |state, request| Box::pin(system::ping(state, request))),
    route(Method::GET, "/_ready", |state, request| Box::pin(system::ready(state, request))),
    route(Method::GET, "/version", |state, request| Box::pin(system::version(state, request))),
    route(Method::GET, "/info", |state, request| Box::pin(system::info(state, request))),
    route(Method::GET, "/metrics", |state, request| Box::pin(metrics::metrics(state, request))),
    route(Method::GET, "/handlers", |state, request| Box::pin(handlers::list(state, request))),
    route(Method::GET, "/handlers/{name}", |state, request| Box::pin(handlers::inspect(state, request))),
    route(Method::PUT, "/handlers/{name}", |state, request| Box::pin(handlers::put(state, request))),
    route(Method::DELETE, "/handlers/{name}", |state, request| Box::pin(handlers::remove(state, request))),
    route(Method::GET, "/handlers/{name}/wasm", |state, request| Box::pin(handlers::wasm(state, request))),
    route(Method::POST, "/handlers/{name}/run", |state, request| Box::pin(run::run(state, request))),
    route(Method::POST, "/policy/check", |state, request| Box::pin(policy::check(state, request))),
    route(Method::POST, "/jobs", |state, request| Box::pin(jobs::submit(state, request))),
    route(Method::GET, "/jobs", |state, request| Box::pin(jobs::list(state, request))),
    route(Method::POST, "/jobs/batch", |state, request| Box::pin(jobs::submit_batch(state, request))),
    route(Method::POST, "/jobs/cancel", |state, request| Box::pin(jobs::cancel_many(state, request))),
    route(Method::GET, "/jobs/{id}", |state, request| Box::pin(jobs::inspect(state, request))),
    route(Method::DELETE, "/jobs/{id}", |state, request| Box::pin(jobs::remove(state, request))),
    route(Method::POST, "/jobs/{id}/retry", |state, request| Box::pin(jobs::retry(state, request))),
    route(Method::GET, "/jobs/{id}/logs", |state, request| Box::pin(jobs::logs(state, request))),
    route(Method::POST, "/jobs/{id}/wait", |state, request| Box::pin(jobs::wait(state, request))),
    route(Method::POST, "/jobs/{id}/cancel", |state, request| Box::pin(jobs::cancel(state, request))),
    route(Method::POST, "/jobs/{id}/kill", |state, request| Box::pin(jobs::kill(state, request))),
    route(Method::PUT, "/jobs/{id}/stdin", |state, request| Box::pin(jobs::stdin(state, request))),
    route(Method::GET, "/jobs/{id}/attach", |state, request| Box::pin(jobs::attach_messages(state, request))),
    route(Method::POST, "/jobs/{id}/attach", |state, request| Box::pin(jobs::attach(state, request))),
    route(Method::GET, "/dead-letters", |state, request| Box::pin(dead_letters::list(state, request))),
    route(Method::DELETE, "/dead-letters", |state, request| Box::pin(dead_letters::purge(state, request))),
    route(Method::POST, "/dead-letters/requeue", |state, request| Box::pin(dead_letters::requeue(state, request))),
    route(Method::GET, "/queues", |state, request| Box::pin(queues::list(state, request))),
    route(Method::GET, "/queues/{handler}", |state, request| Box::pin(queues::inspect(state, request))),
    route(Method::POST, "/queues/{handler}/pause", |state, request| Box::pin(queues::pause(state, request))),
    route(Method::POST, "/queues/{handler}/resume", |state, request| Box::pin(queues::resume(state, request))),
    route(Method::GET, "/schedules", |state, request| Box::pin(schedules::list(state, request))),
    route(Method::GET, "/schedules/{name}", |state, request| Box::pin(schedules::inspect(state, request))),
    route(Method::PUT, "/schedules/{name}", |state, request| Box::pin(schedules::put(state, request))),
    route(Method::DELETE, "/schedules/{name}", |state, request| Box::pin(schedules::remove(state, request))),
    route(Method::POST, "/schedules/{name}/run", |state, request| Box::pin(schedules::run(state, request))),
    route(Method::POST, "/schedules/{name}/pause", |state, request| Box::pin(schedules::pause(state, request))),
    route(Method::POST, "/schedules/{name}/resume", |state, request| Box::pin(schedules::resume(state, request))),
    route(Method::GET, "/routes", |state, request| Box::pin(routes::list(state, request))),
    route(Method::GET, "/events", |state, request| Box::pin(events::events(state, request))),
];

/// The routes of debug mode. They have no version: no program should rely on them.
static DEBUG_ROUTES: &[Route] = &[
    route(Method::GET, "/debug/cmdline", |state, request| Box::pin(debug::cmdline(state, request))),
    route(Method::GET, "/debug/tasks", |state, request| Box::pin(debug::tasks(state, request))),
    route(Method::GET, "/debug/vars", |state, request| Box::pin(debug::vars(state, request))),
    route(Method::GET, "/debug/pprof/", |state, request| Box::pin(debug::index(state, request))),
    route(Method::GET, "/debug/jobs/{id}/profile", |state, request| Box::pin(debug::guest_profile(state, request))),
    route(Method::GET, "/debug/pprof/heap", |state, request| Box::pin(debug::heap(state, request))),
    route(Method::GET, "/debug/pprof/profile", |state, request| Box::pin(debug::profile(state, request))),
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

/// Creates the counters for the requests of the table.
pub(super) fn request_counts() -> RequestCounts {
    let routes = ROUTES.iter().map(|route| (method_label(&route.method), route.path));
    RequestCounts::new(routes.chain([("any", "/x/{handler}"), ("any", "claimed routes")]))
}

/// Returns the name of a method of the table.
fn method_label(method: &Method) -> &'static str {
    ["GET", "PUT", "POST", "DELETE"].into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

/// Calls the API function of `request`, and counts the response.
///
/// A request that was not admitted comes with the error that becomes its response.
pub(crate) async fn call(
    state: Arc<ApiState>,
    counts: &RequestCounts,
    request: Request,
    admitted: Result<(), Error>,
    surface: Surface,
) -> Response<Body> {
    if surface == Surface::Routes || request.head.uri.path().starts_with(guest_http::PREFIX) {
        let response = guest_http::call(state, request, admitted, surface).await;
        // Their labels follow those of the table.
        let index = ROUTES.len() + usize::from(surface == Surface::Routes);
        counts.count(Some(index), response.status());
        return response;
    }
    let mut route_index = None;
    let result = match admitted {
        Ok(()) => dispatch(state, request, &mut route_index).await,
        Err(error) => Err(error),
    };
    let response = result.unwrap_or_else(|error| {
        tracing::debug!(%error, "rejected a request");
        error.into_response()
    });
    counts.count(route_index, response.status());
    response
}

/// Sets `route_index` to the index of the route in the table.
async fn dispatch(
    state: Arc<ApiState>,
    mut request: Request,
    route_index: &mut Option<usize>,
) -> Result<Response<Body>, Error> {
    let (method, path) = (&request.head.method, request.head.uri.path());
    match find(method, path, state.debug.is_some())? {
        RouteMatch::Route(route, parameter) => {
            *route_index = ROUTES.element_offset(route);
            request.path_parameter = parameter.to_owned();
            (route.function)(state, request).await
        }
        RouteMatch::OtherMethods(allowed) if *method == Method::OPTIONS => {
            Ok(body::options_response(&allowed.to_string()))
        }
        RouteMatch::OtherMethods(allowed) => Err(Error::method_not_allowed(method, &allowed.to_string())),
    }
}

/// The result of a lookup of a path that exists.
pub(super) enum RouteMatch<'a> {
    /// The route of the method, and the name of a handler or the id of a job in the path.
    Route(&'static Route, &'a str),
    /// The path has no route for the method, but has these.
    OtherMethods(AllowedMethods<'static>),
}

/// Returns the route of a method and a path.
///
/// # Errors
/// [`Error`]: 404 `not_found` for an unknown path, 400 `unsupported_version`.
pub(super) fn find<'a>(method: &Method, path: &'a str, is_debug: bool) -> Result<RouteMatch<'a>, Error> {
    let found = match path.starts_with("/debug/") && is_debug {
        true => DEBUG_TABLE.at(path),
        false => TABLE.at(unversioned(path)?),
    };
    let found = found.map_err(|_| Error::not_found(format!("no resource has the path {path}")))?;
    let matches = |route: &&&Route| route.method == *method || (route.method == Method::GET && *method == Method::HEAD);
    match found.value.iter().find(matches) {
        Some(route) => {
            let parameter = found.params.iter().next().map(|(_, value)| value).unwrap_or_default();
            Ok(RouteMatch::Route(route, parameter))
        }
        None => Ok(RouteMatch::OtherMethods(AllowedMethods(found.value))),
    }
}

/// Returns a path without its version.
///
/// # Errors
/// [`Error`], 400 `unsupported_version`.
pub(super) fn unversioned(path: &str) -> Result<&str, Error> {
    let Some(rest) = path.strip_prefix("/v") else { return Ok(path) };
    let version = rest.split('/').next().expect("split returns at least one piece");
    if !version.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(path);
    }
    if version.parse::<u32>().is_ok_and(|number| (MIN_VERSION..=MAX_VERSION).contains(&number)) {
        return Ok(&rest[version.len()..]);
    }
    Err(Error::unsupported_version(version, MIN_VERSION, MAX_VERSION))
}

/// The methods of some routes, in the format of `Allow`.
pub(super) struct AllowedMethods<'a>(&'a [&'static Route]);

impl fmt::Display for AllowedMethods<'_> {
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

/// Prints the table, one route per line.
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
    fn route_table_has_no_duplicates_and_prints_every_route() {
        LazyLock::force(&TABLE);
        LazyLock::force(&DEBUG_TABLE);
        let printed = Routes.to_string();
        assert_eq!(printed.lines().count(), ROUTES.len());
        assert!(printed.contains("POST   /handlers/{name}/run\n"), "{printed}");
        for (index, route) in ROUTES.iter().enumerate() {
            let is_duplicate =
                ROUTES[..index].iter().any(|other| (&other.method, other.path) == (&route.method, route.path));
            assert!(!is_duplicate, "{} {} is there twice", route.method, route.path);
        }
    }

    #[test]
    fn unversioned_removes_supported_version_and_rejects_others() {
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
    fn allowed_methods_lists_methods_of_path() {
        assert_eq!(
            AllowedMethods(TABLE.at("/handlers/x").unwrap().value).to_string(),
            "GET, HEAD, PUT, DELETE, OPTIONS"
        );
        assert_eq!(AllowedMethods(TABLE.at("/handlers/x/run").unwrap().value).to_string(), "POST, OPTIONS");
    }
}

//! [`Route`]: a route of a handler.

use capstan_core::manifest::ManifestRoute;
use capstan_core::route::RoutePattern;

use crate::handler::HandlerName;

/// A route of a handler.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub handler: HandlerName,
    pub pattern: RoutePattern,
    /// As the manifest has it.
    pub definition: ManifestRoute,
}

//! [`RouteTable`]: the routes that handlers claim, and which of them answers a request.
//!
//! If several routes match a request, these rules decide, in this order:
//!
//! 1. An exact host comes before `*.HOST`, a longer `*.HOST` before a shorter one, and all of them before a route without a host.
//! 2. At the first segment of the paths that differs, text comes before `{NAME}`, and `{NAME}` before `{*NAME}`.
//! 3. A route that names the method comes before one that takes all.
//!
//! A route whose method does not fit counts as if it were absent. The registry makes a new table with each change of its handlers, so a
//! request sees the table before a change or the one after it.

mod route;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_core::manifest::ManifestRoute;
use capstan_core::route::{HostPattern, RouteError};

pub use self::route::Route;
use self::tree::Tree;
use crate::handler::HandlerName;

/// The routes that handlers claim.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    exact: BTreeMap<String, Tree>,
    /// For `*.HOST`, the longest name first.
    below: Vec<(HostPattern, Tree)>,
    any: Tree,
    all: Vec<Arc<Route>>,
}

/// Why the routes of a handler were not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutesError {
    #[error(
        "the route {route} conflicts with {other} of handler {handler}; change one of them, or remove that handler"
    )]
    Conflict { route: String, other: String, handler: HandlerName },
    #[error("a route of the manifest is not valid: {0}")]
    Invalid(#[from] RouteError),
    #[error("the route {0} serves files, and the handler has none; push them with it")]
    NoFiles(String),
}

/// What a table has for a request.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteMatch {
    Route(Arc<Route>),
    /// Only routes for these other methods match.
    OtherMethods(Vec<String>),
    None,
}

impl RouteTable {
    /// Adds the routes of a handler, or none of them.
    pub(crate) fn add(&mut self, handler: &HandlerName, routes: &[ManifestRoute]) -> Result<(), RoutesError> {
        let mut added = Vec::with_capacity(routes.len());
        for definition in routes {
            let pattern = definition.pattern()?;
            let others = self.all.iter().chain(&added);
            if let Some(other) = others.into_iter().find(|other| other.pattern.conflicts_with(&pattern)) {
                let (route, claimed) = (pattern.to_string(), other.pattern.to_string());
                return Err(RoutesError::Conflict { route, other: claimed, handler: other.handler.clone() });
            }
            added.push(Arc::new(Route { handler: handler.clone(), pattern, definition: definition.clone() }));
        }
        for route in added {
            self.tree(&route.pattern.host).insert(&route);
            self.all.push(route);
        }
        Ok(())
    }

    /// Returns the tree of a host, which is created if there is none.
    fn tree(&mut self, host: &HostPattern) -> &mut Tree {
        match host {
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Any => &mut self.any,
            HostPattern::Below(name) => {
                let length = |pattern: &HostPattern| match pattern {
                    HostPattern::Below(name) => name.len(),
                    HostPattern::Exact(_) | HostPattern::Any => 0,
                };
                let index = self.below.iter().position(|(other, _)| other == host).unwrap_or_else(|| {
                    let index = self.below.partition_point(|(other, _)| length(other) >= name.len());
                    self.below.insert(index, (host.clone(), Tree::default()));
                    index
                });
                &mut self.below[index].1
            }
        }
    }

    /// Returns the route that answers a request. `host` is in small letters and has no port. `path` has the decoded segments.
    pub fn find(&self, method: &str, host: &str, path: &[impl AsRef<str>]) -> RouteMatch {
        let below = self.below.iter().filter(|(pattern, _)| pattern.matches(host)).map(|(_, tree)| tree);
        let trees = self.exact.get(host).into_iter().chain(below).chain([&self.any]);
        let mut methods = Vec::new();
        for tree in trees {
            if let Some(route) = tree.find(method, path, &mut methods) {
                return RouteMatch::Route(route.clone());
            }
        }
        methods.sort();
        methods.dedup();
        if methods.is_empty() { RouteMatch::None } else { RouteMatch::OtherMethods(methods) }
    }

    /// Returns all routes, ordered by their handlers.
    pub fn all(&self) -> &[Arc<Route>] {
        &self.all
    }
}

#[cfg(test)]
mod tests;

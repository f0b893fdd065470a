//! [`Tree`]: the routes of one host, by the segments of their paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_core::route::Segment;

use super::route::Route;

/// The routes below a prefix of their paths. A request visits a node at most once.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    texts: BTreeMap<String, Tree>,
    variable: Option<Box<Tree>>,
    /// The routes whose path ends here with `{*NAME}`.
    rest: Vec<Arc<Route>>,
    /// The routes whose path ends here.
    end: Vec<Arc<Route>>,
}

impl Tree {
    /// Adds a route that conflicts with no other.
    pub(super) fn insert(&mut self, route: &Arc<Route>) {
        let mut node = self;
        for segment in route.pattern.path.segments() {
            node = match segment {
                Segment::Static(text) => node.texts.entry(text.clone()).or_default(),
                Segment::Variable(_) => node.variable.get_or_insert_default(),
                // It is the last segment.
                Segment::Rest(_) => return node.rest.push(route.clone()),
            };
        }
        node.end.push(route.clone());
    }

    /// Returns the route of a request. Adds the methods of routes that match only the path to `methods`.
    pub(super) fn find(
        &self,
        method: &str,
        path: &[impl AsRef<str>],
        methods: &mut Vec<String>,
    ) -> Option<&Arc<Route>> {
        let Some((segment, below)) = path.split_first() else { return select(&self.end, method, methods) };
        let segment = segment.as_ref();
        let text = self.texts.get(segment).and_then(|node| node.find(method, below, methods));
        let variable = || self.variable.as_deref().filter(|_| !segment.is_empty());
        text.or_else(|| variable()?.find(method, below, methods)).or_else(|| select(&self.rest, method, methods))
    }
}

/// Returns the route for a method, of routes with the same path.
fn select<'a>(routes: &'a [Arc<Route>], method: &str, methods: &mut Vec<String>) -> Option<&'a Arc<Route>> {
    let named = |name: &str| routes.iter().find(|route| route.pattern.methods.names().iter().any(|own| own == name));
    // A route that names HEAD comes before one that includes it with GET.
    let found = named(method)
        .or_else(|| routes.iter().find(|route| route.pattern.methods.contains(method)))
        .or_else(|| routes.iter().find(|route| route.pattern.methods.is_any()));
    if found.is_none() {
        methods.extend(routes.iter().flat_map(|route| route.pattern.methods.names()).cloned());
    }
    found
}

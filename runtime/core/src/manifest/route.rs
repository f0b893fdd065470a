//! [`ManifestRoute`]: a `[[route]]` of a manifest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ManifestError;
use crate::http::SignatureRule;
use crate::route::{self, Methods, RouteError, RoutePattern};

/// Requests that the handler answers on the `--serve` listeners. If several routes match a request, the one that says more about its host counts,
/// then the one that says more about its path, then the one that names its method.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Route")]
pub struct ManifestRoute {
    /// The pattern of the path, such as `/users/{id}/files/{*path}`. `{id}` matches one segment. `{*path}` is last, and matches the rest.
    pub path: String,
    /// The methods, such as `["GET", "POST"]`. `GET` includes `HEAD`. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The host without a port, such as `api.example.com`, or `*.example.com` for all names below it. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A directory of the handler's own files that is served instead of a run, or one file if `path` has no `{*…}`. `.` is all of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Whether each request becomes a durable job, and is answered with 202 once that is stored, as for webhooks. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub respond_async: bool,
    /// The signature that each request must have. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureRule>,
}

impl ManifestRoute {
    /// Returns the pattern that requests are matched with.
    ///
    /// # Errors
    /// [`RouteError`]
    pub fn pattern(&self) -> Result<RoutePattern, RouteError> {
        if let Some(files) = &self.files {
            route::check_files(files)?;
        }
        RoutePattern::new(self.host.as_deref(), &self.path, Methods::new(&self.methods)?)
    }

    /// Checks all routes of a manifest, also against each other.
    pub(super) fn check_all(routes: &[Self]) -> Result<(), ManifestError> {
        let mut patterns = Vec::<RoutePattern>::new();
        for (index, route) in routes.iter().enumerate() {
            let number = index + 1;
            let pattern = route.pattern().map_err(|error| ManifestError(format!("[[route]] {number}: {error}")))?;
            if let Some(other) = patterns.iter().position(|other| other.conflicts_with(&pattern)) {
                let message = format!("[[route]] {number} matches the same requests as [[route]] {}", other + 1);
                return Err(ManifestError(message));
            }
            patterns.push(pattern);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Manifest;

    #[test]
    fn parse_manifest_reads_routes() {
        let text = "[[route]]\npath = \"/a/{id}\"\nmethods = [\"GET\"]\nhost = \"*.example.com\"\n\
                    [[route]]\npath = \"/s/{*path}\"\nfiles = \"public\"\n";
        let manifest = Manifest::parse(text).unwrap();
        let [first, second] = &manifest.route[..] else { panic!("{manifest:?}") };
        assert_eq!((first.path.as_str(), first.host.as_deref()), ("/a/{id}", Some("*.example.com")));
        assert_eq!(second.files.as_deref(), Some("public"));
        // The record of a handler has its manifest as JSON.
        let json = serde_json::to_value(&manifest).unwrap();
        assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), manifest);
    }

    #[test]
    fn parse_manifest_rejects_invalid_routes_and_names_them() {
        for (text, part) in [
            ("[[route]]\n", "[[route]] 1: the path"),
            ("[[route]]\npath = \"a\"", "starts with /"),
            ("[[route]]\npath = \"/a\"\nfiles = \"../x\"", "../x"),
            ("[[route]]\npath = \"/a\"\nmethods = [\"get\"]", "get"),
            ("[[route]]\npath = \"/a/{x}\"\n[[route]]\npath = \"/a/{y}\"", "[[route]] 2 matches the same requests"),
            ("[[route]]\npaht = \"/a\"", "did you mean `path`"),
        ] {
            let error = Manifest::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

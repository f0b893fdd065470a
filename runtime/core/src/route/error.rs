//! [`RouteError`]: why a route is not valid.

/// A route is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("the path {path:?} is not valid: {reason}")]
    Path { path: String, reason: String },
    #[error(
        "the host {0:?} is not the name of a host, such as api.example.com or *.example.com, in small letters and without a port"
    )]
    Host(String),
    #[error("the method {0:?} is not one in capital letters, such as GET")]
    Method(String),
    #[error("files: {0:?} is not a path below the files of the handler, such as \"public\"")]
    Files(String),
}

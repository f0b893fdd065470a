//! [`Surface`]: what a listener serves.

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// The API, and handlers below `/x/`.
    Api,
    /// The routes that handlers claim, and nothing else.
    Routes,
}

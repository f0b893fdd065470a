//! Handlers that answer HTTP requests themselves.

mod reuse;

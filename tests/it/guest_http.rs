//! Handlers that answer HTTP requests themselves.

mod routes;

//! Requests that handlers answer themselves.

mod cgi;
mod respond_async;

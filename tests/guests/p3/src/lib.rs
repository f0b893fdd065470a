//! The guest of the tests of WASI 0.3: a command, and a component that answers HTTP requests. [`command`] and [`web`] list what they do.

#![allow(clippy::disallowed_methods, reason = "a guest has no other way to trap")]

mod command;
mod web;

struct Guest;

impl wasip3::exports::cli::run::Guest for Guest {
    async fn run() -> Result<(), ()> {
        command::run().await
    }
}

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(
        request: wasip3::http::types::Request,
    ) -> Result<wasip3::http::types::Response, wasip3::http::types::ErrorCode> {
        web::handle(request).await
    }
}

wasip3::cli::command::export!(Guest);
wasip3::http::service::export!(Guest);

//! `capstan routes`: the routes that handlers claim.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::client::Client;
use super::error::CliError;
use super::{format, output};

const HEADER: [&str; 5] = ["METHODS", "HOST", "PATH", "HANDLER", "FILES"];

/// The command line of `capstan routes`.
#[derive(Debug, Args)]
pub(super) struct Routes {
    /// Print the routes as JSON [default: a table]
    #[arg(long)]
    json: bool,
}

impl Routes {
    /// Lists the routes.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let routes = client.call(Method::GET, "/routes").await?;
        if self.json {
            output::print_json(&routes)?
        } else {
            output::print(table(&routes).as_bytes())?
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(routes: &Value) -> String {
    format::table(&HEADER, routes["routes"].as_array().into_iter().flatten().map(row))
}

fn row(route: &Value) -> Vec<String> {
    let text = |name: &str, default: &str| route[name].as_str().unwrap_or(default).to_owned();
    let methods: Vec<_> = route["methods"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let methods = if methods.is_empty() { "any".to_owned() } else { methods.join(",") };
    vec![methods, text("host", "any"), text("path", ""), text("handler", ""), text("files", "-")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_shows_what_a_route_matches_and_who_answers() {
        let routes = json!({"routes": [
            {"path": "/a/{id}", "methods": ["GET", "PUT"], "host": "*.example.com", "handler": "api"},
            {"path": "/{*path}", "files": "public", "handler": "site"},
        ]});
        let expected = "\
METHODS  HOST           PATH      HANDLER  FILES
GET,PUT  *.example.com  /a/{id}   api      -
any      any            /{*path}  site     public
";
        assert_eq!(table(&routes), expected);
    }
}

//! Removes things of the daemon by their names.

use std::process::ExitCode;

use hyper::Method;
use serde_json::json;

use super::client::Client;
use super::error::CliError;
use super::output;

/// Removes what is at `path` of each name, and reports those that cannot be removed. Returns the exit code of the last failure.
///
/// # Errors
/// [`CliError::Output`]
pub(super) async fn remove_all(
    client: &Client,
    names: &[String],
    path: impl Fn(&str) -> String,
    json: bool,
) -> Result<ExitCode, CliError> {
    let (mut removed, mut exit_code) = (Vec::new(), ExitCode::SUCCESS);
    for name in names {
        match client.call(Method::DELETE, &path(name)).await.map_err(CliError::Client) {
            Ok(_) => removed.push(name),
            Err(error) => {
                output::print_error(&error);
                exit_code = ExitCode::from(error.exit_code());
            }
        }
    }
    if json {
        output::print_json(&json!({"removed": removed}))?;
    } else {
        removed.iter().try_for_each(|name| output::print(format!("{name}\n").as_bytes()))?;
    }
    Ok(exit_code)
}

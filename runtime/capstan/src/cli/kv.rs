//! `capstan kv`: what handlers keep between their runs.

use std::ffi::OsString;
use std::io::Read as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use percent_encoding::utf8_percent_encode;
use serde_json::{Value, json};

use super::client::{Client, URL_ENCODE_SET, full_body, request, with_query};
use super::error::CliError;
use super::{format, output};

/// Names in one request for a list.
const PAGE: &str = "1000";

/// The command line of `capstan kv`.
#[derive(Debug, Args)]
pub(super) struct Kv {
    /// Print JSON [default: text]
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the buckets of a handler, or the keys of a bucket
    Ls { handler: String, bucket: Option<String> },
    /// Print a value as it is
    Get { handler: String, bucket: String, key: String },
    /// Set a key to a value, which comes from stdin if it is not given
    Set { handler: String, bucket: String, key: String, value: Option<OsString> },
    /// Remove keys, which need not exist
    Rm {
        handler: String,
        bucket: String,
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

impl Kv {
    /// Lists, reads or changes data.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        match self.action {
            Action::Ls { handler, bucket: None } => list_buckets(client, &handler, self.json).await?,
            Action::Ls { handler, bucket: Some(bucket) } => list_keys(client, &handler, &bucket, self.json).await?,
            Action::Get { handler, bucket, key } => {
                let path = key_path(&handler, &bucket, &key);
                let mut response = client.open_stream(&path, "*/*").await?;
                let mut value = Vec::new();
                while let Some(chunk) = response.chunk().await? {
                    value.extend_from_slice(&chunk);
                }
                match self.json {
                    true => output::print_json(&json!({"key": key, "value": String::from_utf8_lossy(&value)}))?,
                    false => output::print(&value)?,
                }
            }
            Action::Set { handler, bucket, key, value } => {
                let value = match value {
                    Some(value) => value.into_encoded_bytes(),
                    None => read_stdin()?,
                };
                let request = request(Method::PUT, &key_path(&handler, &bucket, &key)).body(full_body(value.into()));
                client.exchange(request.expect("the path is encoded")).await?;
                print_done(&key, self.json)?;
            }
            Action::Rm { handler, bucket, keys } => {
                for key in &keys {
                    client.call(Method::DELETE, &key_path(&handler, &bucket, key)).await?;
                }
                match self.json {
                    true => output::print_json(&json!({"removed": keys}))?,
                    false => output::print((keys.join("\n") + "\n").as_bytes())?,
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list_buckets(client: &Client, handler: &str, json: bool) -> Result<(), CliError> {
    let path = format!("/handlers/{}/buckets", encode(handler));
    let buckets = all(client, &path, "buckets").await?;
    if json {
        return output::print_json(&json!({"buckets": buckets}));
    }
    let rows = buckets.iter().map(|bucket| {
        let bytes = format::size(bucket["bytes"].as_u64().unwrap_or_default());
        vec![bucket["name"].as_str().unwrap_or_default().to_owned(), bucket["keys"].to_string(), bytes]
    });
    output::print(format::table(&["BUCKET", "KEYS", "SIZE"], rows).as_bytes())
}

async fn list_keys(client: &Client, handler: &str, bucket: &str, json: bool) -> Result<(), CliError> {
    let keys = all(client, &format!("{}/keys", bucket_path(handler, bucket)), "keys").await?;
    if json {
        return output::print_json(&json!({"keys": keys}));
    }
    let lines: String = keys.iter().filter_map(Value::as_str).map(|key| key.to_owned() + "\n").collect();
    output::print(lines.as_bytes())
}

/// Returns all pages of a list.
async fn all(client: &Client, path: &str, field: &str) -> Result<Vec<Value>, CliError> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let query = [("limit", PAGE.to_owned())].into_iter().chain(cursor.map(|cursor| ("cursor", cursor)));
        let mut page = client.call(Method::GET, &with_query(path, query)).await?;
        if let Value::Array(mut items) = page[field].take() {
            found.append(&mut items);
        }
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

fn print_done(key: &str, json: bool) -> Result<(), CliError> {
    if json { output::print_json(&json!({"set": key})) } else { output::print(format!("{key}\n").as_bytes()) }
}

fn read_stdin() -> Result<Vec<u8>, CliError> {
    let mut value = Vec::new();
    std::io::stdin().read_to_end(&mut value).map_err(CliError::Stdin)?;
    Ok(value)
}

fn bucket_path(handler: &str, bucket: &str) -> String {
    format!("/handlers/{}/buckets/{}", encode(handler), encode(bucket))
}

fn key_path(handler: &str, bucket: &str, key: &str) -> String {
    format!("{}/keys/{}", bucket_path(handler, bucket), encode(key))
}

fn encode(name: &str) -> String {
    utf8_percent_encode(name, URL_ENCODE_SET).to_string()
}

//! `/handlers/{name}/buckets`: what handlers keep between their runs.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use capstan_engine::data::{Change, HandlerData, MAX_PAGE, MAX_VALUE, Place};
use capstan_engine::handler::HandlerName;
use capstan_engine::registry::RegistryError;
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::{self, Body};
use super::error::Error;
use super::query::Parameters;
use super::request::{Request, percent_decode};
use super::request_body;
use super::state::ApiState;

/// Names in one page, unless the query says otherwise.
const DEFAULT_PAGE: usize = 100;

/// `GET /handlers/{name}/buckets`: lists the buckets of a handler by name, and what it keeps.
pub(super) async fn list(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let query = Parameters::parse(&request, &["cursor", "limit"], &[])?;
    let (data, _) = open(&state, &request)?;
    let limit = limit(&query)?;
    let buckets = data.list_buckets(query.get("cursor").unwrap_or_default(), limit).await?;
    let cursor = buckets.last().map(|last| last.name.clone()).filter(|_| buckets.len() == limit);
    let usage = data.usage().await?;
    Ok(body::json(StatusCode::OK, &json!({"buckets": buckets, "cursor": cursor, "usage": usage})))
}

/// `GET /handlers/{name}/buckets/{bucket}/keys`: lists the keys of a bucket in the order of their creation.
pub(super) async fn keys(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let query = Parameters::parse(&request, &["cursor", "limit"], &[])?;
    let (data, names) = open(&state, &request)?;
    let cursor = query.parse_value("cursor", "a cursor that a list has returned", |text| text.parse().ok())?;
    let page = data.list_keys(&bucket(&data, &names)?, cursor.unwrap_or(0), limit(&query)?).await?;
    let cursor = page.next.map(|next| next.to_string());
    Ok(body::json(StatusCode::OK, &json!({"keys": page.keys, "cursor": cursor})))
}

/// `GET /handlers/{name}/buckets/{bucket}/keys/{key}`: returns a value.
pub(super) async fn get(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let (data, names) = open(&state, &request)?;
    let key = key(&names)?;
    let entry = data.get(&bucket(&data, &names)?, key.clone()).await?;
    let entry = entry.ok_or_else(|| Error::not_found(format!("there is no key {key:?}")))?;
    Ok(body::response(StatusCode::OK, "application/octet-stream", body::full(entry.value)))
}

/// `PUT /handlers/{name}/buckets/{bucket}/keys/{key}`: sets a value to the body. It is on the disk once the response is sent.
pub(super) async fn put(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    request.reject_encoded_body()?;
    let (data, names) = open(&state, &request)?;
    let (bucket, key) = (bucket(&data, &names)?, key(&names)?);
    let limit = MAX_VALUE as u64;
    if request.content_length().is_some_and(|length| length > limit) {
        return Err(Error::too_large(limit));
    }
    let value: Bytes = request_body::read_to_end(request.body, limit, &state.settings.http_limits).await?;
    data.change(&bucket, vec![Change::Set { key, value }]).await?;
    Ok(body::empty(StatusCode::NO_CONTENT))
}

/// `DELETE /handlers/{name}/buckets/{bucket}/keys/{key}`: removes a key, if it exists.
pub(super) async fn remove(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    Parameters::parse(&request, &[], &[])?;
    let (data, names) = open(&state, &request)?;
    let change = Change::Delete { key: key(&names)? };
    data.change(&bucket(&data, &names)?, vec![change]).await?;
    Ok(body::empty(StatusCode::NO_CONTENT))
}

/// Returns the data of the handler in the path, which need not exist any more, and the decoded names in the path.
fn open(state: &ApiState, request: &Request) -> Result<(HandlerData, Vec<String>), Error> {
    let not_text = |_: std::str::Utf8Error| Error::bad_request("a name in the path is not UTF-8 once it is decoded");
    // The path is /handlers/NAME/buckets/BUCKET/keys/KEY, or begins so, after a version.
    let names = request
        .head
        .uri
        .path()
        .split('/')
        .skip_while(|part| *part != "handlers")
        .skip(1)
        .step_by(2)
        .map(|part| percent_decode(part).map(Cow::into_owned));
    let names = names.collect::<Result<Vec<_>, _>>().map_err(not_text)?;
    let name = HandlerName::new(names.first().map_or("", String::as_str)).map_err(RegistryError::from)?;
    let data = state.engine.data_of(&name);
    Ok((data.ok_or_else(|| Error::starting("the store of data is not open yet; try again"))?, names))
}

fn bucket(data: &HandlerData, names: &[String]) -> Result<Place, Error> {
    Ok(data.place(names.get(1).map_or("", String::as_str))?)
}

fn key(names: &[String]) -> Result<String, Error> {
    names.get(2).cloned().ok_or_else(|| Error::bad_request("the path names no key"))
}

fn limit(query: &Parameters) -> Result<usize, Error> {
    let parse = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
    Ok(query.parse_value("limit", &format!("a number from 1 to {MAX_PAGE}"), parse)?.unwrap_or(DEFAULT_PAGE))
}

//! Handlers: list, inspect, push, download and remove.

use std::sync::Arc;

use capstan_engine::handler::{HandlerInfo, HandlerName};
use capstan_engine::handler_store::NewHandler;
use capstan_engine::registry::{Precondition, RegistryError, ResolvedHandler, Source};
use hyper::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::body::{self, Body, with_permit};
use super::error::Error;
use super::query::Parameters;
use super::request::Request;
use super::state::ApiState;
use super::upload::Upload;

/// `GET /handlers`: lists the handlers by name.
pub(super) async fn list(state: Arc<ApiState>, _request: Request) -> Result<Response<Body>, Error> {
    let handlers: Vec<_> = state.engine.handlers().iter().map(|handler| view(&state, handler)).collect();
    Ok(body::json(StatusCode::OK, &json!({"handlers": handlers})))
}

/// `GET /handlers/{name}`: returns one handler.
pub(super) async fn inspect(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let resolved = state.engine.resolve(&request.handler_name()?)?;
    Ok(respond(StatusCode::OK, &view(&state, &resolved), resolved.info()))
}

/// `PUT /handlers/{name}`: loads a program and registers it under the name. If anything fails, nothing changes.
pub(super) async fn put(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let name = HandlerName::new(&request.handler_name()?).map_err(RegistryError::from)?;
    let precondition = precondition(&request.head.headers)?;
    state.engine.check_put(&name, &precondition)?;
    if state.engine.is_shutting_down() {
        return Err(Error::draining());
    }
    let upload = Upload::read(&state, request).await?;
    let Upload { wasm, files, manifest } = upload;
    let new = NewHandler { name, wasm, files, manifest };
    let (put, findings) = state.handler_store()?.push(new, &precondition).await?;
    let status = if put.replaced { StatusCode::OK } else { StatusCode::CREATED };
    let mut view = view(&state, &put.resolved);
    view["findings"] = json!(findings);
    Ok(respond(status, &view, put.resolved.info()))
}

/// `DELETE /handlers/{name}`: removes a handler. Its running jobs continue. With `data=true`, also removes what it keeps.
pub(super) async fn remove(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let removes_data = Parameters::parse(&request, &["data"], &[])?.flag("data")?.unwrap_or(false);
    let name = request.handler_name()?;
    let removed = state.handler_store()?.remove(&name, &precondition(&request.head.headers)?).await?;
    if removes_data && let Some(data) = state.engine.data_of(removed.name()) {
        data.remove_all().await?;
    }
    Ok(body::empty(StatusCode::NO_CONTENT))
}

/// `GET /handlers/{name}/wasm`: returns the program as it was pushed.
pub(super) async fn wasm(state: Arc<ApiState>, request: Request) -> Result<Response<Body>, Error> {
    let resolved = state.engine.resolve(&request.handler_name()?)?;
    let native = || Error::not_found(format!("handler {} is native and has no program", resolved.name()));
    let permit = state.slots.download_of(resolved.info().size).await?;
    let wasm = state.handler_store()?.wasm(&resolved).await?.ok_or_else(native)?;
    // The program stays in memory until the client has read it, or disconnects.
    let body = body::full(with_permit(wasm, permit));
    let mut response = body::response(StatusCode::OK, "application/wasm", body);
    set_etag(&mut response, resolved.info());
    Ok(response)
}

/// Returns the handler as the API shows it. Unlike its record, this says whether the name of its base still has the same program.
fn view(state: &ApiState, handler: &ResolvedHandler) -> Value {
    let mut view = json!(handler);
    if let Some(base) = &handler.info().base {
        let now = state.engine.resolve(&base.name).ok().filter(|now| now.source() == Source::Pushed);
        view["base"]["state"] = match now {
            None => "removed",
            Some(now) if now.info().digest.as_ref() == Some(&base.digest) => "current",
            Some(_) => "replaced",
        }
        .into();
    }
    view
}

fn respond(status: StatusCode, view: &impl Serialize, info: &HandlerInfo) -> Response<Body> {
    let mut response = body::json(status, view);
    set_etag(&mut response, info);
    response
}

fn set_etag(response: &mut Response<Body>, info: &HandlerInfo) {
    if let Some(version) = info.version() {
        let etag = HeaderValue::from_str(&format!("\"{version}\"")).expect("a digest is header text");
        response.headers_mut().insert(ETAG, etag);
    }
}

/// Reads `If-Match` and `If-None-Match`.
///
/// # Errors
/// [`Error`], 400, for both at once, and for an `If-None-Match` other than `*`.
fn precondition(headers: &HeaderMap) -> Result<Precondition, Error> {
    match (tags(headers, &IF_MATCH)?, tags(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::None),
        (None, Some(tags)) if tags == ["*"] => Ok(Precondition::Absent),
        (None, Some(_)) => Err(Error::bad_request("only * is supported for If-None-Match")),
        (Some(tags), None) if tags == ["*"] => Ok(Precondition::Present),
        // A weak tag starts with W/ before its quotes, and matches nothing here.
        (Some(tags), None) => Ok(Precondition::Digest(
            tags.iter().filter_map(|tag| Some(tag.strip_prefix('"')?.strip_suffix('"')?.to_owned())).collect(),
        )),
        (Some(_), Some(_)) => Err(Error::bad_request("use either If-Match or If-None-Match, not both")),
    }
}

fn tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Vec<&'a str>>, Error> {
    let lines = headers.get_all(name).iter().map(HeaderValue::to_str).collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(|_| Error::bad_request(format!("the header {name} is not text")))?;
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(lines.into_iter().flat_map(|line| line.split(',')).map(str::trim).filter(|tag| !tag.is_empty()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(headers: &[(HeaderName, &'static str)]) -> Result<Precondition, Error> {
        precondition(&headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn precondition_reads_if_match_and_if_none_match() {
        assert_eq!(parse(&[]).unwrap(), Precondition::None);
        assert_eq!(parse(&[(IF_NONE_MATCH, "*")]).unwrap(), Precondition::Absent);
        assert_eq!(parse(&[(IF_MATCH, "*")]).unwrap(), Precondition::Present);
        let digests =
            |digests: &[&str]| Precondition::Digest(digests.iter().map(|digest| (*digest).to_owned()).collect());
        assert_eq!(parse(&[(IF_MATCH, "\"sha256:a\", \"sha256:b\"")]).unwrap(), digests(&["sha256:a", "sha256:b"]));
        assert_eq!(parse(&[(IF_MATCH, "W/\"sha256:a\"")]).unwrap(), digests(&[]));
    }

    #[test]
    fn precondition_rejects_unsupported_combinations() {
        assert!(parse(&[(IF_NONE_MATCH, "\"sha256:a\"")]).is_err());
        assert!(parse(&[(IF_NONE_MATCH, "*"), (IF_MATCH, "*")]).is_err());
    }
}

//! The registry over HTTP: list, inspect, push, fetch, remove.

use std::sync::Arc;

use capstan_engine::handler::HandlerInfo;
use capstan_engine::handler::HandlerName;
use capstan_engine::registry::{Precondition, RegistryError};
use hyper::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::Api;
use super::body::{self, Body, held};
use super::error::Error;
use super::request::Request;
use super::upload;

/// `GET /handlers`: all, by name.
pub(super) async fn list(api: Arc<Api>, _request: Request) -> Result<Response<Body>, Error> {
    let handlers = api.engine.handlers();
    let handlers: Vec<_> = handlers.iter().map(AsRef::as_ref).collect();
    Ok(body::json(StatusCode::OK, &json!({"handlers": handlers})))
}

/// `GET /handlers/{name}`: one.
pub(super) async fn inspect(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let resolved = api.engine.resolve(&request.handler()?)?;
    Ok(answer(StatusCode::OK, &*resolved, resolved.info()))
}

/// `PUT /handlers/{name}`: loads a program and puts it under the name. Nothing changes unless all went well.
pub(super) async fn put(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let name = HandlerName::new(&request.handler()?).map_err(RegistryError::from)?;
    let only_if = precondition(&request.head.headers)?;
    api.engine.check_put(&name, &only_if)?;
    if api.engine.is_shutting_down() {
        return Err(Error::draining());
    }
    let pushed = upload::read(&api, request).await?;
    let (put, findings) = api.handler_store()?.push(name, pushed.wasm, pushed.manifest, &only_if).await?;
    let status = if put.replaced { StatusCode::OK } else { StatusCode::CREATED };
    let mut told = json!(*put.resolved);
    told["findings"] = json!(findings);
    Ok(answer(status, &told, put.resolved.info()))
}

/// `DELETE /handlers/{name}`: takes it out; running jobs finish.
pub(super) async fn remove(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    api.handler_store()?.remove(&request.handler()?, &precondition(&request.head.headers)?).await?;
    Ok(body::empty(StatusCode::NO_CONTENT))
}

/// `GET /handlers/{name}/wasm`: the program as it was pushed.
pub(super) async fn wasm(api: Arc<Api>, request: Request) -> Result<Response<Body>, Error> {
    let resolved = api.engine.resolve(&request.handler()?)?;
    let native = || Error::not_found(format!("handler {} is native", resolved.name()));
    let fetching = api.one_of_few(&api.fetches).await?;
    let wasm = api.handler_store()?.wasm(&resolved).await?.ok_or_else(native)?;
    // It is held in memory until its reader has it, or gives up.
    let wasm = held(wasm, fetching);
    let mut response = body::typed(StatusCode::OK, "application/wasm", body::whole(wasm));
    set_etag(&mut response, resolved.info());
    Ok(response)
}

fn answer(status: StatusCode, told: &impl Serialize, about: &HandlerInfo) -> Response<Body> {
    let mut response = body::json(status, told);
    set_etag(&mut response, about);
    response
}

fn set_etag(response: &mut Response<Body>, about: &HandlerInfo) {
    if let Some(digest) = &about.digest {
        let etag = HeaderValue::from_str(&format!("\"{digest}\"")).expect("a digest is header text");
        response.headers_mut().insert(ETAG, etag);
    }
}

/// What `If-Match` and `If-None-Match` ask for.
fn precondition(headers: &HeaderMap) -> Result<Precondition, Error> {
    match (tags(headers, &IF_MATCH)?, tags(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::None),
        (None, Some(tags)) if tags == ["*"] => Ok(Precondition::Absent),
        (None, Some(_)) => Err(Error::bad_request("If-None-Match is served with * only")),
        (Some(tags), None) if tags == ["*"] => Ok(Precondition::Present),
        // A weak tag has its quotes behind W/, and matches nothing here.
        (Some(tags), None) => Ok(Precondition::Digest(
            tags.iter().filter_map(|tag| Some(tag.strip_prefix('"')?.strip_suffix('"')?.to_owned())).collect(),
        )),
        (Some(_), Some(_)) => Err(Error::bad_request("If-Match and If-None-Match exclude each other")),
    }
}

fn tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Vec<&'a str>>, Error> {
    let lines = headers.get_all(name).iter().map(HeaderValue::to_str).collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(|_| Error::bad_request(format!("{name} is not text")))?;
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(lines.into_iter().flat_map(|line| line.split(',')).map(str::trim).filter(|tag| !tag.is_empty()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(HeaderName, &'static str)]) -> Result<Precondition, Error> {
        precondition(&headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn preconditions_are_read() {
        assert_eq!(of(&[]).unwrap(), Precondition::None);
        assert_eq!(of(&[(IF_NONE_MATCH, "*")]).unwrap(), Precondition::Absent);
        assert_eq!(of(&[(IF_MATCH, "*")]).unwrap(), Precondition::Present);
        let digests =
            |digests: &[&str]| Precondition::Digest(digests.iter().map(|digest| (*digest).to_owned()).collect());
        assert_eq!(of(&[(IF_MATCH, "\"sha256:a\", \"sha256:b\"")]).unwrap(), digests(&["sha256:a", "sha256:b"]));
        assert_eq!(of(&[(IF_MATCH, "W/\"sha256:a\"")]).unwrap(), digests(&[]));
    }

    #[test]
    fn what_cannot_be_held_is_refused() {
        assert!(of(&[(IF_NONE_MATCH, "\"sha256:a\"")]).is_err());
        assert!(of(&[(IF_NONE_MATCH, "*"), (IF_MATCH, "*")]).is_err());
    }
}

//! Files of a handler that a route serves.

use std::io::{self, Seek as _, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use capstan_core::static_file::{StaticContent, StaticFile};
use capstan_engine::engine::Engine;
use futures_util::Stream as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, IF_RANGE,
    LOCATION, RANGE,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, Take};
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

use super::super::body::{self, Aborted, Body};
use super::super::error::Error;
use super::content_type::content_type;
use super::target::Target;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// Which bytes of a file a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selection {
    All,
    /// From the first to the last, both included.
    Range(u64, u64),
    Unsatisfiable,
}

/// Answers with the file that `files` of a route and the path of the request name.
///
/// # Errors
/// [`Error`]: 404 if there is none, 405 for methods other than GET and HEAD.
pub(super) async fn answer(
    engine: &Engine,
    head: &Parts,
    target: &Target,
    files: &str,
) -> Result<Response<Body>, Error> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Error::method_not_allowed(&head.method, "GET, HEAD"));
    }
    let resolved = engine.resolve(&target.handler)?;
    let (Some(mount), Some(info)) = (resolved.handler().files(), &resolved.info().files) else {
        return Err(Error::not_found("the files of the handler are missing"));
    };
    let path = path_of(target, files);
    let opened = spawn_blocking(move || StaticFile::open(&mount, &path)).await;
    let file = match opened.map_err(|error| Error::internal(error.to_string()))? {
        Ok(StaticContent::File(file)) => file,
        Ok(StaticContent::Directory) => return Ok(redirect_to_directory(head)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::not_found("there is no such file")),
        Err(error) => return Err(Error::internal(format!("cannot open a file of the handler: {error}"))),
    };
    let etag = etag(&info.digest, &file.path);
    let mut response = respond(head, file, &etag).await?;
    response.headers_mut().insert(ETAG, etag);
    Ok(response)
}

/// Returns the path below the files of the handler: that of the route, and what `{*…}` matched.
fn path_of(target: &Target, files: &str) -> String {
    let rest_at = target.route.as_ref().and_then(|route| route.pattern.path.rest_at());
    let rest = rest_at.and_then(|index| target.segments.get(index..)).map(|rest| rest.join("/"));
    match (files, rest) {
        (".", rest) => rest.unwrap_or_default(),
        (files, None) => files.to_owned(),
        (files, Some(rest)) => format!("{files}/{rest}"),
    }
}

/// Returns the tag of a file. The digest of all files of the handler and the path determine its content.
fn etag(digest: &str, path: &str) -> HeaderValue {
    let hash = Sha256::new().chain_update(digest).chain_update([0]).chain_update(path).finalize();
    let digits: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{digits}\"")).expect("hexadecimal digits are header text")
}

/// Redirects to the path with a slash at its end, so that relative links of the index are right.
fn redirect_to_directory(head: &Parts) -> Response<Body> {
    let mut response = body::empty(StatusCode::PERMANENT_REDIRECT);
    let last = head.uri.path().rsplit('/').next().unwrap_or_default();
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Relative, with a leading `./`, so that no path can name another host or a scheme.
    if let Ok(location) = HeaderValue::try_from(format!("./{last}/{query}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

async fn respond(head: &Parts, file: StaticFile, etag: &HeaderValue) -> Result<Response<Body>, Error> {
    if lists_tag(&head.headers, etag) {
        return Ok(body::empty(StatusCode::NOT_MODIFIED));
    }
    let StaticFile { mut file, size, path } = file;
    let (status, first, length) = match selection(&head.headers, size, etag) {
        Selection::All => (StatusCode::OK, 0, size),
        Selection::Range(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Selection::Unsatisfiable => {
            let mut response = body::empty(StatusCode::RANGE_NOT_SATISFIABLE);
            set(&mut response, CONTENT_RANGE, format!("bytes */{size}"));
            return Ok(response);
        }
    };
    let content = if head.method == Method::HEAD {
        body::full(Bytes::new())
    } else {
        let seek = spawn_blocking(move || file.seek(SeekFrom::Start(first)).map(|_| file)).await;
        let file = seek.map_err(|error| error.to_string()).and_then(|file| file.map_err(|error| error.to_string()));
        let file = file.map_err(|error| Error::internal(format!("cannot read a file of the handler: {error}")))?;
        FileBody::new(file, length).boxed_unsync()
    };
    let mut response = Response::new(content);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type(&path)));
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set(&mut response, CONTENT_LENGTH, length.to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, CONTENT_RANGE, format!("bytes {first}-{}/{size}", first + length - 1));
    }
    Ok(response)
}

fn set(response: &mut Response<Body>, name: hyper::header::HeaderName, value: String) {
    response.headers_mut().insert(name, HeaderValue::try_from(value).expect("numbers are header text"));
}

/// Returns whether the client has the file already.
fn lists_tag(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}

/// Reads the range of a request. A range that is not one of bytes, or several, select all of the file.
fn selection(headers: &HeaderMap, size: u64, etag: &HeaderValue) -> Selection {
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).and_then(|range| range.strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.split_once('-')) else { return Selection::All };
    if headers.get(IF_RANGE).is_some_and(|condition| condition != etag) {
        return Selection::All;
    }
    let number = |text: &str| text.trim().parse::<u64>();
    match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Ok(0) => Selection::Unsatisfiable,
            Ok(_) if size == 0 => Selection::Unsatisfiable,
            Ok(count) => Selection::Range(size.saturating_sub(count), size - 1),
            Err(_) => Selection::All,
        },
        (first, last) => match (number(first), if last.is_empty() { Ok(u64::MAX) } else { number(last) }) {
            (Ok(first), Ok(last)) if first > last => Selection::All,
            (Ok(first), Ok(_)) if first >= size => Selection::Unsatisfiable,
            (Ok(first), Ok(last)) => Selection::Range(first, last.min(size - 1)),
            _ => Selection::All,
        },
    }
}

/// A part of a file, read piece by piece as the client reads it.
struct FileBody {
    pieces: ReaderStream<Take<tokio::fs::File>>,
    left: u64,
}

impl FileBody {
    fn new(file: std::fs::File, length: u64) -> Self {
        let file = tokio::fs::File::from_std(file).take(length);
        Self { pieces: ReaderStream::with_capacity(file, PIECE), left: length }
    }
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut self.pieces).poll_next(cx)) {
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Some(Err(_)) | None => Poll::Ready(Some(Err(Aborted))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_reads_one_range_of_bytes() {
        let etag = HeaderValue::from_static("\"a\"");
        for (range, size, expected) in [
            ("bytes=0-3", 10, Selection::Range(0, 3)),
            ("bytes=4-", 10, Selection::Range(4, 9)),
            ("bytes=-3", 10, Selection::Range(7, 9)),
            ("bytes=-30", 10, Selection::Range(0, 9)),
            ("bytes=5-99", 10, Selection::Range(5, 9)),
            ("bytes=10-", 10, Selection::Unsatisfiable),
            ("bytes=-0", 10, Selection::Unsatisfiable),
            ("bytes=0-", 0, Selection::Unsatisfiable),
            ("bytes=-1", 0, Selection::Unsatisfiable),
            ("bytes=3-1", 10, Selection::All),
            ("bytes=0-1,3-4", 10, Selection::All),
            ("lines=0-1", 10, Selection::All),
            ("bytes=x-", 10, Selection::All),
            ("bytes=-", 10, Selection::All),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, range.parse().unwrap());
            assert_eq!(selection(&headers, size, &etag), expected, "{range} of {size}");
            headers.insert(IF_RANGE, HeaderValue::from_static("\"b\""));
            assert_eq!(selection(&headers, size, &etag), Selection::All, "{range} of another content");
        }
    }
}

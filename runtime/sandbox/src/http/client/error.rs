//! The errors of the library, as the guest gets them.

use std::io;

use wasmtime_wasi_http::Error;

/// Returns the error for the guest in place of one of hyper.
pub(super) fn to_guest_error(error: hyper::Error) -> Error {
    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(None);
    }
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>()
            && cause.kind() == io::ErrorKind::QuotaExceeded
        {
            return Error::ConnectionTerminated;
        }
        source = cause.source();
    }
    match () {
        () if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        () if error.is_parse() => Error::HttpProtocolError,
        () if error.is_closed() || error.is_canceled() => Error::ConnectionTerminated,
        () => Error::Hyper(error),
    }
}

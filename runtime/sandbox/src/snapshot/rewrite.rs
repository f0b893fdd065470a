//! [`instrument()`] and [`embed`]: the two rewrites of a program, which happen in compiling children.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use capstan_engine::handler_store::SnapshotError;
use wasmtime_wizer::Wizer;

use super::image::Image;
use crate::LoadError;
use crate::outline::Outline;

/// The names of the function that initialises, from the most to the least preferred. The first is the default of wasmtime-wizer, the second that
/// of Wizer and its C header.
pub(super) const INIT_NAMES: [&str; 2] = ["wizer-initialize", "wizer.initialize"];
/// The names of the function that replaces `_start` in the snapshot.
const RESUME_NAMES: [&str; 2] = ["wizer-resume", "wizer.resume"];

/// Instruments the module `wasm`, which passed the complexity check: the result also exports its globals and memories.
///
/// # Errors
/// [`SnapshotError::Unsupported`] if it has no function that initialises, or if a snapshot would lose a part of its state.
pub(crate) fn instrument(wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
    let (_, instrumented) = wizer(wasm)?.instrument(wasm).map_err(|error| unsupported(&error))?;
    Ok(instrumented)
}

/// Returns the module `wasm` with the state in `image`, which [`Initialiser`](super::Initialiser) wrote.
///
/// # Errors
/// As [`instrument()`].
pub(crate) fn embed(wasm: &[u8], image: &[u8]) -> Result<Vec<u8>, LoadError> {
    let wizer = wizer(wasm)?;
    let (context, _) = wizer.instrument(wasm).map_err(|error| unsupported(&error))?;
    let Some(mut image) = Image::read(image) else {
        return Err(LoadError::Unavailable("the image of the snapshot did not arrive".to_owned()));
    };
    // The image is in memory, so nothing waits.
    match pin!(wizer.snapshot(&context, &mut image)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(snapshot) => snapshot.map_err(|error| unsupported(&error)),
        Poll::Pending => Err(LoadError::Unavailable("taking the snapshot did not end".to_owned())),
    }
}

fn wizer(wasm: &[u8]) -> Result<Wizer, LoadError> {
    let outline = Outline::read(wasm);
    let find = |names: [&'static str; 2]| names.into_iter().find(|name| outline.exports_function(name));
    let Some(init) = find(INIT_NAMES) else {
        return Err(SnapshotError::Unsupported(format!("it exports no function `{}`", INIT_NAMES[0])).into());
    };
    let mut wizer = Wizer::new();
    wizer.init_func(init);
    if let Some(resume) = find(RESUME_NAMES) {
        wizer.func_rename("_start", resume);
    }
    Ok(wizer)
}

fn unsupported(error: &wasmtime::Error) -> LoadError {
    SnapshotError::Unsupported(format!("{error:#}")).into()
}

//! The calls of 0.2 whose parameters are strings or lists of any length.
//!
//! wasmtime copies a string or a list before it calls the host, and its limit on these copies ends the run. So Capstan takes them as views of
//! the memory of the guest, which are not copied, and copies no more than a call can use. What a call cannot use at all is an error that
//! POSIX has for it.

use std::error::Error;

use wasmtime::component::{Linker, LinkerInstance, Resource, WasmList, WasmStr};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor as _, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::io::poll::Host as _;
use wasmtime_wasi::p2::bindings::io::streams::{self, HostOutputStream as _, StreamError};
use wasmtime_wasi::p2::{DynOutputStream, DynPollable, StreamResult};

use super::disk::filesystem;
use super::host::Host;

/// The interfaces in the version that wasmtime-wasi defines.
const FILESYSTEM: &str = "wasi:filesystem/types@0.2.12";
const STREAMS: &str = "wasi:io/streams@0.2.12";
const POLL: &str = "wasi:io/poll@0.2.12";

/// Bytes of the longest path that a kernel takes.
const MAX_PATH: usize = 4096;
/// Bytes that one call writes to a file.
const MAX_WRITE: usize = 1 << 20;
/// Bytes of the longest list that a stream can have permitted.
const MAX_STREAM_WRITE: usize = 1 << 20;
/// Bytes that `blocking-write-and-flush` permits.
const MAX_BLOCKING_WRITE: usize = 4096;
/// The longest list to wait for. All handles of a guest fit many times.
const MAX_POLLABLES: usize = 1 << 16;

/// Replaces functions that wasmtime-wasi and [`disk`](super::disk) have added to `linker`, which must allow that.
pub(super) fn shadow_lists(linker: &mut Linker<Host>) -> Result<()> {
    shadow_paths(&mut linker.instance(FILESYSTEM)?)?;
    shadow_writes(linker)?;
    linker.instance(POLL)?.func_wrap_async(
        "poll",
        |mut store: StoreContextMut<'_, Host>, (listed,): (WasmList<Resource<DynPollable>>,)| {
            Box::new(async move {
                wasmtime::ensure!(
                    listed.len() <= MAX_POLLABLES,
                    "the guest waits for more than {MAX_POLLABLES} pollables"
                );
                let pollables = listed.iter(&mut store)?.collect::<Result<Vec<_>>>()?;
                Ok((store.data_mut().ctx().table.poll(pollables).await?,))
            })
        },
    )
}

/// Replaces calls of the form `(descriptor, …, path, …)`.
macro_rules! shadow_path_calls {
    ($instance:ident: $($name:literal $call:ident($($before:ident: $Before:ty),*; path; $($after:ident: $After:ty),*);)*) => {$(
        $instance.func_wrap_async(
            concat!("[method]descriptor.", $name),
            |mut store, (fd, $($before,)* path, $($after,)*): (Resource<Descriptor>, $($Before,)* WasmStr, $($After,)*)| {
                Box::new(async move {
                    let Some(path) = read_path(&store, &path)? else { return Ok((Err(ErrorCode::NameTooLong),)) };
                    let result = filesystem(store.data_mut()).$call(fd, $($before,)* path, $($after,)*).await;
                    to_guest(result)
                })
            },
        )?;
    )*};
}

fn shadow_paths(instance: &mut LinkerInstance<'_, Host>) -> Result<()> {
    shadow_path_calls! { instance:
        "create-directory-at" create_directory_at(; path;);
        "metadata-hash-at" metadata_hash_at(flags: PathFlags; path;);
        "open-at" open_at(flags: PathFlags; path; how: OpenFlags, mode: DescriptorFlags);
        "readlink-at" readlink_at(; path;);
        "remove-directory-at" remove_directory_at(; path;);
        "set-times-at" set_times_at(flags: PathFlags; path; accessed: NewTimestamp, modified: NewTimestamp);
        "stat-at" stat_at(flags: PathFlags; path;);
        "unlink-file-at" unlink_file_at(; path;);
    }
    instance.func_wrap_async(
        "[method]descriptor.link-at",
        |mut store,
         (from, flags, from_path, to, to_path): (
            Resource<Descriptor>,
            PathFlags,
            WasmStr,
            Resource<Descriptor>,
            WasmStr,
        )| {
            Box::new(async move {
                let (Some(from_path), Some(to_path)) = (read_path(&store, &from_path)?, read_path(&store, &to_path)?)
                else {
                    return Ok((Err(ErrorCode::NameTooLong),));
                };
                let result = filesystem(store.data_mut()).link_at(from, flags, from_path, to, to_path).await;
                to_guest(result)
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]descriptor.rename-at",
        |mut store, (from, from_path, to, to_path): (Resource<Descriptor>, WasmStr, Resource<Descriptor>, WasmStr)| {
            Box::new(async move {
                let (Some(from_path), Some(to_path)) = (read_path(&store, &from_path)?, read_path(&store, &to_path)?)
                else {
                    return Ok((Err(ErrorCode::NameTooLong),));
                };
                let result = filesystem(store.data_mut()).rename_at(from, from_path, to, to_path).await;
                to_guest(result)
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]descriptor.symlink-at",
        |mut store, (fd, target, path): (Resource<Descriptor>, WasmStr, WasmStr)| {
            Box::new(async move {
                let (Some(target), Some(path)) = (read_path(&store, &target)?, read_path(&store, &path)?) else {
                    return Ok((Err(ErrorCode::NameTooLong),));
                };
                let result = filesystem(store.data_mut()).symlink_at(fd, target, path).await;
                to_guest(result)
            })
        },
    )
}

fn shadow_writes(linker: &mut Linker<Host>) -> Result<()> {
    linker.instance(FILESYSTEM)?.func_wrap_async(
        "[method]descriptor.write",
        |mut store, (fd, bytes, offset): (Resource<Descriptor>, WasmList<u8>, u64)| {
            Box::new(async move {
                let bytes = read_bytes(&store, &bytes, MAX_WRITE);
                let result = filesystem(store.data_mut()).write(fd, bytes, offset).await;
                to_guest(result)
            })
        },
    )?;
    let mut streams = linker.instance(STREAMS)?;
    streams.func_wrap(
        "[method]output-stream.write",
        |mut store: StoreContextMut<'_, Host>, (stream, bytes): (Resource<DynOutputStream>, WasmList<u8>)| {
            wasmtime::ensure!(bytes.len() <= MAX_STREAM_WRITE, "the guest wrote more than `check-write` permitted");
            let bytes = read_bytes(&store, &bytes, MAX_STREAM_WRITE);
            let result = store.data_mut().ctx().table.write(stream, bytes);
            Ok((to_guest_result(store, result)?,))
        },
    )?;
    streams.func_wrap_async(
        "[method]output-stream.blocking-write-and-flush",
        |mut store: StoreContextMut<'_, Host>, (stream, bytes): (Resource<DynOutputStream>, WasmList<u8>)| {
            Box::new(async move {
                wasmtime::ensure!(
                    bytes.len() <= MAX_BLOCKING_WRITE,
                    "the guest wrote more than the {MAX_BLOCKING_WRITE} bytes that `blocking-write-and-flush` permits"
                );
                let bytes = read_bytes(&store, &bytes, MAX_BLOCKING_WRITE);
                let result = store.data_mut().ctx().table.blocking_write_and_flush(stream, bytes).await;
                Ok((to_guest_result(store, result)?,))
            })
        },
    )
}

/// Returns a copy of a path. `None` if it is longer than any path of the kernel.
fn read_path(store: &StoreContextMut<'_, Host>, path: &WasmStr) -> Result<Option<String>> {
    let path = path.to_str(store)?;
    Ok((path.len() <= MAX_PATH).then(|| path.into_owned()))
}

/// Returns a copy of the first bytes of a list, at most `max`.
fn read_bytes(store: &StoreContextMut<'_, Host>, bytes: &WasmList<u8>, max: usize) -> Vec<u8> {
    let bytes = bytes.as_le_slice(store);
    bytes[..bytes.len().min(max)].to_vec()
}

/// Converts the result of a call to what the guest gets, or to a trap, which ends the run.
pub(super) fn to_guest<T, E: Error + Send + Sync + 'static>(
    result: std::result::Result<T, TrappableError<E>>,
) -> Result<(std::result::Result<T, E>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// Converts the result of a stream operation to what the guest gets, or to a trap.
pub(super) fn to_guest_result<T>(
    mut store: StoreContextMut<'_, Host>,
    result: StreamResult<T>,
) -> Result<std::result::Result<T, StreamError>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => streams::Host::convert_stream_error(store.data_mut().ctx().table, error).map(Err),
    }
}

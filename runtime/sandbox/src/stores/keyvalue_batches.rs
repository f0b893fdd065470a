//! The calls of `wasi:keyvalue` that take values. They copy a value only if it is not too large: what is, is an error. Only a call that passes more than one host call may is a trap.

use capstan_engine::data::{Change, DataError, MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_KEY, MAX_VALUE};
use wasmtime::component::{Linker, Resource, WasmList, WasmStr};
use wasmtime::{Result, StoreContextMut};

use super::error::StoreError;
use super::keyvalue::{Bucket, first, second};
use crate::host::Host;

type Pair = (WasmStr, WasmList<u8>);

/// Replaces `set` and `set-many` of a draft.
macro_rules! shadow_draft {
    ($linker:ident, $draft:ident, $version:literal) => {
        $linker.instance(concat!("wasi:keyvalue/store@", $version))?.func_wrap_async(
            "[method]bucket.set",
            |mut store: StoreContextMut<'_, Host>, (bucket, key, value): (Resource<Bucket>, WasmStr, WasmList<u8>)| {
                Box::new(async move {
                    let changes = read(&store, [Ok((key, value))].into_iter());
                    let result = set(store.data_mut(), &bucket, changes).await;
                    let convert = |error| $draft::store::Host::convert_error(store.data_mut(), error);
                    Ok((result.map_err(convert).map_or_else(|error| error.map(Err), |()| Ok(Ok(())))?,))
                })
            },
        )?;
        $linker.instance(concat!("wasi:keyvalue/batch@", $version))?.func_wrap_async(
            "set-many",
            |mut store: StoreContextMut<'_, Host>, (bucket, pairs): (Resource<Bucket>, WasmList<Pair>)| {
                Box::new(async move {
                    let changes = if pairs.len() > MAX_BATCH_KEYS {
                        Err(DataError::BatchTooLarge.into())
                    } else {
                        let pairs = pairs.iter(&mut store)?.collect::<Vec<_>>();
                        read(&store, pairs.into_iter())
                    };
                    let result = set(store.data_mut(), &bucket, changes).await;
                    let convert = |error| $draft::store::Host::convert_error(store.data_mut(), error);
                    Ok((result.map_err(convert).map_or_else(|error| error.map(Err), |()| Ok(Ok(())))?,))
                })
            },
        )?;
    };
}

/// Replaces the calls in `linker`.
pub(super) fn shadow_writes(linker: &mut Linker<Host>) -> Result<()> {
    linker.allow_shadowing(true);
    shadow_draft!(linker, first, "0.2.0-draft");
    shadow_draft!(linker, second, "0.2.0-draft2");
    linker.allow_shadowing(false);
    Ok(())
}

async fn set(
    host: &mut Host,
    bucket: &Resource<Bucket>,
    changes: Result<Vec<Change>, StoreError>,
) -> Result<(), StoreError> {
    host.make_changes(bucket, changes?).await
}

/// Copies the pairs, if none is too large.
fn read(
    store: &StoreContextMut<'_, Host>,
    pairs: impl Iterator<Item = Result<Pair>>,
) -> Result<Vec<Change>, StoreError> {
    let mut total = 0;
    let mut changes = Vec::new();
    for pair in pairs {
        let (key, value) = pair?;
        let (key, value) = (key.to_str(store)?, value.as_le_slice(store));
        if !(1..=MAX_KEY).contains(&key.len()) {
            return Err(DataError::InvalidKey(key.len()).into());
        }
        if value.len() > MAX_VALUE {
            return Err(DataError::ValueTooLarge(value.len() as u64).into());
        }
        total += value.len();
        if total > MAX_BATCH_BYTES {
            return Err(DataError::BatchTooLarge.into());
        }
        changes.push(Change::Set { key: key.into_owned(), value: value.to_vec().into() });
    }
    Ok(changes)
}

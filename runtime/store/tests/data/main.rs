//! What the store of data promises, in memory and on the disk.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make files and tasks of their own, and fail by panicking"
)]

mod damage;
mod entries;
mod objects;

use std::sync::Arc;

use cap_std::fs::Dir;
use capstan_engine::data::{Change, DataQuota, HandlerData};
use capstan_store::data::SqliteDataStore;

const QUOTA: DataQuota = DataQuota { bytes: 64 << 20, keys: 1000 };

/// A store below a directory of its own.
struct OnDisk {
    _temp: tempfile::TempDir,
    dir: Dir,
    store: SqliteDataStore,
}

impl OnDisk {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let store = SqliteDataStore::open(&dir).unwrap();
        Self { _temp: temp, dir, store }
    }

    /// Closes the store and opens it again.
    fn reopened(self) -> Self {
        let Self { _temp, dir, store } = self;
        drop(store);
        let store = SqliteDataStore::open(&dir).unwrap();
        Self { _temp, dir, store }
    }
}

fn data_of(store: &SqliteDataStore, owner: &str, quota: DataQuota) -> HandlerData {
    HandlerData::new(Arc::new(store.clone()), owner.into(), quota)
}

fn set(key: &str, value: &[u8]) -> Change {
    Change::Set { key: key.to_owned(), value: value.to_vec().into() }
}

async fn value(data: &HandlerData, bucket: &str, key: &str) -> Option<Vec<u8>> {
    let bucket = data.bucket(bucket).unwrap();
    data.get(&bucket, key.to_owned()).await.unwrap().map(|entry| entry.value.to_vec())
}

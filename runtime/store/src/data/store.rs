//! The traits of the engine for [`SqliteDataStore`].

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use capstan_engine::data::{
    BucketInfo, BucketStore, Change, ContainerInfo, DataError, DataQuota, DataUsage, Entry, KeyPage, ObjectInfo,
    ObjectPage, ObjectReader, ObjectStore, Place, Upload,
};
use jiff::Timestamp;
use rusqlite::Connection;

use super::open::SqliteDataStore;
use super::pins::Pin;
use super::sql::{Result, first, get};
use super::tables::Tables;
use super::{containers, entries, find, listing, objects};

impl SqliteDataStore {
    async fn change_tables<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.writer.change(work).await
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        match &self.0.readers {
            Some(readers) => readers.read(work).await,
            None => self.0.writer.change(|tables| work(&tables.db)).await,
        }
    }
}

#[async_trait]
impl BucketStore for SqliteDataStore {
    async fn get(&self, bucket: &Place, keys: Vec<String>) -> Result<Vec<Option<Entry>>> {
        let bucket = bucket.clone();
        self.read(move |db| entries::read(db, &bucket, &keys)).await
    }

    async fn exists(&self, bucket: &Place, key: String) -> Result<bool> {
        let bucket = bucket.clone();
        self.read(move |db| entries::exists(db, &bucket, &key)).await
    }

    async fn change(&self, bucket: &Place, changes: Vec<Change>, quota: DataQuota) -> Result<()> {
        let bucket = bucket.clone();
        self.change_tables(move |tables| entries::change(tables, &bucket, changes, quota)).await
    }

    async fn increment(
        &self,
        bucket: &Place,
        key: String,
        delta: i128,
        range: RangeInclusive<i128>,
        quota: DataQuota,
    ) -> Result<i128> {
        let bucket = bucket.clone();
        self.change_tables(move |tables| entries::increment(tables, &bucket, key, delta, &range, quota)).await
    }

    async fn swap(
        &self,
        bucket: &Place,
        key: String,
        expected: Option<u64>,
        value: Bytes,
        quota: DataQuota,
    ) -> Result<bool> {
        let bucket = bucket.clone();
        self.change_tables(move |tables| entries::swap(tables, &bucket, key, expected, value, quota)).await
    }

    async fn list_keys(&self, bucket: &Place, cursor: u64, limit: usize) -> Result<KeyPage> {
        let bucket = bucket.clone();
        self.read(move |db| listing::keys(db, &bucket, cursor, limit)).await
    }

    async fn list_buckets(&self, owner: &str, after: &str, limit: usize) -> Result<Vec<BucketInfo>> {
        let (owner, after) = (owner.to_owned(), after.to_owned());
        self.read(move |db| listing::buckets(db, &owner, &after, limit)).await
    }

    async fn usage(&self, owner: &str) -> Result<DataUsage> {
        let owner = owner.to_owned();
        self.read(move |db| listing::usage(db, &owner)).await
    }

    async fn remove_all(&self, owner: &str) -> Result<()> {
        let owner: Arc<str> = owner.into();
        self.change_tables(move |tables| {
            let sql = "SELECT id FROM owners WHERE name = ?1";
            let Some(id) = first(&tables.db, sql, [&owner], |row| get(row, 0))? else { return Ok(()) };
            entries::remove_buckets(&tables.db, id)?;
            containers::remove_all(tables, |name| Place { owner: owner.clone(), name: name.into() }, id)
        })
        .await
    }
}

#[async_trait]
impl ObjectStore for SqliteDataStore {
    async fn create_container(&self, container: &Place, quota: DataQuota) -> Result<()> {
        let container = container.clone();
        self.change_tables(move |tables| containers::create(&tables.db, &container, Timestamp::now(), quota)).await
    }

    async fn container(&self, container: &Place) -> Result<Option<ContainerInfo>> {
        let container = container.clone();
        self.read(move |db| find::container_info(db, &container)).await
    }

    async fn remove_container(&self, container: &Place) -> Result<()> {
        let container = container.clone();
        self.change_tables(move |tables| containers::remove(tables, &container)).await
    }

    async fn clear(&self, container: &Place) -> Result<()> {
        let container = container.clone();
        self.change_tables(move |tables| containers::clear(tables, &container)).await
    }

    async fn begin(&self, owner: Arc<str>, quota: DataQuota) -> Result<Box<dyn Upload>> {
        let pin = self.change_tables(move |tables| Ok(tables.pin(objects::new_blob(&tables.db, &owner)?))).await?;
        Ok(Box::new(SqliteUpload { store: self.clone(), pin: Arc::new(pin), quota, is_broken: false }))
    }

    async fn open(&self, container: &Place, name: String) -> Result<Box<dyn ObjectReader>> {
        let container = container.clone();
        // The thread that writes does this, so that nothing removes the blob between the two steps.
        let opened = self.change_tables(move |tables| {
            let found = objects::object(&tables.db, &container, &name)?;
            let (blob, info) = found.ok_or(DataError::NoObject(name.into()))?;
            Ok((tables.pin(blob), info.size))
        });
        let (pin, size) = opened.await?;
        Ok(Box::new(SqliteObject { store: self.clone(), pin, size }))
    }

    async fn object(&self, container: &Place, name: String) -> Result<Option<ObjectInfo>> {
        let container = container.clone();
        self.read(move |db| Ok(objects::object(db, &container, &name)?.map(|(_, info)| info))).await
    }

    async fn remove_objects(&self, container: &Place, names: Vec<String>) -> Result<()> {
        let container = container.clone();
        self.change_tables(move |tables| names.iter().try_for_each(|name| objects::remove(tables, &container, name)))
            .await
    }

    async fn copy(&self, from: (Place, String), to: (Place, String), moves: bool, quota: DataQuota) -> Result<()> {
        self.change_tables(move |tables| {
            let found = objects::object(&tables.db, &from.0, &from.1)?;
            let (blob, _) = found.ok_or_else(|| DataError::NoObject(from.1.as_str().into()))?;
            if from == to {
                return Ok(());
            }
            objects::put(tables, blob, &to.0, &to.1, Timestamp::now(), quota)?;
            if moves { objects::remove(tables, &from.0, &from.1) } else { Ok(()) }
        })
        .await
    }

    async fn list_objects(&self, container: &Place, cursor: u64, limit: usize) -> Result<ObjectPage> {
        let container = container.clone();
        self.read(move |db| listing::objects(db, &container, cursor, limit)).await
    }
}

/// An object that is being written. The blob is removed with the pin, unless it belongs to an object by then.
#[derive(Debug)]
struct SqliteUpload {
    store: SqliteDataStore,
    pin: Arc<Pin>,
    quota: DataQuota,
    /// Whether a piece was not written.
    is_broken: bool,
}

#[async_trait]
impl Upload for SqliteUpload {
    async fn append(&mut self, piece: Bytes) -> Result<()> {
        if self.is_broken {
            return Err(DataError::Discarded);
        }
        let (pin, quota) = (self.pin.clone(), self.quota);
        // Until the piece is written. A future that was dropped leaves it unknown whether it was.
        self.is_broken = true;
        self.store.change_tables(move |tables| objects::append(&tables.db, pin.blob(), &piece, quota)).await?;
        self.is_broken = false;
        Ok(())
    }

    async fn finish(self: Box<Self>, names: Vec<(Place, String)>) -> Result<()> {
        if self.is_broken {
            return Err(DataError::Discarded);
        }
        let (pin, quota) = (self.pin.clone(), self.quota);
        self.store
            .change_tables(move |tables| {
                let created = Timestamp::now();
                let mut names = names.iter();
                names.try_for_each(|(place, name)| objects::put(tables, pin.blob(), place, name, created, quota))
            })
            .await
    }
}

/// An object that is read.
#[derive(Debug)]
struct SqliteObject {
    store: SqliteDataStore,
    pin: Pin,
    size: u64,
}

#[async_trait]
impl ObjectReader for SqliteObject {
    fn size(&self) -> u64 {
        self.size
    }

    async fn piece(&self, index: u64) -> Result<Bytes> {
        let blob = self.pin.blob();
        self.store.read(move |db| objects::piece(db, blob, index)).await
    }
}

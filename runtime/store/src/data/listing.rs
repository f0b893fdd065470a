//! Lists of keys, objects and buckets.

use capstan_engine::data::{BucketInfo, DataUsage, KeyPage, ObjectPage, Place};
use rusqlite::{Connection, params};

use super::entries::bucket;
use super::find::container;
use super::sql::{Result, all, count, first, get, stored};

/// Returns keys of a bucket after `cursor`.
pub(super) fn keys(db: &Connection, place: &Place, cursor: u64, limit: usize) -> Result<KeyPage> {
    let Some(bucket) = bucket(db, place)? else { return Ok(KeyPage::default()) };
    let sql = "SELECT id, key FROM entries WHERE bucket = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let (keys, next) = page(db, sql, bucket, cursor, limit)?;
    Ok(KeyPage { keys, next })
}

/// Returns names of objects of a container after `cursor`.
pub(super) fn objects(db: &Connection, place: &Place, cursor: u64, limit: usize) -> Result<ObjectPage> {
    let (container, _) = container(db, place)?;
    let sql = "SELECT id, name FROM objects WHERE container = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let (names, next) = page(db, sql, container, cursor, limit)?;
    Ok(ObjectPage { names, next })
}

/// Returns names and where the next page begins. A page that is not full is the last one.
fn page(db: &Connection, sql: &str, of: i64, cursor: u64, limit: usize) -> Result<(Vec<String>, Option<u64>)> {
    let rows = all(db, sql, params![of, stored(cursor), stored(limit as u64)], |row| {
        Ok((count(row, 0)?, get::<String>(row, 1)?))
    })?;
    let next = rows.last().map(|(id, _)| *id).filter(|_| rows.len() == limit);
    Ok((rows.into_iter().map(|(_, name)| name).collect(), next))
}

/// Returns buckets of a handler by name.
pub(super) fn buckets(db: &Connection, owner: &str, after: &str, limit: usize) -> Result<Vec<BucketInfo>> {
    let sql = "SELECT buckets.name, buckets.keys, buckets.bytes FROM buckets JOIN owners ON owners.id = buckets.owner \
               WHERE owners.name = ?1 AND buckets.name > ?2 ORDER BY buckets.name LIMIT ?3";
    all(db, sql, params![owner, after, stored(limit as u64)], |row| {
        Ok(BucketInfo { name: get(row, 0)?, keys: count(row, 1)?, bytes: count(row, 2)? })
    })
}

/// Returns what a handler keeps.
pub(super) fn usage(db: &Connection, owner: &str) -> Result<DataUsage> {
    let sql = "SELECT bytes, keys FROM owners WHERE name = ?1";
    let usage = first(db, sql, [owner], |row| Ok(DataUsage { bytes: count(row, 0)?, keys: count(row, 1)? }))?;
    Ok(usage.unwrap_or_default())
}

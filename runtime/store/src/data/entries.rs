//! Keys and values, and the account of what handlers keep.

use std::ops::RangeInclusive;

use bytes::Bytes;
use capstan_engine::data::{Change, DataError, DataQuota, Entry, MAX_BATCH_BYTES, Place};
use rusqlite::{Connection, params};

use super::sql::{Result, count, execute, first, get, insert, stored};
use super::tables::Tables;

/// How much a change adds to what a handler keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    pub(super) bytes: i64,
    pub(super) keys: i64,
}

/// Returns the number of a bucket, if it exists.
pub(super) fn bucket(db: &Connection, place: &Place) -> Result<Option<i64>> {
    let sql = "SELECT buckets.id FROM buckets JOIN owners ON owners.id = buckets.owner WHERE owners.name = ?1 AND buckets.name = ?2";
    first(db, sql, params![place.owner, place.name], |row| get(row, 0))
}

/// Returns the number of a handler, and gives it one if it has none.
pub(super) fn owner(db: &Connection, name: &str) -> Result<i64> {
    match first(db, "SELECT id FROM owners WHERE name = ?1", [name], |row| get(row, 0))? {
        Some(id) => Ok(id),
        None => insert(db, "INSERT INTO owners (name) VALUES (?1)", [name]),
    }
}

/// Records that a handler keeps more, or less.
///
/// # Errors
/// [`DataError::QuotaBytes`] and [`DataError::QuotaKeys`], if it keeps more and exceeds its quota.
pub(super) fn account(db: &Connection, owner: i64, growth: Growth, quota: DataQuota) -> Result<()> {
    let sql = "UPDATE owners SET bytes = bytes + ?2, keys = keys + ?3 WHERE id = ?1 RETURNING bytes, keys";
    let kept = first(db, sql, params![owner, growth.bytes, growth.keys], |row| Ok((count(row, 0)?, count(row, 1)?)))?;
    let (bytes, keys) = kept.ok_or_else(|| DataError::damaged("data.db", "a handler is missing"))?;
    if growth.bytes > 0 && bytes > quota.bytes {
        return Err(DataError::QuotaBytes(quota.bytes));
    }
    if growth.keys > 0 && keys > quota.keys {
        return Err(DataError::QuotaKeys(quota.keys));
    }
    Ok(())
}

/// Records that a handler keeps less.
pub(super) fn refund(db: &Connection, owner: i64, bytes: i64, keys: i64) -> Result<()> {
    let unlimited = DataQuota { bytes: u64::MAX, keys: u64::MAX };
    account(db, owner, Growth { bytes: -bytes, keys: -keys }, unlimited)
}

/// Returns the values of `keys`.
pub(super) fn read(db: &Connection, place: &Place, keys: &[String]) -> Result<Vec<Option<Entry>>> {
    let Some(bucket) = bucket(db, place)? else { return Ok(vec![None; keys.len()]) };
    let mut total = 0;
    let read_one = |key: &String| {
        let entry = read_in(db, bucket, key)?;
        total += entry.as_ref().map_or(0, |entry| entry.value.len());
        if total > MAX_BATCH_BYTES { Err(DataError::BatchTooLarge) } else { Ok(entry) }
    };
    keys.iter().map(read_one).collect()
}

fn read_in(db: &Connection, bucket: i64, key: &str) -> Result<Option<Entry>> {
    let sql = "SELECT value, revision, checksum FROM entries WHERE bucket = ?1 AND key = ?2";
    first(db, sql, params![bucket, key], |row| {
        let (value, checksum): (Vec<u8>, u32) = (get(row, 0)?, get(row, 2)?);
        if checksum != checksum_of(key, &value) {
            return Err(DataError::damaged(format!("the value of the key {key:?}"), "its checksum is wrong"));
        }
        Ok(Entry { value: value.into(), revision: count(row, 1)? })
    })
}

/// Returns whether `key` exists.
pub(super) fn exists(db: &Connection, place: &Place, key: &str) -> Result<bool> {
    let Some(bucket) = bucket(db, place)? else { return Ok(false) };
    let sql = "SELECT 1 FROM entries WHERE bucket = ?1 AND key = ?2";
    Ok(first(db, sql, params![bucket, key], |_| Ok(()))?.is_some())
}

/// Makes all of `changes`.
pub(super) fn change(tables: &mut Tables, place: &Place, changes: Vec<Change>, quota: DataQuota) -> Result<()> {
    let owner = owner(&tables.db, &place.owner)?;
    let bucket = match bucket(&tables.db, place)? {
        Some(bucket) => bucket,
        None => insert(&tables.db, "INSERT INTO buckets (owner, name) VALUES (?1, ?2)", params![owner, place.name])?,
    };
    let mut growth = Growth::default();
    for change in changes {
        match change {
            Change::Set { key, value } => set(tables, bucket, &key, &value, &mut growth)?,
            Change::Delete { key } => delete(&tables.db, bucket, &key, &mut growth)?,
        }
    }
    let sql = "UPDATE buckets SET bytes = bytes + ?2, keys = keys + ?3 WHERE id = ?1";
    execute(&tables.db, sql, params![bucket, growth.bytes, growth.keys])?;
    execute(&tables.db, "DELETE FROM buckets WHERE id = ?1 AND keys = 0", [bucket])?;
    account(&tables.db, owner, growth, quota)
}

fn set(tables: &mut Tables, bucket: i64, key: &str, value: &[u8], growth: &mut Growth) -> Result<()> {
    let (revision, checksum) = (tables.next_revision(), checksum_of(key, value));
    let size = stored(value.len() as u64);
    let sql = "SELECT id, length(value) FROM entries WHERE bucket = ?1 AND key = ?2";
    let old = first(&tables.db, sql, params![bucket, key], |row| Ok((get::<i64>(row, 0)?, get::<i64>(row, 1)?)))?;
    if let Some((id, old_size)) = old {
        let sql = "UPDATE entries SET value = ?2, revision = ?3, checksum = ?4 WHERE id = ?1";
        execute(&tables.db, sql, params![id, value, revision, checksum])?;
        growth.bytes += size - old_size;
    } else {
        let sql = "INSERT INTO entries (bucket, key, value, revision, checksum) VALUES (?1, ?2, ?3, ?4, ?5)";
        execute(&tables.db, sql, params![bucket, key, value, revision, checksum])?;
        growth.bytes += stored(key.len() as u64) + size;
        growth.keys += 1;
    }
    Ok(())
}

fn delete(db: &Connection, bucket: i64, key: &str, growth: &mut Growth) -> Result<()> {
    let sql = "DELETE FROM entries WHERE bucket = ?1 AND key = ?2 RETURNING length(value)";
    if let Some(size) = first(db, sql, params![bucket, key], |row| get::<i64>(row, 0))? {
        growth.bytes -= stored(key.len() as u64) + size;
        growth.keys -= 1;
    }
    Ok(())
}

/// Adds `delta` to the number of `key`.
pub(super) fn increment(
    tables: &mut Tables,
    place: &Place,
    key: String,
    delta: i128,
    range: &RangeInclusive<i128>,
    quota: DataQuota,
) -> Result<i128> {
    let entry = read(&tables.db, place, std::slice::from_ref(&key))?.pop().flatten();
    let number = match entry {
        None => 0,
        Some(entry) => {
            std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).ok_or(DataError::NotANumber)?
        }
    };
    let sum = i128::checked_add(number, delta).filter(|sum| range.contains(sum)).ok_or(DataError::Overflow)?;
    change(tables, place, vec![Change::Set { key, value: sum.to_string().into() }], quota)?;
    Ok(sum)
}

/// Sets `key` if its revision is `expected`.
pub(super) fn swap(
    tables: &mut Tables,
    place: &Place,
    key: String,
    expected: Option<u64>,
    value: Bytes,
    quota: DataQuota,
) -> Result<bool> {
    let sql = "SELECT revision FROM entries WHERE bucket = ?1 AND key = ?2";
    let revision = match bucket(&tables.db, place)? {
        Some(bucket) => first(&tables.db, sql, params![bucket, key], |row| count(row, 0))?,
        None => None,
    };
    if revision != expected {
        return Ok(false);
    }
    change(tables, place, vec![Change::Set { key, value }], quota)?;
    Ok(true)
}

/// Removes all buckets of a handler.
pub(super) fn remove_buckets(db: &Connection, owner: i64) -> Result<()> {
    let sql = "SELECT coalesce(sum(bytes), 0), coalesce(sum(keys), 0) FROM buckets WHERE owner = ?1";
    let sums = first(db, sql, [owner], |row| Ok((get(row, 0)?, get(row, 1)?)))?;
    let (bytes, keys) = sums.unwrap_or_default();
    execute(db, "DELETE FROM entries WHERE bucket IN (SELECT id FROM buckets WHERE owner = ?1)", [owner])?;
    execute(db, "DELETE FROM buckets WHERE owner = ?1", [owner])?;
    refund(db, owner, bytes, keys)
}

/// Returns the checksum of a value, which also tells it from that of another key.
pub(super) fn checksum_of(key: &str, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(value);
    hasher.finalize()
}

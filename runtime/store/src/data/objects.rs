//! Objects and their blobs.

use bytes::Bytes;
use capstan_engine::data::{CHUNK, DataError, DataQuota, ObjectInfo, Place};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::entries::{Growth, account, owner, refund};
use super::find::{container, time};
use super::sql::{Result, count, execute, first, get, insert, stored};
use super::tables::Tables;

/// Adds an empty blob of a handler, which belongs to no object yet. Returns its number.
pub(super) fn new_blob(db: &Connection, name: &str) -> Result<i64> {
    let owner = owner(db, name)?;
    insert(db, "INSERT INTO blobs (owner) VALUES (?1)", [owner])
}

/// Appends a piece to a blob.
pub(super) fn append(db: &Connection, blob: i64, piece: &[u8], quota: DataQuota) -> Result<()> {
    let sql = "SELECT owner, size FROM blobs WHERE id = ?1";
    let found = first(db, sql, [blob], |row| Ok((get::<i64>(row, 0)?, count(row, 1)?)))?;
    let (owner, size) = found.ok_or(DataError::Discarded)?;
    let number = stored(size / CHUNK as u64);
    let sql = "INSERT INTO pieces (blob, number, checksum, bytes) VALUES (?1, ?2, ?3, ?4)";
    execute(db, sql, params![blob, number, crc32fast::hash(piece), piece])?;
    let growth = stored(piece.len() as u64);
    execute(db, "UPDATE blobs SET size = size + ?2 WHERE id = ?1", params![blob, growth])?;
    account(db, owner, Growth { bytes: growth, keys: 0 }, quota)
}

/// Returns a piece of a blob.
pub(super) fn piece(db: &Connection, blob: i64, number: u64) -> Result<Bytes> {
    let sql = "SELECT bytes, checksum FROM pieces WHERE blob = ?1 AND number = ?2";
    let piece = first(db, sql, params![blob, stored(number)], |row| {
        let (bytes, checksum): (Vec<u8>, u32) = (get(row, 0)?, get(row, 1)?);
        Ok((checksum == crc32fast::hash(&bytes)).then_some(bytes))
    })?;
    let damaged = |reason| DataError::damaged(format!("piece {number} of an object"), reason);
    match piece {
        Some(Some(bytes)) => Ok(bytes.into()),
        Some(None) => Err(damaged("its checksum is wrong")),
        None => Err(damaged("it is missing")),
    }
}

/// Makes `blob` the object `name` of a container.
pub(super) fn put(
    tables: &Tables,
    blob: i64,
    place: &Place,
    name: &str,
    created: Timestamp,
    quota: DataQuota,
) -> Result<()> {
    let db = &tables.db;
    let (container, owner) = container(db, place)?;
    execute(db, "UPDATE blobs SET objects = objects + 1 WHERE id = ?1", [blob])?;
    let created = created.as_microsecond();
    let sql = "SELECT id, blob FROM objects WHERE container = ?1 AND name = ?2";
    let old = first(db, sql, params![container, name], |row| Ok((get::<i64>(row, 0)?, get::<i64>(row, 1)?)))?;
    if let Some((id, old)) = old {
        execute(db, "UPDATE objects SET blob = ?2, created = ?3 WHERE id = ?1", params![id, blob, created])?;
        return let_go(tables, old);
    }
    let sql = "INSERT INTO objects (container, name, blob, created) VALUES (?1, ?2, ?3, ?4)";
    execute(db, sql, params![container, name, blob, created])?;
    account(db, owner, Growth { bytes: stored(name.len() as u64), keys: 1 }, quota)
}

/// Returns the blob of an object and its description.
pub(super) fn object(db: &Connection, place: &Place, name: &str) -> Result<Option<(i64, ObjectInfo)>> {
    let (container, _) = container(db, place)?;
    let sql = "SELECT blobs.id, blobs.size, objects.created FROM objects JOIN blobs ON blobs.id = objects.blob \
               WHERE objects.container = ?1 AND objects.name = ?2";
    first(db, sql, params![container, name], |row| {
        Ok((get(row, 0)?, ObjectInfo { size: count(row, 1)?, created: time(get(row, 2)?)? }))
    })
}

/// Removes an object, if it exists.
pub(super) fn remove(tables: &Tables, place: &Place, name: &str) -> Result<()> {
    let (container, owner) = container(&tables.db, place)?;
    let sql = "DELETE FROM objects WHERE container = ?1 AND name = ?2 RETURNING blob";
    if let Some(blob) = first(&tables.db, sql, params![container, name], |row| get(row, 0))? {
        refund(&tables.db, owner, stored(name.len() as u64), 1)?;
        let_go(tables, blob)?;
    }
    Ok(())
}

/// Records that an object does not have `blob` any more.
pub(super) fn let_go(tables: &Tables, blob: i64) -> Result<()> {
    execute(&tables.db, "UPDATE blobs SET objects = objects - 1 WHERE id = ?1", [blob])?;
    remove_if_unused(tables, blob)
}

/// Removes `blob` if no object has it and nobody reads or writes it.
pub(super) fn remove_if_unused(tables: &Tables, blob: i64) -> Result<()> {
    let sql = "SELECT 1 FROM blobs WHERE id = ?1 AND objects = 0";
    let is_unused = first(&tables.db, sql, [blob], |_| Ok(()))?.is_some();
    if is_unused && !tables.pins.is_pinned(blob) { delete_blob(&tables.db, blob) } else { Ok(()) }
}

/// Removes `blob`, which nobody uses.
pub(super) fn delete_blob(db: &Connection, blob: i64) -> Result<()> {
    execute(db, "DELETE FROM pieces WHERE blob = ?1", [blob])?;
    let sql = "DELETE FROM blobs WHERE id = ?1 RETURNING owner, size";
    match first(db, sql, [blob], |row| Ok((get(row, 0)?, get(row, 1)?)))? {
        Some((owner, size)) => refund(db, owner, size, 0),
        None => Ok(()),
    }
}

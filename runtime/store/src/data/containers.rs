//! Containers.

use capstan_engine::data::{DataError, DataQuota, Place};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::entries::{Growth, account, owner, refund};
use super::find::{container, container_info};
use super::objects::let_go;
use super::sql::{Result, all, execute, get, insert, stored};
use super::tables::Tables;

/// Adds a container.
pub(super) fn create(db: &Connection, place: &Place, created: Timestamp, quota: DataQuota) -> Result<()> {
    if container_info(db, place)?.is_some() {
        return Err(DataError::ContainerExists((*place.name).into()));
    }
    let owner = owner(db, &place.owner)?;
    let sql = "INSERT INTO containers (owner, name, created) VALUES (?1, ?2, ?3)";
    insert(db, sql, params![owner, place.name, created.as_microsecond()])?;
    account(db, owner, Growth { bytes: stored(place.name.len() as u64), keys: 1 }, quota)
}

/// Removes a container and its objects, if it exists.
pub(super) fn remove(tables: &Tables, place: &Place) -> Result<()> {
    if container_info(&tables.db, place)?.is_none() {
        return Ok(());
    }
    let (container, owner) = container(&tables.db, place)?;
    remove_objects(tables, container, owner)?;
    execute(&tables.db, "DELETE FROM containers WHERE id = ?1", [container])?;
    refund(&tables.db, owner, stored(place.name.len() as u64), 1)
}

/// Removes all objects of a container.
pub(super) fn clear(tables: &Tables, place: &Place) -> Result<()> {
    let (container, owner) = container(&tables.db, place)?;
    remove_objects(tables, container, owner)
}

fn remove_objects(tables: &Tables, container: i64, owner: i64) -> Result<()> {
    let sql = "DELETE FROM objects WHERE container = ?1 RETURNING blob, octet_length(name)";
    let removed = all(&tables.db, sql, [container], |row| Ok((get::<i64>(row, 0)?, get::<i64>(row, 1)?)))?;
    for (blob, name) in removed {
        refund(&tables.db, owner, name, 1)?;
        let_go(tables, blob)?;
    }
    Ok(())
}

/// Removes all containers of a handler.
pub(super) fn remove_all(tables: &Tables, place_of: impl Fn(String) -> Place, owner: i64) -> Result<()> {
    let names = all(&tables.db, "SELECT name FROM containers WHERE owner = ?1", [owner], |row| get(row, 0))?;
    names.into_iter().try_for_each(|name| remove(tables, &place_of(name)))
}

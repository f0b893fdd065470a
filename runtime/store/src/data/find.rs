//! Finds containers.

use capstan_engine::data::{ContainerInfo, DataError, Place};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::sql::{Result, first, get};

const FIND: &str = "SELECT containers.id, containers.owner, containers.created FROM containers \
                    JOIN owners ON owners.id = containers.owner WHERE owners.name = ?1 AND containers.name = ?2";

/// Returns the number of a container and that of its handler.
///
/// # Errors
/// [`DataError::NoContainer`]
pub(super) fn container(db: &Connection, place: &Place) -> Result<(i64, i64)> {
    let found = first(db, FIND, params![place.owner, place.name], |row| Ok((get(row, 0)?, get(row, 1)?)))?;
    found.ok_or_else(|| DataError::NoContainer((*place.name).into()))
}

/// Returns the description of a container.
pub(super) fn container_info(db: &Connection, place: &Place) -> Result<Option<ContainerInfo>> {
    first(db, FIND, params![place.owner, place.name], |row| Ok(ContainerInfo { created: time(get(row, 2)?)? }))
}

/// Returns a time as the database has it.
pub(super) fn time(microseconds: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(microseconds).map_err(|error| DataError::damaged("data.db", error))
}

//! The schema of the database.

use capstan_engine::data::DataError;
use rusqlite::{Connection, TransactionBehavior};

use super::failure::failed;

/// The steps from one version of the schema to the next. A database has as many as its `user_version` says. Steps are only ever added.
const MIGRATIONS: &[&str] = &[VERSION_1];

/// Times are microseconds since 1970. Sizes are those of keys, values, names and pieces of objects. `blobs.objects` counts the objects that have a
/// blob. The indexes named `in_order` are the order of lists.
const VERSION_1: &str = "
CREATE TABLE store (opened INTEGER NOT NULL);
INSERT INTO store VALUES (0);
CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL DEFAULT 0,
    keys INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE buckets (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0,
    keys INTEGER NOT NULL DEFAULT 0,
    UNIQUE (owner, name)
) STRICT;
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    bucket INTEGER NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (bucket, key)
) STRICT;
CREATE INDEX entries_in_order ON entries (bucket);
CREATE TABLE containers (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    name TEXT NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (owner, name)
) STRICT;
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    container INTEGER NOT NULL,
    name TEXT NOT NULL,
    blob INTEGER NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (container, name)
) STRICT;
CREATE INDEX objects_in_order ON objects (container);
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    objects INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX unused_blobs ON blobs (id) WHERE objects = 0;
CREATE TABLE pieces (
    blob INTEGER NOT NULL,
    number INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (blob, number)
) STRICT;
";

/// Brings the schema of `db` to the present version, in one transaction.
///
/// # Errors
/// [`DataError::Io`] names both versions if that of the database is newer.
pub(super) fn migrate(db: &mut Connection) -> Result<(), DataError> {
    let found = version(db)?;
    check_known(found)?;
    if found == MIGRATIONS.len() {
        return Ok(());
    }
    let migrating = failed("migrate");
    let transaction = db.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(&migrating)?;
    for step in &MIGRATIONS[found..] {
        transaction.execute_batch(step).map_err(&migrating)?;
    }
    let version = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", version).map_err(&migrating)?;
    transaction.commit().map_err(&migrating)
}

/// Checks that `db` has the present schema.
///
/// # Errors
/// [`DataError::Io`] names both versions if it has another one.
pub(super) fn check_present(db: &Connection) -> Result<(), DataError> {
    let found = version(db)?;
    check_known(found)?;
    if found < MIGRATIONS.len() {
        return Err(DataError::io("open data.db", "its schema is older; a start of the daemon migrates it"));
    }
    Ok(())
}

fn version(db: &Connection) -> Result<usize, DataError> {
    let found: i64 =
        db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed("read its version"))?;
    usize::try_from(found).map_err(|_| DataError::damaged("data.db", format!("its version is {found}")))
}

fn check_known(found: usize) -> Result<(), DataError> {
    let known = MIGRATIONS.len();
    if found <= known {
        return Ok(());
    }
    let reason = format!(
        "its schema has version {found}, and this capstan knows versions up to {known}; use the capstan that wrote it, or a newer one"
    );
    Err(DataError::io("open data.db", reason))
}

//! The schema of the database, and how an older one becomes the present one.

use cap_std::fs::Dir;
use capstan_engine::job_store::JobStoreError;
use rusqlite::{Connection, TransactionBehavior};

use super::failure::failed;

/// The steps from one version of the schema to the next. A database has as many as its `user_version` says. Steps are only ever added.
pub(super) const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2];

/// Times are microseconds since 1970. `jobs.checksum` covers the columns that `links` and `plan` do not, `attempts.checksum` the
/// end of an attempt. Numbers of states are the places in `State::ALL`. The index `queued` is the order in which jobs run.
const VERSION_1: &str = "
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    handler TEXT NOT NULL,
    lane TEXT NOT NULL,
    rank INTEGER NOT NULL,
    state INTEGER NOT NULL,
    submitted INTEGER NOT NULL,
    not_before INTEGER,
    start_deadline INTEGER,
    due INTEGER,
    attempt INTEGER NOT NULL,
    ended_runs INTEGER NOT NULL,
    lost_runs INTEGER NOT NULL,
    cancel_requested TEXT,
    ended INTEGER,
    outcome TEXT,
    outcome_kind TEXT,
    error TEXT,
    parent BLOB,
    array_id BLOB,
    array_index INTEGER,
    links BLOB NOT NULL,
    plan BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX queued ON jobs (handler, rank, lane, number) WHERE state = 2;
CREATE INDEX queued_by_age ON jobs (handler, number) WHERE state = 2;
CREATE INDEX due ON jobs (due, handler, state) WHERE state IN (0, 4);
CREATE INDEX waiting ON jobs (handler) WHERE state = 1;
CREATE INDEX running ON jobs (handler) WHERE state = 3;
CREATE INDEX start_deadlines ON jobs (start_deadline) WHERE start_deadline IS NOT NULL AND attempt = 0 AND state < 3;
CREATE INDEX ended ON jobs (handler, ended) WHERE ended IS NOT NULL;
CREATE INDEX arrays ON jobs (array_id) WHERE array_id IS NOT NULL;
CREATE INDEX parents ON jobs (parent) WHERE parent IS NOT NULL;
CREATE TABLE stdin (job INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE labels (
    name TEXT NOT NULL, value TEXT NOT NULL, job BLOB NOT NULL,
    PRIMARY KEY (name, value, job)
) STRICT, WITHOUT ROWID;
CREATE TABLE attempts (
    job INTEGER NOT NULL,
    number INTEGER NOT NULL,
    worker TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER,
    outcome TEXT,
    error TEXT,
    usage TEXT,
    printed INTEGER NOT NULL DEFAULT 0,
    checksum INTEGER,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE keys (
    text TEXT PRIMARY KEY, job BLOB NOT NULL, digest BLOB NOT NULL, expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_expiry ON keys (expires);
CREATE TABLE edges (
    dependency BLOB NOT NULL, dependant BLOB NOT NULL, position INTEGER NOT NULL, met INTEGER,
    PRIMARY KEY (dependency, dependant, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX edges_by_dependant ON edges (dependant, position);
CREATE TABLE paused (handler TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE schedules (
    name TEXT PRIMARY KEY, definition TEXT NOT NULL, is_paused INTEGER NOT NULL, next INTEGER, last INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE output (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    position INTEGER NOT NULL,
    length INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    at INTEGER NOT NULL,
    bytes BLOB,
    segment INTEGER,
    offset INTEGER,
    PRIMARY KEY (job, attempt, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX output_by_segment ON output (segment, offset) WHERE segment IS NOT NULL;
CREATE TABLE segments (number INTEGER PRIMARY KEY, size INTEGER NOT NULL, live INTEGER NOT NULL) STRICT;
CREATE TABLE output_of_jobs (
    handler TEXT NOT NULL, job INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (handler, job)
) STRICT, WITHOUT ROWID;
CREATE TABLE output_of_handlers (handler TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// `schedules.owner` is the handler whose manifest a schedule comes from. `jobs.is_synchronous` is 1 for runs that needed no queue. The one row
/// of `event_numbers` has the numbers of events that a daemon may use: from `first` to `reserved`. `last` is the last one that it has used, if it
/// has stopped in order.
const VERSION_2: &str = "
ALTER TABLE schedules ADD COLUMN owner TEXT;
ALTER TABLE jobs ADD COLUMN is_synchronous INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET is_synchronous = 1 WHERE number IN (SELECT job FROM attempts WHERE number = 1 AND worker = 'synchronous');
CREATE TABLE event_numbers (
    id INTEGER PRIMARY KEY CHECK (id = 0), first INTEGER NOT NULL, reserved INTEGER NOT NULL, last INTEGER
) STRICT;
";

/// Returns the version of the schema of `db`; 0 for a new database.
pub(super) fn version(db: &Connection) -> Result<usize, JobStoreError> {
    let version: i64 =
        db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed("read its version"))?;
    usize::try_from(version).map_err(|_| JobStoreError::damaged("jobs.db", format!("its version is {version}")))
}

/// Brings the schema of `db` to the present version, in one transaction. Before it changes a database that has data, it leaves a copy of it in
/// `dir`, and returns the name of the copy.
///
/// # Errors
/// [`JobStoreError::Io`] names both versions if that of the database is newer.
pub(super) fn migrate(db: &mut Connection, dir: &Dir, migrations: &[&str]) -> Result<Option<String>, JobStoreError> {
    let (found, known) = (version(db)?, migrations.len());
    if found > known {
        let reason = format!(
            "its schema has version {found}, and this capstan knows versions up to {known}; use the capstan that wrote it, or a newer one"
        );
        return Err(JobStoreError::io("open jobs.db", reason));
    }
    if found == known {
        return Ok(None);
    }
    let copy = (found > 0).then(|| copy_before_migration(db, dir, found)).transpose()?;
    let migrating = failed("migrate");
    let transaction = db.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(&migrating)?;
    for step in &migrations[found..] {
        transaction.execute_batch(step).map_err(&migrating)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(known).unwrap_or(i64::MAX)).map_err(&migrating)?;
    transaction.commit().map_err(&migrating)?;
    Ok(copy)
}

fn copy_before_migration(db: &Connection, dir: &Dir, version: usize) -> Result<String, JobStoreError> {
    let name = format!("jobs.version-{version}.db");
    // A copy that an earlier attempt left behind may be incomplete.
    if dir.exists(&name) {
        dir.remove_file(&name).map_err(|error| JobStoreError::io("replace the copy", error))?;
    }
    let path = super::connection::path_in(dir, &name);
    db.execute("VACUUM INTO ?1", [&path]).map_err(failed("copy the database before its migration"))?;
    dir.open(&name)
        .and_then(|file| file.sync_all())
        .and_then(|()| dir.open(".")?.sync_all())
        .map_err(|error| JobStoreError::io("copy the database before its migration", error))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> (tempfile::TempDir, Dir, Connection) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let db = super::super::connection::open_writer(&dir, Default::default()).unwrap();
        (temp, dir, db)
    }

    #[test]
    fn second_version_knows_synchronous_runs_and_keeps_schedules() {
        let (_temp, dir, mut db) = database();
        migrate(&mut db, &dir, &MIGRATIONS[..1]).unwrap();
        db.execute_batch(
            "INSERT INTO jobs (number, id, handler, lane, rank, state, submitted, attempt, ended_runs, lost_runs, links, plan, checksum)
                 VALUES (1, x'01', 'a', '', 0, 5, 0, 1, 1, 0, x'', x'', 0), (2, x'02', 'a', '', 0, 5, 0, 1, 1, 0, x'', x'', 0);
             INSERT INTO attempts (job, number, worker, started, printed) VALUES (1, 1, 'synchronous', 0, 0), (2, 1, 'local', 0, 0);
             INSERT INTO schedules (name, definition, is_paused) VALUES ('daily', '{}', 1);",
        )
        .unwrap();
        assert_eq!(migrate(&mut db, &dir, MIGRATIONS).unwrap().as_deref(), Some("jobs.version-1.db"));
        let is_synchronous = |number: i64| -> bool {
            db.query_row("SELECT is_synchronous FROM jobs WHERE number = ?1", [number], |row| row.get(0)).unwrap()
        };
        assert_eq!((is_synchronous(1), is_synchronous(2)), (true, false));
        let schedule: (String, bool, Option<String>) = db
            .query_row("SELECT name, is_paused, owner FROM schedules", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        assert_eq!(schedule, ("daily".to_owned(), true, None));
    }

    const STEPS: [&str; 3] =
        ["CREATE TABLE a (x); INSERT INTO a VALUES (1)", "ALTER TABLE a ADD COLUMN y", "CREATE TABLE b (z)"];

    #[test]
    fn migration_keeps_data_and_leaves_a_copy_of_the_old_version() {
        let (_temp, dir, mut db) = database();
        assert_eq!(migrate(&mut db, &dir, &STEPS[..1]).unwrap(), None);
        assert_eq!(migrate(&mut db, &dir, &STEPS).unwrap().as_deref(), Some("jobs.version-1.db"));
        assert_eq!(version(&db).unwrap(), 3);
        let row: (i64, Option<i64>) =
            db.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(row, (1, None));
        let copy = Connection::open(super::super::connection::path_in(&dir, "jobs.version-1.db")).unwrap();
        assert_eq!(version(&copy).unwrap(), 1);
        assert_eq!(copy.query_row("SELECT x FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        assert_eq!(migrate(&mut db, &dir, &STEPS).unwrap(), None);
    }

    #[test]
    fn failed_migration_changes_nothing_and_can_be_repeated() {
        let (_temp, dir, mut db) = database();
        migrate(&mut db, &dir, &STEPS[..1]).unwrap();
        let broken = [STEPS[0], STEPS[1], "CREATE TABLE a (exists_already)"];
        for _ in 0..2 {
            migrate(&mut db, &dir, &broken).unwrap_err();
            assert_eq!(version(&db).unwrap(), 1);
            assert!(db.prepare("SELECT y FROM a").is_err());
        }
        migrate(&mut db, &dir, &STEPS).unwrap();
    }

    #[test]
    fn newer_schema_is_refused_with_both_versions() {
        let (_temp, dir, mut db) = database();
        db.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut db, &dir, MIGRATIONS).unwrap_err().to_string();
        assert!(error.contains("version 99") && error.contains(&format!("up to {}", MIGRATIONS.len())), "{error}");
    }
}

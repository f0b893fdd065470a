//! [`backup`] and [`restore`]: a copy of a store, and a store from a copy.

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use capstan_engine::data::DataError;

use super::check::{DataCheck, check_file};
use super::connection::{FILE, open_reader};
use super::failure::{failed, file_failed};
use super::open::{DIR, open_dir};
use super::schema::check_present;
use super::sql::Result;
use crate::jobs::path_in;

/// The name of a copy until it is complete.
const UNFINISHED: &str = "data.db.unfinished";

/// Copies the store below the data directory `data` to the file `data.db` in `target`, also while a daemon uses it. The copy has what was
/// committed at one moment. Returns what a check of the copy found, or `None` if there is no store. Blocks on the disk.
///
/// # Errors
/// [`DataError`]. There is no file `data.db` then.
pub fn backup(data: &Dir, target: &Dir) -> Result<Option<DataCheck>> {
    if !data.try_exists(format!("{DIR}/{FILE}")).map_err(file_failed("look for data.db"))? {
        return Ok(None);
    }
    let dir = data.open_dir(DIR).map_err(file_failed("open a directory"))?;
    copy(&dir, target).map(Some)
}

/// Makes a store below the data directory `data` from the backup in `source`, which may have none: it then returns `None`. No daemon may use `data`.
/// Blocks on the disk.
///
/// # Errors
/// [`DataError`] if `data` has a store, the backup is damaged and `accept_damage` is false, or the disk fails.
pub fn restore(source: &Dir, data: &Dir, accept_damage: bool) -> Result<Option<DataCheck>> {
    if !source.try_exists(FILE).map_err(file_failed("look for data.db"))? {
        return Ok(None);
    }
    let check = check_file(source, FILE)?;
    if let Some(problem) = check.problems.first().filter(|_| !accept_damage) {
        return Err(DataError::damaged("the backup", format!("{problem}; use another backup, or --accept-damage")));
    }
    let dir = open_dir(data, DIR)?;
    if dir.try_exists(FILE).map_err(file_failed("look for data.db"))? {
        return Err(DataError::io(
            "restore",
            format!("there is a store already; move its directory `{DIR}` away first"),
        ));
    }
    copy(source, &dir)?;
    Ok(Some(check))
}

fn copy(source: &Dir, target: &Dir) -> Result<DataCheck> {
    let copying = file_failed("copy data.db");
    let db = open_reader(source, FILE)?;
    check_present(&db)?;
    if target.try_exists(UNFINISHED).map_err(&copying)? {
        target.remove_file(UNFINISHED).map_err(&copying)?;
    }
    // SQLite would create a file that everyone can read. It accepts an empty one.
    target.open_with(UNFINISHED, OpenOptions::new().write(true).create_new(true).mode(0o600)).map_err(&copying)?;
    // The pragma is about changes of any database, also of a new one.
    db.pragma_update(None, "query_only", false).map_err(failed("copy data.db"))?;
    db.execute("VACUUM INTO ?1", [path_in(target, UNFINISHED)]).map_err(failed("copy data.db"))?;
    let check = check_file(target, UNFINISHED)?;
    target
        .open(UNFINISHED)
        .and_then(|file| file.sync_all())
        .and_then(|()| target.rename(UNFINISHED, target, FILE))
        .and_then(|()| target.open(".")?.sync_all())
        .map_err(&copying)?;
    Ok(check)
}

//! [`SqliteDataStore`]: what handlers keep, in a SQLite database of its own.
//!
//! ```text
//! data/lock         held while the store is open
//! data/data.db      the database, with its log data.db-wal and its index data.db-shm
//! ```
//!
//! One thread makes all changes (`writer`), which share commits. Others read with connections of their own (`readers`). A store in memory has no
//! readers: its thread does everything.
//!
//! The bytes of an object are a *blob*, in pieces. Objects that were copied share a blob. A blob goes when no object has it and nobody reads or
//! writes it (`pins`).

mod check;
mod connection;
mod containers;
mod copy;
mod entries;
mod failure;
mod find;
mod listing;
mod objects;
mod open;
mod pins;
mod readers;
mod schema;
mod sql;
mod store;
mod tables;
mod writer;

pub use self::check::{DataCheck, check};
pub use self::connection::FILE;
pub use self::copy::{backup, restore};
pub use self::open::{DIR, SqliteDataStore};

//! [`SqliteJobStore`]: durable jobs in a SQLite database and files beside it.
//!
//! ```text
//! jobs/lock              held while the store is open
//! jobs/jobs.db           the database, with its log jobs.db-wal and its index jobs.db-shm
//! jobs/output/N.segment  large output
//! ```
//!
//! One thread makes all changes (`writer`), in the words of the engine's rules (`tables`). Others read with connections of their own
//! (`readers`). What is not in the database is written and synced before the commit that names it, so that the database alone says what is
//! valid.

mod backup;
mod check;
mod connection;
mod failure;
mod lock;
mod memory_state;
mod open;
mod output;
mod read;
mod readers;
mod rows;
mod schema;
mod sealed;
mod segments;
mod sql;
mod store;
mod tables;
mod vacuum;
mod wal;
mod writer;

pub use self::backup::{CopyReport, restore};
pub use self::check::{CheckReport, Problem, check};
pub use self::connection::Synchronous;
pub use self::open::{OpenReport, SqliteJobStore, SqliteOptions};
pub use self::segments::ShortSegment;
pub use self::vacuum::VacuumReport;

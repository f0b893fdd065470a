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
//!
//! [`check()`], [`backup()`], [`restore`] and [`vacuum()`] work on the files, without a [`SqliteJobStore`]; the first two also while another process
//! has it open (`segment_lock`).

mod backup;
mod check;
mod connection;
mod event_numbers;
mod failure;
mod lock;
mod maintenance;
mod memory_state;
mod open;
mod output;
mod read;
mod readers;
mod rows;
mod schema;
mod sealed;
mod segment_lock;
mod segments;
mod sql;
mod store;
mod tables;
mod vacuum;
mod wal;
mod writer;

pub use self::backup::{CopyReport, backup, exists, is_backup, restore};
pub use self::check::{CheckReport, Problem, ProblemKind, check};
pub use self::connection::Synchronous;
pub(crate) use self::connection::path_in;
pub use self::maintenance::MaintenanceError;
pub use self::open::{OpenReport, SqliteJobStore, SqliteOptions};
pub use self::segments::ShortSegment;
pub use self::vacuum::{VacuumReport, vacuum};

//! The rules of the queue, written once for all stores, over [`Tables`](super::tables::Tables).

mod change;
mod claim;
mod effects;
mod end;
mod expiry;
mod finish;
mod fire;
mod follow_up;
mod retention;
mod submit;

pub use self::change::{cancel, remove, requeue};
pub use self::claim::{Turns, claim};
pub use self::effects::{Effects, Leases};
pub use self::expiry::{expire, recover};
pub use self::finish::{finish, record_finished};
pub use self::fire::fire;
pub use self::follow_up::submit_follow_ups;
pub use self::retention::remove_expired;
pub use self::submit::{submit, submit_all};

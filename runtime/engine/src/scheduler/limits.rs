//! How many schedules there may be.

/// The most schedules.
pub const MAX_SCHEDULES: usize = 10_000;

/// The most bytes that the definitions of all schedules have, as JSON. They are in memory.
pub const MAX_DEFINITIONS: usize = 64 << 20;

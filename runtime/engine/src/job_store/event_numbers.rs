//! [`EventNumbers`]: which numbers of events are used, so that no later process uses them again.

/// The numbers of the events of one process. They are reserved in blocks, so that an event costs no change of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventNumbers {
    /// The first number.
    pub first: u64,
    /// The process uses no number above this one.
    pub reserved: u64,
    /// The number of the last event. `None` until the process has stopped in order.
    pub last: Option<u64>,
}

impl EventNumbers {
    /// Returns the number of the first event of the process after this one.
    pub fn next(&self) -> u64 {
        self.last.unwrap_or(self.reserved) + 1
    }
}

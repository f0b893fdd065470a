//! Numbers events so that no number is used again after a restart.

use std::time::Duration;

use super::Queue;
use crate::job_store::{EventNumbers, JobStoreError};

/// Numbers that are reserved with one change of the store.
const BLOCK: u64 = 1 << 20;

/// How long to wait after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

impl Queue {
    /// Numbers the events of this process after those of earlier ones, and keeps numbers reserved until the engine has shut down. Call it once,
    /// before anybody subscribes.
    ///
    /// A store that is full does not stop events. Only if it stays full for a million events, and the daemon is then killed, may a number be used
    /// again.
    ///
    /// # Errors
    /// [`JobStoreError`] if the store cannot be read
    pub async fn continue_event_numbers(&self) -> Result<(), JobStoreError> {
        let earlier = self.note(self.0.store.event_numbers().await)?;
        let first = earlier.map_or(1, |earlier| earlier.next());
        let numbers = EventNumbers { first, reserved: first - 1, last: None };
        let events = self.0.engine.events().clone();
        events.start_at(first, earlier);
        // Before anybody can see one of the numbers, if the disk allows it.
        let reserved = self.reserve(numbers).await;
        let (queue, drained) = (self.clone(), self.0.engine.clone());
        self.0.engine.spawn(async move {
            tokio::select! {
                () = drained.wait_until_drained() => {}
                () = queue.keep_reserved(reserved.unwrap_or(numbers)) => {}
            }
        });
        let queue = self.clone();
        let record_last = async move {
            let last = events.close();
            let numbers = EventNumbers { first, reserved: last, last: Some(last) };
            if let Err(error) = queue.note(queue.0.store.put_event_numbers(numbers).await) {
                tracing::warn!("cannot record the number of the last event: {error}");
            }
        };
        // A daemon that stops already needs no record: nobody has seen a number.
        let _ = self.0.engine.on_shutdown("event numbers", record_last);
        Ok(())
    }

    /// Reserves numbers whenever those that are reserved become few.
    async fn keep_reserved(&self, mut numbers: EventNumbers) {
        loop {
            self.0.engine.events().wait_for_reservation().await;
            match self.reserve(numbers).await {
                Some(reserved) => numbers = reserved,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Reserves a block of numbers after the last event. Returns `None` if the store fails, which is logged.
    async fn reserve(&self, numbers: EventNumbers) -> Option<EventNumbers> {
        let events = self.0.engine.events();
        let reserved = events.last().max(numbers.reserved) + BLOCK;
        let numbers = EventNumbers { reserved, ..numbers };
        let stored = self.note(self.0.store.put_event_numbers(numbers).await);
        events.reserve_at(if stored.is_ok() { reserved - BLOCK / 2 } else { 0 });
        stored.inspect_err(|error| tracing::warn!("cannot reserve numbers of events: {error}")).ok().map(|()| numbers)
    }
}

//! `Crowd`: how many handshakes go on at a time. Who comes when it is full takes the place of the one that has been at it for the longest,
//! so that clients which stall hold up nobody but themselves.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Those who are at it, the first to have come first.
#[derive(Debug)]
pub(super) struct Crowd {
    size: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: VecDeque<(u64, CancellationToken)>,
}

/// A place in the crowd; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place<'a> {
    crowd: &'a Crowd,
    number: u64,
    taken_away: CancellationToken,
}

impl Crowd {
    /// A crowd of up to `size`.
    pub(super) fn new(size: usize) -> Self {
        Self { size, places: Mutex::default() }
    }

    /// A place, at once.
    pub(super) fn enter(&self) -> Place<'_> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.taken.len() >= self.size
            && let Some((_, first)) = places.taken.pop_front()
        {
            first.cancel();
        }
        let (number, taken_away) = (places.next, CancellationToken::new());
        places.next += 1;
        places.taken.push_back((number, taken_away.clone()));
        Place { crowd: self, number, taken_away }
    }
}

impl Place<'_> {
    /// Waits until somebody else has it. Cancel-safe.
    pub(super) async fn taken_away(&self) {
        self.taken_away.cancelled().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut places = self.crowd.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(at) = places.taken.binary_search_by_key(&self.number, |(number, _)| *number) {
            places.taken.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_been_there_for_the_longest_makes_room() {
        let crowd = Crowd::new(2);
        let (first, second) = (crowd.enter(), crowd.enter());
        let third = crowd.enter();
        assert!(first.taken_away.is_cancelled() && !second.taken_away.is_cancelled());
        drop(third);
        let fourth = crowd.enter();
        assert!(!second.taken_away.is_cancelled(), "a place was free");
        let fifth = crowd.enter();
        assert!(second.taken_away.is_cancelled() && !fourth.taken_away.is_cancelled());
        drop((first, second, fourth, fifth));
        assert!(crowd.places.lock().unwrap().taken.is_empty());
    }
}

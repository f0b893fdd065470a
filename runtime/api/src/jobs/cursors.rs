//! `Cursors`: where a page of the list of jobs ends, as an authenticated token that only this data directory's daemon can create.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use capstan_engine::job::JobId;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Bytes of a position, and of the authentication tag.
const POSITION_LENGTH: usize = 32;
const TAG_LENGTH: usize = 16;

/// Encodes and decodes cursors. Their key outlives the daemon, as durable jobs do.
pub(in super::super) struct Cursors {
    key: Hmac<Sha256>,
    /// A random number of this process, in which the numbers of jobs in memory are valid.
    process: u64,
}

/// Where a list goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Position {
    /// Jobs in memory have lower numbers than this one. 0 where no more of them follow.
    pub(in super::super) in_memory: u64,
    /// Durable jobs have lower ids than this one. `None` where no more of them follow.
    pub(in super::super) durable: Option<JobId>,
}

impl Position {
    /// The beginning of a list.
    pub(in super::super) const START: Self = Self { in_memory: u64::MAX, durable: Some(JobId::MAX) };
}

impl Cursors {
    /// Returns the cursors of a data directory with this key.
    pub(in super::super) fn new(key: &[u8; 32]) -> Self {
        let key = Hmac::new_from_slice(key).expect("a key may have any length");
        let mut process = [0; 8];
        getrandom::fill(&mut process).expect("the kernel's random source answers once the machine has booted");
        Self { key, process: u64::from_be_bytes(process) }
    }

    /// Returns the cursor at `position`.
    pub(in super::super) fn encode(&self, position: Position) -> String {
        let id = position.durable.map_or([0; 16], JobId::to_bytes);
        let text = [&self.process.to_be_bytes()[..], &position.in_memory.to_be_bytes(), &id].concat();
        let tag = self.key.clone().chain_update(&text).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([&text[..], &tag[..TAG_LENGTH]].concat())
    }

    /// Returns the position of `cursor`; `None` where no daemon of this data directory has created it.
    pub(in super::super) fn decode(&self, cursor: &str) -> Option<Position> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().filter(|bytes| bytes.len() == POSITION_LENGTH + TAG_LENGTH)?;
        let (text, tag) = bytes.split_first_chunk::<POSITION_LENGTH>()?;
        self.key.clone().chain_update(text).verify_truncated_left(tag).ok()?;
        let (process, rest) = text.split_first_chunk::<8>()?;
        let (in_memory, id) = rest.split_first_chunk::<8>()?;
        // Jobs in memory have ended with their process. Those of this process are newer than the list that the client reads.
        let is_of_this_process = u64::from_be_bytes(*process) == self.process;
        let in_memory = if is_of_this_process { u64::from_be_bytes(*in_memory) } else { 0 };
        let id: [u8; 16] = id.try_into().ok()?;
        Some(Position { in_memory, durable: (id != [0; 16]).then(|| JobId::from_bytes(id)) })
    }
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cursors")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn positions() -> [Position; 3] {
        let durable = Some("0189abcd0189abcd0189abcd0189abcd".parse().unwrap());
        [Position::default(), Position { in_memory: 7, durable }, Position { in_memory: u64::MAX, durable: None }]
    }

    #[test]
    fn decode_returns_encoded_position() {
        let cursors = Cursors::new(&KEY);
        for position in positions() {
            assert_eq!(cursors.decode(&cursors.encode(position)), Some(position));
        }
    }

    #[test]
    fn cursor_of_an_earlier_process_keeps_its_place_among_durable_jobs() {
        let (earlier, later) = (Cursors::new(&KEY), Cursors::new(&KEY));
        for position in positions() {
            assert_eq!(later.decode(&earlier.encode(position)), Some(Position { in_memory: 0, ..position }));
        }
    }

    #[test]
    fn decode_rejects_cursor_of_other_directory_and_forged_cursor() {
        let (cursors, other) = (Cursors::new(&KEY), Cursors::new(&[8; 32]));
        assert_eq!(cursors.decode(&other.encode(positions()[1])), None);
        let cursor = URL_SAFE_NO_PAD.decode(cursors.encode(positions()[1])).unwrap();
        for index in 0..cursor.len() {
            let mut forged = cursor.clone();
            forged[index] ^= 1;
            assert_eq!(cursors.decode(&URL_SAFE_NO_PAD.encode(&forged)), None, "{index}");
        }
        for text in ["", "x", "=", &"A".repeat(10_000)] {
            assert_eq!(cursors.decode(text), None);
        }
    }
}

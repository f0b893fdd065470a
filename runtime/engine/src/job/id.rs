//! [`JobId`]: the id of a job.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The id of a job: 128 random bits, so that nobody can guess the id of another job. Its text is 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u128);

/// A map whose keys are ids of jobs.
pub(crate) type JobMap<T> = HashMap<JobId, T, BuildHasherDefault<JobIdHasher>>;

/// Hashes ids of jobs to a part of them: they are random already, and no client can choose them.
#[derive(Debug, Default)]
pub(crate) struct JobIdHasher(u64);

/// A text that is not the id of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job id is 32 hexadecimal digits")]
pub struct JobIdError;

impl JobId {
    /// The id of no job.
    pub(crate) const NONE: Self = Self(0);

    /// The highest id, which no job has.
    pub const MAX: Self = Self(u128::MAX);

    /// Returns the text of the id. This is faster than `Display`.
    pub fn to_hex(self) -> [u8; 32] {
        let mut hex = [0; 32];
        for (byte, digits) in self.to_bytes().into_iter().zip(hex.as_chunks_mut().0) {
            *digits = [byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
        }
        hex
    }

    /// Returns the 16 bytes of the id, in the order in which ids sort.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Returns the id with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Returns a new id.
    pub(crate) fn random() -> Self {
        // Each thread has its own cryptographically secure generator, seeded by the kernel. Asking the kernel would cost a system call for
        // each job.
        Self(rand::random())
    }
}

impl Hasher for JobIdHasher {
    fn write_u128(&mut self, id: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "half of the bits are enough")]
        {
            self.0 = id as u64;
        }
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("an id is one number")
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.to_hex()).expect("hexadecimal digits are text"))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for JobId {
    type Err = JobIdError;

    fn from_str(text: &str) -> Result<Self, JobIdError> {
        let is_well_formed = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(id) if is_well_formed => Ok(Self(id)),
            _ => Err(JobIdError),
        }
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

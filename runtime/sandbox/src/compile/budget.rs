//! What compiling a program may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::LoadError;

/// Wall clock that a child may take for each second of its processor time: it has the lowest priority, and that a machine is busy is no
/// fault of the program. All that this ends is a child that was stopped.
const WAIT: u32 = 200;

/// What compiling a program may take, by its size: real ones need more the larger they are, and a small one that needs much is a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time for each MiB of the program that is begun. Default 5 s; 1 MiB of Go takes 1 s where debug builds compile it.
    pub timeout: Duration,
    /// Bytes of address space for a program of 1 MiB; each further MiB adds a sixteenth of it. Default 512 MiB; 3 MiB of Go take 145 MiB,
    /// and a Python component of 18 MB takes 448 MiB.
    pub memory: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), memory: 512 << 20 }
    }
}

impl CompileLimits {
    /// What a program of `size` bytes may take.
    pub(super) fn of(self, size: usize) -> Budget {
        let mebibytes = u32::try_from(size.div_ceil(1 << 20)).unwrap_or(u32::MAX).max(1);
        let time = self.timeout.saturating_mul(mebibytes);
        Budget {
            cpu: time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)),
            memory: self.memory.saturating_add((self.memory / 16).saturating_mul(u64::from(mebibytes - 1))),
        }
    }
}

/// What compiling one program may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Budget {
    /// Seconds of processor time, the unit of the kernel's limit.
    pub(crate) cpu: u64,
    /// Bytes of address space.
    pub(crate) memory: u64,
}

impl Budget {
    /// That the memory was not enough.
    pub(crate) fn no_memory(self) -> LoadError {
        LoadError::CompileLimit(format!("{} bytes of memory", self.memory))
    }

    /// How long its child is waited for.
    pub(super) fn wall_clock(self) -> Duration {
        Duration::from_secs(self.cpu).saturating_mul(WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_program_may_take_more() {
        let limits = CompileLimits::default();
        let of = |size| (limits.of(size).cpu, limits.of(size).memory >> 20);
        for (size, expected) in [
            (0, (5, 512)),
            (1 << 20, (5, 512)),
            ((1 << 20) + 1, (10, 544)),
            (3_182_400, (20, 608)),
            (18 << 20, (90, 1056)),
            (64 << 20, (320, 2528)),
        ] {
            assert_eq!(of(size), expected, "{size} bytes");
        }
        let limits = CompileLimits { timeout: Duration::MAX, memory: u64::MAX };
        assert_eq!(limits.of(usize::MAX), Budget { cpu: u64::MAX, memory: u64::MAX });
        assert_eq!(CompileLimits { timeout: Duration::from_millis(1), memory: 1 }.of(1), Budget { cpu: 1, memory: 1 });
    }
}

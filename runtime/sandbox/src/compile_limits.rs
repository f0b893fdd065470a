//! [`CompileLimits`] and [`CompileBudget`]: how much CPU time and memory compiling a program may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LoadError;

/// How many seconds the daemon waits for a child for each second of CPU time that the child may use. A child has a low priority, and a busy
/// machine is no fault of the program. So this timeout ends only a child that is stopped.
const TIMEOUT_PER_CPU_SECOND: u32 = 200;

/// Limits on compiling a program, in proportion to its size: larger programs need more, and a small program that needs much is an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time for each started MiB of the program. Default 5 s. A debug build compiles 1 MiB of Go in 1 s.
    pub timeout: Duration,
    /// Bytes of resident memory for a program of 1 MiB. Each further MiB adds a quarter of it. Default 256 MiB.
    pub memory: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), memory: 256 << 20 }
    }
}

impl CompileLimits {
    /// No limits: for a user who compiles a program of their own.
    pub const UNLIMITED: Self = Self { timeout: Duration::MAX, memory: u64::MAX };

    /// Returns the budget for a program of `size` bytes.
    pub(super) fn budget_for(self, size: usize) -> CompileBudget {
        let mebibytes = u32::try_from(size.div_ceil(1 << 20)).unwrap_or(u32::MAX).max(1);
        let time = self.timeout.saturating_mul(mebibytes);
        CompileBudget {
            cpu: time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)),
            memory: self.memory.saturating_add((self.memory / 4).saturating_mul(u64::from(mebibytes - 1))),
        }
    }
}

/// How much compiling one program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompileBudget {
    /// Seconds of CPU time, which is the unit of the kernel's limit.
    pub(crate) cpu: u64,
    /// Bytes of resident memory. `u64::MAX` is no limit.
    pub(crate) memory: u64,
}

impl CompileBudget {
    /// Returns the error for a program that needs more memory.
    pub(crate) fn out_of_memory(self) -> LoadError {
        LoadError::CompileLimit(format!(
            "{} bytes of memory; raise it with --compile-memory, or with memory under [compile] in the configuration",
            self.memory
        ))
    }

    /// Returns how long the daemon waits for the child.
    pub(super) fn timeout(self) -> Duration {
        Duration::from_secs(self.cpu).saturating_mul(TIMEOUT_PER_CPU_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_grows_with_size_of_program() {
        let limits = CompileLimits::default();
        let budget = |size| (limits.budget_for(size).cpu, limits.budget_for(size).memory >> 20);
        for (size, expected) in [
            (0, (5, 256)),
            (1 << 20, (5, 256)),
            ((1 << 20) + 1, (10, 320)),
            (3_182_400, (20, 448)),
            (18 << 20, (90, 1344)),
            (64 << 20, (320, 4288)),
        ] {
            assert_eq!(budget(size), expected, "{size} bytes");
        }
        let limits = CompileLimits { timeout: Duration::MAX, memory: u64::MAX };
        assert_eq!(limits.budget_for(usize::MAX), CompileBudget { cpu: u64::MAX, memory: u64::MAX });
        let limits = CompileLimits { timeout: Duration::from_millis(1), memory: 1 };
        assert_eq!(limits.budget_for(1), CompileBudget { cpu: 1, memory: 1 });
    }
}

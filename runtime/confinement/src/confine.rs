//! Confines the current process.

use rustix::thread::CapabilitySet;

use super::error::ConfinementError;
use super::landlock::{self, Rules};
use super::mode::Mode;
use super::report::ConfinementReport;
use super::{capabilities, seccomp};

/// What a process still needs after its start.
#[derive(Debug)]
pub struct Requirements {
    pub capabilities: CapabilitySet,
    pub rules: Rules,
    /// The only system calls that it makes. `None` allows all.
    pub syscalls: Option<&'static [i64]>,
}

/// Gives up everything except `requirements`, as far as the kernel supports it. Applies to this thread and the threads that it starts later.
pub fn confine(requirements: &Requirements) -> ConfinementReport {
    confine_after(requirements, || ())
}

/// Calls `start_threads` after everything except system calls was given up. The filter of system calls then applies to those threads too, and
/// may forbid to start others.
fn confine_after(requirements: &Requirements, start_threads: impl FnOnce()) -> ConfinementReport {
    let mut errors = Vec::new();
    errors.extend(rustix::thread::set_no_new_privs(true).err().map(ConfinementError::Privileges));
    errors.extend(capabilities::retain(requirements.capabilities).err().map(ConfinementError::Capabilities));
    let (landlock, error) = landlock::restrict(&requirements.rules);
    errors.extend(error);
    let mut report = ConfinementReport { landlock, ..ConfinementReport::inherited() };
    start_threads();
    // Comes last, because the filter may block the system calls above.
    if let Some(syscalls) = requirements.syscalls {
        let filtered = seccomp::allow_only(syscalls);
        report.seccomp = filtered.is_ok();
        errors.extend(filtered.err().map(ConfinementError::Seccomp));
    }
    report.gaps = errors.iter().map(ToString::to_string).collect();
    report
}

/// Confines a compiler process. It needs only its open files, and the threads that `start_threads` starts, and computes. Each thread must have
/// started when `start_threads` returns. `Best` and `Strict` do the same: the caller checks the gaps.
pub fn confine_compiler(mode: Mode, start_threads: impl FnOnce()) -> ConfinementReport {
    if mode == Mode::Off {
        start_threads();
        return ConfinementReport::inherited();
    }
    let (capabilities, rules) = (CapabilitySet::empty(), Rules::default());
    confine_after(&Requirements { capabilities, rules, syscalls: Some(seccomp::COMPILER) }, start_threads)
}

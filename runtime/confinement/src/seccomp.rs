//! Seccomp: restricts which system calls a process may make. The kernel kills it with SIGSYS at any other one.

use std::collections::BTreeMap;

use libc::SIGABRT;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// The system calls of a compiler process. It reads from two open files, writes to two, allocates memory, and exits. It opens no files and
/// creates no sockets, further threads or processes.
pub(super) const COMPILER: &[i64] = &[
    // Streams.
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // Used by the standard library and the allocator.
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // Signal handling and exit.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Makes every attempt of the process to open a file fail with `EACCES`. Allocators look at files of the kernel, and do without.
fn deny_opening() -> Result<(), Error> {
    let rules = [(libc::SYS_openat, Vec::new())].into();
    let machine = std::env::consts::ARCH.try_into()?;
    let denied = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, denied, machine)?.try_into()?;
    seccompiler::apply_filter_all_threads(&program)
}

/// Allows all threads of the process only the system calls `syscalls`, and the one by which `abort` raises SIGABRT, for example when memory
/// is exhausted. Opening a file is no reason to kill the process, but fails.
pub(super) fn allow_only(syscalls: &[i64]) -> Result<(), Error> {
    let abort_rule = |argument| -> Result<_, BackendError> {
        let is_sigabrt = SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            u64::from(SIGABRT.unsigned_abs()),
        )?;
        Ok(vec![SeccompRule::new(vec![is_sigabrt])?])
    };
    let mut rules: BTreeMap<_, _> = syscalls.iter().map(|syscall| (*syscall, Vec::new())).collect();
    // The stricter of two filters decides.
    deny_opening()?;
    rules.insert(libc::SYS_openat, Vec::new());
    rules.insert(libc::SYS_tgkill, abort_rule(2)?);
    rules.insert(libc::SYS_tkill, abort_rule(1)?);
    let machine = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, machine)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)
}

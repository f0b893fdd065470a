//! Seccomp: which system calls a process may make. Any other ends it, by SIGSYS.

use std::collections::BTreeMap;

use libc::SIGABRT;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// What the compiler makes: it reads from one open file and writes to two, has memory, and ends. It opens nothing, and makes neither
/// sockets, threads nor processes.
pub(super) const COMPILER: &[i64] = &[
    // Streams.
    libc::SYS_read,
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
    // What the libraries ask of themselves.
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // Signals of its own, and its end.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Lets this thread make the system calls of `calls`, and the one by which it gives up where memory is at its end.
pub(super) fn allow(calls: &[i64]) -> Result<(), Error> {
    let abort = |argument| -> Result<_, BackendError> {
        let aborts = SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            u64::from(SIGABRT.unsigned_abs()),
        )?;
        Ok(vec![SeccompRule::new(vec![aborts])?])
    };
    let mut rules: BTreeMap<_, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_tgkill, abort(2)?);
    rules.insert(libc::SYS_tkill, abort(1)?);
    let machine = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, machine)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)
}

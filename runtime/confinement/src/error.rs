//! [`ConfinementError`]: why a part of the confinement does not apply.

/// A part of the confinement does not apply, or not completely.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    #[error("cannot give up new privileges: {0}")]
    Privileges(rustix::io::Errno),
    #[error("cannot give up capabilities: {0}")]
    Capabilities(rustix::io::Errno),
    #[error(
        "Landlock is not available: this kernel was built without it, or the process that started the daemon blocks its system calls"
    )]
    NoLandlock,
    #[error("Landlock is not available: this kernel was booted without it; add it to lsm= on the kernel command line")]
    LandlockDisabled,
    #[error("Landlock of this kernel has level {0}; the full level 6 needs Linux 6.12")]
    OldLandlock(u8),
    #[error("cannot apply Landlock rules: {0}")]
    Landlock(#[from] ::landlock::RulesetError),
    #[error("cannot filter system calls: {0}")]
    Seccomp(#[from] seccompiler::Error),
}

//! [`Terminals`]: which streams of a run end at a terminal.

/// Which standard streams of a run end at a terminal. Default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminals {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

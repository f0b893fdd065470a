//! A native program, spawned and read: the cost of a run if it were a process.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::load::Figures;

/// A program that exits at once.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    name: &'static str,
    prints: &'static [u8],
    _folder: TempDir,
}

impl Program {
    /// Builds a static program that prints hello. Without a C compiler, returns the `true` of this machine.
    pub(crate) fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (folder.path().join("hello.c"), folder.path().join("hello"));
        std::fs::write(&source, "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n").unwrap();
        let compiled =
            Command::new("cc").args(["-O2", "-static", "-o"]).arg(&path).arg(&source).stderr(Stdio::null()).status();
        if compiled.is_ok_and(|status| status.success()) {
            return Self { path, name: "(d) a static native program spawned", prints: b"hello\n", _folder: folder };
        }
        Self { path: "true".into(), name: "(d) `true` of the machine spawned", prints: b"", _folder: folder }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Spawns the program and reads its output, one process at a time, for this time.
    pub(crate) fn spawn(&self, time: Duration) -> Figures {
        let (start, mut latencies) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            let spawned = Instant::now();
            let output = Command::new(&self.path).stdin(Stdio::null()).env_clear().output().unwrap();
            assert!(output.status.success() && output.stdout == self.prints, "{output:?}");
            latencies.push(spawned.elapsed());
        }
        Figures::new(latencies, start.elapsed(), Duration::ZERO)
    }
}

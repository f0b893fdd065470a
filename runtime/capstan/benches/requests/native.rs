//! A native program, spawned and read: what a run would be as a process.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::load::Figures;

#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    name: &'static str,
    prints: &'static [u8],
    _folder: TempDir,
}

impl Program {
    /// A static program that says hello; the machine's `true` where there is no C compiler.
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

    /// Spawns it and reads what it prints, one after the other, for this long.
    pub(crate) fn spawn(&self, time: Duration) -> Figures {
        let (begun, mut took) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let spawned = Instant::now();
            let output = Command::new(&self.path).stdin(Stdio::null()).env_clear().output().unwrap();
            assert!(output.status.success() && output.stdout == self.prints, "{output:?}");
            took.push(spawned.elapsed());
        }
        Figures::of(took, begun.elapsed(), Duration::ZERO)
    }
}

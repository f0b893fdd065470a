//! [`Process`]: starts the process that uses the store, and ends it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::acknowledged::Acknowledged;

/// How a run ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The process is killed once it has said so many things.
    KillAfterLines(u64),
    /// The process is killed at this point, in the middle of a write.
    KillAt(u64),
    /// The machine loses power at this point: what was synced is left, and of the rest the blocks that `torn` chooses; none if it is 0.
    PowerCut { at: u64, torn: u32, is_synced: bool },
    /// The disk fails from this point on.
    InputOutput(u64),
    /// The disk is full between these points.
    Full { from: u64, until: u64 },
}

/// A directory with a store, and the process that uses it.
pub(crate) struct Process {
    temp: tempfile::TempDir,
    data: PathBuf,
}

impl Process {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("data");
        fs::create_dir(&data).unwrap();
        Self { temp, data }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Runs the process until the fault ends it, or its work is done. Adds what it says to `acknowledged`.
    pub(crate) fn run(&mut self, cycle: u64, fault: &Fault, acknowledged: &mut Acknowledged) {
        let shadow = self.temp.path().join("shadow");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker_process", "--nocapture", "--test-threads=1"]);
        command.env("CRASH_WORKER", &self.data).env("CRASH_CYCLE", cycle.to_string());
        command.env("FAULT_DIR", &self.data).env("LD_PRELOAD", library());
        let mut most_lines = u64::MAX;
        match *fault {
            Fault::KillAfterLines(lines) => most_lines = lines,
            Fault::KillAt(at) => _ = command.env("FAULT_AT", at.to_string()).env("FAULT_KIND", "kill"),
            Fault::PowerCut { at, torn, is_synced } => {
                if shadow.exists() {
                    fs::remove_dir_all(&shadow).unwrap();
                }
                fs::create_dir(&shadow).unwrap();
                copy_flat(&self.data, "", &shadow);
                command.env("FAULT_AT", at.to_string()).env("FAULT_KIND", "kill").env("FAULT_SHADOW", &shadow);
                command.env("FAULT_TORN", torn.to_string());
                command.env("CRASH_SYNC", if is_synced { "full" } else { "off" });
            }
            Fault::InputOutput(at) => {
                command.env("FAULT_AT", at.to_string()).env("FAULT_UNTIL", i64::MAX.to_string());
                command.env("FAULT_KIND", "eio");
            }
            Fault::Full { from, until } => {
                command.env("FAULT_AT", from.to_string()).env("FAULT_UNTIL", until.to_string());
                command.env("FAULT_KIND", "enospc");
            }
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        acknowledged.begin_cycle();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.by_ref().take(usize::try_from(most_lines).unwrap_or(usize::MAX)) {
            acknowledged.read(&line.unwrap());
        }
        child.kill().unwrap();
        // What it has said before it was killed counts too.
        lines.for_each(|line| acknowledged.read(&line.unwrap()));
        let output = child.wait_with_output().unwrap();
        let was_killed = output.status.signal() == Some(9);
        assert!(was_killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if matches!(fault, Fault::PowerCut { .. }) {
            self.replace_by(&shadow);
        }
    }

    /// Replaces the data by what was synced.
    fn replace_by(&mut self, shadow: &Path) {
        fs::remove_dir_all(&self.data).unwrap();
        fs::create_dir(&self.data).unwrap();
        for entry in fs::read_dir(shadow).unwrap() {
            let entry = entry.unwrap();
            let target = self.data.join(entry.file_name().to_string_lossy().replace('%', "/"));
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::rename(entry.path(), target).unwrap();
        }
    }
}

/// Copies the files of a directory to `target`, with flat names. Between two runs everything is synced.
fn copy_flat(source: &Path, prefix: &str, target: &Path) {
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            copy_flat(&entry.path(), &format!("{name}%"), target);
        } else {
            fs::copy(entry.path(), target.join(name)).unwrap();
        }
    }
}

/// Returns the library that makes the disk fail, compiled from its source.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/faults.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.so", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let status = compiler.status().expect("a C compiler is installed");
        assert!(status.success(), "the library was not compiled");
        library
    })
}

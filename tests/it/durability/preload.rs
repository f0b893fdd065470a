//! Libraries for `LD_PRELOAD`, compiled from C. The daemon itself has no hook for tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use capstan_tests::guests;

/// Returns the library that makes the disk fail; its source lists its variables. It sees the calls of the C library, which are all writes,
/// syncs and truncations. It does not see renames, which the daemon makes without the C library. Each is between two syncs that it sees.
pub(super) fn faults() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| compile("faults", "runtime/store/tests/crash/faults.c"))
}

/// Returns the library that moves the wall clock; its source says how.
pub(super) fn clock() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| compile("clock", "tests/it/durability/clock.c"))
}

fn compile(name: &str, source: &str) -> PathBuf {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.so", std::process::id()));
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library);
    let status = compiler.arg(guests::root().join(source)).arg("-ldl").status().expect("a C compiler is installed");
    assert!(status.success(), "{source} was not compiled");
    library
}

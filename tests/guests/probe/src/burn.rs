//! Processor time and memory.

use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::Duration;

const MEBIBYTE: usize = 1024 * 1024;

pub(crate) fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

pub(crate) fn sleep(seconds: f64) -> io::Result<()> {
    let duration = Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?;
    std::thread::sleep(duration);
    writeln!(io::stdout(), "ok")
}

pub(crate) fn alloc(mebibytes: usize) -> io::Result<()> {
    let length = mebibytes.checked_mul(MEBIBYTE).ok_or_else(|| io::Error::other("more than the address space"))?;
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(length)?;
    memory.resize(length, 1);
    black_box(&memory);
    writeln!(io::stdout(), "ok")
}

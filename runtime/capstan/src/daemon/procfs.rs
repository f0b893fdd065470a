//! Reads what the kernel reports in `/proc` about this process and about its own settings.

#![expect(clippy::disallowed_methods, reason = "these files exist only under their names in /proc")]

use std::collections::BTreeSet;
use std::path::PathBuf;

/// Returns whether this process has an open file descriptor with this number.
pub(super) fn is_open(number: u32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok()
}

/// Returns the setting `vm.max_map_count`. Returns `None` if it cannot be read.
pub(super) fn max_map_count() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Returns the setting `net.core.somaxconn`, the kernel's limit on the backlog of a listener. Returns `None` if it cannot be read.
pub(super) fn somaxconn() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// Returns the current and the peak memory of this process in bytes, and the number of its threads. Leaves out what cannot be read.
pub(super) fn process_numbers() -> Vec<(&'static str, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    let bytes = |name| number(name).map(|kibibytes| kibibytes * 1024);
    let all = [
        ("memory_bytes", bytes("VmRSS")),
        ("memory_peak_bytes", bytes("VmHWM")),
        ("address_space_bytes", bytes("VmSize")),
        ("threads", number("Threads")),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Returns the files whose code this process executes: the program and its libraries.
pub(super) fn executed_files() -> BTreeSet<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let executed = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.contains('x')));
    executed.filter_map(|line| line.find('/').map(|start| PathBuf::from(&line[start..]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_open_distinguishes_open_and_closed_descriptors() {
        use std::os::fd::AsRawFd as _;
        let file = tempfile::tempfile().unwrap();
        assert!(is_open(file.as_raw_fd().try_into().unwrap()));
        assert!(!is_open(999_999));
    }
}

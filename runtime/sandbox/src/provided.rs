//! What guests may import, by name: the imports that the linkers define.

use super::outline::{Import, Item};
use super::stores;

/// The module with the imports of preview 1, and the one of the draft before it.
pub(super) const PREVIEW1: &str = "wasi_snapshot_preview1";
pub(super) const DRAFT: &str = "wasi_unstable";

/// The functions of preview 1 that are the same in the draft.
pub(super) const SAME_IN_DRAFT: [&str; 41] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// The other functions of preview 1. In the draft, they have other numbers or layouts, or do not exist.
pub(super) const DIFFERENT_IN_DRAFT: [&str; 5] =
    ["fd_filestat_get", "fd_seek", "path_filestat_get", "poll_oneoff", "sock_accept"];

/// The interfaces that there are in WASI 0.2 and, with the feature `p3`, in 0.3.
const PREVIEW2_AND_3: [&str; 15] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:http/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// The other interfaces of 0.2.
const PREVIEW2: [&str; 14] = [
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The other interfaces of 0.3.
const PREVIEW3: [&str; 4] = ["wasi:cli/types", "wasi:clocks/system-clock", "wasi:clocks/types", "wasi:http/client"];

/// Returns whether Capstan provides what a program imports. The linker also compares the types.
pub(super) fn is_provided(import: &Import<'_>) -> bool {
    match import.item {
        Item::Function(_) => is_function_provided(import.module, import.name),
        Item::Instance => is_interface_provided(import.name),
        // A component may import types, which it only names.
        Item::Type => true,
        _ => false,
    }
}

/// Returns whether Capstan provides the function `name` of the module `module`.
pub(super) fn is_function_provided(module: &str, name: &str) -> bool {
    match module {
        PREVIEW1 => SAME_IN_DRAFT.contains(&name) || DIFFERENT_IN_DRAFT.contains(&name),
        DRAFT => SAME_IN_DRAFT.contains(&name),
        _ => false,
    }
}

/// Returns whether Capstan provides the interface `name`, which may end in a version.
pub(super) fn is_interface_provided(name: &str) -> bool {
    let (interface, version) = split_version(name);
    let is_in = |others: &[&str]| PREVIEW2_AND_3.contains(&interface) || others.contains(&interface);
    match version {
        _ if stores::INTERFACES.contains(&name) => true,
        Some(version) if is_preview3(version) => is_in(&PREVIEW3),
        _ => is_in(&PREVIEW2) && version.is_none_or(is_version_provided),
    }
}

/// Splits the name of an interface at its version.
pub(super) fn split_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}

/// Returns whether interfaces of this version of WASI are provided: those of 0.2 and 0.3, but none of their release candidates.
pub(super) fn is_version_provided(version: &str) -> bool {
    is_release(version, "0.2.") || is_preview3(version)
}

/// Returns whether a version is a release of WASI 0.3.
pub(super) fn is_preview3(version: &str) -> bool {
    is_release(version, "0.3.")
}

fn is_release(version: &str, line: &str) -> bool {
    let patch = version.strip_prefix(line);
    patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_released_versions_are_provided() {
        for name in [
            "wasi:cli/stdin@0.2.0",
            "wasi:cli/stdin@0.2.12",
            "wasi:io/poll@0.2.3",
            "wasi:cli/stdin@0.3.0",
            "wasi:http/client@0.3.2",
        ] {
            assert!(is_interface_provided(name), "{name}");
        }
        for name in [
            "wasi:cli/stdin@0.2.0-rc-2023-12-05",
            "wasi:cli/stdin@0.3.0-rc-2025-09-16",
            "wasi:cli/stdin@0.4.0",
            "wasi:io/poll@0.3.0",
            "wasi:filesystem/types@0.3.0",
            "wasi:http/handler@0.2.0",
            "wasi:cli/stdin@0.2.",
        ] {
            assert!(!is_interface_provided(name), "{name}");
        }
    }
}

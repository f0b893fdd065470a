//! What guests may import, by name: the imports that the linkers define.

use super::interface::{DIFFERENT_IN_DRAFT, DRAFT, INTERFACES, PREVIEW1, SAME_IN_DRAFT};
use super::outline::{Import, Item};

/// Returns whether Capstan provides what a program imports. The linker also compares the types.
pub(super) fn is_provided(import: &Import<'_>) -> bool {
    match import.item {
        Item::Function(_) => match import.module {
            PREVIEW1 => SAME_IN_DRAFT.contains(&import.name) || DIFFERENT_IN_DRAFT.contains(&import.name),
            DRAFT => SAME_IN_DRAFT.contains(&import.name),
            _ => false,
        },
        Item::Instance => is_interface_provided(import.name),
        // A component may import types, which it only names.
        Item::Type => true,
        _ => false,
    }
}

/// Returns whether Capstan provides the interface `name`, which may end in a version.
pub(super) fn is_interface_provided(name: &str) -> bool {
    let (interface, version) = split_version(name);
    INTERFACES.contains(&interface) && version.is_none_or(is_version_provided)
}

/// Splits the name of an interface at its version.
pub(super) fn split_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}

/// Returns whether interfaces of this version of WASI are provided: those of 0.2, but none of its release candidates.
pub(super) fn is_version_provided(version: &str) -> bool {
    version
        .strip_prefix("0.2.")
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_released_versions_are_provided() {
        for name in ["wasi:cli/stdin@0.2.0", "wasi:cli/stdin@0.2.12", "wasi:io/poll@0.2.3"] {
            assert!(is_interface_provided(name), "{name}");
        }
        for name in [
            "wasi:cli/stdin@0.2.0-rc-2023-12-05",
            "wasi:cli/stdin@0.3.0",
            "wasi:http/types@0.2.0",
            "wasi:cli/stdin@0.2.",
        ] {
            assert!(!is_interface_provided(name), "{name}");
        }
    }
}

//! The invariants of the source tree: what is deliberately absent, and the project rules that the compiler cannot check.

mod import_cycles;

use std::fs;
use std::path::{Path, PathBuf};

use capstan_tests::guests;

/// The files of `runtime/` that may open paths. They hand out the authority of the operator and the user.
const OPEN_PATHS: &[&str] = &[
    "capstan/src/cli/paths.rs",
    "capstan/src/daemon/files.rs",
    "capstan/src/daemon/procfs.rs",
    "listen/src/listener/socket_file.rs",
    "sandbox/src/compile_child/threads.rs",
    // Opens only "." below a directory that the guest has.
    "sandbox/src/disk/dir_stream.rs",
];

/// The files of `runtime/` that may read the environment.
const READ_THE_ENVIRONMENT: &[&str] = &["capstan/src/cli/environment.rs", "capstan/src/daemon/environment.rs"];

/// The files of `runtime/` that may spawn a task without a tracker or a set, because they own the task themselves.
const SPAWN: &[&str] = &[];

const MAX_LINES: usize = 500;

/// A source file of the library without comments and unit tests.
struct Source {
    /// The path relative to `runtime/`.
    path: String,
    code: String,
}

impl Source {
    /// Returns whether the code contains `path`, but not as the end of a longer name: `cap_std::fs` does not contain `std::fs`.
    fn names(&self, path: &str) -> bool {
        let part_of_name = |character: char| character.is_alphanumeric() || character == '_';
        self.code.match_indices(path).any(|(at, _)| !self.code[..at].ends_with(part_of_name))
    }
}

fn runtime() -> Vec<Source> {
    let root = guests::root().join("runtime");
    let is_source = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "rs")
            && path.components().any(|part| part.as_os_str() == "src")
            // The sources of new jobs, which run in the sandbox.
            && !path.starts_with(root.join("capstan/templates"))
            && !path.ends_with("tests.rs")
    };
    let files = files(&root).into_iter().filter(is_source);
    let sources: Vec<_> = files
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
            let code = text[..tests].lines().filter(|line| !line.trim_start().starts_with("//"));
            Source {
                path: path.strip_prefix(&root).unwrap().display().to_string(),
                code: code.collect::<Vec<_>>().join("\n"),
            }
        })
        .collect();
    assert!(sources.len() > 10, "the sources were not found at {}", root.display());
    sources
}

/// Returns all files in a directory, except for hidden and built ones.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Checks that only the `allowed` files contain any of `paths`.
#[track_caller]
fn assert_only_allowed(paths: &[&str], allowed: &[&str]) {
    let sources = runtime();
    for path in paths {
        let naming: Vec<_> = sources.iter().filter(|source| source.names(path)).map(|source| &source.path).collect();
        let stray: Vec<_> = naming.iter().filter(|source| !allowed.contains(&source.as_str())).collect();
        assert!(stray.is_empty(), "`{path}` is named in {stray:?}");
    }
    for file in allowed {
        let uses = sources.iter().any(|source| source.path == *file && paths.iter().any(|path| source.names(path)));
        assert!(uses, "{file} is in the list for {paths:?}, but contains none of them");
    }
}

#[test]
fn only_listed_files_open_paths() {
    let opening = [
        "fs::open",
        "fs::read",
        "fs::write",
        "fs::copy",
        "fs::create_",
        "fs::remove_",
        "fs::rename",
        "fs::metadata",
        "fs::symlink_metadata",
        "fs::exists",
        "fs::canonicalize",
        "File::open",
        "File::create",
        "std::fs::OpenOptions",
        "ambient_authority",
    ];
    assert_only_allowed(&opening, OPEN_PATHS);
}

#[test]
fn only_listed_files_read_the_environment() {
    assert_only_allowed(&["std::env::var", "env::var", "env::vars", "env::set_var"], READ_THE_ENVIRONMENT);
}

#[test]
fn no_file_spawns_unowned_tasks() {
    assert_only_allowed(&["tokio::spawn", "task::spawn(", "task::spawn_local", "thread::spawn"], SPAWN);
}

#[test]
fn files_are_short_and_have_descriptive_names() {
    let root = guests::root();
    let mut seen = 0;
    for path in ["runtime", "guest-sdk", "jobs", "tests"].iter().flat_map(|folder| files(&root.join(folder))) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_ne!(name, "mod.rs", "{}", path.display());
        for vague in ["util", "utils", "helper", "helpers", "manager", "common", "misc"] {
            assert_ne!(name.split('.').next(), Some(vague), "{} has a vague name", path.display());
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let is_lock = name == "Cargo.lock" || name == "package-lock.json";
        let is_data = is_lock || path.components().any(|part| part.as_os_str() == "testdata");
        let lines = text.lines().count();
        assert!(is_data || lines <= MAX_LINES, "{} has {lines} lines", path.display());
        seen += usize::from(name.ends_with(".rs"));
    }
    assert!(seen > 40, "only {seen} sources were found below {}", root.display());
}

#[test]
fn sources_contain_no_unfinished_code() {
    let unfinished =
        [["todo", "!("], ["unimplemented", "!("], ["#[ig", "nore"], ["dbg", "!("]].map(|parts| parts.concat());
    for path in ["runtime", "guest-sdk", "jobs", "tests"].iter().flat_map(|folder| files(&guests::root().join(folder)))
    {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for word in &unfinished {
            assert!(!text.contains(word.as_str()), "{} has {word}", path.display());
        }
    }
}

#[test]
fn architecture_page_has_at_most_150_lines() {
    let map = fs::read_to_string(guests::root().join("ARCHITECTURE.md")).unwrap();
    assert!(map.lines().count() <= 150, "ARCHITECTURE.md has {} lines", map.lines().count());
}

#[test]
fn every_guest_suite_requires_a_test_for_each_guest() {
    let modules = files(&guests::root().join("tests/it"));
    for suite in guests::SUITES {
        let demand = format!("foreach_guest!({suite}, tested);");
        let demands = |path: &&PathBuf| {
            path.ends_with(format!("{suite}.rs")) && fs::read_to_string(path).unwrap().contains(&demand)
        };
        assert_eq!(
            modules.iter().filter(demands).count(),
            1,
            "exactly one {suite}.rs in tests/it must contain `{demand}`"
        );
    }
}

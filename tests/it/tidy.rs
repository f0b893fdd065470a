//! The invariants of the tree, kept by reading it: what is deliberately absent, and the house rules that no compiler knows.

use std::fs;
use std::path::{Path, PathBuf};

use capstan_tests::guests;

/// Files of `runtime/src` that may open paths: where the operator's and the user's authority is handed out, and nowhere else.
const OPEN_PATHS: &[&str] = &["cli/paths.rs", "daemon/places.rs", "listener/socketfile.rs"];

/// Files of `runtime/src` that may read the environment.
const READ_THE_ENVIRONMENT: &[&str] = &["cli/environment.rs", "daemon/places.rs"];

/// Files of `runtime/src` that may spawn a task without a tracker or a set, since they own the task themselves.
const SPAWN: &[&str] = &[];

/// Modules of `runtime/src` on the engine's side of the boundary.
const ENGINE: &[&str] = &[
    "confine", "engine", "env", "events", "handler", "history", "job", "kept", "limits", "manifest", "metrics",
    "mount", "secret", "outcome", "sandbox", "store", "stream", "policy", "tasks", "units", "usage", "feature",
    "senses",
];

/// Modules of `runtime/src` on the side of the API and the command.
const API: &[&str] = &["api", "cli", "listenbuffer", "listener", "tls"];

const MAX_LINES: usize = 500;

/// A source file of the library, with comments and unit tests left out, those of a file `tests.rs` too.
struct Source {
    /// Relative to `runtime/src`.
    path: String,
    code: String,
}

impl Source {
    /// Its first module, for example `engine` for `engine.rs` and `engine/registry.rs`.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().expect("a split has a first part")
    }

    /// Whether `path` is named, not as the end of a longer name: `std::fs` is not named by `cap_std::fs`.
    fn names(&self, path: &str) -> bool {
        let part_of_name = |character: char| character.is_alphanumeric() || character == '_';
        self.code.match_indices(path).any(|(at, _)| !self.code[..at].ends_with(part_of_name))
    }
}

fn runtime() -> Vec<Source> {
    let root = guests::root().join("runtime/src");
    let is_source =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs");
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

/// All files below a folder, but for what is built or hidden.
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

/// The files that name any of `paths`, of those that `concerned` says.
#[track_caller]
fn check(concerned: impl Fn(&Source) -> bool, paths: &[&str], allowed: &[&str]) {
    let sources = runtime();
    for path in paths {
        let naming: Vec<_> = sources
            .iter()
            .filter(|source| concerned(source) && source.names(path))
            .map(|source| &source.path)
            .collect();
        let stray: Vec<_> = naming.iter().filter(|source| !allowed.contains(&source.as_str())).collect();
        assert!(stray.is_empty(), "`{path}` is named in {stray:?}");
    }
    for file in allowed {
        let uses = sources.iter().any(|source| source.path == *file && paths.iter().any(|path| source.names(path)));
        assert!(uses, "{file} is on the list for {paths:?} and needs it no more");
    }
}

#[test]
fn every_module_is_on_one_side() {
    let neither = ["lib", "main", "builtins", "daemon", "fuzzing"];
    for source in runtime() {
        let module = source.module();
        let sides = usize::from(ENGINE.contains(&module))
            + usize::from(API.contains(&module))
            + usize::from(neither.contains(&module));
        assert_eq!(sides, 1, "{}: say in this file on which side of the boundary `{module}` is", source.path);
    }
}

#[test]
fn the_engine_side_names_no_http() {
    check(
        |source| ENGINE.contains(&source.module()),
        &["hyper::", "hyper_util::", "http::", "http_body_util::", "matchit::"],
        &[],
    );
}

#[test]
fn the_api_side_names_no_sandbox() {
    check(|source| API.contains(&source.module()), &["wasmtime::", "wasmtime_wasi::"], &[]);
    check(|source| API.contains(&source.module()) && !OPEN_PATHS.contains(&source.path.as_str()), &["cap_std::"], &[]);
}

#[test]
fn paths_are_opened_only_where_authority_is_handed_out() {
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
    check(|_| true, &opening, OPEN_PATHS);
}

#[test]
fn the_environment_is_read_only_at_the_edge() {
    check(|_| true, &["std::env::var", "env::var", "env::vars", "env::set_var"], READ_THE_ENVIRONMENT);
}

#[test]
fn no_task_is_spawned_that_nobody_owns() {
    check(|_| true, &["tokio::spawn", "task::spawn(", "task::spawn_local", "thread::spawn"], SPAWN);
}

#[test]
fn files_are_short_and_modules_lie_beside_their_folders() {
    let root = guests::root();
    let mut seen = 0;
    for path in ["runtime", "guest-sdk", "jobs", "tests"].iter().flat_map(|folder| files(&root.join(folder))) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_ne!(name, "mod.rs", "{}", path.display());
        for vague in ["util", "utils", "helper", "helpers", "manager", "common", "misc"] {
            assert_ne!(name.split('.').next(), Some(vague), "{} has a name that says nothing", path.display());
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let is_data = name == "Cargo.lock" || path.components().any(|part| part.as_os_str() == "testdata");
        let lines = text.lines().count();
        assert!(is_data || lines <= MAX_LINES, "{} has {lines} lines", path.display());
        seen += usize::from(name.ends_with(".rs"));
    }
    assert!(seen > 40, "only {seen} sources were found below {}", root.display());
}

#[test]
fn nothing_is_left_for_later() {
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
fn the_map_fits_on_two_pages() {
    let map = fs::read_to_string(guests::root().join("ARCHITECTURE.md")).unwrap();
    assert!(map.lines().count() <= 150, "ARCHITECTURE.md has {} lines", map.lines().count());
}

#[test]
fn every_suite_of_guests_demands_a_test_for_each() {
    let modules = files(&guests::root().join("tests/it"));
    for suite in guests::SUITES {
        let demand = format!("foreach_guest!({suite}, tested);");
        let demands =
            |path: &&PathBuf| path.ends_with(format!("{suite}.rs")) && fs::read_to_string(path).unwrap().contains(&demand);
        assert_eq!(modules.iter().filter(demands).count(), 1, "exactly one {suite}.rs in tests/it must contain `{demand}`");
    }
}

//! The files of a crate do not import each other in cycles.
//!
//! A file that uses an item imports it from the file that *defines* the item. Re-exports in between do not count, and neither do methods.
//! `mod x;` and `pub use` are no imports, so a parent may re-export the items of its children.
//!
//! The check reads text. It does not see a macro that a child uses without an import, nor a function that the file which re-exports it
//! passes as a value.

mod names;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use self::names::Crate;

/// For each pair of files, the items that the first file imports from the second file.
type Imports<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<&'a str>>;

#[test]
fn source_files_do_not_import_each_other_in_cycles() {
    let sources = super::runtime();
    let mut crates: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for source in &sources {
        let (name, path) = source.path.split_once("/src/").expect("all sources are below src/");
        if !path.split('/').any(|part| ["tests", "tests.rs", "fuzz_targets.rs"].contains(&part)) {
            crates.entry(name).or_default().push((path, &source.code));
        }
    }
    let mut found = 0;
    let mut report = String::new();
    for (name, files) in &crates {
        let imports = imports(files);
        found += imports.len();
        for cycle in cycles(&imports) {
            writeln!(report, "\nruntime/{name}/src: {} files import each other:", cycle.len()).unwrap();
            for ((from, to), items) in &imports {
                if cycle.contains(from) && cycle.contains(to) {
                    let items: Vec<_> = items.iter().copied().collect();
                    writeln!(report, "    {from} imports {} from {to}", items.join(", ")).unwrap();
                }
            }
        }
    }
    assert!(found > 200, "only {found} imports were found in {:?}", crates.keys());
    assert!(
        report.is_empty(),
        "source files import each other in cycles: move the items that both need into a third file\n{report}"
    );
}

/// Returns what the files of a crate import from each other. A file is its path below `src` and its code.
fn imports<'a>(files: &[(&'a str, &'a str)]) -> Imports<'a> {
    let names = Crate::new(files);
    let mut imports = Imports::new();
    for (file, item) in names.uses() {
        if file != item.file {
            imports.entry((file, item.file)).or_default().insert(item.name);
        }
    }
    imports
}

/// Returns the groups of files of which each reaches all others of its group.
fn cycles<'a>(imports: &Imports<'a>) -> Vec<BTreeSet<&'a str>> {
    let reachable = |start: &'a str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(file) = next.pop() {
            let imported = imports.keys().filter(|(from, _)| *from == file).map(|(_, to)| *to);
            next.extend(imported.filter(|to| reached.insert(*to)));
        }
        reached
    };
    let reached: BTreeMap<_, _> = imports.keys().map(|(from, _)| (*from, reachable(from))).collect();
    let mut cycles = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (file, from_here) in &reached {
        if from_here.contains(file) && !seen.contains(file) {
            let is_mutual = |other: &&&str| reached.get(*other).is_some_and(|from_there| from_there.contains(file));
            let cycle: BTreeSet<_> = from_here.iter().filter(is_mutual).copied().collect();
            seen.extend(&cycle);
            cycles.push(cycle);
        }
    }
    cycles
}

/// Returns the imports as `from -> to: items`.
fn shown(files: &[(&str, &str)]) -> Vec<String> {
    let show = |((from, to), items): (&(&str, &str), &BTreeSet<&str>)| {
        format!("{from} -> {to}: {}", items.iter().copied().collect::<Vec<_>>().join(" "))
    };
    imports(files).iter().map(show).collect()
}

/// Returns the cycles as lists of files.
fn shown_cycles(files: &[(&str, &str)]) -> Vec<String> {
    cycles(&imports(files)).into_iter().map(|cycle| cycle.into_iter().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn cycle_of_three_files_is_found() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use super::b::B;\npub(crate) struct A(B);"),
        ("b.rs", "pub(crate) struct B;\nfn c() { crate::c::run() }"),
        ("c.rs", "use crate::{a::{self, A as Other}, d};\npub(crate) fn run() -> Other { d::go() }"),
        ("d.rs", "pub(crate) fn go() {}"),
    ];
    assert_eq!(shown(&files), ["a.rs -> b.rs: B", "b.rs -> c.rs: run", "c.rs -> a.rs: A", "c.rs -> d.rs: go"]);
    assert_eq!(shown_cycles(&files), ["a.rs b.rs c.rs"]);
}

#[test]
fn parent_and_child_that_use_each_other_are_a_cycle() {
    let files = [
        ("lib.rs", "mod job;"),
        (
            "job.rs",
            "mod line;\npub use self::line::Line;\npub struct Job;\nimpl Job { fn lines(&self) -> Vec<Line> {} }",
        ),
        ("job/line.rs", "pub struct Line;\nimpl From<super::Job> for Line {}"),
    ];
    assert_eq!(shown(&files), ["job.rs -> job/line.rs: Line", "job/line.rs -> job.rs: Job"]);
    assert_eq!(shown_cycles(&files), ["job.rs job/line.rs"]);
}

#[test]
fn parent_that_only_reexports_is_in_no_cycle() {
    let files = [
        ("lib.rs", "mod job;\npub use self::job::*;"),
        ("job.rs", "mod line;\npub use self::line::{Line, Stream as LineStream};\npub struct Job;"),
        ("job/line.rs", "use super::Job;\npub struct Line(Job);\npub enum Stream { Stdout }"),
    ];
    assert_eq!(shown(&files), ["job/line.rs -> job.rs: Job"]);
    assert!(shown_cycles(&files).is_empty());
}

#[test]
fn reexports_lead_to_the_file_that_defines_the_item() {
    let files = [
        ("lib.rs", "mod user; pub mod job;\npub use crate::job::Renamed;"),
        (
            "job.rs",
            "mod line; mod state;\npub(crate) use self::line::*;\npub use self::state::{self as states, State as Renamed};",
        ),
        ("job/line.rs", "pub(crate) fn line() {}\nmacro_rules! lines { () => {} }\npub(super) use lines;"),
        ("job/state.rs", "pub enum State { New }\npub const MOST: usize = 1;"),
        (
            "user.rs",
            "use crate::job::{line, lines, states::MOST};\nfn f() { super::Renamed::New; crate::Renamed::New }",
        ),
    ];
    assert_eq!(shown(&files), ["user.rs -> job/line.rs: line lines", "user.rs -> job/state.rs: MOST State"]);
}

#[test]
fn name_of_a_function_and_its_module_leads_to_both() {
    let files = [
        ("lib.rs", "mod debug; mod user; mod other;"),
        ("debug.rs", "mod heap;\npub(super) use self::heap::heap;"),
        ("debug/heap.rs", "pub(crate) fn heap() {}\npub(crate) struct Heap;"),
        ("other.rs", "use super::debug::heap::{self};\nfn local(heap: usize) -> usize { heap }"),
        ("user.rs", "use super::debug;\nfn f() { debug::heap(); debug::heap::Heap; }"),
    ];
    assert_eq!(shown(&files), ["user.rs -> debug/heap.rs: Heap heap"]);
}

#[test]
fn inline_module_is_part_of_its_file() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub mod inner {\n    pub fn f() { super::g(); super::super::b::h() }\n}\nfn g() {}"),
        ("b.rs", "pub fn h() {}\nfn i() { crate::a::inner::f() }"),
    ];
    assert_eq!(shown(&files), ["a.rs -> b.rs: h", "b.rs -> a.rs: f"]);
}

#[test]
fn only_code_and_paths_in_attributes_import() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub struct A;\npub fn size() {}\nimpl A { pub fn new() {} }"),
        (
            "b.rs",
            r##"use super::a; use ::a::A; use std::{a as c, io};
/* super::a::A /* super::a::A */ super::a::A */ // super::a::A
const TEXT: [&str; 3] = ["see super::a::A", r#" "super::a::A" "#, "\"super::a::A"];
fn quotes<'a>(text: &'a str) -> (char, char) { ('"', '\'') }
fn methods(a: usize) { a.size(); io::A; c::A; x.a::<A>(); }
#[serde(with = "a::size")] struct B;"##,
        ),
    ];
    assert_eq!(shown(&files), ["b.rs -> a.rs: size"]);
}

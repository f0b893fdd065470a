//! The parity list: every capability of the ancestor has its row, and every row the tests that show it. The pages on hardening and on
//! hostile programs: every attack has its limit or its end, what is seen of it, and tests.

use std::collections::BTreeMap;
use std::fs;

use capstan_tests::guests;

/// What a row may say has become of a capability, as the first word of its third cell.
const FATES: &[&str] = &["kept", "fixed", "extended", "left out", "later"];
/// Those that need no test.
const WITHOUT_TESTS: &[&str] = &["left out", "later"];

fn page() -> String {
    read("docs/parity.md")
}

fn read(path: &str) -> String {
    fs::read_to_string(guests::root().join(path)).unwrap()
}

/// The ids that the page says it lists: `E1–E3, J1` for E1, E2, E3 and J1.
fn ids(page: &str) -> Vec<String> {
    let line = page.lines().find_map(|line| line.strip_prefix("The ids: ")).expect("the page says which ids it lists");
    let mut ids = Vec::new();
    for range in line.trim_end_matches('.').split(", ") {
        let (first, last) = range.split_once('–').unwrap_or((range, range));
        let (letter, from) = first.split_at(1);
        let to = last.strip_prefix(letter).unwrap_or_else(|| panic!("{range} is no range"));
        let [from, to] =
            [from, to].map(|number| number.parse::<u32>().unwrap_or_else(|error| panic!("{range}: {error}")));
        ids.extend((from..=to).map(|number| format!("{letter}{number}")));
    }
    ids
}

/// The cells of the rows of all tables, without their heads.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let is_head = lines.peek().is_some_and(|next| next.starts_with("|---"));
        if line.starts_with('|') && !line.starts_with("|---") && !is_head {
            rows.push(line.trim_matches('|').split(" | ").map(str::trim).collect());
        }
    }
    rows
}

/// What stands between backticks and has the form of a test's name.
fn tests(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|name| name.split_once(".rs::")).collect()
}

/// Why no test of this name is in the file, if so.
fn missing(path: &str, test: &str) -> Option<String> {
    let Ok(text) = fs::read_to_string(guests::root().join(format!("{path}.rs"))) else {
        return Some(format!("there is no file {path}.rs"));
    };
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    let is_it = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(test)).is_some_and(|rest| rest.starts_with("()"))
    };
    let Some(at) = lines.iter().position(|line| is_it(line)) else {
        return Some(format!("{path}.rs has no test {test}"));
    };
    // Its attributes stand right before it.
    let mut before = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let is_test = before.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    (!is_test).then(|| format!("{test} in {path}.rs is no test"))
}

#[test]
fn every_capability_has_one_row_that_says_what_became_of_it() {
    let (page, mut wrong) = (page(), Vec::new());
    let ids = ids(&page);
    assert!(ids.len() > 90, "only {} ids are listed", ids.len());
    let mut seen = BTreeMap::<&str, usize>::new();
    let rows = rows(&page);
    for row in &rows {
        let [id, _ancestor, here, shown] = row[..] else {
            wrong.push(format!("{row:?} has not four cells"));
            continue;
        };
        if !ids.iter().any(|known| known == id) {
            continue;
        }
        *seen.entry(id).or_default() += 1;
        let Some(fate) = FATES.iter().find(|fate| here.starts_with(**fate)) else {
            wrong.push(format!("{id} does not begin with one of {FATES:?}: {here}"));
            continue;
        };
        if here.len() < fate.len() + 10 {
            wrong.push(format!("{id} does not say how, or why not: {here}"));
        }
        if tests(shown).is_empty() && !WITHOUT_TESTS.contains(fate) {
            wrong.push(format!("{id} names no test"));
        }
    }
    wrong.extend(ids.iter().filter(|id| !seen.contains_key(id.as_str())).map(|id| format!("{id} has no row")));
    wrong.extend(seen.iter().filter(|(_, count)| **count > 1).map(|(id, _)| format!("{id} has more than one row")));
    assert!(wrong.is_empty(), "docs/parity.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_test_that_is_named_is_there() {
    let page = page();
    let rows = rows(&page);
    let named: Vec<_> = rows.iter().filter_map(|row| row.last()).flat_map(|cell| tests(cell)).collect();
    assert!(named.len() > 50, "only {} tests are named", named.len());
    let missing: Vec<_> = named.into_iter().filter_map(|(path, test)| missing(path, test)).collect();
    assert!(missing.is_empty(), "docs/parity.md:\n{}", missing.join("\n"));
}

#[test]
fn defects_are_shown_by_tests_too() {
    let page = page();
    let (_, defects) = page.split_once("## Defects").expect("the page has a section on defects");
    let rows = rows(defects);
    assert!(rows.len() >= 5, "only {} defects are told of", rows.len());
    for row in rows {
        assert!(row.len() == 4 && !tests(row[3]).is_empty(), "{row:?} names no test");
    }
}

/// Checks a page whose rows have four cells, the last of which names tests.
fn every_row_is_shown(page: &str, at_least: usize) {
    let text = read(page);
    let (rows, mut wrong) = (rows(&text), Vec::new());
    assert!(rows.len() > at_least, "only {} rows are in {page}", rows.len());
    for row in &rows {
        let [first, second, third, shown] = row[..] else {
            wrong.push(format!("{row:?} has not four cells"));
            continue;
        };
        if second.is_empty() || third.is_empty() || tests(shown).is_empty() {
            wrong.push(format!("{first}: a cell is empty, or the test is missing"));
        }
        wrong.extend(tests(shown).into_iter().filter_map(|(path, test)| missing(path, test)));
    }
    assert!(wrong.is_empty(), "{page}:\n{}", wrong.join("\n"));
}

#[test]
fn every_attack_has_its_limit_and_is_shown() {
    every_row_is_shown("docs/hardening.md", 30);
}

#[test]
fn every_hostile_program_has_its_end_and_is_shown() {
    every_row_is_shown("docs/hostile.md", 50);
}

#[test]
fn what_is_wrong_with_a_page_is_found() {
    assert_eq!(ids("The ids: E1–E3, J1."), ["E1", "E2", "E3", "J1"]);
    let page = "| id | a | b | c |\n|---|---|---|---|\n| E1 | x | kept: y | `tests/it/parity.rs::ids` |\n";
    assert_eq!(rows(page), [["E1", "x", "kept: y", "`tests/it/parity.rs::ids`"]]);
    assert_eq!(
        tests("`tests/it/parity.rs::ids` `x` `runtime/src/a.rs::b`"),
        [("tests/it/parity", "ids"), ("runtime/src/a", "b")]
    );
    assert!(missing("tests/it/parity", "page").unwrap().contains("is no test"));
    assert!(missing("tests/it/nowhere", "x").unwrap().contains("no file"));
    assert!(missing("tests/it/parity", "what_is_wrong").unwrap().contains("has no test"));
    assert_eq!(missing("tests/it/parity", "what_is_wrong_with_a_page_is_found"), None);
}

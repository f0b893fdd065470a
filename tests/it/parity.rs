//! The parity page: every capability of the ancestor has a row, and every row names the tests that show it. The pages on hardening, threats
//! and hostile programs name a defense and a test for each entry.

use std::collections::BTreeMap;
use std::fs;

use capstan_tests::guests;

/// The possible first words of the third cell of a row: the status of the capability.
const STATUSES: &[&str] = &["kept", "fixed", "extended", "left out", "later"];
/// The statuses that need no test.
const WITHOUT_TESTS: &[&str] = &["left out", "later"];

fn page() -> String {
    read("docs/parity.md")
}

fn read(path: &str) -> String {
    fs::read_to_string(guests::root().join(path)).unwrap()
}

/// Returns the ids that the page lists: `E1–E3, J1` means E1, E2, E3 and J1.
fn ids(page: &str) -> Vec<String> {
    let line = page.lines().find_map(|line| line.strip_prefix("The ids: ")).expect("the page says which ids it lists");
    let mut ids = Vec::new();
    for range in line.trim_end_matches('.').split(", ") {
        let (first, last) = range.split_once('–').unwrap_or((range, range));
        let (letter, from) = first.split_at(1);
        let to = last.strip_prefix(letter).unwrap_or_else(|| panic!("{range} is not a range"));
        let [from, to] =
            [from, to].map(|number| number.parse::<u32>().unwrap_or_else(|error| panic!("{range}: {error}")));
        ids.extend((from..=to).map(|number| format!("{letter}{number}")));
    }
    ids
}

/// Returns the cells of the rows of all tables, without the table heads.
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

/// Returns the test names between backticks in a cell.
fn tests(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|name| name.split_once(".rs::")).collect()
}

/// Returns why a file has no test with this name, or `None` if it has.
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
    // The attributes are directly before the function.
    let mut before = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let is_test = before.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    (!is_test).then(|| format!("{test} in {path}.rs is not a test"))
}

#[test]
fn every_capability_has_exactly_one_row_with_a_status() {
    let (page, mut wrong) = (page(), Vec::new());
    let ids = ids(&page);
    assert!(ids.len() > 90, "only {} ids are listed", ids.len());
    let mut seen = BTreeMap::<&str, usize>::new();
    let rows = rows(&page);
    for row in &rows {
        let [id, _ancestor, here, shown] = row[..] else {
            wrong.push(format!("{row:?} does not have four cells"));
            continue;
        };
        if !ids.iter().any(|known| known == id) {
            continue;
        }
        *seen.entry(id).or_default() += 1;
        let Some(status) = STATUSES.iter().find(|status| here.starts_with(**status)) else {
            wrong.push(format!("{id} does not begin with one of {STATUSES:?}: {here}"));
            continue;
        };
        if here.len() < status.len() + 10 {
            wrong.push(format!("{id} does not say how, or why not: {here}"));
        }
        if tests(shown).is_empty() && !WITHOUT_TESTS.contains(status) {
            wrong.push(format!("{id} names no test"));
        }
    }
    wrong.extend(ids.iter().filter(|id| !seen.contains_key(id.as_str())).map(|id| format!("{id} has no row")));
    wrong.extend(seen.iter().filter(|(_, count)| **count > 1).map(|(id, _)| format!("{id} has more than one row")));
    assert!(wrong.is_empty(), "docs/parity.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_named_test_exists() {
    let page = page();
    let rows = rows(&page);
    let named: Vec<_> = rows.iter().filter_map(|row| row.last()).flat_map(|cell| tests(cell)).collect();
    assert!(named.len() > 50, "only {} tests are named", named.len());
    let missing: Vec<_> = named.into_iter().filter_map(|(path, test)| missing(path, test)).collect();
    assert!(missing.is_empty(), "docs/parity.md:\n{}", missing.join("\n"));
}

#[test]
fn every_defect_names_a_test() {
    let page = page();
    let (_, defects) = page.split_once("## Defects").expect("the page has a section on defects");
    let rows = rows(defects);
    assert!(rows.len() >= 5, "only {} defects are listed", rows.len());
    for row in rows {
        assert!(row.len() == 4 && !tests(row[3]).is_empty(), "{row:?} names no test");
    }
}

/// Checks that a page has at least `least` rows with `cells` nonempty cells each, and that the last cell names existing tests.
#[track_caller]
fn check_rows(path: &str, least: usize, cells: usize) {
    let page = read(path);
    let (rows, mut wrong) = (rows(&page), Vec::new());
    assert!(rows.len() >= least, "{path} has only {} rows", rows.len());
    for row in &rows {
        let shown = row.last().map_or(Vec::new(), |cell| tests(cell));
        if row.len() != cells || row.contains(&"") || shown.is_empty() {
            wrong.push(format!("{row:?} does not have {cells} cells, or has an empty one or no test"));
        }
        wrong.extend(shown.into_iter().filter_map(|(path, test)| missing(path, test)));
    }
    assert!(wrong.is_empty(), "{path}:\n{}", wrong.join("\n"));
}

#[test]
fn every_attack_names_its_limit_and_a_test() {
    check_rows("docs/hardening.md", 31, 4);
}

#[test]
fn every_threat_names_its_defense_and_a_test() {
    check_rows("docs/threat-model.md", 35, 3);
}

#[test]
fn every_hostile_program_names_its_outcome_and_a_test() {
    check_rows("docs/hostile.md", 51, 4);
}

#[test]
fn every_expectation_names_its_behavior_and_a_test() {
    check_rows("docs/compatibility.md", 21, 3);
}

#[test]
fn page_parsers_detect_errors() {
    assert_eq!(ids("The ids: E1–E3, J1."), ["E1", "E2", "E3", "J1"]);
    let page = "| id | a | b | c |\n|---|---|---|---|\n| E1 | x | kept: y | `tests/it/parity.rs::ids` |\n";
    assert_eq!(rows(page), [["E1", "x", "kept: y", "`tests/it/parity.rs::ids`"]]);
    assert_eq!(
        tests("`tests/it/parity.rs::ids` `x` `runtime/src/a.rs::b`"),
        [("tests/it/parity", "ids"), ("runtime/src/a", "b")]
    );
    assert!(missing("tests/it/parity", "page").unwrap().contains("is not a test"));
    assert!(missing("tests/it/nowhere", "x").unwrap().contains("no file"));
    assert!(missing("tests/it/parity", "page_parsers").unwrap().contains("has no test"));
    assert_eq!(missing("tests/it/parity", "page_parsers_detect_errors"), None);
}

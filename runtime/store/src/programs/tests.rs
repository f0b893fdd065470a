use capstan_core::manifest::Manifest;
use capstan_engine::handler::{HandlerInfo, Kind};
use jiff::Timestamp;

use super::*;

fn record(wasm: &[u8]) -> HandlerRecord {
    let digest = Some(crate::digest(wasm));
    let size = wasm.len() as u64;
    let info = HandlerInfo {
        kind: Kind::Module,
        digest,
        size,
        features: None,
        is_library: false,
        answers_http: false,
        description: None,
        usage: None,
        files: None,
        base: None,
        runtime: None,
    };
    HandlerRecord { info, manifest: Manifest::parse("[policy]\ntimeout = \"2s\"").unwrap(), created: Timestamp::now() }
}

fn temp_data() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    (temp, data)
}

fn count(temp: &tempfile::TempDir, dir: &str) -> usize {
    std::fs::read_dir(temp.path().join(dir)).unwrap().count()
}

#[test]
fn put_handler_is_loaded_after_restart() {
    let (_temp, data) = temp_data();
    let a = record(b"one");
    Programs::open(&data).unwrap().put("a", &a, Some(b"one")).unwrap();
    let programs = Programs::open(&data).unwrap();
    let (name, loaded) = programs.load_all().unwrap().remove(0);
    assert_eq!((name.as_str(), *loaded.unwrap()), ("a", a.clone()));
    assert_eq!(programs.wasm(a.info.digest.as_deref().unwrap()).unwrap(), "one");
}

#[test]
fn remove_last_handler_of_program_removes_program() {
    let (temp, data) = temp_data();
    let programs = Programs::open(&data).unwrap();
    programs.put("a", &record(b"one"), Some(b"one")).unwrap();
    programs.put("b", &record(b"one"), Some(b"one")).unwrap();
    assert_eq!(count(&temp, "programs"), 1);
    programs.put("a", &record(b"two"), Some(b"two")).unwrap();
    assert_eq!(count(&temp, "programs"), 2);
    programs.remove("b").unwrap();
    assert_eq!(count(&temp, "programs"), 1);
    programs.remove("a").unwrap();
    programs.remove("a").unwrap();
    assert_eq!((count(&temp, "programs"), count(&temp, "handlers")), (0, 0));
}

#[test]
fn wasm_of_damaged_program_fails_until_it_is_put_again() {
    let (temp, data) = temp_data();
    let programs = Programs::open(&data).unwrap();
    let (a, b) = (record(b"one"), record(b"two"));
    programs.put("a", &a, Some(b"one")).unwrap();
    programs.put("b", &b, Some(b"two")).unwrap();
    let path = |record: &HandlerRecord| temp.path().join("programs").join(digest_of(record).unwrap());
    let digest = a.info.digest.clone().unwrap();
    for damage in [&b"on"[..], b"two", b""] {
        std::fs::write(path(&a), damage).unwrap();
        assert!(matches!(programs.wasm(&digest), Err(StoreError::Damaged(_))));
    }
    std::fs::remove_file(path(&a)).unwrap();
    assert!(matches!(programs.wasm(&digest), Err(StoreError::Damaged(_))));
    programs.put("a", &a, Some(b"one")).unwrap();
    assert_eq!(programs.wasm(&digest).unwrap(), "one");
}

#[test]
fn load_all_with_unreadable_record_keeps_other_records_and_programs() {
    let (temp, data) = temp_data();
    let programs = Programs::open(&data).unwrap();
    programs.put("a", &record(b"one"), Some(b"one")).unwrap();
    programs.put("b", &record(b"two"), Some(b"two")).unwrap();
    std::fs::write(temp.path().join("handlers/a"), "{").unwrap();
    let programs = Programs::open(&data).unwrap();
    let records = programs.load_all().unwrap();
    programs.remove_leftovers().unwrap();
    assert_eq!(records.iter().filter(|(_, record)| record.is_ok()).count(), 1);
    assert_eq!(count(&temp, "programs"), 2);
}

#[test]
fn remove_leftovers_removes_files_of_interrupted_put() {
    let (temp, data) = temp_data();
    Programs::open(&data).unwrap().put("a", &record(b"one"), Some(b"one")).unwrap();
    std::fs::write(temp.path().join("programs/.unfinished-1"), "x").unwrap();
    std::fs::write(temp.path().join("programs").join(hex_digest(b"orphan")), "orphan").unwrap();
    let programs = Programs::open(&data).unwrap();
    programs.load_all().unwrap();
    programs.remove_leftovers().unwrap();
    assert_eq!(count(&temp, "programs"), 1);
}

/// Returns the names and the descriptions of all records that can be read.
fn loaded(data: &Dir) -> Vec<(String, Option<String>)> {
    let records = Programs::open(data).unwrap().load_all().unwrap().into_iter();
    let mut loaded: Vec<_> =
        records.filter_map(|(name, record)| Some((name, record.ok()?.manifest.description))).collect();
    loaded.sort();
    loaded
}

/// Returns the record of a program with a description.
fn described(wasm: &[u8], description: &str) -> HandlerRecord {
    let mut record = record(wasm);
    record.manifest.description = Some(description.to_owned());
    record
}

#[test]
fn index_serves_records_that_have_not_changed() {
    let (temp, data) = temp_data();
    let programs = Programs::open(&data).unwrap();
    for name in ["a", "b", "c"] {
        programs.put(name, &described(b"one", "old"), Some(b"one")).unwrap();
    }
    programs.put("b", &described(b"two", "new"), Some(b"two")).unwrap();
    programs.remove("c").unwrap();
    let expected = [("a", "old"), ("b", "new")].map(|(name, text)| (name.to_owned(), Some(text.to_owned())));
    assert_eq!(loaded(&data), expected);
    // The copies are used: one that says something else, for the same file, is believed.
    let index = temp.path().join("index/handlers");
    let copies = Programs::open(&data).unwrap();
    let stamp = copies.record_stamp("a").unwrap();
    copies.0.index.add(&RecordCopy::new("a", stamp, &described(b"one", "copy")));
    assert_eq!(loaded(&data)[0].1.as_deref(), Some("copy"));
    assert_eq!(std::fs::read_to_string(index).unwrap().lines().count(), 5);
}

#[test]
fn record_that_changed_without_the_index_is_read() {
    let (temp, data) = temp_data();
    let programs = Programs::open(&data).unwrap();
    for name in ["changed", "replaced", "removed", "same"] {
        programs.put(name, &described(b"one", "old"), Some(b"one")).unwrap();
    }
    let path = |name: &str| temp.path().join("handlers").join(name);
    // As a crash leaves them, between a record and the index.
    let new = described(b"one", "new").to_json();
    std::fs::write(path("changed"), &new).unwrap();
    std::fs::write(path(".new"), &new).unwrap();
    std::fs::rename(path(".new"), path("replaced")).unwrap();
    std::fs::write(path("added"), &new).unwrap();
    std::fs::remove_file(path("removed")).unwrap();
    let expected = [("added", "new"), ("changed", "new"), ("replaced", "new"), ("same", "old")]
        .map(|(name, text)| (name.to_owned(), Some(text.to_owned())));
    assert_eq!(loaded(&data), expected);
    assert_eq!(loaded(&data), expected, "from the index that was written then");
    std::fs::write(path("changed"), "{").unwrap();
    assert_eq!(loaded(&data).len(), 3);
}

#[test]
fn index_that_is_missing_or_damaged_is_written_again() {
    let (temp, data) = temp_data();
    let programs = Programs::open(&data).unwrap();
    for name in ["a", "b", "c"] {
        programs.put(name, &described(b"one", name), Some(b"one")).unwrap();
    }
    let index = temp.path().join("index/handlers");
    let expected = loaded(&data);
    let whole = std::fs::read(&index).unwrap();
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 1;
        std::fs::write(&index, &damaged[..]).unwrap();
        assert_eq!(loaded(&data), expected, "byte {position}");
        std::fs::write(&index, &whole[..position]).unwrap();
        assert_eq!(loaded(&data), expected, "cut at {position}");
    }
    std::fs::remove_file(&index).unwrap();
    assert_eq!(loaded(&data), expected);
    assert_eq!(std::fs::read_to_string(&index).unwrap().lines().count(), 3);
    // A name that is a directory cannot be read or written.
    std::fs::remove_file(&index).unwrap();
    std::fs::create_dir(&index).unwrap();
    assert_eq!(loaded(&data), expected);
    programs.put("d", &described(b"one", "d"), Some(b"one")).unwrap();
    assert_eq!(loaded(&data).len(), 4);
}

#[test]
fn outdated_lines_are_removed_from_the_index() {
    let (temp, data) = temp_data();
    let programs = Programs::open(&data).unwrap();
    let record = described(b"one", &"x".repeat(10_000));
    for _ in 0..150 {
        programs.put("a", &record, Some(b"one")).unwrap();
    }
    let size = std::fs::metadata(temp.path().join("index/handlers")).unwrap().len();
    assert!(size < 1_200_000, "{size} bytes");
    assert_eq!(loaded(&data).len(), 1);
}

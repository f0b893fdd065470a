use std::io;

use tar::{Builder, EntryType, Header};

use super::*;

fn temp_files() -> (tempfile::TempDir, HandlerFiles) {
    let temp = tempfile::tempdir().unwrap();
    let data = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    (temp, HandlerFiles::open(&data).unwrap())
}

/// Returns an entry, also one with a name that the library would not write.
fn entry(kind: EntryType, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(77);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    if matches!(kind, EntryType::Symlink | EntryType::Link) {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_cksum();
    let padding = content.len().next_multiple_of(512) - content.len();
    [header.as_bytes(), content, &vec![0; padding]].concat()
}

fn file(name: &str, content: &str) -> Vec<u8> {
    entry(EntryType::Regular, name.as_bytes(), content.as_bytes())
}

fn directory(name: &str) -> Vec<u8> {
    entry(EntryType::Directory, name.as_bytes(), b"")
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [&entries.concat()[..], &[0; 1024]].concat()
}

fn unpack(files: &HandlerFiles, entries: &[Vec<u8>]) -> Result<(Unpacked, FilesLease), FilesError> {
    files.unpack(&archive(entries)[..], FilesLimits::default())
}

fn count(temp: &tempfile::TempDir) -> usize {
    std::fs::read_dir(temp.path().join("files")).unwrap().count()
}

fn read(lease: &FilesLease, path: &str) -> String {
    lease.mount().dir.read_to_string(path).unwrap()
}

#[test]
fn digest_depends_on_names_and_contents_only() {
    let (temp, files) = temp_files();
    let digest = |entries: &[Vec<u8>]| unpack(&files, entries).unwrap().0.info().digest.clone();
    let (a, b, d) = (file("d/a", "1"), file("b", "2"), directory("d"));
    let expected = digest(&[a.clone(), b.clone()]);
    for same in [
        vec![b.clone(), a.clone()],
        vec![d.clone(), a.clone(), b.clone()],
        vec![a.clone(), b.clone(), directory("d/")],
        vec![file("./d/a", "1"), directory("./"), b.clone()],
    ] {
        assert_eq!(digest(&same), expected);
    }
    assert_eq!(count(&temp), 1);
    for other in [
        vec![a.clone()],
        vec![a.clone(), file("b", "3")],
        vec![a.clone(), file("c", "2")],
        vec![a.clone(), b.clone(), directory("e")],
        vec![file("d", "a1"), b.clone()],
    ] {
        assert_ne!(digest(&other), expected);
    }
}

#[test]
fn archive_of_each_dialect_is_unpacked() {
    let (_temp, files) = temp_files();
    let long = format!("{}/ü.py", "n".repeat(150));
    let mut gnu = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(2);
    header.set_entry_type(EntryType::Regular);
    gnu.append_data(&mut header, &long, &b"hi"[..]).unwrap();
    let (unpacked, lease) = files.unpack(&gnu.into_inner().unwrap()[..], FilesLimits::default()).unwrap();
    assert_eq!(unpacked.paths().collect::<Vec<_>>(), [&long]);
    assert_eq!((unpacked.info().size, unpacked.info().entries, read(&lease, &long).as_str()), (2, 2, "hi"));

    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", long.as_bytes())]).unwrap();
    let mut header = Header::new_ustar();
    header.set_size(2);
    header.set_entry_type(EntryType::Regular);
    header.set_path("short").unwrap();
    header.set_cksum();
    pax.append(&header, &b"hi"[..]).unwrap();
    let (again, _) = files.unpack(&pax.into_inner().unwrap()[..], FilesLimits::default()).unwrap();
    assert_eq!(again.info(), unpacked.info());
}

#[test]
fn entries_that_are_no_plain_files_are_rejected_and_leave_nothing() {
    let (temp, files) = temp_files();
    let good = file("a", "1");
    let of_kind = |kind| entry(kind, b"x", b"");
    let cases = [
        (vec![good.clone(), file("../x", "")], "`..`"),
        (vec![good.clone(), file("a/../../x", "")], "`..`"),
        (vec![good.clone(), file("/x", "")], "absolute"),
        (vec![good.clone(), file("b//x", "")], "empty component"),
        (vec![good.clone(), of_kind(EntryType::Symlink)], "symlink"),
        (vec![good.clone(), of_kind(EntryType::Link)], "hard link"),
        (vec![good.clone(), of_kind(EntryType::Char)], "device"),
        (vec![good.clone(), of_kind(EntryType::Block)], "device"),
        (vec![good.clone(), of_kind(EntryType::Fifo)], "FIFO"),
        (vec![good.clone(), of_kind(EntryType::Continuous)], "neither"),
        (vec![good.clone(), good.clone()], "more than once"),
        (vec![good.clone(), directory("a")], "more than once"),
        (vec![directory("d"), directory("./d/")], "more than once"),
        (vec![file("d/x", ""), file("d", "")], "more than once"),
        (vec![good.clone(), file("a/x", "")], "lies below it"),
        (vec![good.clone(), entry(EntryType::Regular, b"\xff\xfe", b"")], "not UTF-8"),
        (vec![good.clone(), entry(EntryType::GNUSparse, b"x", &[0; 512])], "spars"),
    ];
    for (entries, expected) in cases {
        let error = unpack(&files, &entries).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} does not contain {expected}");
        assert_eq!(count(&temp), 0, "{error}");
    }
    let mut sparse = Builder::new(Vec::new());
    sparse.append_pax_extensions([("GNU.sparse.realsize", &b"99999999999"[..])]).unwrap();
    let bytes = [sparse.into_inner().unwrap(), archive(std::slice::from_ref(&good))].concat();
    // The end of the first archive lies between, so both parts are joined without it.
    let bytes = [&bytes[..1024], &archive(&[good])[..]].concat();
    let error = files.unpack(&bytes[..], FilesLimits::default()).unwrap_err();
    assert!(error.to_string().contains("sparse"), "{error}");
    assert_eq!(count(&temp), 0);
}

#[test]
fn archive_that_is_none_or_is_cut_off_is_rejected() {
    let (temp, files) = temp_files();
    let whole = archive(&[file("a", &"x".repeat(600)), file("b", "2")]);
    let unpack = |bytes: &[u8]| files.unpack(bytes, FilesLimits::default()).map(drop);
    for length in [1, 511, 513, 1000, 1023, 1537] {
        assert!(matches!(unpack(&whole[..length]), Err(FilesError::NotTar(_))), "{length}");
    }
    assert!(matches!(unpack(b""), Err(FilesError::Empty)));
    assert!(matches!(unpack(&[0; 1024]), Err(FilesError::Empty)));
    assert!(matches!(unpack(&[b'x'; 2048]), Err(FilesError::NotTar(_))));
    for (magic, name) in [(&b"\x1f\x8b\x08\0\0\0\0\0"[..], "gzip"), (b"BZh91AY&SY", "bzip2"), (b"\xfd7zXZ\0\0\0", "xz")]
    {
        assert!(matches!(unpack(magic), Err(FilesError::Compressed(found)) if found == name), "{name}");
    }
    assert_eq!(count(&temp), 0);
}

#[test]
fn limits_on_size_and_entries_are_exact() {
    let (temp, files) = temp_files();
    let bytes = archive(&[file("a", "123"), file("d/b", "45")]);
    let unpack = |size, entries| files.unpack(&bytes[..], FilesLimits { size, entries }).map(drop);
    assert!(unpack(5, 3).is_ok());
    files.remove_unused(|_| false).unwrap();
    assert!(matches!(unpack(4, 3), Err(FilesError::TooLarge(4))));
    assert!(matches!(unpack(5, 2), Err(FilesError::TooMany(2))));
    assert_eq!(count(&temp), 0);
}

/// An archive that never ends, of empty files.
struct Endless(u64, io::Cursor<Vec<u8>>);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.position() == self.1.get_ref().len() as u64 {
            self.0 += 1;
            self.1 = io::Cursor::new(file(&self.0.to_string(), ""));
        }
        self.1.read(buffer)
    }
}

#[test]
fn endless_entries_and_a_huge_size_are_rejected_early() {
    let (temp, files) = temp_files();
    let limits = FilesLimits { entries: 100, ..FilesLimits::default() };
    let endless = Endless(0, io::Cursor::new(Vec::new()));
    assert!(matches!(files.unpack(endless, limits), Err(FilesError::TooMany(100))));
    let mut header = Header::new_gnu();
    header.set_path("x").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_size(u64::MAX / 4);
    header.set_cksum();
    let error = files.unpack(&header.as_bytes()[..], limits).unwrap_err();
    assert!(matches!(error, FilesError::TooLarge(_)), "{error}");
    assert_eq!(count(&temp), 0);
}

#[test]
fn files_stay_while_a_record_or_a_lease_refers_to_them() {
    let (temp, files) = temp_files();
    let (unpacked, lease) = unpack(&files, &[file("a", "1")]).unwrap();
    let digest = unpacked.info().digest.clone();
    files.remove_unused(|_| false).unwrap();
    assert_eq!(read(&lease, "a"), "1");
    drop(lease);
    files.remove_unused(|hex| hex == hex_of(&digest)).unwrap();
    let lease = files.open_files(&digest).unwrap();
    let other = lease.clone();
    drop(lease);
    files.remove_unused(|_| false).unwrap();
    assert_eq!(read(&other, "a"), "1");
    drop(other);
    files.remove_unused(|_| false).unwrap();
    assert_eq!(count(&temp), 0);
    assert!(matches!(files.open_files(&digest), Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn end_of_the_last_lease_is_reported() {
    let (_temp, files) = temp_files();
    let (_, lease) = unpack(&files, &[file("a", "1")]).unwrap();
    let other = lease.clone();
    drop(lease);
    assert!(futures_poll(files.lease_ended()).is_pending());
    drop(other);
    files.lease_ended().await;
}

fn futures_poll<F: Future>(future: F) -> std::task::Poll<F::Output> {
    std::pin::pin!(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn damaged_files_are_replaced_by_the_next_unpacking() {
    let (temp, files) = temp_files();
    let (unpacked, lease) = unpack(&files, &[file("a", "1"), file("d/b", "2")]).unwrap();
    let path = temp.path().join("files").join(hex_of(&unpacked.info().digest));
    for damage in 0..3 {
        match damage {
            0 => std::fs::write(path.join("a"), "x").unwrap(),
            1 => std::fs::remove_file(path.join("d/b")).unwrap(),
            _ => std::fs::remove_dir_all(&path).unwrap(),
        }
        let (_, lease) = unpack(&files, &[file("a", "1"), file("d/b", "2")]).unwrap();
        assert_eq!((read(&lease, "a"), read(&lease, "d/b")), ("1".to_owned(), "2".to_owned()), "{damage}");
    }
    drop(lease);
}

#[test]
fn leftovers_of_another_process_are_removed() {
    let (temp, files) = temp_files();
    let (_, _lease) = unpack(&files, &[file("a", "1")]).unwrap();
    std::fs::create_dir_all(temp.path().join("files/.unfinished-1/d")).unwrap();
    files.remove_leftovers().unwrap();
    assert_eq!(count(&temp), 1);
}

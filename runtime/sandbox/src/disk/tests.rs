use super::*;

fn disk(all: Quota, own: &[Quota]) -> Disk {
    let folder = tempfile::tempdir().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test opens the folder it made")]
    let dir = Arc::new(cap_std::fs::Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap());
    let mount = |(at, quota): (usize, &Quota)| Mount {
        dir: dir.clone(),
        file: None,
        guest_path: format!("/{at}"),
        access: capstan_core::mount::Access::ReadWrite,
        quota: *quota,
    };
    let mounts: Vec<_> = own.iter().enumerate().map(mount).collect();
    Disk::new(&mounts, all, &Usage::default()).unwrap()
}

fn bytes(bytes: u64) -> Quota {
    Quota { bytes, ..Quota::UNLIMITED }
}

#[test]
fn a_write_is_admitted_to_the_last_byte_and_no_further() {
    let disk = disk(bytes(10), &[Quota::UNLIMITED]);
    let ledger = &disk.ledger;
    assert_eq!(ledger.admit(0, 7, 0).unwrap(), 7);
    ledger.wrote(0, 7);
    assert_eq!(ledger.admit(0, 7, 0).unwrap(), 3);
    assert!(disk.denied().is_none());
    ledger.wrote(0, 3);
    assert_eq!(ledger.admit(0, 0, 0).unwrap(), 0);
    assert!(disk.denied().is_none(), "nothing was asked for");
    assert!(ledger.admit(0, 1, 0).is_err());
    let by = DiskLimit::Policy { limit: 10, mount: None };
    assert_eq!(disk.denied(), Some(&Outcome::DiskCap { resource: DiskResource::Bytes, by }));
}

#[test]
fn what_a_file_grows_by_besides_takes_room_first() {
    let disk = disk(bytes(10), &[Quota::UNLIMITED]);
    assert_eq!(disk.ledger.admit(0, 5, 8).unwrap(), 2);
    assert!(disk.ledger.admit(0, 1, 10).is_err());
    assert!(disk.ledger.admit(0, 1, u64::MAX).is_err());
}

#[test]
fn the_limit_of_a_mount_and_that_of_all_hold_together() {
    let disk = disk(bytes(10), &[bytes(4), Quota::UNLIMITED]);
    let ledger = &disk.ledger;
    assert_eq!((ledger.room(0, DiskResource::Bytes), ledger.room(1, DiskResource::Bytes)), (4, 10));
    ledger.wrote(0, 4);
    assert_eq!((ledger.room(0, DiskResource::Bytes), ledger.room(1, DiskResource::Bytes)), (0, 6));
    assert!(ledger.admit(0, 1, 0).is_err());
    let by = DiskLimit::Policy { limit: 4, mount: Some("/0".into()) };
    assert_eq!(disk.denied(), Some(&Outcome::DiskCap { resource: DiskResource::Bytes, by }));
    ledger.wrote(1, 6);
    assert!(ledger.admit(1, 1, 0).is_err());
    assert_eq!(disk.denied().unwrap().to_string(), "disk cap of 4 bytes on /0 reached", "the first is told");
}

#[test]
fn handles_are_followed_by_their_numbers() {
    let mut disk = disk(Quota::UNLIMITED, &[Quota::UNLIMITED, Quota::UNLIMITED]);
    let mount = |disk: &Disk, number| disk.handle(number).map(|handle| handle.mount);
    assert_eq!(
        [0, 1, 2, 3, 4, 5, 99].map(|number| mount(&disk, number)),
        [None, None, None, Some(0), Some(1), None, None]
    );
    disk.set(7, Some(Handle { mount: 1, size: 0 }));
    assert_eq!([5, 6, 7].map(|number| mount(&disk, number)), [None, None, Some(1)]);
    disk.set(7, None);
    assert_eq!(mount(&disk, 7), None);
}

/// A guest may end while its last write is on its way: what is counted then is what is in the file, and stays so.
#[tokio::test]
async fn settled_writes_are_in_the_file_and_counted() {
    use wasmtime_wasi::p2::OutputStream as _;

    const SIZE: usize = 1 << 20;
    for _ in 0..50 {
        let disk = disk(Quota::UNLIMITED, &[Quota::UNLIMITED]);
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut stream = streams::Writing::new(disk.ledger.clone(), 0, file.clone(), Some(0));
        stream.write(vec![b'x'; SIZE].into()).unwrap();
        let writes = disk.writes();
        drop(stream);
        settled(&writes).await;
        let counted = disk.ledger.usage[0].written_bytes.get();
        assert_eq!(counted, file.metadata().unwrap().len());
        // A write that no thread had begun is given up; one that had begun is finished.
        assert!([0, SIZE as u64].contains(&counted), "{counted}");
        assert_eq!(Arc::strong_count(&file), 1, "somebody holds the file");
    }
}

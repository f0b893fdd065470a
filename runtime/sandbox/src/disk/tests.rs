use capstan_core::outcome::{DiskLimit, DiskResource};

use super::*;

/// Returns a disk with a mount for each quota in `on_mounts`, and the quota `in_total` for all of them.
fn disk(in_total: Quota, on_mounts: &[Quota]) -> Disk {
    let folder = tempfile::tempdir().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test opens the folder it made")]
    let dir = Arc::new(cap_std::fs::Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap());
    let mount = |(index, quota): (usize, &Quota)| Mount {
        dir: dir.clone(),
        file: None,
        guest_path: format!("/{index}"),
        access: capstan_core::mount::Access::ReadWrite,
        quota: *quota,
    };
    let mounts: Vec<_> = on_mounts.iter().enumerate().map(mount).collect();
    Disk::new(&mounts, in_total, &Usage::default()).unwrap()
}

fn bytes(bytes: u64) -> Quota {
    Quota { bytes, ..Quota::UNLIMITED }
}

#[test]
fn write_is_admitted_up_to_last_byte_of_quota() {
    let disk = disk(bytes(10), &[Quota::UNLIMITED]);
    let ledger = &disk.ledger;
    assert_eq!(ledger.admit_write(0, 7, 0).unwrap(), 7);
    ledger.count_written(0, 7);
    assert_eq!(ledger.admit_write(0, 7, 0).unwrap(), 3);
    assert!(disk.denied().is_none());
    ledger.count_written(0, 3);
    assert_eq!(ledger.admit_write(0, 0, 0).unwrap(), 0);
    assert!(disk.denied().is_none(), "nothing was requested");
    assert!(ledger.admit_write(0, 1, 0).is_err());
    let by = DiskLimit::Policy { limit: 10, mount: None };
    assert_eq!(disk.denied(), Some(&Outcome::DiskCap { resource: DiskResource::Bytes, by }));
}

#[test]
fn hole_counts_before_written_bytes() {
    let disk = disk(bytes(10), &[Quota::UNLIMITED]);
    assert_eq!(disk.ledger.admit_write(0, 5, 8).unwrap(), 2);
    assert!(disk.ledger.admit_write(0, 1, 10).is_err());
    assert!(disk.ledger.admit_write(0, 1, u64::MAX).is_err());
}

#[test]
fn quota_of_mount_and_total_quota_both_apply() {
    let disk = disk(bytes(10), &[bytes(4), Quota::UNLIMITED]);
    let ledger = &disk.ledger;
    assert_eq!((ledger.remaining(0, DiskResource::Bytes), ledger.remaining(1, DiskResource::Bytes)), (4, 10));
    ledger.count_written(0, 4);
    assert_eq!((ledger.remaining(0, DiskResource::Bytes), ledger.remaining(1, DiskResource::Bytes)), (0, 6));
    assert!(ledger.admit_write(0, 1, 0).is_err());
    let by = DiskLimit::Policy { limit: 4, mount: Some("/0".into()) };
    assert_eq!(disk.denied(), Some(&Outcome::DiskCap { resource: DiskResource::Bytes, by }));
    ledger.count_written(1, 6);
    assert!(ledger.admit_write(1, 1, 0).is_err());
    assert_eq!(disk.denied().unwrap().to_string(), "disk cap of 4 bytes on /0 reached", "the first denial stays");
}

#[test]
fn handle_belongs_to_mount_until_it_is_cleared() {
    let mut disk = disk(Quota::UNLIMITED, &[Quota::UNLIMITED, Quota::UNLIMITED]);
    let mount = |disk: &Disk, number| disk.handle(number).map(|handle| handle.mount);
    assert_eq!(
        [0, 1, 2, 3, 4, 5, 99].map(|number| mount(&disk, number)),
        [None, None, None, Some(0), Some(1), None, None]
    );
    disk.set_handle(7, Some(Handle { mount: 1, size: 0, resource: None }));
    assert_eq!([5, 6, 7].map(|number| mount(&disk, number)), [None, None, Some(1)]);
    disk.set_handle(7, None);
    assert_eq!(mount(&disk, 7), None);
}

/// A guest may end while its last write is in progress. What is counted afterwards is what is in the file, and does not change.
#[tokio::test]
async fn wait_for_writes_leaves_written_bytes_counted() {
    use wasmtime_wasi::p2::OutputStream as _;

    const SIZE: usize = 1 << 20;
    for _ in 0..50 {
        let disk = disk(Quota::UNLIMITED, &[Quota::UNLIMITED]);
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut stream = streams::FileOutputStream::new(disk.ledger.clone(), 0, file.clone(), Some(0));
        stream.write(vec![b'x'; SIZE].into()).unwrap();
        let writes = disk.writes();
        drop(stream);
        wait_for_writes(&writes).await;
        let counted = disk.ledger.usage[0].written_bytes.get();
        assert_eq!(counted, file.metadata().unwrap().len());
        // A write that no thread has started is dropped; one that was started is finished.
        assert!([0, SIZE as u64].contains(&counted), "{counted}");
        assert_eq!(Arc::strong_count(&file), 1, "a thread still holds the file");
    }
}

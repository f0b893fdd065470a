//! What a disk has changed, copies of a store, and stores that cannot be opened.

use cap_std::fs::Dir;
use capstan_engine::data::{CHUNK, DataError};
use capstan_store::data::{SqliteDataStore, backup, check, restore};

use crate::{OnDisk, QUOTA, data_of, set, value};

async fn filled() -> OnDisk {
    let disk = OnDisk::new();
    let data = data_of(&disk.store, "a", QUOTA);
    data.change(&data.bucket("b").unwrap(), vec![set("k", b"the value of the key")]).await.unwrap();
    let container = data.place("c").unwrap();
    data.create_container(&container).await.unwrap();
    let mut upload = data.begin().await.unwrap();
    upload.append(vec![7; CHUNK].into()).await.unwrap();
    upload.finish(vec![(container, "o".into())]).await.unwrap();
    disk
}

#[tokio::test]
async fn damaged_value_is_an_error_and_found_by_a_check() {
    let disk = filled().await;
    assert_eq!(check(&disk.dir).unwrap().unwrap().problems, Vec::<String>::new());
    let OnDisk { _temp: temp, dir, store } = disk;
    drop(store);
    let path = temp.path().join("data/data.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(9).position(|window| window == b"the value").unwrap();
    bytes[at] = b'T';
    std::fs::write(&path, bytes).unwrap();
    let report = check(&dir).unwrap().unwrap();
    assert_eq!((report.keys, report.objects, report.problems.len()), (1, 1, 1), "{report:?}");
    let store = SqliteDataStore::open(&dir).unwrap();
    let data = data_of(&store, "a", QUOTA);
    let read = data.get(&data.bucket("b").unwrap(), "k".into()).await;
    assert!(matches!(read, Err(DataError::Damaged { .. })), "{read:?}");
    data.change(&data.bucket("b").unwrap(), vec![set("k", b"new")]).await.unwrap();
    assert_eq!(value(&data, "b", "k").await.as_deref(), Some(&b"new"[..]));
}

#[tokio::test]
async fn backup_of_a_store_in_use_becomes_a_store() {
    let disk = filled().await;
    let temp = tempfile::tempdir().unwrap();
    let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    root.create_dir("backup").unwrap();
    root.create_dir("new").unwrap();
    let (copy, new) = (root.open_dir("backup").unwrap(), root.open_dir("new").unwrap());
    assert_eq!(backup(&new, &copy), Ok(None));
    assert_eq!(restore(&copy, &new, false), Ok(None));
    assert_eq!(backup(&disk.dir, &copy).unwrap().unwrap().problems, Vec::<String>::new());
    let data = data_of(&disk.store, "a", QUOTA);
    data.change(&data.bucket("b").unwrap(), vec![set("k", b"later")]).await.unwrap();
    assert_eq!(restore(&copy, &new, false).unwrap().unwrap().objects, 1);
    assert!(matches!(restore(&copy, &new, false), Err(DataError::Io { .. })), "there is a store now");
    let store = SqliteDataStore::open(&new).unwrap();
    assert_eq!(value(&data_of(&store, "a", QUOTA), "b", "k").await.as_deref(), Some(&b"the value of the key"[..]));
}

#[tokio::test]
async fn store_is_opened_once_and_not_with_a_newer_schema() {
    let disk = OnDisk::new();
    let error = SqliteDataStore::open(&disk.dir).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    let OnDisk { _temp: temp, dir, store } = disk;
    drop(store);
    let db = rusqlite::Connection::open(temp.path().join("data/data.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let error = SqliteDataStore::open(&dir).unwrap_err().to_string();
    assert!(error.contains("version 99"), "{error}");
}

//! Objects in containers.

use bytes::Bytes;
use capstan_engine::data::{CHUNK, DataError, DataQuota, DataUsage, HandlerData, Place};
use capstan_store::data::{SqliteDataStore, check};

use crate::{OnDisk, QUOTA, data_of};

async fn container(data: &HandlerData, name: &str) -> Place {
    let container = data.place(name).unwrap();
    data.create_container(&container).await.unwrap();
    container
}

async fn put(data: &HandlerData, container: &Place, name: &str, pieces: &[Bytes]) -> Result<(), DataError> {
    let mut upload = data.begin().await?;
    for piece in pieces {
        upload.append(piece.clone()).await?;
    }
    upload.finish(vec![(container.clone(), name.to_owned())]).await
}

fn pieces() -> [Bytes; 3] {
    [vec![1; CHUNK].into(), vec![2; CHUNK].into(), vec![3; 5].into()]
}

/// Waits until the handler keeps so much: blobs that nobody uses go a moment later.
async fn until_usage(data: &HandlerData, expected: DataUsage) {
    let wait = async {
        while data.usage().await.unwrap() != expected {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "{:?}", data.usage().await);
}

#[tokio::test]
async fn object_is_read_as_it_was_written_until_it_is_closed() {
    let disk = OnDisk::new();
    for store in [SqliteDataStore::in_memory().unwrap(), disk.store.clone()] {
        let data = data_of(&store, "a", QUOTA);
        let place = container(&data, "c").await;
        put(&data, &place, "o", &pieces()).await.unwrap();
        let reader = data.open(&place, "o".into()).await.unwrap();
        assert_eq!(reader.size(), 2 * CHUNK as u64 + 5);
        put(&data, &place, "o", &[Bytes::from_static(b"new")]).await.unwrap();
        data.remove_objects(&place, vec!["o".into(), "unknown".into()]).await.unwrap();
        for (index, piece) in pieces().iter().enumerate() {
            assert_eq!(reader.piece(index as u64).await.unwrap(), piece);
        }
        assert!(data.usage().await.unwrap().bytes > 2 * CHUNK as u64, "what is read still counts");
        drop(reader);
        until_usage(&data, DataUsage { bytes: 1, keys: 1 }).await;
    }
}

#[tokio::test]
async fn unfinished_object_is_discarded() {
    let disk = OnDisk::new();
    let data = data_of(&disk.store, "a", QUOTA);
    let place = container(&data, "c").await;
    let mut upload = data.begin().await.unwrap();
    upload.append(pieces()[0].clone()).await.unwrap();
    drop(upload);
    until_usage(&data, DataUsage { bytes: 1, keys: 1 }).await;
    let mut upload = data.begin().await.unwrap();
    upload.append(pieces()[0].clone()).await.unwrap();
    // As if the process had ended here.
    std::mem::forget(upload);
    drop((data, place));
    // The forgotten upload holds the store open, so this is a copy of its files.
    let (copy, to) = (tempfile::tempdir().unwrap(), disk.dir.open_dir("data").unwrap());
    std::fs::create_dir(copy.path().join("data")).unwrap();
    for name in ["data.db", "data.db-wal"] {
        std::fs::write(copy.path().join("data").join(name), to.read(name).unwrap()).unwrap();
    }
    let dir = cap_std::fs::Dir::open_ambient_dir(copy.path(), cap_std::ambient_authority()).unwrap();
    let store = SqliteDataStore::open(&dir).unwrap();
    assert_eq!(data_of(&store, "a", QUOTA).usage().await.unwrap(), DataUsage { bytes: 1, keys: 1 });
    assert_eq!(check(&dir).unwrap().unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn object_over_the_quota_is_discarded() {
    let store = SqliteDataStore::in_memory().unwrap();
    let data = data_of(&store, "a", DataQuota { bytes: 2 * CHUNK as u64, keys: 2 });
    let place = container(&data, "c").await;
    assert_eq!(put(&data, &place, "o", &pieces()).await, Err(DataError::QuotaBytes(2 * CHUNK as u64)));
    until_usage(&data, DataUsage { bytes: 1, keys: 1 }).await;
    put(&data, &place, "o", &pieces()[2..]).await.unwrap();
    assert_eq!(put(&data, &place, "p", &[]).await, Err(DataError::QuotaKeys(2)));
    until_usage(&data, DataUsage { bytes: 7, keys: 2 }).await;
}

#[tokio::test]
async fn copies_share_bytes_and_moves_keep_them() {
    let store = SqliteDataStore::in_memory().unwrap();
    let data = data_of(&store, "a", QUOTA);
    let (from, to) = (container(&data, "from").await, container(&data, "to").await);
    put(&data, &from, "o", &pieces()).await.unwrap();
    data.copy((from.clone(), "o".into()), (to.clone(), "copy".into()), false).await.unwrap();
    let shared = data.usage().await.unwrap();
    assert_eq!(shared, DataUsage { bytes: 2 * CHUNK as u64 + 5 + 6 + 5, keys: 4 });
    data.remove_container(&from).await.unwrap();
    assert_eq!(data.open(&to, "copy".into()).await.unwrap().piece(2).await.unwrap(), pieces()[2]);
    data.copy((to.clone(), "copy".into()), (to.clone(), "moved".into()), true).await.unwrap();
    assert_eq!(data.list_objects(&to, 0, 10).await.unwrap().names, ["moved"]);
    data.copy((to.clone(), "moved".into()), (to.clone(), "moved".into()), true).await.unwrap();
    assert!(data.object(&to, "moved".into()).await.unwrap().is_some());
    let missing = data.copy((to.clone(), "gone".into()), (to.clone(), "x".into()), true).await;
    assert_eq!(missing, Err(DataError::NoObject("gone".into())));
    assert_eq!(data.object(&from, "o".into()).await, Err(DataError::NoContainer("from".into())));
    data.clear(&to).await.unwrap();
    data.remove_container(&to).await.unwrap();
    until_usage(&data, DataUsage::default()).await;
}

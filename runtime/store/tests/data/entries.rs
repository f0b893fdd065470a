//! Keys and values.

use capstan_engine::data::{Change, DataError, DataQuota, DataUsage, MAX_BATCH_KEYS, MAX_KEY, MAX_VALUE};
use capstan_store::data::SqliteDataStore;

use crate::{OnDisk, QUOTA, data_of, set, value};

const RANGE: std::ops::RangeInclusive<i128> = 0..=u64::MAX as i128;

#[tokio::test]
async fn store_in_memory_and_on_disk_keeps_values() {
    let disk = OnDisk::new();
    for store in [SqliteDataStore::in_memory().unwrap(), disk.store.clone()] {
        let data = data_of(&store, "a", QUOTA);
        let bucket = data.bucket("").unwrap();
        data.change(&bucket, vec![set("k", b"1"), set("nul\0", b""), set("k", b"2")]).await.unwrap();
        assert_eq!(value(&data, "default", "k").await.as_deref(), Some(&b"2"[..]));
        assert_eq!(value(&data, "default", "nul\0").await.as_deref(), Some(&b""[..]));
        assert_eq!(value(&data, "other", "k").await, None);
        assert_eq!(value(&data_of(&store, "b", QUOTA), "default", "k").await, None);
        assert_eq!(data.usage().await.unwrap(), DataUsage { bytes: 6, keys: 2 });
        data.change(&bucket, vec![Change::Delete { key: "k".into() }, Change::Delete { key: "k".into() }])
            .await
            .unwrap();
        assert!(!data.exists(&bucket, "k".into()).await.unwrap());
        data.remove_all().await.unwrap();
        assert_eq!(data.usage().await.unwrap(), DataUsage::default());
        assert_eq!(data.list_buckets("", 10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn change_over_the_quota_changes_nothing() {
    let store = SqliteDataStore::in_memory().unwrap();
    let quota = DataQuota { bytes: 100, keys: 3 };
    let data = data_of(&store, "a", quota);
    let bucket = data.bucket("b").unwrap();
    data.change(&bucket, vec![set("1", &[0; 40]), set("2", &[0; 40])]).await.unwrap();
    let too_large = data.change(&bucket, vec![set("1", &[0; 20]), set("3", &[0; 60])]).await;
    assert_eq!(too_large, Err(DataError::QuotaBytes(100)));
    assert_eq!(value(&data, "b", "1").await, Some(vec![0; 40]));
    let too_many = data.change(&bucket, vec![set("3", b""), set("4", b"")]).await;
    assert_eq!(too_many, Err(DataError::QuotaKeys(3)));
    assert_eq!(data.usage().await.unwrap(), DataUsage { bytes: 82, keys: 2 });
    // Room is made and used in one change, and a handler over a lowered quota may still make room.
    data.change(
        &bucket,
        vec![set("3", &[0; 90]), Change::Delete { key: "1".into() }, Change::Delete { key: "2".into() }],
    )
    .await
    .unwrap();
    let lowered = data_of(&store, "a", DataQuota { bytes: 10, keys: 1 });
    lowered.change(&bucket, vec![set("3", &[0; 50])]).await.unwrap();
    assert!(matches!(lowered.change(&bucket, vec![set("3", &[0; 51])]).await, Err(DataError::QuotaBytes(10))));
}

#[tokio::test]
async fn invalid_names_and_sizes_are_errors() {
    let store = SqliteDataStore::in_memory().unwrap();
    let data = data_of(&store, "a", QUOTA);
    let bucket = data.bucket("b").unwrap();
    for name in ["a\nb", &"x".repeat(129)] {
        assert!(matches!(data.bucket(name), Err(DataError::InvalidBucket(_))));
    }
    for key in [String::new(), "x".repeat(MAX_KEY + 1)] {
        assert_eq!(data.get(&bucket, key.clone()).await.map(drop), Err(DataError::InvalidKey(key.len())));
    }
    let large = vec![0; MAX_VALUE + 1];
    assert_eq!(data.change(&bucket, vec![set("k", &large)]).await, Err(DataError::ValueTooLarge(large.len() as u64)));
    data.change(&bucket, (0..5).map(|number| set(&format!("{number}"), &large[1..])).take(4).collect()).await.unwrap();
    let five = (0..5).map(|number| set(&format!("{number}"), &large[1..])).collect();
    assert_eq!(data.change(&bucket, five).await, Err(DataError::BatchTooLarge));
    data.change(&bucket, vec![set("4", &large[1..])]).await.unwrap();
    let all = (0..5).map(|number| number.to_string()).collect();
    assert_eq!(data.get_many(&bucket, all).await, Err(DataError::BatchTooLarge));
    let many = vec!["k".to_owned(); MAX_BATCH_KEYS + 1];
    assert_eq!(data.get_many(&bucket, many).await, Err(DataError::BatchTooLarge));
    assert_eq!(data_of(&store, "a", DataQuota { bytes: 0, keys: 0 }).bucket("b"), Err(DataError::Denied));
}

#[tokio::test]
async fn increment_needs_a_number_and_stays_in_range() {
    let store = SqliteDataStore::in_memory().unwrap();
    let data = data_of(&store, "a", QUOTA);
    let bucket = data.bucket("b").unwrap();
    let add = async |key: &str, delta| data.increment(&bucket, key.to_owned(), delta, RANGE).await;
    assert_eq!((add("n", 5).await, add("n", -2).await), (Ok(5), Ok(3)));
    assert_eq!(value(&data, "b", "n").await.as_deref(), Some(&b"3"[..]));
    assert_eq!(
        (add("n", -4).await, add("n", u64::MAX.into()).await),
        (Err(DataError::Overflow), Err(DataError::Overflow))
    );
    data.change(&bucket, vec![set("text", b"x"), set("huge", "9".repeat(60).as_bytes())]).await.unwrap();
    assert_eq!((add("text", 1).await, add("huge", 1).await), (Err(DataError::NotANumber), Err(DataError::NotANumber)));
}

#[tokio::test]
async fn swap_needs_the_present_revision() {
    let disk = OnDisk::new();
    let data = data_of(&disk.store, "a", QUOTA);
    let bucket = data.bucket("b").unwrap();
    let swap = async |expected| data.swap(&bucket, "k".into(), expected, "x".into()).await.unwrap();
    assert!(!swap(Some(1)).await && swap(None).await && !swap(None).await);
    let revision = async || data.get(&bucket, "k".into()).await.unwrap().map(|entry| entry.revision);
    let first = revision().await;
    // The same value in a new key is another revision.
    data.change(&bucket, vec![Change::Delete { key: "k".into() }]).await.unwrap();
    data.change(&bucket, vec![set("k", b"x")]).await.unwrap();
    assert!(!swap(first).await && swap(revision().await).await);
    let last = revision().await;
    drop(data);
    let disk = disk.reopened();
    let data = data_of(&disk.store, "a", QUOTA);
    data.change(&bucket, vec![set("k", b"x")]).await.unwrap();
    assert!(data.get(&bucket, "k".into()).await.unwrap().map(|entry| entry.revision) > last);
}

#[tokio::test]
async fn concurrent_changes_share_commits_and_lose_nothing() {
    let disk = OnDisk::new();
    let data = data_of(&disk.store, "a", QUOTA);
    let bucket = data.bucket("b").unwrap();
    let before = disk.store.commits();
    let tasks: Vec<_> = (0..400)
        .map(|_| {
            let (data, bucket) = (data.clone(), bucket.clone());
            tokio::spawn(async move { data.increment(&bucket, "n".into(), 1, RANGE).await.unwrap() })
        })
        .collect();
    let mut sums = Vec::new();
    for task in tasks {
        sums.push(task.await.unwrap());
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=400).collect::<Vec<_>>());
    assert!(disk.store.commits() - before < 200, "{} commits", disk.store.commits() - before);
    drop(data);
    let disk = disk.reopened();
    assert_eq!(value(&data_of(&disk.store, "a", QUOTA), "b", "n").await.as_deref(), Some(&b"400"[..]));
}

#[tokio::test]
async fn list_returns_each_key_once_while_others_change() {
    let store = SqliteDataStore::in_memory().unwrap();
    let data = data_of(&store, "a", QUOTA);
    let bucket = data.bucket("b").unwrap();
    data.change(&bucket, (0..100).map(|number| set(&format!("k{number:03}"), b"")).collect()).await.unwrap();
    let (mut seen, mut cursor) = (Vec::new(), 0);
    for round in 0.. {
        let page = data.list_keys(&bucket, cursor, 7).await.unwrap();
        seen.extend(page.keys);
        // The other keys stay: these are behind, before and beside the cursor.
        data.change(
            &bucket,
            vec![
                set("k000", b"new"),
                set(&format!("new{round}"), b""),
                Change::Delete { key: format!("new{}", round - 1) },
            ],
        )
        .await
        .unwrap();
        let Some(next) = page.next else { break };
        cursor = next;
    }
    seen.retain(|key| key.starts_with('k'));
    assert_eq!(seen, (0..100).map(|number| format!("k{number:03}")).collect::<Vec<_>>());
}

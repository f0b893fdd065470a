//! A data directory of the version that had no durable jobs. `before_durable_jobs` has the files that it wrote, without compiled code, which
//! belongs to one machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use capstan_tests::{Setup, guests};
use serde_json::json;

use super::check_store;
use crate::CAPSTAN;
use crate::jobs::api::{inspect, output_of, submit, wait_for_end};

/// Copies a directory. Only its owner may use the copy, as the daemon requires; version control does not keep that.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

#[tokio::test]
async fn data_directory_of_the_version_before_durable_jobs_opens() {
    let setup = Setup::new(CAPSTAN);
    let data = setup.folder().join("data");
    copy(&guests::root().join("tests/it/durability/before_durable_jobs"), &data);
    assert!(!data.join("jobs").exists());
    let daemon = setup.start();
    let client = daemon.client();
    let handlers = client.get("/v1/handlers").send().await.text().to_owned();
    assert!(handlers.contains("greet") && handlers.contains("repeat"), "{handlers}");
    assert_eq!(client.run("greet").send().await.text(), "hello\n");
    assert_eq!(client.run("repeat").body("again").send().await.text(), "again");
    let manifest = client.get("/v1/handlers/repeat").send().await.text().to_owned();
    assert!(manifest.contains("Repeats its input"), "{manifest}");
    let id = submit(&client, &json!({"handler": "repeat", "stdin": "durable"})).await;
    assert_eq!(wait_for_end(&client, &id).await["exit_code"], 0);
    let ended = inspect(&client, &id).await;
    let (daemon, client) = daemon.kill_and_restart().await;
    assert_eq!((inspect(&client, &id).await, output_of(&client, &id).await.as_str()), (ended, "durable"));
    drop(client);
    assert_eq!(check_store(&data).await.code, Some(0));
    drop(daemon);
}

//! `--dir` without a path in the guest, and paths in the guest that are relative: a guest finds both by the names that its user types.

use std::fs;
use std::path::Path;

use capstan_tests::{Cli, Daemon, Finished, Setup, guests};
use serde_json::json;

use crate::{CAPSTAN, command, command_for};

const PROBES: [&str; 2] = ["probe.p1", "probe.p2"];

/// The command in a folder with `note`, `data/note` and `data/deep/note`, each of which holds its own name.
fn in_a_folder() -> Cli {
    let cli = command();
    write_notes(cli.folder());
    cli
}

fn write_notes(folder: &Path) {
    fs::create_dir_all(folder.join("data/deep")).unwrap();
    for name in ["note", "data/note", "data/deep/note"] {
        fs::write(folder.join(name), name).unwrap();
    }
}

/// Runs a probe with this granted.
async fn ask(probe: &str, dir: &str, args: &[&str]) -> Finished {
    in_a_folder().args(["run", "--dir", dir]).args([guests::compiled_path(probe)]).args(args).run().await
}

#[tokio::test]
async fn dir_without_guest_path_is_found_by_the_names_of_the_host() {
    for probe in PROBES {
        for (dir, name, content) in [
            (".", "note", "note"),
            (".", "./data/note", "data/note"),
            (".", "/note", "note"),
            (".:ro", "data/deep/../note", "data/note"),
            ("./", "note", "note"),
            ("data", "data/note", "data/note"),
            ("data", "/data/note", "data/note"),
            ("data/", "data/deep/note", "data/deep/note"),
            ("./data/deep:ro", "data/deep/note", "data/deep/note"),
            ("data/../data", "data/note", "data/note"),
            ("note", "note", "note"),
            ("data/note:ro", "data/note", "data/note"),
        ] {
            let finished = ask(probe, dir, &["read", name]).await.assert_exit_code(0);
            assert_eq!(finished.text(), content, "{probe} --dir {dir} {name}");
        }
        // Nothing else is granted with it.
        for (dir, name) in [("data", "note"), ("data", "../note"), ("note", "data/note"), (".", "../note")] {
            ask(probe, dir, &["read", name]).await.assert_exit_code(1);
        }
    }
}

#[tokio::test]
async fn dir_with_an_absolute_host_path_is_found_by_it() {
    for probe in PROBES {
        let cli = in_a_folder();
        let folder = cli.folder().join("data").to_str().unwrap().to_owned();
        let run = cli.args(["run", "--dir", &folder]).args([guests::compiled_path(probe)]);
        let finished = run.args(["read", &format!("{folder}/note")]).run().await.assert_exit_code(0);
        assert_eq!(finished.text(), "data/note", "{probe}");
    }
}

#[tokio::test]
async fn dir_with_a_relative_guest_path_is_below_the_root_of_the_guest() {
    for probe in PROBES {
        for (dir, name) in [
            ("data::data", "data/note"),
            ("data::data:ro", "/data/note"),
            ("data::.", "note"),
            ("data::./:rw", "/note"),
            ("data::./in/there", "in/there/note"),
            ("data::x/../in", "in/note"),
            ("data::/in", "in/note"),
        ] {
            assert_eq!(
                ask(probe, dir, &["read", name]).await.assert_exit_code(0).text(),
                "data/note",
                "{probe} --dir {dir}"
            );
        }
    }
}

#[tokio::test]
async fn dir_at_the_root_is_listed_and_written() {
    for probe in PROBES {
        assert_eq!(ask(probe, ".", &["ls", "."]).await.assert_exit_code(0).text(), "data\nnote\n", "{probe}");
        assert_eq!(ask(probe, ".", &["ls", "/"]).await.assert_exit_code(0).text(), "data\nnote\n", "{probe}");
        assert_eq!(ask(probe, ".", &["ls", "data"]).await.assert_exit_code(0).text(), "deep\nnote\n", "{probe}");
        let finished = ask(probe, ".", &["put", "/data/new", "3", "3"]).await.assert_exit_code(0);
        assert_eq!(finished.read("data/new"), b"xxx", "{probe}");
        ask(probe, ".:ro", &["put", "/data/new", "3", "3"]).await.assert_exit_code(1);
    }
    let finished = ask("probe.p1", ".", &["write", "new", "text"]).await.assert_exit_code(0);
    assert_eq!(finished.read("new"), b"text");
}

#[tokio::test]
async fn dir_that_leads_out_of_the_root_is_rejected_with_what_to_do() {
    for dir in ["..", "../data", "data/../..", "data::..", "data::x/../../y"] {
        let finished = ask("probe.p1", dir, &["name"]).await.assert_exit_code(125);
        assert!(finished.stderr.contains("leads out of the root of the guest"), "{dir}: {finished:?}");
    }
    let finished = ask("probe.p1", "..", &["name"]).await.assert_exit_code(125);
    assert!(finished.stderr.contains("HOST::GUEST"), "{finished:?}");
    // With a path in the guest it is granted.
    ask("probe.p1", "..::/up", &["ls", "/up"]).await.assert_exit_code(0);
}

/// A daemon whose operator grants the mount `notes`, with a probe as the handler `probe`.
async fn granting(probe: &str, manifest: &str) -> (tempfile::TempDir, Daemon) {
    let folder = tempfile::tempdir().unwrap();
    write_notes(folder.path());
    let mount = format!("[mounts.notes]\npath = {:?}\n", folder.path().to_str().unwrap());
    let daemon = Setup::new(CAPSTAN).config(&mount).start();
    let source = format!("probe={}", guests::compiled_path(probe).display());
    let pushed = command_for(&daemon).file("job.toml", manifest.as_bytes());
    pushed.args(["push", "--manifest", "job.toml", &source]).run().await.assert_exit_code(0);
    (folder, daemon)
}

#[tokio::test]
async fn relative_guest_path_of_a_manifest_and_of_a_request_is_below_the_root() {
    for probe in PROBES {
        let manifest = "[[policy.mounts]]\nname = \"notes\"\nguest = \"in/here\"\n";
        let (_folder, daemon) = granting(probe, manifest).await;
        let run = command_for(&daemon).args(["run", "probe", "read", "in/here/note"]).run().await.assert_exit_code(0);
        assert_eq!(run.text(), "note", "{probe}");
        for (mount, name) in [("notes::.", "note"), ("notes::data", "/data/note")] {
            let run = command_for(&daemon)
                .args(["run", "--mount", mount, "probe", "read", name])
                .run()
                .await
                .assert_exit_code(0);
            assert_eq!(run.text(), "note", "{probe} --mount {mount}");
        }
        let asked = json!({"mounts": [{"name": "notes", "guest": "./x"}]});
        let order = json!({"handler": "probe", "args": ["name"], "policy": asked}).to_string();
        let client = daemon.client();
        let id = client.post("/v1/jobs").body(order).send().await.json()["id"].as_str().unwrap().to_owned();
        let told = client.get(&format!("/v1/jobs/{id}")).send().await.json();
        assert_eq!(told["policy"]["mounts"][0]["guest"], "/x", "{told}");
        let refused = command_for(&daemon).args(["run", "--mount", "notes::../x", "probe", "name"]).run().await;
        assert!(refused.assert_exit_code(125).stderr.contains("leads out of the root"));
    }
}

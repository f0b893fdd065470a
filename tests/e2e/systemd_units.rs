//! The systemd units in `packaging/`: `systemd-analyze` accepts them where it is installed, and their command line starts this daemon.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Output};

use capstan_tests::{Address, Client, Setup, TIMEOUT, guests};

use crate::{CAPSTAN, command};

/// Returns the text of a unit.
fn unit(name: &str) -> String {
    fs::read_to_string(guests::root().join("packaging").join(name)).unwrap()
}

/// Returns the value of the only line `key=…` of a unit.
#[track_caller]
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("no {key}= in {unit}"));
    assert_eq!(values.next(), None, "{key}= occurs twice");
    value
}

/// Returns the arguments of the daemon in the service unit.
fn arguments(service: &str) -> Vec<String> {
    let mut words = value(service, "ExecStart").split(' ').map(str::to_owned);
    assert_eq!(words.next().unwrap(), "/usr/bin/capstan");
    assert_eq!(words.next().unwrap(), "daemon");
    words.collect()
}

#[tokio::test]
async fn service_command_starts_on_the_passed_socket_and_reports_ready() {
    let (service, socket) = (unit("capstan.service"), unit("capstan.socket"));
    let setup = Setup::new(CAPSTAN);
    let path = setup.folder().join("passed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let manager = UnixDatagram::bind(setup.folder().join("notify")).unwrap();
    let notify = setup.folder().join("notify");
    let mut setup = setup
        .hosts([] as [String; 0])
        .pass(value(&socket, "FileDescriptorName"), listener)
        .env("NOTIFY_SOCKET", notify);
    let mut words = arguments(&service).into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            // The test uses its own directory.
            "--data" => assert_eq!(words.next().unwrap(), format!("/var/lib/{}", value(&service, "StateDirectory"))),
            _ => setup = setup.arg(word),
        }
    }
    let _daemon = setup.start();
    assert_eq!(Client::new(Address::Unix(path)).get("/_ready").send().await.status, 200);
    assert_eq!(value(&service, "Type"), "notify");
    manager.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut buffer = [0; 1024];
    while !buffer.starts_with(b"READY=1") {
        manager.recv(&mut buffer).expect("the daemon reports that it is ready");
    }
}

#[tokio::test]
async fn service_uses_only_flags_that_the_daemon_knows() {
    let help = command().args(["daemon", "--help"]).run().await.assert_exit_code(0);
    let flags: Vec<_> = arguments(&unit("capstan.service")).into_iter().filter(|word| word.starts_with('-')).collect();
    assert!(flags.len() >= 3, "{flags:?}");
    for flag in flags {
        let known = help.text().split([' ', ',', '\n']).any(|word| word == flag);
        assert!(known, "{flag} is not in the help: {}", help.text());
    }
}

#[test]
fn service_has_limits_that_are_compatible_with_the_sandbox() {
    let service = unit("capstan.service");
    for key in ["NoNewPrivileges", "RestrictSUIDSGID", "PrivateDevices", "ProtectHome"] {
        assert_eq!(value(&service, key), "yes");
    }
    assert_eq!(value(&service, "ProtectSystem"), "strict");
    for key in ["MemoryMax", "TasksMax", "WatchdogSec", "RuntimeDirectory"] {
        assert!(!value(&service, key).is_empty());
    }
    let filters: Vec<_> = service.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    assert_eq!(filters.first(), Some(&"@system-service"));
    // The filter must allow the calls that the daemon needs to confine itself.
    for call in ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"] {
        assert!(filters.iter().any(|filter| !filter.starts_with('~') && filter.contains(call)), "{call}: {filters:?}");
    }
    for line in service.lines() {
        assert!(!line.starts_with("MemoryDenyWriteExecute=") && !line.starts_with("LimitAS="), "{line}");
    }
    let socket = unit("capstan.socket");
    assert_eq!(value(&socket, "ListenStream"), "/run/capstan.sock", "the default address of the command");
    assert_eq!((value(&socket, "SocketMode"), value(&socket, "SocketGroup")), ("0660", value(&service, "Group")));
}

#[test]
fn systemd_verifies_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let written = ["capstan.service", "capstan.socket"].map(|name| {
        let path = folder.path().join(name);
        fs::write(&path, unit(name).replace("/usr/bin/capstan", CAPSTAN)).unwrap();
        path
    });
    let Some(output) = run_systemd_analyze(Command::new("systemd-analyze").arg("verify").args(&written)) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // It checks all units of the machine, and only the messages on our units matter.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("capstan")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn service_exposure_level_is_at_most_1_5() {
    let service = guests::root().join("packaging/capstan.service");
    // The threshold is in tenths. The command fails if the exposure is above it.
    let analyze = ["security", "--offline=true", "--threshold=15", "--no-pager"];
    let Some(output) = run_systemd_analyze(Command::new("systemd-analyze").args(analyze).arg(service)) else { return };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("Overall exposure level for capstan.service"), "{output:?}");
}

/// Runs systemd's own tool, if it is installed.
fn run_systemd_analyze(command: &mut Command) -> Option<Output> {
    let output = command.output();
    let missing = |error| {
        eprintln!("NOT CHECKED: systemd-analyze cannot be run here ({error}); `./just units` requires it");
    };
    output.map_err(missing).ok()
}

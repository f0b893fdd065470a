//! The restrictions that the daemon and its compilers put on themselves: as the kernel reports them, and as the daemon reports them.
//!
//! The expected level is the one that the kernel of the test machine supports.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use capstan_tests::{Client, Daemon, FailedStart, Setup, eventually, guests};
use landlock::{ABI, Access, AccessFs, LandlockStatus, Ruleset, RulesetAttr};
use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::{Value, json};

use crate::{CAPSTAN, PROBES, configured, oracle, push_probes};

/// CHOWN, DAC_OVERRIDE, FOWNER and NET_BIND_SERVICE.
const KEPT: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 10;

/// Returns the Landlock level that this kernel supports, from 0 to 6.
fn landlock_level() -> u64 {
    let asking = std::thread::spawn(|| {
        let ruleset = Ruleset::default().handle_access(AccessFs::from_all(ABI::V1)).unwrap().create().unwrap();
        ruleset.restrict_self().unwrap().landlock
    });
    match asking.join().unwrap() {
        LandlockStatus::Available { effective_abi, .. } if effective_abi >= ABI::V2 => (effective_abi as u64).min(6),
        _ => 0,
    }
}

/// Returns whether the kernel filters system calls.
fn has_seccomp() -> bool {
    fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok_and(|all| all.contains("kill_process"))
}

/// Returns whether this kernel supports all restrictions.
fn is_full() -> bool {
    landlock_level() == 6 && has_seccomp()
}

/// Returns a field of the status of a process or thread in `/proc`.
fn status(of: &Path, field: &str) -> String {
    let status = fs::read_to_string(of.join("status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
}

fn capabilities(of: &Path, set: &str) -> u64 {
    u64::from_str_radix(&status(of, set), 16).unwrap()
}

async fn confinement(client: &Client) -> Value {
    client.get("/v1/info").send().await.json()["confinement"].clone()
}

#[tokio::test]
async fn confinement_is_applied_and_reported_in_info_and_log() {
    let daemon = Setup::new(CAPSTAN).arg("--confine").arg("best").start();
    let reported = confinement(&daemon.client()).await;
    assert_eq!(reported["mode"], "best");
    for who in ["daemon", "compiler"] {
        assert_eq!(
            (&reported[who]["no_new_privs"], &reported[who]["landlock"]),
            (&json!(true), &landlock_level().into()),
            "{reported}"
        );
        assert_eq!(
            reported[who]["lacks"] == json!([]),
            is_full() || who == "daemon" && landlock_level() == 6,
            "{reported}"
        );
    }
    assert_eq!(reported["compiler"]["seccomp"], has_seccomp());
    assert_eq!(reported["compiler"]["capabilities"], json!([]));
    let process = format!("/proc/{}", daemon.pid());
    let threads: Vec<_> = fs::read_dir(format!("{process}/task")).unwrap().map(|task| task.unwrap().path()).collect();
    assert!(threads.len() > 3, "{threads:?}");
    for thread in &threads {
        assert_eq!(status(thread, "NoNewPrivs"), "1", "{}", thread.display());
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(capabilities(thread, set) & !KEPT, 0, "{set} of {}", thread.display());
        }
    }
    if rustix::process::geteuid().is_root() {
        assert_eq!(capabilities(Path::new(&process), "CapBnd") & !KEPT, 0);
        let names = json!(["CHOWN", "DAC_OVERRIDE", "FOWNER", "NET_BIND_SERVICE"]);
        assert_eq!(reported["daemon"]["capabilities"], names);
    }
    let landlock = format!("landlock={}", landlock_level());
    daemon.until_logged(&["confined", "mode=best", "no_new_privs=true", &landlock]).await;
}

#[tokio::test]
async fn confine_off_applies_no_restrictions() {
    let daemon = Setup::new(CAPSTAN).config("confine = \"off\"\n").arg("--confine").arg("off").start();
    let reported = confinement(&daemon.client()).await;
    assert_eq!(
        (&reported["mode"], &reported["daemon"]["landlock"], &reported["compiler"]["seccomp"]),
        (&json!("off"), &json!(0), &json!(false))
    );
    let process = format!("/proc/{}", daemon.pid());
    assert_eq!(status(Path::new(&process), "NoNewPrivs"), status(Path::new("/proc/self"), "NoNewPrivs"));
}

/// Starts a compiler and waits until it is confined and waits for its program.
async fn waiting_compiler() -> Child {
    let order = json!({
        "budget": {"cpu": 60, "memory": 1u64 << 30},
        "confine": "best",
        "program": {"kind": "module", "step": "compile", "allowed": [], "is_metered": false, "max_memory": 1 << 20},
    });
    let child = Command::new(CAPSTAN)
        .arg("compile-child")
        .arg(order.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let process = format!("/proc/{}", child.id());
    let filtered = if has_seccomp() { "2" } else { "0" };
    let is = |field, value: &str| status(Path::new(&process), field).starts_with(value);
    eventually("the compiler to wait for its program", async || {
        (is("State", "S") && is("NoNewPrivs", "1") && is("Seccomp", filtered)).then_some(())
    })
    .await;
    child
}

#[tokio::test]
async fn compiler_process_can_only_compile() {
    let mut child = waiting_compiler().await;
    let process = format!("/proc/{}", child.id());
    let process = Path::new(&process);
    assert_eq!(status(process, "NoNewPrivs"), "1");
    // The main thread, those that compile, and one that watches the memory. The filter of system calls applies to each.
    let compilers = std::thread::available_parallelism().unwrap().get().min(16);
    let threads: Vec<_> = fs::read_dir(process.join("task")).unwrap().map(|thread| thread.unwrap().path()).collect();
    assert_eq!(threads.len(), compilers + 2);
    for thread in &threads {
        let filtered = if has_seccomp() { "2" } else { "0" };
        assert_eq!((status(thread, "Seccomp").as_str(), status(thread, "NoNewPrivs").as_str()), (filtered, "1"));
    }
    for set in ["CapEff", "CapPrm", "CapInh"] {
        assert_eq!(capabilities(process, set), 0, "{set}");
    }
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(
        (limit("Max processes"), limit("Max open files"), limit("Max core file size")),
        ("0".into(), "9".into(), "0".into())
    );
    // Compilation still works.
    child.stdin.take().unwrap().write_all(guests::run::HELLO).unwrap();
    let (mut code, mut answer) = (Vec::new(), String::new());
    child.stdout.take().unwrap().read_to_end(&mut code).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut answer).unwrap();
    assert!(child.wait().unwrap().success(), "{answer}");
    assert!(answer.contains("fingerprint") && code.starts_with(b"\x7fELF"), "{answer}");
}

/// Runs `start` on a thread that, together with its children, sees a kernel without these system calls.
fn without<T: Send + 'static>(calls: &'static [i64], start: impl FnOnce() -> T + Send + 'static) -> T {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let missing = SeccompAction::Errno(rustix::io::Errno::NOSYS.raw_os_error().unsigned_abs());
    let machine = std::env::consts::ARCH.try_into().unwrap();
    let filter: BpfProgram =
        SeccompFilter::new(rules, SeccompAction::Allow, missing, machine).unwrap().try_into().unwrap();
    let older = std::thread::spawn(move || {
        seccompiler::apply_filter(&filter).unwrap();
        start()
    });
    older.join().unwrap()
}

const LANDLOCK: &[i64] =
    &[libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self];
const SECCOMP: &[i64] = &[libc::SYS_seccomp];

fn confined(mode: &str) -> Setup {
    Setup::new(CAPSTAN).arg("--confine").arg(mode)
}

#[track_caller]
fn assert_start_fails_for_lack_of(refused: &FailedStart, lacks: &str) {
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains(lacks) && refused.stderr.contains("--confine"), "{refused:?}");
    assert!(!refused.stderr.contains("panicked"), "{refused:?}");
}

#[tokio::test]
async fn confine_strict_requires_full_support() {
    if is_full() {
        let mut daemon = confined("strict").start();
        oracle::still_answers(&mut daemon).await;
        assert_eq!(confinement(&daemon.client()).await["mode"], "strict");
    } else {
        assert_eq!(confined("strict").start_must_fail().status.code(), Some(1));
    }
    let refused = without(LANDLOCK, || confined("strict").start_must_fail());
    assert_start_fails_for_lack_of(&refused, "Landlock is not available");
    assert!(refused.stdout.is_empty(), "it was found only after something was bound: {refused:?}");
    assert_start_fails_for_lack_of(
        &without(SECCOMP, || confined("strict").start_must_fail()),
        "cannot filter system calls",
    );
}

#[tokio::test]
async fn confine_best_reports_what_the_kernel_lacks() {
    for (calls, who, lacks) in
        [(LANDLOCK, "daemon", "Landlock is not available"), (SECCOMP, "compiler", "cannot filter system calls")]
    {
        let mut daemon = without(calls, || confined("best").start());
        let reported = confinement(&daemon.client()).await;
        assert!(reported[who]["lacks"][0].as_str().unwrap_or_default().contains(lacks), "{reported}");
        assert_eq!(reported["daemon"]["no_new_privs"], true);
        daemon.until_logged(&["confined", lacks]).await;
        oracle::still_answers(&mut daemon).await;
    }
}

/// Reloads the configuration and returns the error in the reload event.
async fn reload(daemon: &Daemon) -> Value {
    let client = daemon.client();
    let reloads = async || {
        let events = client.get("/v1/events?since=0&until=0s&filter=event%3Ddaemon.reload").send().await;
        events
            .text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["error"].clone())
            .collect::<Vec<_>>()
    };
    let before = reloads().await.len();
    daemon.signal(Signal::HUP);
    eventually("a reload event", async || reloads().await.get(before).cloned()).await
}

#[tokio::test]
async fn reload_that_needs_more_access_requires_a_restart() {
    let elsewhere = tempfile::tempdir().unwrap();
    let inside = elsewhere.path().join("granted");
    fs::create_dir_all(inside.join("deeper")).unwrap();
    fs::write(elsewhere.path().join("secret"), "hidden").unwrap();
    let granted = format!("[mounts.work]\npath = \"{}\"\n", inside.display());
    let (mut daemon, client) = configured(&granted, "hello", guests::run::HELLO).await;
    let file = daemon.setup().folder().join("capstan.toml");
    let is_bound = landlock_level() > 0;
    let elsewhere = elsewhere.path().display();
    for (more, named) in [
        (format!("[mounts.other]\npath = \"{elsewhere}\"\n"), "mount other"),
        (format!("[mounts.writes]\npath = \"{elsewhere}/granted/deeper\"\naccess = \"rw\"\n"), "mount writes"),
        (format!("[[mount_prefixes]]\npath = \"{elsewhere}\"\n"), "mount prefix"),
        (format!("[secrets.key]\nfile = \"{elsewhere}/secret\"\nhandlers = [\"*\"]\n"), "secret key"),
        ("[policy]\nnetwork = [\"example.com:443\"]\n".to_owned(), "[policy] network"),
    ] {
        fs::write(&file, format!("{granted}{more}")).unwrap();
        let error = reload(&daemon).await.as_str().unwrap_or_default().to_owned();
        assert_eq!(error.contains("needs a restart") && error.contains(named), is_bound, "{named}: {error}");
    }
    let policy = json!({"mounts": [{"name": "other"}]}).to_string();
    if is_bound {
        client.run("hello").query("policy", &policy).send().await.error(403, "policy_denied");
    }
    // A directory inside a mounted one, with the same access, is accessible.
    fs::write(&file, format!("{granted}[mounts.deeper]\npath = \"{elsewhere}/granted/deeper\"\n")).unwrap();
    assert_eq!(reload(&daemon).await, Value::Null);
    let policy = json!({"mounts": [{"name": "deeper"}]}).to_string();
    client.run("hello").query("policy", &policy).send().await.assert_outcome("exited", 0);
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn reload_accepts_inaccessible_paths_of_restart_settings() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (daemon, client) = configured("", "hello", guests::run::HELLO).await;
    for file in ["cert", "key"] {
        fs::write(elsewhere.path().join(file), "").unwrap();
    }
    let toml = format!("[tls]\ncert = \"{0}/cert\"\nkey = \"{0}/key\"\n", elsewhere.path().display());
    fs::write(daemon.setup().folder().join("capstan.toml"), toml).unwrap();
    assert_eq!(reload(&daemon).await, Value::Null);
    daemon.until_logged(&["[tls]", "takes effect at the next start"]).await;
    client.run("hello").send().await.assert_outcome("exited", 0);
}

#[tokio::test]
async fn daemon_cannot_open_files_outside_its_configuration() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("capstan.toml");
    fs::write(&target, "[policy]\nmemory = \"32MiB\"\n").unwrap();
    let (mut daemon, client) = configured("[policy]\nmemory = \"64MiB\"\n", "hello", guests::run::HELLO).await;
    let file = daemon.setup().folder().join("capstan.toml");
    fs::remove_file(&file).unwrap();
    symlink(&target, &file).unwrap();
    let error = reload(&daemon).await;
    let memory = client.get("/v1/info").send().await.json()["limits"]["memory"].clone();
    if landlock_level() > 0 {
        assert!(error.as_str().unwrap_or_default().contains("Permission denied"), "{error}");
        assert_eq!(memory, 64 << 20);
    } else {
        assert_eq!((error, memory), (Value::Null, json!(32 << 20)));
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn confined_daemon_serves_mounts_outside_its_folders() {
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["reads", "writes"] {
        fs::create_dir(elsewhere.path().join(name)).unwrap();
        fs::write(elsewhere.path().join(name).join("there"), "content").unwrap();
    }
    fs::write(elsewhere.path().join("one"), "content").unwrap();
    let root = elsewhere.path().display();
    let toml = format!(
        "[mounts.reads]\npath = \"{root}/reads\"\n[mounts.writes]\npath = \"{root}/writes\"\naccess = \"rw\"\n\
         [mounts.one]\npath = \"{root}/one\"\naccess = \"rw\"\n[[mount_prefixes]]\npath = \"{root}/reads\"\n"
    );
    let mode = if is_full() { "strict" } else { "best" };
    let mut daemon = confined(mode).config(&toml).start();
    let client = daemon.client();
    push_probes(&client).await;
    for probe in PROBES {
        for (mount, args) in [
            (json!({"name": "reads"}), ["read", "/reads/there"]),
            (json!({"path": format!("{root}/reads"), "guest": "/m"}), ["read", "/m/there"]),
            (json!({"name": "one", "guest": "/conf/one"}), ["read", "/conf/one"]),
            (json!({"name": "writes", "access": "rw"}), ["read", "/writes/there"]),
        ] {
            let policy = json!({"mounts": [mount]}).to_string();
            let run =
                args.iter().fold(client.run(probe).query("policy", &policy), |run, arg| run.arg(arg)).send().await;
            run.assert_outcome("exited", 0);
            assert_eq!(run.text(), "content", "{policy}");
        }
    }
    oracle::still_answers(&mut daemon).await;
}

#[test]
fn unknown_confinement_mode_is_rejected_with_a_suggestion() {
    let modes = [("--confine", "strct", "did you mean `strict`?"), ("--confine", "", "off, best or strict")];
    for (flag, mode, reported) in modes {
        let refused = Setup::new(CAPSTAN).arg(flag).arg(mode).start_must_fail();
        assert_eq!(refused.status.code(), Some(125), "{refused:?}");
        assert!(refused.stderr.contains(reported), "{refused:?}");
    }
    for (toml, reported) in [
        ("confine = \"bets\"", "did you mean `best`?"),
        ("confine = \"of\"", "did you mean `off`?"),
        ("confine = true", "confine"),
        ("confine = [\"best\"]", "confine"),
        ("[confine]\nmode = \"best\"", "confine"),
        ("confined = \"best\"", "did you mean `confine`?"),
    ] {
        let refused = Setup::new(CAPSTAN).config(toml).start_must_fail();
        assert_eq!(refused.status.code(), Some(125), "{toml}: {refused:?}");
        assert!(refused.stderr.contains(reported), "{toml}: {refused:?}");
    }
}

#[test]
fn confined_daemon_reports_why_it_cannot_start() {
    let setup = confined("best");
    fs::write(setup.folder().join("data"), "no folder").unwrap();
    let refused = setup.start_must_fail();
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("cannot open data directory"), "{refused:?}");
    let gone = confined("best").config("[mounts.gone]\npath = \"/nowhere/at/all\"\n").start_must_fail();
    assert!(gone.stderr.contains("cannot open mount gone") && gone.stderr.contains("No such file"), "{gone:?}");
    let socket = confined("best").hosts(["unix:///nowhere/at/all/s.sock"]).start_must_fail();
    assert!(socket.stderr.contains("cannot open directory /nowhere/at/all: No such file"), "{socket:?}");
}

//! Attempts to escape from a mount with unusual paths and symlinks, through every call that takes a path, with preview 1 and 0.2. Nothing
//! outside the mount may be touched.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::time::SystemTime;

use capstan_tests::frames::Framed;
use capstan_tests::{foreach_guest, guests};
use serde_json::{Value, json};

use crate::files::disk::MountFixture;
use crate::{PROBES, oracle};

foreach_guest!(escapes, tested);

/// All calls that take a path, with the names of the probe for 0.2. The guest for preview 1 identifies a call by a letter, in this order.
pub(crate) const CALLS: [&str; 17] = [
    "open",
    "open-nofollow",
    "create",
    "truncate",
    "open-directory",
    "stat",
    "stat-nofollow",
    "readlink",
    "mkdir",
    "rmdir",
    "unlink",
    "symlink",
    "link-from",
    "link-to",
    "rename-from",
    "rename-to",
    "set-times",
];

/// Returns the result of a call as an error name of 0.2.
pub(crate) fn result_of(framed: &Framed) -> String {
    let text = String::from_utf8_lossy(&framed.stdout);
    let last = text.lines().last().unwrap_or_default();
    let errno = last.rsplit_once("(os error ").map(|(_, errno)| errno.trim_end_matches(')'));
    match (errno, last) {
        (Some(errno), _) => wasip2_name(errno.parse().unwrap()),
        (None, "") => framed.kind().to_owned(),
        (None, last) => last.trim_start_matches("error: ").to_owned(),
    }
}

/// Translates an error number of preview 1 to the name in 0.2.
fn wasip2_name(errno: u64) -> String {
    let wasip2_name = match errno {
        0 => "ok",
        2 => "access",
        19 => "quota",
        20 => "exist",
        25 => "illegal-byte-sequence",
        28 => "invalid",
        31 => "is-directory",
        32 => "loop",
        37 => "name-too-long",
        44 => "no-entry",
        48 => "insufficient-memory",
        51 => "insufficient-space",
        54 => "not-directory",
        55 => "not-empty",
        60 => "no-such-device",
        61 => "overflow",
        63 => "not-permitted",
        75 => "cross-device",
        other => return format!("errno {other}"),
    };
    wasip2_name.to_owned()
}

/// A mount `work` next to a directory `outside` that must not be touched.
pub(crate) struct EscapeFixture {
    pub(crate) mounts: MountFixture,
    /// The additional policy of the runs.
    requested: Value,
    before: Vec<String>,
}

impl EscapeFixture {
    pub(crate) async fn new() -> Self {
        Self::asking(json!({})).await
    }

    /// Like `new`, with an additional policy for the runs.
    pub(crate) async fn asking(requested: Value) -> Self {
        let mounts = MountFixture::new().await;
        mounts.client.push("raw", guests::escapes::RAW_PATH).await;
        fs::create_dir(mounts.path("outside")).unwrap();
        fs::write(mounts.path("outside/secret"), "secret").unwrap();
        // On most file systems, reading a file updates its access time only if that is older than its modification time. So set it to the past.
        let times = FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH);
        File::options().write(true).open(mounts.path("outside/secret")).unwrap().set_times(times).unwrap();
        let before = snapshot(&mounts.path("outside"));
        let fixture = Self { mounts, requested, before };
        fixture.reset();
        fixture
    }

    /// Recreates the content of the mount.
    fn reset(&self) {
        for entry in fs::read_dir(self.mounts.path("work")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            } else {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        fs::create_dir(self.mounts.path("work/sub")).unwrap();
        fs::write(self.mounts.path("work/inside"), "inside").unwrap();
        fs::write(self.mounts.path("work/sub/file"), "file").unwrap();
    }

    /// Makes a call with this path through preview 1 or 0.2 and returns its result.
    pub(crate) async fn call(&self, probe: &str, call: &str, path: &[u8]) -> String {
        // The last letter is for a call that only sets another time.
        let number = CALLS.iter().position(|known| *known == call).unwrap_or(CALLS.len());
        let run = if probe == "probe.p1" {
            let letter = char::from(b'a' + u8::try_from(number).unwrap());
            self.mounts.call("raw", &self.requested, &[&letter.to_string()])
        } else {
            self.mounts.call(probe, &self.requested, &["raw", call, "/work"])
        };
        let framed = run.body(path.to_vec()).send().await.frames();
        match framed.outcome()["code"].as_u64() {
            Some(code) if probe == "probe.p1" => wasip2_name(code),
            _ => result_of(&framed),
        }
    }

    /// Checks that nothing in `outside` has changed.
    #[track_caller]
    pub(crate) fn check(&self, what: &str) {
        assert_eq!(snapshot(&self.mounts.path("outside")), self.before, "{what}");
    }
}

/// Describes the entries of a directory without reading the files.
pub(crate) fn snapshot(folder: &Path) -> Vec<String> {
    let mut seen: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let there = entry.metadata().unwrap();
            let times = [there.atime(), there.mtime(), there.mtime_nsec(), there.ctime(), there.ctime_nsec()];
            format!(
                "{:?} {:o} {} links, {} bytes {times:?}",
                entry.file_name(),
                there.mode(),
                there.nlink(),
                there.size()
            )
        })
        .collect();
    seen.sort();
    seen
}

/// Collects the unexpected results of all calls.
#[derive(Default)]
struct Unexpected(Vec<String>);

impl Unexpected {
    fn compare(&mut self, what: &str, reported: &str, expected: &str) {
        if reported != expected {
            self.0.push(format!("{what}: {reported} instead of {expected}"));
        }
    }
}

impl Drop for Unexpected {
    fn drop(&mut self) {
        assert!(self.0.is_empty() || std::thread::panicking(), "{:#?}", self.0);
    }
}

#[tokio::test]
async fn raw_path() {
    let mut fixture = EscapeFixture::new().await;
    let mut unexpected = Unexpected::default();
    let absolute = fixture.mounts.path("outside/secret").to_str().unwrap().to_owned();
    let long_name = "a".repeat(256);
    for (path, expected) in [
        ("../outside/secret", "not-permitted"),
        ("./../outside/secret", "not-permitted"),
        ("sub/../../outside/secret", "not-permitted"),
        ("sub/./.././../outside/secret", "not-permitted"),
        ("../outside/secret/", "not-permitted"),
        ("../work/inside", "not-permitted"),
        ("/outside/secret", "not-permitted"),
        ("//inside", "not-permitted"),
        (&absolute, "not-permitted"),
        ("..", "not-permitted"),
        ("../", "not-permitted"),
        ("../../../../../../../../etc/passwd", "not-permitted"),
        ("nowhere/../../outside/secret", "no-entry"),
        ("inside/../../outside/secret", "not-directory"),
        ("", "no-entry"),
        ("in\0side", "invalid"),
        ("inside\0", "invalid"),
        ("\0", "invalid"),
        (&long_name, "name-too-long"),
    ] {
        for probe in PROBES {
            for call in CALLS {
                let what = format!("{probe} {call} {path:?}");
                unexpected.compare(&what, &fixture.call(probe, call, path.as_bytes()).await, expected);
                fixture.check(&what);
            }
        }
    }
    let very_long = "a/".repeat(8 << 20);
    for call in CALLS {
        // The path is longer than the host copies per call. Preview 1 leaves the length check of one call to the kernel.
        let expected = if call == "unlink" { "name-too-long" } else { "insufficient-memory" };
        unexpected.compare(call, &fixture.call(PROBES[0], call, very_long.as_bytes()).await, expected);
        unexpected.compare(call, &fixture.call(PROBES[1], call, very_long.as_bytes()).await, "name-too-long");
        // Strings in 0.2 are UTF-8 by definition.
        unexpected.compare(call, &fixture.call(PROBES[0], call, b"\xff\xfe").await, "illegal-byte-sequence");
    }
    assert_eq!(fs::read_to_string(fixture.mounts.path("work/inside")).unwrap(), "inside");
    assert_eq!(fs::read_dir(fixture.mounts.path("work")).unwrap().count(), 2, "nothing may be created or removed");
    oracle::still_answers(&mut fixture.mounts.daemon).await;
}

#[tokio::test]
async fn unusual_paths_inside_the_mount_behave_like_in_the_kernel() {
    let mut fixture = EscapeFixture::new().await;
    let mut unexpected = Unexpected::default();
    let calls = ["open", "stat", "mkdir", "unlink"];
    for (path, expected) in [
        (".", ["ok", "ok", "exist", "is-directory"]),
        ("./././inside", ["ok", "ok", "exist", "ok"]),
        ("sub//file", ["ok", "ok", "exist", "ok"]),
        ("sub/../inside", ["ok", "ok", "exist", "ok"]),
        ("inside/", ["not-directory", "not-directory", "exist", "not-directory"]),
        ("sub/", ["ok", "ok", "exist", "is-directory"]),
        ("sub/.", ["ok", "ok", "exist", "is-directory"]),
        ("ü", ["no-entry", "no-entry", "ok", "no-entry"]),
    ] {
        for probe in PROBES {
            for (call, expected) in calls.into_iter().zip(expected) {
                let reported = fixture.call(probe, call, path.as_bytes()).await;
                unexpected.compare(&format!("{probe} {call} {path:?}"), &reported, expected);
                fixture.reset();
            }
        }
    }
    oracle::still_answers(&mut fixture.mounts.daemon).await;
}

/// The position of a symlink in a path.
#[derive(Clone, Copy)]
enum Position {
    /// The symlink is the last component.
    Last,
    /// The symlink is the last component and has an absolute target.
    AbsoluteLast,
    /// The symlink is the last component and a slash follows.
    LastWithSlash,
    /// The symlink is in the middle of the path.
    Middle,
}

impl Position {
    /// Returns the expected result of a call if following the symlink results in `followed`.
    fn expected(self, call: &str, followed: &'static str) -> &'static str {
        match (self, call) {
            (Self::Middle, _) => followed,
            (_, "stat-nofollow") => "ok",
            (_, "mkdir") => "exist",
            (Self::LastWithSlash, "rename-from" | "rename-to") => "not-directory",
            (Self::LastWithSlash, _)
            | (_, "open" | "create" | "truncate" | "open-directory" | "stat" | "set-times") => followed,
            (_, "open-nofollow") => "loop",
            // The target is not revealed.
            (Self::AbsoluteLast, "readlink") => "not-permitted",
            (_, "symlink" | "link-to") => "exist",
            (_, "rmdir") => "not-directory",
            // These calls read, remove, link, move or replace the symlink itself.
            _ => "ok",
        }
    }
}

#[tokio::test]
async fn symlinks_made_by_the_host_do_not_lead_outside() {
    let mut fixture = EscapeFixture::new().await;
    let mut unexpected = Unexpected::default();
    let outside = fixture.mounts.path("outside").to_str().unwrap().to_owned();
    let mut links = vec![
        ("file".to_owned(), "../outside/secret".to_owned()),
        ("directory".into(), "../outside".into()),
        ("new".into(), "../outside/new".into()),
        ("up".into(), "..".into()),
        ("absolute".into(), outside.clone()),
        ("loop".into(), "loop".into()),
        ("one".into(), "other".into()),
        ("other".into(), "one".into()),
        ("stdin".into(), "/dev/stdin".into()),
        ("descriptor".into(), "/proc/self/fd/0".into()),
    ];
    // The limit is forty symlinks.
    links.extend((0..41).map(|number| (format!("chain{number}"), format!("chain{}", number + 1))));
    links.push(("chain41".into(), "../outside/secret".into()));
    let make = |fixture: &EscapeFixture| {
        fixture.reset();
        links.iter().for_each(|(name, target)| symlink(target, fixture.mounts.path("work").join(name)).unwrap());
    };
    make(&fixture);
    for (path, by, followed) in [
        ("file", Position::Last, "not-permitted"),
        ("directory", Position::Last, "not-permitted"),
        ("new", Position::Last, "not-permitted"),
        ("up", Position::Last, "not-permitted"),
        ("chain36", Position::Last, "not-permitted"),
        ("absolute", Position::AbsoluteLast, "not-permitted"),
        ("stdin", Position::AbsoluteLast, "not-permitted"),
        ("descriptor", Position::AbsoluteLast, "not-permitted"),
        ("loop", Position::Last, "loop"),
        ("one", Position::Last, "loop"),
        ("chain0", Position::Last, "loop"),
        ("file/", Position::LastWithSlash, "not-permitted"),
        ("directory/", Position::LastWithSlash, "not-permitted"),
        ("loop/", Position::LastWithSlash, "loop"),
        ("directory/secret", Position::Middle, "not-permitted"),
        ("directory/new", Position::Middle, "not-permitted"),
        ("directory/../outside/secret", Position::Middle, "not-permitted"),
        ("up/outside/secret", Position::Middle, "not-permitted"),
        ("up/work/inside", Position::Middle, "not-permitted"),
        ("absolute/secret", Position::Middle, "not-permitted"),
        ("loop/x", Position::Middle, "loop"),
    ] {
        for probe in PROBES {
            for call in CALLS {
                let (what, reported) =
                    (format!("{probe} {call} {path}"), fixture.call(probe, call, path.as_bytes()).await);
                unexpected.compare(&what, &reported, by.expected(call, followed));
                fixture.check(&what);
                if reported == "ok" {
                    make(&fixture);
                }
            }
        }
    }
    oracle::still_answers(&mut fixture.mounts.daemon).await;
}

#[tokio::test]
async fn symlinks_made_by_guests_do_not_lead_outside() {
    let mut fixture = EscapeFixture::new().await;
    let secret = fixture.mounts.path("outside/secret").to_str().unwrap().to_owned();
    for (maker, other) in [(PROBES[0], PROBES[1]), (PROBES[1], PROBES[0])] {
        let run_probe = async |probe: &str, args: &[&str]| result_of(&fixture.mounts.run(probe, json!({}), args).await);
        assert_eq!(run_probe(maker, &["symlink", &secret, "/work/absolute"]).await, "not-permitted");
        assert_eq!(run_probe(maker, &["symlink", "../outside/secret", "/work/file"]).await, "ok");
        assert_eq!(run_probe(maker, &["symlink", "../outside", "/work/directory"]).await, "ok");
        assert_eq!(run_probe(maker, &["symlink", "loop", "/work/loop"]).await, "ok");
        for probe in [maker, other] {
            for (args, code) in [
                (&["read", "/work/file"][..], "not-permitted"),
                (&["at", "/work/file", "0", "x"], "not-permitted"),
                (&["put", "/work/directory/new", "1", "1"], "not-permitted"),
                (&["mkdir", "/work/directory/new"], "not-permitted"),
                (&["link", "/work/inside", "/work/directory/new"], "not-permitted"),
                (&["link", "/work/directory/secret", "/work/mine"], "not-permitted"),
                (&["rename", "/work/inside", "/work/directory/new"], "not-permitted"),
                (&["rename", "/work/directory/secret", "/work/mine"], "not-permitted"),
                (&["remove", "/work/directory/secret"], "not-permitted"),
                (&["read", "/work/loop"], "loop"),
            ] {
                assert_eq!(run_probe(probe, args).await, code, "{probe} {args:?}");
                fixture.check(&format!("{probe} {args:?}"));
            }
        }
        fixture.reset();
    }
    oracle::still_answers(&mut fixture.mounts.daemon).await;
}

#[tokio::test]
async fn read_only_handle() {
    let mut fixture = EscapeFixture::new().await;
    fixture.mounts.client.push("reader", guests::escapes::READ_ONLY_HANDLE).await;
    let before = snapshot(&fixture.mounts.path("work"));
    let requested = json!({"mounts": [{"name": "work", "access": "ro"}]});
    fixture.mounts.run("reader", requested, &[]).await.assert_outcome("exited", 0);
    assert_eq!(snapshot(&fixture.mounts.path("work")), before);
    oracle::still_answers(&mut fixture.mounts.daemon).await;
}

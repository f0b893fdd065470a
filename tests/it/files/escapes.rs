//! Ways out of a mount: odd paths and symlinks, by every call that takes a path, of preview 1 and of 0.2. Nothing outside is ever touched.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::time::SystemTime;

use capstan_tests::frames::Framed;
use capstan_tests::{foreach_guest, guests};
use serde_json::{Value, json};

use crate::files::disk::Granting;
use crate::{PROBES, oracle};

foreach_guest!(escapes, tested);

/// Every call that takes a path, as the probe for 0.2 knows it; the guest for preview 1 knows it by its letter, in this order.
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

/// What a call came to, in the words of 0.2.
pub(crate) fn told(framed: &Framed) -> String {
    let text = String::from_utf8_lossy(&framed.stdout);
    let last = text.lines().last().unwrap_or_default();
    let errno = last.rsplit_once("(os error ").map(|(_, errno)| errno.trim_end_matches(')'));
    match (errno, last) {
        (Some(errno), _) => word(errno.parse().unwrap()),
        (None, "") => framed.kind().to_owned(),
        (None, last) => last.trim_start_matches("error: ").to_owned(),
    }
}

/// The word of 0.2 for an error of preview 1.
fn word(errno: u64) -> String {
    let word = match errno {
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
    word.to_owned()
}

/// A mount `work` beside a folder `outside` that must not be touched.
pub(crate) struct Ground {
    pub(crate) granting: Granting,
    /// What is asked for beside the mount.
    asked: Value,
    before: Vec<String>,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        Self::asking(json!({})).await
    }

    /// The same for runs that ask for this.
    pub(crate) async fn asking(asked: Value) -> Self {
        let granting = Granting::new().await;
        granting.client.push("raw", guests::escapes::RAW_PATH).await;
        fs::create_dir(granting.path("outside")).unwrap();
        fs::write(granting.path("outside/secret"), "secret").unwrap();
        // A time of access that lies before that of the last change is renewed when a file is read, on most file systems.
        let times = FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH);
        File::options().write(true).open(granting.path("outside/secret")).unwrap().set_times(times).unwrap();
        let before = look(&granting.path("outside"));
        let ground = Self { granting, asked, before };
        ground.reset();
        ground
    }

    /// Makes the mount anew.
    fn reset(&self) {
        for entry in fs::read_dir(self.granting.path("work")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            } else {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        fs::create_dir(self.granting.path("work/sub")).unwrap();
        fs::write(self.granting.path("work/inside"), "inside").unwrap();
        fs::write(self.granting.path("work/sub/file"), "file").unwrap();
    }

    /// Makes a call with this path by preview 1 or by 0.2, and tells what it came to.
    pub(crate) async fn call(&self, probe: &str, call: &str, path: &[u8]) -> String {
        // The one that is no more than another time comes last.
        let number = CALLS.iter().position(|known| *known == call).unwrap_or(CALLS.len());
        let run = if probe == "probe.p1" {
            let letter = char::from(b'a' + u8::try_from(number).unwrap());
            self.granting.call("raw", &self.asked, &[&letter.to_string()])
        } else {
            self.granting.call(probe, &self.asked, &["raw", call, "/work"])
        };
        let framed = run.body(path.to_vec()).send().await.frames();
        match framed.outcome()["code"].as_u64() {
            Some(code) if probe == "probe.p1" => word(code),
            _ => told(&framed),
        }
    }

    /// What stands in `outside` is as it was.
    #[track_caller]
    pub(crate) fn check(&self, what: &str) {
        assert_eq!(look(&self.granting.path("outside")), self.before, "{what}");
    }
}

/// What is in a folder, without reading any of it.
pub(crate) fn look(folder: &Path) -> Vec<String> {
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

/// What each call that was not as expected has come to.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn compare(&mut self, what: &str, told: &str, expected: &str) {
        if told != expected {
            self.0.push(format!("{what}: {told} and not {expected}"));
        }
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        assert!(self.0.is_empty() || std::thread::panicking(), "{:#?}", self.0);
    }
}

#[tokio::test]
async fn raw_path() {
    let mut ground = Ground::new().await;
    let mut wrong = Wrong::default();
    let absolute = ground.granting.path("outside/secret").to_str().unwrap().to_owned();
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
                wrong.compare(&what, &ground.call(probe, call, path.as_bytes()).await, expected);
                ground.check(&what);
            }
        }
    }
    let very_long = "a/".repeat(8 << 20);
    for call in CALLS {
        // More than the host copies in a call; but for one, of which preview 1 leaves the length to the kernel.
        let expected = if call == "unlink" { "name-too-long" } else { "insufficient-memory" };
        wrong.compare(call, &ground.call(PROBES[0], call, very_long.as_bytes()).await, expected);
        wrong.compare(call, &ground.call(PROBES[1], call, very_long.as_bytes()).await, "trapped");
        // Texts of 0.2 are UTF-8 by their type.
        wrong.compare(call, &ground.call(PROBES[0], call, b"\xff\xfe").await, "illegal-byte-sequence");
    }
    assert_eq!(fs::read_to_string(ground.granting.path("work/inside")).unwrap(), "inside");
    assert_eq!(fs::read_dir(ground.granting.path("work")).unwrap().count(), 2, "nothing was made or removed");
    oracle::still_answers(&mut ground.granting.daemon).await;
}

#[tokio::test]
async fn odd_paths_that_stay_inside_are_what_they_are_to_the_kernel() {
    let mut ground = Ground::new().await;
    let mut wrong = Wrong::default();
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
                let told = ground.call(probe, call, path.as_bytes()).await;
                wrong.compare(&format!("{probe} {call} {path:?}"), &told, expected);
                ground.reset();
            }
        }
    }
    oracle::still_answers(&mut ground.granting.daemon).await;
}

/// How a path has to do with a symlink.
#[derive(Clone, Copy)]
enum By {
    /// It is its last part.
    End,
    /// The same, and the symlink is to an absolute path.
    AbsoluteEnd,
    /// The same with a slash behind it.
    Slash,
    /// It leads through it.
    Way,
}

impl By {
    /// What a call has to come to where following the symlink comes to `followed`.
    fn expected(self, call: &str, followed: &'static str) -> &'static str {
        match (self, call) {
            (Self::Way, _) => followed,
            (_, "stat-nofollow") => "ok",
            (_, "mkdir") => "exist",
            (Self::Slash, "rename-from" | "rename-to") => "not-directory",
            (Self::Slash, _) | (_, "open" | "create" | "truncate" | "open-directory" | "stat" | "set-times") => {
                followed
            }
            (_, "open-nofollow") => "loop",
            // Where it leads to is not told.
            (Self::AbsoluteEnd, "readlink") => "not-permitted",
            (_, "symlink" | "link-to") => "exist",
            (_, "rmdir") => "not-directory",
            // The symlink itself is read, removed, linked, moved and replaced.
            _ => "ok",
        }
    }
}

#[tokio::test]
async fn symlinks_of_the_host_lead_nowhere_outside() {
    let mut ground = Ground::new().await;
    let mut wrong = Wrong::default();
    let outside = ground.granting.path("outside").to_str().unwrap().to_owned();
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
    // Forty are followed, and no more.
    links.extend((0..41).map(|number| (format!("chain{number}"), format!("chain{}", number + 1))));
    links.push(("chain41".into(), "../outside/secret".into()));
    let make = |ground: &Ground| {
        ground.reset();
        links.iter().for_each(|(name, target)| symlink(target, ground.granting.path("work").join(name)).unwrap());
    };
    make(&ground);
    for (path, by, followed) in [
        ("file", By::End, "not-permitted"),
        ("directory", By::End, "not-permitted"),
        ("new", By::End, "not-permitted"),
        ("up", By::End, "not-permitted"),
        ("chain36", By::End, "not-permitted"),
        ("absolute", By::AbsoluteEnd, "not-permitted"),
        ("stdin", By::AbsoluteEnd, "not-permitted"),
        ("descriptor", By::AbsoluteEnd, "not-permitted"),
        ("loop", By::End, "loop"),
        ("one", By::End, "loop"),
        ("chain0", By::End, "loop"),
        ("file/", By::Slash, "not-permitted"),
        ("directory/", By::Slash, "not-permitted"),
        ("loop/", By::Slash, "loop"),
        ("directory/secret", By::Way, "not-permitted"),
        ("directory/new", By::Way, "not-permitted"),
        ("directory/../outside/secret", By::Way, "not-permitted"),
        ("up/outside/secret", By::Way, "not-permitted"),
        ("up/work/inside", By::Way, "not-permitted"),
        ("absolute/secret", By::Way, "not-permitted"),
        ("loop/x", By::Way, "loop"),
    ] {
        for probe in PROBES {
            for call in CALLS {
                let (what, told) = (format!("{probe} {call} {path}"), ground.call(probe, call, path.as_bytes()).await);
                wrong.compare(&what, &told, by.expected(call, followed));
                ground.check(&what);
                if told == "ok" {
                    make(&ground);
                }
            }
        }
    }
    oracle::still_answers(&mut ground.granting.daemon).await;
}

#[tokio::test]
async fn symlinks_that_guests_make_lead_nowhere_outside() {
    let mut ground = Ground::new().await;
    let secret = ground.granting.path("outside/secret").to_str().unwrap().to_owned();
    for (maker, other) in [(PROBES[0], PROBES[1]), (PROBES[1], PROBES[0])] {
        let ask = async |probe: &str, args: &[&str]| told(&ground.granting.ask(probe, json!({}), args).await);
        assert_eq!(ask(maker, &["symlink", &secret, "/work/absolute"]).await, "not-permitted");
        assert_eq!(ask(maker, &["symlink", "../outside/secret", "/work/file"]).await, "ok");
        assert_eq!(ask(maker, &["symlink", "../outside", "/work/directory"]).await, "ok");
        assert_eq!(ask(maker, &["symlink", "loop", "/work/loop"]).await, "ok");
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
                assert_eq!(ask(probe, args).await, code, "{probe} {args:?}");
                ground.check(&format!("{probe} {args:?}"));
            }
        }
        ground.reset();
    }
    oracle::still_answers(&mut ground.granting.daemon).await;
}

#[tokio::test]
async fn read_only_handle() {
    let mut ground = Ground::new().await;
    ground.granting.client.push("reader", guests::escapes::READ_ONLY_HANDLE).await;
    let before = look(&ground.granting.path("work"));
    let asked = json!({"mounts": [{"name": "work", "access": "ro"}]});
    ground.granting.ask("reader", asked, &[]).await.ended("exited", 0);
    assert_eq!(look(&ground.granting.path("work")), before);
    oracle::still_answers(&mut ground.granting.daemon).await;
}

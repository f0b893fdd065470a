use std::sync::Arc;

use cap_std::fs::Dir;

use super::intersect::{is_within_grants, is_within_limits};
use super::*;
use crate::feature::Feature;
use crate::limits::Overflow;
use crate::mount::{Access, Quota};

/// A ceiling that has the mounts `mounts` and passes on the variables `env`.
fn ceiling(mounts: &[(&str, Access)], env: &[&str]) -> Ceiling {
    let folder = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap());
    let mount =
        |access| Mount { dir: dir.clone(), file: None, guest_path: String::new(), access, quota: Quota::ENDLESS };
    let mut values = Env::new();
    for name in env {
        values.set(*name, "value").unwrap();
    }
    let mounts = mounts.iter().map(|(name, access)| ((*name).to_owned(), mount(*access))).collect();
    Ceiling { mounts, env: values, ..Ceiling::default() }
}

fn granted(name: &str, guest: &str, access: Access) -> MountGrant {
    MountGrant { name: Some(name.into()), path: None, guest: guest.into(), access, disk: None, files: None }
}

fn asked(toml: &str) -> PolicyRequest {
    toml::from_str(toml).unwrap()
}

fn judged(ceiling: &Ceiling, manifest: &str, caller: &str) -> Judgement {
    ceiling.judge("wc", &asked(manifest), &asked(caller))
}

#[test]
fn what_nobody_asks_for_is_the_ceilings_limits_and_no_grant() {
    let ceiling = ceiling(&[("data", Access::ReadWrite)], &["TZ"]);
    let Judgement { policy, findings } = judged(&ceiling, "", "");
    assert_eq!(policy, Policy { limits: Limits::default(), ..Policy::default() });
    assert_eq!(findings, []);
}

#[test]
fn each_may_take_away() {
    let manifest =
        "memory = \"64MiB\"\ntimeout = 10\npass_env = [\"TZ\", \"LANG\"]\n[[mounts]]\nname = \"data\"\naccess = \"rw\"";
    let caller = "timeout = 5\ncpu = 1\npass_env = [\"TZ\"]\n[[mounts]]\nname = \"data\"\nguest = \"/in\"";
    let ceiling = ceiling(&[("data", Access::ReadWrite)], &["TZ", "LANG"]);
    let policy = judged(&ceiling, manifest, caller).allowed().unwrap();
    assert_eq!((policy.limits.memory, policy.limits.timeout), (64 << 20, Duration::from_secs(5)));
    assert_eq!(policy.limits.cpu, Some(Duration::from_secs(1)));
    assert_eq!(policy.pass_env, ["TZ"]);
    assert_eq!(policy.mounts, [granted("data", "/in", Access::ReadOnly)]);
    let Grants { mounts, env, .. } = ceiling.grants(&policy).unwrap();
    assert_eq!((mounts[0].guest_path.as_str(), mounts[0].access), ("/in", Access::ReadOnly));
    assert_eq!(env.iter().collect::<Vec<_>>(), [("TZ", "value")]);
    let without = judged(&ceiling, manifest, "mounts = []\npass_env = []").allowed().unwrap();
    assert!(without.mounts.is_empty() && without.pass_env.is_empty());
}

#[test]
fn a_limit_beyond_what_stands_above_is_clamped_and_told() {
    let Judgement { policy, findings } = judged(&Ceiling::default(), "memory = \"1GiB\"", "memory = \"2GiB\"");
    assert_eq!(policy.limits.memory, 256 << 20);
    let told: Vec<_> = findings.iter().map(|finding| (finding.by, finding.verdict, finding.to_string())).collect();
    let rule =
        |by: &str, asked: &str, above: &str| format!("memory {asked} of the {by}: the {above}'s memory is 256.0 MiB");
    assert_eq!(
        told,
        [
            (Source::Manifest, Verdict::Clamped, rule("manifest", "1.0 GiB", "operator")),
            (Source::Caller, Verdict::Clamped, rule("caller", "2.0 GiB", "manifest")),
        ]
    );
}

/// Each limit by itself: who asks for more than the manifest did is told of the manifest, and of the operator where it has none.
#[test]
fn a_limit_is_told_to_be_of_who_set_it() {
    let ceiling = Ceiling::of(Limits::default().replaced(&asked(
        "timeout = 5\ncpu = 5\nmemory = 5\nhandles = 5\nstdout = 5\nstderr = 5\ndisk = 5\nfiles = 5\nconnections = 5\ntraffic = 5\n\
         concurrency = 5\nconcurrency_per_key = 5\nfuel = 5\nclock = \"fixed\"\nrandom = { seed = 5 }",
    )));
    for (key, unit) in [
        ("timeout", "s"),
        ("cpu", "s"),
        ("memory", " B"),
        ("handles", ""),
        ("stdout", " B"),
        ("stderr", " B"),
        ("disk", " B"),
        ("files", ""),
        ("connections", ""),
        ("traffic", " B"),
        ("concurrency", ""),
        ("concurrency_per_key", ""),
        ("fuel", ""),
    ] {
        let told = |manifest: &str| judged(&ceiling, manifest, &format!("{key} = 9")).findings;
        let [finding] = &told("")[..] else { panic!("{key}: {:?}", told("")) };
        assert_eq!(finding.to_string(), format!("{key} 9{unit} of the caller: the operator's {key} is 5{unit}"));
        assert_eq!(finding.granted.as_deref(), Some(format!("5{unit}").as_str()));
        let [finding] = &told(&format!("{key} = 4"))[..] else { panic!("{key}") };
        assert_eq!(finding.to_string(), format!("{key} 9{unit} of the caller: the manifest's {key} is 4{unit}"));
        let none = judged(&ceiling, &format!("{key} = 5"), &format!("{key} = 5")).findings;
        assert_eq!(none, [], "as much as there is is no excess");
    }
    for (key, said) in [("clock", "\"real\""), ("random", "\"real\"")] {
        let caller = format!("{key} = {said}");
        let operators = judged(&ceiling, "", &caller).findings;
        assert!(operators[0].rule.starts_with(&format!("the operator's {key} is ")), "{operators:?}");
        let manifest = if key == "clock" { "clock = \"fixed\"" } else { "random = \"seeded\"" };
        let manifests = judged(&ceiling, manifest, &caller).findings;
        assert!(manifests[0].rule.starts_with(&format!("the manifest's {key} is ")), "{manifests:?}");
    }
    let choice = judged(&ceiling, "output = \"stop\"", "memory = 9").findings;
    assert!(choice[0].rule.starts_with("the operator's memory"), "a choice is no limit: {choice:?}");
}

#[test]
fn all_that_is_denied_is_told_in_one_line() {
    let caller =
        "memory = \"1GiB\"\npass_env = [\"HOME\", \"USER\"]\n[[mounts]]\npath = \"/x\"\naccess = \"rw\"\n[[mounts]]\n";
    let denied = judged(&Ceiling::default(), "", caller).allowed().unwrap_err().to_string();
    let pass = "the operator does not pass it on, or does not have it";
    assert_eq!(
        denied,
        format!(
            "mounts /x (rw) of the caller: the operator allows no path like it; mounts a mount (ro) of the caller: a mount has a `name` \
             or a `path`, and not both; pass_env HOME of the caller: {pass}; pass_env USER of the caller: {pass}"
        ),
        "what is clamped denies nothing"
    );
}

#[test]
fn a_grant_that_is_not_there_is_denied_with_its_rule() {
    let ceiling = ceiling(&[("data", Access::ReadOnly), ("logs", Access::ReadWrite)], &["TZ"]);
    for (manifest, caller, rule) in [
        ("", "[[mounts]]\nname = \"other\"", "no mount of this name"),
        ("", "[[mounts]]\nname = \"data\"\naccess = \"rw\"", "for reading only"),
        ("[[mounts]]\nname = \"data\"", "[[mounts]]\nname = \"logs\"", "the manifest does without it"),
        ("mounts = []", "[[mounts]]\nname = \"data\"", "the manifest does without it"),
        ("", "pass_env = [\"HOME\"]", "does not pass it on"),
        ("pass_env = []", "pass_env = [\"TZ\"]", "the manifest does without it"),
    ] {
        let denied = judged(&ceiling, manifest, caller).allowed().expect_err(caller);
        assert!(denied.to_string().contains(rule), "{manifest} {caller}: {denied}");
    }
}

#[test]
fn a_manifest_that_asks_for_too_much_is_clamped_or_refused_as_the_operator_says() {
    let manifest = "memory = \"1GiB\"\npass_env = [\"HOME\"]\n[[mounts]]\nname = \"other\"";
    let clamping = ceiling(&[], &[]);
    let judgement = judged(&clamping, manifest, "");
    assert_eq!(judgement.findings.len(), 3);
    let policy = judgement.allowed().unwrap();
    assert!(policy.mounts.is_empty() && policy.pass_env.is_empty());
    let refusing = Ceiling { excess: Excess::Refuse, ..clamping };
    let Denied(findings) = judged(&refusing, manifest, "").allowed().unwrap_err();
    assert!(findings.iter().all(|finding| finding.by == Source::Manifest && finding.verdict == Verdict::Denied));
}

/// Every combination of a small world: what comes out is never wider than what any of the three said.
#[test]
fn the_result_is_never_wider_than_any_source() {
    let grants = [
        "",
        "mounts = []",
        "[[mounts]]\nname = \"a\"",
        "[[mounts]]\nname = \"a\"\naccess = \"rw\"",
        "[[mounts]]\nname = \"a\"\ndisk = 1\n[[mounts]]\nname = \"b\"\naccess = \"rw\"",
    ];
    let limits = [
        "",
        "cpu = 1\nstdout = 1\ndisk = 2\ntraffic = 2",
        "cpu = 2\nstdout = 0\nscratch = 1\nconnections = 1",
        "cpu = 3\nfiles = 1\nscratch = 0\nconnections = 2\ntraffic = 1",
    ];
    let said: Vec<PolicyRequest> =
        limits.iter().flat_map(|limits| grants.map(|grants| asked(&format!("{limits}\n{grants}")))).collect();
    let within =
        |policy: &Policy, asked: &PolicyRequest| is_within_limits(policy, asked) && is_within_grants(policy, asked);
    for of_operator in [
        &[][..],
        &[("a", Access::ReadOnly)],
        &[("a", Access::ReadWrite)],
        &[("a", Access::ReadWrite), ("b", Access::ReadOnly)],
    ] {
        let mut ceiling = ceiling(of_operator, &[]);
        for cpu in [None, Some(2)] {
            ceiling.limits.cpu = cpu.map(Duration::from_secs);
            for (manifest, caller) in said.iter().flat_map(|manifest| said.iter().map(move |caller| (manifest, caller)))
            {
                let policy = ceiling.judge("wc", manifest, caller).policy;
                assert!(within(&policy, manifest) && within(&policy, caller), "{policy:?}: {manifest:?} {caller:?}");
                assert!(
                    policy.scratch <= ceiling.scratch
                        && (policy.scratch == 0 || manifest.scratch.or(caller.scratch).is_some())
                );
                assert!(ceiling.limits.cpu.is_none_or(|most| policy.limits.cpu.is_some_and(|own| own <= most)));
                for grant in &policy.mounts {
                    assert!(
                        ceiling
                            .mounts
                            .get(grant.name.as_ref().unwrap())
                            .is_some_and(|mount| mount.access >= grant.access)
                    );
                }
            }
        }
    }
}

#[test]
fn a_scratch_directory_is_for_who_asks_and_no_larger_than_allowed() {
    let ceiling = Ceiling::default();
    let scratch = |manifest, caller| judged(&ceiling, manifest, caller).allowed().unwrap().scratch;
    assert_eq!(scratch("", ""), 0);
    assert_eq!(scratch("scratch = 5", ""), 5);
    assert_eq!(scratch("", "scratch = 5"), 5);
    assert_eq!(scratch("scratch = 5", "scratch = 9"), 5);
    assert_eq!(scratch("scratch = 5", "scratch = 0"), 0);
    let Judgement { policy, findings } = judged(&ceiling, "", "scratch = \"1GiB\"");
    assert_eq!((policy.scratch, findings[0].key), (64 << 20, "scratch"));
    let told = |manifest, caller| judged(&ceiling, manifest, caller).findings[0].rule.clone();
    assert_eq!(told("", "scratch = \"1GiB\""), "the operator's scratch is 64.0 MiB");
    assert_eq!(told("scratch = 5", "scratch = 9"), "the manifest's scratch is 5 B");
    assert_eq!(told("scratch = \"1GiB\"", ""), "the operator's scratch is 64.0 MiB");
}

#[test]
fn a_scratch_directory_is_where_the_daemon_has_a_place_for_it() {
    let nowhere = Ceiling::default();
    let policy = judged(&nowhere, "", "scratch = 5").allowed().unwrap();
    assert_eq!(nowhere.grants(&policy).unwrap_err().to_string(), "scratch 5 B of the caller: there is no place for it");
    let folder = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap());
    let somewhere = Ceiling { scratch_folder: Some(dir), ..nowhere };
    assert_eq!(somewhere.grants(&policy).unwrap().scratch.map(|scratch| scratch.bytes), Some(5));
    assert!(somewhere.grants(&Policy::default()).unwrap().scratch.is_none());
}

#[test]
fn the_room_of_a_mount_is_the_least_of_what_the_three_say() {
    let mut ceiling = ceiling(&[("a", Access::ReadWrite), ("b", Access::ReadWrite)], &[]);
    ceiling.mounts.get_mut("a").unwrap().quota = Quota { bytes: 100, files: 10 };
    let room = |manifest: &str, caller: &str| {
        let judgement = judged(&ceiling, manifest, caller);
        let grant = &judgement.policy.mounts[0];
        (grant.disk, grant.files, judgement.findings.len())
    };
    let a = "[[mounts]]\nname = \"a\"\naccess = \"rw\"\n";
    assert_eq!(room(a, ""), (Some(100), Some(10), 0));
    assert_eq!(room("", &format!("{a}disk = 50")), (Some(50), Some(10), 0));
    assert_eq!(room(&format!("{a}disk = 70\nfiles = 1"), &format!("{a}disk = 80")), (Some(70), Some(1), 1));
    assert_eq!(room(&format!("{a}disk = 700"), a), (Some(100), Some(10), 1));
    assert_eq!(room("", "[[mounts]]\nname = \"b\""), (None, None, 0));
    assert_eq!(room("", &format!("{a}disk = 100\nfiles = 10")), (Some(100), Some(10), 0), "all that there is");
}

#[test]
fn mounts_are_apart_from_each_other_and_have_one_source() {
    let ceiling = ceiling(&[("a", Access::ReadWrite), ("b", Access::ReadWrite)], &[]);
    for (caller, rule) in [
        ("[[mounts]]\nname = \"a\"\n[[mounts]]\nname = \"b\"\nguest = \"/a\"", "there twice"),
        ("[[mounts]]\nname = \"a\"\n[[mounts]]\nname = \"b\"\nguest = \"/a/b\"", "is a mount itself"),
        (
            "[[mounts]]\nname = \"a\"\naccess = \"rw\"\n[[mounts]]\nname = \"a\"\nguest = \"/x\"\naccess = \"rw\"",
            "there twice to be written to",
        ),
        ("[[mounts]]\nname = \"a\"\nguest = \"../a\"", "leads out of the root"),
        ("[[mounts]]\nname = \"a\"\nguest = \"/x/../a\"", "no path for a guest"),
        ("[[mounts]]\nname = \"a\"\nguest = \"\"", "no path for a guest"),
        ("[[mounts]]\nname = \"a\"\nguest = \"/a\\u0000b\"", "no path for a guest"),
        ("scratch = 1\n[[mounts]]\nname = \"a\"\nguest = \"/scratch\"", "there twice"),
        ("[[mounts]]\nname = \"a\"\npath = \"/x\"", "not both"),
        ("[[mounts]]\nguest = \"/x\"", "not both"),
        ("[[mounts]]\npath = \"/etc\"", "allows no path like it"),
        ("[[mounts]]\npath = \"etc\"", "a path is absolute"),
    ] {
        let denied = judged(&ceiling, "", caller).allowed().expect_err(caller);
        assert!(denied.to_string().contains(rule), "{caller}: {denied}");
    }
}

#[test]
fn mounts_that_are_written_to_and_mounts_that_are_one_file_stand_beside_others() {
    let mut ceiling = ceiling(&["a", "b", "f", "g"].map(|name| (name, Access::ReadWrite)), &[]);
    for name in ["f", "g"] {
        ceiling.mounts.get_mut(name).unwrap().file = Some(name.to_owned());
    }
    let mounts = |names: &[&str]| {
        let mount = |name: &&str| format!("[[mounts]]\nname = \"{name}\"\naccess = \"rw\"\n");
        judged(&ceiling, "", &names.iter().map(mount).collect::<String>()).allowed()
    };
    assert_eq!(mounts(&["a", "b", "f"]).unwrap().mounts.len(), 3);
    let denied = mounts(&["f", "g"]).unwrap_err().to_string();
    assert!(denied.contains("mounts g (rw) of the caller"), "two files of one folder are seen as one: {denied}");
}

#[test]
fn the_place_of_the_scratch_directory_is_free_where_there_is_none() {
    let ceiling = ceiling(&[("a", Access::ReadOnly)], &[]);
    let policy = judged(&ceiling, "", "[[mounts]]\nname = \"a\"\nguest = \"/scratch\"").allowed().unwrap();
    assert_eq!(policy.mounts, [granted("a", "/scratch", Access::ReadOnly)]);
}

#[test]
fn a_feature_is_allowed_by_the_operator_and_asked_for_by_the_manifest_alone() {
    let none = Ceiling::default();
    let some = Ceiling { features: [Feature::Memory64].into(), ..Ceiling::default() };
    assert_eq!(judged(&some, "", "").policy.features, Features::new());
    let manifest = "features = [\"memory64\"]";
    for caller in ["", manifest] {
        assert_eq!(judged(&some, manifest, caller).allowed().unwrap().features, [Feature::Memory64].into());
    }
    let both = "features = [\"memory64\", \"multi-memory\"]";
    for (ceiling, manifest, caller, by, rule) in [
        (&none, manifest, "", Source::Manifest, "the operator does not list it"),
        (&some, both, "", Source::Manifest, "the operator does not list it"),
        (&some, "", manifest, Source::Caller, "the manifest alone"),
        (&some, manifest, both, Source::Caller, "the manifest alone"),
        (&some, manifest, "features = []", Source::Caller, "the manifest alone"),
    ] {
        let Denied(findings) = judged(ceiling, manifest, caller).allowed().expect_err(caller);
        assert!(findings[0].by == by && findings[0].rule.contains(rule), "{manifest} {caller}: {findings:?}");
    }
    let Denied(findings) = judged(&some, both, "").allowed().unwrap_err();
    assert_eq!(findings.iter().map(|finding| finding.asked.as_str()).collect::<Vec<_>>(), ["multi-memory"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test makes the files that are granted")]
fn a_path_is_opened_below_its_prefix_or_denied() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("srv");
    for made in ["srv/data/deep", "secret"] {
        std::fs::create_dir_all(folder.path().join(made)).unwrap();
    }
    std::fs::write(root.join("data/file"), "x").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), root.join("absolute")).unwrap();
    std::os::unix::fs::symlink("data", root.join("in")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("dangling")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let dir = Arc::new(Dir::open_ambient_dir(&root, cap_std::ambient_authority()).unwrap());
    let path = root.to_str().unwrap().to_owned();
    let prefix = Prefix { path: path.clone(), dir, access: Access::ReadOnly, quota: Quota::ENDLESS };
    let ceiling = Ceiling { prefixes: vec![prefix], ..Ceiling::default() };
    let opened = |below: &str| {
        let caller = format!("[[mounts]]\npath = \"{path}{below}\"\nguest = \"/d\"");
        let policy = judged(&ceiling, "", &caller).allowed().map_err(|denied| denied.to_string())?;
        let mounts = ceiling.grants(&policy).map_err(|denied| denied.to_string())?.mounts;
        Ok::<_, String>(mounts[0].file.clone())
    };
    assert_eq!(opened(""), Ok(None));
    assert_eq!(opened("/data/deep"), Ok(None));
    assert_eq!(opened("/in"), Ok(None));
    assert_eq!(opened("/data/file"), Ok(Some("file".into())));
    for (below, rule) in [
        ("/out", "cannot be opened"),
        ("/absolute", "cannot be opened"),
        ("/dangling", "cannot be opened"),
        ("/nowhere", "cannot be opened"),
        ("/fifo", "it is a FIFO"),
        ("/../secret", "a path is absolute"),
        ("x", "allows no path like it"),
    ] {
        let denied = opened(below).unwrap_err();
        assert!(denied.contains(rule), "{below}: {denied}");
    }
    let writing = format!("[[mounts]]\npath = \"{path}/data\"\naccess = \"rw\"");
    assert!(judged(&ceiling, "", &writing).allowed().unwrap_err().to_string().contains("for reading only"));
}

#[test]
fn a_choice_of_what_becomes_of_too_much_output_is_the_nearest_ones() {
    let output = |manifest, caller| judged(&Ceiling::default(), manifest, caller).allowed().unwrap().limits.output;
    assert_eq!(output("", ""), Overflow::Stop);
    assert_eq!(output("output = \"truncate\"", ""), Overflow::Truncate);
    assert_eq!(output("output = \"truncate\"", "output = \"stop\""), Overflow::Stop);
}

/// Every combination of clock, random and fuel: nobody gets back what somebody above has taken away.
#[test]
fn precision_that_is_taken_away_stays_away() {
    let said = [
        "",
        "clock = \"real\"\nrandom = \"real\"\nfuel = 9",
        "clock = \"coarse\"\nfuel = 5",
        "clock = \"fixed\"\nrandom = \"seeded\"",
        "clock = \"2026-01-01T00:00:00Z\"\nrandom = { seed = 7 }\nfuel = 1",
    ]
    .map(asked);
    for (operator, manifest, caller) in said.iter().flat_map(|operator| {
        let said = &said;
        said.iter().flat_map(move |manifest| said.iter().map(move |caller| (operator, manifest, caller)))
    }) {
        let ceiling = Ceiling::of(Limits::default().replaced(operator));
        let Judgement { policy, findings } = ceiling.judge("wc", manifest, caller);
        for source in [operator, manifest, caller] {
            assert!(is_within_limits(&policy, source), "{policy:?}: {source:?}");
        }
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Clamped), "{findings:?}");
    }
}

use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;

use super::containment::{is_within_grants, is_within_limits};
use super::*;
use crate::env::Env;
use crate::feature::Feature;
use crate::limits::Overflow;
use crate::mount::{Access, Mount, Quota};

/// Returns a ceiling with these mounts, which passes on the variables `env`.
fn ceiling(mounts: &[(&str, Access)], env: &[&str]) -> Ceiling {
    let folder = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap());
    let mount =
        |access| Mount { dir: dir.clone(), file: None, guest_path: String::new(), access, quota: Quota::UNLIMITED };
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

fn request(toml: &str) -> PolicyRequest {
    toml::from_str(toml).unwrap()
}

fn evaluate(ceiling: &Ceiling, manifest: &str, caller: &str) -> Evaluation {
    ceiling.evaluate("wc", &request(manifest), &request(caller))
}

#[test]
fn policy_without_requests_has_ceiling_limits_and_no_grants() {
    let ceiling = ceiling(&[("data", Access::ReadWrite)], &["TZ"]);
    let Evaluation { policy, findings } = evaluate(&ceiling, "", "");
    let features = Feature::allowed_by_default();
    assert_eq!(policy, Policy { limits: Limits::default(), features, ..Policy::default() });
    assert_eq!(findings, []);
}

#[test]
fn manifest_and_caller_can_reduce_the_policy() {
    let manifest =
        "memory = \"64MiB\"\ntimeout = 10\npass_env = [\"TZ\", \"LANG\"]\n[[mounts]]\nname = \"data\"\naccess = \"rw\"";
    let caller = "timeout = 5\ncpu = 1\npass_env = [\"TZ\"]\n[[mounts]]\nname = \"data\"\nguest = \"/in\"";
    let ceiling = ceiling(&[("data", Access::ReadWrite)], &["TZ", "LANG"]);
    let policy = evaluate(&ceiling, manifest, caller).into_policy().unwrap();
    assert_eq!((policy.limits.memory, policy.limits.timeout), (64 << 20, Duration::from_secs(5)));
    assert_eq!(policy.limits.cpu, Some(Duration::from_secs(1)));
    assert_eq!(policy.pass_env, ["TZ"]);
    assert_eq!(policy.mounts, [granted("data", "/in", Access::ReadOnly)]);
    let Grants { mounts, env, .. } = ceiling.grants(&policy).unwrap();
    assert_eq!((mounts[0].guest_path.as_str(), mounts[0].access), ("/in", Access::ReadOnly));
    assert_eq!(env.iter().collect::<Vec<_>>(), [("TZ", "value")]);
    let without = evaluate(&ceiling, manifest, "mounts = []\npass_env = []").into_policy().unwrap();
    assert!(without.mounts.is_empty() && without.pass_env.is_empty());
}

#[test]
fn limit_above_the_level_above_is_clamped_and_reported() {
    let Evaluation { policy, findings } = evaluate(&Ceiling::default(), "memory = \"1GiB\"", "memory = \"2GiB\"");
    assert_eq!(policy.limits.memory, 256 << 20);
    let diagnostics: Vec<_> =
        findings.iter().map(|finding| (finding.by, finding.verdict, finding.to_string())).collect();
    let rule = |by: &str, requested: &str, above: &str| {
        format!("memory {requested} of the {by}: the {above}'s memory is 256.0 MiB")
    };
    assert_eq!(
        diagnostics,
        [
            (Source::Manifest, Verdict::Clamped, rule("manifest", "1.0 GiB", "operator")),
            (Source::Caller, Verdict::Clamped, rule("caller", "2.0 GiB", "manifest")),
        ]
    );
}

/// For each limit: a request for more than the manifest names the manifest, and without a manifest the operator.
#[test]
fn clamped_limit_names_the_source_of_the_limit() {
    let ceiling = Ceiling::with_limits(Limits::default().overridden_by(&request(
        "timeout = 5\ncpu = 5\nmemory = 5\nhandles = 5\nstdout = 5\nstderr = 5\ndisk = 5\nfiles = 5\nconnections = 5\ntraffic = 5\nreuse = 5\nkeyvalue = 5\nkeys = 5\n\
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
        ("reuse", ""),
        ("concurrency", ""),
        ("concurrency_per_key", ""),
        ("fuel", ""),
    ] {
        let findings = |manifest: &str| evaluate(&ceiling, manifest, &format!("{key} = 9")).findings;
        let [finding] = &findings("")[..] else { panic!("{key}: {:?}", findings("")) };
        assert_eq!(finding.to_string(), format!("{key} 9{unit} of the caller: the operator's {key} is 5{unit}"));
        assert_eq!(finding.granted.as_deref(), Some(format!("5{unit}").as_str()));
        let [finding] = &findings(&format!("{key} = 4"))[..] else { panic!("{key}") };
        assert_eq!(finding.to_string(), format!("{key} 9{unit} of the caller: the manifest's {key} is 4{unit}"));
        let none = evaluate(&ceiling, &format!("{key} = 5"), &format!("{key} = 5")).findings;
        assert_eq!(none, [], "a request for the limit itself is no excess");
    }
    for (key, value) in [("clock", "\"real\""), ("random", "\"real\"")] {
        let caller = format!("{key} = {value}");
        let operators = evaluate(&ceiling, "", &caller).findings;
        assert!(operators[0].rule.starts_with(&format!("the operator's {key} is ")), "{operators:?}");
        let manifest = if key == "clock" { "clock = \"fixed\"" } else { "random = \"seeded\"" };
        let manifests = evaluate(&ceiling, manifest, &caller).findings;
        assert!(manifests[0].rule.starts_with(&format!("the manifest's {key} is ")), "{manifests:?}");
    }
    let choice = evaluate(&ceiling, "output = \"stop\"", "memory = 9").findings;
    assert!(choice[0].rule.starts_with("the operator's memory"), "`output` is not a limit: {choice:?}");
}

#[test]
fn denied_displays_all_denials_in_one_line() {
    let caller =
        "memory = \"1GiB\"\npass_env = [\"HOME\", \"USER\"]\n[[mounts]]\npath = \"/x\"\naccess = \"rw\"\n[[mounts]]\n";
    let denied = evaluate(&Ceiling::default(), "", caller).into_policy().unwrap_err().to_string();
    let pass = "the operator does not pass it on, or does not have it";
    assert_eq!(
        denied,
        format!(
            "mounts /x (rw) of the caller: no mount prefix of the operator contains this path; mounts a mount (ro) of the caller: a mount must \
             have a `name` or a `path`, but not both; pass_env HOME of the caller: {pass}; pass_env USER of the caller: {pass}"
        ),
        "a clamped limit denies nothing"
    );
}

#[test]
fn request_for_unavailable_grant_is_denied_with_rule() {
    let ceiling = ceiling(&[("data", Access::ReadOnly), ("logs", Access::ReadWrite)], &["TZ"]);
    for (manifest, caller, rule) in [
        ("", "[[mounts]]\nname = \"other\"", "no mount of this name"),
        ("", "[[mounts]]\nname = \"data\"\naccess = \"rw\"", "for reading only"),
        ("[[mounts]]\nname = \"data\"", "[[mounts]]\nname = \"logs\"", "the manifest does not request it"),
        ("mounts = []", "[[mounts]]\nname = \"data\"", "the manifest does not request it"),
        ("", "pass_env = [\"HOME\"]", "does not pass it on"),
        ("pass_env = []", "pass_env = [\"TZ\"]", "the manifest does not request it"),
    ] {
        let denied = evaluate(&ceiling, manifest, caller).into_policy().expect_err(caller);
        assert!(denied.to_string().contains(rule), "{manifest} {caller}: {denied}");
    }
}

#[test]
fn excessive_manifest_is_clamped_or_refused_as_configured() {
    let manifest = "memory = \"1GiB\"\npass_env = [\"HOME\"]\n[[mounts]]\nname = \"other\"";
    let clamping = ceiling(&[], &[]);
    let evaluation = evaluate(&clamping, manifest, "");
    assert_eq!(evaluation.findings.len(), 3);
    let policy = evaluation.into_policy().unwrap();
    assert!(policy.mounts.is_empty() && policy.pass_env.is_empty());
    let refusing = Ceiling { excess: Excess::Refuse, ..clamping };
    let Denied(findings) = evaluate(&refusing, manifest, "").into_policy().unwrap_err();
    assert!(findings.iter().all(|finding| finding.by == Source::Manifest && finding.verdict == Verdict::Denied));
}

/// Evaluates every combination of a few requests: the policy is never wider than any of the three sources.
#[test]
fn evaluated_policy_is_never_wider_than_any_source() {
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
    let requests: Vec<PolicyRequest> =
        limits.iter().flat_map(|limits| grants.map(|grants| request(&format!("{limits}\n{grants}")))).collect();
    let is_within = |policy: &Policy, request: &PolicyRequest| {
        is_within_limits(policy, request) && is_within_grants(policy, request)
    };
    for operator_mounts in [
        &[][..],
        &[("a", Access::ReadOnly)],
        &[("a", Access::ReadWrite)],
        &[("a", Access::ReadWrite), ("b", Access::ReadOnly)],
    ] {
        let mut ceiling = ceiling(operator_mounts, &[]);
        for cpu in [None, Some(2)] {
            ceiling.limits.cpu = cpu.map(Duration::from_secs);
            for (manifest, caller) in
                requests.iter().flat_map(|manifest| requests.iter().map(move |caller| (manifest, caller)))
            {
                let policy = ceiling.evaluate("wc", manifest, caller).policy;
                assert!(
                    is_within(&policy, manifest) && is_within(&policy, caller),
                    "{policy:?}: {manifest:?} {caller:?}"
                );
                assert!(
                    policy.scratch <= ceiling.scratch
                        && (policy.scratch == 0 || manifest.scratch.or(caller.scratch).is_some())
                );
                assert!(ceiling.limits.cpu.is_none_or(|max| policy.limits.cpu.is_some_and(|own| own <= max)));
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
fn scratch_directory_is_granted_on_request_up_to_its_limit() {
    let ceiling = Ceiling::default();
    let scratch = |manifest, caller| evaluate(&ceiling, manifest, caller).into_policy().unwrap().scratch;
    assert_eq!(scratch("", ""), 0);
    assert_eq!(scratch("scratch = 5", ""), 5);
    assert_eq!(scratch("", "scratch = 5"), 5);
    assert_eq!(scratch("scratch = 5", "scratch = 9"), 5);
    assert_eq!(scratch("scratch = 5", "scratch = 0"), 0);
    let Evaluation { policy, findings } = evaluate(&ceiling, "", "scratch = \"1GiB\"");
    assert_eq!((policy.scratch, findings[0].key), (64 << 20, "scratch"));
    let rule = |manifest, caller| evaluate(&ceiling, manifest, caller).findings[0].rule.clone();
    assert_eq!(rule("", "scratch = \"1GiB\""), "the operator's scratch is 64.0 MiB");
    assert_eq!(rule("scratch = 5", "scratch = 9"), "the manifest's scratch is 5 B");
    assert_eq!(rule("scratch = \"1GiB\"", ""), "the operator's scratch is 64.0 MiB");
}

#[test]
fn scratch_directory_without_scratch_folder_is_denied() {
    let without_folder = Ceiling::default();
    let policy = evaluate(&without_folder, "", "scratch = 5").into_policy().unwrap();
    assert_eq!(
        without_folder.grants(&policy).unwrap_err().to_string(),
        "scratch 5 B of the caller: the daemon has no directory for scratch directories"
    );
    let folder = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap());
    let with_folder = Ceiling { scratch_folder: Some(dir), ..without_folder };
    assert_eq!(with_folder.grants(&policy).unwrap().scratch.map(|scratch| scratch.bytes), Some(5));
    assert!(with_folder.grants(&Policy::default()).unwrap().scratch.is_none());
}

#[test]
fn mount_quota_is_the_minimum_of_all_sources() {
    let mut ceiling = ceiling(&[("a", Access::ReadWrite), ("b", Access::ReadWrite)], &[]);
    ceiling.mounts.get_mut("a").unwrap().quota = Quota { bytes: 100, files: 10 };
    let quota = |manifest: &str, caller: &str| {
        let evaluation = evaluate(&ceiling, manifest, caller);
        let grant = &evaluation.policy.mounts[0];
        (grant.disk, grant.files, evaluation.findings.len())
    };
    let a = "[[mounts]]\nname = \"a\"\naccess = \"rw\"\n";
    assert_eq!(quota(a, ""), (Some(100), Some(10), 0));
    assert_eq!(quota("", &format!("{a}disk = 50")), (Some(50), Some(10), 0));
    assert_eq!(quota(&format!("{a}disk = 70\nfiles = 1"), &format!("{a}disk = 80")), (Some(70), Some(1), 1));
    assert_eq!(quota(&format!("{a}disk = 700"), a), (Some(100), Some(10), 1));
    assert_eq!(quota("", "[[mounts]]\nname = \"b\""), (None, None, 0));
    assert_eq!(quota("", &format!("{a}disk = 100\nfiles = 10")), (Some(100), Some(10), 0), "the whole quota");
}

#[test]
fn mounts_that_overlap_or_have_no_single_source_are_denied() {
    let ceiling = ceiling(&[("a", Access::ReadWrite), ("b", Access::ReadWrite)], &[]);
    for (caller, rule) in [
        ("[[mounts]]\nname = \"a\"\n[[mounts]]\nname = \"b\"\nguest = \"/a\"", "two mounts have the guest path"),
        ("[[mounts]]\nname = \"a\"\n[[mounts]]\nname = \"b\"\nguest = \"/a/b\"", "lies inside the mount"),
        (
            "[[mounts]]\nname = \"a\"\naccess = \"rw\"\n[[mounts]]\nname = \"a\"\nguest = \"/x\"\naccess = \"rw\"",
            "requested twice with write access",
        ),
        ("[[mounts]]\nname = \"a\"\nguest = \"../a\"", "leads out of the root"),
        ("[[mounts]]\nname = \"a\"\nguest = \"/x/../a\"", "not a valid guest path"),
        ("[[mounts]]\nname = \"a\"\nguest = \"\"", "not a valid guest path"),
        ("[[mounts]]\nname = \"a\"\nguest = \"/a\\u0000b\"", "not a valid guest path"),
        ("scratch = 1\n[[mounts]]\nname = \"a\"\nguest = \"/scratch\"", "two mounts have the guest path"),
        ("[[mounts]]\nname = \"a\"\npath = \"/x\"", "not both"),
        ("[[mounts]]\nguest = \"/x\"", "not both"),
        ("[[mounts]]\npath = \"/etc\"", "no mount prefix"),
        ("[[mounts]]\npath = \"etc\"", "a path must be absolute"),
    ] {
        let denied = evaluate(&ceiling, "", caller).into_policy().expect_err(caller);
        assert!(denied.to_string().contains(rule), "{caller}: {denied}");
    }
}

#[test]
fn writable_mounts_and_file_mounts_can_be_combined() {
    let mut ceiling = ceiling(&["a", "b", "f", "g"].map(|name| (name, Access::ReadWrite)), &[]);
    for name in ["f", "g"] {
        ceiling.mounts.get_mut(name).unwrap().file = Some(name.to_owned());
    }
    let mounts = |names: &[&str]| {
        let mount = |name: &&str| format!("[[mounts]]\nname = \"{name}\"\naccess = \"rw\"\n");
        evaluate(&ceiling, "", &names.iter().map(mount).collect::<String>()).into_policy()
    };
    assert_eq!(mounts(&["a", "b", "f"]).unwrap().mounts.len(), 3);
    let denied = mounts(&["f", "g"]).unwrap_err().to_string();
    assert!(denied.contains("mounts g (rw) of the caller"), "two files in one directory are not supported: {denied}");
}

#[test]
fn scratch_path_without_scratch_directory_can_be_mounted() {
    let ceiling = ceiling(&[("a", Access::ReadOnly)], &[]);
    let policy = evaluate(&ceiling, "", "[[mounts]]\nname = \"a\"\nguest = \"/scratch\"").into_policy().unwrap();
    assert_eq!(policy.mounts, [granted("a", "/scratch", Access::ReadOnly)]);
}

#[test]
fn feature_needs_operator_and_a_manifest_that_does_not_exclude_it() {
    let none = Ceiling { features: Features::new(), ..Ceiling::default() };
    let some = Ceiling { features: [Feature::Memory64, Feature::Gc].into(), ..Ceiling::default() };
    assert_eq!(evaluate(&some, "", "").into_policy().unwrap().features, some.features);
    assert_eq!(evaluate(&some, "features = []", "").into_policy().unwrap().features, Features::new());
    let manifest = "features = [\"memory64\"]";
    for caller in ["", manifest] {
        assert_eq!(evaluate(&some, manifest, caller).into_policy().unwrap().features, [Feature::Memory64].into());
    }
    let both = "features = [\"memory64\", \"multi-memory\"]";
    for (ceiling, manifest, caller, by, rule) in [
        (&none, manifest, "", Source::Manifest, "the operator does not list it"),
        (&some, both, "", Source::Manifest, "the operator does not list it"),
        (&some, "", manifest, Source::Caller, "a caller cannot choose"),
        (&some, manifest, both, Source::Caller, "a caller cannot choose"),
        (&some, manifest, "features = []", Source::Caller, "a caller cannot choose"),
    ] {
        let Denied(findings) = evaluate(ceiling, manifest, caller).into_policy().expect_err(caller);
        assert!(findings[0].by == by && findings[0].rule.contains(rule), "{manifest} {caller}: {findings:?}");
    }
    let Denied(findings) = evaluate(&some, both, "").into_policy().unwrap_err();
    assert_eq!(findings.iter().map(|finding| finding.requested.as_str()).collect::<Vec<_>>(), ["multi-memory"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test makes the files that are granted")]
fn path_is_opened_below_its_prefix_or_denied() {
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
    let prefix = Prefix { path: path.clone(), dir, access: Access::ReadOnly, quota: Quota::UNLIMITED };
    let ceiling = Ceiling { prefixes: vec![prefix], ..Ceiling::default() };
    let opened = |below: &str| {
        let caller = format!("[[mounts]]\npath = \"{path}{below}\"\nguest = \"/d\"");
        let policy = evaluate(&ceiling, "", &caller).into_policy().map_err(|denied| denied.to_string())?;
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
        ("/../secret", "a path must be absolute"),
        ("x", "no mount prefix"),
    ] {
        let denied = opened(below).unwrap_err();
        assert!(denied.contains(rule), "{below}: {denied}");
    }
    let writing = format!("[[mounts]]\npath = \"{path}/data\"\naccess = \"rw\"");
    assert!(evaluate(&ceiling, "", &writing).into_policy().unwrap_err().to_string().contains("for reading only"));
}

#[test]
fn output_choice_of_the_closest_level_wins() {
    let output =
        |manifest, caller| evaluate(&Ceiling::default(), manifest, caller).into_policy().unwrap().limits.output;
    assert_eq!(output("", ""), Overflow::Stop);
    assert_eq!(output("output = \"truncate\"", ""), Overflow::Truncate);
    assert_eq!(output("output = \"truncate\"", "output = \"stop\""), Overflow::Stop);
}

/// Evaluates every combination of clock, random and fuel: no level gets back what a level above has reduced.
#[test]
fn reduced_precision_is_never_restored() {
    let requests = [
        "",
        "clock = \"real\"\nrandom = \"real\"\nfuel = 9",
        "clock = \"coarse\"\nfuel = 5",
        "clock = \"fixed\"\nrandom = \"seeded\"",
        "clock = \"2026-01-01T00:00:00Z\"\nrandom = { seed = 7 }\nfuel = 1",
    ]
    .map(request);
    for (operator, manifest, caller) in requests.iter().flat_map(|operator| {
        let requests = &requests;
        requests.iter().flat_map(move |manifest| requests.iter().map(move |caller| (operator, manifest, caller)))
    }) {
        let ceiling = Ceiling::with_limits(Limits::default().overridden_by(operator));
        let Evaluation { policy, findings } = ceiling.evaluate("wc", manifest, caller);
        for source in [operator, manifest, caller] {
            assert!(is_within_limits(&policy, source), "{policy:?}: {source:?}");
        }
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Clamped), "{findings:?}");
    }
}

use std::sync::Arc;

use cap_std::fs::Dir;

use super::*;
use crate::feature::Feature;
use crate::limits::Overflow;
use crate::senses::{Clock, Random};

/// A ceiling that has the mounts `mounts` and passes on the variables `env`.
fn ceiling(mounts: &[(&str, Access)], env: &[&str]) -> Ceiling {
    let folder = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap());
    let mount = |access| Mount { dir: dir.clone(), guest_path: String::new(), access };
    let mut values = Env::new();
    for name in env {
        values.set(*name, "value").unwrap();
    }
    let mounts = mounts.iter().map(|(name, access)| ((*name).to_owned(), mount(*access))).collect();
    Ceiling { mounts, env: values, ..Ceiling::default() }
}

fn asked(toml: &str) -> Asked {
    toml::from_str(toml).unwrap()
}

fn judged(ceiling: &Ceiling, manifest: &str, caller: &str) -> Judgement {
    ceiling.judge(&asked(manifest), &asked(caller))
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
    assert_eq!(policy.mounts, [MountGrant { name: "data".into(), guest: "/in".into(), access: Access::ReadOnly }]);
    let Grants { mounts, env } = ceiling.grants(&policy);
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
        "[[mounts]]\nname = \"a\"\n[[mounts]]\nname = \"b\"\naccess = \"rw\"",
    ];
    let limits = ["", "cpu = 1\nstdout = 1", "cpu = 2\nstdout = 0", "cpu = 3"];
    let said: Vec<Asked> =
        limits.iter().flat_map(|limits| grants.map(|grants| asked(&format!("{limits}\n{grants}")))).collect();
    let within = |policy: &Policy, asked: &Asked| {
        let cpu = asked.cpu.is_none_or(|cpu| policy.limits.cpu.is_some_and(|own| own <= cpu));
        let stdout = asked.stdout.is_none_or(|stdout| policy.limits.stdout <= stdout);
        let mounts = asked.mounts.as_ref().is_none_or(|mounts| {
            let has =
                |grant: &MountGrant| mounts.iter().any(|own| own.name == grant.name && own.access >= grant.access);
            policy.mounts.iter().all(has)
        });
        cpu && stdout && mounts
    };
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
                let policy = ceiling.judge(manifest, caller).policy;
                assert!(within(&policy, manifest) && within(&policy, caller), "{policy:?}: {manifest:?} {caller:?}");
                assert!(ceiling.limits.cpu.is_none_or(|most| policy.limits.cpu.is_some_and(|own| own <= most)));
                for grant in &policy.mounts {
                    assert!(ceiling.mounts.get(&grant.name).is_some_and(|mount| mount.access >= grant.access));
                }
            }
        }
    }
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
    let vagueness = |asked: &Asked| asked.clock.map_or(0, Clock::vagueness);
    let is_real = |random: Option<Random>| random.is_none_or(|random| random == Random::Real);
    for (operator, manifest, caller) in said.iter().flat_map(|operator| {
        let said = &said;
        said.iter().flat_map(move |manifest| said.iter().map(move |caller| (operator, manifest, caller)))
    }) {
        let ceiling = Ceiling::of(Limits::default().replaced(operator));
        let Judgement { policy, findings } = ceiling.judge(manifest, caller);
        let limits = policy.limits;
        for source in [operator, manifest, caller] {
            assert!(limits.clock.vagueness() >= vagueness(source), "{limits:?}: {source:?}");
            assert!(is_real(source.random) || limits.random != Random::Real, "{limits:?}: {source:?}");
            assert!(source.fuel.is_none_or(|most| limits.fuel.is_some_and(|own| own <= most.get())), "{limits:?}");
        }
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Clamped), "{findings:?}");
    }
}

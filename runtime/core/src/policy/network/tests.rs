use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use super::*;
use crate::policy::{Ceiling, Policy, PolicyRequest, Verdict};

fn rule(text: &str) -> Rule {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| rule(text)).collect()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn rule_displays_in_canonical_form() {
    for (text, shown) in [
        ("example.com", "example.com"),
        ("Example.COM.:443", "example.com:443"),
        ("example.com:443/tcp", "example.com:443"),
        ("example.com/udp", "example.com/udp"),
        ("*.Example.com.:1-65535", "*.example.com"),
        ("*:53/udp", "*:53/udp"),
        ("xn--bcher-kva.example:80", "xn--bcher-kva.example:80"),
        ("_dns.x_y.example", "_dns.x_y.example"),
        ("192.0.2.7:53/udp", "192.0.2.7:53/udp"),
        ("192.0.2.7/32:80", "192.0.2.7:80"),
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.0.0/16:8000-8100/udp", "10.1.0.0/16:8000-8100/udp"),
        ("10.1.0.0/16/udp", "10.1.0.0/16/udp"),
        ("0.0.0.0/0:443", "0.0.0.0/0:443"),
        ("[2001:DB8::]/32:8000-8100", "[2001:db8::]/32:8000-8100"),
        ("[::1]:80", "[::1]:80"),
        ("[::]/0", "[::]/0"),
        ("[2001:db8:0:0:0:0:0:1]/128/udp", "[2001:db8::1]/udp"),
        ("example.com:80-80", "example.com:80"),
    ] {
        assert_eq!(rule(text).to_string(), shown);
        assert_eq!(rule(shown), rule(text), "the displayed rule parses to the same rule");
    }
}

#[test]
fn parse_invalid_rule_fails_with_reason() {
    let long = format!("{}.example", "a".repeat(64));
    let longer = "a.".repeat(127) + "example";
    for (text, why) in [
        ("", "missing"),
        (":80", "missing"),
        (".", "missing"),
        ("/udp", "missing"),
        ("example.com:", "port"),
        ("example.com:0", "1 to 65535"),
        ("example.com:65536", "1 to 65535"),
        ("example.com:+80", "1 to 65535"),
        ("example.com: 80", "1 to 65535"),
        ("example.com:http", "1 to 65535"),
        ("example.com:90-80", "is reversed"),
        ("example.com:80-", "1 to 65535"),
        ("example.com:80/sctp", "1 to 65535"),
        ("example.com/sctp", "tcp, udp"),
        ("example.com/24", "tcp, udp"),
        ("http://example.com", "port"),
        ("user@example.com", "letters"),
        ("exa mple.com", "letters"),
        ("a..b", "letters"),
        ("example.com..", "letters"),
        ("-a.example", "hyphen"),
        ("a-.example", "hyphen"),
        (&long, "1 to 63"),
        (&longer, "253"),
        ("bücher.example", "punycode"),
        ("*example.com", "asterisk"),
        ("a.*.example", "asterisk"),
        ("*.*.example", "letters"),
        ("*.", "missing"),
        ("localhost:80", "by its address"),
        ("*.localhost", "by its address"),
        ("127.1", "in full"),
        ("2130706433", "in full"),
        ("0x7f000001", "in full"),
        ("0x7f.0.0.0x1", "in full"),
        ("0177.0.0.1", "in full"),
        ("256.0.0.1", "in full"),
        ("1.2.3.4.", "in full"),
        ("*.0", "in full"),
        ("10.0.0.1/8", "the network is 10.0.0.0/8"),
        ("10.0.0.0/33", "0 to 32"),
        ("10.0.0.0/-1", "/0 to /32"),
        ("10.0.0.0/", "/0 to /32"),
        ("10.0.0.0/255.0.0.0", "/0 to /32"),
        ("2001:db8::1", "brackets"),
        ("::1", "brackets"),
        ("[2001:db8::1", "in brackets"),
        ("[2001", "not closed"),
        ("[2001:db8::1]x", "/0 to /128"),
        ("[2001:db8::1]/64", "the network is [2001:db8::]/64"),
        ("[2001:db8::]/129", "0 to 128"),
        ("[fe80::1%eth0]", "no IPv6 address"),
        ("[10.0.0.1]", "no IPv6 address"),
        ("[::ffff:10.0.0.1]", "an IPv4 address"),
    ] {
        let error = text.parse::<Rule>().expect_err(text).to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
}

/// Combines pieces to texts. Each is rejected, or is a rule that round-trips through its text and lies within itself.
#[test]
fn every_parsed_rule_round_trips_through_its_text() {
    let pieces = [
        "",
        "*",
        ".",
        "a",
        "A-b.example",
        "10.0.0.0",
        "[::]",
        "[",
        "]",
        ":",
        "/",
        "-",
        "8",
        "80",
        "/udp",
        "/tcp",
        "é",
        " ",
    ];
    let mut rules = 0;
    let choices = pieces.len().pow(4);
    for choice in 0..choices {
        let text: String = (0..4).map(|at| pieces[choice / pieces.len().pow(at) % pieces.len()]).collect();
        let Ok(rule) = text.parse::<Rule>() else { continue };
        let shown = rule.to_string();
        assert_eq!(shown.parse::<Rule>().as_ref(), Ok(&rule), "{text} is displayed as {shown}");
        assert!(rule.is_within(&rule), "{text}");
        assert!(text.is_ascii() && !text.contains(' '), "{text}");
        rules += 1;
    }
    assert!(rules > 100, "{rules} of {choices}");
}

#[test]
fn rule_is_within_another_that_reaches_at_least_as_much() {
    for (inner, outer, expected) in [
        ("example.com:443", "example.com", true),
        ("example.com", "example.com:443", false),
        ("example.com:443", "example.com:400-500", true),
        ("example.com:443/udp", "example.com:443", false),
        ("EXAMPLE.com.", "example.com", true),
        ("a.example.com", "*.example.com", true),
        ("a.b.example.com", "*.example.com", true),
        ("example.com", "*.example.com", false),
        ("badexample.com", "*.example.com", false),
        ("*.a.example.com", "*.example.com", true),
        ("*.example.com", "*.a.example.com", false),
        ("*.example.com", "example.com", false),
        ("*.example.com", "*", true),
        ("example.com", "*", true),
        ("*", "*.example.com", false),
        ("93.184.216.34", "*", false),
        ("example.com", "0.0.0.0/0", false),
        ("93.184.216.0/24", "0.0.0.0/0", true),
        ("0.0.0.0/0", "93.184.216.0/24", false),
        ("[2606::]/16", "[::]/0", true),
        ("[2606::1]", "0.0.0.0/0", false),
        ("10.1.2.0/24", "10.0.0.0/8", true),
        // A special-purpose address does not lie within a larger network, which does not reach it.
        ("10.1.2.0/24", "0.0.0.0/0", false),
        ("127.0.0.1", "0.0.0.0/0", false),
        ("127.0.0.1", "127.0.0.0/8", true),
        ("127.0.0.1", "126.0.0.0/7", false),
        ("169.254.169.254", "169.254.0.0/16", true),
        ("[::1]", "[::]/0", false),
        ("[fd00::1]", "[fc00::]/7", true),
        ("[64:ff9b::7f00:1]", "[64:ff9b::]/96", false),
        ("[64:ff9b::808:808]", "[64:ff9b::]/96", true),
    ] {
        assert_eq!(rule(inner).is_within(&rule(outer)), expected, "{inner} in {outer}");
    }
}

/// Special-purpose addresses, each with a rule that names it.
const SPECIAL: [(&str, &str); 26] = [
    ("0.0.0.0", "0.0.0.0/8"),
    ("10.1.2.3", "10.0.0.0/8"),
    ("100.64.0.1", "100.64.0.0/10"),
    ("127.0.0.1", "127.0.0.1"),
    ("127.8.8.8", "127.0.0.0/8"),
    ("169.254.169.254", "169.254.169.254"),
    ("172.16.0.1", "172.16.0.0/12"),
    ("172.31.255.255", "172.31.0.0/16"),
    ("192.0.2.1", "192.0.2.0/24"),
    ("192.168.1.1", "192.168.0.0/16"),
    ("198.18.0.1", "198.18.0.0/15"),
    ("224.0.0.1", "224.0.0.0/4"),
    ("240.0.0.1", "240.0.0.0/4"),
    ("255.255.255.255", "255.255.255.255"),
    ("[::]", "[::]"),
    ("[::1]", "[::1]"),
    ("[::7f00:1]", "[::]/96"),
    ("[::ffff:127.0.0.1]", "127.0.0.0/8"),
    ("[64:ff9b::7f00:1]", "[64:ff9b::7f00:0]/104"),
    ("[64:ff9b:1::1]", "[64:ff9b:1::]/48"),
    ("[2001::1]", "[2001::]/32"),
    ("[2001:db8::1]", "[2001:db8::]/32"),
    ("[2002:7f00:1::]", "[2002::]/16"),
    ("[fd12:3456::1]", "[fc00::]/7"),
    ("[fe80::1]", "[fe80::]/10"),
    ("[ff02::1]", "[ff02::]/16"),
];

#[test]
fn special_purpose_address_is_reached_only_by_address() {
    let everything = rules(&["0.0.0.0/0", "[::]/0", "*"]);
    let names = ["example.com".parse::<Name>().unwrap()];
    for (special, named) in SPECIAL {
        let target = address(&format!("{special}:80"));
        let reach = Reach::new(everything.clone(), &[], &everything);
        for names in [&names[..], &[]] {
            let why = reach.allows(Protocol::Tcp, target, names, |_| false).expect_err(special);
            assert!(matches!(why, DenialReason::Special(_)), "{special} {names:?}: {why}");
        }
        assert!(!reach.has_rule_for(target.ip().to_canonical()), "{special}");
        let reach = Reach::new(rules(&[named]), &[], &[]);
        assert_eq!(reach.allows(Protocol::Tcp, target, &[], |_| false), Ok(None), "{special} by {named}");
    }
    for (public, beside) in [
        ("9.255.255.255", "11.0.0.0"),
        ("100.63.255.255", "100.128.0.0"),
        ("126.255.255.255", "128.0.0.0"),
        ("169.253.255.255", "169.255.0.0"),
        ("172.15.255.255", "172.32.0.0"),
        ("192.167.255.255", "192.169.0.0"),
        ("223.255.255.255", "1.0.0.0"),
        ("[64:ff9b::808:808]", "[2606::1]"),
        ("[2001:200::1]", "[2003::1]"),
        ("[fbff::1]", "[2620::1]"),
    ] {
        for target in [public, beside] {
            let target = address(&format!("{target}:80"));
            let reach = Reach::new(everything.clone(), &[], &everything);
            assert_eq!(reach.allows(Protocol::Tcp, target, &[], |_| false), Ok(None), "{target}");
        }
    }
}

#[test]
fn address_is_reached_by_resolved_name_on_ports_of_its_rule() {
    let reach = Reach::new(rules(&["example.com:443", "*.test.example:53/udp", "8.8.8.0/24:80"]), &[], &[]);
    let name = |text: &str| text.parse::<Name>().unwrap();
    let (found, other, below) = ([name("example.com")], [name("other.example")], [name("a.test.example")]);
    let allows = |protocol, target: &str, names: &[Name]| {
        reach.allows(protocol, address(target), names, |_| false).map(|name| name.map(Name::to_string))
    };
    assert_eq!(allows(Protocol::Tcp, "93.184.216.34:443", &found), Ok(Some("example.com".to_owned())));
    assert_eq!(allows(Protocol::Tcp, "93.184.216.34:443", &[]), Err(DenialReason::NoRule));
    assert_eq!(allows(Protocol::Tcp, "93.184.216.34:443", &other), Err(DenialReason::NoRule));
    assert_eq!(allows(Protocol::Tcp, "93.184.216.34:80", &found), Err(DenialReason::NoRule));
    assert_eq!(allows(Protocol::Udp, "93.184.216.34:443", &found), Err(DenialReason::NoRule));
    assert_eq!(allows(Protocol::Udp, "93.184.216.34:53", &below), Ok(Some("a.test.example".to_owned())));
    assert_eq!(allows(Protocol::Tcp, "8.8.8.8:80", &found), Ok(None));
    assert_eq!(allows(Protocol::Tcp, "8.8.8.8:443", &[]), Err(DenialReason::NoRule));
    assert!(matches!(allows(Protocol::Tcp, "127.0.0.1:443", &found), Err(DenialReason::Special("loopback"))));
    assert!(reach.allows_lookup(&found[0]) && reach.allows_lookup(&below[0]) && !reach.allows_lookup(&other[0]));
}

#[test]
fn daemon_port_is_reached_only_with_exact_operator_rule() {
    let is_local = |address: IpAddr| address.is_loopback();
    let reach_with_operator_rule = |text: &str| {
        let caller_rules = rules(&["127.0.0.1:2375", "[::1]:2375", "8.8.8.8:2375"]);
        Reach::new(caller_rules, &[2375], &rules(&[text]))
    };
    let allows = |reach: &Reach, target: &str| reach.allows(Protocol::Tcp, address(target), &[], is_local).is_ok();
    for (named, v4, v6) in [
        ("127.0.0.0/8", false, false),
        ("127.0.0.0/8:2375", false, false),
        ("127.0.0.1", false, false),
        ("127.0.0.1:2375-2376", false, false),
        ("127.0.0.1:2375/udp", false, false),
        ("127.0.0.1:2375", true, false),
        ("[::1]:2375", false, true),
    ] {
        let reach = reach_with_operator_rule(named);
        assert_eq!((allows(&reach, "127.0.0.1:2375"), allows(&reach, "[::1]:2375")), (v4, v6), "{named}");
        assert!(allows(&reach, "8.8.8.8:2375"), "the same port of another machine is not the daemon's");
    }
    let reach = Reach::new(rules(&["127.0.0.1", "127.0.0.1/udp"]), &[2375], &[]);
    for (protocol, target, allowed) in [
        (Protocol::Tcp, "127.0.0.1:2375", Err(DenialReason::DaemonPort)),
        (Protocol::Tcp, "127.0.0.1:80", Ok(None)),
        (Protocol::Udp, "127.0.0.1:2375", Ok(None)),
    ] {
        assert_eq!(reach.allows(protocol, address(target), &[], is_local), allowed, "{target}/{protocol}");
    }
}

/// Combines rules from a small set: each of the three sources that has rules reaches everything in the result.
#[test]
fn granted_rules_are_never_wider_than_any_source() {
    static RULE_SETS: LazyLock<Vec<Vec<Rule>>> = LazyLock::new(|| {
        let singles = [
            "*",
            "*.example.com",
            "*.a.example.com:443",
            "example.com",
            "x.a.example.com:443",
            "0.0.0.0/0",
            "10.0.0.0/8:80-90",
            "10.1.0.0/16:80",
            "10.1.0.0/16:80/udp",
            "8.0.0.0/7",
            "8.8.8.8:80",
            "127.0.0.1:80",
        ];
        let pairs = singles.iter().zip(singles.iter().skip(5)).map(|(one, other)| rules(&[one, other]));
        singles.iter().map(|one| rules(&[one])).chain(pairs).chain([Vec::new()]).collect()
    });
    let targets =
        ["10.1.2.3:80", "10.9.9.9:85", "8.8.8.8:80", "9.9.9.9:443", "127.0.0.1:80", "127.0.0.1:81"].map(address);
    let names = ["example.com", "b.example.com", "x.a.example.com", "other.example"].map(|name| name.parse().unwrap());
    // Returns for each target whether a list of rules reaches it.
    let reached = |rules: &[Rule]| -> Vec<bool> {
        let reach = Reach::new(rules.to_vec(), &[], &[]);
        let of = |protocol, target, names: &[Name]| reach.allows(protocol, target, names, |_| false).is_ok();
        let mut reached: Vec<_> = names.iter().map(|name| reach.allows_lookup(name)).collect();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            reached.extend(targets.iter().map(|target| of(protocol, *target, &[])));
            reached.extend(names.iter().map(|name| of(protocol, address("9.9.9.9:443"), std::slice::from_ref(name))));
        }
        reached
    };
    let request = |rules: Option<&Vec<Rule>>| PolicyRequest { network: rules.cloned(), ..PolicyRequest::EMPTY };
    let requests = || RULE_SETS.iter().map(Some).chain([None]);
    let reaches: Vec<_> = RULE_SETS.iter().map(|rules| (rules, reached(rules))).collect();
    let within = |inner: &[bool], outer: Option<&Vec<Rule>>| {
        let Some(outer) = outer else { return true };
        let (_, outer) = reaches.iter().find(|(rules, _)| *rules == outer).expect("the rules are in the set");
        inner.iter().zip(outer).all(|(inner, outer)| *outer || !inner)
    };
    for operator in RULE_SETS.iter() {
        let ceiling = Ceiling { network: operator.clone(), ..Ceiling::default() };
        for (manifest, caller) in requests().flat_map(|manifest| requests().map(move |caller| (manifest, caller))) {
            let granted = ceiling.evaluate("wc", &request(manifest), &request(caller)).policy.network;
            let reached = reached(&granted);
            for source in [Some(operator), manifest, caller] {
                assert!(within(&reached, source), "{granted:?} of {operator:?}, {manifest:?}, {caller:?}");
            }
            assert!(granted.is_empty() || manifest.is_some() || caller.is_some(), "nobody requested {granted:?}");
        }
    }
}

#[test]
fn denied_rule_names_the_rules_of_the_operator() {
    let request = |texts: &[&str]| PolicyRequest { network: Some(rules(texts)), ..PolicyRequest::EMPTY };
    let ceiling = |texts: &[&str]| Ceiling { network: rules(texts), ..Ceiling::default() };
    for (operator, manifest, caller, why) in [
        (&[][..], PolicyRequest::EMPTY, &["example.com"][..], "the operator grants no network"),
        (
            &["*.example.com:443"],
            PolicyRequest::EMPTY,
            &["example.com:443"],
            "the rules of the operator do not cover it: *.example.com:443",
        ),
        (&["example.com"], request(&["example.com:443"]), &["example.com:80"], "the manifest does not request it"),
        (&["example.com"], request(&[]), &["example.com:80"], "the manifest does not request it"),
    ] {
        let denied = ceiling(operator).evaluate("wc", &manifest, &request(caller)).into_policy().expect_err(why);
        assert!(denied.to_string().contains(why), "{denied}");
        assert!(denied.to_string().starts_with(&format!("network {} of the caller", caller[0])), "{denied}");
    }
    let clamped = ceiling(&["example.com"]).evaluate(
        "wc",
        &request(&["example.com:443", "other.example"]),
        &PolicyRequest::EMPTY,
    );
    assert_eq!(clamped.policy.network, rules(&["example.com:443"]));
    assert_eq!(clamped.findings[0].verdict, Verdict::Clamped);
}

#[test]
fn denial_lists_first_four_rules_of_the_operator() {
    let why = |rules: &[&str]| {
        let ceiling = Ceiling { network: self::rules(rules), ..Ceiling::default() };
        let request = PolicyRequest { network: Some(self::rules(&["x.example"])), ..PolicyRequest::EMPTY };
        ceiling.evaluate("wc", &PolicyRequest::EMPTY, &request).findings[0].rule.clone()
    };
    assert!(
        why(&["a.example", "b.example", "c.example", "d.example"])
            .ends_with(": a.example, b.example, c.example, d.example")
    );
    assert!(
        why(&["a.example", "b.example", "c.example", "d.example", "e.example"]).ends_with("c.example, d.example, …")
    );
}

#[test]
fn name_of_maximum_length_is_accepted() {
    let longest = ["a".repeat(61), "b".repeat(63), "c".repeat(63), "d".repeat(63)].join(".");
    assert_eq!(longest.parse::<Name>().unwrap().as_str(), longest);
    assert_eq!(format!("a{longest}").parse::<Name>(), Err(NameError::TooLong));
    assert_eq!([Protocol::Tcp, Protocol::Udp].map(|protocol| protocol.to_string()), ["tcp", "udp"]);
}

#[test]
fn reach_without_rules_is_none() {
    let ceiling = Ceiling { network: rules(&["*"]), ..Ceiling::default() };
    let policy = Policy { network: rules(&["192.0.2.7:443"]), ..Policy::default() };
    let reach = ceiling.reach(&policy, &[]).unwrap();
    assert!(reach.has_rule_for("192.0.2.7".parse().unwrap()) && !reach.has_rule_for("192.0.2.8".parse().unwrap()));
    assert!(ceiling.reach(&Policy::default(), &[]).is_none());
}

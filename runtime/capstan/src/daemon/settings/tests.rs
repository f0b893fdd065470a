//! What flags, file and environment come to.

use capstan_listen::listener::Access;

use super::*;

fn merged(flags: Flags, toml: &str) -> Result<Settings, SettingsError> {
    let places = Places { home: Some("/h".into()), ..Places::default() };
    Settings::merge(flags, toml::from_str(toml).unwrap(), places, None)
}

fn texts(settings: &Settings) -> Vec<String> {
    settings.hosts.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_hold_where_nothing_is_said() {
    let settings = merged(Flags::default(), "").unwrap();
    assert_eq!(texts(&settings), ["unix:///h/.local/state/capstan/capstan.sock"]);
    assert_eq!(settings.ceiling, Limits::default());
    assert_eq!((settings.history, settings.events), (HistoryLimits::default(), events::DEFAULT_CAPACITY));
    assert_eq!((settings.grace, settings.runs, settings.upload), (Duration::from_secs(10), 1000, 64 << 20));
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let toml = "hosts = [\"unix:///f\"]\ndata = \"/d\"\ngrace = \"1s\"\n[policy]\ntimeout = \"2h\"\nmemory = \"1GiB\"\n[limits]\nruns = 3\n\
                [compile]\ntimeout = 5\nmemory = \"2GiB\"\nupload = \"1MiB\"\n";
    let settings = merged(Flags::default(), toml).unwrap();
    assert_eq!(texts(&settings), ["unix:///f"]);
    assert_eq!(settings.data, PathBuf::from("/d"));
    assert_eq!(settings.ceiling.timeout, Duration::from_secs(7200), "the operator may go above the default");
    assert_eq!((settings.ceiling.memory, settings.runs, settings.upload), (1 << 30, 3, 1 << 20));
    assert_eq!(settings.compile, CompileLimits { timeout: Duration::from_secs(5), memory: 2 << 30 });
    assert_eq!(settings.grace, Duration::from_secs(1));

    let settings = merged(Flags::default(), "[history]\njobs = 5\nbytes = \"1MiB\"\n[events]\nkeep = 7").unwrap();
    assert_eq!((settings.history, settings.events), (HistoryLimits { jobs: 5, bytes: 1 << 20 }, 7));

    let flags = Flags { hosts: vec!["tcp://localhost:1".into()], data: Some("/x".into()), ..Flags::default() };
    let settings = merged(flags, toml).unwrap();
    assert_eq!(texts(&settings), ["tcp://localhost:1"]);
    assert_eq!(settings.data, PathBuf::from("/x"));
}

#[test]
fn a_key_that_is_not_known_is_named() {
    for (toml, named) in [
        ("colour = 1", "colour"),
        ("[boot]\ndeadlin = 1", "deadlin"),
        ("[boot]\ndeadline = \"soon\"", "soon"),
        ("[listen]\nbacklog = -1", "-1"),
        ("[listen]\nmode = \"0660\"", "mode"),
        ("[listen]\nsocket_mode = 660", "socket_mode"),
        ("[policy]\nmemroy = 1", "memroy"),
        ("[policy]\nmemory = \"lots\"", "lots"),
        ("[compile]\ntimeout = -1", "timeout"),
        ("[history]\nbytes = \"all\"", "all"),
        ("[events]\nring = 1", "ring"),
        ("grace = [1]", "grace"),
        ("hosts = \"x", "line 1"),
    ] {
        let error = toml::from_str::<File>(toml).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn runs_stay_below_what_the_kernel_has_maps_for() {
    let within = |max_maps, toml| {
        let places = Places { home: Some("/h".into()), ..Places::default() };
        let settings = Settings::merge(Flags::default(), toml::from_str(toml).unwrap(), places, max_maps).unwrap();
        (settings.runs, settings.runs_asked, settings.runs_ceiling)
    };
    assert_eq!(within(Some(65_530), "[limits]\nruns = 10000"), (10_000, 10_000, 10_000));
    assert_eq!(within(None, "[limits]\nruns = 10000"), (10_000, 10_000, 10_000));
    let (runs, asked, ceiling) = within(Some(30_000), "[limits]\nruns = 10000");
    assert!(runs == ceiling && asked == 10_000 && (4000..5000).contains(&runs), "{runs} of {asked}");
    assert_eq!(within(Some(1), "").0, 1);
}

#[test]
fn how_it_listens_and_starts_is_told_by_flag_or_file() {
    let settings = merged(Flags::default(), "").unwrap();
    assert_eq!(settings.listening, listener::Options::default());
    assert_eq!((settings.policy, settings.deadline), (Policy::Hold, Duration::from_secs(300)));

    let toml = "[boot]\ndeadline = \"1m\"\npolicy = \"answer\"\n\
                [listen]\nbacklog = 7\nsocket_mode = \"0600\"\nsocket_group = \"4242\"\n";
    let settings = merged(Flags::default(), toml).unwrap();
    assert_eq!((settings.policy, settings.deadline), (Policy::Answer, Duration::from_secs(60)));
    let access = Access { mode: 0o600, group: Some(4242) };
    assert_eq!(settings.listening, listener::Options { backlog: 7, insecure_tcp: false, access });

    let flags = Flags {
        boot_deadline: Some(Duration::from_secs(2)),
        while_booting: Some("hold".into()),
        backlog: Some(9),
        socket_mode: Some("0666".into()),
        socket_group: Some("root".into()),
        insecure_tcp: true,
        ..Flags::default()
    };
    let settings = merged(flags, toml).unwrap();
    assert_eq!((settings.policy, settings.deadline), (Policy::Hold, Duration::from_secs(2)));
    let access = Access { mode: 0o666, group: Some(0) };
    assert_eq!(settings.listening, listener::Options { backlog: 9, insecure_tcp: true, access });
}

#[test]
fn what_is_given_up_is_told_by_flag_or_file() {
    assert_eq!(merged(Flags::default(), "").unwrap().confine, Mode::Best);
    let strict = merged(Flags::default(), "confine = \"strict\"").unwrap();
    let flags = Flags { confine: Some(Mode::Off), ..Flags::default() };
    let off = merged(flags, "confine = \"strict\"").unwrap();
    assert_eq!((strict.confine, off.confine), (Mode::Strict, Mode::Off));
    assert_eq!(strict.needs_restart(&off), ["confine"]);
}

#[test]
fn files_for_tls_are_told_by_flag_or_file_and_need_each_other() {
    let toml = "[tls]\ncert = \"c\"\nkey = \"k\"\nca = \"a\"\ncrl = \"r\"";
    let flags = Flags { tls_key: Some("other".into()), ..Flags::default() };
    let files = merged(flags, toml).unwrap().tls;
    let [cert, key, ca, crl] = ["c", "other", "a", "r"].map(|path| Some(PathBuf::from(path)));
    assert_eq!(files, tls::Files { cert, key, ca, crl });
    assert!(merged(Flags::default(), "").unwrap().tls.is_empty());
    for toml in ["cert = \"c\"", "key = \"k\"", "ca = \"a\"", "crl = \"r\"", "cert = \"c\"\nkey = \"k\"\ncrl = \"r\""] {
        let error = merged(Flags::default(), &format!("[tls]\n{toml}")).unwrap_err();
        assert!(matches!(error, SettingsError::Tls(_)), "{toml}: {error}");
    }
}

#[test]
fn a_host_is_named_once() {
    let hosts = |hosts: &[&str]| {
        merged(Flags { hosts: hosts.iter().map(ToString::to_string).collect(), ..Flags::default() }, "")
    };
    for twice in ["unix:///s", "tcp://[::1]:80", "fd://", "fd://api", "fd://3"] {
        let error = hosts(&[twice, "tcp://h:1", twice]).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }
    assert!(hosts(&["fd://", "fd://*"]).is_err());
    assert!(hosts(&["tcp://h:0", "tcp://h:0", "tcp://h:1", "tcp://h:2"]).is_ok());
}

#[test]
fn what_cannot_be_is_refused() {
    for toml in [
        "[boot]\ndeadline = 0",
        "[boot]\npolicy = \"maybe\"",
        "[listen]\nbacklog = 0",
        "[listen]\nbacklog = 65536",
        "[listen]\nsocket_mode = \"rw\"",
        "[listen]\nsocket_group = \"no-such-group-here\"",
    ] {
        assert!(merged(Flags::default(), toml).is_err(), "{toml}");
    }
    assert!(merged(Flags { hosts: vec!["nonsense".into()], ..Flags::default() }, "").is_err());
    assert!(merged(Flags::default(), "[limits]\nruns = 0").is_err());
    assert!(merged(Flags::default(), "[limits]\nqueue = 1000000").is_err());
    for (toml, named) in [
        ("[events]\nkeep = 0", "0 events"),
        ("[events]\nkeep = 1000001", "1000001 events"),
        ("[history]\njobs = 0", "0 jobs to remember"),
        ("[limits]\nstack = \"63KiB\"", "limits.stack = 64512"),
        ("[limits]\nstack = \"17MiB\"", "16777216 bytes"),
    ] {
        assert!(merged(Flags::default(), toml).unwrap_err().to_string().contains(named), "{toml}");
    }
    assert!(Settings::merge(Flags::default(), File::default(), Places::default(), None).is_err());
}

#[test]
fn what_clients_may_take_of_http_is_told_by_the_file() {
    let http = |toml: &str| merged(Flags::default(), &format!("[http]\n{toml}"));
    assert_eq!(http("").unwrap().http, HttpLimits::default());
    let toml = "connections = 100\nstreams = 8\nhead = \"8KiB\"\nheaders = 32\nhead_timeout = \"1s\"\nidle_timeout = \"2s\"\n\
                body_timeout = \"3s\"\nbody_rate = 0\nanswer_timeout = \"4s\"\nstream_timeout = \"1h\"\n";
    let bounds = HttpLimits {
        connections: 100,
        connections_per_peer: 100,
        streams: 8,
        head: 8 << 10,
        headers: 32,
        head_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(2),
        body_timeout: Duration::from_secs(3),
        body_rate: 0,
        answer_timeout: Duration::from_secs(4),
        stream_timeout: Duration::from_secs(3600),
    };
    assert_eq!(http(toml).unwrap().http, bounds);
    assert_eq!(http("connections_per_peer = 10").unwrap().http.connections_per_peer, 10);
    for (toml, named) in [
        ("connections = 0", "http.connections = 0 is not from 1 to 1000000"),
        ("connections_per_peer = 0", "http.connections_per_peer"),
        ("streams = 0", "http.streams"),
        ("headers = 1", "http.headers"),
        ("head = 1", "http.head = 1 is not from 4096"),
        ("head = \"5GiB\"", "http.head"),
        ("head_timeout = 0", "http.head_timeout = 0s is not"),
        ("idle_timeout = \"2days\"", "http.idle_timeout"),
        ("origins = [\"*\"]", "\"*\" is not one exact origin"),
        ("origins = [\"null\"]", "\"null\" is not one exact origin"),
        ("origins = [\"https://*.example\"]", "no pattern"),
        ("names = [\"*\"]", "\"*\" is not the name of a host"),
    ] {
        let error = http(toml).expect_err(toml).to_string();
        assert!(error.contains(named), "{toml}: {error}");
    }
    let listed = http("origins = [\"https://app.example\"]\nnames = [\"build.example\"]").unwrap();
    assert_eq!(
        listed.callers,
        AllowedHosts::new(vec!["build.example".into()], vec!["https://app.example".into()]).unwrap()
    );
}

//! Tests of `Settings`: how flags, the configuration file and the environment are combined.

use capstan_listen::listener::SocketPermissions;

use super::*;

fn merge(flags: Flags, toml: &str) -> Result<Settings, SettingsError> {
    let dirs = DataDirs { home: Some("/h".into()), ..DataDirs::default() };
    Settings::merge(flags, toml::from_str(toml).unwrap(), &dirs, None)
}

fn hosts_as_text(settings: &Settings) -> Vec<String> {
    settings.hosts.iter().map(ToString::to_string).collect()
}

#[test]
fn settings_without_flags_and_file_have_defaults() {
    let settings = merge(Flags::default(), "").unwrap();
    assert_eq!(hosts_as_text(&settings), ["unix:///h/.local/state/capstan/capstan.sock"]);
    assert_eq!(settings.limits, Limits::default());
    assert_eq!((settings.history, settings.events), (HistoryLimits::default(), events::DEFAULT_CAPACITY));
    assert_eq!((settings.grace, settings.runs, settings.upload), (Duration::from_secs(10), 1000, 256 << 20));
}

#[test]
fn flag_overrides_the_file_and_the_file_overrides_the_default() {
    let toml = "hosts = [\"unix:///f\"]\ndata = \"/d\"\ngrace = \"1s\"\n[policy]\ntimeout = \"2h\"\nmemory = \"1GiB\"\n[limits]\nruns = 3\n\
                [compile]\ntimeout = 5\nmemory = \"2GiB\"\nupload = \"1MiB\"\n";
    let settings = merge(Flags::default(), toml).unwrap();
    assert_eq!(hosts_as_text(&settings), ["unix:///f"]);
    assert_eq!(settings.data, PathBuf::from("/d"));
    assert_eq!(settings.limits.timeout, Duration::from_secs(7200), "the operator may exceed the default");
    assert_eq!((settings.limits.memory, settings.runs, settings.upload), (1 << 30, 3, 1 << 20));
    assert_eq!(settings.compile, CompileLimits { timeout: Duration::from_secs(5), memory: 2 << 30 });
    assert_eq!(settings.grace, Duration::from_secs(1));

    let settings = merge(Flags::default(), "[history]\njobs = 5\nbytes = \"1MiB\"\n[events]\nkeep = 7").unwrap();
    assert_eq!((settings.history, settings.events), (HistoryLimits { jobs: 5, bytes: 1 << 20 }, 7));

    let flags = Flags { hosts: vec!["tcp://localhost:1".into()], data: Some("/x".into()), ..Flags::default() };
    let settings = merge(flags, toml).unwrap();
    assert_eq!(hosts_as_text(&settings), ["tcp://localhost:1"]);
    assert_eq!(settings.data, PathBuf::from("/x"));
}

#[test]
fn parse_of_an_unknown_key_or_an_invalid_value_names_it() {
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
fn runs_are_limited_by_max_map_count() {
    let runs_with = |max_map_count, toml| {
        let dirs = DataDirs { home: Some("/h".into()), ..DataDirs::default() };
        let settings = Settings::merge(Flags::default(), toml::from_str(toml).unwrap(), &dirs, max_map_count).unwrap();
        (settings.runs, settings.runs_requested, settings.runs_ceiling)
    };
    assert_eq!(runs_with(Some(65_530), "[limits]\nruns = 10000"), (10_000, 10_000, 10_000));
    assert_eq!(runs_with(None, "[limits]\nruns = 10000"), (10_000, 10_000, 10_000));
    let (runs, requested, ceiling) = runs_with(Some(30_000), "[limits]\nruns = 10000");
    assert!(runs == ceiling && requested == 10_000 && (4000..5000).contains(&runs), "{runs} of {requested}");
    assert_eq!(runs_with(Some(1), "").0, 1);
}

#[test]
fn listen_and_boot_settings_come_from_flag_or_file() {
    let settings = merge(Flags::default(), "").unwrap();
    assert_eq!(settings.listening, listener::Options::default());
    assert_eq!((settings.startup_policy, settings.boot_deadline), (StartupPolicy::Hold, Duration::from_secs(300)));

    let toml = "[boot]\ndeadline = \"1m\"\npolicy = \"answer\"\n\
                [listen]\nbacklog = 7\nsocket_mode = \"0600\"\nsocket_group = \"4242\"\n";
    let settings = merge(Flags::default(), toml).unwrap();
    assert_eq!((settings.startup_policy, settings.boot_deadline), (StartupPolicy::Answer, Duration::from_secs(60)));
    let permissions = SocketPermissions { mode: 0o600, group: Some(4242) };
    assert_eq!(settings.listening, listener::Options { backlog: 7, insecure_tcp: false, permissions });

    let flags = Flags {
        boot_deadline: Some(Duration::from_secs(2)),
        while_booting: Some("hold".into()),
        backlog: Some(9),
        socket_mode: Some("0666".into()),
        socket_group: Some("root".into()),
        insecure_tcp: true,
        ..Flags::default()
    };
    let settings = merge(flags, toml).unwrap();
    assert_eq!((settings.startup_policy, settings.boot_deadline), (StartupPolicy::Hold, Duration::from_secs(2)));
    let permissions = SocketPermissions { mode: 0o666, group: Some(0) };
    assert_eq!(settings.listening, listener::Options { backlog: 9, insecure_tcp: true, permissions });
}

#[test]
fn confine_mode_comes_from_flag_or_file() {
    assert_eq!(merge(Flags::default(), "").unwrap().confine, Mode::Best);
    let strict = merge(Flags::default(), "confine = \"strict\"").unwrap();
    let flags = Flags { confine: Some(Mode::Off), ..Flags::default() };
    let off = merge(flags, "confine = \"strict\"").unwrap();
    assert_eq!((strict.confine, off.confine), (Mode::Strict, Mode::Off));
    assert_eq!(strict.needs_restart(&off), ["confine"]);
}

#[test]
fn tls_files_come_from_flag_or_file_and_must_be_complete() {
    let toml = "[tls]\ncert = \"c\"\nkey = \"k\"\nca = \"a\"\ncrl = \"r\"";
    let flags = Flags { tls_key: Some("other".into()), ..Flags::default() };
    let files = merge(flags, toml).unwrap().tls;
    let [cert, key, ca, crl] = ["c", "other", "a", "r"].map(|path| Some(PathBuf::from(path)));
    assert_eq!(files, tls::Files { cert, key, ca, crl });
    assert!(merge(Flags::default(), "").unwrap().tls.is_empty());
    for toml in ["cert = \"c\"", "key = \"k\"", "ca = \"a\"", "crl = \"r\"", "cert = \"c\"\nkey = \"k\"\ncrl = \"r\""] {
        let error = merge(Flags::default(), &format!("[tls]\n{toml}")).unwrap_err();
        assert!(matches!(error, SettingsError::Tls(_)), "{toml}: {error}");
    }
}

#[test]
fn duplicate_host_is_rejected() {
    let hosts = |hosts: &[&str]| {
        merge(Flags { hosts: hosts.iter().map(ToString::to_string).collect(), ..Flags::default() }, "")
    };
    for twice in ["unix:///s", "tcp://[::1]:80", "fd://", "fd://api", "fd://3"] {
        let error = hosts(&[twice, "tcp://h:1", twice]).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }
    assert!(hosts(&["fd://", "fd://*"]).is_err());
    assert!(hosts(&["tcp://h:0", "tcp://h:0", "tcp://h:1", "tcp://h:2"]).is_ok());
}

#[test]
fn value_out_of_range_is_rejected() {
    for toml in [
        "[boot]\ndeadline = 0",
        "[boot]\npolicy = \"maybe\"",
        "[listen]\nbacklog = 0",
        "[listen]\nbacklog = 65536",
        "[listen]\nsocket_mode = \"rw\"",
        "[listen]\nsocket_group = \"no-such-group-here\"",
    ] {
        assert!(merge(Flags::default(), toml).is_err(), "{toml}");
    }
    assert!(merge(Flags { hosts: vec!["nonsense".into()], ..Flags::default() }, "").is_err());
    assert!(merge(Flags::default(), "[limits]\nruns = 0").is_err());
    assert!(merge(Flags::default(), "[limits]\nqueue = 1000000").is_err());
    for (toml, named) in [
        ("[events]\nkeep = 0", "events.keep = 0"),
        ("[events]\nkeep = 1000001", "events.keep = 1000001"),
        ("[history]\njobs = 0", "history.jobs = 0"),
        ("[limits]\nstack = \"63KiB\"", "limits.stack = 64512"),
        ("[limits]\nstack = \"17MiB\"", "from 65536 to 16777216"),
    ] {
        assert!(merge(Flags::default(), toml).unwrap_err().to_string().contains(named), "{toml}");
    }
    assert!(Settings::merge(Flags::default(), File::default(), &DataDirs::default(), None).is_err());
}

#[test]
fn http_limits_come_from_the_file() {
    let http = |toml: &str| merge(Flags::default(), &format!("[http]\n{toml}"));
    assert_eq!(http("").unwrap().http, HttpLimits::default());
    let toml = "connections = 100\nstreams = 8\nhead = \"8KiB\"\nheaders = 32\nhead_timeout = \"1s\"\nidle_timeout = \"2s\"\n\
                body_timeout = \"3s\"\nbody_rate = 0\nanswer_timeout = \"4s\"\nstream_timeout = \"1h\"\n";
    let limits = HttpLimits {
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
    assert_eq!(http(toml).unwrap().http, limits);
    assert_eq!(http("connections_per_peer = 10").unwrap().http.connections_per_peer, 10);
    for (toml, named) in [
        ("connections = 0", "http.connections = 0 is out of range; set it to a value from 1 to 1000000"),
        ("connections_per_peer = 0", "http.connections_per_peer"),
        ("streams = 0", "http.streams"),
        ("headers = 1", "http.headers"),
        ("head = 1", "http.head = 1 is out of range; set it to a value from 4096"),
        ("head = \"5GiB\"", "http.head"),
        ("head_timeout = 0", "http.head_timeout = 0s is out of range; set it to a value from 1ms to 1day"),
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
        listed.allowed_hosts,
        AllowedHosts::new(vec!["build.example".into()], vec!["https://app.example".into()]).unwrap()
    );
}

//! `capstan run`: through the daemon, or in process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use capstan_core::env::Env;
use capstan_core::mount::Access;
use capstan_core::policy::{MountRequest, PolicyRequest, Rule, SecretRequest};
use capstan_core::units;
use clap::Args;

use super::client::Client;
use super::determinism::SamenessArgs;
use super::environment::Environment;
use super::error::CliError;
use super::exit_code::Ending;
use super::interrupt::Interrupt;
use super::paths::DirArg;
use super::program::Target;
use super::{local, output, paths, remote, submit};

/// What `capstan run` is called with.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Leave it to the daemon: print the id of the job and return. Up to 1 MiB of stdin goes with it, unless that is a terminal.
    #[arg(short, long, conflicts_with = "outcome")]
    detach: bool,
    /// Leave stdin open for `capstan attach`, and send none with the job.
    #[arg(short, long, requires = "detach")]
    interactive: bool,
    /// Set a variable of the guest; without a value, the caller's own if it is set. Nothing else of the environment is handed on.
    #[arg(long, value_name = "K[=V]")]
    env: Vec<String>,
    /// Grant a directory or a file, with `:ro` for reading only. The guest finds it at GUEST, by default at HOST; a relative path is below `/`
    /// there, so `--dir .` is the root of the guest. In process only.
    #[arg(long, value_name = "HOST[::GUEST][:ro]")]
    dir: Vec<DirArg>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Wait for jobs of the handler that have the same key. Through the daemon only.
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// Write how it ended to a file, as JSON: a guest may exit 124 itself.
    #[arg(long, value_name = "FILE")]
    outcome: Option<PathBuf>,
    /// A handler of the daemon, or a program to run in process (through the daemon where one is named), and the guest's arguments.
    #[arg(required = true, value_name = "NAME|FILE.wasm [ARGS]", trailing_var_arg = true, allow_hyphen_values = false)]
    pub(super) words: Vec<OsString>,
}

/// What is asked of the policy of a job.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct PolicyArgs {
    /// Kill it when it runs longer: 5s, 500ms, 1m 30s, or seconds.
    #[arg(long, value_name = "TIME", value_parser = units::time_limit)]
    timeout: Option<Duration>,
    /// Kill it when it computes for longer, waiting not counted.
    #[arg(long, value_name = "TIME", value_parser = units::time_limit)]
    cpu: Option<Duration>,
    /// Memory it may have in all: 64MiB, 10kB, or bytes.
    #[arg(long, value_name = "SIZE", value_parser = units::size_limit)]
    memory: Option<u64>,
    /// Ask the daemon for a directory or a file that its operator has named, or for a path that the operator allows, for reading, or with
    /// `:rw` for writing too. Default of GUEST: /NAME, or the path.
    #[arg(long, value_name = "NAME|PATH[::GUEST][:rw]", value_parser = mount)]
    mount: Option<Vec<MountRequest>>,
    /// Bytes it may write to its directories in all: 64MiB, 10kB, or bytes.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    disk: Option<u64>,
    /// Files, directories and links it may make in all.
    #[arg(long, value_name = "COUNT")]
    files: Option<u64>,
    /// Give it a directory of its own at /scratch, for so many bytes, which is gone after the run.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    scratch: Option<u64>,
    /// Ask the daemon for a variable of its own environment.
    #[arg(long, value_name = "NAME")]
    pass_env: Option<Vec<String>>,
    /// Ask the daemon for a secret that its operator keeps. Default of VARIABLE: the name in capital letters.
    #[arg(long, value_name = "NAME[=VARIABLE]", value_parser = secret)]
    secret: Option<Vec<SecretRequest>>,
    /// Let it speak to a host: example.com:443, *.example.com, 10.1.0.0/16:8000-8100, 192.0.2.7:53/udp. May be repeated.
    #[arg(long, value_name = "RULE")]
    allow_net: Option<Vec<Rule>>,
    /// Connections over TCP and hosts over UDP that it may have in all.
    #[arg(long, value_name = "N")]
    connections: Option<u64>,
    /// Bytes that it may send and receive in all.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    traffic: Option<u64>,
    #[command(flatten)]
    sameness: SamenessArgs,
}

impl PolicyArgs {
    pub(super) fn asked(&self) -> PolicyRequest {
        let Self { timeout, cpu, memory, mount: mounts, pass_env, secret: secrets, sameness, .. } = self.clone();
        let Self { disk, files, scratch, allow_net: network, connections, traffic, .. } = self.clone();
        let grants = PolicyRequest { mounts, pass_env, secrets, scratch, network, ..sameness.asked() };
        PolicyRequest { timeout, cpu, memory, disk, files, connections, traffic, ..grants }
    }
}

/// Reads `NAME[::GUEST][:ro|:rw]`, or the same with an absolute path in the place of the name.
fn mount(text: &str) -> Result<MountRequest, &'static str> {
    let (rest, access) = match text.strip_suffix(":rw") {
        Some(rest) => (rest, Access::ReadWrite),
        None => (text.strip_suffix(":ro").unwrap_or(text), Access::ReadOnly),
    };
    let (name, guest) = rest.split_once("::").map_or((rest, None), |(name, guest)| (name, Some(guest.to_owned())));
    let is_path = name.starts_with('/');
    if name.is_empty() || name.contains(':') || (name.contains('/') && !is_path) || guest.as_deref() == Some("") {
        return Err("expected the name of a mount or an absolute path, NAME or NAME::GUEST, with :rw to write there");
    }
    let name = name.to_owned();
    let (name, path) = if is_path { (None, Some(name)) } else { (Some(name), None) };
    Ok(MountRequest { name, path, guest, access, ..MountRequest::default() })
}

/// Reads `NAME[=VARIABLE]`.
fn secret(text: &str) -> Result<SecretRequest, &'static str> {
    let (name, env) = text.split_once('=').map_or((text, None), |(name, env)| (name, Some(env.to_owned())));
    if name.is_empty() || env.as_deref() == Some("") {
        return Err("expected the name of a secret, NAME or NAME=VARIABLE");
    }
    Ok(SecretRequest { name: name.to_owned(), env })
}

/// What a run is to be given, whichever way it goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) args: Vec<String>,
    pub(super) env: Env,
    pub(super) asked: PolicyRequest,
    pub(super) concurrency_key: Option<String>,
}

impl Run {
    /// Runs to the end, and tells what it was: by the exit code, on stderr unless the guest ended by itself, and in the file.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(
        self,
        client: Client,
        daemon_named: bool,
        environment: &Environment,
    ) -> Result<ExitCode, CliError> {
        if self.detach {
            return self.submit(&client, environment).await;
        }
        let file = match self.outcome.as_deref() {
            None => None,
            Some(path) => Some((path, paths::create(path)?)),
        };
        let result = self.begin(&client, daemon_named, environment).await;
        if let Some((path, file)) = file {
            let ending = match &result {
                Ok(ending) => ending,
                Err(error) => &Ending::failed(&self.words[0].to_string_lossy(), error),
            };
            ending.write(&file).map_err(paths::at(path))?;
        }
        let ending = result?;
        for message in ending.truncated().into_iter().chain(ending.message()) {
            output::complain(message);
        }
        Ok(ExitCode::from(ending.exit_code))
    }

    async fn begin(&self, client: &Client, daemon_named: bool, environment: &Environment) -> Result<Ending, CliError> {
        let given = self.given(environment)?;
        let target = Target::of(&self.words[0], daemon_named)?;
        let in_process = matches!(target, Target::File(_)) && !daemon_named;
        if !in_process && !self.dir.is_empty() {
            return Err(CliError::NoDirectories);
        }
        let mut interrupt = Interrupt::listen()?;
        match target {
            Target::Handler(name) => remote::run(client, &name, &given, &mut interrupt).await,
            Target::File(file) if daemon_named => remote::run_file(client, &file, &given, &mut interrupt).await,
            Target::File(file) => {
                let mounts = self.dir.iter().map(DirArg::open).collect::<Result<_, _>>()?;
                local::run(&file, given, mounts, &mut interrupt).await
            }
        }
    }

    /// Leaves the run to the daemon, which is asked even where the user named none: there is no other place to leave it.
    async fn submit(&self, client: &Client, environment: &Environment) -> Result<ExitCode, CliError> {
        if !self.dir.is_empty() {
            return Err(CliError::NoDirectories);
        }
        let target = Target::of(&self.words[0], true)?;
        submit::submit(client, target, &self.given(environment)?, self.interactive).await
    }

    fn given(&self, environment: &Environment) -> Result<Given, CliError> {
        Ok(Given {
            args: guest_args(&self.words[1..])?,
            env: guest_env(&self.env, environment)?,
            asked: self.policy.asked(),
            concurrency_key: self.concurrency_key.clone(),
        })
    }
}

fn guest_args(words: &[OsString]) -> Result<Vec<String>, CliError> {
    let numbered = words.iter().enumerate();
    numbered.map(|(at, word)| word.to_str().map(str::to_owned).ok_or(CliError::NotText(at + 1))).collect()
}

fn guest_env(args: &[String], caller: &Environment) -> Result<Env, CliError> {
    let mut env = Env::new();
    for arg in args {
        if arg.contains('=') {
            env.set_pair(arg)?;
        } else if let Some(value) = caller.get(arg) {
            env.set(arg, value.to_str().ok_or_else(|| CliError::VariableNotText(arg.clone()))?)?;
        } else if arg.is_empty() {
            env.set("", "")?;
        }
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use capstan_core::env::EnvError;

    use super::*;

    #[test]
    fn a_variable_without_a_value_is_the_callers() {
        let caller = Environment::from([("HOME", "/h"), ("EMPTY", ""), ("A", "caller's")]);
        let args = ["A=1", "HOME", "NOT_SET", "EMPTY", "B=x=y", "A=2"].map(str::to_owned);
        let env = guest_env(&args, &caller).unwrap();
        assert_eq!(env.iter().collect::<Vec<_>>(), [("A", "2"), ("HOME", "/h"), ("EMPTY", ""), ("B", "x=y")]);
        assert_eq!(guest_env(&[], &caller).unwrap(), Env::new());
    }

    #[test]
    fn variables_that_cannot_be_handed_on_are_refused() {
        let odd = OsString::from_vec(vec![0xff]);
        let caller = Environment::from([("ODD", odd)]);
        assert!(matches!(guest_env(&["ODD".into()], &caller), Err(CliError::VariableNotText(name)) if name == "ODD"));
        for arg in ["", "=x"] {
            assert!(matches!(guest_env(&[arg.into()], &caller), Err(CliError::Env(EnvError::EmptyName))), "{arg}");
        }
    }

    #[test]
    fn a_mount_is_a_name() {
        let asked = |name: &str, guest: Option<&str>, access| MountRequest {
            name: Some(name.into()),
            guest: guest.map(Into::into),
            access,
            ..MountRequest::default()
        };
        assert_eq!(mount("data"), Ok(asked("data", None, Access::ReadOnly)));
        assert_eq!(mount("data:rw"), Ok(asked("data", None, Access::ReadWrite)));
        assert_eq!(mount("data::/in:ro"), Ok(asked("data", Some("/in"), Access::ReadOnly)));
        let below = MountRequest { path: Some("/srv/data".into()), ..MountRequest::default() };
        assert_eq!(mount("/srv/data"), Ok(below));
        for text in ["", "::/in", "data::", "srv/data", "data:rx", "a:b"] {
            assert!(mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn arguments_are_text() {
        let words = |bytes: &[u8]| [OsString::from("a"), OsString::from_vec(bytes.to_vec())];
        assert_eq!(guest_args(&words("ü".as_bytes())).unwrap(), ["a", "ü"]);
        assert!(matches!(guest_args(&words(b"\xff")), Err(CliError::NotText(2))));
    }
}

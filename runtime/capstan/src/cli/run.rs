//! `capstan run`: runs a handler through the daemon, or a file in process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use capstan_core::env::Env;
use capstan_core::manifest::Manifest;
use capstan_core::mount::Mount;
use capstan_core::units;
use clap::Args;

use super::client::Client;
use super::environment::Environment;
use super::error::CliError;
use super::interrupt::Interrupt;
use super::job_spec::JobSpec;
use super::local::{LocalCompile, LocalProgram};
use super::paths::DirArg;
use super::policy_args::PolicyArgs;
use super::program::Target;
use super::push::Parts;
use super::queue_args::QueueArgs;
use super::run_report::RunReport;
use super::stdin::GuestStdin;
use super::{archive, cache, local, output, paths, project, remote, script, submit};

/// The command line of `capstan run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Submit a background job: print its id and return, instead of waiting for it [default: off]
    ///
    /// Always uses a daemon.
    #[arg(short, long, conflicts_with = "outcome")]
    detach: bool,
    /// Read stdin, whatever it is; with -d, keep the stdin of the job open for `capstan attach` [default: read a file or a terminal]
    ///
    /// Without it, the guest reads a stdin that is a file, as in `< FILE`, or a terminal (not with -d). It finds any other stdin empty: a
    /// pipe may belong to a loop or a supervisor.
    #[arg(short, long, conflicts_with = "stdin")]
    interactive: bool,
    /// File from which the guest reads its stdin; `-` is the stdin of this command [default: see -i]
    ///
    /// With -d, the file is sent to its end with the job, up to the upload limit of the daemon.
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Variable of the guest. May be repeated [default: none]
    ///
    /// Without =VALUE it takes the value that it has in the environment of this command, if it is set. The guest gets no other variables of
    /// this environment.
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Directory or file to grant to a run in process, read-write unless `:ro`. May be repeated [default: none]
    ///
    /// The guest sees it at GUEST, by default at HOST. A relative path starts at `/` in the guest, so `--dir .` is its root. Through the
    /// daemon, use --mount. Example: --dir ./data::/in:ro
    #[arg(long, value_name = "HOST[::GUEST][:ro]")]
    dir: Vec<DirArg>,
    /// Directory that the guest finds at /app, read-only, with a FILE.wasm or a script [default: only the script is there]
    ///
    /// A script must lie in it.
    #[arg(long, value_name = "DIR")]
    app: Option<PathBuf>,
    /// Maximum memory for compiling a FILE.wasm of 1 MiB in process: 512MiB, or bytes [default: no limit]
    ///
    /// A larger program gets a quarter of it more for each further MiB. A daemon has its own setting.
    #[arg(long, value_name = "SIZE", value_parser = units::size_limit)]
    compile_memory: Option<u64>,
    /// Compile a FILE.wasm in process, even if its code is in the cache, and do not keep its code [default: off]
    #[arg(long)]
    no_cache: bool,
    /// Maximum size of the cache of compiled code: 1GiB, or bytes [default: 1GiB]
    ///
    /// Code that was used least recently makes way for new code.
    #[arg(long, value_name = "SIZE", env = "CAPSTAN_CACHE_SIZE", hide_env = true, value_parser = units::size_limit)]
    cache_size: Option<u64>,
    /// Function to call in place of the entry point: 'f(1, "a")', or its name if ARGS are its arguments [default: the entry point]
    ///
    /// For libraries, reactors and components, see `capstan inspect FILE`. The result is printed after the output of the guest. Values are
    /// written in WAVE. A function in an interface is named as in 'package:name/interface#f(1)'. Not with -d.
    #[arg(long, value_name = "CALL", conflicts_with = "detach")]
    invoke: Option<String>,
    /// Manifest whose name, variables and policy apply to a FILE.wasm or a script in process [default: none]
    ///
    /// Its limits replace the defaults below. A handler of a daemon has the manifest that it was pushed with.
    #[arg(long, value_name = "JOB.toml")]
    manifest: Option<PathBuf>,
    /// Key that limits concurrency: jobs of the handler with the same key run one after the other [default: none]
    ///
    /// Only through the daemon. The policy may allow more than one at a time.
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// File to which to write the outcome, as JSON [default: none]
    ///
    /// The file tells a timeout from a guest that itself exits with 124. Not with -d.
    #[arg(long, value_name = "FILE")]
    outcome: Option<PathBuf>,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Handler of the daemon, program file or script to run, then the arguments of the guest
    ///
    /// It is a file if it contains a slash, or if it ends in .wasm or .wat and that file exists or no daemon is named. It is a script if it
    /// exists and ends like those of a runtime; see `capstan runtime`. A file runs in process, or on the daemon that -H or CAPSTAN_HOST names.
    /// All words after the name go to the guest unchanged.
    #[arg(
        required = true,
        value_name = "NAME|FILE.wasm|SCRIPT [ARGS]",
        trailing_var_arg = true,
        allow_hyphen_values = false
    )]
    pub(super) words: Vec<OsString>,
}

impl Run {
    /// Runs to the end and reports the outcome: as the exit code, on stderr unless the guest exited by itself, and in the `--outcome` file.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(
        self,
        client: Client,
        is_daemon_explicit: bool,
        environment: &Environment,
    ) -> Result<ExitCode, CliError> {
        if self.detach {
            return self.submit(&client, environment).await;
        }
        // Created first, so that nothing runs if the outcome cannot be written.
        let file = match self.outcome.as_deref() {
            None => None,
            Some(path) => Some((path, paths::create(path)?)),
        };
        let result = self.run_to_end(&client, is_daemon_explicit, environment).await;
        if let Some((path, file)) = file {
            let report = match &result {
                Ok(report) => report,
                Err(error) => &RunReport::failed(&self.words[0].to_string_lossy(), error),
            };
            report.write(&file).map_err(paths::file_error(path))?;
        }
        let report = result?;
        for message in report.truncation_message().into_iter().chain(report.message()) {
            output::print_error(message);
        }
        Ok(ExitCode::from(report.exit_code))
    }

    async fn run_to_end(
        &self,
        client: &Client,
        is_daemon_explicit: bool,
        environment: &Environment,
    ) -> Result<RunReport, CliError> {
        let spec = self.job_spec(environment)?;
        let target = self.target(is_daemon_explicit, environment)?;
        let is_in_process = !matches!(target, Target::Handler(_)) && !is_daemon_explicit;
        if !is_in_process && !self.dir.is_empty() {
            return Err(CliError::DirNeedsInProcess);
        }
        if matches!(target, Target::Handler(_)) && self.app.is_some() {
            return Err(CliError::FilesNeedFile);
        }
        if !is_in_process && self.compile_memory.is_some() {
            return Err(CliError::CompileMemoryNeedsInProcess);
        }
        if !is_in_process && self.manifest.is_some() {
            return Err(CliError::ManifestNeedsInProcess);
        }
        let stdin = GuestStdin::for_run(self.stdin.as_deref(), self.interactive)?;
        let mut interrupt = Interrupt::listen()?;
        match target {
            Target::Handler(name) => remote::run(client, &name, &spec, stdin, &mut interrupt).await,
            Target::File(file) if is_daemon_explicit => {
                let files = self.app.as_deref().map(archive::pack).transpose()?;
                let parts = Parts { files, ..remote::file_parts(&file, &spec)? };
                remote::run_parts(client, parts, &file, &spec, stdin, &mut interrupt).await
            }
            Target::Script(file) if is_daemon_explicit => {
                let parts = script::parts(client, &file, self.app.as_deref(), &spec).await?;
                remote::run_parts(client, parts, &file, &spec, stdin, &mut interrupt).await
            }
            Target::File(file) => {
                let mounts = self.app.as_deref().map(script::files_mount).transpose()?;
                let program = match &self.manifest {
                    Some(manifest) => LocalProgram::with_manifest(&file, read_manifest(manifest)?),
                    None => LocalProgram::of_file(&file),
                };
                self.run_in_process(program, spec, mounts, stdin, environment, &mut interrupt).await
            }
            Target::Script(file) => {
                let own = self.manifest.as_deref().map(read_manifest).transpose()?.unwrap_or_default();
                let (program, mount) = script::local(&file, self.app.as_deref(), own, environment)?;
                self.run_in_process(program, spec, Some(mount), stdin, environment, &mut interrupt).await
            }
        }
    }

    async fn run_in_process(
        &self,
        program: LocalProgram,
        spec: JobSpec,
        files: Option<Mount>,
        stdin: GuestStdin,
        environment: &Environment,
        interrupt: &mut Interrupt,
    ) -> Result<RunReport, CliError> {
        let mut mounts = self.dir.iter().map(DirArg::open).collect::<Result<Vec<_>, _>>()?;
        mounts.extend(files);
        let artifacts = if self.no_cache { None } else { cache::open(environment, self.cache_size) };
        let compile = LocalCompile { memory: self.compile_memory, artifacts };
        local::run(program, spec, mounts, stdin, compile, interrupt).await
    }

    /// Returns what the first word names.
    fn target(&self, is_daemon_explicit: bool, environment: &Environment) -> Result<Target, CliError> {
        let word = &self.words[0];
        match script::find(word, environment)? {
            Some(script) => Ok(Target::Script(script)),
            None => Target::parse(word, is_daemon_explicit),
        }
    }

    /// Submits a background job. It uses the default daemon if the user named none, since a job cannot run in the background without one.
    async fn submit(&self, client: &Client, environment: &Environment) -> Result<ExitCode, CliError> {
        if !self.dir.is_empty() {
            return Err(CliError::DirNeedsInProcess);
        }
        if self.manifest.is_some() {
            return Err(CliError::ManifestNeedsInProcess);
        }
        let target = self.target(true, environment)?;
        if self.app.is_some() && matches!(target, Target::Handler(_)) {
            return Err(CliError::FilesNeedFile);
        }
        let stdin = if self.interactive { None } else { Some(GuestStdin::for_job(self.stdin.as_deref())?) };
        submit::submit(client, target, self.app.as_deref(), &self.job_spec(environment)?, &self.queue, stdin).await
    }

    fn job_spec(&self, environment: &Environment) -> Result<JobSpec, CliError> {
        Ok(JobSpec {
            args: guest_args(&self.words[1..])?,
            env: guest_env(&self.env, environment)?,
            policy: self.policy.to_request(),
            concurrency_key: self.concurrency_key.clone(),
            invoke: self.invoke.clone(),
        })
    }
}

/// Reads a manifest, without the tables that only the command uses.
fn read_manifest(path: &Path) -> Result<Manifest, CliError> {
    let invalid = |reason: String| CliError::Manifest { file: path.display().to_string(), reason };
    let text = String::from_utf8(paths::read(path)?).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
    Manifest::parse(&project::daemon_manifest(&text)).map_err(|error| invalid(error.to_string()))
}

/// Returns the arguments of a guest.
///
/// # Errors
/// [`CliError::ArgNotUtf8`]
pub(super) fn guest_args(words: &[OsString]) -> Result<Vec<String>, CliError> {
    let numbered = words.iter().enumerate();
    numbered.map(|(index, word)| word.to_str().map(str::to_owned).ok_or(CliError::ArgNotUtf8(index + 1))).collect()
}

/// Returns the variables of `--env`. One without a value takes that of `caller`, and is left out if it is not set there.
///
/// # Errors
/// [`CliError`]
pub(super) fn guest_env(args: &[String], caller: &Environment) -> Result<Env, CliError> {
    let mut env = Env::new();
    for arg in args {
        if arg.contains('=') {
            env.set_pair(arg)?;
        } else if let Some(value) = caller.get(arg) {
            env.set(arg, value.to_str().ok_or_else(|| CliError::VariableNotUtf8(arg.clone()))?)?;
        } else if arg.is_empty() {
            // Fails: a variable needs a name.
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
    fn variable_without_value_is_taken_from_caller() {
        let caller = Environment::from([("HOME", "/h"), ("EMPTY", ""), ("A", "caller's")]);
        let args = ["A=1", "HOME", "NOT_SET", "EMPTY", "B=x=y", "A=2"].map(str::to_owned);
        let env = guest_env(&args, &caller).unwrap();
        assert_eq!(env.iter().collect::<Vec<_>>(), [("A", "2"), ("HOME", "/h"), ("EMPTY", ""), ("B", "x=y")]);
        assert_eq!(guest_env(&[], &caller).unwrap(), Env::new());
    }

    #[test]
    fn invalid_variables_are_rejected() {
        let odd = OsString::from_vec(vec![0xff]);
        let caller = Environment::from([("ODD", odd)]);
        assert!(matches!(guest_env(&["ODD".into()], &caller), Err(CliError::VariableNotUtf8(name)) if name == "ODD"));
        for arg in ["", "=x"] {
            assert!(matches!(guest_env(&[arg.into()], &caller), Err(CliError::Env(EnvError::EmptyName))), "{arg}");
        }
    }

    #[test]
    fn arguments_must_be_utf8() {
        let words = |bytes: &[u8]| [OsString::from("a"), OsString::from_vec(bytes.to_vec())];
        assert_eq!(guest_args(&words("ü".as_bytes())).unwrap(), ["a", "ü"]);
        assert!(matches!(guest_args(&words(b"\xff")), Err(CliError::ArgNotUtf8(2))));
    }
}

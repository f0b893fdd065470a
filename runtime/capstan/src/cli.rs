//! The `capstan` command: its command line, and what each subcommand does.
//!
//! In reading order:
//!
//! - which daemon: [`address`], [`environment`], [`tls`], [`paths`];
//! - talking to it: [`client`], [`upload`], [`frames`];
//! - `run`, through the daemon or in process: [`policy_args`], [`determinism`], [`job_spec`], [`stdin`], [`stream_threads`],
//!   [`program`], [`run`], [`remote`], [`local`], [`run_report`];
//! - background jobs: [`submit`], [`jobs`], [`job_id`], [`ps`], [`logs`], [`attach`], [`wait`], [`job_control`], [`inspect`], [`stats`],
//!   [`events`];
//! - the compiled code of files that were run in process: [`cache`];
//! - the store of durable jobs, without a daemon: [`store`];
//! - one request and its response: [`push`], [`handlers`], [`commands`], [`check`], [`info`], [`version`], [`schema`];
//! - output: [`output`], [`mod@format`], [`error`], [`exit_code`].
//!
//! The exit code is that of the run (see [`Outcome::exit_code`](capstan_core::outcome::Outcome::exit_code)), 127 for an unknown handler, and
//! 125 for every other failure, including wrong usage.

mod address;
mod attach;
mod cache;
mod check;
mod client;
mod commands;
mod daemon;
mod determinism;
mod environment;
mod error;
mod events;
mod exit_code;
mod format;
mod framed_output;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
mod handlers;
mod info;
mod inspect;
mod interrupt;
mod io_error;
mod job_control;
mod job_id;
mod job_spec;
mod jobs;
mod local;
mod logs;
mod output;
mod paths;
mod policy_args;
mod program;
mod ps;
mod push;
mod random;
mod remote;
mod run;
mod run_report;
mod schema;
mod stats;
mod stdin;
mod store;
mod stream_threads;
mod submit;
mod time_arg;
mod tls;
mod upload;
mod version;
mod wait;

use std::future::Future;
use std::process::ExitCode;

use capstan_sandbox::compile_child;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::address::{DaemonAddress, DaemonAddressError};
use self::client::Client;
use self::environment::Environment;
use self::error::CliError;
use self::tls::TlsArgs;

/// Run WebAssembly programs as jobs, each in a fresh sandbox
#[derive(Debug, Parser)]
#[command(
    name = "capstan",
    version,
    after_help = "\
The command uses the first of these daemons: -H, CAPSTAN_HOST, the default unix socket (/run/capstan.sock
for root, for others capstan.sock in XDG_RUNTIME_DIR, else in the data directory).

Examples:
  capstan run wc.wasm < README.md    run a program in this process, without a daemon
  capstan daemon                     start a daemon
  capstan push wc.wasm               make wc.wasm the handler `wc` of the daemon
  capstan run wc < README.md         run the handler
  capstan run -d wc < README.md      run it as a background job, and print the id of the job"
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// The options before the subcommand.
#[derive(Debug, Args)]
struct GlobalArgs {
    /// Address of the daemon: unix://PATH or tcp://HOST:PORT [default: CAPSTAN_HOST, else the default unix socket]
    #[arg(short = 'H', long, value_name = "ADDR")]
    host: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// `--host` after the subcommand, which overrides the one before it.
#[derive(Debug, Args)]
struct HostArg {
    /// Address of the daemon: unix://PATH or tcp://HOST:PORT [default: CAPSTAN_HOST, else the default unix socket]
    #[arg(short = 'H', long, value_name = "ADDR", global = true)]
    host: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or SIGINT
    ///
    /// Prints each address on which it listens, and `ready` once it accepts connections. Logs to stderr; CAPSTAN_LOG filters the log.
    /// SIGHUP reloads the configuration.
    ///
    /// Exit codes: 0 after a clean stop, 1 if the start or the stop failed, 125 for wrong usage.
    #[command(after_help = "\
Examples:
  capstan daemon
  capstan daemon -H unix:///tmp/capstan.sock -H tcp://127.0.0.1:7878 --data /tmp/capstan")]
    Daemon(daemon::Daemon),
    /// Push a program to the daemon, as a handler
    ///
    /// The daemon checks and compiles the program. If the handler exists, the program replaces it. Running jobs finish with the old program.
    #[command(after_help = "\
Examples:
  capstan push wc.wasm                        makes the handler `wc`
  capstan push count=wc.wasm                  makes the handler `count`
  capstan push wc.wasm --manifest job.toml    with a description, variables and a policy
  capstan push wc=- < wc.wasm                 from stdin")]
    Push(ClientCommand<push::Push>),
    /// Run a handler through the daemon, or a file in process
    ///
    /// Passes stdout and stderr through, and stdin if it is a file or a terminal, or with -i. Ctrl-C stops the run.
    ///
    /// The defaults below are those of Capstan. Through the daemon, the configuration of the daemon and the manifest of the handler may set
    /// other limits. A run can only lower these. In process, a run can also raise the defaults.
    #[command(
        override_usage = "capstan run [OPTIONS] [--] NAME|FILE.wasm [ARGS]...",
        after_help = "\
Examples:
  capstan run wc --top 3 < README.md              a handler; `--top 3` goes to the guest
  capstan run --timeout 5s ./grep.wasm -c needle  a file, in process, for at most 5 seconds
  capstan run --dir .:ro ./list.wasm              the guest can read the current directory
  capstan run --mount data --env LANG wc          a mount of the daemon, and a variable of the caller
  cat a b | capstan run -i wc                     -i reads a pipe
  capstan run -d wc < README.md                   a background job; see `capstan logs` and `capstan wait`

Exit codes:
  0-255  the exit code of the guest
  124    the run timed out
  125    the run was rejected, Capstan failed, or the command was used wrongly
  127    unknown handler
  134    the guest trapped
  137    the run was stopped (also with Ctrl-C), or went over a limit"
    )]
    Run(ClientCommand<run::Run>),
    /// Show what a job would be allowed, without running it
    ///
    /// Prints `allowed` or `denied`, and each rule that clamps or denies something. Exits with 125 if the job would be
    /// rejected.
    ///
    /// The defaults below are those of Capstan. The configuration of the daemon and the manifest of the handler may set other limits.
    #[command(after_help = "\
Example:
  capstan check --memory 1GiB --mount data:rw wc")]
    Check(ClientCommand<check::Check>),
    /// Print the names of all handlers, one per line
    Commands(ClientCommand<commands::Commands>),
    /// List, show and remove handlers
    Handlers(ClientCommand<handlers::Handlers>),
    /// List running and waiting jobs, or all jobs
    Ps(ClientCommand<ps::Ps>),
    /// Print the output of a job, stdout to stdout and stderr to stderr
    ///
    /// The daemon keeps the newest 1 MiB of the output of a background job. The exit code is 0, whatever the outcome of the job.
    #[command(after_help = "\
Examples:
  capstan logs 6f05a8fe                            the output so far
  capstan logs -f --tail 20 6f05a8fe               the last 20 lines, then new output until the job ends
  capstan logs -t --since 10m --stderr 6f05a8fe    the stderr of the last 10 minutes, with times")]
    Logs(ClientCommand<logs::Logs>),
    /// Connect stdin, stdout and stderr to those of a running job
    ///
    /// Exits like `run` when the job ends. The end of stdin ends the stdin of the job. Ctrl-C detaches: the job continues, and its stdin stays
    /// open for the next client.
    #[command(after_help = "\
Example:
  job=$(capstan run -d -i wc)
  capstan attach $job < README.md")]
    Attach(ClientCommand<attach::Attach>),
    /// Wait until jobs have ended, and print the exit code of each
    ///
    /// Exits with the code of the last job on the command line: that of the guest, or 124, 134 or 137 as for `run`. Exits with 125 if that job
    /// is unknown or does not end within --timeout.
    Wait(ClientCommand<wait::Wait>),
    /// Cancel jobs, immediately or after a grace time
    ///
    /// Prints the id of each job. Does not wait for the end of the jobs. Exits with 125 if one cannot be cancelled.
    Cancel(ClientCommand<job_control::Cancel>),
    /// Kill jobs immediately
    ///
    /// Prints the id of each job. Exits with 125 if one cannot be killed.
    Kill(ClientCommand<job_control::Kill>),
    /// Show everything that the daemon knows about a job, as JSON
    Inspect(ClientCommand<inspect::Inspect>),
    /// Remove ended jobs and their output from the daemon
    Rm(ClientCommand<job_control::Rm>),
    /// Show what running jobs use, once per second, or what ended jobs have used
    ///
    /// CPU is the share of one processor since the last update: 200 % means two processors.
    Stats(ClientCommand<stats::Stats>),
    /// Show the events of the daemon as they happen
    #[command(after_help = "\
Examples:
  capstan events                                    new events, until Ctrl-C
  capstan events --since 1h --until 0s              the events of the last hour
  capstan events --filter handler=wc --filter event=job.end --json")]
    Events(ClientCommand<events::Events>),
    /// Show the state of the daemon
    Info(ClientCommand<info::Info>),
    /// Show the versions of this command and of the daemon
    Version(ClientCommand<version::Version>),
    /// List or remove the compiled code of programs that were run from files
    ///
    /// `capstan run FILE.wasm` keeps the code that it has compiled, so that the next run of the file starts at once. The cache is in
    /// CAPSTAN_CACHE, else in XDG_CACHE_HOME/capstan, else in ~/.cache/capstan.
    Cache(cache::Cache),
    /// Check, back up, restore and vacuum the store of durable jobs
    ///
    /// Works on the files of the data directory. Needs no daemon.
    #[command(after_help = "\
Examples:
  capstan store check                   reads everything, also while the daemon runs
  capstan store backup /backup/today    copies the store, also while the daemon runs
  capstan store restore /backup/today   makes the store from a backup; the daemon must be stopped
  capstan store vacuum                  gives unused space back; the daemon must be stopped

Exit codes:
  0    done, and nothing is damaged
  1    something is damaged
  125  the store cannot be used, or the command was used wrongly")]
    Store(store::Store),
    /// Print the JSON Schema of manifests or of policies
    #[command(after_help = "\
Example:
  capstan schema > job.schema.json")]
    Schema(schema::Schema),
    /// Print a completion script for a shell
    #[command(after_help = "\
Example:
  capstan completions bash > ~/.local/share/bash-completion/completions/capstan")]
    Completions {
        /// Shell for which to print the script
        shell: clap_complete::Shell,
    },
    /// Compile one program; the daemon runs this in a process that it can kill
    #[command(hide = true)]
    CompileChild { order: String },
}

/// A subcommand that connects to a daemon.
#[derive(Debug, Args)]
struct ClientCommand<A: Args> {
    #[command(flatten)]
    host: HostArg,
    #[command(flatten)]
    args: A,
}

/// Runs the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the message cannot be printed, there is no other place to report that.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit_code::FAILED) } else { ExitCode::SUCCESS };
        }
    };
    cli.run(&Environment::from_process()).unwrap_or_else(|error| {
        if !error.is_broken_pipe() {
            output::print_error(&error);
        }
        ExitCode::from(error.exit_code())
    })
}

impl Cli {
    fn run(self, environment: &Environment) -> Result<ExitCode, CliError> {
        let global = self.global;
        match self.command {
            Command::Daemon(daemon) => Ok(crate::daemon::run(daemon.flags(global.host, global.tls))),
            Command::Run(ClientCommand { host, args }) => {
                let daemon = host.resolve(global.host, environment)?;
                let client = create_client(&daemon, global.tls, environment)?;
                block_on(args.run(client, daemon.is_explicit, environment))?
            }
            Command::Push(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Check(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Commands(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Handlers(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Ps(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Logs(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Attach(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Wait(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Cancel(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Kill(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Inspect(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Rm(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Stats(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Events(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Info(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Version(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Cache(cache) => cache.run(environment),
            Command::Store(store) => block_on(store.run(environment))?,
            Command::Schema(schema) => schema.run(),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "capstan", &mut script);
                output::print(&script).map(|()| ExitCode::SUCCESS)
            }
            Command::CompileChild { order } => Ok(compile_child::main(&order)),
        }
    }
}

impl HostArg {
    /// Returns the address of the daemon: this option, else `global_host` from before the subcommand, else that of the environment.
    fn resolve(
        self,
        global_host: Option<String>,
        environment: &Environment,
    ) -> Result<DaemonAddress, DaemonAddressError> {
        address::resolve(self.host.or(global_host).as_deref(), environment)
    }

    /// Returns a client of that daemon.
    fn client(self, global: GlobalArgs, environment: &Environment) -> Result<Client, CliError> {
        create_client(&self.resolve(global.host, environment)?, global.tls, environment)
    }
}

fn create_client(daemon: &DaemonAddress, tls: TlsArgs, environment: &Environment) -> Result<Client, CliError> {
    let tls = tls.client(&daemon.address, environment)?;
    Ok(Client::new(daemon.address.clone(), tls))
}

/// Runs `future` to its end on a new tokio runtime. Does not wait for blocking reads of stdin, which may never return.
fn block_on<F: Future>(future: F) -> Result<F::Output, CliError> {
    // A connection and what reads it take turns on one thread, instead of waking each other for each piece of a stream.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Startup)?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn completion_script_has_every_subcommand() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "capstan", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
                assert!(script.contains(command.get_name()), "{shell} does not know {}", command.get_name());
            }
        }
    }

    #[test]
    fn words_after_handler_name_go_to_guest() {
        for (line, words) in [
            ("capstan run wc --top 3 -H x --json -- -", "wc --top 3 -H x --json -- -"),
            ("capstan run --timeout 5s -- -odd --env", "-odd --env"),
            ("capstan run --env A=1 ./a.wasm --env B=2", "./a.wasm --env B=2"),
        ] {
            let Command::Run(run) = parse(line).command else { panic!("{line:?} is not parsed as run") };
            assert_eq!(run.args.words.join(std::ffi::OsStr::new(" ")), words, "{line}");
        }
    }

    #[test]
    fn host_is_accepted_before_and_after_subcommand() {
        let environment = Environment::from([("CAPSTAN_HOST", "tcp://c:3")]);
        for (line, expected) in [
            ("capstan -H tcp://a:1 info", "tcp://a:1"),
            ("capstan info -H tcp://b:2", "tcp://b:2"),
            ("capstan -H tcp://a:1 info -H tcp://b:2", "tcp://b:2"),
            ("capstan info", "tcp://c:3"),
        ] {
            let cli = parse(line);
            let Command::Info(info) = cli.command else { panic!("{line:?} is not parsed as info") };
            let daemon = info.host.resolve(cli.global.host, &environment).unwrap();
            assert_eq!((daemon.address.to_string().as_str(), daemon.is_explicit), (expected, true), "{line}");
        }
    }

    #[test]
    fn daemon_flags_keep_hosts_before_and_after_subcommand() {
        let line = "capstan -H unix://a daemon -H unix://b --host tcp://c:1 --data d --debug";
        let Cli { global, command: Command::Daemon(daemon) } = parse(line) else {
            panic!("{line:?} is not parsed as daemon")
        };
        let flags = daemon.flags(global.host, global.tls);
        assert_eq!(flags.hosts, ["unix://a", "unix://b", "tcp://c:1"]);
        assert_eq!((flags.data, flags.config, flags.debug, flags.insecure_tcp), (Some("d".into()), None, true, false));
    }

    #[test]
    fn tls_files_are_accepted_before_and_after_subcommand() {
        for line in [
            "capstan --tls-ca a --tls-key k info",
            "capstan info --tls-ca a --tls-key k",
            "capstan --tls-ca b info --tls-ca a --tls-key k",
        ] {
            let TlsArgs { tls_ca, tls_cert, tls_key } = parse(line).global.tls;
            assert_eq!((tls_ca, tls_cert, tls_key), (Some("a".into()), None, Some("k".into())), "{line}");
        }
        let line = "capstan --tls-ca a daemon --tls-cert c --tls-key k --tls-crl r";
        let Cli { global, command: Command::Daemon(daemon) } = parse(line) else {
            panic!("{line:?} is not parsed as daemon")
        };
        let flags = daemon.flags(global.host, global.tls);
        let files = [flags.tls_ca, flags.tls_cert, flags.tls_key, flags.tls_crl].map(Option::unwrap);
        assert_eq!(files, ["a", "c", "k", "r"].map(std::path::PathBuf::from));
    }

    #[test]
    fn wrong_usage_is_printed_to_stderr_and_help_to_stdout() {
        for line in [
            "capstan",
            "capstan nonsense",
            "capstan run",
            "capstan run --timeout soon wc",
            "capstan run --memory -1 wc",
            "capstan run --memory 0 wc",
            "capstan run --cpu 0 wc",
            "capstan run -d --outcome o.json wc",
            "capstan ps --quiet --json",
            "capstan logs",
            "capstan logs --since soon 00ff",
            "capstan wait",
            "capstan cancel --grace soon 00ff",
            "capstan rm",
            "capstan events --filter job.end",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).unwrap_err().use_stderr(), "{line}");
        }
        for line in ["capstan --help", "capstan run --help", "capstan --version"] {
            assert!(!Cli::try_parse_from(line.split(' ')).unwrap_err().use_stderr(), "{line}");
        }
    }
}

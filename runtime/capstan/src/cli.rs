//! The `capstan` command: its command line, and what each subcommand does.
//!
//! In reading order:
//!
//! - the subcommands and their help: [`command_line`];
//! - which daemon: [`address`], [`environment`], [`tls`], [`paths`];
//! - talking to it: [`client`], [`upload`], [`frames`];
//! - `run`, through the daemon or in process: [`policy_args`], [`determinism`], [`job_spec`], [`stdin`], [`stream_threads`],
//!   [`program`], [`script`], [`run`], [`remote`], [`local`], [`run_report`];
//! - the runtimes of scripts: [`runtimes`], [`runtime`];
//! - the directory of a job, `new`, `build`, `test` and `dev`: [`project`];
//! - background jobs: [`submit`], [`submit_batch`], [`queue_args`], [`jobs`], [`job_id`], [`job_filter`], [`ps`], [`top`], [`logs`], [`attach`], [`wait`], [`job_control`], [`inspect`], [`inspect_file`], [`retry`], [`dead_letters`], [`queue`], [`schedule`], [`stats`],
//!   [`events`];
//! - the compiled code of files that were run in process: [`cache`];
//! - the store of durable jobs, without a daemon: [`store`];
//! - one request and its response: [`push`] with [`archive`], [`handlers`], [`commands`], [`check`], [`info`], [`version`], [`schema`], [`removal`];
//! - output: [`output`], [`mod@format`], [`error`], [`exit_code`].
//!
//! The exit code is that of the run (see [`Outcome::exit_code`](capstan_core::outcome::Outcome::exit_code)), 127 for an unknown handler, and
//! 125 for every other failure, including wrong usage.

mod address;
mod archive;
mod attach;
mod cache;
mod check;
mod client;
mod command_line;
mod commands;
mod daemon;
mod dead_letters;
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
mod inspect_file;
mod interrupt;
mod io_error;
mod job_control;
mod job_filter;
mod job_id;
mod job_spec;
mod jobs;
mod kv;
mod local;
mod logs;
mod output;
mod paths;
mod policy_args;
mod program;
mod project;
mod ps;
mod push;
mod queue;
mod queue_args;
mod random;
mod remote;
mod removal;
mod retry;
mod routes;
mod run;
mod run_report;
mod runtime;
mod runtimes;
mod schedule;
mod schema;
mod script;
mod stats;
mod stdin;
mod store;
mod stream_threads;
mod submit;
mod submit_batch;
mod time_arg;
mod tls;
mod top;
mod upload;
mod version;
mod wait;

use std::future::Future;
use std::process::ExitCode;

use capstan_sandbox::compile_child;
use clap::{CommandFactory as _, Parser as _};

use self::address::{DaemonAddress, DaemonAddressError};
use self::client::Client;
use self::command_line::{Cli, ClientCommand, Command, GlobalArgs, HostArg};
use self::environment::Environment;
use self::error::CliError;
use self::project::dev::DevDaemon;
use self::tls::TlsArgs;

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
            Command::Run(command) => {
                let ClientCommand { host, args } = *command;
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
            Command::Retry(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::DeadLetters(ClientCommand { host, args }) => {
                block_on(args.run(&host.client(global, environment)?))?
            }
            Command::Schedule(ClientCommand { host, args }) => {
                block_on(args.run(&host.client(global, environment)?, environment))?
            }
            Command::Routes(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Kv(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Queue(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Submit(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Top(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Rm(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Stats(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Events(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Info(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Version(ClientCommand { host, args }) => block_on(args.run(&host.client(global, environment)?))?,
            Command::Runtime(ClientCommand { host, args }) => {
                let daemon = host.resolve(global.host, environment)?;
                let client = create_client(&daemon, global.tls, environment)?;
                block_on(args.run(daemon.is_explicit.then_some(client), environment))?
            }
            Command::Cache(cache) => cache.run(environment),
            Command::Store(store) => block_on(store.run(environment))?,
            Command::Schema(schema) => schema.run(),
            Command::New(new) => new.run(),
            Command::Build(build) => block_on(build.run(environment))?,
            Command::Test(test) => block_on(test.run(environment))?,
            Command::Dev(command) => {
                let ClientCommand { host, args } = *command;
                let daemon = host.resolve(global.host, environment)?;
                let options = global.tls.options(&daemon.address);
                let client = create_client(&daemon, global.tls, environment)?;
                let daemon = daemon.is_explicit.then_some(DevDaemon { client, options });
                block_on(args.run(daemon, environment))?
            }
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

    /// clap checks this only with its own debug assertions, which this workspace builds without.
    #[test]
    fn flags_of_every_subcommand_are_unique() {
        let mut waiting = vec![<Cli as clap::CommandFactory>::command()];
        while let Some(command) = waiting.pop() {
            let mut seen = std::collections::BTreeSet::new();
            for argument in command.get_arguments() {
                let name = argument.get_long().map(str::to_owned);
                let flags = name.into_iter().chain(argument.get_short().map(String::from));
                for flag in flags.chain([format!("id {}", argument.get_id())]) {
                    assert!(seen.insert(flag.clone()), "{} has {flag} twice", command.get_name());
                }
            }
            waiting.extend(command.get_subcommands().cloned());
        }
    }
}

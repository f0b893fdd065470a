//! The `capstan` command: what may be typed, and what each subcommand sets going.
//!
//! In reading order: where to ([`address`], [`environment`], [`paths`]), how to ask ([`client`], [`upload`], [`frames`]), `run` through
//! the daemon and in process ([`run`], [`remote`], [`local`], [`exit_code`]), runs that are left to the daemon ([`submit`]) and what becomes
//! of them ([`jobs`], [`ps`], [`logs`], [`attach`], [`wait`], [`control`], [`inspect`], [`stats`], [`events`]), and the subcommands that only ask
//! and show.
//!
//! Exit codes: a run's own (see [`Outcome::exit_code`](capstan_core::outcome::Outcome::exit_code)), 127 for a handler that is not there, and
//! 125 for everything else that went wrong, wrong usage included.

mod about;
mod address;
mod attach;
mod check;
mod client;
mod commands;
mod control;
mod daemon;
mod determinism;
mod environment;
mod error;
mod events;
mod exit_code;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
mod handlers;
mod inspect;
mod interrupt;
mod jobs;
mod local;
mod logs;
mod output;
mod paths;
mod program;
mod ps;
mod push;
mod remote;
mod run;
mod schema;
mod show;
mod stats;
mod submit;
mod time;
mod tls;
mod upload;
mod wait;

use std::future::Future;
use std::process::ExitCode;

use capstan_sandbox::compile_child;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::address::{Choice, ChoiceError};
use self::client::Client;
use self::environment::Environment;
use self::error::CliError;
use self::tls::TlsArgs;

/// Runs jobs whose code is WebAssembly, each in a fresh sandbox.
#[derive(Debug, Parser)]
#[command(
    name = "capstan",
    version,
    after_help = "The daemon's address is -H, else CAPSTAN_HOST, else the default unix socket."
)]
struct Cli {
    /// The daemon: unix://PATH or tcp://HOST:PORT.
    #[arg(short = 'H', long, value_name = "ADDR")]
    host: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(subcommand)]
    command: Command,
}

/// The same option after the subcommand, where people put it as often.
#[derive(Debug, Args)]
struct Host {
    /// The daemon: unix://PATH or tcp://HOST:PORT.
    #[arg(short = 'H', long, value_name = "ADDR", global = true)]
    host: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon, until SIGTERM or SIGINT.
    ///
    /// Prints a line for each address it listens on, and `ready` when it answers there; logs to stderr. Exits 0 after a clean stop, 1
    /// if it could not start or not stop cleanly, 125 for wrong usage.
    Daemon(daemon::Daemon),
    /// Push a program to the daemon, as the handler of a name.
    Push(Asking<push::Push>),
    /// Run a handler's program through the daemon, or a file in process.
    ///
    /// stdin, stdout and stderr pass through. Exits with the program's own code; 124 it timed out; 125 it could not be run; 127 there
    /// is no such handler; 134 it trapped; 137 it was stopped, from here with Ctrl-C too, or went over a limit.
    #[command(override_usage = "capstan run [OPTIONS] [--] NAME|FILE.wasm [ARGS]...")]
    Run(Asking<run::Run>),
    /// Tell what a job would be allowed, and which rules stand against it, without running it. Exits 125 where it would be refused.
    Check(Asking<check::Check>),
    /// Print the names of all handlers, one a line.
    Commands(Asking<commands::Commands>),
    /// List, inspect and remove handlers.
    Handlers(Asking<handlers::Handlers>),
    /// List the jobs that run or wait, or all.
    Ps(Asking<ps::Ps>),
    /// Print what a job has written, stdout to stdout and stderr to stderr.
    Logs(Asking<logs::Logs>),
    /// Join stdin, stdout and stderr to those of a job that goes on.
    ///
    /// Exits as `run` does when the job ends. Ctrl-C leaves it: the job goes on, and its stdin stays open for the next who attaches.
    Attach(Asking<attach::Attach>),
    /// Wait until jobs have ended, and print the exit code of each.
    ///
    /// Exits with the code of the last job that is named; 125 where there is none, as for a job that is not known.
    Wait(Asking<wait::Wait>),
    /// Cancel jobs, now or after a time of grace.
    Cancel(Asking<control::Cancel>),
    /// End jobs at once.
    Kill(Asking<control::Kill>),
    /// Show all there is to know of a job, as JSON.
    Inspect(Asking<inspect::Inspect>),
    /// Have the daemon forget jobs that have ended, with what they wrote.
    Rm(Asking<control::Rm>),
    /// Show what running jobs use, once a second.
    Stats(Asking<stats::Stats>),
    /// Show what happens at the daemon, as it happens.
    Events(Asking<events::Events>),
    /// Show the state of the daemon.
    Info(Asking<about::Info>),
    /// Show the versions of this command and of the daemon.
    Version(Asking<about::Version>),
    /// Print the JSON Schema of manifests, or of policies.
    Schema(schema::Schema),
    /// Print the completion script of a shell.
    Completions { shell: clap_complete::Shell },
    /// Compile one program; the daemon calls this in a process that it can kill.
    #[command(hide = true)]
    CompileChild { order: String },
}

/// A subcommand that talks to a daemon.
#[derive(Debug, Args)]
struct Asking<A: Args> {
    #[command(flatten)]
    host: Host,
    #[command(flatten)]
    args: A,
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => {
            // It fails only where nobody would read it.
            let _ = wrong.print();
            return if wrong.use_stderr() { ExitCode::from(error::FAILED) } else { ExitCode::SUCCESS };
        }
    };
    cli.run(&Environment::of_process()).unwrap_or_else(|error| {
        if !error.is_broken_output() {
            output::complain(&error);
        }
        ExitCode::from(error.exit_code())
    })
}

impl Cli {
    fn run(self, environment: &Environment) -> Result<ExitCode, CliError> {
        let outer = (self.host, self.tls);
        match self.command {
            Command::Daemon(daemon) => Ok(crate::daemon::run(daemon.flags(outer.0, outer.1))),
            Command::Push(push) => wait_for(push.args.run(&push.host.client(outer, environment)?.0))?,
            Command::Run(run) => {
                let (client, named) = run.host.client(outer, environment)?;
                wait_for(run.args.run(client, named, environment))?
            }
            Command::Check(check) => wait_for(check.args.run(&check.host.client(outer, environment)?.0))?,
            Command::Commands(commands) => wait_for(commands.args.run(&commands.host.client(outer, environment)?.0))?,
            Command::Handlers(handlers) => wait_for(handlers.args.run(&handlers.host.client(outer, environment)?.0))?,
            Command::Ps(ps) => wait_for(ps.args.run(&ps.host.client(outer, environment)?.0))?,
            Command::Logs(logs) => wait_for(logs.args.run(&logs.host.client(outer, environment)?.0))?,
            Command::Attach(attach) => wait_for(attach.args.run(&attach.host.client(outer, environment)?.0))?,
            Command::Wait(wait) => wait_for(wait.args.run(&wait.host.client(outer, environment)?.0))?,
            Command::Cancel(cancel) => wait_for(cancel.args.run(&cancel.host.client(outer, environment)?.0))?,
            Command::Kill(kill) => wait_for(kill.args.run(&kill.host.client(outer, environment)?.0))?,
            Command::Inspect(inspect) => wait_for(inspect.args.run(&inspect.host.client(outer, environment)?.0))?,
            Command::Rm(rm) => wait_for(rm.args.run(&rm.host.client(outer, environment)?.0))?,
            Command::Stats(stats) => wait_for(stats.args.run(&stats.host.client(outer, environment)?.0))?,
            Command::Events(events) => wait_for(events.args.run(&events.host.client(outer, environment)?.0))?,
            Command::Info(info) => wait_for(info.args.run(&info.host.client(outer, environment)?.0))?,
            Command::Version(version) => wait_for(version.args.run(&version.host.client(outer, environment)?.0))?,
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

impl Host {
    /// A client of the daemon to talk to, and whether the user named that daemon; `outer` is what stood before the subcommand.
    fn client(
        self,
        (host, tls): (Option<String>, TlsArgs),
        environment: &Environment,
    ) -> Result<(Client, bool), CliError> {
        let choice = self.choose(host, environment)?;
        let tls = tls.client(&choice.address, environment)?;
        Ok((Client::new(choice.address, tls), choice.named))
    }

    fn choose(self, outer: Option<String>, environment: &Environment) -> Result<Choice, ChoiceError> {
        address::choose(self.host.or(outer).as_deref(), environment)
    }
}

/// 64 bits that nobody guesses.
fn random() -> u64 {
    getrandom::u64().expect("the kernel has random numbers")
}

/// Drives `future` to its end, and does not wait for reads of stdin that nobody needs any more: they may never come back.
fn wait_for<F: Future>(future: F) -> Result<F::Output, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
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
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn completions_know_every_subcommand() {
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
    fn what_follows_the_name_is_the_guests() {
        for (line, words) in [
            ("capstan run wc --top 3 -H x --json -- -", "wc --top 3 -H x --json -- -"),
            ("capstan run --timeout 5s -- -odd --env", "-odd --env"),
            ("capstan run --env A=1 ./a.wasm --env B=2", "./a.wasm --env B=2"),
        ] {
            let Command::Run(run) = parse(line).command else { panic!("{line} is a run") };
            assert_eq!(run.args.words.join(std::ffi::OsStr::new(" ")), words, "{line}");
        }
    }

    #[test]
    fn the_daemon_may_be_named_before_and_after_the_subcommand() {
        let environment = Environment::from([("CAPSTAN_HOST", "tcp://c:3")]);
        for (line, expected) in [
            ("capstan -H tcp://a:1 info", "tcp://a:1"),
            ("capstan info -H tcp://b:2", "tcp://b:2"),
            ("capstan -H tcp://a:1 info -H tcp://b:2", "tcp://b:2"),
            ("capstan info", "tcp://c:3"),
        ] {
            let cli = parse(line);
            let Command::Info(info) = cli.command else { panic!("{line} is info") };
            let choice = info.host.choose(cli.host, &environment).unwrap();
            assert_eq!((choice.address.to_string().as_str(), choice.named), (expected, true), "{line}");
        }
    }

    #[test]
    fn a_daemon_listens_on_all_that_is_named_and_not_where_clients_are_sent() {
        let line = "capstan -H unix://a daemon -H unix://b --host tcp://c:1 --data d --debug";
        let Cli { host, tls, command: Command::Daemon(daemon) } = parse(line) else { panic!("{line} is a daemon") };
        let flags = daemon.flags(host, tls);
        assert_eq!(flags.hosts, ["unix://a", "unix://b", "tcp://c:1"]);
        assert_eq!((flags.data, flags.config, flags.debug, flags.insecure_tcp), (Some("d".into()), None, true, false));
    }

    #[test]
    fn files_for_tls_may_be_named_before_and_after_the_subcommand() {
        for line in [
            "capstan --tls-ca a --tls-key k info",
            "capstan info --tls-ca a --tls-key k",
            "capstan --tls-ca b info --tls-ca a --tls-key k",
        ] {
            let Cli { tls, .. } = parse(line);
            assert_eq!((tls.tls_ca, tls.tls_cert, tls.tls_key), (Some("a".into()), None, Some("k".into())), "{line}");
        }
        let line = "capstan --tls-ca a daemon --tls-cert c --tls-key k --tls-crl r";
        let Cli { host, tls, command: Command::Daemon(daemon) } = parse(line) else { panic!("{line} is a daemon") };
        let flags = daemon.flags(host, tls);
        let files = [flags.tls_ca, flags.tls_cert, flags.tls_key, flags.tls_crl].map(Option::unwrap);
        assert_eq!(files, ["a", "c", "k", "r"].map(std::path::PathBuf::from));
    }

    #[test]
    fn wrong_usage_is_told_apart_from_help() {
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

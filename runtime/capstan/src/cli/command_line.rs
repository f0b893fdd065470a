//! [`Cli`]: the subcommands of `capstan`, with their help.

use clap::{Args, Parser, Subcommand};

use super::project::{build, dev, new, test};
use super::tls::TlsArgs;
use super::{
    attach, cache, check, commands, daemon, dead_letters, events, handlers, info, inspect, job_control, kv, logs, ps,
    push, queue, retry, routes, run, runtime, schedule, schema, stats, store, submit_batch, top, version, wait,
};

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
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The options before the subcommand.
#[derive(Debug, Args)]
pub(super) struct GlobalArgs {
    /// Address of the daemon: unix://PATH or tcp://HOST:PORT [default: CAPSTAN_HOST, else the default unix socket]
    #[arg(short = 'H', long, value_name = "ADDR")]
    pub(super) host: Option<String>,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

/// `--host` after the subcommand, which overrides the one before it.
#[derive(Debug, Args)]
pub(super) struct HostArg {
    /// Address of the daemon: unix://PATH or tcp://HOST:PORT [default: CAPSTAN_HOST, else the default unix socket]
    #[arg(short = 'H', long, value_name = "ADDR", global = true)]
    pub(super) host: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create the directory of a job, or list the languages
    #[command(after_help = "\
Examples:
  capstan new                       lists the languages
  capstan new --lang rust hello     creates the job `hello` in the directory hello")]
    New(new::New),
    /// Compile the job of a directory
    ///
    /// The files of the directory or `[build]` in its job.toml tell the language. Exits with the code of the compiler if that fails.
    #[command(after_help = "\
Examples:
  capstan build                     compiles the job of the current directory
  capstan push $(capstan build) --manifest job.toml")]
    Build(build::Build),
    /// Compile the job of a directory, and run the test cases of its job.toml
    ///
    /// Runs each `[[test]]` in process, with the variables and the limits of the manifest. Exits with 1 if a case fails.
    #[command(after_help = "\
Examples:
  capstan test                      all cases of the current directory
  capstan test --filter shout hello only the cases with `shout` in their name, of the directory hello
  capstan test --update             makes what the program prints the expectation")]
    Test(test::Test),
    /// Compile and run the job of a directory again on each change
    ///
    /// Pushes the program to the daemon that -H or CAPSTAN_HOST names, or runs it in process. If a build fails, the last good program
    /// continues. Ctrl-C ends it.
    #[command(
        override_usage = "capstan dev [OPTIONS] [DIR] [-- ARGS...]",
        after_help = "\
Examples:
  capstan dev                              the job of the current directory, with empty stdin
  capstan dev --stdin names.txt hello -- --shout"
    )]
    Dev(Box<ClientCommand<dev::Dev>>),
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
  capstan push wc=- < wc.wasm                 from stdin
  capstan push wc.wasm --app data/            with files that its runs find at /app
  capstan push --from python report.py        a script, for a runtime that the daemon has; see `capstan runtime`
  capstan push report --from python app/      a script of several files")]
    Push(ClientCommand<push::Push>),
    /// Run a handler through the daemon, or a file in process
    ///
    /// Passes stdout and stderr through, and stdin if it is a file or a terminal, or with -i. Ctrl-C stops the run.
    ///
    /// The defaults below are those of Capstan. Through the daemon, the configuration of the daemon and the manifest of the handler may set
    /// other limits. A run can only lower these. In process, a run can also raise the defaults.
    #[command(
        override_usage = "capstan run [OPTIONS] [--] NAME|FILE.wasm|SCRIPT [ARGS]...",
        after_help = "\
Examples:
  capstan run wc --top 3 < README.md              a handler; `--top 3` goes to the guest
  capstan run --timeout 5s ./grep.wasm -c needle  a file, in process, for at most 5 seconds
  capstan run report.py --all                     a script, if `capstan runtime` has a runtime for it
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
    Run(Box<ClientCommand<run::Run>>),
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
    /// The daemon keeps the newest 16 MiB of the output of a background job, unless its configuration says otherwise. The exit code is 0,
    /// whatever the outcome of the job.
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
    /// Show everything that the daemon knows about a job, or what a program file is
    Inspect(ClientCommand<inspect::Inspect>),
    /// Run jobs again that have ended
    ///
    /// The job keeps its id, its attempts and their output, and starts as if no run counted. Prints the id of each job.
    #[command(after_help = "\
Examples:
  capstan retry 01a22236
  capstan retry --arg=--top --arg=5 01a22236    with other arguments")]
    Retry(ClientCommand<retry::Retry>),
    /// List, requeue and remove jobs that have failed for good
    ///
    /// A job becomes a dead letter if it fails although it asked for retries, or is lost too often with its daemon.
    #[command(after_help = "\
Examples:
  capstan dead-letters
  capstan dead-letters requeue --handler resize --since 1h
  capstan dead-letters purge --all")]
    DeadLetters(ClientCommand<dead_letters::DeadLetters>),
    /// List, read and change what handlers keep between their runs
    #[command(after_help = "\
Examples:
  capstan kv ls todo                    the buckets of the handler `todo`
  capstan kv ls todo default            the keys of a bucket
  capstan kv get todo default item-1    a value
  capstan kv set todo default item-1 milk")]
    Kv(ClientCommand<kv::Kv>),
    /// Show, pause and resume the queues of handlers
    #[command(after_help = "\
Examples:
  capstan queue                  all queues
  capstan queue show resize      why each job of a handler waits
  capstan queue pause resize     nothing more starts until it is resumed")]
    Queue(ClientCommand<queue::QueueCommand>),
    /// List the routes that handlers claim on the --serve listeners of the daemon
    Routes(ClientCommand<routes::Routes>),
    /// Show and change schedules, which submit jobs again and again
    #[command(after_help = "\
Examples:
  capstan schedule                                                     all schedules
  capstan schedule put nightly --cron '30 2 * * *' report --all        each night at 2:30 UTC
  capstan schedule inspect nightly                                     its definition and next times
  capstan schedule pause nightly                                       no more jobs until it is resumed
  capstan schedule run nightly                                         one job now")]
    Schedule(ClientCommand<schedule::ScheduleCommand>),
    /// Submit many jobs, one JSON object on each line of a file
    #[command(after_help = "\
Example:
  capstan submit jobs.ndjson

A line: {\"handler\": \"resize\", \"args\": [\"cat.png\"], \"key\": \"cat\"}")]
    Submit(ClientCommand<submit_batch::SubmitBatch>),
    /// Show queues and jobs full-screen, once per second
    Top(ClientCommand<top::Top>),
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
    /// Install, list and remove runtimes of scripts, such as CPython
    ///
    /// With an installed runtime, `capstan run script.py` runs the script in process. With -H or CAPSTAN_HOST, the runtime is a handler of the
    /// daemon, whose program `capstan push --from python script.py` shares.
    #[command(after_help = "\
Examples:
  capstan runtime add python python.wasm           for `capstan run script.py`
  capstan runtime add javascript quickjs.wasm      for `capstan run script.js`
  capstan -H unix:///run/capstan.sock runtime add python python.wasm
  capstan runtime                                  lists the runtimes")]
    Runtime(ClientCommand<runtime::RuntimeCommand>),
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
pub(super) struct ClientCommand<A: Args> {
    #[command(flatten)]
    pub(super) host: HostArg,
    #[command(flatten)]
    pub(super) args: A,
}

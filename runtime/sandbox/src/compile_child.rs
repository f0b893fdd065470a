//! The child process that compiles: it reads WebAssembly from stdin, and writes native code to stdout and its response to stderr.
//!
//! Before it reads a byte, it sets its own limits: memory, CPU time, file size, no core file, no further files and processes, a low
//! priority, and its end with that of its parent. Then it starts its [`threads`] and gives up all rights except to compute, see
//! [`capstan_confinement`].

mod threads;

use std::borrow::Cow;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use capstan_confinement::{ConfinementReport, Mode, confine_compiler};
use capstan_engine::handler::Kind;
use capstan_engine::handler_store::SnapshotError;
use rustix::process::{Resource, Rlimit, Signal};
use wasmtime::OutOfMemory;

use self::threads::ResidentMemory;
use super::artifact::Receipt;
use super::compile::{CompileRequest, CompileResponse, CompiledCode, ProgramInput, Step};
use super::compile_limits::CompileBudget;
use super::profile::{self, Profile};
use super::{LoadError, bulk_memory, complexity, interface, snapshot};

/// The nice value of the child: the kernel prefers the daemon. The daemon raises it for a child that takes long.
const NICE: i32 = 10;
/// How many files may be open at a time: the three streams, the count of memory, and those that setting up Landlock needs.
const MAX_OPEN_FILES: u64 = 9;
/// Address space for each byte of memory that the child may use, and beside it. Limits a child that reserves without end.
const SPACE_PER_MEMORY: u64 = 4;
const SPACE_BESIDE_MEMORY: u64 = 4 << 30;

/// Runs the child for `request`, the JSON that the daemon passed. Returns success if it wrote a response.
pub fn main(request: &str) -> ExitCode {
    let Ok(request) = serde_json::from_str::<CompileRequest>(request) else {
        return fail("this command is only for the daemon, which starts it to compile a program");
    };
    let memory = ResidentMemory::open().ok().filter(|_| request.budget.memory < u64::MAX);
    if let Err(error) = set_limits(request.budget, memory.is_some()) {
        return fail(&format!("cannot set limits: {error}"));
    }
    let (mut is_parallel, mut is_watched) = (false, true);
    let confined = confine_compiler(request.confine, || {
        is_parallel = request.program.is_some() && threads::start_compilers();
        is_watched = memory.is_none_or(|memory| threads::start_watchdog(memory, request.budget.memory));
        // From now on it starts no thread. If this fails, the filter of system calls forbids it all the same.
        let _ = rustix::process::setrlimit(Resource::Nproc, hard(0));
    });
    if !is_watched {
        return fail("cannot start the thread that limits memory");
    }
    let response = match (check_confinement(request.confine, &confined), &request.program) {
        (Err(error), _) => serde_json::to_vec(&CompileResponse::<()>::Err(error)),
        (Ok(()), None) => serde_json::to_vec(&CompileResponse::Ok(confined)),
        (Ok(()), Some(program)) => match compile(program, request.budget, is_parallel) {
            Ok(response) => serde_json::to_vec(&response),
            Err(error) => return fail(&error.to_string()),
        },
    }
    .expect("plain data");
    match io::stderr().write_all(&response) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn set_limits(CompileBudget { cpu, memory }: CompileBudget, is_memory_watched: bool) -> rustix::io::Result<()> {
    // Where resident memory cannot be measured, address space must do.
    let space = match is_memory_watched {
        true => memory.saturating_mul(SPACE_PER_MEMORY).saturating_add(SPACE_BESIDE_MEMORY),
        false => memory,
    };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A daemon that was started with a higher nice value has given up the right to lower it.
    let nice = rustix::process::getpriority_process(None)?.max(NICE);
    rustix::process::setpriority_process(None, nice)?;
    rustix::process::setrlimit(Resource::As, hard(space))?;
    rustix::process::setrlimit(Resource::Cpu, Rlimit { current: Some(cpu), maximum: Some(cpu.saturating_add(1)) })?;
    rustix::process::setrlimit(Resource::Fsize, hard(memory))?;
    rustix::process::setrlimit(Resource::Nofile, hard(MAX_OPEN_FILES))?;
    rustix::process::setrlimit(Resource::Core, hard(0))
}

fn hard(amount: u64) -> Rlimit {
    Rlimit { current: Some(amount), maximum: Some(amount) }
}

/// Returns an error if `mode` requires full confinement and something is missing.
fn check_confinement(mode: Mode, confined: &ConfinementReport) -> Result<(), LoadError> {
    if mode == Mode::Strict && !confined.gaps.is_empty() {
        let missing = confined.gaps.join("; ");
        return Err(LoadError::Unavailable(format!("the compiler is not confined: {missing}")));
    }
    Ok(())
}

/// Checks and compiles the program on stdin, and writes its code to stdout.
fn compile(program: &ProgramInput, budget: CompileBudget, is_parallel: bool) -> io::Result<CompileResponse> {
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)?;
    let compiled = prepare(program, &input)
        .and_then(|(wasm, profile)| generate_code(program.kind, profile, &wasm, budget, is_parallel));
    match compiled {
        Ok((compiled, code)) => {
            io::stdout().write_all(&code)?;
            io::stdout().flush()?;
            Ok(Ok(compiled))
        }
        Err(error) => Ok(Err(error)),
    }
}

/// Checks the program in `input`, and rewrites it if it is to be a snapshot. Returns what is to be compiled, and for which profile.
fn prepare<'a>(program: &ProgramInput, input: &'a [u8]) -> Result<(Cow<'a, [u8]>, Profile), LoadError> {
    let check = |wasm: &[u8]| {
        let features = complexity::check(wasm, &program.allowed)?;
        let profile = Profile { features, is_metered: program.is_metered };
        interface::check(wasm, program.kind, profile.is_default().then_some(program.max_memory))?;
        Ok::<_, LoadError>(profile)
    };
    match program.step {
        Step::Compile => Ok((input.into(), check(input)?)),
        Step::Instrument => {
            if program.kind == Kind::Component {
                let reason = "it is a component, and there are only snapshots of modules".to_owned();
                return Err(SnapshotError::Unsupported(reason).into());
            }
            let profile = check(input)?;
            Ok((snapshot::instrument(input)?.into(), profile))
        }
        Step::Embed { size } => {
            let (wasm, image) = input.split_at_checked(size).unwrap_or((input, &[]));
            let snapshot = snapshot::embed(wasm, image)?;
            let profile = check(&snapshot)?;
            Ok((snapshot.into(), profile))
        }
    }
}

fn generate_code(
    kind: Kind,
    profile: Profile,
    wasm: &[u8],
    budget: CompileBudget,
    is_parallel: bool,
) -> Result<(CompiledCode, Vec<u8>), LoadError> {
    let engine =
        profile::compile_engine(&profile, is_parallel).map_err(|error| LoadError::Unavailable(format!("{error:#}")))?;
    let wasm = bulk_memory::split(wasm).expect("the complexity check validated the program");
    let compiled = match kind {
        Kind::Component => engine.precompile_component(&wasm),
        Kind::Module | Kind::Native => engine.precompile_module(&wasm),
    };
    let code = compiled.map_err(|error| match error.is::<OutOfMemory>() {
        true => budget.out_of_memory(),
        false => LoadError::Invalid { message: format!("{error:#}"), offset: None },
    })?;
    let receipt = Receipt::new(profile::fingerprint(&engine, &profile), &code);
    Ok((CompiledCode { features: profile.features, receipt }, code))
}

/// Reports `message` on stderr in place of a response.
fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

//! The child that compiles: reads wasm from stdin, writes native code to stdout and its answer to stderr.
//!
//! It binds itself before it reads a byte: address space, processor time, file size, no core file, no more files and processes, a low
//! priority, and an end with its parent. Then it gives up all that is left but to compute: see [`capstan_confinement`].

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use capstan_confinement::{ConfinementReport, Mode, confine_compiler};
use capstan_engine::handler::Kind;
use rustix::process::{Resource, Rlimit, Signal};
use wasmtime::OutOfMemory;

use super::artifact::Receipt;
use super::compile::{Answer, Budget, Order, Ordered};
use super::profile::{self, Profile};
use super::{LoadError, bulk_memory, complexity};

/// How much the kernel prefers the daemon to it. Its parent lowers that further where it takes long.
const NICE: i32 = 10;
/// Files that may be open at a time: the three streams, and what Landlock is asked with.
const FILES: u64 = 8;

/// Runs the child for `order`, the JSON that the daemon gave it. Exits 0 with an answer, else 1.
pub fn main(order: &str) -> ExitCode {
    let Ok(order) = serde_json::from_str::<Order>(order) else {
        return fail("this command is the daemon's own");
    };
    if let Err(error) = bind(order.budget) {
        return fail(&format!("cannot set limits: {error}"));
    }
    let confined = confine_compiler(order.confine);
    let answer = match (too_little(order.confine, &confined), &order.program) {
        (Some(error), _) => serde_json::to_vec(&Answer::<()>::Err(error)),
        (None, None) => serde_json::to_vec(&Answer::Ok(confined)),
        (None, Some(program)) => match compile(program, order.budget) {
            Ok(answer) => serde_json::to_vec(&answer),
            Err(error) => return fail(&error.to_string()),
        },
    }
    .expect("plain data");
    match io::stderr().write_all(&answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn bind(Budget { cpu, memory }: Budget) -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::setpriority_process(None, NICE)?;
    let hard = |amount| Rlimit { current: Some(amount), maximum: Some(amount) };
    rustix::process::setrlimit(Resource::As, hard(memory))?;
    rustix::process::setrlimit(Resource::Cpu, Rlimit { current: Some(cpu), maximum: Some(cpu.saturating_add(1)) })?;
    rustix::process::setrlimit(Resource::Fsize, hard(memory))?;
    rustix::process::setrlimit(Resource::Nofile, hard(FILES))?;
    rustix::process::setrlimit(Resource::Nproc, hard(0))?;
    rustix::process::setrlimit(Resource::Core, hard(0))
}

/// That less was given up than was demanded.
fn too_little(mode: Mode, confined: &ConfinementReport) -> Option<LoadError> {
    let is_too_little = mode == Mode::Strict && !confined.gaps.is_empty();
    is_too_little.then(|| LoadError::Unavailable(format!("the compiler is not confined: {}", confined.gaps.join("; "))))
}

fn compile(Ordered { kind, profile }: &Ordered, budget: Budget) -> io::Result<Answer> {
    let mut wasm = Vec::new();
    io::stdin().read_to_end(&mut wasm)?;
    let made = complexity::check(&wasm, &profile.features).and_then(|()| code(*kind, profile, &wasm, budget));
    match made {
        Ok((receipt, code)) => {
            io::stdout().write_all(&code)?;
            io::stdout().flush()?;
            Ok(Ok(receipt))
        }
        Err(error) => Ok(Err(error)),
    }
}

fn code(kind: Kind, profile: &Profile, wasm: &[u8], budget: Budget) -> Result<(Receipt, Vec<u8>), LoadError> {
    let engine = profile::compile_engine(profile).map_err(|error| LoadError::Unavailable(format!("{error:#}")))?;
    let wasm = bulk_memory::cut(wasm).expect("its shape was checked");
    let compiled = match kind {
        Kind::Component => engine.precompile_component(&wasm),
        Kind::Module | Kind::Native => engine.precompile_module(&wasm),
    };
    let code = compiled.map_err(|error| match error.is::<OutOfMemory>() {
        true => budget.no_memory(),
        false => LoadError::Invalid { message: format!("{error:#}"), offset: None },
    })?;
    Ok((Receipt::new(profile::fingerprint(&engine, profile), &code), code))
}

fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

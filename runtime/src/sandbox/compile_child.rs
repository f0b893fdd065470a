//! The child that compiles: reads wasm from stdin, writes native code to stdout and its answer to stderr.
//!
//! It binds itself before it reads a byte: address space, processor time, file size, no core file, a low priority, and an end with its
//! parent.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal};
use wasmtime::OutOfMemory;

use super::artifact::Receipt;
use super::compile::{Answer, Budget, Order};
use super::profile::{self, Profile};
use super::{LoadError, shape};
use crate::handler::Kind;

/// How much the kernel prefers the daemon to it. Its parent lowers that further where it takes long.
const NICE: i32 = 10;

/// Runs the child for `order`, the JSON that the daemon gave it. Exits 0 with an answer, else 1.
pub fn main(order: &str) -> ExitCode {
    let Ok(order) = serde_json::from_str::<Order>(order) else {
        return fail("this command is the daemon's own");
    };
    if let Err(error) = bind(order.budget) {
        return fail(&format!("cannot set limits: {error}"));
    }
    let answer = match compile(&order) {
        Ok(answer) => serde_json::to_vec(&answer).expect("plain data"),
        Err(error) => return fail(&error.to_string()),
    };
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
    rustix::process::setrlimit(Resource::Core, hard(0))
}

fn compile(order: &Order) -> io::Result<Answer> {
    let Order { kind, budget, profile } = order;
    let mut wasm = Vec::new();
    io::stdin().read_to_end(&mut wasm)?;
    let made = shape::check(&wasm, &profile.features).and_then(|()| code(*kind, *budget, profile, &wasm));
    match made {
        Ok((receipt, code)) => {
            io::stdout().write_all(&code)?;
            io::stdout().flush()?;
            Ok(Ok(receipt))
        }
        Err(error) => Ok(Err(error)),
    }
}

fn code(kind: Kind, budget: Budget, profile: &Profile, wasm: &[u8]) -> Result<(Receipt, Vec<u8>), LoadError> {
    let engine = profile::compile_engine(profile).map_err(|error| LoadError::Unavailable(format!("{error:#}")))?;
    let compiled = match kind {
        Kind::Component => engine.precompile_component(wasm),
        Kind::Module | Kind::Native => engine.precompile_module(wasm),
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

//! One run: a fresh store and instance, the call, and how it ended.

use std::time::Instant;

use capstan_core::outcome::Outcome;
use capstan_core::usage::Usage;
use capstan_engine::handler::Call;
use wasmtime::{Result, Store, Trap};

use super::disk::{self, Disk};
use super::guest_profiler::Watched;
use super::host::Host;
use super::program::{Code, Program};
use super::scratch::Scratch;
use super::trap;

/// Runs `program` for `call` to its end, or to the stop that somebody asks for. The store is gone when this returns: the slot is free;
/// so is the scratch directory.
pub(super) async fn run(program: &Program, mut call: Call) -> Outcome {
    let Some(grant) = call.scratch.take() else { return run_mounted(program, call).await };
    match Scratch::make(grant, call.job).await {
        Ok((scratch, mount)) => {
            call.mounts.push(mount);
            let outcome = run_mounted(program, call).await;
            scratch.remove().await;
            outcome
        }
        Err(error) => Outcome::HostError { message: format!("cannot make a scratch directory: {error}") },
    }
}

async fn run_mounted(program: &Program, call: Call) -> Outcome {
    let (stop, usage, limits) = (call.stop.clone(), call.usage.clone(), call.limits);
    let watched =
        program.sandbox.0.is_watched.then(|| Watched::new(&program.machine.engine, &call.name, &program.code, &usage));
    let host = match Host::new(call, program.resolver()) {
        Ok(host) => host,
        Err(error) => return Outcome::HostError { message: format!("cannot map the call into WASI: {error:#}") },
    };
    let (stdout, stderr) = (host.stdout.clone(), host.stderr.clone());
    let network = host.network().ok().cloned();
    let writes = host.disk.as_ref().map(Disk::writes);
    let sandbox = &program.sandbox.0;
    let _ticking = sandbox.ticker.hold();
    let mut store = host.into_store(&program.machine.engine, limits.hostcall);
    let fuel = program.machine.profile.is_metered.then(|| limits.fuel.unwrap_or(u64::MAX));
    if let Some(fuel) = fuel {
        store.set_fuel(fuel).expect("the code of this machine counts it");
    }
    if let Some(watched) = &watched {
        watched.attach_to(&mut store);
    }
    let ended = async {
        let outcome = match invoke(&program.code, &mut store, &usage).await {
            Ok(outcome) => outcome,
            Err(error) if error.downcast_ref() == Some(&Trap::OutOfFuel) => {
                Outcome::FuelSpent { limit: fuel.unwrap_or_default() }
            }
            Err(error) => trap::outcome(&error, store.data().limiter()),
        };
        let outcome = trap::for_want_of_room(outcome, store.data());
        stdout.drained().await;
        stderr.drained().await;
        match network {
            Some(network) => network.outcome(outcome),
            None => outcome,
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = ended => outcome,
        outcome = stop.requested() => outcome,
    };
    if let Some(fuel) = fuel {
        usage.fuel.add(fuel - store.get_fuel().expect("the code of this machine counts it"));
    }
    // The guest has stopped. What it had touched of its memory takes the kernel a tenth of a microsecond for each KiB.
    let stopped = Instant::now();
    drop(store);
    if let Some(writes) = &writes {
        // What the guest wrote is in the file, and counted, before anybody sees the end.
        disk::settled(writes).await;
    }
    usage.release.add_time(stopped.elapsed());
    outcome
}

async fn invoke(code: &Code, store: &mut Store<Host>, usage: &Usage) -> Result<Outcome> {
    let begun = Instant::now();
    match code {
        Code::Module { pre, start } => {
            let instance = pre.instantiate_async(&mut *store).await?;
            usage.instantiate.add_time(begun.elapsed());
            let start = instance.get_module_export(&mut *store, start).and_then(wasmtime::Extern::into_func);
            let start = start.ok_or_else(|| wasmtime::format_err!("the export checked at load is gone"))?;
            start.typed::<(), ()>(&*store)?.call_async(&mut *store, ()).await?;
            Ok(Outcome::SUCCESS)
        }
        Code::Component { pre, .. } => {
            let command = pre.instantiate_async(&mut *store).await?;
            usage.instantiate.add_time(begun.elapsed());
            let result = command.wasi_cli_run().call_run(&mut *store).await?;
            Ok(Outcome::Exited { code: result.is_err().into() })
        }
    }
}

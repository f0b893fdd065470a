//! [`run`]: one run of a program in a new store and instance, and its outcome.

use std::time::Instant;

use capstan_core::feature::Feature;
use capstan_core::limits::Limits;
use capstan_core::outcome::Outcome;
use capstan_core::usage::Usage;
use capstan_engine::handler::Call;
use wasmtime::{Store, Trap};

use super::disk::{self, Disk};
use super::exceptions;
use super::guest_profiler::ProfiledRun;
use super::host::{self, Host};
use super::http::{self, HandlerResources, Instance, Lease};
use super::invoke::{self, Invocation, PreparedCall};
use super::link::{Code, LinkedProgram, Preview3};
use super::run_context::RunContext;
use super::scratch::Scratch;
use super::stdio;
use super::trap;

/// Runs `program` for `call` until it ends or a stop is requested, and returns its outcome. `client` sends its HTTP requests. By then the store is dropped, which frees its
/// slots, and the scratch directory is removed.
///
/// A run that answers a request may have its instance from `resources`, and leave it there.
pub(super) async fn run(
    program: &LinkedProgram,
    context: &RunContext,
    resources: &HandlerResources,
    mut call: Call,
) -> Outcome {
    let Some(grant) = call.scratch.take() else { return run_in_store(program, context, resources, call).await };
    match Scratch::create(grant, call.job).await {
        Ok((scratch, mount)) => {
            call.mounts.push(mount);
            let outcome = run_in_store(program, context, resources, call).await;
            scratch.remove().await;
            outcome
        }
        Err(error) => Outcome::HostError { message: format!("cannot create the scratch directory: {error}") },
    }
}

async fn run_in_store(
    program: &LinkedProgram,
    context: &RunContext,
    resources: &HandlerResources,
    mut call: Call,
) -> Outcome {
    let prepared = match prepare(program, &mut call) {
        Ok(prepared) => prepared,
        Err(why) => return Outcome::Refused { why },
    };
    let (stop, usage, limits) = (call.stop.clone(), call.usage.clone(), call.limits);
    let engine = &program.engine.engine;
    let profiled = context.can_profile.then(|| ProfiledRun::new(engine, &call.name, &program.code, &usage));
    let mut lease = resources.instances.as_ref().and_then(|instances| instances.lease(&call));
    let (mut store, mut instance) = match lease.as_mut().and_then(Lease::take) {
        Some((mut store, instance)) => {
            store.data_mut().start_request(call);
            host::start_slice(&mut store);
            (store, Some(instance))
        }
        None => match Host::new(call, program.uses_network.then_some(&context.resolver)) {
            Ok(mut host) => {
                if program.uses_network {
                    host.http.set_client(resources.client.clone());
                }
                (host.into_store(engine, max_hostcall(program, prepared.is_some(), limits)), None)
            }
            Err(error) => return Outcome::HostError { message: format!("cannot set up WASI for the run: {error:#}") },
        },
    };
    let host = store.data();
    let outputs = [host.stdout.clone(), host.stderr.clone()];
    let network = host.network().ok().cloned();
    let writes = host.disk.as_ref().map(Disk::writes);
    let _hold = context.ticker.hold();
    let fuel = program.engine.profile.is_metered.then(|| limits.fuel.unwrap_or(u64::MAX));
    if let Some(fuel) = fuel {
        store.set_fuel(fuel).expect("the code of this engine counts fuel");
    }
    if let Some(profiled) = &profiled {
        profiled.attach_to(&mut store);
    }
    let finish = async {
        let outcome = match execute(&program.code, prepared, &mut instance, &mut store, &usage).await {
            Ok(outcome) => outcome,
            Err(error) if error.downcast_ref() == Some(&Trap::OutOfFuel) => {
                Outcome::FuelSpent { limit: fuel.unwrap_or_default() }
            }
            Err(error) => {
                let uncaught = exceptions::describe_uncaught(&mut store, &error);
                trap::outcome(&error, uncaught, store.data().limiter())
            }
        };
        let outcome = trap::or_memory_limit(outcome, store.data().limiter());
        let outcome = trap::or_disk_cap(outcome, store.data());
        for output in &outputs {
            output.drained().await;
        }
        match network {
            Some(network) => network.or_network_cap(outcome),
            None => outcome,
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = stdio::flush_at_pauses(&outputs, finish) => outcome,
        outcome = stop.requested() => outcome,
    };
    if let Some(fuel) = fuel {
        usage.fuel.add(fuel - store.get_fuel().expect("the code of this engine counts fuel"));
    }
    // The guest has stopped. The kernel needs a tenth of a microsecond for each KiB of memory that it touched.
    let stopped = Instant::now();
    match lease.filter(|_| outcome.is_success()) {
        Some(lease) => lease.give_back(store, instance, &context.guest_runtime),
        None => drop(store),
    }
    if let Some(writes) = &writes {
        // The writes of the guest are in the file, and counted, before the end of the run is reported.
        disk::wait_for_writes(writes).await;
    }
    usage.release.add_time(stopped.elapsed());
    outcome
}

/// Returns how many bytes one host call may copy from the guest.
fn max_hostcall(program: &LinkedProgram, is_invoked: bool, limits: Limits) -> usize {
    match program.code {
        Code::Module { .. } => limits.hostcall,
        // The calls of stores copy keys. Those that take values limit themselves what they copy.
        Code::Component { .. } if program.has_stores => limits.hostcall,
        // Those of 0.3 copy what they take.
        Code::Component { .. } if program.engine.profile.has(Feature::P3) => limits.hostcall,
        // The values of an invoked function become values of the host, which are larger than those of the guest.
        Code::Component { .. } if is_invoked => invoke::MAX_VALUES,
        // The calls of components take strings and lists without a copy, and limit themselves what they copy.
        Code::Component { .. } => usize::MAX,
    }
}

/// Returns the function that `call` asks to invoke, or `None` if the program starts at its entry point.
///
/// # Errors
/// Why the call cannot run: it does not fit the program, or a library is run without one.
fn prepare(program: &LinkedProgram, call: &mut Call) -> Result<Option<PreparedCall>, String> {
    let engine = &program.engine.engine;
    match call.invoke.take() {
        Some(text) => {
            let invocation = Invocation { text, args: call.args.clone() };
            invocation.prepare(&program.code, engine).map(Some).map_err(|error| error.to_string())
        }
        None if call.http.is_some() != program.code.answers_http() && !program.code.is_command() => {
            Err(http::explain(call.http.is_some()))
        }
        None if program.code.is_library() => Err(invoke::explain_library(&program.code, engine)),
        None => Ok(None),
    }
}

/// Instantiates `code` and calls its start function, or the one that is `prepared`. Returns an error if the guest traps or exits.
async fn execute(
    code: &Code,
    prepared: Option<PreparedCall>,
    instance: &mut Option<Instance>,
    store: &mut Store<Host>,
    usage: &Usage,
) -> wasmtime::Result<Outcome> {
    let started = Instant::now();
    if let Some(call) = prepared {
        call.call(code, store, || usage.instantiate.add_time(started.elapsed())).await?;
        return Ok(Outcome::SUCCESS);
    }
    match code {
        Code::Module { pre, start } => {
            let instance = pre.instantiate_async(&mut *store).await?;
            usage.instantiate.add_time(started.elapsed());
            let start = start.as_ref().and_then(|start| instance.get_module_export(&mut *store, start));
            let start = start.and_then(wasmtime::Extern::into_func);
            let start = start
                .ok_or_else(|| wasmtime::format_err!("the `_start` export that was checked at load is missing"))?;
            start.typed::<(), ()>(&*store)?.call_async(&mut *store, ()).await?;
            Ok(Outcome::SUCCESS)
        }
        Code::Component { command, proxy, preview3, .. } => {
            if let Some(outcome) = run_preview3(preview3, store, usage).await? {
                return Ok(outcome);
            }
            if let (Some(proxy), Some(exchange)) = (proxy, store.data_mut().http.take_exchange()) {
                return http::answer(proxy, instance, store, exchange, usage).await;
            }
            let command = command.as_ref().ok_or_else(|| wasmtime::format_err!("a library has no entry point"))?;
            let command = command.instantiate_async(&mut *store).await?;
            usage.instantiate.add_time(started.elapsed());
            let result = command.wasi_cli_run().call_run(&mut *store).await?;
            Ok(Outcome::Exited { code: result.is_err().into() })
        }
    }
}

/// Runs the entry point of WASI 0.3 that fits what is asked for. Returns `None` if there is none. A command has ended when its tasks have, also
/// those that run after it has returned its result.
async fn run_preview3(
    Preview3 { command, service }: &Preview3,
    store: &mut Store<Host>,
    usage: &Usage,
) -> wasmtime::Result<Option<Outcome>> {
    if let Some(service) = service
        && let Some(exchange) = store.data_mut().http.take_exchange()
    {
        return http::preview3::answer(service, store, exchange, usage).await.map(Some);
    }
    let Some(command) = command.as_ref().filter(|_| !store.data_mut().http.has_exchange()) else { return Ok(None) };
    let started = Instant::now();
    let command = command.instantiate_async(&mut *store).await?;
    usage.instantiate.add_time(started.elapsed());
    let result = store
        .run_concurrent(async |accessor| -> wasmtime::Result<_> {
            let result = command.wasi_cli_run().call_run(accessor).await?;
            std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            Ok(result)
        })
        .await??;
    Ok(Some(Outcome::Exited { code: result.is_err().into() }))
}

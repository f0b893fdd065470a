//! [`Host`]: the data of a store, which is everything that the host calls of a guest can reach.

use std::os::fd::AsRawFd as _;

use capstan_core::mount::{Access, Quota};
use capstan_core::outcome::OutputStream;
use capstan_engine::handler::Call;
use wasmtime::{Caller, Engine, Extern, Memory, Result, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::clocks::VirtualClock;
use super::disk::Disk;
use super::http::state::HttpState;
use super::limiter::Limiter;
use super::network::{Network, Resolver};
use super::stdio::{StandardStreams, Stdin, Stdio, Stdout};
use super::stores::state::Stores;
use super::{clocks, handles, random};

/// The state behind WASI. Modules and components share it: preview 1 is an adapter over the context of 0.2.
pub(super) struct Host {
    pub(super) wasi: WasiP1Ctx,
    /// The mounts. `None` if there are none.
    pub(super) disk: Option<Disk>,
    limiter: Limiter,
    /// The state of the standard streams that only preview 1 has.
    pub(super) stdio: Stdio,
    pub(super) stdin: Stdin,
    pub(super) stdout: Stdout,
    pub(super) stderr: Stdout,
    /// The streams of a guest of WASI 0.3.
    pub(super) streams: StandardStreams,
    /// The sockets and the connections for HTTP requests. `None` if the program imports neither.
    network: Option<Network>,
    /// The monotonic clock of a guest whose wall clock is fixed.
    pub(super) virtual_clock: Option<VirtualClock>,
    /// The state of the calls of `wasi:http`.
    pub(super) http: HttpState,
    /// What the handler keeps, and what its manifest configures.
    pub(super) stores: Stores,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl Host {
    /// Creates the host of a run. The guest has only what this function adds. `resolver` is `None` if the program imports no
    /// sockets and sends no HTTP requests.
    pub(super) fn new(call: Call, resolver: Option<&Resolver>) -> Result<Self> {
        let source = call.limits.random;
        Self::with_random(call, resolver, |wasi| random::configure(wasi, source))
    }

    /// Creates the host as [`Host::new`] does, whose random bytes `configure_random` decides about instead of the limits.
    pub(super) fn with_random(
        call: Call,
        resolver: Option<&Resolver>,
        configure_random: impl FnOnce(&mut WasiCtxBuilder),
    ) -> Result<Self> {
        let limits = call.limits;
        let terminals = call.terminals;
        let stdin = Stdin::new(call.stdin, limits.is_repeatable(), call.usage.clone()).on_terminal(terminals.stdin);
        let stdout = Stdout::new(OutputStream::Stdout, call.stdout, limits.stdout, limits.output, call.usage.clone())
            .on_terminal(terminals.stdout);
        let stderr = Stdout::new(OutputStream::Stderr, call.stderr, limits.stderr, limits.output, call.usage.clone())
            .on_terminal(terminals.stderr);
        let mut wasi = WasiCtx::builder();
        let http = HttpState::new(call.http);
        let stores = Stores { data: call.data, config: call.config };
        if http.has_exchange() {
            // The streams of the job are the bodies.
            wasi.stdout(stderr.clone());
        } else {
            wasi.stdin(stdin.clone()).stdout(stdout.clone());
        }
        let streams = match http.has_exchange() {
            true => StandardStreams::new(None, stderr.clone(), stderr.clone()),
            false => StandardStreams::new(Some(stdin.clone()), stdout.clone(), stderr.clone()),
        };
        wasi.stderr(stderr.clone()).max_random_size(random::PIECE_SIZE as u64);
        configure_random(&mut wasi);
        let virtual_clock = clocks::configure(&mut wasi, limits.clock);
        wasi.arg(&call.name).args(&call.args);
        for (name, value) in call.env.iter().filter(|(name, _)| call.secrets.iter().all(|(secret, _)| secret != name)) {
            wasi.env(name, value);
        }
        for (name, secret) in &call.secrets {
            wasi.env(name, secret.reveal());
        }
        for mount in &call.mounts {
            // wasmtime-wasi opens mounts by path. This path is that of the open descriptor, even if the directory was renamed.
            let path = format!("/proc/self/fd/{}", mount.dir.as_raw_fd());
            wasi.preopened_dir(path, mount.guest_directory().0, permissions(mount.access))?;
        }
        let quota = Quota { bytes: limits.disk, files: limits.files };
        let disk = Disk::new(&call.mounts, quota, &call.usage);
        let network = resolver.map(|resolver| Network::new(call.network, resolver.clone(), limits, call.usage.clone()));
        let mut http = http;
        if let Some(network) = &network {
            network.configure(&mut wasi);
            http.allow(call.outbound, network.clone());
        }
        let mut wasi = wasi.build_p1();
        wasi.ctx().table.set_max_capacity(limits.handles.saturating_add(handles::RESERVED));
        Ok(Self {
            wasi,
            disk,
            stdio: Stdio::default(),
            limiter: Limiter::new(limits.memory, call.usage),
            stdin,
            stdout,
            stderr,
            streams,
            network,
            virtual_clock,
            http,
            stores,
        })
    }

    /// Creates the store of the run, which yields at each tick of the epoch and applies the limits. `hostcall` is the number of bytes that one
    /// host call may copy from the guest.
    pub(super) fn into_store(self, engine: &Engine, hostcall: usize) -> Store<Self> {
        let mut store = Store::new(engine, self);
        store.limiter(|host| &mut host.limiter);
        store.set_hostcall_fuel(hostcall);
        let handles = store.data_mut().wasi.ctx().table.max_capacity();
        if let Some(concurrent) = store.concurrent_resource_table() {
            // Tasks, streams and futures of the guest.
            concurrent.set_max_capacity(handles);
        }
        store.epoch_deadline_async_yield_and_update(1);
        start_slice(&mut store);
        store
    }

    /// Returns the sockets of the run.
    ///
    /// # Errors
    /// If the program does not import any.
    pub(super) fn network(&self) -> Result<&Network> {
        self.network.as_ref().ok_or_else(|| wasmtime::format_err!("the program uses sockets but does not import them"))
    }

    pub(super) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    pub(super) fn limiter_mut(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

/// Gives a guest that has not started its first slice. The deadline of a new store has passed already, and so has that of one that waited. Two
/// ticks give a slice of one to two milliseconds, since the first may come at once.
pub(super) fn start_slice(store: &mut Store<Host>) {
    store.set_epoch_deadline(2);
}

/// Returns the memory of the module that makes a call of preview 1.
///
/// # Errors
/// If it exports none.
pub(super) fn exported_memory(caller: &mut Caller<'_, Host>) -> Result<Memory> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => wasmtime::bail!("missing required memory export"),
    }
}

fn permissions(access: Access) -> FsPerms {
    match access {
        Access::ReadOnly => FsPerms::ReadOnly,
        Access::ReadWrite => FsPerms::ReadWrite,
    }
}

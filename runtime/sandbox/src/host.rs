//! `Host`: the data of a store, and so all that a guest's calls can reach.

use std::os::fd::AsRawFd as _;

use capstan_core::mount::{Access, Quota};
use capstan_core::outcome::OutputStream;
use capstan_engine::handler::Call;
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use super::clocks::Slept;
use super::disk::Disk;
use super::limiter::Limiter;
use super::network::{Network, Resolver};
use super::stdio::{Stdin, Stdout};
use super::{clocks, random};

/// Bytes of randomness a guest may ask for in one call: the host makes them without yielding.
const MAX_RANDOM: u64 = 256 << 10;

/// Both worlds share it: preview 1 is an adapter over the context of 0.2.
pub(super) struct Host {
    pub(super) wasi: WasiP1Ctx,
    /// Its mounts, where it has any.
    pub(super) disk: Option<Disk>,
    limiter: Limiter,
    pub(super) stdout: Stdout,
    pub(super) stderr: Stdout,
    network: Option<Network>,
    /// The guest's clock, where its wall clock stands.
    pub(super) slept: Option<Slept>,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl Host {
    /// Maps a call into WASI: what is not named here, the guest does not have. A program that imports no sockets needs no `resolver`.
    pub(super) fn new(call: Call, resolver: Option<&Resolver>) -> Result<Self> {
        let limits = call.limits;
        let stdin = Stdin::new(call.stdin, limits.is_repeatable(), call.usage.clone());
        let stdout = Stdout::new(OutputStream::Stdout, call.stdout, limits.stdout, limits.output, call.usage.clone());
        let stderr = Stdout::new(OutputStream::Stderr, call.stderr, limits.stderr, limits.output, call.usage.clone());
        let mut wasi = WasiCtx::builder();
        wasi.stdin(stdin).stdout(stdout.clone()).stderr(stderr.clone()).max_random_size(MAX_RANDOM);
        random::set(&mut wasi, limits.random);
        let slept = clocks::set(&mut wasi, limits.clock);
        wasi.arg(&call.name).args(&call.args);
        for (name, value) in call.env.iter().filter(|(name, _)| call.secrets.iter().all(|(secret, _)| secret != name)) {
            wasi.env(name, value);
        }
        for (name, secret) in &call.secrets {
            wasi.env(name, secret.reveal());
        }
        for mount in &call.mounts {
            // The library opens mounts by path; this path names the open directory itself, whatever has become of its name.
            let path = format!("/proc/self/fd/{}", mount.dir.as_raw_fd());
            wasi.preopened_dir(path, mount.guest_directory().0, permissions(mount.access))?;
        }
        let quota = Quota { bytes: limits.disk, files: limits.files };
        let disk = Disk::new(&call.mounts, quota, &call.usage);
        let network = resolver.map(|resolver| Network::new(call.network, resolver.clone(), limits, call.usage.clone()));
        if let Some(network) = &network {
            network.open(&mut wasi);
        }
        let mut wasi = wasi.build_p1();
        wasi.ctx().table.set_max_capacity(limits.handles);
        Ok(Self { wasi, disk, limiter: Limiter::new(limits.memory, call.usage), stdout, stderr, network, slept })
    }

    /// A store around it that yields each tick and is held to its limits.
    pub(super) fn into_store(self, engine: &Engine, hostcall: usize) -> Store<Self> {
        let mut store = Store::new(engine, self);
        store.limiter(|host| &mut host.limiter);
        store.set_hostcall_fuel(hostcall);
        store.epoch_deadline_async_yield_and_update(1);
        // A new store's deadline has passed already. Two ticks, since the first may come at once: a slice of one to two milliseconds.
        store.set_epoch_deadline(2);
        store
    }

    /// The sockets of the run.
    ///
    /// # Errors
    /// That its program said it had none.
    pub(super) fn network(&self) -> Result<&Network> {
        self.network.as_ref().ok_or_else(|| wasmtime::format_err!("sockets were used that were not imported"))
    }

    pub(super) fn limiter(&self) -> &Limiter {
        &self.limiter
    }
}

fn permissions(access: Access) -> FsPerms {
    match access {
        Access::ReadOnly => FsPerms::ReadOnly,
        Access::ReadWrite => FsPerms::ReadWrite,
    }
}

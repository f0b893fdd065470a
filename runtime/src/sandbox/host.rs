//! `Host`: the data of a store, and so all that a guest's calls can reach.

use std::os::fd::AsRawFd as _;

use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use super::clocks::Slept;
use super::limiter::Limiter;
use super::stdio::{Stdin, Stdout};
use super::{chance, clocks};
use crate::handler::Call;
use crate::mount::{Access, Mount};
use crate::outcome::OutputStream;

/// Bytes of randomness a guest may ask for in one call: the host makes them without yielding.
const MAX_RANDOM: u64 = 256 << 10;

/// Both worlds share it: preview 1 is an adapter over the context of 0.2.
pub(super) struct Host {
    pub(super) wasi: WasiP1Ctx,
    limiter: Limiter,
    pub(super) stdout: Stdout,
    pub(super) stderr: Stdout,
    /// The guest's clock, where its wall clock stands.
    pub(super) slept: Option<Slept>,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl Host {
    /// Maps a call into WASI: what is not named here, the guest does not have.
    pub(super) fn new(call: Call) -> Result<Self> {
        let limits = call.limits;
        let stdin = Stdin::new(call.stdin, limits.is_repeatable(), call.usage.clone());
        let stdout = Stdout::new(OutputStream::Stdout, call.stdout, limits.stdout, limits.output, call.usage.clone());
        let stderr = Stdout::new(OutputStream::Stderr, call.stderr, limits.stderr, limits.output, call.usage.clone());
        let mut wasi = WasiCtx::builder();
        wasi.stdin(stdin).stdout(stdout.clone()).stderr(stderr.clone()).max_random_size(MAX_RANDOM);
        chance::set(&mut wasi, limits.random);
        let slept = clocks::set(&mut wasi, limits.clock);
        wasi.arg(&call.name).args(&call.args);
        for (name, value) in call.env.iter() {
            wasi.env(name, value);
        }
        for Mount { dir, guest_path, access } in &call.mounts {
            // The library opens mounts by path; this path names the open directory itself, whatever has become of its name.
            let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
            wasi.preopened_dir(path, guest_path, FsPerms::from(*access))?;
        }
        let mut wasi = wasi.build_p1();
        wasi.ctx().table.set_max_capacity(limits.handles);
        Ok(Self { wasi, limiter: Limiter::new(limits.memory, call.usage), stdout, stderr, slept })
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

    pub(super) fn limiter(&self) -> &Limiter {
        &self.limiter
    }
}

impl From<Access> for FsPerms {
    fn from(access: Access) -> Self {
        match access {
            Access::ReadOnly => Self::ReadOnly,
            Access::ReadWrite => Self::ReadWrite,
        }
    }
}

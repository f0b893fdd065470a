//! [`Profile`]: which WebAssembly features a program may use, and whether its fuel is counted; and the `wasmtime::Engine` for each profile.
//!
//! The features of the default profile are those that mainstream toolchains emit, and components. GC, exceptions, threads and component
//! async are off, because most security advisories of wasmtime are about them. A manifest may ask for the features in [`Feature`]. Each set
//! of them has its own profile, with and without fuel.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use capstan_core::feature::{Feature, Features};
use serde::{Deserialize, Serialize};
use wasmtime::{
    Config as EngineConfig, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy,
    PoolingAllocationConfig, PoolingAllocatorMetrics, Result, Strategy,
};

use super::bulk_memory;
use super::config::Config;
use super::limiter::{MAX_MEMORIES_PER_RUN, MAX_TABLE_BYTES_PER_RUN};

/// The full version of wasmtime. Its artifacts contain only the major version, although patch releases fix code generation.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Bytes of the WebAssembly stack of a guest, unless the operator sets another size.
pub const DEFAULT_STACK: usize = 512 << 10;
/// Bytes of stack for host calls, in addition to that of the guest.
const HOST_STACK: usize = 1536 << 10;
/// Bytes of a memory or table slot that stay resident after its run: a small program touches no more, so the next run finds its pages
/// mapped.
const KEEP_RESIDENT: usize = 256 << 10;
/// The same for a stack slot. All of these bytes are zeroed after each run, used or not: with 256 KiB, this took a fifth of a short run, and
/// with 32 KiB still a tenth of one.
const KEEP_STACK_RESIDENT: usize = 12 << 10;
/// How many used slots may be idle before a run of another program takes one of them instead of a new one. Each keeps its resident pages
/// for good.
const MAX_WARM_SLOTS: u32 = 32;
/// Core instances of one component. A Python component has about thirty.
const INSTANCES_PER_RUN: u32 = 64;
/// Tables of one module.
const MAX_TABLES_PER_MODULE: u32 = 16;

/// Memory maps of the process that one run needs: two for the guard of its stack slot from the start, and four for its memory and its
/// table while it runs. Measured by the `crowd` benchmark; modules and components written in Rust need the same number.
const MAPS_PER_RUN: usize = 6;
/// Memory maps of everything else: libraries, threads, the heap, and the code of loaded programs.
const MAPS_BESIDE_RUNS: usize = 4096;

/// Bytes of address space reserved for one memory in any profile but the default. A memory that grows beyond it moves, and compiled code
/// checks each address explicitly. There may be many profiles, and the address space that the default profile reserves for all of its
/// runs is not available twice.
const ON_DEMAND_RESERVATION: u64 = 256 << 20;

/// The settings that change the compiled code of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Profile {
    pub(super) features: Features,
    /// Whether fuel is counted.
    pub(super) is_metered: bool,
}

/// Whether fuel is counted. Counting is compiled into a program and slows it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metering {
    Off,
    On,
}

impl Metering {
    /// Returns the metering that a run with the fuel limit `fuel` needs.
    pub fn for_limit(fuel: Option<u64>) -> Self {
        if fuel.is_some() { Self::On } else { Self::Off }
    }
}

impl Profile {
    /// Returns whether this is the profile of most programs: no further features and no fuel.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Returns the part of a fingerprint that identifies the profile: empty for the default, otherwise for example `+memory64+fuel`.
    fn suffix(&self) -> String {
        let mut suffix: String = self.features.iter().map(|feature| format!("+{feature}")).collect();
        if self.is_metered {
            suffix.push_str("+fuel");
        }
        suffix
    }
}

/// Returns the configuration that the daemon and the compiling child must share, because it changes compiled code. Guests get a stack of
/// `stack` bytes, which does not change the code.
fn base_config(profile: &Profile, stack: usize) -> Result<EngineConfig> {
    let mut config = EngineConfig::new();
    if !profile.is_default() {
        config.memory_reservation(ON_DEMAND_RESERVATION).memory_reservation_for_growth(0);
    }
    config
        .strategy(Strategy::Cranelift)
        .wasm_memory64(profile.has(Feature::Memory64))
        // The complexity check decides whether the program may use it. The compiler needs it for itself, to connect the memories of components
        // that were linked into one.
        .wasm_multi_memory(true)
        .wasm_custom_page_sizes(profile.has(Feature::CustomPageSizes))
        .wasm_wide_arithmetic(profile.has(Feature::WideArithmetic))
        .consume_fuel(profile.is_metered)
        .relaxed_simd_deterministic(true)
        .epoch_interruption(true)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK)
        .async_stack_zeroing(true)
        .memory_init_cow(true)
        .guard_before_linear_memory(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20));
    let version = format!("{WASMTIME_VERSION}+{}+{}", env!("CARGO_PKG_VERSION"), bulk_memory::REVISION);
    config.module_version(ModuleVersionStrategy::Custom(version))?;
    Ok(config)
}

/// Returns how many runs may be in progress at a time if the kernel allows the process `max_maps` memory maps. Beyond that number of maps,
/// every request for one fails, in the whole process.
pub fn max_runs_for_maps(max_maps: usize) -> usize {
    (max_maps.saturating_sub(MAPS_BESIDE_RUNS) / MAPS_PER_RUN).max(1)
}

/// Creates the engine for any profile but the default. The memory of a run is allocated when it starts, and costs nothing before.
pub(super) fn on_demand_engine(profile: &Profile, stack: usize) -> Result<Engine> {
    let mut engine = base_config(profile, stack)?;
    engine.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&engine)
}

/// Creates the engine for the default profile. Instances, memories and stacks come from pools, whose address space is reserved here.
pub(super) fn pooling_engine(config: &Config) -> Result<Engine> {
    let runs = u32::try_from(config.runs).unwrap_or(u32::MAX / INSTANCES_PER_RUN);
    let memory = usize::try_from(config.ceiling.memory).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(runs)
        .total_core_instances(runs.saturating_mul(8).max(INSTANCES_PER_RUN))
        .max_core_instances_per_component(INSTANCES_PER_RUN)
        // Components that were linked from several have a memory each.
        .total_memories(runs.saturating_mul(2).max(u32::try_from(MAX_MEMORIES_PER_RUN).unwrap_or(u32::MAX)))
        .total_tables(runs.saturating_mul(4).max(INSTANCES_PER_RUN))
        .max_tables_per_module(MAX_TABLES_PER_MODULE)
        // A slot has room for the largest table that the limiter allows, so that a guest reaches the limit and not the end of the slot.
        .table_elements(memory.min(MAX_TABLE_BYTES_PER_RUN) / size_of::<usize>())
        .total_stacks(runs)
        .max_memory_size(memory)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .async_stack_keep_resident(KEEP_STACK_RESIDENT)
        .max_unused_warm_slots(MAX_WARM_SLOTS)
        .pagemap_scan(Enabled::Auto);
    let mut engine = base_config(&Profile::default(), config.stack)?;
    engine.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&engine)
}

/// Returns how many slots of each pool of `engine` are in use. All are 0 if it has no pools.
pub(super) fn slots_used(engine: &Engine) -> [(&'static str, usize); 5] {
    let pools = engine.pooling_allocator_metrics();
    let used = |pool: fn(&PoolingAllocatorMetrics) -> usize| pools.as_ref().map_or(0, pool);
    [
        ("component_instances", used(|pools| usize::try_from(pools.component_instances()).unwrap_or(usize::MAX))),
        ("core_instances", used(|pools| usize::try_from(pools.core_instances()).unwrap_or(usize::MAX))),
        ("memories", used(PoolingAllocatorMetrics::memories)),
        ("tables", used(PoolingAllocatorMetrics::tables)),
        ("stacks", used(PoolingAllocatorMetrics::stacks)),
    ]
}

/// Creates the engine that the compiling child uses. `is_parallel` is whether it compiles on the threads of rayon's global pool.
pub(super) fn compile_engine(profile: &Profile, is_parallel: bool) -> Result<Engine> {
    Engine::new(base_config(profile, DEFAULT_STACK)?.parallel_compilation(is_parallel))
}

/// Creates an engine that validates modules as strictly as the complexity check.
#[cfg(any(test, fuzzing))]
pub(super) fn validating_engine(profile: &Profile) -> Result<Engine> {
    let mut config = base_config(profile, DEFAULT_STACK)?;
    Engine::new(config.wasm_multi_memory(profile.has(Feature::MultiMemory)))
}

/// Returns the fingerprint of the code that `engine` can run: the wasmtime version, a hash of configuration and target, and the profile.
pub(super) fn fingerprint(engine: &Engine, profile: &Profile) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{WASMTIME_VERSION}-{:016x}{}", hasher.finish(), profile.suffix())
}

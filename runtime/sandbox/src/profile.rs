//! Which wasm is spoken here, and how: the configuration of each `wasmtime::Engine`.
//!
//! The features of the default profile are what mainstream toolchains emit, with components. GC, exceptions, threads and component async
//! are off: most advisories of the library lie there. What a manifest may ask for is [`Feature`], and has a profile of its own for each
//! set of them, with fuel counted or not.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use capstan_core::feature::{Feature, Features};
use serde::{Deserialize, Serialize};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig,
    PoolingAllocatorMetrics, Result, Strategy,
};

use super::bulk_memory;
use super::limiter::TABLES_A_RUN;

/// The full version of the library: its own artifacts name the major version only, and patch releases fix code generation.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Bytes of a guest's stack where the operator says nothing.
pub const DEFAULT_STACK: usize = 512 << 10;
/// Bytes of the stack behind it, for host calls.
const HOST_STACK: usize = 1536 << 10;
/// Bytes of a slot that stay in memory when its run ends: what a small program touches, so that the next one finds it there.
const KEEP_RESIDENT: usize = 256 << 10;
/// The same of a stack. All of it is written over after each run, used or not: 256 KiB of it took a fifth of a short run.
const KEEP_STACK: usize = 32 << 10;
/// Used slots that may lie idle before a run of another program takes one of them and not a fresh one. Each keeps its residue for good.
const WARM_SLOTS: u32 = 32;
/// Core instances of one component; a Python component has about thirty.
const INSTANCES_A_RUN: u32 = 64;

/// Maps of a process that one run takes: two of its slots from the start, for the guard of its stack, and four while it goes on, for its
/// memory and its table. Measured by the benchmark of the crowd, the same for modules and components of Rust.
const MAPS_A_RUN: usize = 6;
/// Maps of everything else: libraries, threads, the heap, and the code of loaded programs.
const MAPS_BESIDE_RUNS: usize = 4096;

/// Tables of one module.
const TABLES_A_MODULE: u32 = 16;

/// Address space of one memory of a further profile. What grows beyond it moves, and code looks at each address itself: profiles may be
/// many, and the address space that the default one reserves for all of its runs is not there twice.
const FURTHER_RESERVATION: u64 = 256 << 20;
/// Memories of one run, as many as the pools of the default profile give a component.
pub(super) const MEMORIES_A_RUN: usize = 20;

/// What shapes the code of a program, beyond what is the same for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Profile {
    pub(super) features: Features,
    /// Whether fuel is counted.
    pub(super) is_metered: bool,
}

impl Profile {
    /// Whether it is the one that most programs have.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// What tells it from others in a name: nothing for the default one, else for example `+memory64+fuel`.
    fn mark(&self) -> String {
        let mut mark: String = self.features.iter().map(|feature| format!("+{feature}")).collect();
        if self.is_metered {
            mark.push_str("+fuel");
        }
        mark
    }
}

/// The configuration that shapes compiled code, the same in the daemon and in the child that compiles for it; and guests' `stack`, which does
/// not.
fn base(profile: &Profile, stack: usize) -> Result<Config> {
    let mut config = Config::new();
    if !profile.is_default() {
        config.memory_reservation(FURTHER_RESERVATION).memory_reservation_for_growth(0);
    }
    config
        .strategy(Strategy::Cranelift)
        .wasm_memory64(profile.has(Feature::Memory64))
        .wasm_multi_memory(profile.has(Feature::MultiMemory))
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

/// Runs that may go on at a time where a process may have `maps` maps: beyond them the kernel gives none, to nobody in the process.
pub fn runs_within(maps: usize) -> usize {
    (maps.saturating_sub(MAPS_BESIDE_RUNS) / MAPS_A_RUN).max(1)
}

/// The engine that runs programs of a further profile: what a run needs is made when it begins, and costs nothing before.
pub(super) fn further_engine(profile: &Profile, stack: usize) -> Result<Engine> {
    let mut engine = base(profile, stack)?;
    engine.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&engine)
}

/// The engine that runs those of the default one: instances, memories and stacks come from pools that are reserved now.
pub(super) fn default_engine(config: &super::Config) -> Result<Engine> {
    let runs = u32::try_from(config.runs).unwrap_or(u32::MAX / INSTANCES_A_RUN);
    let memory = usize::try_from(config.ceiling.memory).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(runs)
        .total_core_instances(runs.saturating_mul(8).max(INSTANCES_A_RUN))
        .max_core_instances_per_component(INSTANCES_A_RUN)
        .total_memories(runs.saturating_mul(2))
        .total_tables(runs.saturating_mul(4).max(INSTANCES_A_RUN))
        .max_tables_per_module(TABLES_A_MODULE)
        // A slot holds what a limit lets a table become, so that the limit is what a guest runs into.
        .table_elements(memory.min(TABLES_A_RUN) / size_of::<usize>())
        .total_stacks(runs)
        .max_memory_size(memory)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .async_stack_keep_resident(KEEP_STACK)
        .max_unused_warm_slots(WARM_SLOTS)
        .pagemap_scan(Enabled::Auto);
    let mut engine = base(&Profile::default(), config.stack)?;
    engine.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&engine)
}

/// Slots of each pool of `engine` that are used now.
pub(super) fn slots_used(engine: &Engine) -> [(&'static str, usize); 5] {
    let pools = engine.pooling_allocator_metrics();
    let used = |of: fn(&PoolingAllocatorMetrics) -> usize| pools.as_ref().map_or(0, of);
    [
        ("component_instances", used(|pools| usize::try_from(pools.component_instances()).unwrap_or(usize::MAX))),
        ("core_instances", used(|pools| usize::try_from(pools.core_instances()).unwrap_or(usize::MAX))),
        ("memories", used(PoolingAllocatorMetrics::memories)),
        ("tables", used(PoolingAllocatorMetrics::tables)),
        ("stacks", used(PoolingAllocatorMetrics::stacks)),
    ]
}

/// The engine that compiles. Single-threaded: a thread pool would multiply the address space its limit must leave room for.
pub(super) fn compile_engine(profile: &Profile) -> Result<Engine> {
    Engine::new(&base(profile, DEFAULT_STACK)?)
}

/// What an artifact must have been made with to be loaded here: version, configuration and target, and the profile in words.
pub(super) fn fingerprint(engine: &Engine, profile: &Profile) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{WASMTIME_VERSION}-{:016x}{}", hasher.finish(), profile.mark())
}

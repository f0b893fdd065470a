//! Which wasm is spoken here, and how: the configuration of `wasmtime::Engine`.
//!
//! The features are what mainstream toolchains emit, with components. GC, exceptions, 64-bit memories, several memories in a module,
//! threads and component async are off: most advisories of the library lie there, and no guest asks for them by default.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig,
    PoolingAllocatorMetrics, Result, Strategy,
};

/// The full version of the library: its own artifacts name the major version only, and patch releases fix code generation.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Bytes of a guest's stack, and of the host's stack below it for host calls.
const GUEST_STACK: usize = 512 << 10;
const FIBER_STACK: usize = 2 << 20;
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

/// The configuration that shapes compiled code, the same in the daemon and in the child that compiles for it.
pub(super) fn base() -> Result<Config> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_custom_page_sizes(false)
        .relaxed_simd_deterministic(true)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(FIBER_STACK)
        .async_stack_zeroing(true)
        .memory_init_cow(true)
        .guard_before_linear_memory(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20));
    config
        .module_version(ModuleVersionStrategy::Custom(format!("{WASMTIME_VERSION}+{}", env!("CARGO_PKG_VERSION"))))?;
    Ok(config)
}

/// Runs that may go on at a time where a process may have `maps` maps: beyond them the kernel gives none, to nobody in the process.
pub fn runs_within(maps: usize) -> usize {
    (maps.saturating_sub(MAPS_BESIDE_RUNS) / MAPS_A_RUN).max(1)
}

/// The engine that runs: instances, memories and stacks come from pools that are reserved now.
pub(super) fn run_engine(config: &super::Config) -> Result<Engine> {
    let runs = u32::try_from(config.runs).unwrap_or(u32::MAX / INSTANCES_A_RUN);
    let memory = usize::try_from(config.ceiling.memory).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(runs)
        .total_core_instances(runs.saturating_mul(8).max(INSTANCES_A_RUN))
        .max_core_instances_per_component(INSTANCES_A_RUN)
        .total_memories(runs.saturating_mul(2))
        .total_tables(runs.saturating_mul(4).max(INSTANCES_A_RUN))
        .max_tables_per_module(TABLES_A_MODULE)
        // A slot holds what the limit on memory lets a table become, so that the limit is what a guest runs into.
        .table_elements(memory / size_of::<usize>())
        .total_stacks(runs)
        .max_memory_size(memory)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .async_stack_keep_resident(KEEP_STACK)
        .max_unused_warm_slots(WARM_SLOTS)
        .pagemap_scan(Enabled::Auto);
    let mut engine = base()?;
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
pub(super) fn compile_engine() -> Result<Engine> {
    Engine::new(&base()?)
}

/// What an artifact must have been made with to be loaded here: version, configuration and target.
pub(super) fn fingerprint(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{WASMTIME_VERSION}-{:016x}", hasher.finish())
}

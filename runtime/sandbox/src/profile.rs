//! [`Profile`]: which WebAssembly features a program uses, and whether its fuel is counted; and the `wasmtime::Engine` for each profile.
//!
//! The default profile has the features that need nothing at run time. Every other feature is off in it, so that programs which do not use
//! it pay nothing for it, and a fault in it cannot be reached by them. Each set of the features in [`Feature`] has its own profile, with and
//! without fuel.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use capstan_core::feature::{Feature, Features};
use serde::{Deserialize, Serialize};
use wasmtime::{
    Collector, Config as EngineConfig, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy,
    PoolingAllocationConfig, PoolingAllocatorMetrics, Result, Strategy,
};

use super::bulk_memory;
use super::config::Config;
use super::http::MAX_IDLE;
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

/// The garbage collector, as wasmtime chooses by itself. It also frees cycles, which that with reference counts does not, and it moves at most
/// half of the heap. The other half is empty until then, and counts in the memory limit of the run.
const COLLECTOR: Collector = Collector::Copying;

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

    pub(super) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Returns whether a program of this profile has a garbage-collected heap.
    fn has_heap(&self) -> bool {
        self.has(Feature::Gc) || self.has(Feature::Exceptions)
    }

    /// Returns the profile of the code with `fingerprint`, or `None` if this version has none of that name.
    pub(super) fn from_fingerprint(fingerprint: &str) -> Option<Self> {
        let mut profile = Self::default();
        for name in fingerprint.split('+').skip(1) {
            match name {
                "fuel" => profile.is_metered = true,
                feature => drop(profile.features.insert(feature.parse().ok()?)),
            }
        }
        Some(profile)
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
        // Exceptions are objects of the garbage-collected heap. The complexity check decides whether the program may use others.
        .gc_support(profile.has_heap())
        .collector(COLLECTOR)
        .wasm_exceptions(profile.has(Feature::Exceptions))
        .wasm_threads(profile.has(Feature::Atomics))
        .shared_memory(false)
        .concurrency_support(profile.has(Feature::ComponentAsync))
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
    let runs = u32::try_from(config.runs.saturating_add(MAX_IDLE)).unwrap_or(u32::MAX / INSTANCES_PER_RUN);
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
    Engine::new(config.wasm_multi_memory(profile.has(Feature::MultiMemory)).gc_support(profile.has(Feature::Gc)))
}

/// Returns the fingerprint of the code that `engine` can run: the wasmtime version, a hash of configuration and target, and the profile.
pub(super) fn fingerprint(engine: &Engine, profile: &Profile) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{WASMTIME_VERSION}-{:016x}{}", hasher.finish(), profile.suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_is_read_from_its_fingerprint() {
        for features in [Features::new(), [Feature::Gc].into(), Feature::ALL.into()] {
            for is_metered in [false, true] {
                let profile = Profile { features: features.clone(), is_metered };
                assert_eq!(Profile::from_fingerprint(&format!("48.0.8-0{}", profile.suffix())), Some(profile));
            }
        }
        assert_eq!(Profile::from_fingerprint("48.0.8-0+telepathy"), None);
    }

    /// What programs pay for features that they do not use.
    #[test]
    fn default_profile_has_no_heap_and_no_concurrency() {
        let engine = compile_engine(&Profile::default(), false).unwrap();
        let module = |text: &str| wasmtime::Module::validate(&engine, &wat::parse_str(text).unwrap());
        assert!(!engine.get_concurrency_support());
        module("(module (func (param funcref)))").unwrap();
        module("(module (tag))").unwrap_err();
        module("(module (func (param externref)))").unwrap_err();
        module("(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))").unwrap_err();
    }
}

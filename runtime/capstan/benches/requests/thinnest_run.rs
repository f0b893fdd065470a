//! The thinnest possible sandboxed run: what a run costs without policy, accounting, events, history and log.
//!
//! It uses wasmtime as its examples do: an instance from a pool, a WASI context with arguments and a variable, and stdout in memory.

use bytes::Bytes;
use wasmtime::component::{Component, Linker as ComponentLinker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig, Store,
    StoreLimits, StoreLimitsBuilder,
};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// Bytes of memory that a run may have.
const MEMORY: usize = 64 << 20;
/// Bytes that its stdout may have.
const OUTPUT: usize = 1 << 20;
/// Instances in the pool.
const INSTANCES: u32 = 100;

/// A program that is ready to run.
pub(crate) struct Program {
    engine: Engine,
    code: Code,
}

enum Code {
    Module(InstancePre<ModuleHost>),
    Component(CommandPre<ComponentHost>),
}

struct ModuleHost {
    wasi: WasiP1Ctx,
    limits: StoreLimits,
}

struct ComponentHost {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for ComponentHost {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Program {
    /// Compiles `wasm`, and starts a thread that advances the epoch for the rest of the process.
    pub(crate) fn compile(wasm: &[u8]) -> Self {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(INSTANCES * 8)
            .total_component_instances(INSTANCES)
            .total_memories(INSTANCES)
            .total_tables(INSTANCES * 4)
            .total_stacks(INSTANCES)
            .max_memory_size(MEMORY)
            .linear_memory_keep_resident(256 << 10)
            .table_keep_resident(64 << 10)
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).unwrap();
        let ticking = engine.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(std::time::Duration::from_millis(1));
                ticking.increment_epoch();
            }
        });
        let is_component = wasm.get(4..8) != Some(&[1, 0, 0, 0]);
        let code = if is_component { component(&engine, wasm) } else { module(&engine, wasm) };
        Self { engine, code }
    }

    /// Runs the program once and returns its output.
    pub(crate) async fn run(&self) -> Bytes {
        let output = MemoryOutputPipe::new(OUTPUT);
        let mut wasi = WasiCtxBuilder::new();
        wasi.args(&["hello", "x"]).env("A", "1").stdout(output.clone());
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY).build();
        match &self.code {
            Code::Module(pre) => {
                let mut store = Store::new(&self.engine, ModuleHost { wasi: wasi.build_p1(), limits });
                store.limiter(|host| &mut host.limits);
                let_yield(&mut store);
                let instance = pre.instantiate_async(&mut store).await.unwrap();
                let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
                if let Err(error) = start.call_async(&mut store, ()).await {
                    assert!(error.is::<I32Exit>(), "{error:?}");
                }
            }
            Code::Component(pre) => {
                let host = ComponentHost { wasi: wasi.build(), table: ResourceTable::new(), limits };
                let mut store = Store::new(&self.engine, host);
                store.limiter(|host| &mut host.limits);
                let_yield(&mut store);
                let command = pre.instantiate_async(&mut store).await.unwrap();
                command.wasi_cli_run().call_run(&mut store).await.unwrap().unwrap();
            }
        }
        output.contents()
    }
}

/// Lets the guest yield at each tick.
fn let_yield<T>(store: &mut Store<T>) {
    store.set_epoch_deadline(2);
    store.epoch_deadline_async_yield_and_update(1);
}

fn module(engine: &Engine, wasm: &[u8]) -> Code {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |host: &mut ModuleHost| &mut host.wasi).unwrap();
    Code::Module(linker.instantiate_pre(&Module::new(engine, wasm).unwrap()).unwrap())
}

fn component(engine: &Engine, wasm: &[u8]) -> Code {
    let mut linker = ComponentLinker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    let pre = linker.instantiate_pre(&Component::new(engine, wasm).unwrap()).unwrap();
    Code::Component(CommandPre::new(pre).unwrap())
}

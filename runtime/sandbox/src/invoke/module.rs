//! Invoking a function of a core module, whose values are numbers.

use wasmtime::component::wasm_wave::wasm::DisplayFuncResults;
use wasmtime::{ExternType, FuncType, Instance, Module, ModuleExport, Result, Store, Val, ValType};

use super::PreparedCall;
use super::call_text::CallText;
use super::error::{self, InvokeError, shorten};
use super::result_text;
use crate::host::Host;

/// Functions that the host calls itself.
const ENTRY_POINTS: [&str; 2] = ["_start", "_initialize"];

/// Finds the function and converts the arguments.
///
/// # Errors
/// [`InvokeError`]
pub(super) fn prepare(module: &Module, call: &CallText<'_>) -> Result<PreparedCall, InvokeError> {
    let Some((ExternType::Func(ty), function)) = module.get_export(call.name).zip(module.get_export_index(call.name))
    else {
        let names = functions(module).map(|(name, _)| name);
        return Err(error::unknown(call.name, names, signatures(module)));
    };
    let signature = || signature(call.name, &ty);
    let types: Vec<_> = ty.params().collect();
    if let Some(unsupported) = types.iter().cloned().chain(ty.results()).find(|ty| !is_number(ty)) {
        let reason = format!("values of type {unsupported} have no text; only i32, i64, f32 and f64 have");
        return Err(InvokeError::Unsupported { reason, signature: signature() });
    }
    let params = call.values::<Val>(&types, signature)?;
    Ok(PreparedCall::Module { function, params, results: ty.results().len() })
}

/// Calls `_initialize`, if there is one, and the function. Returns the result as text, or `None` if there is none.
pub(super) async fn call(
    instance: &Instance,
    store: &mut Store<Host>,
    function: &ModuleExport,
    params: &[Val],
    results: usize,
) -> Result<Option<String>> {
    if let Some(initialize) = instance.get_func(&mut *store, "_initialize") {
        initialize.typed::<(), ()>(&*store)?.call_async(&mut *store, ()).await?;
    }
    let function = instance.get_module_export(&mut *store, function).and_then(wasmtime::Extern::into_func);
    let function = function.ok_or_else(|| wasmtime::format_err!("the function that was found at load is missing"))?;
    let mut values = vec![Val::I32(0); results];
    function.call_async(&mut *store, params, &mut values).await?;
    if values.is_empty() { Ok(None) } else { result_text::line(&DisplayFuncResults(&values)).map(Some) }
}

/// Returns the functions that can be invoked, with their types.
pub(super) fn signatures(module: &Module) -> Vec<String> {
    functions(module).map(|(name, ty)| signature(name, &ty)).collect()
}

fn functions(module: &Module) -> impl Iterator<Item = (&str, FuncType)> {
    module.exports().filter(|export| !ENTRY_POINTS.contains(&export.name())).filter_map(|export| match export.ty() {
        ExternType::Func(ty) => Some((export.name(), ty)),
        _ => None,
    })
}

fn signature(name: &str, ty: &FuncType) -> String {
    let list = |values: Vec<ValType>| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let params = list(ty.params().collect());
    let results = match ty.results().len() {
        0 => String::new(),
        1 => format!(" -> {}", list(ty.results().collect())),
        _ => format!(" -> ({})", list(ty.results().collect())),
    };
    shorten(&format!("{name}({params}){results}"))
}

fn is_number(ty: &ValType) -> bool {
    matches!(ty, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64)
}

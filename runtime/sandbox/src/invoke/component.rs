//! Invoking a function of a component, at its top level or in an interface that it exports.

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::wasm_wave::wasm::{DisplayFuncResults, DisplayType};
use wasmtime::component::{Component, ComponentExportIndex, Instance, Type, Val};
use wasmtime::{Engine, Result, Store};

use super::PreparedCall;
use super::call_text::CallText;
use super::error::{self, InvokeError, shorten};
use super::result_text;
use crate::host::Host;

/// The most parts of the types of a function.
const MAX_TYPE_PARTS: usize = 10_000;

/// A function that a component exports.
struct Function {
    /// `None` if it is at the top level.
    interface: Option<String>,
    name: String,
    ty: ComponentFunc,
}

/// Finds the function and converts the arguments.
///
/// # Errors
/// [`InvokeError`]
pub(super) fn prepare(
    component: &Component,
    engine: &Engine,
    call: &CallText<'_>,
) -> Result<PreparedCall, InvokeError> {
    let functions = functions(component, engine);
    let function = find(&functions, call.name)?;
    let signature = || function.signature();
    if function.ty.async_() {
        let reason = "it is async, and only functions that return their result directly can be invoked".to_owned();
        return Err(InvokeError::Unsupported { reason, signature: signature() });
    }
    let types: Vec<_> = function.ty.params().map(|(_, ty)| ty).collect();
    let mut parts = 0;
    let unsupported = types.iter().cloned().chain(function.ty.results()).find_map(|ty| unsupported(&ty, &mut parts));
    if let Some(what) = unsupported {
        let reason = format!("{what} cannot be written as text");
        return Err(InvokeError::Unsupported { reason, signature: signature() });
    }
    let params = call.values::<Val>(&types, signature)?;
    let interface = function.interface.as_ref().and_then(|name| component.get_export_index(None, name.as_str()));
    let index = component.get_export_index(interface.as_ref(), function.name.as_str());
    let Some(index) = index else {
        return Err(error::unknown(call.name, std::iter::empty(), signatures(component, engine)));
    };
    Ok(PreparedCall::Component { function: index, params, results: function.ty.results().len() })
}

/// Calls the function. Returns the result as text, or `None` if there is none.
pub(super) async fn call(
    instance: &Instance,
    store: &mut Store<Host>,
    function: &ComponentExportIndex,
    params: &[Val],
    results: usize,
) -> Result<Option<String>> {
    let function = instance.get_func(&mut *store, function);
    let function = function.ok_or_else(|| wasmtime::format_err!("the function that was found at load is missing"))?;
    let mut values = vec![Val::Bool(false); results];
    function.call_async(&mut *store, params, &mut values).await?;
    if values.is_empty() { Ok(None) } else { result_text::line(&DisplayFuncResults(&values)).map(Some) }
}

/// Returns the functions that can be invoked, with their types.
pub(super) fn signatures(component: &Component, engine: &Engine) -> Vec<String> {
    functions(component, engine).iter().map(Function::signature).collect()
}

fn functions(component: &Component, engine: &Engine) -> Vec<Function> {
    let mut functions = Vec::new();
    for (name, item) in component.component_type().exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(ty) => {
                functions.push(Function { interface: None, name: name.to_owned(), ty });
            }
            ComponentItem::ComponentInstance(instance) => {
                for (function, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(ty) = item.ty {
                        functions.push(Function { interface: Some(name.to_owned()), name: function.to_owned(), ty });
                    }
                }
            }
            _ => {}
        }
    }
    functions
}

impl Function {
    /// Returns the name by which it can be invoked.
    fn full_name(&self) -> String {
        match &self.interface {
            Some(interface) => format!("{interface}#{}", self.name),
            None => self.name.clone(),
        }
    }

    fn signature(&self) -> String {
        // A type that cannot be written as text is `_`.
        let name = |ty: &Type| DisplayType(ty).to_string().replace("<<UNSUPPORTED>>", "_");
        let params: Vec<_> = self.ty.params().map(|(param, ty)| format!("{param}: {}", name(&ty))).collect();
        let result = self.ty.results().next().map(|ty| format!(" -> {}", name(&ty))).unwrap_or_default();
        shorten(&format!("{}({}){result}", self.full_name(), params.join(", ")))
    }

    /// Returns whether `interface` names the interface of the function: with its package and version, without the version, or by its own name.
    fn is_in(&self, interface: &str) -> bool {
        let Some(own) = &self.interface else { return false };
        let without_version = own.split('@').next().unwrap_or(own);
        let short = without_version.rsplit('/').next().unwrap_or(without_version);
        [own.as_str(), without_version, short].contains(&interface)
    }
}

/// Finds the function that `name` names: `f`, `interface.f`, `package:name/interface.f@1.0.0` as wasmtime writes it, or with `#` in place of the
/// dot and the version before it.
fn find<'a>(functions: &'a [Function], name: &str) -> Result<&'a Function, InvokeError> {
    if let Some(function) = functions.iter().find(|function| function.interface.is_none() && function.name == name) {
        return Ok(function);
    }
    let found: Vec<_> = match split(name) {
        Some((interface, name)) => {
            functions.iter().filter(|function| function.name == name && function.is_in(&interface)).collect()
        }
        None => functions.iter().filter(|function| function.name == name).collect(),
    };
    match found[..] {
        [function] => Ok(function),
        [] => {
            let names: Vec<_> =
                functions.iter().flat_map(|function| [function.full_name(), function.name.clone()]).collect();
            let signatures = functions.iter().map(Function::signature).collect();
            Err(error::unknown(name, names.iter().map(String::as_str), signatures))
        }
        _ => Err(InvokeError::Ambiguous {
            name: shorten(name),
            exports: found.iter().map(|function| shorten(&function.full_name())).collect(),
        }),
    }
}

/// Splits a name into an interface and a function.
fn split(name: &str) -> Option<(String, &str)> {
    if let Some((interface, function)) = name.split_once('#') {
        return Some((interface.to_owned(), function));
    }
    let (path, version) = match name.split_once('@') {
        Some((path, version)) => (path, Some(version)),
        None => (name, None),
    };
    let (interface, function) = path.rsplit_once('.')?;
    Some(match version {
        Some(version) => (format!("{interface}@{version}"), function),
        None => (interface.to_owned(), function),
    })
}

/// Returns a type inside `ty` whose values cannot be written as text. Counts the parts of the type in `parts`.
fn unsupported(ty: &Type, parts: &mut usize) -> Option<&'static str> {
    *parts += 1;
    if *parts > MAX_TYPE_PARTS {
        return Some("a type with so many parts");
    }
    let mut any =
        |mut types: &mut dyn Iterator<Item = Type>| Iterator::find_map(&mut types, |ty| unsupported(&ty, parts));
    match ty {
        Type::Own(_) | Type::Borrow(_) => Some("a resource"),
        Type::Stream(_) => Some("a stream"),
        Type::Future(_) => Some("a future"),
        Type::ErrorContext => Some("an error context"),
        Type::Map(_) => Some("a map"),
        Type::List(list) => any(&mut std::iter::once(list.ty())),
        Type::FixedLengthList(list) => any(&mut std::iter::once(list.ty())),
        Type::Option(option) => any(&mut std::iter::once(option.ty())),
        Type::Record(record) => any(&mut record.fields().map(|field| field.ty)),
        Type::Tuple(tuple) => any(&mut tuple.types()),
        Type::Variant(variant) => any(&mut variant.cases().filter_map(|case| case.ty)),
        Type::Result(result) => any(&mut result.ok().into_iter().chain(result.err())),
        _ => None,
    }
}

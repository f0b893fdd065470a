//! [`Invocation`]: a call of one exported function in place of the entry point of a program.
//!
//! The call is parsed and compared with the type of the function before anything is instantiated, so that a wrong call runs nothing. Values have
//! the syntax of [WAVE](https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-wave). The result goes to the stdout of the
//! guest, after what the guest itself wrote.

mod call_text;
mod component;
mod error;
mod module;
mod result_text;
#[cfg(test)]
mod tests;

use wasmtime::component::{ComponentExportIndex, Val as ComponentVal};
use wasmtime::{Engine, ModuleExport, Store, Val};

pub(super) use self::error::InvokeError;
use super::LoadError;
use super::host::Host;
use super::link::Code;

/// The bytes of values that a call may take or return. A value of a component takes the host more memory than the guest: 32 bytes for each byte
/// of a list.
pub(super) const MAX_VALUES: usize = 32 << 20;
/// The most characters of a text from the caller or the program that a message repeats.
const MAX_TEXT: usize = 200;

/// What a caller asks to invoke.
#[derive(Debug)]
pub(super) struct Invocation {
    /// A call such as `f(1, "a")`, or only the name of a function.
    pub(super) text: String,
    /// The arguments of the job. They are those of the function if the text is only its name.
    pub(super) args: Vec<String>,
}

/// A call that fits the function that it calls.
pub(super) enum PreparedCall {
    Module { function: ModuleExport, params: Vec<Val>, results: usize },
    Component { function: ComponentExportIndex, params: Vec<ComponentVal>, results: usize },
}

impl Invocation {
    /// Finds the function in `code` and converts the arguments to its types.
    ///
    /// # Errors
    /// [`InvokeError`]
    pub(super) fn prepare(&self, code: &Code, engine: &Engine) -> Result<PreparedCall, InvokeError> {
        let parse = |is_exported: &dyn Fn(&str) -> bool| call_text::parse(&self.text, &self.args, is_exported);
        match code {
            Code::Module { pre, .. } => {
                let module = pre.module();
                module::prepare(module, &parse(&|name| module.get_export(name).is_some())?)
            }
            Code::Component { component, .. } => component::prepare(component, engine, &parse(&|_| false)?),
        }
    }
}

impl PreparedCall {
    /// Calls the function in a new instance, after `_initialize` if a module exports it, and writes the result to stdout.
    ///
    /// # Errors
    /// Whatever ends a run: a trap, an exit, a limit.
    pub(super) async fn call(
        self,
        code: &Code,
        store: &mut Store<Host>,
        instantiated: impl FnOnce(),
    ) -> wasmtime::Result<()> {
        let text = match (self, code) {
            (Self::Module { function, params, results }, Code::Module { pre, .. }) => {
                let instance = pre.instantiate_async(&mut *store).await?;
                instantiated();
                module::call(&instance, store, &function, &params, results).await?
            }
            (Self::Component { function, params, results }, Code::Component { pre, .. }) => {
                let instance = pre.instantiate_async(&mut *store).await?;
                instantiated();
                component::call(&instance, store, &function, &params, results).await?
            }
            _ => wasmtime::bail!("the call was prepared for another program"),
        };
        match text {
            Some(text) => result_text::write(&store.data().stdout.clone(), &text).await,
            None => Ok(()),
        }
    }
}

/// Returns why a program without an entry point cannot run, with the functions that can be invoked in its place.
pub(super) fn explain_library(code: &Code, engine: &Engine) -> String {
    let functions = match code {
        Code::Module { pre, .. } => module::signatures(pre.module()),
        Code::Component { component, .. } => component::signatures(component, engine),
    };
    format!(
        "the program is a library, so it has no main function to run. Invoke one of its functions with --invoke, or with invoke in a \
         request: {}",
        error::list(&functions)
    )
}

/// Checks that a program has an entry point, or functions to invoke.
///
/// # Errors
/// [`LoadError::NotACommand`]
pub(super) fn check(code: &Code, engine: &Engine) -> Result<(), LoadError> {
    let (entry, functions) = match code {
        _ if !code.is_library() => return Ok(()),
        Code::Module { pre, .. } => ("_start", module::signatures(pre.module())),
        Code::Component { component, .. } => ("wasi:cli/run@0.2", component::signatures(component, engine)),
    };
    match functions.is_empty() {
        true => Err(LoadError::NotACommand(format!("it exports no `{entry}`, and no function to invoke either"))),
        false => Ok(()),
    }
}

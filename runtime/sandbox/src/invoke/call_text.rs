//! The text of a call: a name and its arguments in WAVE.

use wasmtime::component::wasm_wave::parser::ParserError;
use wasmtime::component::wasm_wave::untyped::{UntypedFuncCall, UntypedValue};
use wasmtime::component::wasm_wave::wasm::{WasmType, WasmTypeKind, WasmValue};

use super::error::{InvokeError, shorten};

/// The most bytes of a call. A job has the same limit on its arguments.
const MAX_CALL: usize = 1 << 20;

/// A call that is parsed, but not compared with the type of a function.
pub(super) struct CallText<'a> {
    pub(super) name: &'a str,
    arguments: Arguments<'a>,
}

enum Arguments<'a> {
    /// `f(1, "a")`
    InText {
        /// The call with the name `f`: a name of an export need not be one in WAVE.
        call: UntypedFuncCall<'static>,
        text: &'a str,
        /// Bytes by which positions in `call` are before those in `text`.
        shift: usize,
    },
    /// `f` and the arguments of the job.
    OfJob(&'a [String]),
}

/// Parses a call such as `f(1, "a")`, or the name of a function whose arguments are in `args`. `is_exported` says whether a whole text is the name
/// of an export: those of modules may have parentheses.
///
/// # Errors
/// [`InvokeError::Syntax`], [`InvokeError::TooLong`].
pub(super) fn parse<'a>(
    text: &'a str,
    args: &'a [String],
    is_exported: impl Fn(&str) -> bool,
) -> Result<CallText<'a>, InvokeError> {
    let length = text.len() + args.iter().map(String::len).sum::<usize>();
    if length > MAX_CALL {
        return Err(InvokeError::TooLong { length, limit: MAX_CALL });
    }
    let Some(open) = text.find('(').filter(|_| !is_exported(text.trim())) else {
        return match text.trim() {
            "" => Err(InvokeError::Syntax { position: 1, reason: "the name of a function is missing".to_owned() }),
            name => Ok(CallText { name, arguments: Arguments::OfJob(args) }),
        };
    };
    let name = text[..open].trim();
    if name.is_empty() {
        return Err(InvokeError::Syntax { position: 1, reason: "the name of a function is missing".to_owned() });
    }
    let renamed = format!("f{}", &text[open..]);
    let shift = open - 1;
    match UntypedFuncCall::parse(&renamed) {
        Ok(call) => Ok(CallText { name, arguments: Arguments::InText { call: call.into_owned(), text, shift } }),
        Err(error) => Err(syntax(&error, text, shift)),
    }
}

impl CallText<'_> {
    /// Converts the arguments to values of the types `types`.
    ///
    /// # Errors
    /// [`InvokeError::Argument`], with the type of the function from `signature`.
    pub(super) fn values<V: WasmValue + 'static>(
        &self,
        types: &[V::Type],
        signature: impl Fn() -> String,
    ) -> Result<Vec<V>, InvokeError> {
        let argument = |reason: String| InvokeError::Argument { reason, signature: signature() };
        match &self.arguments {
            Arguments::InText { call, text, shift } => {
                call.to_wasm_params(types).map_err(|error| argument(explain(&error, text, *shift)))
            }
            Arguments::OfJob(args) if args.len() != types.len() => {
                Err(argument(format!("it takes {}, and got {}", count(types.len()), args.len())))
            }
            Arguments::OfJob(args) => {
                let values = args.iter().zip(types).enumerate();
                values
                    .map(|(index, (arg, ty))| {
                        value(arg, ty)
                            .map_err(|error| argument(format!("argument {}: {}", index + 1, explain(&error, arg, 0))))
                    })
                    .collect()
            }
        }
    }
}

fn count(arguments: usize) -> String {
    if arguments == 1 { "1 argument".to_owned() } else { format!("{arguments} arguments") }
}

/// Converts one argument. A string needs no quotes.
fn value<V: WasmValue>(text: &str, ty: &V::Type) -> Result<V, ParserError> {
    if ty.kind() == WasmTypeKind::String && !text.trim_start().starts_with('"') {
        return Ok(V::make_string(text.into()));
    }
    UntypedValue::parse(text)?.to_wasm_value(ty)
}

fn syntax(error: &ParserError, text: &str, shift: usize) -> InvokeError {
    let (position, _) = place(error, text, shift);
    InvokeError::Syntax { position, reason: reason(error) }
}

/// Returns what is wrong with an argument, and where in `text`.
fn explain(error: &ParserError, text: &str, shift: usize) -> String {
    let (position, near) = place(error, text, shift);
    let near = if near.is_empty() { String::new() } else { format!(", `{}`", shorten(near)) };
    format!("{} at character {position}{near}", reason(error))
}

fn reason(error: &ParserError) -> String {
    let kind = error.kind();
    match (std::error::Error::source(error), error.detail()) {
        (Some(source), _) => format!("{kind}: {}", shorten(&source.to_string())),
        (None, Some(detail)) => format!("{kind}: {}", shorten(detail)),
        (None, None) => kind.to_string(),
    }
}

/// Returns the number of the character at which an error is, from 1, and the text there. `shift` is that of the text that was parsed.
fn place<'a>(error: &ParserError, text: &'a str, shift: usize) -> (usize, &'a str) {
    let clamp = |position: usize| text.floor_char_boundary((position + shift).min(text.len()));
    let (start, end) = (clamp(error.span().start), clamp(error.span().end));
    (text[..start].chars().count() + 1, text.get(start..end).unwrap_or_default())
}

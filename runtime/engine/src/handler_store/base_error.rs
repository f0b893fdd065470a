//! [`BaseError`]: why a handler cannot share the program of another.

/// Why a handler cannot share the program of another, its base. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    #[error(
        "there is no handler {0} whose program could be shared: push its program first, or install it with `capstan runtime add {0} \
         FILE.wasm`"
    )]
    Unknown(String),
    #[error("handler {0} is built in and has no program that could be shared")]
    Builtin(String),
    #[error("handler {0} cannot share its own program: `from` must name another handler")]
    Itself(String),
    #[error("handler {name} has no program of its own, but shares that of {base}: write from = {base:?}")]
    Chain { name: String, base: String },
    #[error("the push has both a program and the base {0}: leave out one of them")]
    ProgramAndBase(String),
    #[error("the push has no program: add the part \"module\", or a manifest with `from` under [program]")]
    NoProgram,
    #[error("cannot tell which of the files starts the script{}; or set args under [program]", name_it(.0))]
    NoMain(Vec<String>),
}

fn name_it(names: &[String]) -> String {
    if names.is_empty() { ": push only one".to_owned() } else { format!(": name it {}", names.join(" or ")) }
}

//! What can be wrong with the arguments and variables of a job.

use std::fmt;

/// An argument or a variable that is missing, malformed or not wanted.
///
/// The message is one line that names the argument or variable, what was expected and what was found. As an [`Exit`](crate::Exit)
/// it is code 2, by which callers tell a wrong request from work that failed.
///
/// `name` is the word a user would look for: `--top`, `<path>`, `LOG_LEVEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// A positional argument that is required was not given, or a flag was given without its value.
    MissingArg {
        /// The argument.
        name: String,
        /// What a well-formed value is.
        expected: &'static str,
    },
    /// An argument was given, and cannot be read as its type.
    MalformedArg {
        /// The argument.
        name: String,
        /// What a well-formed value is.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// A flag was given twice, so that one of its values would be lost.
    RepeatedArg {
        /// The argument.
        name: String,
    },
    /// An argument was given that the job does not know.
    UnknownArg {
        /// What was given.
        found: String,
    },
    /// A variable that is required is not set.
    MissingVar {
        /// The variable.
        name: String,
        /// What a well-formed value is.
        expected: &'static str,
    },
    /// A variable is set, and cannot be read as its type.
    MalformedVar {
        /// The variable.
        name: String,
        /// What a well-formed value is.
        expected: &'static str,
        /// What it is set to.
        found: String,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingArg { name, expected } => {
                write!(f, "argument {name}: expected {expected}, found nothing")
            }
            Self::MalformedArg { name, expected, found } => {
                write!(f, "argument {name}: expected {expected}, found {found:?}")
            }
            Self::RepeatedArg { name } => write!(f, "argument {name}: given more than once"),
            Self::UnknownArg { found } => write!(f, "unknown argument {found:?}"),
            Self::MissingVar { name, expected } => {
                write!(f, "variable {name}: expected {expected}, but it is not set")
            }
            Self::MalformedVar { name, expected, found } => {
                write!(f, "variable {name}: expected {expected}, found {found:?}")
            }
        }
    }
}

impl std::error::Error for InputError {}

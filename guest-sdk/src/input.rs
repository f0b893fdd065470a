//! Errors in the arguments and variables of a job.

use std::fmt;

/// An argument or a variable is missing, malformed, repeated or unknown.
///
/// The message is one line that names the argument or variable, what was expected, and what was found. It converts to an
/// [`Exit`](crate::Exit) with code 2, so that callers can distinguish a wrong request from a failed job.
///
/// `name` has the form that users know: `--top`, `<path>`, `LOG_LEVEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// A required positional argument is missing, or a flag has no value.
    MissingArg {
        /// The name of the argument.
        name: String,
        /// The description of a valid value.
        expected: &'static str,
    },
    /// An argument cannot be parsed as its type.
    MalformedArg {
        /// The name of the argument.
        name: String,
        /// The description of a valid value.
        expected: &'static str,
        /// The argument as given.
        found: String,
    },
    /// A flag is given more than once. All its values but one would be lost.
    RepeatedArg {
        /// The name of the argument.
        name: String,
    },
    /// The job does not know an argument.
    UnknownArg {
        /// The argument as given.
        found: String,
    },
    /// A required variable is not set.
    MissingVar {
        /// The name of the variable.
        name: String,
        /// The description of a valid value.
        expected: &'static str,
    },
    /// A variable cannot be parsed as its type.
    MalformedVar {
        /// The name of the variable.
        name: String,
        /// The description of a valid value.
        expected: &'static str,
        /// The value of the variable.
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

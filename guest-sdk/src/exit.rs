//! The exit of a job.

use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::process::{ExitCode, Termination};

use crate::InputError;

/// The exit of a job: a code from 0 to 255, and for a failure the reason, which becomes the last line of stderr.
///
/// `main` returns it. The operator `?` converts any error to it: an [`InputError`] to code 2, and any other error to code 1, with its
/// causes.
///
/// ```no_run
/// use capstan_guest::{Args, Env, Exit};
///
/// fn main() -> Exit {
///     Exit::of(job(Args::of_job(), &Env::of_job()))
/// }
///
/// fn job(args: Args, env: &Env) -> Result<(), Exit> {
///     args.finish()?;
///     let limit = env.get("LIMIT")?.unwrap_or(100_u32);
///     if limit == 0 {
///         return Err(Exit::new(3).because("nothing is allowed"));
///     }
///     std::io::copy(&mut std::io::stdin().lock(), &mut std::io::stdout().lock())?;
///     Ok(())
/// }
/// ```
///
/// ```
/// use capstan_guest::Exit;
///
/// let exit = Exit::new(3).because("nothing is allowed");
/// assert_eq!((exit.code(), exit.reason()), (3, Some("nothing is allowed")));
/// ```
///
/// A component without the function `exit-with-code` of `wasi:cli/exit@0.2` can only report success or failure, so that every code other
/// than 0 becomes 1. Modules for preview 1 can report all codes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an exit has an effect only if `main` returns it"]
pub struct Exit {
    code: u8,
    reason: Option<String>,
}

impl Exit {
    /// The job succeeded: code 0.
    pub const SUCCESS: Self = Self::new(0);
    /// The job failed: code 1.
    pub const FAILURE: Self = Self::new(1);
    /// The arguments or variables of the job are wrong: code 2.
    pub const USAGE: Self = Self::new(2);

    /// Creates an exit with this code and no reason.
    pub const fn new(code: u8) -> Self {
        Self { code, reason: None }
    }

    /// Converts the result of a job: `Ok` to [`Exit::SUCCESS`], and `Err` to the exit in it.
    pub fn of(result: Result<(), Self>) -> Self {
        result.err().unwrap_or(Self::SUCCESS)
    }

    /// Returns this exit with a reason. Replaces line breaks in it with spaces, so that it stays one line.
    pub fn because(self, reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        let one_line = reason.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
        Self { reason: Some(one_line.collect::<Vec<_>>().join(" ")), ..self }
    }

    /// Returns the code, from 0 to 255.
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// Returns the reason, if there is one.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

/// Allows `?` in functions that return `Result<_, Exit>`.
impl<E: Error + 'static> From<E> for Exit {
    fn from(error: E) -> Self {
        let first: &(dyn Error + 'static) = &error;
        let exit = if first.is::<InputError>() { Self::USAGE } else { Self::FAILURE };
        let chain = std::iter::successors(Some(first), |error: &&(dyn Error + 'static)| (*error).source());
        exit.because(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }
}

impl Termination for Exit {
    /// Writes the reason to stderr, if there is one, as `error: REASON`.
    fn report(self) -> ExitCode {
        // Earlier output must precede the last line if both streams have the same destination.
        let _ = std::io::stdout().flush();
        if let Some(reason) = &self.reason {
            // Ignores a closed stderr, or one over its limit: the exit code still reports the failure.
            let _ = writeln!(std::io::stderr(), "error: {reason}");
        }
        ExitCode::from(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn wrong_input_is_code_2_and_other_errors_are_code_1() {
        let input: Exit = InputError::UnknownArg { found: "--x".to_owned() }.into();
        assert_eq!((input.code(), input.reason()), (2, Some(r#"unknown argument "--x""#)));
        let io: Exit = io::Error::other("disk on fire").into();
        assert_eq!((io.code(), io.reason()), (1, Some("disk on fire")));
    }

    #[test]
    fn causes_are_told_in_order() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot read the table")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let exit = Exit::from(Outer(io::Error::other("disk on fire")));
        assert_eq!(exit.reason(), Some("cannot read the table: disk on fire"));
    }

    #[test]
    fn reason_stays_one_line() {
        let exit = Exit::FAILURE.because("first\r\n  second\n");
        assert_eq!(exit.reason(), Some("first second"));
    }

    #[test]
    fn each_code_arrives_as_it_is() {
        for code in 0..=u8::MAX {
            let reported = Exit::new(code).report();
            assert_eq!(format!("{reported:?}"), format!("{:?}", ExitCode::from(code)));
        }
    }

    #[test]
    fn result_becomes_success_or_the_failure_in_it() {
        assert_eq!(Exit::of(Ok(())), Exit::SUCCESS);
        assert_eq!(Exit::of(Err(Exit::new(7))), Exit::new(7));
    }
}

//! How a job ends.

use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::process::{ExitCode, Termination};

use crate::InputError;

/// How a job ends: a code from 0 to 255, and for a failure the reason, which becomes the last line of stderr.
///
/// `main` returns it. Any error turns into it by `?`: an [`InputError`] as code 2, each other one as code 1, with its causes.
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
/// A component without `wasi:cli/exit@0.2` `exit-with-code` can only tell 0 from not 0; each code other than 0 arrives as 1 there. Modules for preview 1
/// have all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an exit has an effect only where `main` returns it"]
pub struct Exit {
    code: u8,
    reason: Option<String>,
}

impl Exit {
    /// The job did what it was asked: code 0.
    pub const SUCCESS: Self = Self::new(0);
    /// The job failed: code 1.
    pub const FAILURE: Self = Self::new(1);
    /// The job was asked in a wrong way: code 2.
    pub const USAGE: Self = Self::new(2);

    /// An exit with this code and no reason.
    pub const fn new(code: u8) -> Self {
        Self { code, reason: None }
    }

    /// The exit that a job's result stands for: success, or the failure that is in it.
    pub fn of(result: Result<(), Self>) -> Self {
        result.err().unwrap_or(Self::SUCCESS)
    }

    /// The same exit for this reason. Line breaks in it become spaces, so that it stays one line.
    pub fn because(self, reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        let one_line = reason.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
        Self { reason: Some(one_line.collect::<Vec<_>>().join(" ")), ..self }
    }

    /// The code, from 0 to 255.
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// Why, where a reason was given.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

/// Makes `?` work in functions that return `Result<_, Exit>`.
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
        // What the job printed before must not come after its last line where both streams go to one place.
        let _ = std::io::stdout().flush();
        if let Some(reason) = &self.reason {
            // A job whose stderr is closed or over its cap still has its exit code to give.
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

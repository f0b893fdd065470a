//! Typed arguments: flags, switches and positional arguments.

use std::collections::VecDeque;

use crate::{InputError, Value};

/// The arguments of a job. Each method removes the argument that it returns.
///
/// Read the flags and switches first, in any order. Then read the positional arguments, from left to right. Finally call
/// [`finish`](Args::finish), which rejects arguments that remain. A caller may mix flags and positional arguments. After `--`, every argument
/// is positional.
///
/// ```
/// use capstan_guest::Args;
/// use std::num::NonZeroU32;
///
/// let mut args = Args::new(["--size=64", "in.png", "--exact"]);
/// assert_eq!(args.flag("size"), Ok(NonZeroU32::new(64)));
/// assert_eq!(args.flag::<u8>("quality"), Ok(None));
/// assert_eq!(args.switch("exact"), Ok(true));
/// assert_eq!(args.required("path"), Ok("in.png".to_owned()));
/// assert_eq!(args.finish(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// The arguments before `--` that were not removed yet.
    open: VecDeque<String>,
    /// The arguments after `--`, none of which is a flag.
    closed: VecDeque<String>,
}

impl Args {
    /// Returns the arguments of this job, without the program name.
    ///
    /// Replaces bytes that are not UTF-8 with U+FFFD. Capstan never passes such bytes, but other callers may.
    pub fn of_job() -> Self {
        Self::new(std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()))
    }

    /// Creates arguments from a list, for example in tests.
    pub fn new<I>(args: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let mut args = args.into_iter().map(Into::into);
        let open = args.by_ref().take_while(|arg| arg != "--").collect();
        Self { open, closed: args.collect() }
    }

    /// Removes the flag `--name value` or `--name=value` and returns its value. Returns `None` if the flag is absent.
    ///
    /// A value that starts with `--` needs the form `--name=value`.
    ///
    /// # Errors
    ///
    /// Returns an error if the flag has no value or a malformed one, or if it is given more than once.
    pub fn flag<T: Value>(&mut self, name: &str) -> Result<Option<T>, InputError> {
        let name = format!("--{name}");
        let Some(at) = self.position(&name) else {
            return Ok(None);
        };
        let text = match self.open.remove(at).as_deref().and_then(|arg| arg.split_once('=')) {
            Some((_, value)) => value.to_owned(),
            None if self.open.get(at).is_some_and(|next| !next.starts_with("--")) => {
                self.open.remove(at).expect("the element exists")
            }
            None => return Err(InputError::MissingArg { name, expected: T::EXPECTED }),
        };
        if self.position(&name).is_some() {
            return Err(InputError::RepeatedArg { name });
        }
        parse(name, text).map(Some)
    }

    /// Removes the switch `--name` and returns whether it was given.
    ///
    /// # Errors
    ///
    /// Returns an error if the switch has a value, or if it is given more than once.
    pub fn switch(&mut self, name: &str) -> Result<bool, InputError> {
        let name = format!("--{name}");
        let Some(at) = self.position(&name) else {
            return Ok(false);
        };
        if let Some((_, value)) = self.open.remove(at).as_deref().and_then(|arg| arg.split_once('=')) {
            return Err(InputError::MalformedArg { name, expected: "no value", found: value.to_owned() });
        }
        match self.position(&name) {
            Some(_) => Err(InputError::RepeatedArg { name }),
            None => Ok(true),
        }
    }

    /// Removes and returns the next positional argument. Returns `None` if there is none. Only errors use `name`.
    ///
    /// # Errors
    ///
    /// Returns an error if the argument is malformed, or if an unknown flag precedes it.
    pub fn positional<T: Value>(&mut self, name: &str) -> Result<Option<T>, InputError> {
        if let Some(flag) = self.open.front().filter(|arg| arg.starts_with("--")) {
            return Err(InputError::UnknownArg { found: flag.clone() });
        }
        match self.open.pop_front().or_else(|| self.closed.pop_front()) {
            Some(text) => parse(format!("<{name}>"), text).map(Some),
            None => Ok(None),
        }
    }

    /// Removes and returns the next positional argument, which is required. Only errors use `name`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`positional`](Args::positional), and an error if there is no further argument.
    pub fn required<T: Value>(&mut self, name: &str) -> Result<T, InputError> {
        let missing = || InputError::MissingArg { name: format!("<{name}>"), expected: T::EXPECTED };
        self.positional(name)?.ok_or_else(missing)
    }

    /// Checks that no argument remains.
    ///
    /// # Errors
    ///
    /// Returns an error if an argument remains: an unknown flag, or an excess positional argument.
    pub fn finish(mut self) -> Result<(), InputError> {
        match self.open.pop_front().or_else(|| self.closed.pop_front()) {
            Some(found) => Err(InputError::UnknownArg { found }),
            None => Ok(()),
        }
    }

    /// Returns the index of `--name` or `--name=…`.
    fn position(&self, name: &str) -> Option<usize> {
        let is_it = |rest: &str| rest.is_empty() || rest.starts_with('=');
        self.open.iter().position(|arg| arg.strip_prefix(name).is_some_and(is_it))
    }
}

fn parse<T: Value>(name: String, text: String) -> Result<T, InputError> {
    T::parse(&text).ok_or(InputError::MalformedArg { name, expected: T::EXPECTED, found: text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_flag(args: &[&str], expected: Result<Option<u8>, &str>) {
        let found = Args::new(args.iter().copied()).flag::<u8>("top");
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn flag_is_found_in_both_spellings_and_told_from_absent_and_malformed() {
        check_flag(&[], Ok(None));
        check_flag(&["--topmost", "5"], Ok(None));
        check_flag(&["--", "--top", "5"], Ok(None));
        check_flag(&["a", "--top", "5", "b"], Ok(Some(5)));
        check_flag(&["a", "--top=5", "b"], Ok(Some(5)));
        let expected = "argument --top: expected a whole number from 0 to 255, found";
        check_flag(&["--top", "five"], Err(&format!("{expected} \"five\"")));
        check_flag(&["--top=256"], Err(&format!("{expected} \"256\"")));
        check_flag(&["--top="], Err(&format!("{expected} \"\"")));
        check_flag(&["--top"], Err(&format!("{expected} nothing")));
        check_flag(&["--top", "--other"], Err(&format!("{expected} nothing")));
        check_flag(&["--top", "--", "5"], Err(&format!("{expected} nothing")));
        check_flag(&["--top=1", "--top", "2"], Err("argument --top: given more than once"));
    }

    #[test]
    fn negative_numbers_and_single_dashes_are_values_and_positional_arguments() {
        let mut args = Args::new(["--offset", "-5", "-", "-7"]);
        assert_eq!(args.flag("offset"), Ok(Some(-5_i32)));
        assert_eq!(args.required("source"), Ok("-".to_owned()));
        assert_eq!(args.required("number"), Ok(-7_i64));
        assert_eq!(args.finish(), Ok(()));
    }

    #[test]
    fn a_value_that_looks_like_a_flag_is_written_with_an_equals_sign() {
        let mut args = Args::new(["--separator=--=--"]);
        assert_eq!(args.flag("separator"), Ok(Some("--=--".to_owned())));
    }

    #[test]
    fn switch_takes_no_value() {
        assert_eq!(Args::new(["--all"]).switch("all"), Ok(true));
        assert_eq!(Args::new(["--", "--all"]).switch("all"), Ok(false));
        let error = Args::new(["--all=yes"]).switch("all").unwrap_err();
        assert_eq!(error.to_string(), r#"argument --all: expected no value, found "yes""#);
        let error = Args::new(["--all", "--all"]).switch("all").unwrap_err();
        assert_eq!(error.to_string(), "argument --all: given more than once");
    }

    #[test]
    fn missing_and_malformed_positional_arguments_are_named() {
        let error = Args::new([] as [&str; 0]).required::<u16>("port").unwrap_err();
        assert_eq!(error.to_string(), "argument <port>: expected a whole number from 0 to 65535, found nothing");
        let error = Args::new(["http"]).positional::<u16>("port").unwrap_err();
        assert_eq!(error.to_string(), r#"argument <port>: expected a whole number from 0 to 65535, found "http""#);
    }

    #[test]
    fn what_nobody_took_is_refused() {
        #[track_caller]
        fn check(args: &[&str], unknown: &str) {
            let error = Args::new(args.iter().copied()).finish().unwrap_err();
            assert_eq!(error, InputError::UnknownArg { found: unknown.to_owned() });
        }
        check(&["--colour"], "--colour");
        check(&["b", "c"], "b");
        check(&["--", "--c"], "--c");
        let error = Args::new(["--colour", "red"]).positional::<String>("path").unwrap_err();
        assert_eq!(error, InputError::UnknownArg { found: "--colour".to_owned() });
    }

    #[test]
    fn everything_after_two_dashes_is_positional() {
        let mut args = Args::new(["a", "--", "--b", "--"]);
        let taken: Vec<String> = std::iter::from_fn(|| args.positional("word").unwrap()).collect();
        assert_eq!(taken, ["a", "--b", "--"]);
    }
}

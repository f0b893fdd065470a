//! [`CommandLine`]: a job in one line of text, `name a 'b c' KEY=value`.
//!
//! Words are split and unquoted as in a shell, but nothing is expanded. Blanks separate words. Single quotes, double quotes and backslashes
//! keep them together. A `#` at the start of a word starts a comment. Then, from left to right:
//!
//! - A word `NAME=value` sets a variable, at any position. `NAME` is a letter or underscore, followed by letters, digits and underscores. If
//!   a variable is set twice, the last value counts.
//! - The first other word is the handler's name, and further ones are its arguments. `--top=3` is an argument, because `--top` is not a
//!   variable name.
//! - The first word `--` is dropped and ends the variables: later words are the name or arguments, even if they have a `=`.
//!
//! The ancestor had no quotes and took any word with a `=` for a variable.

use std::str::FromStr;

use capstan_core::env::{Env, MAX_VARIABLES};

/// The parts of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    pub handler: String,
    pub args: Vec<String>,
    pub env: Env,
}

/// Why a text is not a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    #[error("the command names no handler")]
    Empty,
    #[error("the command has an unclosed quote or ends with a backslash")]
    UnclosedQuote,
    #[error("the command contains a NUL byte")]
    ContainsNul,
    #[error("the command sets more than {MAX_VARIABLES} variables, which is the limit")]
    TooManyVariables,
}

impl FromStr for CommandLine {
    type Err = CommandLineError;

    fn from_str(text: &str) -> Result<Self, CommandLineError> {
        if text.contains('\0') {
            return Err(CommandLineError::ContainsNul);
        }
        let (mut env, mut words, mut literal) = (Env::new(), Vec::new(), false);
        for word in shell_words::split(text).map_err(|_| CommandLineError::UnclosedQuote)? {
            match word.split_once('=') {
                Some((name, value)) if !literal && is_variable(name) => {
                    if env.len() == MAX_VARIABLES {
                        return Err(CommandLineError::TooManyVariables);
                    }
                    env.set(name, value).expect("the name is checked, and the text contains no NUL");
                }
                None if !literal && word == "--" => literal = true,
                _ => words.push(word),
            }
        }
        let mut words = words.into_iter();
        let handler = words.next().filter(|name| !name.is_empty()).ok_or(CommandLineError::Empty)?;
        Ok(Self { handler, args: words.collect(), env })
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, handler: &str, args: &[&str], env: &[(&str, &str)]) {
        let line: CommandLine = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            (line.handler.as_str(), line.args),
            (handler, args.iter().map(|&arg| arg.to_owned()).collect()),
            "{text}"
        );
        assert_eq!(line.env.iter().collect::<Vec<_>>(), env, "{text}");
    }

    #[test]
    fn command_line_reads_form_of_the_ancestor() {
        check("name a b KEY=value", "name", &["a", "b"], &[("KEY", "value")]);
        check("  name\ta\n b ", "name", &["a", "b"], &[]);
        check("KEY=1 name OTHER=2 a", "name", &["a"], &[("KEY", "1"), ("OTHER", "2")]);
        check("name K=1 K=2", "name", &[], &[("K", "2")]);
        check("name K=a=b K2=", "name", &[], &[("K", "a=b"), ("K2", "")]);
    }

    #[test]
    fn quotes_and_backslashes_keep_words_together() {
        check(r#"echo "a b" 'c  d' e\ f"#, "echo", &["a b", "c  d", "e f"], &[]);
        check(r#"echo '' "" a"#, "echo", &["", "", "a"], &[]);
        check(r#"echo "say \"hi\"" 'it'\''s' "$HOME `x`" '*'"#, "echo", &["say \"hi\"", "it's", "$HOME `x`", "*"], &[]);
        check("echo MSG='hello world' \"T=a b\"", "echo", &[], &[("MSG", "hello world"), ("T", "a b")]);
        check("echo a # b K=1", "echo", &["a"], &[]);
        check("echo a#b '#c' \\#d", "echo", &["a#b", "#c", "#d"], &[]);
        check("echo ü 日本 G=ß", "echo", &["ü", "日本"], &[("G", "ß")]);
    }

    #[test]
    fn word_that_is_no_variable_is_argument() {
        check(
            "run --flag=3 -o=x =x 1A=2 a.b=c é=1 a-b=2",
            "run",
            &["--flag=3", "-o=x", "=x", "1A=2", "a.b=c", "é=1", "a-b=2"],
            &[],
        );
        check("run A=1 -- B=2 -- c", "run", &["B=2", "--", "c"], &[("A", "1")]);
        check("A=1 -- run B=2", "run", &["B=2"], &[("A", "1")]);
        check("run -- --", "run", &["--"], &[]);
    }

    #[test]
    fn invalid_command_line_returns_its_error() {
        for text in ["", "  \t\n", "A=1", "# only this", "--", "A=1 -- ", "''", "'' a"] {
            assert_eq!(text.parse::<CommandLine>(), Err(CommandLineError::Empty), "{text:?}");
        }
        for text in ["a 'b", "a \"b", "a b'", "a \"b\\\""] {
            assert_eq!(text.parse::<CommandLine>(), Err(CommandLineError::UnclosedQuote), "{text:?}");
        }
        assert_eq!("a b\0".parse::<CommandLine>(), Err(CommandLineError::ContainsNul));
        let many: String = (0..=MAX_VARIABLES).map(|number| format!("V{number}= ")).collect();
        assert_eq!(format!("a {many}").parse::<CommandLine>(), Err(CommandLineError::TooManyVariables));
    }

    /// Quoted arguments after `--` are read unchanged, whatever they contain.
    #[test]
    fn quoted_arguments_are_read_unchanged() {
        let alphabet: Vec<char> = " \t\n'\"\\#=-$`*aKü_1".chars().collect();
        let mut state = 0x9e37_79b9_u32;
        let mut next = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        for _ in 0..2000 {
            let args: Vec<String> =
                (0..next(5)).map(|_| (0..next(8)).map(|_| alphabet[next(alphabet.len())]).collect()).collect();
            let text = format!("name K={} -- {}", shell_words::quote("a b"), shell_words::join(&args));
            let line: CommandLine = text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!((line.handler.as_str(), line.args, line.env.get("K")), ("name", args, Some("a b")), "{text:?}");
        }
    }
}

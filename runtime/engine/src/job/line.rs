//! A job in one line of text: `name a 'b c' KEY=value`.
//!
//! Words are split and unquoted as a shell does it, which expands nothing: blanks separate, single and double quotes and the backslash
//! keep them together, and `#` at the beginning of a word leaves out the rest of the line. Then, from left to right:
//!
//! - a word `NAME=value`, where `NAME` is a letter or underscore followed by letters, digits and underscores, sets a variable,
//!   wherever it stands; of two for one name the last wins;
//! - the first other word is the handler's name, and the others are its arguments; `--top=3` is one, since `--top` is no variable's name;
//! - the word `--` is left out, and ends the variables: every word after it is what it would be without a `=` in it.
//!
//! The ancestor had no quotes, and took any word with a `=` in it for a variable.

use std::str::FromStr;

use capstan_core::env::{Env, MAX_VARIABLES};

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub handler: String,
    pub args: Vec<String>,
    pub env: Env,
}

/// Why a line asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("the command names no handler")]
    Empty,
    #[error("the command has a quote that is not closed")]
    OpenQuote,
    #[error("the command holds NUL")]
    HoldsNul,
    #[error("the command sets more than {MAX_VARIABLES} variables")]
    TooManyVariables,
}

impl FromStr for Line {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        if text.contains('\0') {
            return Err(LineError::HoldsNul);
        }
        let (mut env, mut words, mut literal) = (Env::new(), Vec::new(), false);
        for word in shell_words::split(text).map_err(|_| LineError::OpenQuote)? {
            match word.split_once('=') {
                Some((name, value)) if !literal && is_variable(name) => {
                    if env.len() == MAX_VARIABLES {
                        return Err(LineError::TooManyVariables);
                    }
                    env.set(name, value).expect("the name was looked at, and nothing holds NUL");
                }
                None if !literal && word == "--" => literal = true,
                _ => words.push(word),
            }
        }
        let mut words = words.into_iter();
        let handler = words.next().filter(|name| !name.is_empty()).ok_or(LineError::Empty)?;
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
        let line: Line = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            (line.handler.as_str(), line.args),
            (handler, args.iter().map(|&arg| arg.to_owned()).collect()),
            "{text}"
        );
        assert_eq!(line.env.iter().collect::<Vec<_>>(), env, "{text}");
    }

    #[test]
    fn the_ancestors_form_is_read() {
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
    fn what_is_no_variable_is_an_argument() {
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
    fn what_asks_for_nothing_is_told_why() {
        for text in ["", "  \t\n", "A=1", "# only this", "--", "A=1 -- ", "''", "'' a"] {
            assert_eq!(text.parse::<Line>(), Err(LineError::Empty), "{text:?}");
        }
        for text in ["a 'b", "a \"b", "a b'", "a \"b\\\""] {
            assert_eq!(text.parse::<Line>(), Err(LineError::OpenQuote), "{text:?}");
        }
        assert_eq!("a b\0".parse::<Line>(), Err(LineError::HoldsNul));
        let many: String = (0..=MAX_VARIABLES).map(|number| format!("V{number}= ")).collect();
        assert_eq!(format!("a {many}").parse::<Line>(), Err(LineError::TooManyVariables));
    }

    /// Whatever is quoted comes back as it was, behind `--` all of it.
    #[test]
    fn quoting_loses_nothing() {
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
            let line: Line = text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!((line.handler.as_str(), line.args, line.env.get("K")), ("name", args, Some("a b")), "{text:?}");
        }
    }
}

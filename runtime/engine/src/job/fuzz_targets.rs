//! A job in one line, fuzzed: quoted and written out, what was read is read again.

use super::CommandLine;

/// Takes a line that asks for something. Its parts, each quoted, ask for the same.
pub fn line(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(line) = text.parse::<CommandLine>() else { return false };
    let mut words: Vec<_> = line.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    words.extend(["--".to_owned(), line.handler.clone()]);
    words.extend(line.args.iter().cloned());
    let written = shell_words::join(words);
    assert_eq!(written.parse::<CommandLine>().as_ref(), Ok(&line), "{written:?}");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus_of_line_holds_every_property() {
        capstan_corpus::replay("line", line);
    }
}

//! The fuzz target for command lines.

use super::CommandLine;

/// Reads a command line. The line that is written from its quoted parts is read as the same parts.
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

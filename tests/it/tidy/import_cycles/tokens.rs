//! Rust code as words and punctuation, without comments, lifetimes and literals.

/// Punctuation that is one token although it has two characters.
const PAIRS: [&str; 3] = ["::", "..", "!="];

/// Returns the tokens of `code`.
///
/// A string that is a path, as in `#[serde(with = "units::size")]`, counts as code.
pub(super) fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|character| !is_part_of_word(character)).unwrap_or(rest.len());
        let hashes = rest[word..].chars().take_while(|character| *character == '#').count();
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if ["r", "br", "cr"].contains(&&rest[..word]) && rest[word + hashes..].starts_with('"') {
            let (open, close) = (word + hashes + 1, format!("\"{}", "#".repeat(hashes)));
            open + rest[open..].find(&close).expect("a raw string ends") + close.len()
        } else if first == '"' {
            let length = quoted(rest);
            let text = &rest[1..length - 1];
            if text.contains("::") && text.chars().all(|character| is_part_of_word(character) || character == ':') {
                tokens.extend(self::tokens(text));
            }
            length
        } else if first == '\'' {
            let mut following = rest[1..].char_indices();
            match (following.next(), following.next()) {
                (Some((_, '\\')), _) | (_, Some((_, '\''))) => quoted(rest),
                // A lifetime.
                _ => 1 + rest[1..].find(|character| !is_part_of_word(character)).unwrap_or(rest.len() - 1),
            }
        } else {
            let pair = PAIRS.iter().find(|pair| rest.starts_with(**pair)).map_or(first.len_utf8(), |pair| pair.len());
            let length = word.max(pair);
            if !first.is_whitespace() {
                tokens.push(&rest[..length]);
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_part_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Returns the length of the comment at the start of `text`. Comments nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut length) = (0, 0);
    loop {
        let rest = &text[length..];
        let (step, change) = match rest {
            _ if rest.starts_with("/*") => (2, 1),
            _ if rest.starts_with("*/") => (2, -1),
            _ => (rest.chars().next().expect("a comment ends").len_utf8(), 0),
        };
        length += step;
        depth += change;
        if depth == 0 {
            return length;
        }
    }
}

/// Returns the length of the string or character literal at the start of `text`, with its quotes.
fn quoted(text: &str) -> usize {
    let mut characters = text.char_indices();
    let quote = characters.next().expect("there is a quote").1;
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return at + 1;
        }
    }
    panic!("this literal does not end: {text}")
}

//! Counts lines, words and bytes.

use std::collections::HashMap;

/// Maximum length of a listed word in bytes of UTF-8.
///
/// A word is a sequence of letters, digits and `_`, with single apostrophes between them. Upper and lower case are equal. Longer words count
/// in the total but are not listed: they are hashes or encoded data.
const LONGEST_LISTED: usize = 64;

/// Maximum size of the table of different words in bytes, including its entries. It keeps the job within its memory limit.
const TABLE_BYTES: usize = 20 * 1024 * 1024;

/// Memory of a word in addition to its own bytes: its share of the growing table, and the overhead of the allocator.
const ENTRY_BYTES: usize = 48;

/// The table of different words is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TableFull {
    words: usize,
}

impl std::fmt::Display for TableFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "too many different words: the table is full at {}", self.words)
    }
}

impl std::error::Error for TableFull {}

/// The totals, and the number of occurrences of each word.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) lines: u64,
    pub(crate) words: u64,
    pub(crate) bytes: u64,
    pub(crate) table: HashMap<Box<str>, u64>,
}

/// A count in progress.
#[derive(Debug, Default)]
pub(crate) struct Count {
    totals: Totals,
    /// The estimated size of the table, for [`TABLE_BYTES`].
    table_bytes: usize,
    /// The current word, truncated to [`LONGEST_LISTED`].
    word: String,
    /// Whether the current word is longer than `word`.
    is_long: bool,
    /// An apostrophe after the current word. It belongs to the word if the word continues.
    apostrophe: Option<char>,
}

impl Count {
    /// Counts bytes, and lines by their `\n`.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.totals.bytes += bytes.len() as u64;
        self.totals.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    }

    /// Counts the words in the next piece of the text.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), TableFull> {
        for character in text.chars() {
            if character.is_alphanumeric() || character == '_' {
                if let Some(apostrophe) = self.apostrophe.take() {
                    self.extend(apostrophe);
                }
                for lower in character.to_lowercase() {
                    self.extend(lower);
                }
            } else if matches!(character, '\'' | '’') && self.apostrophe.is_none() && !self.word.is_empty() {
                self.apostrophe = Some(character);
            } else {
                self.end_word()?;
            }
        }
        Ok(())
    }

    /// Ends the count and returns the totals.
    pub(crate) fn finish(mut self) -> Result<Totals, TableFull> {
        self.end_word()?;
        Ok(self.totals)
    }

    fn extend(&mut self, character: char) {
        if self.word.len() + character.len_utf8() > LONGEST_LISTED {
            self.is_long = true;
        } else {
            self.word.push(character);
        }
    }

    fn end_word(&mut self) -> Result<(), TableFull> {
        self.apostrophe = None;
        if self.word.is_empty() {
            return Ok(());
        }
        self.totals.words += 1;
        if !std::mem::take(&mut self.is_long) {
            if let Some(times) = self.totals.table.get_mut(self.word.as_str()) {
                *times += 1;
            } else {
                self.table_bytes += self.word.len() + ENTRY_BYTES;
                if self.table_bytes > TABLE_BYTES {
                    return Err(TableFull { words: self.totals.table.len() });
                }
                self.totals.table.insert(self.word.as_str().into(), 1);
            }
        }
        self.word.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(pieces: &[&str]) -> Totals {
        let mut count = Count::default();
        for piece in pieces {
            count.bytes(piece.as_bytes());
            count.text(piece).unwrap();
        }
        count.finish().unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, u64)]) {
        let totals = count(&[text]);
        let mut table: Vec<_> = totals.table.iter().map(|(word, times)| (&**word, *times)).collect();
        table.sort_unstable();
        assert_eq!(table, expected, "{text:?}");
        assert_eq!(totals.words, expected.iter().map(|(_, times)| times).sum::<u64>());
    }

    #[test]
    fn words_are_letters_digits_and_underscores_in_any_script_and_case() {
        check("", &[]);
        check(" ...\n\u{FFFD}", &[]);
        check("One one ONE two_2 3", &[("3", 1), ("one", 3), ("two_2", 1)]);
        check("Ünïcode ПРИВЕТ привет 漢字", &[("ünïcode", 1), ("привет", 2), ("漢字", 1)]);
    }

    #[test]
    fn an_apostrophe_belongs_to_the_word_it_stands_in() {
        check("don't 'quoted' dogs' it''s", &[("dogs", 1), ("don't", 1), ("it", 1), ("quoted", 1), ("s", 1)]);
        check("l’été '", &[("l’été", 1)]);
    }

    #[test]
    fn lines_are_newline_bytes() {
        let totals = count(&["a\nb\r\n\nc"]);
        assert_eq!((totals.lines, totals.words, totals.bytes), (3, 3, 7));
    }

    #[test]
    fn a_word_may_go_on_in_the_next_piece() {
        let totals = count(&["hel", "lo", "'", "s ", "hello"]);
        assert_eq!(totals.table.get("hello's"), Some(&1));
        assert_eq!(totals.table.get("hello"), Some(&1));
        assert_eq!(totals.words, 2);
    }

    #[test]
    fn long_words_are_counted_and_not_listed() {
        let totals = count(&[&"x".repeat(64), " ", &"x".repeat(65), " ", &"y".repeat(1_000_000)]);
        assert_eq!(totals.words, 3);
        assert_eq!(totals.table.keys().map(|word| word.len()).collect::<Vec<_>>(), [64]);
    }

    #[test]
    fn the_table_has_a_limit() {
        let mut count = Count::default();
        let full = (0_u64..).find_map(|number| count.text(&format!("{number:064} ")).err()).unwrap();
        assert_eq!(full.words, TABLE_BYTES / (64 + ENTRY_BYTES));
        count.word.clear();
        count.text(&format!("{:064} ", 1)).expect("a word that is in the table costs nothing");
    }
}

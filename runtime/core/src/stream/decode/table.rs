//! [`Table`]: a list of objects that can be sorted by a key.

use std::cmp::Ordering;

use serde::Serialize;
use serde_json::{Number, Value};

use super::error::DecodeError;
use super::object::{Row, parse_object, white_space};

/// A list of objects. Serializes as a JSON array. [`Table::lines`] returns one object per line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Table {
    pub rows: Vec<Row>,
}

impl Table {
    /// Sorts by the values of `key`: rows without the key first, then numbers by value, then everything else by its text. Equal rows keep
    /// their order. The ancestor compared numbers with texts as text, which is not a consistent order.
    pub fn sort(&mut self, key: &str) {
        self.rows.sort_by(|a, b| compare(a.get(key), b.get(key)));
    }

    /// Returns the rows as JSON, one per line.
    pub fn lines(&self) -> String {
        self.rows.iter().map(|row| serde_json::to_string(row).expect("a JSON map serializes") + "\n").collect()
    }

    /// Decodes rows up to the first text that is not one. Keeps the rows before it.
    pub(super) fn decode(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        let start = white_space(text);
        if text.get(start) == Some(&b'[') { self.decode_array(text, start) } else { self.decode_sequence(text) }
    }

    fn decode_sequence(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        let mut at = 0;
        while let Some((row, range)) = parse_object(text, at, 0)? {
            self.rows.push(row);
            at = range.end;
        }
        Ok(())
    }

    fn decode_array(&mut self, text: &[u8], start: usize) -> Result<(), DecodeError> {
        let truncated = || DecodeError::Truncated { at: start as u64 };
        let skip = |at: usize| at + white_space(&text[at..]);
        let mut at = skip(start + 1);
        if text.get(at) == Some(&b']') {
            return self.check_end(text, at + 1);
        }
        loop {
            let (row, range) = parse_object(text, at, 0)?.ok_or_else(truncated)?;
            self.rows.push(row);
            at = skip(range.end);
            match text.get(at) {
                Some(b',') => at += 1,
                Some(b']') => return self.check_end(text, at + 1),
                Some(_) => return Err(syntax(at, "expected `,` or `]`")),
                None => return Err(truncated()),
            }
        }
    }

    /// Checks that only white space follows the array.
    fn check_end(&self, text: &[u8], at: usize) -> Result<(), DecodeError> {
        let after = at + white_space(&text[at..]);
        if after == text.len() { Ok(()) } else { Err(syntax(after, "expected the end of the stream after the array")) }
    }
}

fn syntax(at: usize, why: &str) -> DecodeError {
    DecodeError::Syntax { at: at as u64, why: why.to_owned() }
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => compare_numbers(a, b),
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (Some(a), Some(b)) => type_rank(a).cmp(&type_rank(b)).then_with(|| text(a).cmp(&text(b))),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn type_rank(value: &Value) -> u8 {
    u8::from(!value.is_number())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Compares by value. Numbers that are equal as floating-point numbers compare as integers, and integers come before other numbers.
fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
    let integer = |number: &Number| number.as_i128();
    let as_integers = || match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    float(a).total_cmp(&float(b)).then_with(as_integers)
}

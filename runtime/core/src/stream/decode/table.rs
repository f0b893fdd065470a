//! `Table`: a list of objects that can be sorted by a key.

use std::cmp::Ordering;

use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::{DecodeError, object, space};

/// A row of a table, and an object of a stream.
pub type Row = Map<String, Value>;

/// A list of objects. As JSON it is an array; [`Table::lines`] gives one a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Table {
    pub rows: Vec<Row>,
}

impl Table {
    /// Sorts by the values of `key`: rows without it first, then numbers by their size, then everything else by its text. Rows that are
    /// equal keep their order. The ancestor compared a number with a text as text, by which no order is one.
    pub fn sort(&mut self, key: &str) {
        self.rows.sort_by(|a, b| compare(a.get(key), b.get(key)));
    }

    /// The rows as JSON, one a line.
    pub fn lines(&self) -> String {
        self.rows.iter().map(|row| serde_json::to_string(row).expect("a map of JSON is JSON") + "\n").collect()
    }

    /// Reads rows until what is not one; those before it stay.
    pub(super) fn read(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        let begin = space(text);
        if text.get(begin) == Some(&b'[') { self.read_array(text, begin) } else { self.read_lines(text) }
    }

    fn read_lines(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        let mut at = 0;
        while let Some((row, place)) = object(text, at, 0)? {
            self.rows.push(row);
            at = place.end;
        }
        Ok(())
    }

    fn read_array(&mut self, text: &[u8], begin: usize) -> Result<(), DecodeError> {
        let truncated = || DecodeError::Truncated { at: begin as u64 };
        let next = |at: usize| at + space(&text[at..]);
        let mut at = next(begin + 1);
        if text.get(at) == Some(&b']') {
            return self.ends(text, at + 1);
        }
        loop {
            let (row, place) = object(text, at, 0)?.ok_or_else(truncated)?;
            self.rows.push(row);
            at = next(place.end);
            match text.get(at) {
                Some(b',') => at += 1,
                Some(b']') => return self.ends(text, at + 1),
                Some(_) => return Err(syntax(at, "expected `,` or `]`")),
                None => return Err(truncated()),
            }
        }
    }

    /// Nothing but white space may follow an array.
    fn ends(&self, text: &[u8], at: usize) -> Result<(), DecodeError> {
        let after = at + space(&text[at..]);
        if after == text.len() { Ok(()) } else { Err(syntax(after, "expected the end after the array")) }
    }
}

fn syntax(at: usize, why: &str) -> DecodeError {
    DecodeError::Syntax { at: at as u64, why: why.to_owned() }
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => compare_numbers(a, b),
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (Some(a), Some(b)) => rank(a).cmp(&rank(b)).then_with(|| text(a).cmp(&text(b))),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn rank(value: &Value) -> u8 {
    u8::from(!value.is_number())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// By size; where two are the same as floating-point numbers, whole ones by their digits, and before those that are not whole.
fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
    let whole = |number: &Number| number.as_i128();
    let by_digits = || match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    float(a).total_cmp(&float(b)).then_with(by_digits)
}

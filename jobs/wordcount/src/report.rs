//! The JSON output.

use std::fmt::Write as _;

use crate::count::Totals;

/// Returns the totals and the `top` most frequent words as JSON. Words with the same frequency are sorted by their characters.
///
/// Words need no escapes, because [`Count`](crate::count::Count) allows only letters, digits, `_` and apostrophes in them.
pub(crate) fn json(totals: &Totals, top: u32) -> String {
    let mut table: Vec<(&str, u64)> = totals.table.iter().map(|(word, times)| (&**word, *times)).collect();
    table.sort_unstable_by(|(a, a_times), (b, b_times)| b_times.cmp(a_times).then(a.cmp(b)));
    table.truncate(usize::try_from(top).unwrap_or(usize::MAX));

    let Totals { lines, words, bytes, .. } = totals;
    let mut json = format!("{{\n  \"lines\": {lines},\n  \"words\": {words},\n  \"bytes\": {bytes},\n  \"top\": [");
    for (at, (word, times)) in table.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(json, "{comma}\n    {{\"word\": \"{word}\", \"count\": {times}}}")
            .expect("a String takes all that is written");
    }
    json.push_str(if table.is_empty() { "]\n}\n" } else { "\n  ]\n}\n" });
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Count;

    fn totals(text: &str) -> Totals {
        let mut count = Count::default();
        count.bytes(text.as_bytes());
        count.text(text).unwrap();
        count.finish().unwrap()
    }

    #[test]
    fn most_frequent_words_come_first_and_equal_ones_in_order() {
        let expected = r#"{
  "lines": 1,
  "words": 6,
  "bytes": 12,
  "top": [
    {"word": "c", "count": 3},
    {"word": "a", "count": 1}
  ]
}
"#;
        assert_eq!(json(&totals("b c a c d c\n"), 2), expected);
    }

    #[test]
    fn an_empty_table_is_an_empty_array() {
        let expected = "{\n  \"lines\": 0,\n  \"words\": 0,\n  \"bytes\": 0,\n  \"top\": []\n}\n";
        assert_eq!(json(&totals(""), 10), expected);
        assert_eq!(
            json(&totals("word"), 0),
            expected.replace("\"words\": 0,\n  \"bytes\": 0", "\"words\": 1,\n  \"bytes\": 4")
        );
    }
}

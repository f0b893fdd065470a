//! How what a program printed differs from what was expected.

use similar::TextDiff;

/// Lines around each difference.
const CONTEXT: usize = 3;
/// The most lines that are shown.
const MAX_LINES: usize = 60;

/// Describes the difference between `expected` and `printed`: of texts as lines, of other bytes as their position.
pub(super) fn describe(expected: &[u8], printed: &[u8]) -> String {
    let (Ok(old), Ok(new)) = (std::str::from_utf8(expected), std::str::from_utf8(printed)) else {
        let same = expected.iter().zip(printed).take_while(|(a, b)| a == b).count();
        return format!("byte {same} differs; {} bytes were expected, and {} printed\n", expected.len(), printed.len());
    };
    let diff = TextDiff::from_lines(old, new);
    let shown = diff.unified_diff().context_radius(CONTEXT).header("expected", "printed").to_string();
    let mut lines = shown.split_inclusive('\n');
    let text: String = lines.by_ref().take(MAX_LINES).collect();
    match lines.count() {
        0 => text,
        more => format!("{text}… and {more} more lines\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_differ_in_lines() {
        let shown = describe("a\nb\n".as_bytes(), "a\nü\n".as_bytes());
        assert_eq!(shown, "--- expected\n+++ printed\n@@ -1,2 +1,2 @@\n a\n-b\n+ü\n");
        assert!(describe(b"a\n", b"a").contains("No newline"), "{}", describe(b"a\n", b"a"));
    }

    #[test]
    fn long_difference_is_cut() {
        let shown = describe("a\n".repeat(1000).as_bytes(), b"");
        assert!(shown.ends_with("… and 943 more lines\n"), "{}", &shown[shown.len() - 40..]);
    }

    #[test]
    fn other_bytes_differ_at_a_position() {
        assert_eq!(describe(b"ab\xff", b"ac"), "byte 1 differs; 3 bytes were expected, and 2 printed\n");
    }
}

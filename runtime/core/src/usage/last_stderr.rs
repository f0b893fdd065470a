//! `LastStderr`: the end of what a run wrote to stderr, by whose last line people are told why it failed.

use std::sync::Mutex;

/// Bytes that are kept, at least; at most twice as many are held.
const KEPT: usize = 1024;

/// The end of a stream; it takes no memory until something is written.
#[derive(Debug, Default)]
pub struct LastStderr(Mutex<End>);

#[derive(Debug, Default)]
struct End {
    bytes: Vec<u8>,
    /// Whether something was written before these.
    cut: bool,
}

impl LastStderr {
    /// Takes note of what is written.
    pub fn keep(&self, bytes: &[u8]) {
        let mut end = self.0.lock().expect("no panic while the lock is held");
        if let Some(before) = bytes.len().checked_sub(KEPT) {
            end.cut |= before > 0 || !end.bytes.is_empty();
            end.bytes.clear();
            end.bytes.extend_from_slice(&bytes[before..]);
            return;
        }
        end.bytes.extend_from_slice(bytes);
        if end.bytes.len() > 2 * KEPT {
            let before = end.bytes.len() - KEPT;
            end.bytes.drain(..before);
            end.cut = true;
        }
    }

    /// The last line that is not blank, on one line and without control characters; `None` where there is none. Of one that is too long
    /// only the end is known, behind the sign of an omission.
    pub fn last_line(&self) -> Option<String> {
        let end = self.0.lock().expect("no panic while the lock is held");
        let text = String::from_utf8_lossy(&end.bytes);
        let (at, line) = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).last()?;
        let omission = if at == 0 && end.cut { "…" } else { "" };
        let line = if omission.is_empty() { line } else { line.trim_start_matches(char::REPLACEMENT_CHARACTER) };
        let line: String = line.trim().chars().map(visible).collect();
        Some(format!("{omission}{line}"))
    }
}

/// What would move a terminal's cursor, or worse, is shown as a sign of its own.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_line(pieces: &[&[u8]]) -> Option<String> {
        let complaint = LastStderr::default();
        pieces.iter().for_each(|piece| complaint.keep(piece));
        complaint.last_line()
    }

    #[test]
    fn the_last_line_that_is_not_blank_is_told() {
        for (text, line) in [
            ("", None),
            ("\n \t\n", None),
            ("a", Some("a")),
            ("a\nb\n", Some("b")),
            ("a\n\n", Some("a")),
            ("warning\nerror: it broke  \n \n\n", Some("error: it broke")),
            ("a\r\nb\r\n", Some("b")),
            ("\u{1b}[31mred\tend\u{7}\n", Some("\u{fffd}[31mred end\u{fffd}")),
        ] {
            assert_eq!(last_line(&[text.as_bytes()]).as_deref(), line, "{text:?}");
        }
        assert_eq!(last_line(&[b"fi", b"rst\nsec", b"ond", b"\n"]).as_deref(), Some("second"));
        assert_eq!(last_line(&[b"not text \xff\n"]).as_deref(), Some("not text \u{fffd}"));
    }

    #[test]
    fn what_is_kept_is_bounded_however_it_is_written() {
        let long = "x".repeat(100_000);
        let kept = format!("…{}", "x".repeat(KEPT));
        assert_eq!(last_line(&[long.as_bytes()]).as_deref(), Some(kept.as_str()));
        let complaint = LastStderr::default();
        for byte in long.bytes() {
            complaint.keep(&[byte]);
            assert!(complaint.0.lock().unwrap().bytes.len() <= 2 * KEPT);
        }
        let told = complaint.last_line().unwrap();
        assert!(told.starts_with("…xxx") && told.len() <= 2 * KEPT + "…".len(), "{}", told.len());
        // In the middle of a character.
        let told = last_line(&["ü".repeat(KEPT).as_bytes(), b"!"]).unwrap();
        assert!(told.starts_with("…ü") && told.ends_with("ü!"), "{told}");
        assert_eq!(last_line(&[long.as_bytes(), b"\nshort\n"]).as_deref(), Some("short"));
    }
}

//! [`LastStderr`]: the end of the stderr of a run. Its last line tells people why the run failed.

use std::sync::Mutex;

/// Minimum number of bytes to keep. The buffer holds at most twice as many.
const MIN_KEPT: usize = 1024;

/// The end of a stream. Allocates nothing until something is written.
#[derive(Debug, Default)]
pub struct LastStderr(Mutex<Buffer>);

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Whether earlier bytes were dropped.
    is_truncated: bool,
}

impl LastStderr {
    /// Appends `bytes` and drops the oldest ones.
    pub fn record(&self, bytes: &[u8]) {
        let mut buffer = self.0.lock().expect("no panic while the lock is held");
        if let Some(before) = bytes.len().checked_sub(MIN_KEPT) {
            buffer.is_truncated |= before > 0 || !buffer.bytes.is_empty();
            buffer.bytes.clear();
            buffer.bytes.extend_from_slice(&bytes[before..]);
            return;
        }
        buffer.bytes.extend_from_slice(bytes);
        if buffer.bytes.len() > 2 * MIN_KEPT {
            let before = buffer.bytes.len() - MIN_KEPT;
            buffer.bytes.drain(..before);
            buffer.is_truncated = true;
        }
    }

    /// Returns the last line that is not blank, with control characters replaced, or `None` if there is none. A line that is too long
    /// starts with `…`, followed by its end.
    pub fn last_line(&self) -> Option<String> {
        let buffer = self.0.lock().expect("no panic while the lock is held");
        let text = String::from_utf8_lossy(&buffer.bytes);
        let (index, line) = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).last()?;
        let ellipsis = if index == 0 && buffer.is_truncated { "…" } else { "" };
        let line = if ellipsis.is_empty() { line } else { line.trim_start_matches(char::REPLACEMENT_CHARACTER) };
        let line: String = line.trim().chars().map(printable).collect();
        Some(format!("{ellipsis}{line}"))
    }
}

/// Replaces control characters, which could change the state of a terminal.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_line(chunks: &[&[u8]]) -> Option<String> {
        let stderr = LastStderr::default();
        chunks.iter().for_each(|chunk| stderr.record(chunk));
        stderr.last_line()
    }

    #[test]
    fn last_line_skips_blank_lines() {
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
    fn record_any_amount_keeps_bounded_memory() {
        let long = "x".repeat(100_000);
        let expected = format!("…{}", "x".repeat(MIN_KEPT));
        assert_eq!(last_line(&[long.as_bytes()]).as_deref(), Some(expected.as_str()));
        let stderr = LastStderr::default();
        for byte in long.bytes() {
            stderr.record(&[byte]);
            assert!(stderr.0.lock().unwrap().bytes.len() <= 2 * MIN_KEPT);
        }
        let line = stderr.last_line().unwrap();
        assert!(line.starts_with("…xxx") && line.len() <= 2 * MIN_KEPT + "…".len(), "{}", line.len());
        // Truncated inside a character.
        let line = last_line(&["ü".repeat(MIN_KEPT).as_bytes(), b"!"]).unwrap();
        assert!(line.starts_with("…ü") && line.ends_with("ü!"), "{line}");
        assert_eq!(last_line(&[long.as_bytes(), b"\nshort\n"]).as_deref(), Some("short"));
    }
}

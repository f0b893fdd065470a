//! [`Filter`]: how a piece of text changes.

/// Changes text that comes in pieces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    Upper,
    Number {
        /// The number of the last line that has started.
        line: u64,
        /// Whether the next byte starts a line.
        is_at_start: bool,
    },
}

impl Filter {
    /// Returns the filter that a path selects.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        match path {
            "/upper" => Some(Self::Upper),
            "/number" => Some(Self::Number { line: 0, is_at_start: true }),
            _ => None,
        }
    }

    /// Changes the next piece.
    pub(crate) fn apply(&mut self, mut piece: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Upper => {
                piece.make_ascii_uppercase();
                piece
            }
            Self::Number { line, is_at_start } => {
                let mut numbered = Vec::with_capacity(piece.len() + piece.len() / 8);
                for part in piece.split_inclusive(|byte| *byte == b'\n') {
                    if *is_at_start {
                        *line += 1;
                        numbered.extend_from_slice(format!("{line:6}  ").as_bytes());
                    }
                    numbered.extend_from_slice(part);
                    *is_at_start = part.ends_with(b"\n");
                }
                numbered
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(path: &str, pieces: &[&str]) -> String {
        let mut filter = Filter::of_path(path).unwrap();
        pieces.iter().map(|piece| String::from_utf8(filter.apply(piece.as_bytes().to_vec())).unwrap()).collect()
    }

    #[test]
    fn upper_changes_ascii_letters_alone() {
        assert_eq!(applied("/upper", &["aB1", "ü\n"]), "AB1ü\n");
    }

    #[test]
    fn number_counts_lines_over_pieces() {
        assert_eq!(applied("/number", &["a\nb", "c\n", "", "d"]), "     1  a\n     2  bc\n     3  d");
        assert_eq!(applied("/number", &[]), "");
    }

    #[test]
    fn other_path_selects_none() {
        assert_eq!(Filter::of_path("/"), None);
    }
}

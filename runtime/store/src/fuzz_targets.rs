//! Fuzz targets for files of the data directory: handler records and sealed code.

use super::HandlerRecord;
use super::seal::{Key, Seal};

/// Reads a handler record. A record that is written again is read as the same record.
pub fn record(bytes: &[u8]) -> bool {
    let Some(record) = HandlerRecord::from_json(bytes) else { return false };
    let written = record.to_json();
    assert_eq!(HandlerRecord::from_json(&written).as_ref(), Some(&record), "{}", String::from_utf8_lossy(&written));
    true
}

/// Seals code. The first four bytes of the input say which bit is damaged later. The input itself has no valid seal, because nobody has
/// the key. Sealed code has a valid seal for its own program and fingerprint only, and only while no bit is flipped and nothing is cut off.
pub fn artifact(bytes: &[u8]) -> bool {
    let seal = Seal::of_code(&Key([7; 32]));
    let unseal = |digest: &str, fingerprint: &str, file: &[u8]| seal.unseal(&[digest, fingerprint], file);
    let Some((position, code)) = bytes.split_first_chunk() else { return false };
    assert_eq!(unseal("sha256:aa", "48-1", bytes), None, "the input has a valid seal");
    let mut file = [code, &seal.of(&["sha256:aa", "48-1"], code)].concat();
    assert_eq!(unseal("sha256:aa", "48-1", &file).as_deref(), Some(code));
    for (digest, fingerprint) in [("sha256:ab", "48-1"), ("sha256:aa", "48-2"), ("sha256:aa4", "8-1"), ("", "")] {
        assert_eq!(unseal(digest, fingerprint, &file), None, "{digest} {fingerprint}");
    }
    let bit = u32::from_le_bytes(*position) as usize % (file.len() * 8);
    assert_eq!(unseal("sha256:aa", "48-1", &file[..bit / 8]), None, "the first {} bytes", bit / 8);
    file[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(unseal("sha256:aa", "48-1", &file), None, "bit {bit}");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus_of_artifact_holds_every_property() {
        capstan_corpus::replay("artifact", artifact);
    }

    #[test]
    fn corpus_of_record_holds_every_property() {
        capstan_corpus::replay("record", record);
    }
}

//! What is read from the data folder, fuzzed: the records of handlers, and sealed code.

use super::Record;
use super::artifacts::Key;

/// Takes a record of a handler. What is kept again is the same when it is read again.
pub fn record(bytes: &[u8]) -> bool {
    let Some(record) = Record::read(bytes) else { return false };
    let written = record.written();
    assert_eq!(Record::read(&written).as_ref(), Some(&record), "{}", String::from_utf8_lossy(&written));
    true
}

/// Takes code to seal, after four bytes that say where it is damaged. As it comes it does not prove itself, since nobody has the key.
/// Sealed it does, for its own program and fingerprint alone, with no bit of it turned, and nothing cut off.
pub fn artifact(bytes: &[u8]) -> bool {
    let key = Key([7; 32]);
    let unsealed = |digest: &str, fingerprint: &str, file: &[u8]| key.unsealed(digest, fingerprint, file.to_vec());
    let Some((place, code)) = bytes.split_first_chunk() else { return false };
    assert_eq!(unsealed("sha256:aa", "48-1", bytes), None, "this proves itself");
    let mut file = [code, &key.tag("sha256:aa", "48-1", code)].concat();
    assert_eq!(unsealed("sha256:aa", "48-1", &file).as_deref(), Some(code));
    for (digest, fingerprint) in [("sha256:ab", "48-1"), ("sha256:aa", "48-2"), ("sha256:aa4", "8-1"), ("", "")] {
        assert_eq!(unsealed(digest, fingerprint, &file), None, "{digest} {fingerprint}");
    }
    let bit = u32::from_le_bytes(*place) as usize % (file.len() * 8);
    assert_eq!(unsealed("sha256:aa", "48-1", &file[..bit / 8]), None, "the first {} bytes", bit / 8);
    file[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(unsealed("sha256:aa", "48-1", &file), None, "bit {bit}");
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

//! HTTP/2 frames, built by hand for tests that do what no client library does.

/// The first bytes that a client sends.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The identifier of `SETTINGS_INITIAL_WINDOW_SIZE`.
pub const INITIAL_WINDOW: u16 = 4;

/// Builds a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Builds the start of a connection with these settings.
pub fn greeting(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> =
        settings.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()
}

/// Builds the header block of a request without adding entries to the tables of either side.
pub fn request(method: &str, path: &str, authority: &str) -> Vec<u8> {
    let mut block = vec![0x86];
    // Literals without indexing. Names from the static table: 2 is `:method`, 4 `:path`, 1 `:authority`.
    for (name, value) in [(2, method), (4, path), (1, authority)] {
        block.push(name);
        block.push(u8::try_from(value.len()).ok().filter(|length| *length < 127).expect("a value is short"));
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// Parses the frames at the start of a response into kind, flags, stream and payload. Ignores an incomplete frame at the end.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(([l0, l1, l2, kind, flags, s0, s1, s2, s3], rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
        let Some(payload) = rest.get(..length) else { break };
        frames.push((*kind, *flags, u32::from_be_bytes([*s0, *s1, *s2, *s3]), payload.to_vec()));
        bytes = &rest[length..];
    }
    frames
}

/// Returns the error codes of all `GOAWAY` frames.
pub fn goodbyes(bytes: &[u8]) -> Vec<u32> {
    let all = frames(bytes).into_iter().filter(|(kind, ..)| *kind == GOAWAY);
    all.map(|(.., payload)| u32::from_be_bytes(payload[4..8].try_into().unwrap())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_frames_are_parsed_back() {
        let goodbye = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11]);
        let bytes = [frame(PING, ACK, 0, &[7; 8]), goodbye.clone(), goodbye[..5].to_vec()].concat();
        assert_eq!(frames(&bytes).len(), 2);
        assert_eq!(frames(&bytes)[0], (PING, ACK, 0, vec![7; 8]));
        assert_eq!(goodbyes(&bytes), [11]);
    }
}

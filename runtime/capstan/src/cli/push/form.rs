//! [`Parts`]: what a push sends, and the form that it is sent in.

use bytes::Bytes;

/// What a push sends.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Parts {
    /// The program. `None` if the manifest names a base.
    pub(in crate::cli) wasm: Option<Bytes>,
    pub(in crate::cli) manifest: Option<Bytes>,
    /// The files, as a tar archive.
    pub(in crate::cli) files: Option<Bytes>,
}

impl Parts {
    /// Returns the media type and the pieces of the body. `boundary` must not occur in the parts.
    pub(super) fn into_body(self, boundary: &str) -> (String, Vec<Bytes>) {
        let parts = match self {
            Self { wasm: Some(wasm), manifest: None, files: None } => {
                return ("application/wasm".to_owned(), vec![wasm]);
            }
            Self { wasm, manifest, files } => [
                ("manifest", "application/toml", manifest),
                ("files", "application/x-tar", files),
                ("module", "application/wasm", wasm),
            ],
        };
        let mut pieces: Vec<Bytes> = Vec::new();
        for (name, media_type, part) in parts {
            let Some(part) = part else { continue };
            let line_end = if pieces.is_empty() { "" } else { "\r\n" };
            let head = format!(
                "{line_end}--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
                 Content-Type: {media_type}\r\n\r\n"
            );
            pieces.extend([head.into(), part]);
        }
        pieces.push(format!("\r\n--{boundary}--\r\n").into());
        (format!("multipart/form-data; boundary={boundary}"), pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_alone_is_the_body() {
        let parts = Parts { wasm: Some("\0asm".into()), ..Parts::default() };
        assert_eq!(parts.into_body("xx"), ("application/wasm".to_owned(), vec![Bytes::from("\0asm")]));
    }

    #[test]
    fn multipart_body_has_each_part_between_boundaries() {
        let part = |name: &str, media_type: &str, content: &str| {
            format!(
                "--xx\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\nContent-Type: {media_type}\r\n\r\n{content}\r\n"
            )
        };
        let (manifest, module) =
            (part("manifest", "application/toml", "a = 1"), part("module", "application/wasm", "\0asm"));
        let files = part("files", "application/x-tar", "tar");
        let check = |parts: Parts, expected: String| {
            let (media_type, pieces) = parts.into_body("xx");
            assert_eq!(media_type, "multipart/form-data; boundary=xx");
            assert_eq!(String::from_utf8(pieces.concat()).unwrap(), expected);
        };
        let parts = Parts { wasm: Some("\0asm".into()), manifest: Some("a = 1".into()), files: None };
        check(parts.clone(), format!("{manifest}{module}--xx--\r\n"));
        check(Parts { wasm: None, files: Some("tar".into()), ..parts }, format!("{manifest}{files}--xx--\r\n"));
    }
}

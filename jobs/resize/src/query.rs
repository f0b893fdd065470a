//! Reads the parameters of a request.

use std::num::NonZeroU32;

/// The width without the parameter, in pixels.
const DEFAULT: NonZeroU32 = NonZeroU32::new(128).expect("128 is not 0");
/// The limit bounds the result, which is in memory as a whole.
const MAX: u32 = 1024;

/// Returns the width that a path with a query asks for.
///
/// # Errors
/// What is wrong with the query, as a line of text.
pub(crate) fn width(path_with_query: &str) -> Result<NonZeroU32, String> {
    let query = path_with_query.split_once('?').map_or("", |(_, query)| query);
    let mut width = None;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name != "width" {
            return Err("unknown parameter: the only one is width".to_owned());
        }
        let parsed = value.parse::<NonZeroU32>().ok().filter(|width| width.get() <= MAX);
        let parsed = parsed.ok_or_else(|| format!("width is not a whole number from 1 to {MAX}"))?;
        if width.replace(parsed).is_some() {
            return Err("width is given twice".to_owned());
        }
    }
    Ok(width.unwrap_or(DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_is_bounded_and_has_a_default() {
        for (path, expected) in [("/", 128), ("/?", 128), ("/?width=1", 1), ("/a?width=1024&", 1024)] {
            assert_eq!(width(path).unwrap().get(), expected, "{path}");
        }
        for path in [
            "/?width",
            "/?width=0",
            "/?width=1025",
            "/?width=-1",
            "/?width=4294967297",
            "/?width=1&width=1",
            "/?height=1",
        ] {
            assert!(width(path).is_err(), "{path}");
        }
    }
}

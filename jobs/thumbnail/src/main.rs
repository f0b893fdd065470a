//! A job that makes a thumbnail: it reads a PNG on stdin and writes a smaller PNG to stdout, by averaging areas.
//!
//! It decodes and shrinks the image row by row as it arrives, so that it needs memory only for a few rows and the thumbnail. An interlaced
//! image must be in memory as a whole.

use std::io::{self, Write as _};
use std::num::NonZeroU32;

use capstan_guest::{Args, Exit, Value};
use thumbnail::image;

/// The longest edge of a thumbnail, in pixels.
#[derive(Debug, PartialEq, Eq)]
struct Size(NonZeroU32);

impl Default for Size {
    fn default() -> Self {
        Self(NonZeroU32::new(128).expect("128 is not 0"))
    }
}

impl Value for Size {
    // The limit bounds the thumbnail, which is in memory as a whole.
    const EXPECTED: &'static str = "a whole number from 1 to 1024";

    fn parse(text: &str) -> Option<Self> {
        NonZeroU32::parse(text).filter(|size| size.get() <= 1024).map(Self)
    }
}

fn main() -> Exit {
    Exit::of(thumbnail(Args::of_job()))
}

fn thumbnail(mut args: Args) -> Result<(), Exit> {
    let Size(size) = args.flag("size")?.unwrap_or_default();
    args.finish()?;

    // Writes nothing before the end of the input, so that an image that is damaged at its end leaves no partial thumbnail on stdout.
    let thumbnail = image::thumbnail(io::stdin().lock(), size)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&thumbnail)?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_bounded_and_has_a_default() {
        assert_eq!(Size::default().0.get(), 128);
        assert_eq!(Size::parse("1024"), Some(Size(NonZeroU32::new(1024).unwrap())));
        for text in ["0", "1025", "-1", "big", "4294967297"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }
}

//! Decodes a PNG and encodes its thumbnail.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::num::NonZeroU32;

use png::{BitDepth, ColorType, Decoder, DecodingError, Encoder, EncodingError, Info, Limits, Transformations};

use crate::shrink::{Edge, Shrink};

/// Maximum size of an image in pixels. It bounds the time, which the length of a PNG does not: 40 kB can contain this many pixels.
const PIXEL_LIMIT: u64 = 40_000_000;

/// Maximum size of an interlaced image in pixels. It is lower because such an image must be in memory as a whole.
const INTERLACED_LIMIT: u64 = 8_000_000;

/// Maximum length of an edge in pixels. It bounds the memory of a row.
const EDGE_LIMIT: u32 = 30_000;

/// Maximum memory of the decoder in bytes.
const DECODER_LIMIT: usize = 16 * 1024 * 1024;

/// The thumbnail could not be created.
#[derive(Debug)]
pub enum ImageError {
    TooLarge { width: u32, height: u32 },
    Malformed(DecodingError),
    Encode(EncodingError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { width, height } => write!(
                f,
                "the image is too large: {width}x{height} pixels, where an edge may have {EDGE_LIMIT}, \
                 all of it {PIXEL_LIMIT}, and {INTERLACED_LIMIT} if it is interlaced"
            ),
            Self::Malformed(_) => f.write_str("the input is not a well-formed PNG"),
            Self::Encode(_) => f.write_str("the thumbnail cannot be encoded"),
        }
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Malformed(error) => Some(error),
            Self::Encode(error) => Some(error),
        }
    }
}

/// Returns a PNG whose longest edge has `size` pixels, with the proportions of `input`. Never enlarges an image.
///
/// Converts palettes to RGB and 16-bit samples to 8-bit samples. Uses the default image of an animation.
///
/// # Errors
/// [`ImageError`]
pub fn thumbnail(input: impl BufRead, size: NonZeroU32) -> Result<Vec<u8>, ImageError> {
    shrink(input, |width, height| fit(width, height, width.max(height), size))
}

/// Like [`thumbnail`], with a width of `width` pixels.
///
/// # Errors
/// [`ImageError`]
pub fn with_width(input: impl BufRead, width: NonZeroU32) -> Result<Vec<u8>, ImageError> {
    shrink(input, |from, height| fit(from, height, from, width))
}

fn shrink(input: impl BufRead, fit: impl FnOnce(u32, u32) -> (Edge, Edge)) -> Result<Vec<u8>, ImageError> {
    let mut decoder = Decoder::new_with_limits(Forward(input), Limits { bytes: DECODER_LIMIT });
    decoder.set_transformations(Transformations::normalize_to_color8());
    let info = decoder.read_header_info().map_err(ImageError::Malformed)?;
    check_size(info)?;
    let (width, height) = fit(info.width, info.height);

    let mut reader = decoder.read_info().map_err(ImageError::Malformed)?;
    let (colours, _) = reader.output_color_type();
    let mut shrink = Shrink::new(width, height, colours.samples());
    if reader.info().interlaced {
        // The rows of an interlaced image arrive in seven passes.
        let mut picture = vec![0; width.from as usize * height.from as usize * colours.samples()];
        reader.next_frame(&mut picture).map_err(ImageError::Malformed)?;
        picture.chunks_exact(width.from as usize * colours.samples()).for_each(|row| shrink.row(row));
    } else {
        while let Some(row) = reader.next_row().map_err(ImageError::Malformed)? {
            shrink.row(row.data());
        }
    }
    // Also detects an image that is truncated after its last row.
    reader.finish().map_err(ImageError::Malformed)?;
    encode(width.to, height.to, colours, &shrink.finish()).map_err(ImageError::Encode)
}

/// Adapts a stream to the decoder, which requires `Seek` but never seeks.
struct Forward<R>(R);

impl<R: Read> Read for Forward<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: BufRead> BufRead for Forward<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

impl<R> Seek for Forward<R> {
    fn seek(&mut self, _to: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::NotSeekable.into())
    }
}

fn check_size(info: &Info<'_>) -> Result<(), ImageError> {
    let (width, height) = (info.width, info.height);
    let limit = if info.interlaced { INTERLACED_LIMIT } else { PIXEL_LIMIT };
    if width.max(height) > EDGE_LIMIT || u64::from(width) * u64::from(height) > limit {
        return Err(ImageError::TooLarge { width, height });
    }
    Ok(())
}

/// Returns the edges of the smaller image. The edge of length `of` gets `size` pixels, the other is in proportion, and neither grows.
fn fit(width: u32, height: u32, of: u32, size: NonZeroU32) -> (Edge, Edge) {
    let of = u64::from(of);
    let size = u64::from(size.get()).min(of);
    let edge = |from: u32| {
        let to = (u64::from(from) * size + of / 2) / of;
        Edge { from, to: u32::try_from(to.max(1)).expect("it is not longer than before") }
    };
    (edge(width), edge(height))
}

fn encode(width: u32, height: u32, colours: ColorType, samples: &[u8]) -> Result<Vec<u8>, EncodingError> {
    let mut png = Vec::new();
    let mut encoder = Encoder::new(&mut png, width, height);
    encoder.set_color(colours);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(samples)?;
    writer.finish()?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_is_kept_and_height_is_in_proportion() {
        let edges = |width, height, to| {
            let (w, h) = fit(width, height, width, NonZeroU32::new(to).unwrap());
            (w.to, h.to)
        };
        assert_eq!(edges(100, 400, 50), (50, 200));
        assert_eq!(edges(400, 100, 50), (50, 13));
        assert_eq!(edges(40, 10, 50), (40, 10));
        assert_eq!(edges(30_000, 1, 1), (1, 1));
    }

    /// Returns a PNG in any format that the encoder can write.
    fn png(width: u32, height: u32, colours: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
        let mut png = Vec::new();
        let mut encoder = Encoder::new(&mut png, width, height);
        encoder.set_color(colours);
        encoder.set_depth(depth);
        if colours == ColorType::Indexed {
            encoder.set_palette(&[10, 20, 30, 200, 100, 0][..]);
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        png
    }

    fn decode(png: &[u8]) -> (u32, u32, ColorType, Vec<u8>) {
        let mut reader = Decoder::new(io::Cursor::new(png)).read_info().unwrap();
        let mut samples = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut samples).unwrap();
        assert_eq!(frame.bit_depth, BitDepth::Eight);
        samples.truncate(frame.buffer_size());
        (frame.width, frame.height, frame.color_type, samples)
    }

    fn size(pixels: u32) -> NonZeroU32 {
        NonZeroU32::new(pixels).unwrap()
    }

    #[test]
    fn each_form_of_colour_is_read() {
        #[track_caller]
        fn check(colours: ColorType, depth: BitDepth, data: &[u8], expected: (ColorType, &[u8])) {
            let small = thumbnail(&png(4, 2, colours, depth, data)[..], size(2)).unwrap();
            let (width, height, colours, samples) = decode(&small);
            assert_eq!((width, height), (2, 1));
            assert_eq!((colours, &samples[..]), expected);
        }
        use {BitDepth::*, ColorType::*};
        check(Grayscale, Eight, &[10; 8], (Grayscale, &[10; 2]));
        check(Grayscale, One, &[0b1100_0000; 2], (Grayscale, &[255, 0]));
        check(Grayscale, Sixteen, &[0x12, 0x34].repeat(8), (Grayscale, &[0x12; 2]));
        check(GrayscaleAlpha, Eight, &[10, 40].repeat(8), (GrayscaleAlpha, &[10, 40, 10, 40]));
        check(Rgb, Eight, &[1, 2, 3].repeat(8), (Rgb, &[1, 2, 3, 1, 2, 3]));
        check(Rgba, Eight, &[1, 2, 3, 4].repeat(8), (Rgba, &[1, 2, 3, 4, 1, 2, 3, 4]));
        check(Rgba, Sixteen, &[1, 1, 2, 2, 3, 3, 4, 4].repeat(8), (Rgba, &[1, 2, 3, 4, 1, 2, 3, 4]));
        check(Indexed, One, &[0b0011_0000; 2], (Rgb, &[10, 20, 30, 200, 100, 0]));
    }

    #[test]
    fn the_longest_edge_is_the_size_and_no_picture_grows() {
        #[track_caller]
        fn check(from: (u32, u32), longest: u32, expected: (u32, u32)) {
            let (width, height) = fit(from.0, from.1, from.0.max(from.1), size(longest));
            assert_eq!((width.to, height.to), expected);
        }
        check((300, 200), 128, (128, 85));
        check((200, 300), 128, (85, 128));
        check((100, 50), 128, (100, 50));
        check((30_000, 1), 128, (128, 1));
        check((1, 1), 1, (1, 1));
        check((EDGE_LIMIT, EDGE_LIMIT), 1024, (1024, 1024));
    }

    #[test]
    fn a_bad_png_is_refused_with_what_is_wrong() {
        #[track_caller]
        fn check(input: &[u8], expected: &str) {
            let error = thumbnail(input, size(8)).unwrap_err();
            let exit = capstan_guest::Exit::from(error);
            let reason = exit.reason().unwrap();
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(exit.code(), 1);
        }
        let whole = png(64, 64, ColorType::Rgb, BitDepth::Eight, &[7; 64 * 64 * 3]);
        check(b"", "the input is not a well-formed PNG: ");
        check(b"GIF89a, by the look of it", "Invalid PNG signature");
        for length in [10, 30, 50, whole.len() - 30, whole.len() - 6] {
            check(&whole[..length], "the input is not a well-formed PNG: ");
        }
        let mut flipped = whole;
        flipped[20] ^= 1;
        check(&flipped, "CRC");
    }

    #[test]
    fn a_picture_over_the_limits_is_refused_by_its_header() {
        // Only the header is complete, so the error cannot come from anything after it.
        let check = |width, height, expected: &str| {
            let header = png(1, 1, ColorType::Grayscale, BitDepth::Eight, &[0]);
            let mut chunk =
                [b"IHDR", &u32::to_be_bytes(width)[..], &u32::to_be_bytes(height), &header[24..29]].concat();
            chunk.extend(crc32(&chunk).to_be_bytes());
            let input = [&header[..12], &chunk[..]].concat();
            let error = thumbnail(&input[..], size(8)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(30_001, 1, "30001x1 pixels");
        check(10_000, 4_001, "10000x4001 pixels");
        check(u32::MAX >> 1, u32::MAX >> 1, "too large");
        check(10_000, 4_000, "not a well-formed PNG");
    }

    /// Returns the checksum of a chunk, computed bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
        })
    }
}

//! Looks at the log of the database before SQLite does.
//!
//! SQLite reads the log up to the first frame whose checksum is wrong, and ignores the rest without a word. After a power cut that is right:
//! the rest was never synced. If the disk has changed a frame later, commits are lost. Nothing can tell the two apart for certain, so they
//! are counted and reported.

use std::io::{self, BufReader};

use cap_std::fs::Dir;

/// The bytes of the header of the log.
const HEADER: usize = 32;
/// The bytes of the header of a frame.
const FRAME_HEADER: usize = 24;

/// Returns how many frames of the present log SQLite will ignore. Their count includes the frame that is damaged.
///
/// # Errors
/// Those of reading the file. No file, or one that is not a log, has no frames.
pub(super) fn ignored_frames(dir: &Dir, name: &str) -> io::Result<u64> {
    let file = match dir.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::with_capacity(1 << 16, file);
    let mut header = [0; HEADER];
    if read_full(&mut file, &mut header)? < HEADER {
        return Ok(0);
    }
    let is_big_endian = match word(&header, 0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return Ok(0),
    };
    let page_size = usize::try_from(word(&header, 8)).unwrap_or(usize::MAX);
    if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
        return Ok(0);
    }
    let salts = &header[16..24];
    let mut sum = checksum(is_big_endian, (0, 0), &header[..24]);
    if sum != (word(&header, 24), word(&header, 28)) {
        return Ok(0);
    }
    let mut frame = vec![0; FRAME_HEADER + page_size];
    let mut ignored = 0;
    while read_full(&mut file, &mut frame)? == frame.len() {
        if frame[8..16] != *salts {
            // A frame of an earlier log, over which this one is written.
            if ignored == 0 {
                break;
            }
            continue;
        }
        let next = checksum(is_big_endian, sum, &frame[..8]);
        let next = checksum(is_big_endian, next, &frame[FRAME_HEADER..]);
        if ignored > 0 || next != (word(&frame, 16), word(&frame, 20)) {
            ignored += 1;
        }
        sum = next;
    }
    Ok(ignored)
}

/// Reads until `buffer` is full or the file ends. Returns how much it read.
fn read_full(file: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(size) => read += size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Continues the checksum `sum` over `bytes`, as the format of the log describes it.
fn checksum(is_big_endian: bool, sum: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let (mut first, mut second) = sum;
    for pair in bytes.as_chunks::<8>().0 {
        let read = |part: [u8; 4]| if is_big_endian { u32::from_be_bytes(part) } else { u32::from_le_bytes(part) };
        let (left, right) = pair.split_at(4);
        first = first.wrapping_add(read(left.try_into().expect("four bytes"))).wrapping_add(second);
        second = second.wrapping_add(read(right.try_into().expect("four bytes"))).wrapping_add(first);
    }
    (first, second)
}

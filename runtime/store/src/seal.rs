//! [`Seal`]: the proof that a process with the key of a directory wrote what is sealed.
//!
//! The seal of compiled code is a keyed BLAKE3 hash over what the code belongs to (the digest of the program, and the fingerprint: the full
//! version of the library, its configuration and the target), the number of its bytes, and the hashes of its pieces. The pieces are hashed
//! apart from each other, so that several threads can verify a large file while they copy it.
//!
//! The key is in a file of mode 0600 in a directory of mode 0700. Each kind of thing that is sealed has its own key, derived from that one.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use blake3::{Hash, Hasher};

pub(super) const KEY_SIZE: usize = 32;
pub(super) const SEAL_SIZE: usize = 32;

/// Bytes that are read, hashed and passed on at a time, by one thread.
const PIECE_SIZE: u64 = 256 << 10;
/// How many pieces a file has for each thread that works on it. A thread takes as long to start as two pieces to copy.
const PIECES_PER_THREAD: u64 = 8;
/// The most threads that work on a file. The memory bus is busy with fewer.
const MAX_THREADS: u64 = 4;

/// The key of a directory.
pub(super) struct Key(pub(super) [u8; KEY_SIZE]);

/// Seals things of one kind, and verifies their seals.
#[derive(Clone)]
pub(super) struct Seal([u8; KEY_SIZE]);

impl Seal {
    /// Returns what seals compiled code.
    pub(super) fn of_code(key: &Key) -> Self {
        Self(blake3::derive_key("capstan 2026-11 seal of compiled code", &key.0))
    }

    /// Returns what seals the record of a program file.
    pub(super) fn of_program_file(key: &Key) -> Self {
        Self(blake3::derive_key("capstan 2026-11 seal of the record of a program file", &key.0))
    }

    /// Returns the seal of `content`, which belongs to `owner`.
    pub(super) fn of(&self, owner: &[&str], content: &[u8]) -> [u8; SEAL_SIZE] {
        let pieces = content.chunks(usize::try_from(PIECE_SIZE).expect("a piece fits into memory"));
        self.hash(owner, content.len() as u64, pieces.map(blake3::hash)).into()
    }

    /// Returns the content of `sealed`, which has its seal at the end, or `None` if that is not valid.
    pub(super) fn unseal(&self, owner: &[&str], sealed: &[u8]) -> Option<Vec<u8>> {
        let (content, seal) = sealed.split_last_chunk()?;
        // The comparison of two hashes takes the same time wherever they differ.
        (Hash::from(self.of(owner, content)) == Hash::from_bytes(*seal)).then(|| content.to_vec())
    }

    /// Copies the content of `source`, which has its seal at the end, to the empty file `target`. Returns `None` if the seal is not valid for the
    /// bytes that were copied, or if a file cannot be read or written.
    pub(super) fn copy_verified(&self, owner: &[&str], source: &File, target: &File) -> Option<()> {
        let size = source.metadata().ok()?.len().checked_sub(SEAL_SIZE as u64)?;
        let hashes = copy(size, source, target).ok()?;
        let mut seal = [0; SEAL_SIZE];
        source.read_exact_at(&mut seal, size).ok()?;
        (self.hash(owner, size, hashes.into_iter()) == Hash::from_bytes(seal)).then_some(())
    }

    fn hash(&self, owner: &[&str], size: u64, pieces: impl Iterator<Item = Hash>) -> Hash {
        let mut hasher = Hasher::new_keyed(&self.0);
        for part in owner {
            // The length before each part keeps its bytes from being taken for those of another part.
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        hasher.update(&size.to_le_bytes());
        for piece in pieces {
            hasher.update(piece.as_bytes());
        }
        hasher.finalize()
    }
}

/// Copies the first `size` bytes of `source` to `target`. Returns the hashes of the pieces that were written.
fn copy(size: u64, source: &File, target: &File) -> io::Result<Vec<Hash>> {
    let pieces = size.div_ceil(PIECE_SIZE);
    let next = AtomicU64::new(0);
    let hashes = Mutex::new(Vec::new());
    let work = || -> io::Result<()> {
        let mut piece = vec![0; usize::try_from(PIECE_SIZE.min(size)).expect("a piece fits into memory")];
        let mut own = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= pieces {
                break;
            }
            let start = index * PIECE_SIZE;
            let length = usize::try_from(PIECE_SIZE.min(size - start)).expect("a piece fits into memory");
            let piece = &mut piece[..length];
            source.read_exact_at(piece, start)?;
            // The hash is that of the memory of this process that is written next, and not of the file, which may change.
            own.push((index, blake3::hash(piece)));
            target.write_all_at(piece, start)?;
        }
        hashes.lock().expect("no panic while the lock is held").append(&mut own);
        Ok(())
    };
    let threads = (pieces / PIECES_PER_THREAD).min(MAX_THREADS);
    let threads = if threads > 1 { threads.min(processors()) } else { 1 };
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| thread::Builder::new().spawn_scoped(scope, work)).collect();
        // Without a helper, for example because no more threads are allowed, this thread does it all.
        let result = work();
        helpers
            .into_iter()
            .flatten()
            .fold(result, |result, helper| result.and(helper.join().expect("copying does not panic")))
    })?;
    let mut hashes = hashes.into_inner().expect("no panic while the lock is held");
    hashes.sort_unstable_by_key(|(index, _)| *index);
    Ok(hashes.into_iter().map(|(_, hash)| hash).collect())
}

fn processors() -> u64 {
    thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    /// Returns what `copy_verified` copies of a file with the content `sealed`.
    fn copied(seal: &Seal, owner: &[&str], sealed: &[u8]) -> Option<Vec<u8>> {
        let (mut source, mut target) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        source.write_all(sealed).unwrap();
        seal.copy_verified(owner, &source, &target)?;
        let mut copy = Vec::new();
        target.rewind().unwrap();
        target.read_to_end(&mut copy).unwrap();
        Some(copy)
    }

    #[test]
    fn content_of_any_number_of_pieces_is_copied_unless_a_byte_of_it_differs() {
        let seal = Seal::of_code(&Key([7; KEY_SIZE]));
        let piece = usize::try_from(PIECE_SIZE).unwrap();
        for size in [0, 1, piece - 1, piece, piece + 1, 40 * piece + 5] {
            let content: Vec<u8> =
                (0_u32..).map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[3]).take(size).collect();
            let mut sealed = [&content[..], &seal.of(&["a", "b"], &content)].concat();
            assert_eq!(copied(&seal, &["a", "b"], &sealed).as_ref(), Some(&content), "{size} bytes");
            assert_eq!(seal.unseal(&["a", "b"], &sealed).as_ref(), Some(&content), "{size} bytes");
            assert_eq!(copied(&seal, &["ab", ""], &sealed), None, "{size} bytes");
            assert_eq!(copied(&Seal::of_program_file(&Key([7; KEY_SIZE])), &["a", "b"], &sealed), None, "{size} bytes");
            for position in [0, size / 2, sealed.len() - 1] {
                sealed[position] ^= 1;
                assert_eq!(copied(&seal, &["a", "b"], &sealed), None, "byte {position} of {size}");
                sealed[position] ^= 1;
            }
        }
    }

    #[test]
    fn pieces_in_another_order_have_another_seal() {
        let seal = Seal::of_code(&Key([7; KEY_SIZE]));
        let piece = usize::try_from(PIECE_SIZE).unwrap();
        let (first, second) = (vec![1; piece], vec![2; piece]);
        let sealed = seal.of(&[], &[&first[..], &second[..]].concat());
        assert_eq!(copied(&seal, &[], &[&second[..], &first[..], &sealed[..]].concat()), None);
    }
}

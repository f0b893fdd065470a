//! Random bytes from a seed, which are the same in each run.
//!
//! The generator is ChaCha with 20 rounds. Its key is the seed in little-endian, followed by 24 zero bytes. Stream 0 serves
//! `wasi:random/random`, stream 1 `wasi:random/insecure`, and stream 2 begins with the seed for hash tables. This is documented and stays.

pub(super) mod calls;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use capstan_core::determinism::Random;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng as _, TryRng};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::random::thread_rng;

/// How many bytes are generated at a time. Between them, other guests run, and the run can be stopped.
pub(super) const PIECE_SIZE: usize = 64 << 10;

/// Makes `wasi` take random bytes from `random`.
pub(super) fn configure(wasi: &mut WasiCtxBuilder, random: Random) {
    let Random::Seeded(seed) = random else { return };
    let mut hash_seed = stream(seed, 2);
    let (low, high) = (u128::from(hash_seed.next_u64()), u128::from(hash_seed.next_u64()));
    wasi.secure_random(stream(seed, 0)).insecure_random(stream(seed, 1)).insecure_random_seed(high << 64 | low);
}

/// Makes `wasi` take random bytes from the host, and set `is_used` when the guest asks for any.
pub(super) fn observe(wasi: &mut WasiCtxBuilder, is_used: Arc<AtomicBool>) {
    wasi.secure_random(Observed { rng: thread_rng(), is_used: is_used.clone() })
        .insecure_random(Observed { rng: thread_rng(), is_used });
}

/// A generator that records whether it was used.
struct Observed {
    rng: Box<dyn Rng + Send>,
    is_used: Arc<AtomicBool>,
}

impl TryRng for Observed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.is_used.store(true, Ordering::Relaxed);
        Ok(self.rng.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.is_used.store(true, Ordering::Relaxed);
        Ok(self.rng.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.is_used.store(true, Ordering::Relaxed);
        self.rng.fill_bytes(bytes);
        Ok(())
    }
}

/// Returns the generator for stream number `stream` of `seed`.
fn stream(seed: u64, stream: u64) -> ChaCha20Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha20Rng::from_seed(key);
    rng.set_stream(stream);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bytes are the first block of the cipher with a zero key, from RFC 8439, appendix A.1.
    #[test]
    fn stream_yields_bytes_of_chacha20() {
        let mut bytes = [0; 8];
        stream(0, 0).fill_bytes(&mut bytes);
        assert_eq!(bytes, [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
        let first = |seed, number| stream(seed, number).next_u64();
        assert!(first(0, 0) != first(0, 1) && first(0, 0) != first(1, 0) && first(0, 1) != first(0, 2));
    }
}

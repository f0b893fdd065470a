//! Random bytes that are the same each time.
//!
//! The generator is ChaCha with 20 rounds. Its key is the seed, little-endian, and 24 bytes of zero; stream 0 is what guests ask for where it matters, stream 1
//! what they ask for where it does not, and stream 2 begins with the seed that hash tables get. This is written down, and stays.

use capstan_core::determinism::Random;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};
use wasmtime_wasi::WasiCtxBuilder;

/// Has `wasi` answer from `random`.
pub(super) fn set(wasi: &mut WasiCtxBuilder, random: Random) {
    let Random::Seeded(seed) = random else { return };
    let mut hashing = stream(seed, 2);
    let (low, high) = (u128::from(hashing.next_u64()), u128::from(hashing.next_u64()));
    wasi.secure_random(stream(seed, 0)).insecure_random(stream(seed, 1)).insecure_random_seed(high << 64 | low);
}

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

    /// The first block of the cipher under a key of zeros, as RFC 8439 has it in appendix A.1.
    #[test]
    fn the_bytes_are_those_of_the_cipher() {
        let mut bytes = [0; 8];
        stream(0, 0).fill_bytes(&mut bytes);
        assert_eq!(bytes, [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
        let first = |seed, of| stream(seed, of).next_u64();
        assert!(first(0, 0) != first(0, 1) && first(0, 0) != first(1, 0) && first(0, 1) != first(0, 2));
    }
}

//! Random numbers for names that nobody else uses.

/// Returns 64 bits that nobody can guess, from the random number generator of the kernel.
pub(super) fn u64() -> u64 {
    getrandom::u64().expect("the kernel has random numbers")
}

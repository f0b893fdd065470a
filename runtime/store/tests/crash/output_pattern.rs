//! Output that says where it belongs, so that a reader can check every byte.

use capstan_engine::job_store::Lease;

/// Returns the bytes of the output of an attempt from `position` on.
pub(crate) fn bytes(lease: Lease, position: u64, length: usize) -> Vec<u8> {
    let seed =
        lease.job.to_hex()[24..].iter().fold(u64::from(lease.attempt), |sum, digit| sum * 31 + u64::from(*digit));
    (position..)
        .take(length)
        .map(|position| ((seed ^ position).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

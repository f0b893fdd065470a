//! [`suffix`]: tells the code of a snapshot from other code of the same program.

use capstan_core::snapshot::{Snapshot, SnapshotRandom};
use sha2::{Digest as _, Sha256};

/// Changes whenever the same program and settings get another image.
const REVISION: u32 = 1;

/// Returns what follows the fingerprint of the engine in that of a snapshot that was initialised with `settings` under the program name `argv0`.
pub(super) fn suffix(settings: &Snapshot, argv0: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(REVISION.to_le_bytes());
    hasher.update([u8::from(settings.random == SnapshotRandom::Once)]);
    for arg in [argv0].into_iter().chain(settings.args.iter().map(String::as_str)) {
        hasher.update((arg.len() as u64).to_le_bytes());
        hasher.update(arg);
    }
    let hash: String = hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("+snapshot-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_depends_on_every_setting() {
        let settings =
            |args: &[&str], random| Snapshot { args: args.iter().map(ToString::to_string).collect(), random };
        let all = [
            (settings(&[], SnapshotRandom::Refused), "p"),
            (settings(&[], SnapshotRandom::Refused), "q"),
            (settings(&[], SnapshotRandom::Once), "p"),
            (settings(&["a", "b"], SnapshotRandom::Refused), "p"),
            (settings(&["ab"], SnapshotRandom::Refused), "p"),
        ];
        let fingerprints: std::collections::BTreeSet<_> =
            all.iter().map(|(settings, argv0)| suffix(settings, argv0)).collect();
        assert_eq!(fingerprints.len(), all.len());
        assert!(fingerprints.iter().all(|fingerprint| fingerprint.starts_with("+snapshot-")));
    }
}

//! Capabilities: the pieces that the rights of root are in.

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Gives up all capabilities but those of `kept`, for this process and for what it executes.
pub(super) fn keep(kept: CapabilitySet) -> rustix::io::Result<()> {
    let had = rustix::thread::capabilities(None)?;
    let left = CapabilitySets {
        effective: had.effective & kept,
        permitted: had.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    // Who has none is not asked to give them up: a filter of whoever started it may not let it.
    if had == left {
        return Ok(());
    }
    if had.effective.contains(CapabilitySet::SETPCAP) {
        for (_, capability) in (!kept).iter_names() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // This kernel does not know it.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(None, left)
}

/// The names of those that this thread has.
pub(super) fn left() -> Vec<String> {
    let permitted = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |had| had.permitted);
    permitted.iter_names().map(|(name, _)| name.to_owned()).collect()
}

//! Capabilities: the parts into which Linux divides the rights of root.

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Gives up all capabilities except `retained`, for this thread and for the programs that it executes.
pub(super) fn retain(retained: CapabilitySet) -> rustix::io::Result<()> {
    let current = rustix::thread::capabilities(None)?;
    let reduced = CapabilitySets {
        effective: current.effective & retained,
        permitted: current.permitted & retained,
        inheritable: CapabilitySet::empty(),
    };
    // Makes no further system calls if there is nothing to give up: a seccomp filter of the parent process may block them.
    if current == reduced {
        return Ok(());
    }
    if current.effective.contains(CapabilitySet::SETPCAP) {
        for (_, capability) in (!retained).iter_names() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // EINVAL: this kernel does not know the capability.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(None, reduced)
}

/// Returns the names of the capabilities of this thread.
pub(super) fn remaining() -> Vec<String> {
    let permitted = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |current| current.permitted);
    permitted.iter_names().map(|(name, _)| name.to_owned()).collect()
}

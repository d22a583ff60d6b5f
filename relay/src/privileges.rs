//! Privileges: what a thread of the relay keeps of those that its process began with.
//!
//! What needs a privilege (rings, programs, low ports) is opened before the threads begin. A thread
//! that has none can't be made to use one.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Kernels before 5.19 ask for it with each port that the XDP program is told of.
pub(crate) const STEERING: CapabilitySet = CapabilitySet::BPF;
/// For whoever has sockets, or answers and files alone.
pub(crate) const NONE: CapabilitySet = CapabilitySet::empty();

/// The calling thread gives up all capabilities(7) but `keep`, for good.
pub(crate) fn keep_only(keep: CapabilitySet) {
    let kept = capabilities(None).and_then(|had| {
        let left = had.permitted & keep;
        let inheritable = CapabilitySet::empty();
        let sets = CapabilitySets { effective: left, permitted: left, inheritable };
        // A sandbox around the process may forbid the call; who has nothing needs none.
        if sets == had { Ok(()) } else { set_capabilities(None, sets) }
    });
    if let Err(error) = kept {
        tracing::warn!(%error, "a thread keeps the privileges of its process");
    }
}

#[cfg(test)]
mod tests {
    use super::{CapabilitySet, NONE, STEERING, capabilities, keep_only};

    #[test]
    fn a_thread_keeps_what_it_had_of_what_it_needs_and_no_other_thread_loses_any() {
        let had = capabilities(None).unwrap();
        for keep in [STEERING, NONE] {
            let left = std::thread::spawn(move || {
                keep_only(keep);
                capabilities(None).unwrap()
            });
            let left = left.join().unwrap();
            assert_eq!((left.permitted, left.effective), (had.permitted & keep, left.permitted));
            assert_eq!(left.inheritable, CapabilitySet::empty());
        }
        assert_eq!(capabilities(None).unwrap(), had);
    }
}

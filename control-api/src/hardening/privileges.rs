//! Privileges: who may run a relay, its capabilities and its limits.

use rustix::io;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::Needs;

/// What opening rings asks for: `CAP_IPC_LOCK` for their memory, `CAP_PERFMON` for the program's
/// pointers on some kernels; a process that has the other three alone gets them too.
const RINGS: CapabilitySet = CapabilitySet::NET_RAW
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::IPC_LOCK);

/// The process is the superuser's, and nobody said that this is meant.
#[derive(Debug, thiserror::Error)]
#[error(
    "sotto serve runs as root, which it never needs: run it as a user of its own (docs/production.md), \
     or say --allow-root"
)]
pub struct AsRoot;

/// Lets pass who is not root, or may be.
///
/// # Errors
/// [`AsRoot`].
pub fn check_user(may_be_root: bool) -> Result<(), AsRoot> {
    if geteuid().is_root() && !may_be_root { Err(AsRoot) } else { Ok(()) }
}

/// Raises the soft limits of descriptors and locked memory to the hard ones: a call takes four
/// descriptors, a secure session locked pages. Who may raise the hard one of memory does, since the
/// right to lock without a limit is given up.
pub(super) fn raise_limits() {
    let files = getrlimit(Resource::Nofile).maximum;
    // What can't be raised stays, and `sotto check` says whether it is enough.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files });
    let unlimited = Rlimit { current: None, maximum: None };
    if setrlimit(Resource::Memlock, unlimited).is_err() {
        let memory = getrlimit(Resource::Memlock).maximum;
        let _ = setrlimit(Resource::Memlock, Rlimit { current: memory, maximum: memory });
    }
}

/// Gives up all capabilities but those that sockets and rings are opened by.
pub(super) fn keep_for_start(needs: &Needs) -> io::Result<()> {
    let mut keep = CapabilitySet::empty();
    if needs.low_ports {
        keep |= CapabilitySet::NET_BIND_SERVICE;
    }
    if needs.rings {
        keep |= RINGS;
    }
    let had = capabilities(None)?.permitted;
    // A file's capabilities are no way back either; who may not shrink that set can't use it.
    if had.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter().filter(|it| !it.is_empty()) {
            // The kernel may know fewer of them.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    let _ = clear_ambient_capability_set();
    set(had & keep)
}

/// The calling thread gives up all capabilities that it has.
///
/// # Errors
/// The system's; they are kept then.
pub fn give_up_all() -> io::Result<()> {
    set(CapabilitySet::empty())
}

fn set(left: CapabilitySet) -> io::Result<()> {
    let inheritable = CapabilitySet::empty();
    let sets = CapabilitySets { effective: left, permitted: left, inheritable };
    // A sandbox around the process may forbid the call; who has nothing needs none.
    if capabilities(None)? == sets { Ok(()) } else { set_capabilities(None, sets) }
}

//! Syscalls: the system calls that a relay never makes, denied for good.
//!
//! They answer `EPERM`: whoever takes the process over starts no program, reads no other process,
//! mounts nothing and loads nothing into the kernel. What a relay needs is not listed: libraries
//! change what they call, and a list that is too short ends calls.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, apply_filter_all_threads,
};

/// What is denied on every machine.
const DENIED: &[i64] = &[
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_setns,
    libc::SYS_unshare,
    // File systems.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // The kernel.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_personality,
    // Its keyrings.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // What others have attacked kernels by, and nobody here uses.
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // The machine's clock and name.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// What other machines don't have.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[i64] = &[libc::SYS_kexec_file_load];

/// The second way to make a call on x86-64 (x32): this bit, and for these calls other numbers.
#[cfg(target_arch = "x86_64")]
const X32_BIT: i64 = 0x4000_0000;
/// execve, ptrace, kexec_load, process_vm_readv, process_vm_writev and execveat there.
#[cfg(target_arch = "x86_64")]
const X32_DENIED: &[i64] = &[520, 521, 528, 539, 540, 545];

/// Commands of bpf(2) that look up, change and walk through a map that is open already.
const MAP_COMMANDS: std::ops::RangeInclusive<u64> = 1..=4;

/// Why the filter is not in force.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// There is none for this machine.
    #[error("no filter for this machine: {0}")]
    Backend(#[from] BackendError),
    /// The kernel refused it.
    #[error("the kernel takes no filter: {0}")]
    Refused(#[from] seccompiler::Error),
}

/// Denies the calls for the calling thread and all that it begins. Programs may be loaded into the
/// kernel until [`deny_programs`] if there may be rings.
///
/// # Errors
/// If the kernel takes no filter.
pub fn deny(rings: bool) -> Result<(), FilterError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        every_number().map(|number| (number, Vec::new())).collect();
    // A process of its own is begun by `clone` without the flag that makes a thread.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![rule(SeccompCmpOp::MaskedEq(thread), 0)?]);
    if !rings {
        rules.insert(libc::SYS_bpf, Vec::new());
    }
    apply_filter(&program(rules, libc::EPERM)?)?;
    // Its flags lie in memory, where a filter can't look: C libraries then take `clone`.
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(apply_filter(&program(rules, libc::ENOSYS)?)?)
}

/// Denies, for all threads, whatever loads a program into the kernel; which ports the one that is
/// loaded steers may still be said.
///
/// # Errors
/// If the kernel takes no filter.
pub fn deny_programs() -> Result<(), FilterError> {
    let (first, last) = (*MAP_COMMANDS.start(), *MAP_COMMANDS.end());
    let rules = vec![rule(SeccompCmpOp::Lt, first)?, rule(SeccompCmpOp::Gt, last)?];
    let rules = BTreeMap::from([(libc::SYS_bpf, rules)]);
    Ok(apply_filter_all_threads(&program(rules, libc::EPERM)?)?)
}

#[cfg(target_arch = "x86_64")]
fn every_number() -> impl Iterator<Item = i64> {
    let numbers = || DENIED.iter().chain(DENIED_HERE);
    let other_way = numbers().chain(X32_DENIED).map(|number| number | X32_BIT);
    numbers().copied().chain(other_way)
}

#[cfg(not(target_arch = "x86_64"))]
fn every_number() -> impl Iterator<Item = i64> {
    DENIED.iter().chain(DENIED_HERE).copied()
}

/// About a call's first argument.
fn rule(compared: SeccompCmpOp, with: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, compared, with)?])
}

/// All calls but those of `rules` are allowed.
fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, BackendError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    let denied = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, denied, machine)?.try_into()
}

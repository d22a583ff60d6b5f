//! Core dumps: how a process gives them up.

use std::io;

/// Forbids this process to leave a core dump, for good.
///
/// Sets `RLIMIT_CORE` to zero, soft and hard (setrlimit(2)), and clears the dumpable attribute
/// (prctl(2), `PR_SET_DUMPABLE`), which also bars `ptrace` by other processes of the same user.
/// Children inherit the limit.
///
/// # Errors
/// The system's error if either is refused; a caller that handles secrets does not go on then.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: setrlimit reads the struct it is given, which lives until the call is over.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let not_dumpable: libc::c_ulong = 0;
    // SAFETY: PR_SET_DUMPABLE takes one integer and touches no memory of ours.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, not_dumpable) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::forbid_core_dumps;
    use crate::testing::in_child_process;

    #[test]
    fn a_process_that_forbids_core_dumps_can_leave_none() {
        in_child_process(
            "core_dump::tests::a_process_that_forbids_core_dumps_can_leave_none",
            || {
                assert_eq!(dumpable(), 1, "the control: a process is dumpable unless it says no");
                forbid_core_dumps().unwrap();
                assert_eq!(dumpable(), 0);
                assert_eq!(core_limits(), (0, 0));
            },
        );
    }

    fn dumpable() -> libc::c_int {
        // SAFETY: PR_GET_DUMPABLE takes and touches nothing.
        unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }
    }

    fn core_limits() -> (libc::rlim_t, libc::rlim_t) {
        let mut limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        // SAFETY: getrlimit writes the struct it is given, which outlives the call.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) }, 0);
        (limit.rlim_cur, limit.rlim_max)
    }
}

//! Hardening: what the process gives up, so that whoever takes it over has little.
//!
//! [`Hardening::begin`] comes before there is a second thread, so that every thread has what it
//! leaves; [`Hardening::complete`] comes once all sockets are bound. What the kernel has not is
//! told in one line, and no reason not to start.

use std::fmt;

pub mod files;
pub mod privileges;
pub mod syscalls;

pub use files::Reach;
pub use privileges::AsRoot;

/// What a relay needs of the system while it starts.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// A listener's port is below 1024.
    pub low_ports: bool,
    /// Media may come and go by rings.
    pub rings: bool,
    /// What it reads and writes.
    pub reach: Reach,
}

/// How much of one measure is in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InForce {
    /// All of it.
    Whole,
    /// What this kernel has of it.
    Partly,
    /// Nothing.
    No,
}

impl InForce {
    /// The word for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            InForce::Whole => "whole",
            InForce::Partly => "partly",
            InForce::No => "no",
        }
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is in force so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hardening {
    /// No core dumps, and no debugger of the same user.
    pub core_dumps: InForce,
    /// Nothing that is executed gives privileges.
    pub no_new_privileges: InForce,
    /// Files, by Landlock.
    pub files: InForce,
    /// System calls, by seccomp.
    pub calls: InForce,
    /// Capabilities are given up.
    pub privileges: InForce,
    rings: bool,
}

impl Hardening {
    /// Gives up what the process needs neither to start nor to run. There must be one thread only.
    #[must_use]
    pub fn begin(needs: &Needs) -> Hardening {
        privileges::raise_limits();
        let done = |good: bool| if good { InForce::Whole } else { InForce::No };
        let core_dumps = done(locked_page::forbid_core_dumps().is_ok());
        let privileges = done(privileges::keep_for_start(needs).is_ok());
        let no_new_privileges = done(rustix::thread::set_no_new_privs(true).is_ok());
        let files = files::enclose(&needs.reach);
        // Behind the files: opening them takes calls that are denied then.
        let calls = done(syscalls::deny(needs.rings).is_ok());
        Hardening { core_dumps, no_new_privileges, files, calls, privileges, rings: needs.rings }
    }

    /// All sockets are bound: the calling thread gives up the rest of its capabilities, and no
    /// thread loads a program into the kernel any more. Threads of the relay and of the runtime
    /// have given theirs up when they began.
    #[must_use]
    pub fn complete(self) -> Hardening {
        let mut hardening = self;
        if privileges::give_up_all().is_err() {
            hardening.privileges = InForce::No;
        }
        if self.rings && syscalls::deny_programs().is_err() {
            hardening.calls = InForce::Partly;
        }
        hardening
    }

    /// One line about it.
    pub fn log(&self) {
        tracing::info!(
            core_dumps_forbidden = %self.core_dumps,
            no_new_privileges = %self.no_new_privileges,
            files_by_landlock = %self.files,
            calls_by_seccomp = %self.calls,
            capabilities_dropped = %self.privileges,
            "the process has given up what it doesn't need"
        );
    }
}

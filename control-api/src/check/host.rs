//! Host: the kernel, and what it lets others see.

use super::facts::SecretMemory;
use super::{Check, Facts, Finding, Level};

pub(super) const CHECKS: &[Check] = &[
    ("kernel", kernel),
    ("landlock", landlock),
    ("seccomp", seccomp),
    ("secret-memory", secret_memory),
    ("swap", swap),
    ("core-pattern", core_pattern),
    ("suid-dumpable", suid_dumpable),
    ("ptrace", ptrace),
    ("address-layout", address_layout),
    ("unprivileged-bpf", unprivileged_bpf),
    ("clock", clock),
    ("time-zone", time_zone),
];

/// The first with `memfd_secret` and Landlock both.
const GOOD_KERNEL: (u32, u32) = (5, 14);
/// As `sysctl` has it: the kernel places a process's memory at random, its heap too.
const RANDOM_LAYOUT: i64 = 2;

fn kernel(facts: &Facts) -> Finding {
    let (major, minor) = facts.machine.kernel;
    if (major, minor) < GOOD_KERNEL {
        return Finding::warn(
            format!("Linux {major}.{minor}"),
            "take 5.14 or newer: it has secret memory and Landlock",
        );
    }
    Finding::pass(format!("Linux {major}.{minor}"))
}

fn landlock(facts: &Facts) -> Finding {
    match facts.machine.landlock {
        Some(version) => Finding::pass(format!("files are enclosed by Landlock {version}")),
        None => Finding::warn(
            "there is no Landlock: a relay that is taken over reads what its user may",
            "take a kernel with it, and landlock among the names of its lsm= parameter",
        ),
    }
}

fn seccomp(facts: &Facts) -> Finding {
    if facts.machine.seccomp {
        return Finding::pass("system calls are filtered");
    }
    Finding::warn(
        "system calls can't be filtered: a relay that is taken over may start programs",
        "take a kernel with CONFIG_SECCOMP_FILTER",
    )
}

fn secret_memory(facts: &Facts) -> Finding {
    match facts.machine.secret_memory {
        SecretMemory::Secret => {
            Finding::pass("what is keyed lies in memory unmapped from the kernel")
        }
        SecretMemory::Locked => Finding::warn(
            "what is keyed lies in locked memory, which root can read",
            "boot with secretmem.enable=1, on Linux 5.14 or newer",
        ),
        SecretMemory::None => Finding::fail(
            "no memory can be locked: no secure session can be entered",
            "say LimitMEMLOCK=infinity in the unit",
        ),
    }
}

fn swap(facts: &Facts) -> Finding {
    let plain = facts.machine.swaps.iter().filter(|swap| !swap.is_protected);
    let plain: Vec<String> = plain.map(|swap| format!("{} is not encrypted", swap.name)).collect();
    Finding::unless(
        &plain,
        Level::Warn,
        "nothing is swapped out in clear",
        "swapoff, or encrypt it: locked pages never go there, the sound of an open call may",
    )
}

fn core_pattern(facts: &Facts) -> Finding {
    let pattern = facts.machine.sysctl.get("kernel.core_pattern").map_or("", String::as_str);
    if pattern.starts_with('|') {
        return Finding::warn(
            "core dumps of this machine go to a program, whatever the limit of a process",
            "a relay forbids its own; set kernel.core_pattern to a file name to be sure of others",
        );
    }
    Finding::pass("no program is handed core dumps")
}

fn suid_dumpable(facts: &Facts) -> Finding {
    match facts.sysctl("fs.suid_dumpable") {
        Some(0) | None => Finding::pass("processes that gave up privileges are not dumped"),
        Some(_) => Finding::warn(
            "the kernel dumps processes that have given up privileges",
            "set fs.suid_dumpable = 0",
        ),
    }
}

fn ptrace(facts: &Facts) -> Finding {
    match facts.sysctl("kernel.yama.ptrace_scope") {
        Some(scope) if scope > 0 => Finding::pass("processes of a user don't trace each other"),
        Some(_) | None => Finding::warn(
            "processes of a user may trace each other",
            "set kernel.yama.ptrace_scope = 1; a relay forbids it for itself once it has started",
        ),
    }
}

fn address_layout(facts: &Facts) -> Finding {
    match facts.sysctl("kernel.randomize_va_space") {
        Some(layout) if layout < RANDOM_LAYOUT => {
            Finding::warn(format!("kernel.randomize_va_space is {layout}"), "set it to 2")
        }
        Some(_) | None => Finding::pass("memory is laid out at random"),
    }
}

fn unprivileged_bpf(facts: &Facts) -> Finding {
    match facts.sysctl("kernel.unprivileged_bpf_disabled") {
        Some(0) => Finding::warn(
            "anybody may load programs into the kernel",
            "set kernel.unprivileged_bpf_disabled = 2",
        ),
        Some(_) | None => Finding::pass("programs are loaded into the kernel by privilege alone"),
    }
}

fn clock(facts: &Facts) -> Finding {
    match facts.machine.clock_is_kept {
        Some(true) => Finding::pass("the clock is synchronised"),
        Some(false) => Finding::warn(
            "nobody keeps the clock: certificates, keys and expiry dates depend on it",
            "run systemd-timesyncd or chrony",
        ),
        None => Finding::skipped("the kernel does not tell of its clock here"),
    }
}

fn time_zone(facts: &Facts) -> Finding {
    let is_utc =
        |zone: &&str| ["UTC", "Etc/UTC", "Universal", "Etc/Universal", "UCT"].contains(zone);
    match facts.machine.time_zone.as_deref() {
        Some(zone) if !is_utc(&zone) => Finding::warn(
            format!("the machine's zone is {zone}; logs, events and recordings tell UTC"),
            "timedatectl set-timezone UTC",
        ),
        Some(_) | None => Finding::pass("all times are UTC"),
    }
}

//! Machine: the kernel, its settings and this process, as /proc tells of them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use locked_page::{Locked, Protection};
use rustix::process::{Resource, geteuid, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::facts::{Kept, Machine, Process, SecretMemory, Swap};
use crate::hardening::files;

/// The settings that are looked at.
const SYSCTLS: &[&str] = &[
    "fs.suid_dumpable",
    "kernel.core_pattern",
    "kernel.randomize_va_space",
    "kernel.unprivileged_bpf_disabled",
    "kernel.yama.ptrace_scope",
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv6.conf.all.disable_ipv6",
];

impl Machine {
    /// This one.
    #[must_use]
    pub fn gather() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            kernel: version(&read("/proc/sys/kernel/osrelease")),
            sysctl: sysctls(),
            addresses: [v4(&read("/proc/net/fib_trie")), v6(&read("/proc/net/if_inet6"))].concat(),
            swaps: swaps(&read("/proc/swaps")),
            landlock: files::available(),
            seccomp: read("/proc/sys/kernel/seccomp/actions_avail").contains("errno"),
            secret_memory: secret_memory(),
            clock_is_kept: locked_page::clock_is_synchronised().ok(),
            time_zone: time_zone(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Process {
    /// This one.
    #[must_use]
    pub fn gather() -> Process {
        let had = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
        let program = std::env::current_exe().ok().and_then(|path| kept(&path).ok());
        Process {
            user: geteuid().as_raw(),
            net_raw: had.contains(CapabilitySet::NET_RAW),
            net_admin: had.contains(CapabilitySet::NET_ADMIN),
            bpf: had.contains(CapabilitySet::BPF),
            low_ports: had.contains(CapabilitySet::NET_BIND_SERVICE),
            // `serve` raises the soft limits to the hard ones.
            descriptors: getrlimit(Resource::Nofile).maximum,
            locked: getrlimit(Resource::Memlock).maximum,
            log_filter: std::env::var("RUST_LOG").ok(),
            is_sabotaged: cfg!(feature = "sabotage"),
            is_debug: cfg!(debug_assertions),
            program,
        }
    }
}

/// How a file is kept.
///
/// # Errors
/// What the system says, without the file's name.
pub(super) fn kept(path: &Path) -> Result<Kept, String> {
    let metadata = fs::metadata(path).map_err(|error| error.kind().to_string())?;
    Ok(Kept { mode: metadata.mode() & 0o7777, owner: metadata.uid() })
}

fn sysctls() -> BTreeMap<&'static str, String> {
    let read = |name: &&'static str| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        Some((*name, fs::read_to_string(path).ok()?.trim().to_owned()))
    };
    SYSCTLS.iter().filter_map(read).collect()
}

/// Of a release such as `6.1.0-25-amd64`; nothing that is read means a very old one.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next())
}

/// The addresses of this machine in the routing table of the kernel.
fn v4(trie: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in trie.lines().map(str::trim) {
        match line.strip_prefix("|-- ") {
            Some(address) => last = address.parse::<Ipv4Addr>().ok(),
            None if line == "/32 host LOCAL" => found.extend(last.map(IpAddr::V4)),
            None => {}
        }
    }
    found.sort();
    found.dedup();
    found
}

fn v6(table: &str) -> Vec<IpAddr> {
    let address = |line: &str| u128::from_str_radix(line.split(' ').next()?, 16).ok();
    table.lines().filter_map(address).map(|bits| IpAddr::V6(Ipv6Addr::from(bits))).collect()
}

fn swaps(table: &str) -> Vec<Swap> {
    let names = table.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names.map(|name| Swap { name: name.to_owned(), is_protected: is_protected(name) }).collect()
}

/// Compressed memory, or a device that encrypts what is written.
fn is_protected(name: &str) -> bool {
    let real = fs::canonicalize(name).unwrap_or_else(|_| Path::new(name).to_owned());
    let device = real.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mapping = fs::read_to_string(format!("/sys/block/{device}/dm/uuid")).unwrap_or_default();
    device.starts_with("zram") || mapping.starts_with("CRYPT-")
}

fn secret_memory() -> SecretMemory {
    match Locked::new(|| 0_u8).map(|page| page.protection()) {
        Ok(Protection::Secret) => SecretMemory::Secret,
        Ok(Protection::Locked) => SecretMemory::Locked,
        Err(_) => SecretMemory::None,
    }
}

fn time_zone() -> Option<String> {
    if let Some(said) = std::env::var("TZ").ok().filter(|it| !it.is_empty()) {
        return Some(said);
    }
    let file = fs::canonicalize("/etc/localtime").ok()?;
    let path = file.to_str()?;
    Some(path.rsplit_once("zoneinfo/").map_or(path, |(_, zone)| zone).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{swaps, v4, v6, version};

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!((version("6.1.0-25-amd64"), version("")), ((6, 1), (0, 0)));
        let trie = "+-- 0.0.0.0/0\n |-- 10.0.0.7\n   /32 host LOCAL\n |-- 10.0.0.255\n   /32 link \
                    BROADCAST\n |-- 10.0.0.7\n   /32 host LOCAL\n";
        assert_eq!(v4(trie), ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()]);
        let table = "fd000000000000000000000000000002 04 40 00 82     eth0\n";
        assert_eq!(v6(table), ["fd00::2".parse::<std::net::IpAddr>().unwrap()]);
        let table = "Filename Type Size\n/dev/zram0 partition 1\n/nowhere/swap file 1\n";
        let found: Vec<bool> = swaps(table).iter().map(|swap| swap.is_protected).collect();
        assert_eq!(found, [true, false]);
    }

    #[test]
    fn this_machine_has_an_address_and_a_kernel() {
        let machine = super::Machine::gather();
        assert!(machine.addresses.contains(&"127.0.0.1".parse().unwrap()), "{machine:?}");
        assert!(machine.kernel.0 > 2 && machine.cores > 0, "{machine:?}");
    }
}

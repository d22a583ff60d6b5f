//! Facts: all that the checks look at, gathered once. A value: a test makes its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::RawConfig;
use crate::named_files::Content;

/// What is known of a set-up.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The configuration, with every default written out.
    pub config: RawConfig,
    /// The configuration's own file and those that it names.
    pub files: Vec<FileFacts>,
    /// The state directory.
    pub state: FolderFacts,
    /// Where recordings are kept, if any are.
    pub recordings: Option<FolderFacts>,
    /// The audit log, if one is kept.
    pub audit: Option<AuditFacts>,
    /// Certificates of ours, and of authorities.
    pub certificates: Vec<CertificateFacts>,
    /// The API's keys, or why they can't be read.
    pub keys: Result<Vec<KeyFacts>, String>,
    /// What is wrong with the prompts, a line each.
    pub prompt_faults: Vec<String>,
    /// What is wrong with the named plans or what they need, if something is.
    pub plan_fault: Option<String>,
    /// The machine.
    pub machine: Machine,
    /// The process that a relay would be: this one's user, and this program.
    pub process: Process,
    /// Seconds since 1970.
    pub now: u64,
}

/// How a file or a folder is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its mode, without the kind of file.
    pub mode: u32,
    /// Its owner.
    pub owner: u32,
}

impl Kept {
    /// Others than the owner may read or change it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        self.mode & 0o077 != 0
    }

    /// Others than the owner may change it; in a folder with the sticky bit they may not.
    #[must_use]
    pub const fn is_changeable(self) -> bool {
        self.mode & 0o022 != 0 && self.mode & 0o1000 == 0
    }
}

/// A file that a configuration names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileFacts {
    /// The member that names it; `--config` for the configuration itself.
    pub member: String,
    /// Where it is.
    pub path: PathBuf,
    /// What is in it; `None` for the configuration itself.
    pub content: Option<Content>,
    /// How it is kept, or why that can't be told.
    pub kept: Result<Kept, String>,
    /// How the folder is kept that it lies in.
    pub folder: Option<Kept>,
    /// Whether this user may read it.
    pub is_readable: bool,
    /// Whether it is a secret that somebody could guess: short, or a word of examples.
    pub is_weak: bool,
}

/// A folder that the relay writes into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FolderFacts {
    /// Where it is.
    pub path: PathBuf,
    /// How it is kept, or why that can't be told.
    pub kept: Result<Kept, String>,
    /// Whether this user may write there.
    pub is_writable: bool,
    /// Octets free for this user, and all there are.
    pub space: Option<(u64, u64)>,
    /// It is in memory, and gone with a restart of the machine.
    pub is_memory: bool,
}

/// The audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditFacts {
    /// Where it is.
    pub folder: FolderFacts,
    /// When something in it was last written, in seconds since 1970.
    pub newest: Option<u64>,
    /// When its anchor was.
    pub anchored: Option<u64>,
}

/// A certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFacts {
    /// The member that names it.
    pub member: String,
    /// From when and until when it is valid, in seconds since 1970, or why it can't be read.
    pub valid: Result<(u64, u64), String>,
    /// Whether the key that is named beside it is its own; nothing if there is none to be.
    pub matches_key: Option<bool>,
}

/// A key of the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFacts {
    /// Its public id.
    pub id: String,
    /// It may do what operators do.
    pub is_operator: bool,
    /// When it was made, in seconds since 1970.
    pub created: Option<u64>,
    /// When it ends, if it does.
    pub expires: Option<u64>,
}

/// How memory is kept for what callers key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretMemory {
    /// Unmapped from the kernel too.
    Secret,
    /// Locked.
    Locked,
    /// Neither: there are no secure sessions.
    None,
}

/// A swap space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Swap {
    /// Its device or file.
    pub name: String,
    /// It is in memory, or encrypted.
    pub is_protected: bool,
}

/// The machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
    /// Settings of the kernel, by the names of sysctl(8); those that it has.
    pub sysctl: BTreeMap<&'static str, String>,
    /// Addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// Swap spaces in use.
    pub swaps: Vec<Swap>,
    /// The version of Landlock.
    pub landlock: Option<i32>,
    /// System calls can be filtered.
    pub seccomp: bool,
    /// What memory can be had.
    pub secret_memory: SecretMemory,
    /// Somebody keeps the clock; nothing if the kernel does not say.
    pub clock_is_kept: Option<bool>,
    /// The time zone, as its file is called.
    pub time_zone: Option<String>,
    /// Processors.
    pub cores: usize,
}

/// The process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// The user.
    pub user: u32,
    /// `CAP_NET_RAW`.
    pub net_raw: bool,
    /// `CAP_NET_ADMIN`.
    pub net_admin: bool,
    /// `CAP_BPF`.
    pub bpf: bool,
    /// `CAP_NET_BIND_SERVICE`.
    pub low_ports: bool,
    /// Descriptors that it may have; nothing for no limit.
    pub descriptors: Option<u64>,
    /// Octets that it may lock; nothing for no limit.
    pub locked: Option<u64>,
    /// `RUST_LOG`.
    pub log_filter: Option<String>,
    /// A protection can be broken by a flag.
    pub is_sabotaged: bool,
    /// Built without optimisation.
    pub is_debug: bool,
    /// How the program's file is kept.
    pub program: Option<Kept>,
}

impl Facts {
    /// A setting of the kernel as a number.
    #[must_use]
    pub fn sysctl(&self, name: &str) -> Option<i64> {
        self.machine.sysctl.get(name)?.trim().parse().ok()
    }

    /// First and last media port.
    #[must_use]
    pub fn media_ports(&self) -> Option<(u16, u16)> {
        let (first, last) = self.config.media.ports.as_deref()?.split_once('-')?;
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
    }

    /// Addresses for media.
    #[must_use]
    pub fn media_addresses(&self) -> Vec<IpAddr> {
        addresses(self.config.media.addresses.as_deref())
    }

    /// What callers are told in their place.
    #[must_use]
    pub fn advertised(&self) -> Vec<IpAddr> {
        addresses(self.config.media.advertised.as_deref())
    }
}

fn addresses(typed: Option<&[String]>) -> Vec<IpAddr> {
    typed.unwrap_or_default().iter().filter_map(|text| text.parse().ok()).collect()
}

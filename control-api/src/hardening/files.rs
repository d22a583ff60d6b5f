//! Files: which ones a relay may open, by Landlock.
//!
//! It writes below its state directory and its recordings, and reads what its configuration names
//! and what the system's resolver and TLS need. Files that are replaced while it runs are new ones
//! to the kernel, so the folders that they lie in are opened, not the files; a folder that the whole
//! system shares is not, so what lies right in there is read as it was at the start.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::InForce;

/// The newest version of Landlock whose rights are asked for; older kernels give what they have.
const NEWEST: ABI = ABI::V6;

/// Folders with much that is none of a relay's business.
const SHARED: &[&str] = &[
    "/",
    "/dev",
    "/etc",
    "/home",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local",
    "/usr/local/etc",
    "/var",
    "/var/lib",
    "/var/run",
    "/var/tmp",
];

/// What the C library, TLS and the loader of the XDP program read while a relay runs.
const SYSTEM: &[&str] = &[
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/lib",
    "/lib64",
    "/proc/self",
    "/proc/stat",
    "/proc/sys",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/btf",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
];

/// What a relay reads and writes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reach {
    /// Files and folders that are read.
    pub read: Vec<PathBuf>,
    /// Folders below which it reads, writes and removes; they are made if they are not there.
    pub write: Vec<PathBuf>,
}

/// How much of Landlock this kernel has: the version, or none. It is tried by a thread that ends.
#[must_use]
pub fn available() -> Option<i32> {
    let tried = std::thread::spawn(|| {
        let status = rules(&Reach::default()).and_then(RulesetCreated::restrict_self);
        let LandlockStatus::Available { effective_abi, kernel_abi } = status.ok()?.landlock else {
            return None;
        };
        Some(kernel_abi.unwrap_or(effective_abi as i32))
    });
    tried.join().ok().flatten()
}

/// Encloses the calling thread and all that it begins.
#[must_use]
pub fn enclose(reach: &Reach) -> InForce {
    for folder in &reach.write {
        // Where this fails the start does, too, and says why.
        let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    }
    match rules(reach).and_then(RulesetCreated::restrict_self) {
        Ok(status) => match status.ruleset {
            RulesetStatus::FullyEnforced => InForce::Whole,
            RulesetStatus::PartiallyEnforced => InForce::Partly,
            RulesetStatus::NotEnforced => InForce::No,
        },
        Err(_) => InForce::No,
    }
}

fn rules(reach: &Reach) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let opened = reach.read.iter().flat_map(|path| around(path));
    let read_only: BTreeSet<PathBuf> = opened.chain(SYSTEM.iter().map(PathBuf::from)).collect();
    for path in &read_only {
        ruleset = open(ruleset, path, read)?;
    }
    ruleset = open(ruleset, Path::new("/dev/null"), AccessFs::WriteFile.into())?;
    for folder in &reach.write {
        ruleset = open(ruleset, folder, read | writing())?;
    }
    Ok(ruleset)
}

fn writing() -> BitFlags<AccessFs> {
    AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

/// Opens what is there; a file is given no rights of folders.
fn open(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(ruleset) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    ruleset.add_rule(PathBeneath::new(opened, access))
}

/// A folder itself; of a file the folders that it lies in, as it is written and as links lead, or
/// the file alone where those are shared.
fn around(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        return vec![path.to_owned()];
    }
    let real = fs::canonicalize(path).ok();
    let written = std::path::absolute(path).ok();
    let place = |path: &PathBuf| {
        let folder = path.parent().filter(|folder| !is_shared(folder));
        folder.unwrap_or(path).to_owned()
    };
    written.iter().chain(&real).map(place).collect()
}

/// Whether much lies in there that is none of a relay's business.
pub(crate) fn is_shared(folder: &Path) -> bool {
    let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let is_home = std::env::var_os("HOME").is_some_and(|home| Path::new(&home) == real);
    is_home || SHARED.iter().any(|shared| real == Path::new(shared))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::around;

    #[test]
    fn the_folder_of_a_file_is_opened_unless_the_system_shares_it() {
        let places = |path: &str| around(Path::new(path));
        assert_eq!(places("/etc/sotto/keys.json"), [PathBuf::from("/etc/sotto")]);
        assert_eq!(places("/etc/sotto.toml"), [PathBuf::from("/etc/sotto.toml")]);
        assert_eq!(places("/etc"), [PathBuf::from("/etc")], "a folder that is named is meant");
    }

    #[test]
    fn a_link_opens_both_folders() {
        let folder = std::env::temp_dir().join(format!("sotto-links-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let (live, archive) = (folder.join("live"), folder.join("archive"));
        for made in [&live, &archive] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::fs::write(archive.join("key2.pem"), "").unwrap();
        std::os::unix::fs::symlink(archive.join("key2.pem"), live.join("key.pem")).unwrap();
        let places = around(&live.join("key.pem"));
        let real = std::fs::canonicalize(&archive).unwrap();
        assert_eq!(places, [std::path::absolute(&live).unwrap(), real]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

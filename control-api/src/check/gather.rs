//! Gather: what a configuration and its files tell. Nothing is bound, begun or changed, and of a
//! secret no more is kept than whether it is a weak one.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{Access, access, statfs, statvfs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::facts::{
    AuditFacts, CertificateFacts, Facts, FileFacts, FolderFacts, KeyFacts, Machine, Process,
};
use super::machine::kept;
use crate::audit::config::AuditConfig;
use crate::clock::{self, Timestamp};
use crate::config::{Config, RawConfig};
use crate::keys::{KeyRecord, Scope};
use crate::named_files::{Content, NamedFile, PEPPER};
use crate::outbound::secret_file::FileSecret;
use crate::outbound::tls::{Identity, TlsError};
use crate::serve;

/// A secret that is shorter can be guessed: 16 hexadecimal digits are 64 bits.
const SHORTEST_SECRET: usize = 16;
/// What stands in examples.
const EXAMPLE_WORDS: &[&str] = &["changeme", "example", "password", "secret", "test", "token"];
/// File systems in memory (`linux/magic.h`): tmpfs, ramfs.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

impl Facts {
    /// Those of a configuration as it was typed, the same as it is meant, and this machine.
    #[must_use]
    pub fn gather(typed: &RawConfig, config: &Config, file: Option<&Path>) -> Facts {
        let effective = typed.clone().effective(config);
        let own = file.map(|path| read_file("--config".to_owned(), path, None));
        let named = effective.named_files();
        let files = named.iter().map(|NamedFile { member, path, content }| {
            read_file(member.clone(), path, Some(*content))
        });
        Facts {
            files: own.into_iter().chain(files).collect(),
            state: read_folder(&config.state_dir),
            recordings: config.recordings.as_ref().map(|it| read_folder(&it.directory)),
            audit: config.audit.as_ref().map(read_audit),
            certificates: read_certificates(&named),
            keys: read_keys(config),
            prompt_faults: prompt_faults(config),
            plan_fault: serve::try_plans(config).err().map(|error| error.to_string()),
            machine: Machine::gather(),
            process: Process::gather(),
            now: clock::now().unix_ms() / 1000,
            config: effective,
        }
    }
}

fn read_file(member: String, path: &Path, content: Option<Content>) -> FileFacts {
    let folder = std::path::absolute(path).ok();
    let folder = folder.as_deref().and_then(Path::parent).and_then(|it| kept(it).ok());
    FileFacts {
        is_weak: content == Some(Content::Secret) && is_weak(&member, path),
        kept: kept(path),
        folder,
        is_readable: access(path, Access::READ_OK).is_ok(),
        path: path.to_owned(),
        member,
        content,
    }
}

/// Keys of the API and of recordings are made by us or checked where they are read.
fn is_weak(member: &str, path: &Path) -> bool {
    if ["control.keys", PEPPER, "recordings.key_files"].contains(&member) {
        return false;
    }
    let Ok(secret) = FileSecret::read(path) else { return false };
    let text = secret.reveal();
    let is_guessed = |word: &str| {
        let is_example = EXAMPLE_WORDS.iter().any(|it| word.eq_ignore_ascii_case(it));
        word.len() < SHORTEST_SECRET || is_example
    };
    match member {
        "sip.users_file" => {
            text.lines().filter_map(|line| line.split_once(':')).any(|(_, it)| is_guessed(it))
        }
        _ => !text.starts_with("-----BEGIN ") && is_guessed(text),
    }
}

fn read_folder(path: &Path) -> FolderFacts {
    let there = path.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"));
    let space = statvfs(there).ok();
    let kind = statfs(there).ok();
    FolderFacts {
        path: path.to_owned(),
        kept: kept(path),
        is_writable: access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        space: space.map(|it| (it.f_bavail * it.f_frsize, it.f_blocks * it.f_frsize)),
        is_memory: kind.is_some_and(|it| IN_MEMORY.contains(&it.f_type)),
    }
}

fn read_audit(config: &AuditConfig) -> AuditFacts {
    let entries = std::fs::read_dir(&config.directory).into_iter().flatten().flatten();
    AuditFacts {
        folder: read_folder(&config.directory),
        newest: entries.filter_map(|entry| written(&entry.path())).max(),
        anchored: config.anchor.as_deref().and_then(written),
    }
}

/// When a file was last written, in seconds since 1970.
fn written(path: &Path) -> Option<u64> {
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    modified.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Those that the configuration names, each with the key that is named beside it.
fn read_certificates(named: &[NamedFile]) -> Vec<CertificateFacts> {
    let key_of = |member: &str| {
        let (above, last) = member.rsplit_once('.')?;
        let key = match last {
            "certificate" => format!("{above}.key"),
            "tls_certificate" => format!("{above}.tls_key"),
            "client_cert" => format!("{above}.client_key"),
            _ => return None,
        };
        named.iter().find(|file| file.member == key).map(|file| file.path.clone())
    };
    let public = named.iter().filter(|file| file.content == Content::Public);
    let is_key = |member: &str| member.ends_with("keys.file") || member.ends_with("jwks_file");
    let certificates = public.filter(|file| !is_key(&file.member));
    // One that can't be read is told of as a file.
    let read = |file: &NamedFile| {
        let pem = std::fs::read(&file.path).ok()?;
        Some(CertificateFacts {
            member: file.member.clone(),
            valid: validity(&pem),
            matches_key: key_of(&file.member).and_then(|key| matches(file.path.clone(), key)),
        })
    };
    certificates.filter_map(read).collect()
}

/// From when all certificates of a file are valid, and until when the first of them is.
fn validity(pem: &[u8]) -> Result<(u64, u64), String> {
    let none = || "holds no certificate in PEM".to_owned();
    let mut valid: Option<(u64, u64)> = None;
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|_| none())?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der)
            .map_err(|_| "holds what is no certificate".to_owned())?;
        let seconds =
            |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
        let validity = certificate.validity();
        let (from, until) = (seconds(validity.not_before), seconds(validity.not_after));
        let (earlier, later) = valid.unwrap_or((from, until));
        valid = Some((earlier.max(from), later.min(until)));
    }
    valid.ok_or_else(none)
}

/// Nothing where the files can't be read: that is told of the files.
fn matches(chain: PathBuf, key: PathBuf) -> Option<bool> {
    match (Identity { chain, key }).load_server() {
        Ok(_) => Some(true),
        Err(TlsError::NotAKey { .. }) => Some(false),
        Err(
            TlsError::Certificates { .. }
            | TlsError::Unreadable { .. }
            | TlsError::NoAuthorities
            | TlsError::Key(_)
            | TlsError::Unsupported,
        ) => None,
    }
}

/// Keys that are valid, or will be.
fn read_keys(config: &Config) -> Result<Vec<KeyFacts>, String> {
    let file = config.keys.open().map_err(|error| error.to_string())?;
    let seconds = |at: Timestamp| at.unix_ms() / 1000;
    let facts = |record: &KeyRecord| KeyFacts {
        id: record.id.as_str().to_owned(),
        is_operator: record.rights(&config.keys.roles).has(Scope::SecureCancel),
        created: Some(seconds(record.created_at)),
        expires: record.expires_at.map(seconds),
    };
    let now = clock::now();
    Ok(file.records().iter().filter(|record| !record.state(now).is_over()).map(facts).collect())
}

fn prompt_faults(config: &Config) -> Vec<String> {
    let Some(folder) = &config.prompts else { return Vec::new() };
    let survey = relay::prompts::survey(folder);
    let missing = survey.languages.iter().filter(|it| !it.inherited.is_empty());
    let missing =
        missing.map(|it| format!("{}: {} prompts from elsewhere", it.language, it.inherited.len()));
    survey.errors.iter().map(ToString::to_string).chain(missing).collect()
}

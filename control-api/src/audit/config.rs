//! Config: where the audit log is, and what opens it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_log::{AnchorFile, AuditLog, Check, LogName, OpenError, Opened, Options};
use serde::{Deserialize, Serialize};

use crate::process::give_up_privileges;

use super::syslog::{RawSyslog, SyslogConfig};
use super::{Audit, entries};

/// The log's name unless another is given.
const DEFAULT_NAME: &str = "sotto/audit";
/// Seconds between two checkpoints that may be asked for: from twice a tick to a day.
const CHECKPOINT_S: std::ops::RangeInclusive<u64> = 10..=86_400;

/// The audit log, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawAudit {
    /// Keep one at all.
    pub enabled: Option<bool>,
    /// Where.
    pub directory: Option<PathBuf>,
    /// What it calls itself in its checkpoints.
    pub name: Option<String>,
    /// The key that signs them.
    pub key_file: Option<PathBuf>,
    /// A file on another disk that gets them too.
    pub anchor: Option<PathBuf>,
    /// Seconds between them.
    pub checkpoint_s: Option<u64>,
    /// Who gets the entries.
    pub syslog: RawSyslog,
}

/// Where the audit log is, and how it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditConfig {
    /// Where it is.
    pub directory: PathBuf,
    /// What it calls itself.
    pub name: LogName,
    /// The key that signs its checkpoints.
    pub key_file: PathBuf,
    /// What gets them too.
    pub anchor: Option<PathBuf>,
    /// Time between them, if there are new entries.
    pub checkpoint_after: Duration,
    /// Who gets the entries.
    pub syslog: Option<SyslogConfig>,
}

/// What is wrong, and where.
pub type Wrong = (&'static str, &'static str);

impl RawAudit {
    /// Whether a log is kept.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// Checks what was typed, whether a log is kept or not.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn resolve(self, state: &Path) -> Result<AuditConfig, Wrong> {
        let directory = self.directory.unwrap_or_else(|| state.join("audit"));
        let key_file = self.key_file.unwrap_or_else(|| state.join("audit.key"));
        let apart = "must lie outside audit.directory: who copies the log must not get it too";
        if key_file.starts_with(&directory) {
            return Err(("audit.key_file", apart));
        }
        if self.anchor.as_ref().is_some_and(|anchor| anchor.starts_with(&directory)) {
            return Err(("audit.anchor", "must lie outside audit.directory, on another disk"));
        }
        let name = self.name.as_deref().unwrap_or(DEFAULT_NAME);
        let wrong = "must have 1 to 128 ASCII letters, digits and ._/-";
        let name = LogName::read(name).ok_or(("audit.name", wrong))?;
        let seconds = self.checkpoint_s.unwrap_or(audit_log::limits::CHECKPOINT_AFTER.as_secs());
        if !CHECKPOINT_S.contains(&seconds) {
            return Err(("audit.checkpoint_s", "must be 10 to 86400"));
        }
        let checkpoint_after = Duration::from_secs(seconds);
        let (anchor, syslog) = (self.anchor, self.syslog.resolve()?);
        Ok(AuditConfig { directory, name, key_file, anchor, checkpoint_after, syslog })
    }
}

impl AuditConfig {
    /// Opens the log, or begins it.
    ///
    /// # Errors
    /// If it is not as it was written, or can't be written.
    pub fn open(&self) -> Result<Audit, OpenError> {
        let anchor = self.anchor.clone().map(|path| Box::new(AnchorFile::new(path)) as Box<_>);
        let options = Options {
            // Months of a busy relay are read in no reasonable time; `sotto audit verify` does it.
            check: Check::LastSegment,
            checkpoint_after: self.checkpoint_after,
            anchor,
            on_thread_start: give_up_privileges,
            ..Options::new(self.name.clone(), self.key_file.clone())
        };
        let (log, opened) = AuditLog::open(&self.directory, options, entries::now())?;
        let Opened { torn_octets, was_closed, checked_from, .. } = opened;
        let (entries, directory) = (opened.found.entries, self.directory.display());
        tracing::info!(%directory, entries, checked_from, torn_octets, was_closed, "audit log open");
        Ok(Audit::new(log, self.directory.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{AuditConfig, RawAudit, Wrong};

    fn resolve(text: &str) -> Result<AuditConfig, Wrong> {
        toml::from_str::<RawAudit>(text).unwrap().resolve(Path::new("/state"))
    }

    #[test]
    fn key_and_anchor_lie_apart_from_the_log() {
        let config = resolve("").unwrap();
        assert_eq!(config.directory, Path::new("/state/audit"));
        assert_eq!(config.key_file, Path::new("/state/audit.key"));
        let wrong = |text| resolve(text).unwrap_err().0;
        assert_eq!(wrong("key_file = '/state/audit/key'"), "audit.key_file");
        assert_eq!(wrong("directory = '/a'\nanchor = '/a/anchor'"), "audit.anchor");
        assert_eq!(wrong("name = 'a b'"), "audit.name");
        assert_eq!(wrong("checkpoint_s = 9"), "audit.checkpoint_s");
        assert!(resolve("anchor = '/b/anchor'\ncheckpoint_s = 10\nname = 'relay-1/audit'").is_ok());
    }
}

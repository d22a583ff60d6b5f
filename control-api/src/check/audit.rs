//! Audit: whether what is done is written down, and can't be rewritten unseen.

use super::facts::AuditFacts;
use super::files::{folder_disk, folder_mode, folder_owner, folder_writable};
use super::{Check, Facts, Finding, Level};

pub(super) const CHECKS: &[Check] = &[
    ("audit-kept", kept),
    ("audit-mode", mode),
    ("audit-owner", owner),
    ("audit-writable", writable),
    ("audit-disk", disk),
    ("audit-anchor", anchor),
    ("audit-anchor-age", anchor_age),
];

/// How much later than the log's last entry its last checkpoint may be at the anchor, in seconds: some
/// of the longest time between two that is usual.
const ANCHOR_LATE_S: u64 = 2 * 3600;

fn audit(facts: &Facts) -> Result<&AuditFacts, Finding> {
    facts.audit.as_ref().ok_or_else(|| Finding::skipped("no audit log is kept"))
}

fn kept(facts: &Facts) -> Finding {
    match &facts.audit {
        Some(audit) => {
            Finding::pass(format!("an audit log is kept in {}", audit.folder.path.display()))
        }
        None => Finding::fail(
            "no audit log is kept: nothing tells who entered a secure session",
            "leave audit.enabled out",
        ),
    }
}

fn mode(facts: &Facts) -> Finding {
    audit(facts).map_or_else(|skipped| skipped, |it| folder_mode(&it.folder, "audit.directory"))
}

fn owner(facts: &Facts) -> Finding {
    audit(facts).map_or_else(|skipped| skipped, |it| folder_owner(facts, &it.folder))
}

fn writable(facts: &Facts) -> Finding {
    audit(facts).map_or_else(|skipped| skipped, |it| folder_writable(&it.folder))
}

fn disk(facts: &Facts) -> Finding {
    audit(facts).map_or_else(|skipped| skipped, |it| folder_disk(&it.folder, Level::Fail))
}

fn anchor(facts: &Facts) -> Finding {
    if let Err(skipped) = audit(facts) {
        return skipped;
    }
    match (&facts.config.audit.anchor, &facts.config.audit.syslog.address) {
        (Some(path), _) => Finding::pass(format!("checkpoints go to {} too", path.display())),
        (None, Some(_)) => Finding::pass("entries go to a collector too"),
        (None, None) => Finding::warn(
            "the log has no witness: whoever has its folder and its key can write another one",
            "say audit.anchor, a file on another disk or machine, or audit.syslog.address",
        ),
    }
}

fn anchor_age(facts: &Facts) -> Finding {
    let audit = match audit(facts) {
        Ok(audit) => audit,
        Err(skipped) => return skipped,
    };
    let (newest, anchored) = match (&facts.config.audit.anchor, audit.newest, audit.anchored) {
        (None, _, _) => return Finding::skipped("there is no anchor"),
        (Some(_), None, _) => return Finding::skipped("the log has no entry yet"),
        (Some(_), Some(newest), anchored) => (newest, anchored.unwrap_or_default()),
    };
    let late = newest.saturating_sub(anchored);
    if late > ANCHOR_LATE_S {
        return Finding::fail(
            format!("the anchor's last checkpoint is {} hours older than the log", late / 3600),
            "see whether its disk is there and has room; the relay's log tells why it is not written",
        );
    }
    Finding::pass("the anchor has the log's last checkpoint")
}

//! Files: keys, certificates and secrets, and who else gets at them.

use std::path::Path;

use super::facts::{FileFacts, FolderFacts, Kept};
use super::{Check, Facts, Finding, Level};
use crate::named_files::Content;

pub(super) const CHECKS: &[Check] = &[
    ("files-readable", files_readable),
    ("files-changeable", files_changeable),
    ("folders-changeable", folders_changeable),
    ("secrets-mode", secrets_mode),
    ("secrets-owner", secrets_owner),
    ("secrets-weak", secrets_weak),
    ("state-mode", state_mode),
    ("state-owner", state_owner),
    ("state-writable", state_writable),
    ("state-disk", state_disk),
    ("keys-operator", keys_operator),
    ("keys-age", keys_age),
    ("keys-expiry", keys_expiry),
    ("certificates-readable", certificates_readable),
    ("certificates-valid", certificates_valid),
    ("certificates-expiry", certificates_expiry),
    ("certificates-key", certificates_key),
];

const DAY: u64 = 24 * 3600;
/// Before a certificate or a key ends somebody has to act.
const SOON: u64 = 30 * DAY;
/// Keys are to be replaced once a year.
const OLD: u64 = 365 * DAY;
const ROOT: u32 = 0;

/// The files of a kind about which something holds, each as a line.
fn told(facts: &Facts, is: impl Fn(&FileFacts) -> bool, what: &str) -> Vec<String> {
    let found = facts.files.iter().filter(|file| is(file));
    found.map(|file| format!("{} ({}) {what}", file.path.display(), file.member)).collect()
}

fn is_secret(file: &FileFacts) -> bool {
    file.content == Some(Content::Secret)
}

fn files_readable(facts: &Facts) -> Finding {
    // What lies in the state directory a first start makes.
    let is_made = |file: &FileFacts| file.kept.is_err() && lies_in(&file.path, &facts.state.path);
    let is = |file: &FileFacts| (file.kept.is_err() || !file.is_readable) && !is_made(file);
    Finding::unless(
        &told(facts, is, "can't be read"),
        Level::Fail,
        "all files that are named can be read",
        "make them, and let the relay's user read them",
    )
}

fn files_changeable(facts: &Facts) -> Finding {
    let is = |file: &FileFacts| {
        !is_secret(file) && file.kept.as_ref().is_ok_and(|it| it.is_changeable())
    };
    Finding::unless(
        &told(facts, is, "can be changed by others"),
        Level::Fail,
        "nobody but their owners changes settings and certificates",
        "chmod go-w FILE",
    )
}

fn folders_changeable(facts: &Facts) -> Finding {
    let is = |file: &FileFacts| file.folder.is_some_and(Kept::is_changeable);
    Finding::unless(
        &told(facts, is, "lies in a folder that others can change"),
        Level::Fail,
        "nobody else puts files in the place of those that are named",
        "chmod go-w FOLDER",
    )
}

fn secrets_mode(facts: &Facts) -> Finding {
    let is = |file: &FileFacts| is_secret(file) && file.kept.as_ref().is_ok_and(|it| it.is_open());
    Finding::unless(
        &told(facts, is, "can be read by others"),
        Level::Fail,
        "secrets are their owners' alone",
        "chmod 600 FILE, and replace the secret if others could log in",
    )
}

/// Whose files root reads says nothing of whose a relay would.
fn as_root(facts: &Facts) -> Option<Finding> {
    let is_root = facts.process.user == ROOT;
    is_root.then(|| Finding::skipped("root reads all: run this check as the relay's user"))
}

fn secrets_owner(facts: &Facts) -> Finding {
    if let Some(skipped) = as_root(facts) {
        return skipped;
    }
    let is_foreign = |kept: &Kept| ![facts.process.user, ROOT].contains(&kept.owner);
    let is = |file: &FileFacts| is_secret(file) && file.kept.as_ref().is_ok_and(is_foreign);
    Finding::unless(
        &told(facts, is, "belongs to another user"),
        Level::Warn,
        "secrets belong to this user or to root",
        "chown it to the relay's user; run this check as that user",
    )
}

fn secrets_weak(facts: &Facts) -> Finding {
    Finding::unless(
        &told(facts, |file| file.is_weak, "is short, or a word of examples"),
        Level::Fail,
        "no secret is short or a word of examples",
        "make another: openssl rand -base64 32",
    )
}

/// Of a folder that the relay writes into; one that is not there yet is made by the first start.
pub(super) fn folder_mode(folder: &FolderFacts, member: &str) -> Finding {
    let path = folder.path.display();
    match folder.kept {
        Err(_) => Finding::skipped(format!("{path} is not there yet: a first start makes it")),
        Ok(kept) if kept.is_open() => Finding {
            level: if kept.is_changeable() { Level::Fail } else { Level::Warn },
            found: format!("{path} ({member}) has mode {:o}", kept.mode),
            advice: "chmod 700 FOLDER",
        },
        Ok(_) => Finding::pass(format!("{path} is its owner's alone")),
    }
}

/// Whether it is this user's.
pub(super) fn folder_owner(facts: &Facts, folder: &FolderFacts) -> Finding {
    if let Some(skipped) = as_root(facts) {
        return skipped;
    }
    let path = folder.path.display();
    match folder.kept {
        Err(_) => Finding::skipped(format!("{path} is not there yet: a first start makes it")),
        Ok(kept) if kept.owner != facts.process.user => Finding::warn(
            format!(
                "{path} belongs to user {}, and this is user {}",
                kept.owner, facts.process.user
            ),
            "chown it to the relay's user; run this check as that user",
        ),
        Ok(_) => Finding::pass(format!("{path} is this user's")),
    }
}

/// Whether this user may write there.
pub(super) fn folder_writable(folder: &FolderFacts) -> Finding {
    let path = folder.path.display();
    if folder.is_writable {
        return Finding::pass(format!("{path} can be written"));
    }
    Finding::fail(
        format!("{path} can't be written by this user"),
        "make it for the relay's user: install -d -m 700 -o sotto FOLDER",
    )
}

/// Whether it outlives the machine's next start.
pub(super) fn folder_disk(folder: &FolderFacts, level: Level) -> Finding {
    let path = folder.path.display();
    let in_memory: Vec<String> =
        folder.is_memory.then(|| format!("{path} is in memory")).into_iter().collect();
    Finding::unless(
        &in_memory,
        level,
        &format!("{path} is on a disk"),
        "what is there is gone with the machine's next start: choose a folder on a disk",
    )
}

fn state_mode(facts: &Facts) -> Finding {
    folder_mode(&facts.state, "state_dir")
}

fn state_owner(facts: &Facts) -> Finding {
    folder_owner(facts, &facts.state)
}

fn state_writable(facts: &Facts) -> Finding {
    folder_writable(&facts.state)
}

fn state_disk(facts: &Facts) -> Finding {
    folder_disk(&facts.state, Level::Warn)
}

fn keys_operator(facts: &Facts) -> Finding {
    match &facts.keys {
        Err(error) => Finding::fail(error.clone(), "bring the file back from a backup"),
        Ok(keys) if !keys.iter().any(|key| key.is_operator) => Finding::fail(
            "no key is an operator's: nobody could release a held call",
            "sotto keys add --role operator",
        ),
        Ok(keys) => Finding::pass(format!("an operator's key is among {}", keys.len())),
    }
}

fn keys_age(facts: &Facts) -> Finding {
    let keys = facts.keys.iter().flatten();
    let is_old = |made: u64| facts.now.saturating_sub(made) > OLD;
    let old = keys.filter(|key| key.created.is_some_and(is_old));
    let old: Vec<String> = old.map(|key| format!("key {} is older than a year", key.id)).collect();
    Finding::unless(
        &old,
        Level::Warn,
        "no key is older than a year",
        "sotto keys rotate ID, and hand the new one out before the old one ends",
    )
}

fn keys_expiry(facts: &Facts) -> Finding {
    let keys = facts.keys.iter().flatten();
    let is_soon = |end: u64| (facts.now..facts.now + SOON).contains(&end);
    let soon = keys.filter(|key| key.expires.is_some_and(is_soon));
    let soon: Vec<String> = soon.map(|key| format!("key {} ends within 30 days", key.id)).collect();
    Finding::unless(
        &soon,
        Level::Warn,
        "no key ends within 30 days",
        "sotto keys rotate ID, and hand the new one out",
    )
}

fn certificates_readable(facts: &Facts) -> Finding {
    let unread = facts.certificates.iter();
    let unread =
        unread.filter_map(|it| Some(format!("{} {}", it.member, it.valid.as_ref().err()?)));
    Finding::unless(
        &unread.collect::<Vec<String>>(),
        Level::Fail,
        "certificates are in PEM",
        "convert it: openssl x509 -inform der -in FILE",
    )
}

/// Certificates whose time is `is`.
fn timed(facts: &Facts, is: impl Fn(u64, u64) -> bool, what: &str) -> Vec<String> {
    let found = facts.certificates.iter();
    let found = found.filter(|it| it.valid.as_ref().is_ok_and(|(from, until)| is(*from, *until)));
    found.map(|it| format!("{} {what}", it.member)).collect()
}

fn certificates_valid(facts: &Facts) -> Finding {
    let is = |from, until| facts.now < from || facts.now >= until;
    Finding::unless(
        &timed(facts, is, "is not valid now"),
        Level::Fail,
        "all certificates are valid now",
        "renew it, and look at the clock",
    )
}

fn certificates_expiry(facts: &Facts) -> Finding {
    let is = |_, until| facts.now < until && until < facts.now + SOON;
    Finding::unless(
        &timed(facts, is, "ends within 30 days"),
        Level::Warn,
        "no certificate ends within 30 days",
        "renew it, and see that renewing goes by itself",
    )
}

fn certificates_key(facts: &Facts) -> Finding {
    let foreign = facts.certificates.iter().filter(|it| it.matches_key == Some(false));
    let foreign: Vec<String> =
        foreign.map(|it| format!("{} has another key than the one named", it.member)).collect();
    Finding::unless(
        &foreign,
        Level::Fail,
        "every certificate has its key beside it",
        "name the key that the certificate was made for",
    )
}

/// Whether `path` lies in `folder`.
pub(super) fn lies_in(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder)
}

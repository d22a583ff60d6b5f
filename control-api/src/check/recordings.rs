//! Recordings: whether they last as long as they should, and no longer.

use super::facts::FolderFacts;
use super::files::{folder_disk, folder_mode, folder_owner, folder_writable, lies_in};
use super::{Check, Facts, Finding, Level};

pub(super) const CHECKS: &[Check] = &[
    ("recordings-mode", mode),
    ("recordings-owner", owner),
    ("recordings-writable", writable),
    ("recordings-disk", disk),
    ("recordings-space", space),
    ("recordings-retention", retention),
    ("recordings-keys-apart", keys_apart),
    ("recordings-keys-named", keys_named),
];

const GIB: u64 = 1 << 30;
/// A recorded call writes 128 kbit/s of sound: below this a busy relay has minutes.
const LEAST_SPACE: u64 = GIB;
/// Below this somebody should look.
const SOME_SPACE: u64 = 10 * GIB;

fn folder(facts: &Facts) -> Result<&FolderFacts, Finding> {
    facts.recordings.as_ref().ok_or_else(|| Finding::skipped("no recordings are kept"))
}

fn mode(facts: &Facts) -> Finding {
    folder(facts).map_or_else(|skipped| skipped, |it| folder_mode(it, "recordings.directory"))
}

fn owner(facts: &Facts) -> Finding {
    folder(facts).map_or_else(|skipped| skipped, |it| folder_owner(facts, it))
}

fn writable(facts: &Facts) -> Finding {
    folder(facts).map_or_else(|skipped| skipped, folder_writable)
}

fn disk(facts: &Facts) -> Finding {
    folder(facts).map_or_else(|skipped| skipped, |it| folder_disk(it, Level::Fail))
}

fn space(facts: &Facts) -> Finding {
    let free = match folder(facts) {
        Ok(FolderFacts { space: Some((free, _)), .. }) => *free,
        Ok(_) => return Finding::skipped("the file system does not tell its room"),
        Err(skipped) => return skipped,
    };
    let found = format!("{} MiB are free for recordings", free >> 20);
    let advice = "make room, or say recordings.retain_days";
    if free < LEAST_SPACE {
        Finding::fail(found, advice)
    } else if free < SOME_SPACE {
        Finding::warn(found, advice)
    } else {
        Finding::pass(found)
    }
}

fn retention(facts: &Facts) -> Finding {
    match (folder(facts), facts.config.recordings.retain_days) {
        (Err(skipped), _) => skipped,
        (Ok(_), Some(days)) => Finding::pass(format!("recordings are erased after {days} days")),
        (Ok(_), None) => Finding::warn(
            "recordings are kept until somebody erases them",
            "say recordings.retain_days, as your rules have it",
        ),
    }
}

fn keys_apart(facts: &Facts) -> Finding {
    let folder = match folder(facts) {
        Ok(folder) => folder,
        Err(skipped) => return skipped,
    };
    let keys = facts.config.recordings.key_files.iter().flatten();
    let inside = keys.filter(|path| lies_in(path, &folder.path));
    let inside: Vec<String> = inside.map(|path| path.display().to_string()).collect();
    Finding::unless(
        &inside,
        Level::Fail,
        "no key lies among the recordings that it opens",
        "whoever copies that folder reads them: move the key, and name it in recordings.key_files",
    )
}

fn keys_named(facts: &Facts) -> Finding {
    let folder = match folder(facts) {
        Ok(folder) => folder,
        Err(skipped) => return skipped,
    };
    let state = &facts.state.path;
    let keys = facts.config.recordings.key_files.iter().flatten();
    let near = keys.filter(|path| lies_in(path, state) && !lies_in(path, &folder.path));
    let near: Vec<String> = near.map(|path| path.display().to_string()).collect();
    // Recordings elsewhere are backed up apart from the state directory.
    let near = if lies_in(&folder.path, state) { near } else { Vec::new() };
    Finding::unless(
        &near,
        Level::Warn,
        "keys and recordings lie in folders of their own",
        "a backup of the state directory has both: name a key elsewhere in recordings.key_files",
    )
}

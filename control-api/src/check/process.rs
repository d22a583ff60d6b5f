//! Process: what the relay would run as, and what it may have.

use super::{Check, Facts, Finding};

pub(super) const CHECKS: &[Check] = &[
    ("user", user),
    ("descriptors", descriptors),
    ("locked-memory", locked_memory),
    ("log-level", log_level),
    ("sabotage", sabotage),
    ("debug-build", debug_build),
    ("program-changeable", program_changeable),
    ("drain", drain),
    ("region", region),
];

/// The region of whoever names none.
const DEFAULT_REGION: &str = "local";
/// Descriptors besides those of media: connections of the API, streams, files.
const OTHER_DESCRIPTORS: u64 = 1024;
/// A secure session has at most this many octets in locked pages: its collector's, its
/// announcement's and its delivery's, of four pages each.
const LOCKED_PER_SESSION: u64 = 3 * 16 * 1024;
/// Secure sessions at a time that a relay should have room for, whatever its ports.
const LEAST_SESSIONS: u64 = 100;

fn user(facts: &Facts) -> Finding {
    if facts.process.user == 0 {
        return Finding::fail(
            "this is root",
            "run the relay, and this check, as a user of its own: sudo -u sotto sotto check",
        );
    }
    Finding::pass(format!("this is user {}", facts.process.user))
}

fn descriptors(facts: &Facts) -> Finding {
    let Some((first, last)) = facts.media_ports() else {
        return Finding::skipped("media.ports can't be read");
    };
    let needed = u64::from(last.saturating_sub(first)) + 1 + OTHER_DESCRIPTORS;
    match facts.process.descriptors {
        Some(limit) if limit < needed => Finding::warn(
            format!("{limit} descriptors at most, and all media ports in use need {needed}"),
            "say LimitNOFILE in the unit, or ulimit -Hn",
        ),
        Some(_) | None => Finding::pass("descriptors are enough for all media ports"),
    }
}

fn locked_memory(facts: &Facts) -> Finding {
    match facts.process.locked {
        Some(limit) if limit < LEAST_SESSIONS * LOCKED_PER_SESSION => Finding::warn(
            format!(
                "{limit} octets may be locked: room for {} secure sessions",
                limit / LOCKED_PER_SESSION
            ),
            "say LimitMEMLOCK=infinity in the unit: sessions without such memory are refused",
        ),
        Some(limit) => Finding::pass(format!(
            "locked memory is enough for {} secure sessions",
            limit / LOCKED_PER_SESSION
        )),
        None => Finding::pass("memory may be locked without a limit"),
    }
}

fn log_level(facts: &Facts) -> Finding {
    let filter = facts.process.log_filter.as_deref().unwrap_or_default();
    let is_loud = |it: &str| ["debug", "trace"].iter().any(|level| it.eq_ignore_ascii_case(level));
    if filter.split([',', '=']).any(|it| is_loud(it.trim())) {
        return Finding::warn(
            "RUST_LOG asks for debug or trace",
            "leave RUST_LOG out: libraries may then write what peers send",
        );
    }
    Finding::pass("the log tells what happens, and no more")
}

fn sabotage(facts: &Facts) -> Finding {
    if facts.process.is_sabotaged {
        return Finding::fail(
            "this program can break its own protections (feature \"sabotage\")",
            "build it anew without that feature",
        );
    }
    Finding::pass("no protection can be broken by a flag")
}

fn debug_build(facts: &Facts) -> Finding {
    if facts.process.is_debug {
        return Finding::warn(
            "this program was built without optimisation",
            "build it with --release: media threads are several times slower otherwise",
        );
    }
    Finding::pass("this is a release build")
}

fn program_changeable(facts: &Facts) -> Finding {
    match facts.process.program {
        Some(kept) if kept.is_changeable() => {
            Finding::fail(format!("the program's file has mode {:o}", kept.mode), "chmod go-w FILE")
        }
        Some(kept) if kept.owner != 0 && kept.owner == facts.process.user => Finding::warn(
            "the program's file belongs to the user that runs it",
            "chown root FILE: who takes the relay over could change it for the next start",
        ),
        Some(_) => Finding::pass("the program's file can't be changed by who runs it"),
        None => Finding::skipped("the program's file can't be found"),
    }
}

fn drain(facts: &Facts) -> Finding {
    match facts.config.process.drain_s {
        Some(0) | None => Finding::warn(
            "SIGTERM ends calls at once",
            "say process.drain_s, and give the unit TimeoutStopSec beyond it",
        ),
        Some(seconds) => Finding::pass(format!("calls have {seconds} s after SIGTERM")),
    }
}

fn region(facts: &Facts) -> Finding {
    match facts.config.region.as_deref() {
        Some(DEFAULT_REGION) | None => Finding::warn(
            "keys are of the region \"local\", as those of any relay that says nothing",
            "say region = \"eu-1\", or what you call this place, before keys are made",
        ),
        Some(region) => Finding::pass(format!("keys are of the region {region}")),
    }
}

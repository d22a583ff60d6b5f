//! Payment: whether real cards are taken, and all of the way that they go.

use super::{Check, Facts, Finding, Level};
use crate::config::RawCardMode;

pub(super) const CHECKS: &[Check] = &[
    ("card-mode", card_mode),
    ("connectors-mode", connectors_mode),
    ("connectors-credentials", connectors_credentials),
    ("plans", plans),
    ("prompts", prompts),
];

fn card_mode(facts: &Facts) -> Finding {
    match facts.config.secure_sessions.card_mode {
        Some(RawCardMode::Live) => Finding::pass("real cards are taken, and no test numbers"),
        Some(RawCardMode::Test) | None => Finding::warn(
            "published test numbers alone are taken",
            "say secure_sessions.card_mode = \"live\" where real payments are taken",
        ),
    }
}

fn connectors_mode(facts: &Facts) -> Finding {
    let connectors = &facts.config.sinks.connectors;
    if connectors.is_empty() {
        return Finding::skipped("there is no connector");
    }
    let mode = facts.config.secure_sessions.card_mode;
    let others = connectors.iter().filter(|it| it.mode.is_some() && it.mode != mode);
    let others: Vec<String> =
        others.map(|it| format!("connector {} is of the other mode", it.name)).collect();
    // Who is not live yet is told so once.
    let others = if mode == Some(RawCardMode::Live) { others } else { Vec::new() };
    Finding::unless(
        &others,
        Level::Fail,
        "connectors take what secure sessions take",
        "say mode = \"live\" for it, or leave it out: its plans are refused",
    )
}

fn connectors_credentials(facts: &Facts) -> Finding {
    let connectors = &facts.config.sinks.connectors;
    let bare = connectors.iter().filter(|it| {
        it.basic_user.is_none() && it.bearer_file.is_none() && it.client_cert.is_none()
    });
    let bare: Vec<String> =
        bare.map(|it| format!("connector {} proves nothing of itself", it.name)).collect();
    Finding::unless(
        &bare,
        Level::Warn,
        "every connector proves who asks",
        "say bearer_file, basic_user and password_file, or client_cert and client_key",
    )
}

fn plans(facts: &Facts) -> Finding {
    let fault: Vec<String> = facts.plan_fault.iter().cloned().collect();
    Finding::unless(
        &fault,
        Level::Fail,
        "named plans, sinks and prompts fit together",
        "correct it: the relay does not start like this",
    )
}

fn prompts(facts: &Facts) -> Finding {
    if facts.config.prompts.directory.is_none() {
        return Finding::skipped("callers hear the prompts built in");
    }
    Finding::unless(
        &facts.prompt_faults,
        Level::Warn,
        "the folder of prompts has all of each of its languages",
        "sotto prompts check FOLDER tells all of it",
    )
}

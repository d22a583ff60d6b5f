//! Bodies about secure sessions: what each role may be told of one.

use std::fmt;
use std::time::Duration;

use dtmf::Verdict;
use relay::switchboard::{CallSnapshot, CutReceipt, Phase, SessionSnapshot};
use serde::Serialize;
use utoipa::ToSchema;

use super::id;
use super::sink::OutcomeView;
use crate::clock::Timestamp;
use crate::index::CallEntry;
use crate::keys::Role;
use crate::sinks::Outcome;
use crate::story::{SessionRecord, SessionState};

/// A secure session that has begun.
#[derive(Serialize, ToSchema)]
pub struct SessionEntered {
    /// The session's id.
    #[schema(example = "sec_0198c0f3a1b27c3e8d4f5a6b7c8d9e0f")]
    id: String,
    /// `collecting`, unless the request waited: then where it stands.
    state: StateName,
    /// When the cut came into force, UTC.
    #[schema(value_type = String, format = DateTime)]
    cut_at: Timestamp,
    /// Of a request that waited: `pass` or `fail`, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultName>,
    /// What may go wrong, in words for whoever writes the plan; absent if nothing is seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl SessionEntered {
    /// What is told of a cut that is in force.
    #[must_use]
    pub fn new(
        receipt: &CutReceipt,
        cut_at: Timestamp,
        warning: Option<SilenceWarning>,
    ) -> SessionEntered {
        SessionEntered {
            id: id::session(receipt.session()),
            state: StateName::Collecting,
            cut_at,
            result: None,
            warnings: warning.iter().map(ToString::to_string).collect(),
        }
    }
}

impl SessionEntered {
    /// The same session after a wait, given how the call's last session stands. One that another
    /// has replaced is over, and its verdict is no longer known.
    pub fn wait_is_over(&mut self, last: &SessionView) {
        (self.state, self.result) =
            if last.id == self.id { last.standing() } else { (StateName::Ended, None) };
    }
}

/// A session may be longer than the silence that its engine bears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SilenceWarning {
    deadline: Duration,
    budget: Duration,
}

impl SilenceWarning {
    /// A warning, if there is reason for one.
    #[must_use]
    pub fn of(deadline: Duration, budget: Option<Duration>) -> Option<SilenceWarning> {
        budget.filter(|&budget| deadline > budget).map(|budget| SilenceWarning { deadline, budget })
    }
}

impl fmt::Display for SilenceWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (deadline, budget) = (self.deadline.as_secs(), self.budget.as_secs());
        write!(
            f,
            "the session may last {deadline} s, but the engine's profile bears {budget} s of \
             silence: shorten deadline_ms, or suspend the engine's watchdog on \
             secure_session.started"
        )
    }
}

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// Keys are collected.
    Collecting,
    /// The verdict stands; the cut holds until quiet is heard. An engine is told `collecting`.
    Draining,
    /// No quiet was heard: the cut holds until an operator ends it. An engine is told `collecting`.
    Held,
    /// The parties hear each other again, or the call is over.
    Ended,
}

/// Pass or fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultName {
    /// Every field was accepted.
    Pass,
    /// Anything else.
    Fail,
}

impl ResultName {
    /// Pass or fail, of how a collection ended; one that was lost failed.
    #[must_use]
    pub const fn of(verdict: Option<Verdict>) -> ResultName {
        match verdict {
            Some(Verdict::Passed) => ResultName::Pass,
            Some(Verdict::Failed(_)) | None => ResultName::Fail,
        }
    }

    /// The word used in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ResultName::Pass => "pass",
            ResultName::Fail => "fail",
        }
    }
}

/// A secure session. Members that are not known yet, or that a key's role may not see, are absent;
/// only `result` is null until it is known.
#[derive(Serialize, ToSchema)]
pub struct SessionView {
    /// The session's id.
    id: String,
    /// Where it stands.
    state: StateName,
    /// `pass` or `fail`; null until it is known. An engine knows it when the session has ended.
    result: Option<ResultName>,
    /// For scripts and operators: when the cut came into force, UTC.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_at: Option<Timestamp>,
    /// For scripts and operators: the field in progress, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    /// For scripts and operators: its attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u8>,
    /// For scripts and operators, of a session that is driven field by field: the fields that are
    /// still missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<Vec<&'static str>>,
    /// For scripts and operators: why the session ended, or why the last attempt failed, in
    /// Twilio's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// For scripts and operators: what the delivery of what was keyed came to, once it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<OutcomeView>,
    /// For operators: how far the entry in progress has come, in coarse steps; never what was keyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
}

impl SessionView {
    /// What `role` is told of the call's last secure session, given how the call was last seen.
    #[must_use]
    pub fn of(entry: &CallEntry, seen: Option<&CallSnapshot>, role: Role) -> Option<SessionView> {
        let mut record = entry.story.session()?;
        let session =
            seen.and_then(|seen| seen.session.clone()).filter(|it| it.session == record.id);
        if let (Some(seen), Some(session), false) = (seen, &session, entry.story.is_closed()) {
            // The relay is ahead of its events.
            record.state = state_of(seen.phase);
            record.verdict = session.verdict;
            record.field = session.step.map(|step| (step, session.attempt)).or(record.field);
        }
        Some(match role {
            Role::Engine | Role::Payment => SessionView::for_engine(&record),
            Role::Script => SessionView::with_detail(&record, session.as_ref()).without_progress(),
            Role::Operator => SessionView::with_detail(&record, session.as_ref()),
        })
    }

    /// Where the session stands, as this view tells it.
    #[must_use]
    pub fn standing(&self) -> (StateName, Option<ResultName>) {
        (self.state, self.result)
    }

    /// While the cut holds an engine is told that keys are collected: the moment of the verdict is
    /// the moment of the last key, and a cut that is not quiet is held a fixed time after it.
    fn for_engine(record: &SessionRecord) -> SessionView {
        let (state, result) = match record.state {
            SessionState::Collecting | SessionState::Draining | SessionState::Held => {
                (StateName::Collecting, None)
            }
            SessionState::Ended => (StateName::Ended, Some(ResultName::of(record.verdict))),
        };
        SessionView {
            id: id::session(record.id),
            state,
            result,
            cut_at: None,
            step: None,
            attempt: None,
            required: None,
            delivery: None,
            reason: None,
            progress: None,
        }
    }

    /// Adds what a delivery came to, for those who may know.
    #[must_use]
    pub fn with_delivery(mut self, role: Role, outcome: Option<&Outcome>) -> SessionView {
        self.delivery = match role {
            Role::Script | Role::Operator => outcome.map(OutcomeView::of),
            Role::Engine | Role::Payment => None,
        };
        self
    }

    fn without_progress(self) -> SessionView {
        SessionView { progress: None, ..self }
    }

    fn with_detail(record: &SessionRecord, seen: Option<&SessionSnapshot>) -> SessionView {
        let state = match record.state {
            SessionState::Collecting => StateName::Collecting,
            SessionState::Draining => StateName::Draining,
            SessionState::Held => StateName::Held,
            SessionState::Ended => StateName::Ended,
        };
        let is_over = state == StateName::Ended || record.verdict.is_some();
        let rejected = record.rejected.map(|error| error.as_str());
        SessionView {
            id: id::session(record.id),
            state,
            result: is_over.then(|| ResultName::of(record.verdict)),
            cut_at: Some(record.cut_at),
            step: record.field.map(|(step, _)| step.as_str()),
            attempt: record.field.map(|(_, attempt)| attempt),
            required: seen
                .and_then(|seen| seen.required.as_ref())
                .map(|required| required.iter().map(|step| step.as_str()).collect()),
            delivery: None,
            reason: record.verdict.map(Verdict::as_str).or(rejected),
            progress: seen.map(|seen| seen.progress),
        }
    }
}

fn state_of(phase: Phase) -> SessionState {
    match phase {
        Phase::Secure(_) => SessionState::Collecting,
        Phase::Draining(_) => SessionState::Draining,
        Phase::Held(_) => SessionState::Held,
        Phase::Open | Phase::Armed | Phase::Closed => SessionState::Ended,
    }
}

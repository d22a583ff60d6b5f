//! Activity: what was done by which key, and alarms: the newest of both, in memory.
//!
//! It is for whoever looks at a relay that runs, and is gone with it: what lasts is the audit log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{Method, header};
use axum::response::Response;
use relay::switchboard::{CallId, EventKind, Side};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::Control;
use crate::auth::{Permit, ReadActivity, Witness};
use crate::calls::KEY_PATH;
use crate::clock::Timestamp;
use crate::dto::activity::ActivityPage;
use crate::dto::id;
use crate::index::CallIndex;
use crate::keys::KeyId;
use crate::problem::{Code, Problem, ProblemBody};

/// Entries kept of each kind: more than a person looks through, at about 200 octets each. Requests
/// and alarms are kept apart, since a busy relay has ten requests a second and an alarm a day.
pub const KEPT: usize = 512;
/// Entries told, unless the request says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A request that may have changed something was answered.
    Request {
        /// Whose.
        key: KeyId,
        /// The key's roles.
        roles: Arc<str>,
        /// The method, of HTTP's own.
        method: &'static str,
        /// The path's pattern.
        operation: Box<str>,
        /// The status of the answer.
        status: u16,
    },
    /// Somebody should look.
    Alarm(Alarm),
}

/// What somebody should look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// A call stays cut until an operator acts.
    SessionHeld,
    /// A peer was silent too long.
    MediaTimeout(Side),
    /// Audio is missing in a recording.
    RecordingGap,
    /// An address has sent keys that are not valid, ten times within five minutes.
    KeysGuessed,
    /// The webhook of this name did not take an event.
    WebhookGivenUp(Box<str>),
    /// The audit log can't be written: no secure session is entered.
    AuditFailed,
    /// The audit log's collector is not reached: the file has what it misses.
    AuditCollectorLost,
    /// The audit log's anchor takes no checkpoint.
    AuditAnchorFailed,
}

impl Alarm {
    /// The alarm that an event is, if it is one.
    #[must_use]
    pub const fn of(kind: &EventKind) -> Option<Alarm> {
        match kind {
            EventKind::DrainHeld { session: _ } => Some(Alarm::SessionHeld),
            EventKind::MediaTimeout { side } => Some(Alarm::MediaTimeout(*side)),
            EventKind::RecordingGap => Some(Alarm::RecordingGap),
            EventKind::Opened
            | EventKind::Armed
            | EventKind::Disarmed
            | EventKind::SecureStarted { .. }
            | EventKind::FieldStarted { .. }
            | EventKind::FieldRejected { .. }
            | EventKind::FieldRepeated { .. }
            | EventKind::FieldAccepted { .. }
            | EventKind::Processing
            | EventKind::SecureConcluded { .. }
            | EventKind::Reopened { .. }
            | EventKind::Subscribed
            | EventKind::Unsubscribed
            | EventKind::RecordingStarted
            | EventKind::RecordingPaused
            | EventKind::RecordingResumed
            | EventKind::RecordingStopped
            | EventKind::RecordingHandedOver
            | EventKind::Closed => None,
        }
    }
}

/// A deed with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number since the start, from 1.
    pub sequence: u64,
    /// When, in whole seconds: no entry tells the time of a key press.
    pub at: Timestamp,
    /// The call, if it was about one.
    pub call: Option<CallId>,
    /// What.
    pub deed: Deed,
}

#[derive(Default)]
struct Rings {
    last: u64,
    requests: VecDeque<Entry>,
    alarms: VecDeque<Entry>,
}

/// The newest [`KEPT`] requests and alarms.
#[derive(Default)]
pub struct Activity {
    rings: Mutex<Rings>,
}

impl Activity {
    /// Takes in what happened.
    pub fn note(&self, at: Timestamp, (call, deed): (Option<CallId>, Deed)) {
        let mut rings = self.lock();
        rings.last += 1;
        let entry = Entry { sequence: rings.last, at: at.whole_seconds(), call, deed };
        let ring = match &entry.deed {
            Deed::Request { .. } => &mut rings.requests,
            Deed::Alarm(_) => &mut rings.alarms,
        };
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(entry);
    }

    /// Up to `limit` entries, newest first; of one kind if that is asked for.
    #[must_use]
    pub fn newest(&self, kind: Option<DeedKind>, limit: usize) -> Vec<Entry> {
        let rings = self.lock();
        let none = VecDeque::new();
        let (requests, alarms) = match kind {
            None => (&rings.requests, &rings.alarms),
            Some(DeedKind::Request) => (&rings.requests, &none),
            Some(DeedKind::Alarm) => (&none, &rings.alarms),
        };
        let mut found: Vec<Entry> = requests.iter().chain(alarms).cloned().collect();
        drop(rings);
        found.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.sequence));
        found.truncate(limit);
        found
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that may change something, while it is being answered.
pub(crate) struct Watched {
    method: &'static str,
    operation: Box<str>,
    call: Option<CallId>,
    witness: Witness,
}

impl Watched {
    /// Nothing for a request that changes nothing, or hands in a key: entries for those would tell
    /// how many keys were pressed, and when.
    pub(crate) fn begin(
        method: &'static str,
        path: &str,
        request: &mut Request,
    ) -> Option<Watched> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if reads || path == KEY_PATH {
            return None;
        }
        let witness = Witness::of(request);
        let call = call_in(request.uri().path());
        Some(Watched { method, operation: path.into(), call, witness })
    }

    /// What was done, once it is answered. Without a valid key that is nothing, so that nobody who
    /// has none can push out what others did; and a call is named if there is one, since an id is a
    /// client's word before that.
    pub(crate) fn complete(
        self,
        calls: &CallIndex,
        response: &Response,
    ) -> Option<(Option<CallId>, Deed)> {
        let principal = self.witness.principal()?.clone();
        let location = response.headers().get(header::LOCATION);
        let opened = location.and_then(|location| call_in(location.to_str().ok()?));
        let call =
            self.call.or(self.witness.call()).or(opened).filter(|&call| calls.find(call).is_some());
        let deed = Deed::Request {
            key: principal.key,
            roles: principal.roles,
            method: self.method,
            operation: self.operation,
            status: response.status().as_u16(),
        };
        Some((call, deed))
    }
}

/// The call that a path names.
fn call_in(path: &str) -> Option<CallId> {
    path.split('/').find_map(id::parse_call)
}

/// Which entries to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ActivityQuery {
    /// `request` or `alarm`; both unless said otherwise.
    kind: Option<DeedKind>,
    /// Most entries to return, 1 to 512; 100 unless said otherwise.
    #[param(minimum = 1, maximum = 512)]
    limit: Option<usize>,
}

/// Kinds of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeedKind {
    /// A request that may have changed something.
    Request,
    /// What somebody should look at.
    Alarm,
}

/// Lists what was done by which key, and alarms, newest first.
///
/// Of each kind the newest 512 are kept, in memory; what lasts is the audit log. Listed are requests under a valid key, but those that only read and those
/// that hand in a key of a caller, which would tell how many there were. Nothing of a request's body
/// is told. Alarms are `secure_session.held`, `call.media_timeout`, `recording.gap`,
/// `webhook.given_up`, `audit.failed`, `audit.anchor_failed`, `audit.collector_lost` and `keys.guessed`: an
/// address has sent ten keys that are not valid within five minutes; the log names it.
#[utoipa::path(
    get, path = "/v1/activity", tag = "activity", params(ActivityQuery),
    responses(
        (status = 200, body = ActivityPage),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn list(
    State(control): State<Arc<Control>>,
    _: Permit<ReadActivity>,
    query: Result<Query<ActivityQuery>, QueryRejection>,
) -> Result<Json<ActivityPage>, Problem> {
    let malformed = || {
        let detail =
            format!("Send kind (request or alarm) and limit (1 to {KEPT}), or none of them.");
        Problem::new(Code::MalformedParameter, detail)
    };
    let Query(ActivityQuery { kind, limit }) = query.map_err(|_| malformed())?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=KEPT).contains(&limit) {
        return Err(malformed());
    }
    Ok(Json(ActivityPage::of(&control.activity.newest(kind, limit))))
}

#[cfg(test)]
mod tests {
    use super::{Activity, Alarm, Deed, DeedKind, KEPT};
    use crate::clock;
    use crate::keys::KeyId;

    fn request(status: u16) -> Deed {
        let (key, operation) = (KeyId::new("a"), "/v1/calls".into());
        Deed::Request { key, roles: "script".into(), method: "POST", operation, status }
    }

    #[test]
    fn requests_do_not_push_out_alarms() {
        let activity = Activity::default();
        activity.note(clock::now(), (None, Deed::Alarm(Alarm::RecordingGap)));
        for _ in 0..KEPT + 3 {
            activity.note(clock::now(), (None, request(201)));
        }
        let all = activity.newest(None, 2 * KEPT);
        assert_eq!(all.len(), KEPT + 1);
        assert_eq!((all[0].sequence, all[KEPT - 1].sequence), (KEPT as u64 + 4, 5));
        let alarms = activity.newest(Some(DeedKind::Alarm), KEPT);
        assert_eq!(alarms.len(), 1);
        assert_eq!((alarms[0].sequence, &alarms[0]), (1, &all[KEPT]));
        assert_eq!(activity.newest(Some(DeedKind::Request), 7).len(), 7);
    }

    #[test]
    fn times_are_whole_seconds() {
        let activity = Activity::default();
        activity.note(clock::Timestamp::from_unix_ms(1_999), (None, request(204)));
        assert_eq!(activity.newest(None, 1)[0].at.unix_ms(), 1000);
    }
}

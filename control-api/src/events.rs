//! Events: a call's story as server-sent events, as the asker may hear it.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;

use crate::Control;
use crate::auth::{Party, Permit};
use crate::calls::CallPath;
use crate::dto::event::{AudienceName, EventBody};
use crate::event_stream::{self, Source, StreamedEvent, last_event_id};
use crate::index::CallEntry;
use crate::keys::Role;
use crate::problem::{Code, Problem, ProblemBody};
use crate::story::{Audience, Next, Tale, Told};

/// Whose telling to follow.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// As whom to be told: what the key's role hears unless said otherwise. Scripts and operators
    /// may ask for what the engine is told, which is less; an engine's key for nothing else. Each
    /// telling has numbers of its own.
    #[param(inline)]
    audience: Option<AudienceName>,
}

/// Follows a call's events.
///
/// The events are `call.opened`, `call.armed`, `call.disarmed`, `call.media_timeout`,
/// `call.closed`, `recording.started` and `recording.stopped` (a recording that begins within its
/// call, or ends before it), `recording.paused`, `recording.resumed`, `recording.gap`,
/// `media.subscribed` (somebody else is sent copies of the call's media: see `docs/kamailio.md`),
/// `media.unsubscribed`, `secure_session.started`, `secure_session.field_started`,
/// `secure_session.field_repeated`, `secure_session.field_rejected`,
/// `secure_session.field_accepted`, `secure_session.processing`, `secure_session.concluded`,
/// `secure_session.held` (an alarm: the call stays cut until an operator acts) and
/// `secure_session.ended`.
///
/// Each has a number as its `id`; send the last one as `Last-Event-ID` to go on from there. A
/// reader too slow for the events kept gets a last event `stream.lagged` and must read the call
/// anew. The stream ends with the call, or
/// when its key is revoked, expires or may do something else; `204` says that nothing will come any more. An engine's
/// key is told when a secure session starts, and when it ends, with pass or fail.
#[utoipa::path(
    get, path = "/v1/calls/{call_id}/events", tag = "events",
    params(("call_id" = String, Path), EventsQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event")),
    responses(
        (status = 200, body = StreamedEvent, content_type = "text/event-stream",
            description = "Server-sent events; the data of each is a EventBody as JSON"),
        (status = 204, description = "The call is over, and its last event was told"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn follow(
    State(control): State<Arc<Control>>,
    permit: Permit<Party>,
    CallPath(entry): CallPath,
    query: Result<Query<EventsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        Problem::new(Code::MalformedParameter, "Send audience (staff or engine), or nothing.")
    })?;
    let audience = audience(permit.role(), query.audience)?;
    let after = last_event_id(&headers)?.unwrap_or(0);
    event_stream::open(&control, &permit.principal, Listener { entry, audience }, after)
}

/// As whom a key of `role` is told, which may be asked to be less than it could hear, never more.
fn audience(role: Role, asked: Option<AudienceName>) -> Result<Audience, Problem> {
    let own = Audience::of(role);
    match (own, asked.map(Audience::from)) {
        (own, None) => Ok(own),
        (Audience::Staff, Some(asked)) => Ok(asked),
        (Audience::Engine, Some(Audience::Engine)) => Ok(Audience::Engine),
        (Audience::Engine, Some(Audience::Staff)) => {
            let detail = "An engine's key is told what an engine is told: leave audience away.";
            Err(Problem::new(Code::Forbidden, detail))
        }
    }
}

/// One who is told a call's story.
struct Listener {
    entry: Arc<CallEntry>,
    audience: Audience,
}

impl Source for Listener {
    type Tale = Tale;

    fn next(&self, after: u64) -> Next {
        self.entry.story.next(self.audience, after)
    }

    fn event(&self, told: Told) -> Result<Event, axum::Error> {
        let body = EventBody::new(&self.entry, told, self.audience);
        Event::default().event(body.kind).json_data(body)
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.entry.story.changes()
    }
}

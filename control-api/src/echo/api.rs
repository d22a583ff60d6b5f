//! Api: what a call's echo engine hears, as server-sent events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use tokio::sync::watch;

use super::hearing::{Heard, Hearing, Next, Told};
use crate::Control;
use crate::auth::{Permit, ReadCalls};
use crate::calls::CallPath;
use crate::dto::hearing::HearingBody;
use crate::event_stream::{self, Source, StreamedEvent, last_event_id};
use crate::problem::{Code, Problem, ProblemBody};

/// The name of the events.
const EVENT: &str = "hearing";

/// Follows what an echo engine hears: kinds of audio, no words and no keys.
///
/// Each event is a `hearing`: one when the kind of audio changes, and one every 500 ms meanwhile. In
/// a secure session all of them are `silence`, since that is what an engine hears.
///
/// Each has a number as its `id`; send the last one as `Last-Event-ID` to go on from there. Without
/// it the stream begins with the oldest of the last 256. A reader too slow for these gets a last
/// event `stream.lagged`. The stream ends with the engine, or when its key is removed; `204` says
/// that nothing will come any more.
#[utoipa::path(
    get, path = "/v1/calls/{call_id}/engine/hearing", tag = "events",
    params(("call_id" = String, Path),
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event")),
    responses(
        (status = 200, body = StreamedEvent, content_type = "text/event-stream",
            description = "Server-sent events; the data of each is a HearingBody as JSON"),
        (status = 204, description = "The engine has ended, and its last event was told"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn hear(
    State(control): State<Arc<Control>>,
    permit: Permit<ReadCalls>,
    CallPath(entry): CallPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let hearing = entry.hearing().ok_or_else(|| {
        let detail = "The call's engine is none of the type echo, and tells nobody what it hears.";
        Problem::new(Code::HearingNotFound, detail)
    })?;
    let after = last_event_id(&headers)?.unwrap_or_else(|| hearing.before_oldest());
    event_stream::open(&control, &permit.principal, hearing, after)
}

impl Source for Arc<Hearing> {
    type Tale = Heard;

    fn next(&self, after: u64) -> Next {
        Hearing::next(self, after)
    }

    fn event(&self, told: Told) -> Result<Event, axum::Error> {
        Event::default().event(EVENT).json_data(HearingBody::of(told))
    }

    fn changes(&self) -> watch::Receiver<()> {
        Hearing::changes(self)
    }
}

//! Events: a call's story as server-sent events, resumable by number.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::Control;
use crate::auth::{AnyKey, Permit};
use crate::calls::CallPath;
use crate::dto::event::EventBody;
use crate::index::CallEntry;
use crate::problem::{Code, Problem, ProblemBody};
use crate::story::{Audience, Next};

/// Event streams open at a time; one takes about 20 kB.
pub const MAX_STREAMS: usize = 1024;
/// Silence after which a comment shows that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events on their way to one reader. More would only make a slow reader's events older.
const IN_FLIGHT: usize = 1;
/// The event that ends a stream whose reader came too late.
const LAGGED: &str = "stream.lagged";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Follows a call's events.
///
/// The events are `call.opened`, `call.armed`, `call.disarmed`, `call.media_timeout`,
/// `call.closed`, `recording.gap`, `secure_session.started`, `secure_session.field_started`,
/// `secure_session.field_repeated`, `secure_session.field_rejected`,
/// `secure_session.field_accepted`, `secure_session.processing`, `secure_session.concluded`,
/// `secure_session.held` (an alarm: the call stays cut until an operator acts) and
/// `secure_session.ended`.
///
/// Each has a number as its `id`; send the last one as `Last-Event-ID` to go on from there. A
/// reader too slow for the events kept gets a last event `stream.lagged` and must read the call
/// anew. The stream ends with the call, or
/// when its key is removed; `204` says that nothing will come any more. An engine's
/// key is told when a secure session starts, and when it ends, with pass or fail.
#[utoipa::path(
    get, path = "/v1/calls/{call_id}/events", tag = "events",
    params(("call_id" = String, Path),
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event")),
    responses(
        (status = 200, body = EventBody, content_type = "text/event-stream"),
        (status = 204, description = "The call is over, and its last event was told"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn follow(
    State(control): State<Arc<Control>>,
    permit: Permit<AnyKey>,
    CallPath(entry): CallPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = last_event_id(&headers)?;
    let audience = Audience::of(permit.role());
    if entry.story.next(audience, after) == Next::End {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let slot = Arc::clone(&control.streams).try_acquire_owned().map_err(|_| {
        Problem::new(Code::TooManyStreams, "Close another event stream, or poll the call instead.")
    })?;
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let (stopping, mut keys) = (control.stopping(), control.key_changes());
    let teller = Teller { entry, audience, after, sender, _slot: slot };
    tokio::spawn(async move {
        // Also while an event waits for a slow reader: dropping the teller ends the stream.
        tokio::select! {
            () = teller.tell(stopping) => {}
            _ = keys.wait_for(|keys| !keys.still_admits(&permit.principal)) => {}
        }
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(heartbeat).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| {
        Problem::new(Code::MalformedParameter, "Last-Event-ID must be the number of an event.")
    })
}

/// Tells one reader a call's story, from a place in it.
struct Teller {
    entry: Arc<CallEntry>,
    audience: Audience,
    after: u64,
    sender: mpsc::Sender<Result<Event, Infallible>>,
    _slot: OwnedSemaphorePermit,
}

impl Teller {
    async fn tell(mut self, mut stopping: watch::Receiver<bool>) {
        let mut changes = self.entry.story.changes();
        loop {
            let event = match self.entry.story.next(self.audience, self.after) {
                Next::Told(told) => {
                    self.after = told.sequence;
                    let body = EventBody::new(self.entry.id, told, self.audience);
                    Event::default().id(told.sequence.to_string()).event(body.kind).json_data(body)
                }
                Next::Lost(first) => {
                    let body = serde_json::json!({ "type": LAGGED, "oldest_kept": first });
                    if let Ok(event) = Event::default().event(LAGGED).json_data(body) {
                        let _ = self.sender.send(Ok(event)).await;
                    }
                    return;
                }
                Next::End => return,
                Next::Wait => {
                    tokio::select! {
                        _ = changes.changed() => continue,
                        () = self.sender.closed() => return,
                        _ = stopping.wait_for(|stopping| *stopping) => return,
                    }
                }
            };
            let Ok(event) = event else { return };
            if self.sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
    }
}

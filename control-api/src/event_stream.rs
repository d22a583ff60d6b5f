//! EventStream: a telling as server-sent events, resumable by number, of which so many are open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

use crate::Control;
use crate::keys::Principal;
use crate::problem::{Code, Problem};
use crate::telling::{Next, Told};

/// Event streams open at a time; one takes about 20 kB.
pub const MAX_STREAMS: usize = 1024;
/// Silence after which a comment shows that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events on their way to one reader. More would only make a slow reader's events older.
const IN_FLIGHT: usize = 1;
/// The event that ends a stream whose reader came too late.
const LAGGED: &str = "stream.lagged";

/// One server-sent event (HTML section 9.2).
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is written by axum; this is what the contract says of it")]
pub(crate) struct StreamedEvent {
    /// Its number in this stream.
    id: Option<String>,
    /// What kind of event it is.
    event: String,
    /// More about it, as JSON.
    data: String,
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a stream tells.
pub(crate) trait Source: Send + Sync + 'static {
    /// What happens in it.
    type Tale: Send;

    /// What comes after the tale numbered `after`.
    fn next(&self, after: u64) -> Next<Self::Tale>;

    /// A tale as an event, but for its number.
    fn event(&self, told: Told<Self::Tale>) -> Result<Event, axum::Error>;

    /// Tells of every change, in order to look with [`Source::next`] again.
    fn changes(&self) -> watch::Receiver<()>;
}

/// Streams what comes after the tale numbered `after`, until the source ends, the reader's key is
/// over or may do something else, or the process stops.
///
/// # Errors
/// [`Code::TooManyStreams`].
pub(crate) fn open(
    control: &Control,
    reader: &Principal,
    source: impl Source,
    after: u64,
) -> Result<Response, Problem> {
    if matches!(source.next(after), Next::End) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let slot = Arc::clone(&control.streams).try_acquire_owned().map_err(|_| {
        Problem::new(Code::TooManyStreams, "Close another event stream, or poll the call instead.")
    })?;
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let (stopping, mut lease) = (control.stopping(), control.lease(reader));
    let teller = Teller { source, after, sender, _slot: slot };
    tokio::spawn(async move {
        // Also while an event waits for a slow reader: dropping the teller ends the stream.
        tokio::select! {
            () = teller.tell(stopping) => {}
            () = lease.over() => {}
        }
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(heartbeat).into_response())
}

/// The number that a reader has seen last, if it says one.
///
/// # Errors
/// [`Code::MalformedParameter`] for what is no number.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let number: Option<i64> = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    // As far as the contract's integers go.
    number.and_then(|number| u64::try_from(number).ok()).map(Some).ok_or_else(|| {
        Problem::new(Code::MalformedParameter, "Last-Event-ID must be the number of an event.")
    })
}

/// Tells one reader a telling, from a place in it.
struct Teller<S: Source> {
    source: S,
    after: u64,
    sender: mpsc::Sender<Result<Event, Infallible>>,
    _slot: OwnedSemaphorePermit,
}

impl<S: Source> Teller<S> {
    async fn tell(mut self, mut stopping: watch::Receiver<bool>) {
        let mut changes = self.source.changes();
        loop {
            let event = match self.source.next(self.after) {
                Next::Told(told) => {
                    self.after = told.sequence;
                    self.source.event(told).map(|event| event.id(self.after.to_string()))
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

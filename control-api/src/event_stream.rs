//! EventStream: a telling as server-sent events, resumable by number, of which so many are open.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

use crate::Control;
use crate::keys::{KeyId, Principal};
use crate::problem::{Code, Problem};
use crate::telling::{Next, Told};

/// Event streams open at a time; one takes about 20 kB.
pub const MAX_STREAMS: usize = 4096;
/// Event streams of one key, so that one program can't take them all.
pub const MAX_STREAMS_PER_KEY: usize = 1024;
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

/// How many event streams each key has open. Keys without any are not in it, so that there are no more
/// than streams.
#[derive(Clone, Default)]
pub struct Slots(Arc<Mutex<HashMap<KeyId, usize>>>);

/// Room for one event stream, until it is dropped.
pub(crate) struct Slot {
    slots: Slots,
    key: KeyId,
}

impl Slots {
    /// Room for a stream of this key, if there is any.
    pub(crate) fn take(&self, key: &KeyId) -> Option<Slot> {
        let mut open = self.lock();
        let own = open.get(key).copied().unwrap_or(0);
        if own >= MAX_STREAMS_PER_KEY || open.values().sum::<usize>() >= MAX_STREAMS {
            return None;
        }
        open.insert(key.clone(), own + 1);
        drop(open);
        Some(Slot { slots: self.clone(), key: key.clone() })
    }

    /// Streams that are open.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        match open.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                open.remove(&self.key);
            }
        }
    }
}

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
    let slot = control.streams.take(&reader.key).ok_or_else(|| {
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
    _slot: Slot,
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

#[cfg(test)]
mod tests {
    use super::{MAX_STREAMS, MAX_STREAMS_PER_KEY, Slots};
    use crate::keys::KeyId;

    #[test]
    fn one_key_leaves_room_for_others_and_all_have_a_bound() {
        let slots = Slots::default();
        let take = |key: usize| slots.take(&KeyId::new(&key.to_string()));
        let mut open: Vec<_> = (0..MAX_STREAMS_PER_KEY).map(|_| take(1).unwrap()).collect();
        assert!(take(1).is_none());
        let others = (MAX_STREAMS - MAX_STREAMS_PER_KEY) / 2;
        open.extend((0..2 * others).map(|at| take(2 + at % 4).unwrap()));
        assert!(take(2).is_none() && take(9).is_none());
        assert_eq!(slots.taken(), MAX_STREAMS);
        open.remove(0);
        assert!(take(1).is_some());
        drop(open);
        assert!(slots.taken() == 0 && slots.lock().is_empty());
    }
}

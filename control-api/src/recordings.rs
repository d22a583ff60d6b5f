//! Recordings: a call's recording as WAV, written while it is read, and its erasure.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relay::recording::chunk::ReadError;
use relay::recording::{Archive, Ending, ExportError, KeyFileError, RecordQueue};
use relay::switchboard::CallId;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

use crate::Control;
use crate::auth::{EraseRecordings, Permit, ReadRecordings};
use crate::calls;
use crate::dto::id;
use crate::health::Erasure;
use crate::problem::{Code, Problem, ProblemBody};

/// Octets sent in one piece: 2 s of both channels.
const PIECE: usize = 64 * 1024;
/// Pieces made ahead of a slow reader.
const AHEAD: usize = 2;

/// The recordings, and the way to the thread that writes them.
pub struct Recordings {
    /// The recordings and their keys.
    pub archive: Arc<Archive>,
    /// The way to the writer.
    pub queue: RecordQueue,
}

/// A recording as it is handed out: octets.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it is sent piece by piece; this is what the contract says of it")]
pub struct Wav(Vec<u8>);

/// Says whether a recording is whole.
const STATE: HeaderName = HeaderName::from_static("sotto-recording");

/// Whether a call still goes on, and its recording grows, or may. One that was stopped does until
/// its last moments, which a secure session could still take back, were handed over.
#[must_use]
pub fn is_live(control: &Control, call: CallId) -> bool {
    let entry = control.calls.find(call);
    entry.is_some_and(|entry| !entry.story.is_closed() && !entry.recorded.is_handed_over())
}

/// Exports a recording: WAV, 8 kHz, the caller left and the engine right, secure spans silent.
///
/// Its time is zero where the recording began, and it is silent where it was paused. It may be read
/// while it is being made, and holds what was written by then. Every part of it is
/// checked before the answer begins: of a recording that was altered nothing is handed out.
#[utoipa::path(
    get, path = "/v1/calls/{call_id}/recording", tag = "recordings",
    params(("call_id" = String, Path)),
    responses(
        (status = 200, body = Wav, content_type = "audio/wav", headers(("Sotto-Recording" = String,
            description = "complete; in-progress while it is being made; interrupted if a crash \
                           or a full disk cut it short"))),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn export(
    State(control): State<Arc<Control>>,
    _: Permit<ReadRecordings>,
    request: Request,
) -> Result<Response, Problem> {
    let (recordings, call) = recording_of(&control, request).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (begun, beginning) = oneshot::channel();
    let archive = Arc::clone(&recordings.archive);
    tokio::task::spawn_blocking(move || send_wav(&archive, call, sender, begun));
    // A recording that can't be read is an error, not an empty WAV.
    let ending = match beginning.await {
        Ok(begun) => begun.map_err(|error| cannot_export(call, &error))?,
        Err(_) => return Err(Problem::internal()),
    };
    let state = match ending {
        Ending::Complete => "complete",
        Ending::Interrupted { .. } if is_live(&control, call) => "in-progress",
        Ending::Interrupted { .. } | Ending::Damaged { .. } => "interrupted",
    };
    let headers = [(header::CONTENT_TYPE, "audio/wav"), (STATE, state)];
    Ok((headers, Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

/// Erases a recording for good: its key is destroyed, so that no copy can be read any more.
#[utoipa::path(
    delete, path = "/v1/calls/{call_id}/recording", tag = "recordings",
    params(("call_id" = String, Path)),
    responses(
        (status = 204),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn erase(
    State(control): State<Arc<Control>>,
    _: Permit<EraseRecordings>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (recordings, call) = recording_of(&control, request).await?;
    if is_live(&control, call) {
        let detail = "End the call, or stop its recording: it can be erased half a second later.";
        return Err(Problem::new(Code::RecordingInProgress, detail));
    }
    let archive = Arc::clone(&recordings.archive);
    match tokio::task::spawn_blocking(move || archive.erase(call)).await {
        Ok(Ok(true)) => {
            control.metrics.erased(Erasure::OnRequest);
            tracing::info!(call = id::call(call), "recording erased on request");
            Ok(StatusCode::NO_CONTENT)
        }
        Ok(Ok(false)) => Err(not_recorded()),
        Ok(Err(error)) => {
            control.metrics.erased(Erasure::Failed);
            tracing::error!(call = id::call(call), %error, "a recording can't be erased");
            Err(Problem::internal())
        }
        Err(_) => Err(Problem::internal()),
    }
}

/// The call that a path names, once all that was accepted of its recording is in the file.
///
/// Recordings outlive what is remembered of calls.
async fn recording_of(
    control: &Control,
    request: Request,
) -> Result<(&Recordings, CallId), Problem> {
    let call = calls::call_id(&mut request.into_parts().0, control).await?;
    let recordings = control.recordings.as_ref().ok_or_else(not_recorded)?;
    if let Ok(flushed) = recordings.queue.flush() {
        let _ = flushed.await;
    }
    Ok((recordings, call))
}

fn not_recorded() -> Problem {
    let detail = "This call was not recorded, or its recording was erased.";
    Problem::new(Code::RecordingNotFound, detail)
}

/// Writes a recording into the channel, and tells of its beginning or why there is none.
fn send_wav(
    archive: &Archive,
    call: CallId,
    sender: mpsc::Sender<io::Result<Bytes>>,
    begun: oneshot::Sender<Result<Ending, ExportError>>,
) {
    let mut pieces = Pieces { sender, piece: Vec::with_capacity(PIECE) };
    let mut begun = Some(begun);
    let exported = archive.export_wav(call, &mut pieces, |_, summary| {
        if let Some(begun) = begun.take() {
            let _ = begun.send(Ok(summary.ending));
        }
    });
    let Err(error) = exported else { return };
    match begun {
        Some(begun) => drop(begun.send(Err(error))),
        None => {
            tracing::error!(call = id::call(call), %error, "the export of a recording broke off");
            let _ = pieces.sender.blocking_send(Err(io::Error::other(error)));
        }
    }
}

fn cannot_export(call: CallId, error: &ExportError) -> Problem {
    let problem = match error {
        ExportError::None => return not_recorded(),
        ExportError::Key(KeyFileError::Erased) => {
            let detail = "Its key was destroyed, and what is left of it can't be read by anybody.";
            return Problem::new(Code::RecordingErased, detail);
        }
        ExportError::Key(KeyFileError::UnknownKek(kek)) => Problem::new(
            Code::RecordingKeyMissing,
            format!("Name the file of key {kek} in recordings.key_files, and send SIGHUP."),
        ),
        ExportError::Damaged { .. } | ExportError::Key(KeyFileError::Altered) => {
            damaged("`sotto recordings verify` names the first part that is wrong.")
        }
        ExportError::Read(ReadError::NoHeader | ReadError::UnknownVersion(_)) => {
            damaged("It does not begin as this version of Sotto begins recordings.")
        }
        ExportError::Read(ReadError::Io(_))
        | ExportError::Key(KeyFileError::Io(_))
        | ExportError::Write(_)
        | ExportError::TooLong => Problem::internal(),
    };
    tracing::error!(call = id::call(call), %error, "a recording can't be exported");
    problem
}

fn damaged(detail: &'static str) -> Problem {
    Problem::new(Code::RecordingDamaged, detail)
}

/// A writer that sends on what is written, in pieces.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let taken = octets.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&octets[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let sent = self.sender.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

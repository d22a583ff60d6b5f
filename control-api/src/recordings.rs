//! Recordings: a call's recording as WAV, written while it is read.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use relay::recording::{RecordQueue, export_wav, path_of};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::Control;
use crate::auth::{Permit, Recordings as NeedsRecordings};
use crate::calls;
use crate::dto::id;
use crate::problem::{Code, Problem, ProblemBody};

/// Octets sent in one piece: 2 s of both channels.
const PIECE: usize = 64 * 1024;
/// Pieces made ahead of a slow reader.
const AHEAD: usize = 2;

/// Where recordings are kept, and the way to the thread that writes them.
pub struct Recordings {
    /// The directory.
    pub directory: PathBuf,
    /// The way to the writer.
    pub queue: RecordQueue,
}

/// Exports a recording: WAV, 8 kHz, the caller left and the engine right, secure spans silent.
///
/// It may be read while the call goes on, and holds what was written by then.
#[utoipa::path(
    get, path = "/v1/calls/{call_id}/recording", tag = "recordings",
    params(("call_id" = String, Path)),
    responses(
        (status = 200, body = Vec<u8>, content_type = "audio/wav"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn export(
    State(control): State<Arc<Control>>,
    _: Permit<NeedsRecordings>,
    request: Request,
) -> Result<Response, Problem> {
    // Recordings outlive what is remembered of calls.
    let call = calls::call_id(&mut request.into_parts().0).await?;
    let none = || Problem::new(Code::RecordingNotFound, "This call was not recorded.");
    let recordings = control.recordings.as_ref().ok_or_else(none)?;
    let path = path_of(&recordings.directory, call);
    // What was accepted before the request is in the file before it is read.
    if let Ok(flushed) = recordings.queue.flush() {
        let _ = flushed.await;
    }
    if !path.is_file() {
        return Err(none());
    }
    let (sender, mut receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { sender, piece: Vec::with_capacity(PIECE) };
        let exported = export_wav(&path, &mut pieces).map_err(io::Error::other);
        if let Err(error) = exported.and_then(|()| pieces.flush()) {
            tracing::error!(call = id::call(call), %error, "a recording can't be exported");
            let _ = pieces.sender.blocking_send(Err(error));
        }
    });
    // A recording that can't be read at all is an error, not an empty WAV.
    let Some(Ok(first)) = receiver.recv().await else { return Err(Problem::internal()) };
    let pieces = tokio_stream::once(Ok(first)).chain(ReceiverStream::new(receiver));
    Ok(([(header::CONTENT_TYPE, "audio/wav")], Body::from_stream(pieces)).into_response())
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

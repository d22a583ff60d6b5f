//! WebSocket: a message in a message, with the subprotocol `ng.rtpengine.com` and an API key.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::SinkExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ng_protocol::MAX_MESSAGE;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{Peer, handle};
use crate::Control;
use crate::auth::{ControlNg, Permit};
use crate::keys::Lease;
use crate::problem::{Code, Problem};

/// What both sides speak.
const SUBPROTOCOL: &str = "ng.rtpengine.com";
/// WebSockets at a time: a client has one for each of its processes.
pub(super) const MAX_SOCKETS: usize = 128;
/// Time in which a client must take its reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Turns the connection into a WebSocket (RFC 6455 section 4.2). It ends when its key is
/// revoked, expires or may do something else.
pub(crate) async fn serve(
    State(control): State<Arc<Control>>,
    permit: Permit<ControlNg>,
    mut request: Request,
) -> Result<Response, Problem> {
    let accept = accept_of(request.headers()).ok_or_else(|| {
        let detail = "Send an opening handshake of WebSocket (RFC 6455) with the subprotocol \
                      ng.rtpengine.com, or POST a message.";
        Problem::new(Code::MalformedParameter, detail)
    })?;
    let room = Arc::clone(&control.ng.sockets).try_acquire_owned().map_err(|_| {
        Problem::new(Code::TooManyStreams, "Close a WebSocket before another one is opened.")
    })?;
    let upgrade = hyper::upgrade::on(&mut request);
    let (peer, lease) = (Peer::of_key(&permit.principal), control.lease(&permit.principal));
    tokio::spawn(async move {
        converse(upgrade, &control, &peer, lease).await;
        drop(room);
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// The answer to a client's key, if all that a handshake needs is there.
fn accept_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let lists = |name: HeaderName, wanted: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(wanted))
    };
    let is_handshake = lists(UPGRADE, "websocket")
        && lists(CONNECTION, "upgrade")
        && lists(SEC_WEBSOCKET_VERSION, "13")
        && lists(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_handshake)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// Answers one message after the other, until either side or the process has enough.
async fn converse(upgrade: OnUpgrade, control: &Arc<Control>, peer: &Peer, mut lease: Lease) {
    let Ok(upgraded) = upgrade.await else { return };
    let bounds = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(bounds)).await;
    let mut stopping = control.stopping();
    loop {
        let frame = tokio::select! {
            frame = socket.next() => frame,
            _ = stopping.wait_for(|stopping| *stopping) => break,
            () = lease.over() => break,
        };
        // Not to be cut off in the middle of its effect.
        let Some(Ok(frame)) = frame else { return };
        if reply(&mut socket, control, peer, frame).await.is_none() {
            return;
        }
    }
    let _ = timeout(WRITE_TIMEOUT, socket.close(None)).await;
}

/// Answers a message in a frame of its kind; `None` when there is nothing more to say.
async fn reply(
    socket: &mut WebSocketStream<TokioIo<Upgraded>>,
    control: &Arc<Control>,
    peer: &Peer,
    frame: Frame,
) -> Option<()> {
    let told = match &frame {
        Frame::Text(text) => handle(control, peer, text.as_bytes()).await?,
        Frame::Binary(octets) => handle(control, peer, octets).await?,
        // The library answers for us.
        Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => return Some(()),
        Frame::Close(_) => return None,
    };
    let told = match (frame, str::from_utf8(&told)) {
        (Frame::Text(_), Ok(text)) => Frame::text(text),
        (_, Ok(_) | Err(_)) => Frame::binary(told.to_vec()),
    };
    timeout(WRITE_TIMEOUT, socket.send(told)).await.ok()?.ok()
}

//! Wire: the connection to an engine, whatever its messages travel by.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use dialects::audiosocket::Deframer;
use dialects::{Handshake, MAX_MESSAGE, Message};
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use zeroize::{Zeroize, Zeroizing};

use crate::outbound::{ConnectError, Endpoint, Outbound, Stream};

/// Time for a connection to be made, and for an engine to answer its handshake.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Room for the head of an answer to a handshake.
const MAX_HEAD: usize = 16 * 1024;
/// Headers of it.
const MAX_HEADERS: usize = 64;
/// What is read at a time. Each connection has a buffer of it.
const READ_BUFFER: usize = 16 * 1024;

/// What the kernel keeps of what an engine has not taken, in octets; it doubles this for its own
/// use. An engine that stalls for longer than the second or so that fits stops what is behind it, so
/// that a flip takes that back.
const SEND_BUFFER: usize = 16 * 1024;

/// A connection to an engine.
pub(super) struct Wire {
    talk: Talk,
    /// The same socket, to be ended by.
    socket: OwnedFd,
}

/// What is spoken on a connection.
enum Talk {
    /// Messages of a WebSocket.
    WebSocket(Box<WebSocketStream<TokioIo<Upgraded>>>),
    /// Frames of a stream of octets.
    Tcp(Framed),
}

/// A stream of octets, cut into frames.
pub(super) struct Framed {
    stream: TcpStream,
    deframer: Deframer,
    frames: VecDeque<Message>,
    buffer: Box<[u8; READ_BUFFER]>,
}

/// Why there is no connection to an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NoWire {
    /// It can't be reached, or may not.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It did not answer in time.
    #[error("the engine did not answer in 5 s")]
    Late,
    /// It answers, but refuses.
    #[error("the engine answered the handshake with status {0}")]
    Refused(u16),
    /// What it answers is no WebSocket's handshake.
    #[error("the engine's answer is no WebSocket handshake")]
    NoWebSocket,
}

/// What came by a wire.
pub(super) enum Came {
    /// A message.
    Message(Message),
    /// A sign of life.
    Pong,
    /// The engine ends it as it should.
    Closed,
    /// It broke, or what came has no meaning.
    Broken,
}

impl Wire {
    /// Opens a WebSocket (RFC 6455 section 4.1).
    ///
    /// # Errors
    /// [`NoWire`].
    pub(super) async fn web_socket(
        outbound: &Outbound,
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
        handshake: &Handshake,
    ) -> Result<Wire, NoWire> {
        let opening = async {
            let stream = outbound.connect_media(endpoint, tls).await?;
            let socket = hold(&stream).map_err(|_| ConnectError::Interrupted)?;
            let opened = match stream {
                Stream::Tls(stream) => upgrade(*stream, endpoint, handshake).await,
                Stream::Clear(stream) => upgrade(stream, endpoint, handshake).await,
            };
            Ok::<_, NoWire>((opened?, socket))
        };
        let opened = tokio::time::timeout(CONNECT_TIME, opening).await.map_err(|_| NoWire::Late)?;
        let (upgraded, socket) = opened?;
        let io = TokioIo::new(upgraded);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * MAX_MESSAGE)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let talk = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;
        Ok(Wire { talk: Talk::WebSocket(Box::new(talk)), socket })
    }

    /// Opens a TCP connection, in clear.
    ///
    /// # Errors
    /// [`NoWire`].
    pub(super) async fn tcp(outbound: &Outbound, endpoint: &Endpoint) -> Result<Wire, NoWire> {
        let opening = outbound.connect_media(endpoint, None);
        match tokio::time::timeout(CONNECT_TIME, opening).await.map_err(|_| NoWire::Late)?? {
            Stream::Clear(stream) => {
                Wire::accepted(stream).map_err(|_| ConnectError::Interrupted.into())
            }
            Stream::Tls(_) => Err(ConnectError::Untrusted.into()),
        }
    }

    /// A TCP connection that somebody else has opened.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn accepted(stream: TcpStream) -> io::Result<Wire> {
        let socket = hold(&stream)?;
        let (deframer, frames) = (Deframer::default(), VecDeque::new());
        let buffer = Box::new([0; READ_BUFFER]);
        Ok(Wire { talk: Talk::Tcp(Framed { stream, deframer, frames, buffer }), socket })
    }

    /// Ends the connection, and what the kernel has not sent yet with it.
    pub(super) fn abort(self) {
        // Without it the kernel would go on with what lies there (socket(7), SO_LINGER).
        let _ = sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }

    /// Whether a peer that is silent can be asked whether it lives.
    pub(super) const fn pings(&self) -> bool {
        match self.talk {
            Talk::WebSocket(_) => true,
            Talk::Tcp(_) => false,
        }
    }

    /// Sends a message wholly, or says that it can't be. Nothing may be sent after this was dropped
    /// before it was done.
    pub(super) async fn send(&mut self, message: Message) -> Result<(), ()> {
        match &mut self.talk {
            Talk::WebSocket(socket) => {
                let frame = match message {
                    Message::Text(text) => Frame::text(text),
                    Message::Binary(octets) => Frame::binary(octets),
                };
                socket.send(frame).await.map_err(drop)
            }
            Talk::Tcp(framed) => match message {
                Message::Binary(octets) => {
                    // To a caller it may be a part of a read-back.
                    let octets = Zeroizing::new(octets);
                    framed.stream.write_all(&octets).await.map_err(drop)
                }
                Message::Text(_) => Err(()),
            },
        }
    }

    /// Asks for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), ()> {
        match &mut self.talk {
            Talk::WebSocket(socket) => socket.send(Frame::Ping(Bytes::new())).await.map_err(drop),
            // It has no such thing: that frames go out must do.
            Talk::Tcp(_) => Ok(()),
        }
    }

    /// What comes next. Nothing is lost if this is dropped while it waits.
    pub(super) async fn next(&mut self) -> Came {
        match &mut self.talk {
            Talk::WebSocket(socket) => match socket.next().await {
                Some(Ok(frame)) => came(frame),
                Some(Err(tungstenite::Error::ConnectionClosed)) | None => Came::Closed,
                Some(Err(_)) => Came::Broken,
            },
            Talk::Tcp(framed) => framed.next().await,
        }
    }

    /// Ends it as one should.
    pub(super) async fn close(&mut self) {
        match &mut self.talk {
            Talk::WebSocket(socket) => {
                let reason = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                let _ = WebSocketStream::close(socket, Some(reason)).await;
            }
            Talk::Tcp(framed) => {
                let _ = framed.stream.shutdown().await;
            }
        }
    }
}

impl Framed {
    async fn next(&mut self) -> Came {
        loop {
            if let Some(message) = self.frames.pop_front() {
                return Came::Message(message);
            }
            match self.stream.read(&mut self.buffer[..]).await {
                Ok(0) => return Came::Closed,
                Ok(length) => {
                    let mut frames = Vec::new();
                    self.deframer.push(&self.buffer[..length], &mut frames);
                    self.frames.extend(frames);
                    // It may have been a caller's key.
                    self.buffer[..length].zeroize();
                }
                Err(_) => return Came::Broken,
            }
        }
    }
}

impl Drop for Framed {
    /// What was not looked at may be a caller's sound or key.
    fn drop(&mut self) {
        for frame in self.frames.drain(..) {
            if let Message::Binary(mut octets) = frame {
                octets.zeroize();
            }
        }
    }
}

/// Bounds what the kernel keeps of a connection, and keeps hold of its socket.
fn hold(stream: &impl AsFd) -> io::Result<OwnedFd> {
    sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER)?;
    stream.as_fd().try_clone_to_owned()
}

fn came(frame: Frame) -> Came {
    match frame {
        Frame::Text(text) => Came::Message(Message::Text(text.as_str().to_owned())),
        Frame::Binary(octets) => Came::Message(Message::Binary(octets.into())),
        Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => Came::Pong,
        Frame::Close(_) => Came::Closed,
    }
}

/// Sends the handshake and reads its answer. By an HTTP client with bounds: a WebSocket library's
/// own refuses engines that choose no subprotocol, which some do.
async fn upgrade<S>(
    stream: S,
    endpoint: &Endpoint,
    handshake: &Handshake,
) -> Result<Upgraded, NoWire>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let key = generate_key();
    let request = request(endpoint, handshake, &key).ok_or(NoWire::NoWebSocket)?;
    let mut builder = http1::Builder::new();
    let builder = builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let broken = |_| NoWire::Connect(ConnectError::Interrupted);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut connection = Box::pin(connection.with_upgrades());
    let asked = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(NoWire::Refused(answer.status().as_u16()));
        }
        let accepted = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|it| it.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(NoWire::NoWebSocket);
        }
        hyper::upgrade::on(answer).await.map_err(broken)
    };
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        answer = &mut asked => return answer,
        _ = &mut connection => {}
    }
    asked.await
}

fn request(endpoint: &Endpoint, handshake: &Handshake, key: &str) -> Option<Request<Empty<Bytes>>> {
    let mut request = Request::get(&endpoint.target)
        .header(header::HOST, endpoint.host_header())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, key)
        .header(header::USER_AGENT, concat!("sotto/", env!("CARGO_PKG_VERSION")));
    if !handshake.subprotocols.is_empty() {
        let offered = handshake.subprotocols.join(", ");
        request = request.header(header::SEC_WEBSOCKET_PROTOCOL, offered);
    }
    for (name, value) in &handshake.headers {
        let mut value = HeaderValue::from_bytes(value.reveal()).ok()?;
        value.set_sensitive(true);
        request = request.header(HeaderName::from_static(name), value);
    }
    request.body(Empty::new()).ok()
}

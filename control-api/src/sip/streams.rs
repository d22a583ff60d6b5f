//! Streams: SIP over TCP and TLS, with bounds on what a peer may hold.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use sip_server::{Flow, Frame, Framer, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use zeroize::{Zeroize, Zeroizing};

/// Connections at a time; each takes about 10 kB, and what it has sent of a message.
const MAX_CONNECTIONS: usize = 1024;
/// Connections of one address: of the phones of an office, or of a trunk.
const MAX_PER_IP: usize = 128;
/// Time for a TLS handshake, for the first message, and for a peer to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Quiet after which a connection without a call is closed. Phones that keep one alive send more
/// often (RFC 5626 section 4.4.1 says 95 to 120 s).
const IDLE: Duration = Duration::from_secs(180);
/// Messages that wait until a peer takes them.
const OUTBOX: usize = 64;
/// Octets of one read.
const READ: usize = 4096;
/// Pause after a failed accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is to be written to a connection. Dropped, it ends the connection.
pub(super) type Outbox = mpsc::Sender<Zeroizing<Vec<u8>>>;

/// What a connection tells the desk.
pub(super) enum Mail {
    /// It is there, and is written to by this.
    Opened(u64, Outbox),
    /// It has brought a message.
    Message(Flow, Zeroizing<Vec<u8>>),
    /// Nothing has come for some time.
    Idle(u64),
    /// It is gone.
    Closed(u64),
}

/// How a listener lets peers in.
pub(super) enum Door {
    /// In clear.
    Open,
    /// By TLS.
    Locked(Arc<ServerConfig>),
}

impl Door {
    pub(super) fn transport(&self) -> Transport {
        match self {
            Door::Open => Transport::Tcp,
            Door::Locked(_) => Transport::Tls,
        }
    }
}

/// All connections.
pub(super) struct Streams {
    inbox: mpsc::Sender<Mail>,
    stopping: watch::Receiver<bool>,
    last: AtomicU64,
    /// How many connections each address has.
    peers: Mutex<HashMap<IpAddr, usize>>,
}

impl Streams {
    pub(super) fn new(inbox: mpsc::Sender<Mail>, stopping: watch::Receiver<bool>) -> Arc<Streams> {
        Arc::new(Streams { inbox, stopping, last: AtomicU64::new(0), peers: Mutex::default() })
    }

    /// Lets peers in until the process is stopping.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener, door: Door) {
        let door = Arc::new(door);
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((stream, remote)) => {
                    // Beyond its share a peer is cut off at once: an answer would cost what is
                    // lacking.
                    if let Some(place) = Place::take(&self, remote.ip().to_canonical()) {
                        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                        tokio::spawn(Arc::clone(&self).admit(
                            stream,
                            remote,
                            Arc::clone(&door),
                            place,
                        ));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a SIP connection can't be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn admit(
        self: Arc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        door: Arc<Door>,
        place: Place,
    ) {
        let _ = stream.set_nodelay(true);
        let Ok(local) = stream.local_addr() else { return };
        let connection = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let flow = Flow { transport: door.transport(), connection, remote, local };
        match &*door {
            Door::Open => self.talk(stream, flow).await,
            Door::Locked(config) => {
                let handshake = TlsAcceptor::from(Arc::clone(config)).accept(stream);
                // Who does not finish it is none of ours.
                if let Ok(Ok(stream)) = timeout(PATIENCE, handshake).await {
                    self.talk(stream, flow).await;
                }
            }
        }
        drop(place);
    }

    async fn talk(&self, stream: impl AsyncRead + AsyncWrite + Send + 'static, flow: Flow) {
        let (reader, writer) = tokio::io::split(stream);
        let (outbox, letters) = mpsc::channel(OUTBOX);
        let Ok(()) = self.inbox.send(Mail::Opened(flow.connection, outbox.clone())).await else {
            return;
        };
        // Pings are answered by a way that does not keep the connection open.
        let pongs = outbox.downgrade();
        drop(outbox);
        tokio::select! {
            () = write(writer, letters) => {}
            () = self.read(reader, flow, pongs) => {}
        }
        let _ = self.inbox.send(Mail::Closed(flow.connection)).await;
    }

    async fn read(
        &self,
        mut reader: ReadHalf<impl AsyncRead>,
        flow: Flow,
        pongs: mpsc::WeakSender<Zeroizing<Vec<u8>>>,
    ) {
        let mut framer = Framer::default();
        let mut octets = Zeroizing::new(vec![0; READ]);
        let mut has_asked = false;
        loop {
            let patience = if has_asked { IDLE } else { PATIENCE };
            match timeout(patience, reader.read(&mut octets)).await {
                // Whoever connects has something to say.
                Err(_) if !has_asked => return,
                Err(_) => {
                    let _ = self.inbox.send(Mail::Idle(flow.connection)).await;
                    continue;
                }
                Ok(Ok(length)) if length > 0 => {
                    framer.push(octets.get(..length).unwrap_or_default());
                    octets.as_mut_slice().zeroize();
                }
                Ok(Ok(_) | Err(_)) => return,
            }
            loop {
                match framer.next_frame() {
                    Ok(Some(Frame::Message(message))) => {
                        has_asked = true;
                        if self.inbox.send(Mail::Message(flow, message)).await.is_err() {
                            return;
                        }
                    }
                    Ok(Some(Frame::Ping)) => {
                        let pong = Zeroizing::new(b"\r\n".to_vec());
                        let _ = pongs.upgrade().map(|outbox| outbox.try_send(pong));
                    }
                    Ok(None) => break,
                    // There is no telling where the next message begins.
                    Err(_) => return,
                }
            }
        }
    }
}

/// Writes until nobody has anything to write any more, or the peer takes nothing.
async fn write(
    mut writer: WriteHalf<impl AsyncWrite>,
    mut letters: mpsc::Receiver<Zeroizing<Vec<u8>>>,
) {
    while let Some(letter) = letters.recv().await {
        let sent = async {
            writer.write_all(&letter).await?;
            writer.flush().await
        };
        if !matches!(timeout(PATIENCE, sent).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(PATIENCE, writer.shutdown()).await;
}

/// A connection's share of what there is room for.
struct Place {
    streams: Arc<Streams>,
    ip: IpAddr,
}

impl Place {
    fn take(streams: &Arc<Streams>, ip: IpAddr) -> Option<Place> {
        let mut peers = streams.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = peers.values().sum();
        let own = peers.get(&ip).copied().unwrap_or(0);
        if all >= MAX_CONNECTIONS || own >= MAX_PER_IP {
            return None;
        }
        peers.insert(ip, own + 1);
        drop(peers);
        Some(Place { streams: Arc::clone(streams), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.streams.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match peers.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                peers.remove(&self.ip);
            }
        }
    }
}

//! Server: the accept loop of a listener, with bounds on what one client may hold.
//!
//! `axum::serve` has no timeout for headers and no bound on connections. Here a client has
//! [`HEADER_TIMEOUT`] for the headers of each request, must take what it is sent within
//! [`WRITE_TIMEOUT`], and has [`MAX_PER_IP`] connections.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Sleep, sleep};

/// Time for the headers of one request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which a client must take something of what it is sent.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections of one listener; a connection takes about 20 kB.
pub const MAX_CONNECTIONS: usize = 2048;
/// Connections of one address, so that one client can't take them all.
pub const MAX_PER_IP: usize = 512;
/// Room for the headers of a request.
const MAX_HEADERS: usize = 16 * 1024;
/// Pause after a failed accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for requests in flight when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Whom a request comes from: the other side of its connection, for the audit log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client(pub SocketAddr);

/// Serves `app` to those who connect, until `stopping`; then lets requests in flight end.
pub async fn serve(listener: TcpListener, app: Router, mut stopping: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let addresses = Arc::new(Addresses::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection can't be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond its share a client is cut off at once: an answer would cost what is lacking.
        let Ok(room) = Arc::clone(&room).try_acquire_owned() else { continue };
        let Some(address) = Addresses::enter(&addresses, peer) else { continue };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(app.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Client(peer));
            service.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(TokioIo::new(Paced::new(stream)), service)
            .with_upgrades();
        let held = Held { _room: room, _address: address };
        let mut stopping = stopping.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let is_over = tokio::select! {
                // What ends a connection is the client's business.
                _ = connection.as_mut() => true,
                _ = stopping.wait_for(|stopping| *stopping) => false,
            };
            if !is_over {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            drop(held);
        });
    }
    drop(listener);
    // Each connection has its place until it ends.
    let all_gone = room.acquire_many(MAX_CONNECTIONS as u32);
    let _ = tokio::time::timeout(STOP_TIMEOUT, all_gone).await;
}

/// What a connection takes of the bounds.
struct Held {
    _room: OwnedSemaphorePermit,
    _address: AddressPermit,
}

/// How many connections each address has.
#[derive(Default)]
struct Addresses {
    connections: Mutex<HashMap<IpAddr, usize>>,
}

struct AddressPermit {
    addresses: Arc<Addresses>,
    ip: IpAddr,
}

impl Addresses {
    fn enter(addresses: &Arc<Addresses>, peer: SocketAddr) -> Option<AddressPermit> {
        let ip = peer.ip().to_canonical();
        let mut connections = addresses.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(ip).or_default();
        if *count >= MAX_PER_IP {
            return None;
        }
        *count += 1;
        drop(connections);
        Some(AddressPermit { addresses: Arc::clone(addresses), ip })
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut connections =
            self.addresses.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.ip);
            }
        }
    }
}

/// A stream whose peer must take what it is sent: a write that waits too long is an error.
struct Paced {
    stream: TcpStream,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    fn new(stream: TcpStream) -> Paced {
        Paced { stream, waiting: None }
    }

    /// Passes on what came of a write, or ends the wait for it.
    fn pace<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        self.pace(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.pace(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.pace(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

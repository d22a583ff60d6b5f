//! Server: the accept loop of a listener, with bounds on what one client may hold.
//!
//! `axum::serve` has no timeout for headers and no bound on connections. Here a client has
//! [`HANDSHAKE_TIMEOUT`] for TLS, [`HEADER_TIMEOUT`] for the headers of each request, sends a body and
//! takes an answer at a least pace ([`flow`], [`paced`]), and has its share of [`places`].
//!
//! HTTP/1.1 is spoken unless ALPN says h2: the version is agreed on, not guessed from what comes first,
//! for which a client could take any time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tower_service::Service;

use crate::client_address::{OverTls, TrustedProxies};
use crate::clock;
use crate::mcp::BaseUrl;

pub mod certificate;
pub mod config;
mod flow;
mod meter;
mod paced;
mod places;

pub use flow::BODY_TIMEOUT;
pub use meter::{IDLE_TIMEOUT, MAX_GIVEN_UP};
pub use paced::WRITE_TIMEOUT;
pub use places::{Bounds, Standing};

use certificate::{Certificate, HTTP_2};
use flow::{Inflow, Outflow};
use meter::{Meter, Turn};
use paced::Paced;
use places::{Place, Places};

/// Time for a TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the headers of one request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of the API's listener; one takes about 20 kB, with TLS 40.
pub const API_BOUNDS: Bounds = Bounds { connections: 4096, per_address: 512 };
/// Connections of the health listener: what looks at it is a handful of programs.
pub const HEALTH_BOUNDS: Bounds = Bounds { connections: 256, per_address: 64 };
/// Room for the headers of a request.
const MAX_HEADERS: usize = 16 * 1024;
/// Requests at a time on one connection of HTTP/2: as many event streams as a page or a program has.
pub const MAX_STREAMS: u32 = 128;
/// Streams that were reset before they were looked at.
const MAX_PENDING_RESETS: usize = 16;
/// Streams that were reset for a client's mistakes.
const MAX_MISTAKES: usize = 32;
/// Octets that a client may send ahead of what is read: of one stream, and of all.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Octets of an answer that wait for a client's window.
const SEND_BUFFER: usize = 32 * 1024;
/// Silence after which a connection of HTTP/2 is asked for a sign of life, and time for that.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection's requests are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for requests in flight when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Two years, as Mozilla's guideline for servers has it.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// How a listener is reached.
pub struct Front {
    /// What clients may hold.
    pub bounds: Bounds,
    /// TLS that ends here; without it, octets are taken in clear.
    pub certificate: Option<Arc<Certificate>>,
    /// Proxies that say where requests come from.
    pub proxies: TrustedProxies,
}

impl Front {
    /// A listener in clear, in front of which there is nobody.
    #[must_use]
    pub fn bare(bounds: Bounds) -> Front {
        Front { bounds, certificate: None, proxies: TrustedProxies::default() }
    }

    /// Where models of this machine reach the listener at `address`. With TLS only the operator knows by
    /// which name that is: `mcp.url` says it.
    #[must_use]
    pub fn base_url(&self, address: SocketAddr) -> Option<BaseUrl> {
        if self.certificate.is_some() { None } else { BaseUrl::of_listener(address) }
    }
}

/// A listener while it runs.
struct Server {
    front: Front,
    app: Router,
    places: Arc<Places>,
    stopping: watch::Receiver<bool>,
}

/// Whom a request comes from, for the audit log: the other side of its connection, or whom a trusted
/// proxy names, whose port is not known then and told as 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client(pub SocketAddr);

/// One connection's client.
#[derive(Clone)]
struct Guest {
    server: Arc<Server>,
    peer: SocketAddr,
    standing: Standing,
    meter: Arc<Meter>,
}

/// Serves `app` to those who connect, until `stopping`; then lets requests in flight end.
pub async fn serve(
    listener: TcpListener,
    front: Front,
    app: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let places = Places::new(front.bounds);
    let server =
        Arc::new(Server { front, app, places: Arc::clone(&places), stopping: stopping.clone() });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        match accepted {
            Ok((stream, peer)) => Server::admit(&server, stream, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection can't be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all_gone = async {
        while places.taken() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = timeout(STOP_TIMEOUT, all_gone).await;
}

impl Server {
    /// Lets a client in, if there is a place for it. Otherwise it is cut off at once: an answer would
    /// cost what is lacking.
    fn admit(server: &Arc<Server>, stream: TcpStream, peer: SocketAddr) {
        let ip = peer.ip().to_canonical();
        let is_bounded = !server.front.proxies.trusts(ip);
        let Some((place, standing)) = Places::take(&server.places, ip, is_bounded) else { return };
        let _ = stream.set_nodelay(true);
        let meter = Meter::new(standing.clone(), clock::monotonic());
        let guest = Guest { server: Arc::clone(server), peer, standing, meter };
        tokio::spawn(guest.attend(stream, place));
    }
}

impl Guest {
    /// Shakes hands, and serves the client until it is gone or has to go.
    async fn attend(self, stream: TcpStream, place: Place) {
        let stream = Paced::new(stream, place);
        let Some(certificate) = self.server.front.certificate.clone() else {
            return self.speak_http1(stream).await;
        };
        let handshake = timeout(HANDSHAKE_TIMEOUT, certificate.acceptor().accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = self.standing.is_cut() => return,
        };
        // Who does not finish it is none of ours.
        let Ok(Ok(stream)) = shaken else { return };
        if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) {
            self.speak_http2(stream).await;
        } else {
            self.speak_http1(stream).await;
        }
    }

    async fn speak_http1(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let guest = self.clone();
        let service = service_fn(move |request| guest.begin(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        self.watch(connection, |it| it.graceful_shutdown(), false).await;
    }

    async fn speak_http2(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let guest = self.clone();
        let service = service_fn(move |request| guest.begin(request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_MISTAKES)
            .max_header_list_size(MAX_HEADERS as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        self.watch(connection, |it| it.graceful_shutdown(), true).await;
    }

    /// Drives a connection to its end, which may be ours to make.
    async fn watch<C: Future>(
        self,
        connection: C,
        wind_down: impl Fn(Pin<&mut C>),
        is_idle_bounded: bool,
    ) {
        let mut connection = pin!(connection);
        let mut stopping = self.server.stopping.clone();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_leaving = false;
        loop {
            tokio::select! {
                // What ends a connection is the client's business.
                _ = connection.as_mut() => return,
                () = self.standing.is_cut() => return,
                _ = stopping.wait_for(|it| *it), if !is_leaving => {
                    is_leaving = true;
                    wind_down(connection.as_mut());
                }
                _ = look.tick() => {
                    let now = clock::monotonic();
                    if self.meter.is_overdue(now) || (is_idle_bounded && self.meter.is_idle(now)) {
                        return;
                    }
                }
            }
        }
    }

    /// Answers one request. It counts from now on, whether or not anybody waits for the answer.
    fn begin(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Outflow>, Infallible>> + use<> {
        self.clone().answer(request, Meter::begin(&self.meter))
    }

    async fn answer(
        self,
        mut request: Request<Incoming>,
        turn: Turn,
    ) -> Result<Response<Outflow>, Infallible> {
        let client = self.server.front.proxies.client(self.peer.ip(), request.headers());
        let is_named = client.0 != self.peer.ip().to_canonical();
        let named = SocketAddr::new(client.0, if is_named { 0 } else { self.peer.port() });
        let is_locked = self.server.front.certificate.is_some();
        name_host(&mut request);
        let extensions = request.extensions_mut();
        extensions.insert(client);
        extensions.insert(Client(named));
        extensions.insert(self.standing.clone());
        if is_locked {
            extensions.insert(OverTls);
        }
        let request = request.map(|body| Body::new(Inflow::new(body)));
        // A router is always ready.
        let mut response = self.server.app.clone().call(request).await?;
        complete(&mut response, is_locked);
        Ok(response.map(|body| Outflow::new(body, turn)))
    }
}

/// HTTP/2 names the host beside the path, and HTTP/1.1 in a header: from here on both do so there.
fn name_host(request: &mut Request<Incoming>) {
    let named =
        request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = named {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// Writes the headers of every answer, whatever it is, where it has none of its own.
fn complete(response: &mut Response<Body>, is_locked: bool) {
    const COMMON: [(HeaderName, HeaderValue); 3] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let headers = response.headers_mut();
    for (name, value) in COMMON {
        headers.entry(name).or_insert(value);
    }
    if is_locked {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
    }
}

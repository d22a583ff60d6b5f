//! Outbound: one HTTP request over a connection of its own: a POST, or a GET of what is public.
//!
//! Connecting and sending are two steps, so that it is known of every failure whether anything of
//! the body can have left. The body is encrypted from where it lies: hyper queues it without a
//! copy because the stream below takes vectored writes, and TLS writes its records over the copy
//! that it encrypts. What is received is bounded.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::{Zeroize, Zeroizing};

use super::address::{AddressRules, Special};
use super::endpoint::{Endpoint, Host, Scheme};
use super::resolve::Resolve;

/// Addresses of one host that are tried.
const MAX_TRIES: usize = 3;
/// Time for one address to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Room for the head of an answer.
const MAX_HEAD: usize = 16 * 1024;
/// Headers of an answer.
const MAX_HEADERS: usize = 64;
/// Longest body of an answer that is read.
pub const MAX_ANSWER: usize = 32 * 1024;

/// Makes outgoing requests.
#[derive(Clone)]
pub struct Outbound {
    rules: Arc<AddressRules>,
    resolver: Arc<dyn Resolve>,
}

/// Why there is no connection. Nothing of a body has been sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name leads nowhere.
    #[error("the host has no address")]
    Unresolved,
    /// The host has an address that outgoing requests may not go to.
    #[error("the host has a {} address, which outbound.allow does not open", .0.as_str())]
    Forbidden(Special),
    /// In clear to another host than this one.
    #[error(
        "in clear, requests go to a loopback address only, and media to an address that \
         outbound.allow opens"
    )]
    InClear,
    /// No address answers.
    #[error("the host does not answer")]
    Unreachable,
    /// The server's certificate is not one to trust, or it does not speak TLS as it must.
    #[error("the server is not trusted or speaks no acceptable TLS")]
    Untrusted,
    /// The connection broke while TLS was set up.
    #[error("the connection broke off before anything was sent")]
    Interrupted,
}

/// Why there is no answer, although something may have been sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The connection broke, or the answer is not HTTP.
    #[error("the connection broke off, or the answer was not HTTP")]
    Interrupted,
    /// The answer is longer than any that is read.
    #[error("the answer is too long")]
    TooLong,
}

/// The answer to a request.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; wiped when dropped.
    pub body: Zeroizing<Vec<u8>>,
}

/// A connection on which nothing has been sent yet.
pub struct Connection {
    stream: Stream,
    uri: Uri,
    host: HeaderValue,
}

/// A connection to an endpoint, for what is not a POST.
pub enum Stream {
    /// By TLS, to a server that is trusted.
    Tls(Box<TlsStream<TcpStream>>),
    /// In clear.
    Clear(TcpStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tls(stream) => stream.get_ref().0.as_fd(),
            Stream::Clear(stream) => stream.as_fd(),
        }
    }
}

/// Where a connection may go in clear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum InClear {
    /// To this host: for what carries data that was keyed, or words about it.
    Here,
    /// To any address that the configuration opens: for media, which goes in clear as RTP does too.
    Opened,
}

impl ConnectError {
    /// The word for files, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ConnectError::Unresolved => "unresolved",
            ConnectError::Forbidden(_) | ConnectError::InClear => "forbidden-address",
            ConnectError::Unreachable => "unreachable",
            ConnectError::Untrusted => "untrusted",
            ConnectError::Interrupted => "interrupted",
        }
    }

    /// Whether another try at once may go better.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        match self {
            ConnectError::Unresolved | ConnectError::Unreachable | ConnectError::Interrupted => {
                true
            }
            ConnectError::Forbidden(_) | ConnectError::InClear | ConnectError::Untrusted => false,
        }
    }
}

impl SendError {
    /// The word for files, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            SendError::Interrupted => "interrupted",
            SendError::TooLong => "answer-too-long",
        }
    }
}

impl Outbound {
    /// The address that an endpoint names, if no request may go there. Where a name leads is seen
    /// only when it is resolved.
    #[must_use]
    pub fn refused(&self, endpoint: &Endpoint) -> Option<IpAddr> {
        match endpoint.host {
            Host::Ip(ip) => self.rules.check(ip).is_err().then_some(ip),
            Host::Name(_) => None,
        }
    }

    /// A client that goes where `rules` let it.
    #[must_use]
    pub fn new(rules: AddressRules, resolver: Arc<dyn Resolve>) -> Outbound {
        Outbound { rules: Arc::new(rules), resolver }
    }

    /// Connects to an endpoint, by TLS unless its scheme is plain http; `tls` says whom to trust.
    ///
    /// # Errors
    /// [`ConnectError`]; the caller sets the time limit.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Connection, ConnectError> {
        let uri = endpoint.target.parse().map_err(|_| ConnectError::Unresolved)?;
        let host = HeaderValue::from_str(&endpoint.host_header());
        let host = host.map_err(|_| ConnectError::Unresolved)?;
        let stream = self.reach(endpoint, tls, InClear::Here).await?;
        Ok(Connection { stream, uri, host })
    }

    /// Connects to an engine, for media; in clear also to other machines, where the configuration
    /// opens their addresses.
    ///
    /// # Errors
    /// [`ConnectError`]; the caller sets the time limit.
    pub async fn connect_media(
        &self,
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Stream, ConnectError> {
        self.reach(endpoint, tls, InClear::Opened).await
    }

    async fn reach(
        &self,
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
        in_clear: InClear,
    ) -> Result<Stream, ConnectError> {
        let addresses = self.addresses(endpoint, in_clear).await?;
        let tcp = reach(&addresses, endpoint.port).await?;
        Ok(match endpoint.scheme {
            Scheme::Http => Stream::Clear(tcp),
            Scheme::Https => {
                let tls = tls.ok_or(ConnectError::Untrusted)?;
                Stream::Tls(Box::new(shake_hands(endpoint, tls, tcp).await?))
            }
        })
    }

    /// The endpoint's addresses, each of which may be connected to. One that may not be spoils
    /// them all: a name with such an address is not what the configuration meant.
    async fn addresses(
        &self,
        endpoint: &Endpoint,
        in_clear: InClear,
    ) -> Result<Vec<IpAddr>, ConnectError> {
        let addresses = match &endpoint.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => {
                self.resolver.resolve(name).await.map_err(|_| ConnectError::Unresolved)?
            }
        };
        for ip in &addresses {
            self.rules.check(*ip).map_err(ConnectError::Forbidden)?;
            let may_be = match in_clear {
                InClear::Here => ip.to_canonical().is_loopback() && self.rules.is_opened(*ip),
                InClear::Opened => self.rules.is_opened(*ip),
            };
            if endpoint.scheme == Scheme::Http && !may_be {
                return Err(ConnectError::InClear);
            }
        }
        if addresses.is_empty() { Err(ConnectError::Unresolved) } else { Ok(addresses) }
    }
}

async fn reach(addresses: &[IpAddr], port: u16) -> Result<TcpStream, ConnectError> {
    for ip in addresses.iter().take(MAX_TRIES) {
        let connecting = TcpStream::connect(SocketAddr::new(*ip, port));
        if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            let _ = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    Err(ConnectError::Unreachable)
}

async fn shake_hands(
    endpoint: &Endpoint,
    tls: &Arc<ClientConfig>,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let name = match &endpoint.host {
        Host::Name(name) => ServerName::try_from(name.clone()),
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
    };
    let name = name.map_err(|_| ConnectError::Untrusted)?;
    let connected = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await;
    connected.map_err(|error| match error.get_ref().is_some_and(|it| it.is::<rustls::Error>()) {
        true => ConnectError::Untrusted,
        false => ConnectError::Interrupted,
    })
}

impl Connection {
    /// Posts JSON, once, and reads the answer. The connection is not used again.
    ///
    /// # Errors
    /// [`SendError`]; the caller sets the time limit.
    pub async fn post(self, mut headers: HeaderMap, body: Bytes) -> Result<Answer, SendError> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(Method::POST, headers, body).await
    }

    /// Gets JSON, once. The connection is not used again.
    ///
    /// # Errors
    /// [`SendError`]; the caller sets the time limit.
    pub async fn get(self, headers: HeaderMap) -> Result<Answer, SendError> {
        self.send(Method::GET, headers, Bytes::new()).await
    }

    async fn send(
        self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, SendError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = headers;
        let fixed = [
            (header::HOST, self.host),
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            (header::CONNECTION, HeaderValue::from_static("close")),
            (
                header::USER_AGENT,
                HeaderValue::from_static(concat!("sotto/", env!("CARGO_PKG_VERSION"))),
            ),
        ];
        request.headers_mut().extend(fixed.map(|(name, value)| (Some(name), value)));
        match self.stream {
            Stream::Tls(stream) => exchange(*stream, request).await,
            Stream::Clear(stream) => exchange(stream, request).await,
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    assert!(stream.is_write_vectored(), "a body must not be copied to be sent");
    let mut builder = http1::Builder::new();
    let builder = builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let shaken = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|_| SendError::Interrupted)?;
    let answered = Box::pin(async move {
        let response = sender.send_request(request).await.map_err(|_| SendError::Interrupted)?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: read(response.into_body()).await? })
    });
    // In one task: when this future is dropped, so is everything that holds the body.
    let (mut answered, mut connection) = (answered, Box::pin(connection));
    tokio::select! {
        answer = &mut answered => return answer,
        _ = &mut connection => {}
    }
    answered.await
}

async fn read(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, SendError> {
    let mut whole = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| SendError::Interrupted)?.into_data() else { continue };
        if whole.len() + piece.len() > MAX_ANSWER {
            return Err(SendError::TooLong);
        }
        whole.extend_from_slice(&piece);
        // A server may send back what it was sent.
        if let Ok(mut piece) = piece.try_into_mut() {
            piece.zeroize();
        }
    }
    Ok(whole)
}

//! FarSide: servers on loopback that outgoing requests go to, good ones and bad ones.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it"
)]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control_api::outbound::resolve::Addresses;
use control_api::outbound::{AddressRules, Outbound, Resolve};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The name that test certificates are for.
pub const NAME: &str = "pay.test";

/// A folder that is empty at first.
pub fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sotto-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Writes a file that its owner alone may read.
pub fn private(path: &Path, text: &str) -> PathBuf {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

/// An authority that signs certificates.
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Leaf {
    pub certificate: CertificateDer<'static>,
    pub pem: String,
    pub key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = certificate.pem();
        let certificate = certificate.der().clone();
        Authority { certificate, pem, issuer: Issuer::new(params, key) }
    }

    /// The authority's certificate as a file.
    pub fn file(&self, folder: &Path) -> PathBuf {
        let path = folder.join("ca.pem");
        fs::write(&path, &self.pem).unwrap();
        path
    }

    /// A client that trusts this authority, and shows `leaf` if it has one.
    pub fn client(&self, leaf: Option<&Leaf>, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match leaf {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
                builder.with_client_auth_cert(vec![leaf.certificate.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A certificate for `name`, valid until the end of `last_year`.
    pub fn leaf(&self, name: &str, last_year: i32) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

impl Leaf {
    /// A certificate that only its own key vouches for.
    pub fn self_signed(name: &str) -> Leaf {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Leaf { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// A server's side of TLS, which asks for certificates of `clients`' signing if there is one.
    pub fn server(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(authority.certificate.clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Arc::new(builder.with_single_cert(vec![self.certificate.clone()], key).unwrap())
    }
}

/// What a server says, whatever it is asked.
#[derive(Clone)]
pub struct Script {
    pub write: Vec<u8>,
    pub then: Then,
}

/// What a server does once it has spoken.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    /// It closes the connection in order.
    Close,
    /// It says nothing more.
    Hang,
    /// It breaks the connection off.
    Reset,
}

impl Script {
    pub fn json(status: u16, body: &str) -> Script {
        let write = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Script { write: write.into_bytes(), then: Then::Close }
    }

    pub fn raw(write: &str, then: Then) -> Script {
        Script { write: write.as_bytes().to_vec(), then }
    }
}

/// One request as a server saw it.
#[derive(Clone)]
pub struct Seen {
    pub head: String,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A server.
pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// A server that answers each request with the next script, and the last one for ever.
    pub async fn start(ip: &str, tls: Option<Arc<ServerConfig>>, scripts: Vec<Script>) -> Server {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, seen) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let server = Server { address, connections, seen };
        let (connections, seen) = (Arc::clone(&server.connections), Arc::clone(&server.seen));
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let script = scripts[number.min(scripts.len() - 1)].clone();
                number += 1;
                let (tls, seen) = (tls.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, script, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                serve(stream, script, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until that many requests have come.
    pub async fn wait_for(&self, count: usize) -> Vec<Seen> {
        for _ in 0..500 {
            if self.seen().len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen = self.seen();
        assert!(seen.len() >= count, "{} of {count} requests came", seen.len());
        seen
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: Script,
    seen: &Mutex<Vec<Seen>>,
) {
    if let Some(request) = read_request(&mut stream).await {
        seen.lock().unwrap().push(request);
    }
    let _ = stream.write_all(&script.write).await;
    let _ = stream.flush().await;
    match script.then {
        Then::Close => {
            let _ = stream.shutdown().await;
        }
        Then::Hang => tokio::time::sleep(Duration::from_secs(60)).await,
        Then::Reset => drop(stream),
    }
}

pub async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Seen> {
    let mut octets = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        octets.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&octets).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let request = Seen { head: head.to_owned(), body: body.to_owned() };
        let length: usize = request.header("content-length").unwrap_or("0").parse().unwrap();
        if body.len() >= length {
            return Some(request);
        }
    }
}

/// Answers the first message of TLS with a ServerHello of TLS 1.1.
pub async fn start_tls_1_1() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 2048];
            let _ = stream.read(&mut hello).await;
            // RFC 4346 section 7.4.1.3: version, random, no session, a suite, no compression.
            let mut body = vec![3, 2];
            body.extend([7; 32]);
            body.extend([0, 0xc0, 0x13, 0]);
            let length = body.len() as u8;
            let mut record = vec![22, 3, 2, 0, length + 4, 2, 0, 0, length];
            record.extend(body);
            let _ = stream.write_all(&record).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    });
    address
}

/// A resolver that says what tests want: a list of answers, one a question, the last for ever.
pub struct Says {
    answers: Vec<Vec<IpAddr>>,
    pub asked: AtomicUsize,
}

impl Says {
    pub fn new(answers: &[&[&str]]) -> Arc<Says> {
        let ip = |text: &&str| text.parse().unwrap();
        let answers = answers.iter().map(|each| each.iter().map(ip).collect()).collect();
        Arc::new(Says { answers, asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Says {
    fn resolve<'a>(&'a self, _: &'a str) -> Addresses<'a> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers[number.min(self.answers.len() - 1)].clone();
        Box::pin(async move { Ok(answer) })
    }
}

/// A client that may go to `allowed`, and for which every name leads to 127.0.0.1.
pub fn outbound(allowed: &[&str]) -> Outbound {
    outbound_by(allowed, Says::new(&[&["127.0.0.1"]]))
}

pub fn outbound_by(allowed: &[&str], resolver: Arc<Says>) -> Outbound {
    let allowed = allowed.iter().map(|range| range.parse().unwrap()).collect();
    Outbound::new(AddressRules::new(allowed), resolver)
}

pub async fn connect_raw(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

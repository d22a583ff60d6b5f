//! The listener's TLS: which versions, whose certificates, and what HTTP/2 may ask for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod far_side;
mod log;
mod rig;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Request, Version};
use control_api::client_address::OverTls;
use control_api::clock;
use control_api::config::{Config, ConfigError, RawConfig};
use control_api::outbound::tls::Identity;
use control_api::serve::{EXIT_CONFIG, Running};
use control_api::server::certificate::{Certificate, ClientRule, Pin, TlsConfig};
use control_api::server::{
    API_BOUNDS, Front, HANDSHAKE_TIMEOUT, MAX_GIVEN_UP, MAX_STREAMS, WRITE_TIMEOUT, serve,
};
use far_side::{Authority, Leaf, NAME, private, scratch};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const GET: &str = "GET /v1/openapi.json HTTP/1.1\r\nhost: pay.test\r\n\r\n";
/// More than any answer here takes.
const SOON: Duration = Duration::from_secs(5);

fn write(folder: &Path, leaf: &Leaf) -> Identity {
    let chain = folder.join("certificate.pem");
    std::fs::write(&chain, &leaf.pem).unwrap();
    Identity { chain, key: private(&folder.join("key.pem"), &leaf.key.serialize_pem()) }
}

fn config(folder: &Path, files: &Identity, ports: u16) -> Config {
    let mut raw = RawConfig::default();
    raw.control.address = Some("127.0.0.1:0".to_owned());
    raw.control.tls.certificate = Some(files.chain.clone());
    raw.control.tls.key = Some(files.key.clone());
    raw.health.address = Some("127.0.0.1:0".to_owned());
    let mut config = raw.resolve(&folder.join("state"), 1).unwrap();
    config.media = rig::media(ports..=ports + 39);
    config
}

async fn connect(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::clone(client)).connect(NAME.try_into().unwrap(), stream).await
}

/// What a request over TLS is answered; nothing if the server will have none of it. In TLS 1.3 a client
/// has shaken hands before it hears that its certificate is not taken.
async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = vec![0; 16_384];
    let read = timeout(SOON, stream.read(&mut answer)).await.unwrap().ok()?;
    (read > 0).then(|| String::from_utf8_lossy(&answer[..read]).into_owned())
}

async fn ask_anew(address: SocketAddr, client: &Arc<ClientConfig>) -> Option<String> {
    ask(&mut connect(address, client).await.ok()?, GET).await
}

fn is_good(answer: Option<String>) -> bool {
    answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_product_speaks_http_1_and_2_under_tls_and_nothing_in_clear() {
    let (folder, ours) = (scratch("tls-whole"), Authority::new("ours"));
    let files = write(&folder, &ours.leaf(NAME, 2099));
    let running = Running::start(config(&folder, &files, 25_200)).await.unwrap();
    assert!(running.url().starts_with("https://127.0.0.1:"));
    let mut stream = connect(running.address, &ours.client(None, &["http/1.1"])).await.unwrap();
    let answer = ask(&mut stream, GET).await.unwrap();
    let head = answer.split("\r\n\r\n").next().unwrap();
    assert!(head.contains("strict-transport-security: max-age=63072000"), "{head}");
    // The console is shown by the name that the certificate has shown.
    let mut stream = connect(running.address, &ours.client(None, &[])).await.unwrap();
    let page = ask(&mut stream, "GET / HTTP/1.1\r\nhost: pay.test\r\n\r\n").await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("text/html"), "{page}");

    let stream = connect(running.address, &ours.client(None, &["h2", "http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://pay.test/v1/calls").body(()).unwrap();
    let (answer, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (401, Version::HTTP_2));
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");

    let mut clear = TcpStream::connect(running.address).await.unwrap();
    clear.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(SOON, clear.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    running.stop().await;
}

#[test]
fn outside_of_loopback_there_is_tls_or_a_proxy() {
    let resolve = |text: &str| {
        let raw: RawConfig = toml::from_str(text).unwrap();
        raw.resolve(Path::new("/state"), 2)
    };
    let outside = "[control]\naddress = '0.0.0.0:8443'\n";
    assert!(matches!(resolve(outside), Err(ConfigError::NoTls(_))));
    let tls = "[control.tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\n";
    assert!(resolve(&format!("{outside}{tls}")).unwrap().front.tls.is_some());
    let pin = format!("client_pins = ['sha256:{}']\n", "0a".repeat(32));
    let cases = [
        ("[control.tls]\ncertificate = 'c.pem'\n".to_owned(), "control.tls.key"),
        ("[control.tls]\nkey = 'k.pem'\n".to_owned(), "control.tls.certificate"),
        ("[control.tls]\nclient_authorities = 'a.pem'\n".to_owned(), "control.tls.certificate"),
        (format!("{tls}{pin}"), "control.tls.client_authorities"),
        (format!("{tls}client_pins = ['sha1:00']\n"), "control.tls.client_pins"),
        ("control.trusted_proxies = ['a.example']".to_owned(), "control.trusted_proxies"),
    ];
    for (text, member) in cases {
        let error = resolve(&text).unwrap_err().to_string();
        assert!(error.starts_with(member) && !error.contains('\n'), "{text}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_refused_whose_files_can_not_be_used() {
    let (folder, ours) = (scratch("tls-start"), Authority::new("ours"));
    let files = write(&folder, &ours.leaf(NAME, 2099));
    let refused = async |files: &Identity| {
        let error = Running::start(config(&folder, files, 25_240)).await.err().unwrap();
        assert_eq!(error.exit_code(), EXIT_CONFIG);
        error.to_string()
    };
    let gone = Identity { chain: folder.join("none.pem"), key: files.key.clone() };
    assert!(refused(&gone).await.contains("none.pem"));
    let other = private(&folder.join("other.pem"), &ours.leaf(NAME, 2099).key.serialize_pem());
    let said = refused(&Identity { chain: files.chain.clone(), key: other }).await;
    assert!(said.contains("belongs to the certificate"), "{said}");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&files.key, open).unwrap();
    assert!(refused(&files).await.contains("chmod 600"));
}

/// A listener whose certificate is asked of one thing: which version of HTTP it is spoken to by.
async fn front(files: TlsConfig) -> (SocketAddr, Arc<Certificate>, watch::Sender<bool>) {
    let says = async |request: axum::extract::Request| {
        assert!(request.extensions().get::<OverTls>().is_some());
        "x".repeat(request.uri().path().len().pow(2))
    };
    let certificate = Certificate::open(files).unwrap();
    let front = Front { certificate: Some(Arc::clone(&certificate)), ..Front::bare(API_BOUNDS) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(serve(listener, front, Router::new().fallback(says), stopping));
    (address, certificate, stop)
}

/// Whether a connection anew meets `leaf`, at the latest after some seconds.
async fn meets(address: SocketAddr, client: &Arc<ClientConfig>, leaf: &Leaf) -> bool {
    for _ in 0..50 {
        let stream = connect(address, client).await.unwrap();
        if stream.get_ref().1.peer_certificates().unwrap()[0] == leaf.certificate {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_met_within_seconds_and_a_bad_one_never() {
    let said = log::Log::default();
    let writer = said.clone();
    tracing_subscriber::fmt().with_writer(move || writer.clone()).init();
    let (folder, ours) = (scratch("tls-reload"), Authority::new("ours"));
    let (first, second, third) =
        (ours.leaf(NAME, 2099), ours.leaf(NAME, 2099), ours.leaf(NAME, 2099));
    let files = TlsConfig { identity: write(&folder, &first), clients: None };
    let (address, certificate, stop) = front(files).await;
    tokio::spawn(Arc::clone(&certificate).keep(stop.subscribe()));
    let client = ours.client(None, &[]);
    let mut open = connect(address, &client).await.unwrap();
    assert!(is_good(ask(&mut open, GET).await));
    assert!(meets(address, &client, &first).await);

    write(&folder, &second);
    assert!(meets(address, &client, &second).await);
    assert!(is_good(ask(&mut open, GET).await), "what is open stays open");

    // A certificate whose key has not come yet.
    std::fs::write(folder.join("certificate.pem"), &third.pem).unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(meets(address, &client, &second).await);
    assert!(certificate.reload().is_err());
    assert_eq!(said.text().matches("stays in use").count(), 1, "{}", said.text());
    private(&folder.join("key.pem"), &third.key.serialize_pem());
    assert!(meets(address, &client, &third).await);
    // As SIGHUP does it: at once.
    write(&folder, &first);
    certificate.reload().unwrap();
    assert!(is_good(ask_anew(address, &client).await));
    assert!(meets(address, &client, &first).await);
    assert!(!said.text().contains("PRIVATE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_that_is_taken_does_not_get_in() {
    let folder = scratch("tls-clients");
    let (ours, clients, others) =
        (Authority::new("ours"), Authority::new("clients"), Authority::new("others"));
    let identity = write(&folder, &ours.leaf(NAME, 2099));
    let (one, other) = (clients.leaf("one.test", 2099), clients.leaf("other.test", 2099));
    let authorities = clients.file(&folder);
    let rule = |pins| TlsConfig {
        identity: identity.clone(),
        clients: Some(ClientRule { authorities: authorities.clone(), pins }),
    };
    let asked = async |address, leaf: Option<&Leaf>| {
        is_good(ask_anew(address, &ours.client(leaf, &[])).await)
    };
    let (signed, _, _stop) = front(rule(Vec::new())).await;
    assert!(asked(signed, Some(&one)).await && asked(signed, Some(&other)).await);
    assert!(!asked(signed, None).await);
    let bad = [
        others.leaf("one.test", 2099),
        clients.leaf("one.test", 2021),
        Leaf::self_signed("one.test"),
    ];
    for leaf in &bad {
        assert!(!asked(signed, Some(leaf)).await);
    }
    let (pinned, _, _stop) = front(rule(vec![pin_of(&folder, &one)])).await;
    assert!(asked(pinned, Some(&one)).await);
    assert!(!asked(pinned, Some(&other)).await && !asked(pinned, None).await);
    // Who resumes a session would not be asked again.
    let client = ours.client(Some(&one), &[]);
    for _ in 0..2 {
        let mut stream = connect(pinned, &client).await.unwrap();
        assert!(is_good(ask(&mut stream, GET).await));
        assert_ne!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    }
    // Without certificates of clients sessions are resumed: the last check can fail.
    let (free, _, _stop) = front(TlsConfig { identity, clients: None }).await;
    let client = ours.client(None, &[]);
    for expected in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let mut stream = connect(free, &client).await.unwrap();
        assert!(is_good(ask(&mut stream, GET).await));
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
    }
}

/// The pin of a certificate as the documentation says that it is computed.
fn pin_of(folder: &Path, leaf: &Leaf) -> Pin {
    let file: PathBuf = folder.join("pinned.pem");
    std::fs::write(&file, &leaf.pem).unwrap();
    let script = "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der | \
                  openssl dgst -sha256 -r";
    let done = std::process::Command::new("sh").args(["-c", script]).arg(&file).output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    Pin::parse(&format!("sha256:{}", said.split_whitespace().next().unwrap())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_shake_hands_is_cut_off() {
    let (folder, ours) = (scratch("tls-slow"), Authority::new("ours"));
    let files = TlsConfig { identity: write(&folder, &ours.leaf(NAME, 2099)), clients: None };
    let (address, _, _stop) = front(files).await;
    let begun = clock::monotonic();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(&[22, 3, 1]).await.unwrap();
    let read = timeout(HANDSHAKE_TIMEOUT + Duration::from_secs(2), slow.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    assert!(begun.elapsed() >= HANDSHAKE_TIMEOUT - Duration::from_millis(500));
}

/// A client of HTTP/2, and what its connection ended with.
async fn http2(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
    window: u32,
) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = connect(address, client).await.unwrap();
    let handshake = h2::client::Builder::new().initial_window_size(window).handshake(stream);
    let (sender, connection) = handshake.await.unwrap();
    (sender, tokio::spawn(connection))
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://{NAME}{path}")).body(()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_in_haste_end_their_connection() {
    let (folder, ours) = (scratch("tls-resets"), Authority::new("ours"));
    // Each is begun, counted and never answered.
    let begun = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&begun);
    let never = async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<&'static str>().await
    };
    let files = TlsConfig { identity: write(&folder, &ours.leaf(NAME, 2099)), clients: None };
    let certificate = Some(Certificate::open(files).unwrap());
    let front = Front { certificate, ..Front::bare(API_BOUNDS) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopping) = watch::channel(false);
    tokio::spawn(serve(listener, front, Router::new().fallback(never), stopping));
    let client = ours.client(None, &["h2"]);
    // As fast as can be, and so slowly that each has begun to be answered when it is reset.
    for pause in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(5)] {
        begun.store(0, Ordering::Relaxed);
        let (mut sender, connection) = http2(address, &client, 65_535).await;
        let mut resets = 0;
        while resets < 1000 && !connection.is_finished() {
            let Ok(ready) = sender.ready().await else { break };
            sender = ready;
            let Ok((answer, mut stream)) = sender.send_request(get("/"), true) else { break };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            stream.send_reset(h2::Reason::CANCEL);
            drop(answer);
            resets += 1;
            tokio::task::yield_now().await;
        }
        assert!(timeout(SOON, connection).await.is_ok(), "after {resets} resets, {pause:?} apart");
        let begun = begun.load(Ordering::Relaxed);
        println!("figure: {resets} resets of HTTP/2 sent, {pause:?} apart: {begun} requests begun");
        assert!(begun < 100, "{begun} at {pause:?}");
        assert!(
            pause.is_zero() || (MAX_GIVEN_UP / 2..100).contains(&resets),
            "{resets} at {pause:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_has_bounds_and_an_answer_that_no_window_is_opened_for_ends_it() {
    let (folder, ours) = (scratch("tls-http2"), Authority::new("ours"));
    let files = TlsConfig { identity: write(&folder, &ours.leaf(NAME, 2099)), clients: None };
    let (address, _, _stop) = front(files).await;
    let client = ours.client(None, &["h2"]);
    let (sender, connection) = http2(address, &client, 65_535).await;
    let mut sender = sender.ready().await.unwrap();
    let (answer, _) = sender.send_request(get("/"), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(sender.current_max_send_streams(), MAX_STREAMS as usize);
    let mut long = get("/");
    long.headers_mut().insert("x-long", "x".repeat(20_000).parse().unwrap());
    let (answer, _) = sender.send_request(long, true).unwrap();
    let refused = answer.await.map(|answer| answer.status().as_u16());
    assert!(matches!(refused, Ok(431) | Err(_)), "{refused:?}");
    drop((sender, connection));

    // A window of one octet: the first of four pieces is never taken.
    let (sender, connection) = http2(address, &client, 1).await;
    let mut sender = sender.ready().await.unwrap();
    let path = format!("/{}", "x".repeat(255));
    let (answer, _) = sender.send_request(get(&path), true).unwrap();
    let answer = answer.await.unwrap();
    let begun = clock::monotonic();
    let ended = timeout(WRITE_TIMEOUT + Duration::from_secs(3), connection).await;
    assert!(ended.is_ok() && begun.elapsed() >= WRITE_TIMEOUT / 2, "{ended:?}");
    drop(answer);

    // Who opens its window gets all of it, at any time that this takes.
    let (sender, connection) = http2(address, &client, 20_000).await;
    let mut sender = sender.ready().await.unwrap();
    let (answer, _) = sender.send_request(get(&path), true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut came = 0;
    while let Some(piece) = body.data().await {
        came += piece.as_ref().unwrap().len();
        body.flow_control().release_capacity(piece.unwrap().len()).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(came, 256 * 256);
    assert!(!connection.is_finished());
}

/// The types of the frames that answer one request of HTTP/2 with this header, written by hand: no client
/// would send it (RFC 9113 sections 4.1, 6.2; RFC 7541 section 6.2.2).
async fn frames(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
    name: &str,
    value: &str,
) -> Vec<u8> {
    // GET, https and / by their numbers in HPACK's table, then names and values as they are.
    let mut block = vec![0x82, 0x87, 0x84, 0x01, NAME.len() as u8];
    block.extend(NAME.bytes());
    for (index, text) in [name, value].into_iter().enumerate() {
        block.extend((index == 0).then_some(0));
        block.push(text.len() as u8);
        block.extend(text.bytes());
    }
    let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    octets.extend([0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]);
    octets.extend(block);
    let mut stream = connect(address, client).await.unwrap();
    stream.write_all(&octets).await.unwrap();
    let mut seen = Vec::new();
    let mut head = [0; 9];
    while let Ok(Ok(_)) = timeout(Duration::from_secs(1), stream.read_exact(&mut head)).await {
        let mut rest = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut rest).await.unwrap();
        seen.push(head[3]);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_takes_no_headers_of_a_connection_and_no_line_ends() {
    const HEADERS: u8 = 1;
    let (folder, ours) = (scratch("tls-headers"), Authority::new("ours"));
    let files = TlsConfig { identity: write(&folder, &ours.leaf(NAME, 2099)), clients: None };
    let (address, _, _stop) = front(files).await;
    let client = ours.client(None, &["h2"]);
    assert!(frames(address, &client, "x-good", "yes").await.contains(&HEADERS));
    let bad = [
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("x-bad", "a\r\nb: c"),
        ("x-bad", "a\nb"),
        ("x-bad\r\nb", "a"),
    ];
    for (name, value) in bad {
        let seen = frames(address, &client, name, value).await;
        assert!(!seen.contains(&HEADERS) && !seen.is_empty(), "{name:?}: {value:?}: {seen:?}");
    }
}

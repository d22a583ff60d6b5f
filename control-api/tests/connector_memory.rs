//! Where a card number is in memory and in the log after it was posted: nowhere.
//!
//! The connector is another process, since whoever receives the number holds it. The number is kept
//! veiled here, so that the search does not find itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod far_side;
mod log;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use control_api::clock;
use control_api::dto::id;
use control_api::dto::sink::SinkBody;
use control_api::sinks::clear::Keyed;
use control_api::sinks::config::RawSinks;
use control_api::sinks::{Outcome, Sinks};
use dtmf::card_mode::CardMode;
use dtmf::secret::SecretDigits;
use dtmf::{Digit, Step};
use far_side::{Authority, NAME, outbound, read_request, scratch};
use locked_page::Locked;
use log::Log;
use relay::switchboard::CallId;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// XOR-ed over every octet of the number below.
const VEIL: u8 = 0x5a;
/// A published test number, 5105105105105100, in ASCII under the veil.
const NUMBER: [u8; 16] = [
    0x6f, 0x6b, 0x6a, 0x6f, 0x6b, 0x6a, 0x6f, 0x6b, 0x6a, 0x6f, 0x6b, 0x6a, 0x6f, 0x6b, 0x6a, 0x6a,
];
/// The folder that tells the child process where to serve.
const FOLDER: &str = "SOTTO_TEST_CONNECTOR";
/// Deliveries: one that leaves something behind leaves it more surely many times.
const DELIVERIES: usize = 20;

/// The connector, when this binary is run again for it: it answers with a token if the body holds
/// the number.
#[tokio::test]
#[ignore = "the other process of the test below"]
async fn serve_as_connector() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let folder = Path::new(&folder);
    let authority = Authority::new("Ours");
    authority.file(folder);
    let acceptor = TlsAcceptor::from(authority.leaf(NAME, 2090).server(None));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    fs::write(folder.join("port.new"), port.to_string()).unwrap();
    fs::rename(folder.join("port.new"), folder.join("port")).unwrap();
    let number: String = NUMBER.iter().map(|octet| char::from(octet ^ VEIL)).collect();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let Some(seen) = read_request(&mut stream).await else { continue };
        let answer = if seen.body.contains(&number) {
            r#"{"token_id":"tok_7"}"#
        } else {
            r#"{"error_code":"no-number"}"#
        };
        let length = answer.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}");
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

struct Connector(Child);

impl Drop for Connector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_posted_is_nowhere_afterwards() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let folder = scratch("connector-memory");
    let connector = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serve_as_connector", "--ignored"])
        .env(FOLDER, &folder)
        .stdout(Stdio::null())
        .spawn();
    let _connector = Connector(connector.unwrap());
    let port = port(&folder).await;
    let text = format!(
        "[[connectors]]\nname = 'acme'\nurl = 'https://{NAME}:{port}/'\nmode = 'test'\n\
         ca_file = '{}'\n",
        folder.join("ca.pem").display()
    );
    let raw: RawSinks = toml::from_str(&text).unwrap();
    let sinks = Sinks::open(raw.resolve().unwrap(), outbound(&["127.0.0.0/8"]));
    let sinks = sinks.unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..DELIVERIES {
        deliver(&sinks).await;
    }
    assert_eq!(copies(), 0, "in memory");
    let text = log.text();
    assert!(text.contains("delivered"), "something was logged");
    let logged = |text: &[u8]| text.windows(16).any(|it| it.iter().map(|b| b ^ VEIL).eq(NUMBER));
    assert!(!logged(text.as_bytes()), "in the log");
    println!("figure: after {DELIVERIES} deliveries 0 copies of the number in memory and the log");

    let leak: Vec<u8> = NUMBER.iter().map(|octet| octet ^ VEIL).collect();
    assert!(logged(&leak), "the control of the log");
    let leak = std::hint::black_box(leak);
    assert!(copies() >= 1, "the control: a copy is found");
    drop(leak);
}

async fn port(folder: &Path) -> u16 {
    for _ in 0..1000 {
        if let Ok(text) = fs::read_to_string(folder.join("port")) {
            return text.parse().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connector did not start");
}

async fn deliver(sinks: &Sinks) {
    let sink = json!({ "type": "connector", "name": "acme" });
    let body: SinkBody = serde_json::from_value(sink).unwrap();
    let order = sinks.prepare(CardMode::Test, Some(body)).unwrap();
    let (call, session) = (CallId(1), id::new_session());
    let packed = {
        let mut number = Locked::new(SecretDigits::new).unwrap();
        for octet in NUMBER {
            number.push(Digit::from_ascii(octet ^ VEIL).unwrap()).unwrap();
        }
        let entries = [(Step::PaymentCardNumber, &*number)];
        let keyed = Keyed { entries: &entries, brand: None };
        sinks.pack(call, session, order, keyed, clock::monotonic())
    };
    let outcome = sinks.deliver_packed(call, session, packed).await;
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
}

/// How often the number is in the writable memory of this process. Secret pages can't be read and
/// are passed over.
fn copies() -> usize {
    const CHUNK: usize = 1 << 16;
    let memory = File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0; CHUNK + NUMBER.len()];
    let mut found = 0;
    for area in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let words: Vec<&str> = area.split_whitespace().collect();
        let (low, high) = words[0].split_once('-').unwrap();
        let [low, high] = [low, high].map(|edge| usize::from_str_radix(edge, 16).unwrap());
        if !words[1].starts_with("rw") {
            continue;
        }
        for start in (low..high).step_by(CHUNK) {
            let length = buffer.len().min(high - start);
            let octets = &mut buffer[..length];
            if memory.read_exact_at(octets, start as u64).is_ok() {
                let is_it = |it: &&[u8]| it.iter().map(|octet| octet ^ VEIL).eq(NUMBER);
                found += octets.windows(NUMBER.len()).filter(is_it).count();
            }
            // What was found must not be found again here.
            octets.fill(0);
            std::hint::black_box(&octets);
        }
    }
    found
}

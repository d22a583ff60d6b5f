//! Calls by SIP, over real sockets on loopback: what a phone sends, and what becomes of its call.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use control_api::config::RawConfig;
use control_api::serve::Running;
use control_api::{app, clock};
use log::Log;
use serde_json::{Value, json};
use tower::ServiceExt;

/// First port of media here, and how many each relay takes: room for 20 calls.
const FIRST_PORT: u16 = 27_000;
const PORTS: u16 = 80;
const CARD: &str = "4242424242424242#";

static RELAYS: AtomicU16 = AtomicU16::new(0);

/// A relay that answers SIP.
struct Relay {
    running: Running,
    key: String,
    state: PathBuf,
}

impl Relay {
    async fn new(ports: u16, change: impl FnOnce(&mut RawConfig)) -> Relay {
        let number = RELAYS.fetch_add(1, Ordering::Relaxed);
        let state = std::env::temp_dir().join(format!("sotto-sip-{number}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&state);
        let first = FIRST_PORT + number * PORTS;
        let mut raw = RawConfig { state_dir: Some(state.clone()), ..RawConfig::default() };
        raw.control.address = Some("127.0.0.1:0".to_owned());
        raw.health.address = Some("127.0.0.1:0".to_owned());
        raw.media.ports = Some(format!("{first}-{}", first + ports - 1));
        raw.media.pin = Some(false);
        raw.media.io = Some("sockets".to_owned());
        raw.sip.address = Some("127.0.0.1:0".to_owned());
        change(&mut raw);
        let mut running = Running::start(raw.resolve(&state, 1).unwrap()).await.unwrap();
        let key = running.first_key.take().unwrap().reveal().to_owned();
        Relay { running, key, state }
    }

    fn address(&self) -> SocketAddr {
        self.running.sip.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        let answer = app(&self.running.control).oneshot(request.unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let octets = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&octets).unwrap_or(Value::Null))
    }

    /// The path of the only call.
    async fn call(&self) -> String {
        let (_, calls) = self.ask("GET", "/v1/calls", None).await;
        assert_eq!(calls["data"].as_array().unwrap().len(), 1);
        format!("/v1/calls/{}", calls["data"][0]["id"].as_str().unwrap())
    }

    async fn becomes(&self, path: &str, state: &str) -> Value {
        for _ in 0..500 {
            let (_, seen) = self.ask("GET", path, None).await;
            if seen["state"] == state {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{path} never is {state}");
    }

    async fn stop(self) {
        self.running.stop().await;
        std::fs::remove_dir_all(self.state).unwrap();
    }
}

/// The smallest phone.
struct Phone {
    way: Way,
    media: UdpSocket,
    cseq: u32,
    to_tag: String,
    read: String,
}

enum Way {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Phone {
    fn udp(relay: &Relay) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(relay.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Phone::by(Way::Udp(socket))
    }

    fn tcp(relay: &Relay) -> Phone {
        let stream = TcpStream::connect(relay.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Phone::by(Way::Tcp(stream))
    }

    fn by(way: Way) -> Phone {
        let media = UdpSocket::bind("127.0.0.1:0").unwrap();
        Phone { way, media, cseq: 0, to_tag: String::new(), read: String::new() }
    }

    fn offer(&self, direction: &str) -> String {
        let port = self.media.local_addr().unwrap().port();
        format!(
            "v=0\r\no=- 1 {} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n",
            self.cseq + 1
        )
    }

    fn request(&mut self, method: &str, headers: &str, body: &str) -> String {
        if !matches!(method, "ACK" | "CANCEL") {
            self.cseq += 1;
        }
        let port = self.media.local_addr().unwrap().port();
        let (name, own) = match &self.way {
            Way::Udp(socket) => ("UDP", socket.local_addr().unwrap()),
            Way::Tcp(stream) => ("TCP", stream.local_addr().unwrap()),
        };
        format!(
            "{method} sip:+15550100@127.0.0.1 SIP/2.0\r\n\
             Via: SIP/2.0/{name} {own};branch=z9hG4bK{port}{method}{};rport\r\n\
             From: <sip:caller@127.0.0.1>;tag=a\r\nTo: <sip:+15550100@127.0.0.1>{}\r\n\
             Call-ID: {port}\r\nCSeq: {} {method}\r\nContact: <sip:caller@{own}>\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            self.cseq,
            self.to_tag,
            self.cseq,
            body.len()
        )
    }

    fn send(&mut self, text: &str) {
        match &mut self.way {
            Way::Udp(socket) => socket.send(text.as_bytes()).map(drop).unwrap(),
            Way::Tcp(stream) => stream.write_all(text.as_bytes()).unwrap(),
        }
    }

    /// The next message.
    fn read(&mut self) -> String {
        let mut octets = [0; 65_536];
        loop {
            if let Some(head) = self.read.find("\r\n\r\n") {
                let length = self.read.split("Content-Length: ").nth(1).unwrap();
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                if self.read.len() >= head + 4 + length {
                    let rest = self.read.split_off(head + 4 + length);
                    return std::mem::replace(&mut self.read, rest);
                }
            }
            let length = match &mut self.way {
                Way::Udp(socket) => socket.recv(&mut octets).unwrap(),
                Way::Tcp(stream) => stream.read(&mut octets).unwrap(),
            };
            assert!(length > 0, "the connection was closed");
            self.read += std::str::from_utf8(&octets[..length]).unwrap();
        }
    }

    /// The final answer to a request.
    fn ask(&mut self, method: &str, headers: &str, body: &str) -> (u16, String) {
        let request = self.request(method, headers, body);
        self.send(&request);
        loop {
            let answer = self.read();
            let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
            if status >= 200 {
                return (status, answer);
            }
        }
    }

    fn invite(&mut self, offer: &str) -> (u16, String) {
        let (status, answer) = self.ask("INVITE", "Content-Type: application/sdp\r\n", offer);
        if status == 200 {
            let to = answer.lines().find(|line| line.starts_with("To: ")).unwrap();
            self.to_tag = format!(";tag={}", to.split(";tag=").nth(1).unwrap());
        }
        let ack = self.request("ACK", "", "");
        self.send(&ack);
        (status, answer)
    }

    fn call(&mut self) -> String {
        let offer = self.offer("sendrecv");
        let (status, answer) = self.invite(&offer);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Sends what is quiet to where an answer wants media, for some seconds.
    fn be_quiet(&self, answer: &str) {
        let line = answer.lines().find(|line| line.starts_with("m=audio ")).unwrap();
        let port: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
        let media = self.media.try_clone().unwrap();
        std::thread::spawn(move || {
            for number in 0..500_u16 {
                let mut packet = vec![0x80, 0];
                packet.extend(number.to_be_bytes());
                packet.extend((u32::from(number) * 160).to_be_bytes());
                packet.extend([1, 2, 3, 4]);
                packet.extend([0xff; 160]);
                let _ = media.send_to(&packet, ("127.0.0.1", port));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }

    /// Waits for a BYE and answers it.
    fn is_hung_up(&mut self) {
        let bye = self.read();
        assert!(bye.starts_with("BYE "), "{bye}");
        let copied = bye.lines().filter(|line| !line.starts_with("BYE ") && line.contains(": "));
        let answer =
            format!("SIP/2.0 200 OK\r\n{}\r\n\r\n", copied.collect::<Vec<_>>().join("\r\n"));
        self.send(&answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_calls_holds_resumes_and_hangs_up() {
    let relay = Relay::new(PORTS, |_| {}).await;
    for mut phone in [Phone::udp(&relay), Phone::tcp(&relay)] {
        let answer = phone.call();
        assert!(answer.contains("\r\nContent-Type: application/sdp\r\n"), "{answer}");
        let at = relay.address();
        assert!(answer.contains(&format!("\r\nContact: <sip:{at}")), "{answer}");
        let (_, calls) = relay.ask("GET", "/v1/calls?limit=1", None).await;
        let call = format!("/v1/calls/{}", calls["data"][0]["id"].as_str().unwrap());
        relay.becomes(&call, "open").await;
        let call_id = phone.media.local_addr().unwrap().port();
        relay.becomes(&format!("/v1/calls/ext:{call_id}"), "open").await;
        // The echo greets.
        let mut packet = [0; 2048];
        phone.media.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(phone.media.recv(&mut packet).unwrap(), 172);
        for (direction, ours) in [("sendonly", "recvonly"), ("sendrecv", "sendrecv")] {
            let offer = phone.offer(direction);
            let (status, answer) = phone.invite(&offer);
            assert!(status == 200 && answer.contains(&format!("\r\na={ours}\r\n")), "{answer}");
        }
        let broken = phone.offer("sendrecv").replace("RTP/AVP 0", "RTP/AVP 3");
        assert_eq!(phone.invite(&broken).0, 488);
        relay.becomes(&call, "open").await;
        assert_eq!(phone.ask("BYE", "", "").0, 200);
        relay.becomes(&call, "closed").await;
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_ends_the_call_the_phone_is_told() {
    let relay = Relay::new(PORTS, |_| {}).await;
    for mut phone in [Phone::udp(&relay), Phone::tcp(&relay)] {
        phone.call();
        let (_, calls) = relay.ask("GET", "/v1/calls?limit=1", None).await;
        let call = format!("/v1/calls/{}", calls["data"][0]["id"].as_str().unwrap());
        assert_eq!(relay.ask("DELETE", &call, None).await.0, 204);
        phone.is_hung_up();
        assert_eq!(phone.ask("INFO", "", "").0, 481);
    }
    let mut phone = Phone::udp(&relay);
    phone.call();
    let stopping = tokio::spawn(relay.stop());
    phone.is_hung_up();
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_is_refused_as_sip_has_it() {
    let relay = Relay::new(4, |raw| {
        raw.sip.numbers.insert("+15550100".to_owned(), "127.0.0.1:46000".to_owned());
    })
    .await;
    let mut phone = Phone::udp(&relay);
    let offer = phone.offer("sendrecv");
    let foreign = phone.request("INVITE", "Content-Type: application/sdp\r\n", &offer);
    phone.send(&foreign.replace("INVITE sip:+15550100", "INVITE sip:+15550199"));
    assert!(phone.read().starts_with("SIP/2.0 100 ") && phone.read().starts_with("SIP/2.0 404 "));
    let (status, refused) = phone.invite(&offer.replace("RTP/AVP 0", "RTP/AVP 3"));
    assert!(status == 488 && refused.contains("\r\nWarning: 399 sotto \""), "{refused}");
    assert_eq!(phone.invite("no SDP at all").0, 400);
    assert_eq!(phone.ask("INVITE", "Content-Type: text/plain\r\n", "a").0, 415);
    assert_eq!(phone.ask("OPTIONS", "", "").0, 200);
    phone.call();
    let mut second = Phone::udp(&relay);
    let offer = second.offer("sendrecv");
    let (status, refused) = second.invite(&offer);
    assert!(status == 503 && refused.contains("\r\nRetry-After: 5\r\n"), "{refused}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_asked_for_its_secret_and_calls_nobody() {
    let users = std::env::temp_dir().join(format!("sotto-sip-users-of-{}", std::process::id()));
    std::fs::write(&users, "phone:secret\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&users, mode).unwrap();
    let relay = Relay::new(PORTS, |raw| raw.sip.users_file = Some(users.clone())).await;
    let mut phone = Phone::udp(&relay);
    let offer = phone.offer("sendrecv");
    let (status, asked) = phone.invite(&offer);
    assert_eq!(status, 401);
    assert!(asked.contains("\r\nWWW-Authenticate: Digest realm=\"sotto\", nonce=\""), "{asked}");
    let (_, calls) = relay.ask("GET", "/v1/calls", None).await;
    assert_eq!(calls["data"], json!([]));
    relay.stop().await;
    std::fs::remove_file(users).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_keyed_by_info_passes_and_is_in_no_log() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let relay = Relay::new(PORTS, |_| {}).await;
    let mut phone = Phone::udp(&relay);
    let answer = phone.call();
    phone.be_quiet(&answer);
    let call = relay.call().await;
    let plan = json!({ "fields": [{ "type": "payment-card-number" }, { "type": "expiration-date" },
        { "type": "security-code" }], "prompts": { "enabled": false } });
    let session = format!("{call}/secure-session");
    assert_eq!(relay.ask("POST", &session, Some(plan)).await.0, 201);
    let year = clock::now().day().year % 100 + 2;
    for (at, key) in format!("{CARD}12{year:02}987").chars().enumerate() {
        let (kind, body) = match at % 2 {
            0 => ("application/dtmf-relay", format!("Signal={key}\r\nDuration=100\r\n")),
            _ => ("application/dtmf", key.to_string()),
        };
        assert_eq!(phone.ask("INFO", &format!("Content-Type: {kind}\r\n"), &body).0, 200);
    }
    assert_eq!(relay.becomes(&session, "ended").await["result"], "pass");
    assert_eq!(phone.ask("BYE", "", "").0, 200);
    relay.becomes(&call, "closed").await;
    relay.stop().await;
    let text = log.text();
    assert!(text.contains("call opened"));
    for secret in ["Signal", "dtmf-relay", "+15550100", "caller@", "424242"] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}

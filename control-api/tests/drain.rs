//! Drain: what SIGTERM does to a relay that has calls.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use control_api::clock;

/// Seconds that calls have after SIGTERM here.
const GRACE_S: u64 = 3;
const GRACE: Duration = Duration::from_secs(GRACE_S);
/// From the end of the grace to that of the process.
const LEAVING: Duration = Duration::from_secs(10);
const FRAME: Duration = Duration::from_millis(20);
const CALLS: usize = 20;

/// A running `sotto serve`; killed if a test fails.
struct Relay {
    process: Child,
    control: String,
    health: String,
    token: String,
    state: PathBuf,
}

impl Relay {
    fn start(name: &str, ports: &str, drain_s: u64) -> Relay {
        let state = std::env::temp_dir().join(format!("sotto-drain-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        let config = state.join("sotto.toml");
        std::fs::write(&config, format!("[process]\ndrain_s = {drain_s}\n")).unwrap();
        let [control, health] = [free_address(), free_address()];
        let mut process = Command::new(env!("CARGO_BIN_EXE_sotto"))
            .args(["serve", "--control", &control, "--health", &health, "--ports", ports])
            .args(["--workers", "1", "--state-dir", state.to_str().unwrap()])
            .args(["--config", config.to_str().unwrap()])
            .env_remove("RUST_LOG")
            .env_remove("STATE_DIRECTORY")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut token = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut token).unwrap();
        Relay { process, control, health, token: token.trim().to_owned(), state }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        request(&self.control, &self.token, method, path, body)
    }

    fn readiness(&self) -> String {
        request(&self.health, "", "GET", "/readyz", "")
    }

    fn open(&self) -> Call {
        let [caller, engine] = [(); 2].map(|()| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let sdp = format!(
            "v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nc=IN IP4 127.0.0.1\\r\\nt=0 0\\r\\n\
             m=audio {} RTP/AVP 0\\r\\n",
            caller.local_addr().unwrap().port()
        );
        let address = engine.local_addr().unwrap();
        let body = format!(
            r#"{{"caller":{{"sdp":"{sdp}"}},"engine":{{"type":"rtp","address":"{address}"}}}}"#
        );
        let answer = self.ask("POST", "/v1/calls", &body);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        let path = answer.lines().find_map(|it| it.strip_prefix("location: ")).unwrap().to_owned();
        let port = answer.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap();
        Call { caller, engine, path, port: port.parse().unwrap(), sent: 0, heard: 0 }
    }

    fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
    }

    fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    fn end_within(&mut self, limit: Duration) -> ExitStatus {
        let begun = clock::monotonic();
        loop {
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(begun.elapsed() < limit, "it does not end within {limit:?}");
            std::thread::sleep(FRAME);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

struct Call {
    caller: UdpSocket,
    engine: UdpSocket,
    path: String,
    port: u16,
    sent: u16,
    heard: u16,
}

impl Call {
    /// The caller says a frame, and the engine takes in what has come.
    fn talk(&mut self) {
        self.sent += 1;
        let [high, low] = self.sent.to_be_bytes();
        let header = [&[0x80, 0, high, low][..], &(u32::from(self.sent) * 160).to_be_bytes()];
        let packet = [&header.concat()[..], &[1, 2, 3, 4], &[0x41; 160]].concat();
        self.caller.send_to(&packet, ("127.0.0.1", self.port)).unwrap();
        while self.engine.recv(&mut [0; 2048]).is_ok() {
            self.heard += 1;
        }
    }
}

/// Lets all talk until then.
fn talk_until(calls: &mut [Call], end: Instant) {
    while clock::monotonic() < end {
        calls.iter_mut().for_each(Call::talk);
        std::thread::sleep(FRAME);
    }
}

#[test]
fn no_call_is_cut_before_its_grace_ends_and_no_request_is_refused() {
    let mut relay = Relay::start("load", "25200-25399", GRACE_S);
    let mut calls: Vec<Call> = (0..CALLS).map(|_| relay.open()).collect();
    talk_until(&mut calls, clock::monotonic() + 10 * FRAME);
    assert!(relay.readiness().starts_with("HTTP/1.1 200"), "the control");
    relay.signal("-TERM");
    let asked = clock::monotonic();
    talk_until(&mut calls, asked + 5 * FRAME);
    assert!(relay.readiness().starts_with("HTTP/1.1 503"));
    let refused = relay.ask("POST", "/v1/calls", &new_call());
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: "), "{refused}");

    let mut answered = 0;
    // To a second before the end: whoever asks later may meet a listener that is gone.
    while asked.elapsed() < GRACE - 25 * FRAME {
        let call = answered % CALLS;
        let answer = match answered / CALLS {
            0 => {
                let plan = r#"{"fields":[{"type":"payment-card-number"}]}"#;
                let path = format!("{}/secure-session", calls[call].path);
                relay.ask("POST", &path, plan)
            }
            _ => relay.ask("GET", &calls[call].path, ""),
        };
        let status = answer.split(' ').nth(1).unwrap().to_owned();
        assert!(["200", "201"].contains(&&*status), "{answer}");
        answered += 1;
        talk_until(&mut calls, clock::monotonic() + FRAME);
    }
    for call in &mut calls {
        call.heard = 0;
    }
    talk_until(&mut calls, asked + GRACE - 2 * FRAME);
    // Each is cut, and its engine hears silence: a call that had ended would be still.
    let least = calls.iter().map(|call| call.heard).min().unwrap();
    assert!(least > 10, "a call was over before its grace: {least} frames");
    assert!(relay.has_ended().is_none());
    assert_eq!(relay.end_within(LEAVING).code(), Some(0));
    assert!(asked.elapsed() >= GRACE);
    println!(
        "figure: drain: {CALLS} calls went on for {GRACE_S} s after SIGTERM, {answered} requests \
         answered, new calls refused"
    );
}

#[test]
fn it_ends_with_its_last_call_or_when_it_is_asked_again() {
    let mut relay = Relay::start("last", "25400-25439", 60);
    let call = relay.open();
    relay.signal("-TERM");
    std::thread::sleep(25 * FRAME);
    assert!(relay.has_ended().is_none(), "a call is on");
    let ended = relay.ask("DELETE", &call.path, "");
    assert!(ended.starts_with("HTTP/1.1 204"), "{ended}");
    assert_eq!(relay.end_within(LEAVING).code(), Some(0));

    let mut relay = Relay::start("again", "25440-25479", 60);
    let _call = relay.open();
    relay.signal("-TERM");
    std::thread::sleep(25 * FRAME);
    assert!(relay.has_ended().is_none(), "a call is on");
    relay.signal("-TERM");
    assert_eq!(relay.end_within(LEAVING).code(), Some(0));
}

#[test]
fn without_a_grace_calls_end_at_once() {
    let mut relay = Relay::start("none", "25480-25519", 0);
    let _call = relay.open();
    relay.signal("-TERM");
    let asked = clock::monotonic();
    assert_eq!(relay.end_within(LEAVING).code(), Some(0));
    assert!(asked.elapsed() < LEAVING);
}

fn new_call() -> String {
    let sdp = "v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nc=IN IP4 127.0.0.1\\r\\nt=0 0\\r\\n\
               m=audio 9 RTP/AVP 0\\r\\n";
    format!(
        r#"{{"caller":{{"sdp":"{sdp}"}},"engine":{{"type":"rtp","address":"127.0.0.1:40000"}}}}"#
    )
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn request(address: &str, token: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

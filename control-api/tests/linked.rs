//! Engines behind a connection: what they are sent and may send, and what they can't do to a call.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::http::Method;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use control_api::keys::Role;
use control_api::linked::Outgoing;
use control_api::linked::callers::{self, RawCallers};
use control_api::outbound::{AddressRules, Outbound, SystemResolver};
use control_api::{Outward, clock, dto};
use dtmf::Digit;
use futures_util::{SinkExt, StreamExt};
use relay::prompts::Sound;
use relay::switchboard::{PlayRequest, Press, Side};
use rig::{Rig, answer_port, offer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// What the caller says: a code that no silence is.
const VOICE: u8 = 0x2a;
const SILENCE: u8 = 0xff;

fn rig(name: &str) -> Rig {
    let rules = AddressRules::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let linked = Outgoing::new(Outbound::new(rules, Arc::new(SystemResolver)));
    Rig::with(name, Outward { linked, ..Outward::default() })
}

/// A caller who says one code without end, and keeps what it hears.
struct Caller {
    socket: UdpSocket,
    port: u16,
    code: Arc<AtomicU8>,
}

impl Caller {
    fn new() -> Caller {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let port = socket.local_addr().unwrap().port();
        Caller { socket, port, code: Arc::new(AtomicU8::new(VOICE)) }
    }

    fn talk(&self, answer: &str) {
        let to = SocketAddr::from(([127, 0, 0, 1], answer_port(answer)));
        let (socket, code) = (self.socket.try_clone().unwrap(), Arc::clone(&self.code));
        // It ends with the test: a minute is more than any of them takes.
        std::thread::spawn(move || {
            for number in 0..3000_u16 {
                let mut packet = vec![0x80, 0];
                packet.extend(number.to_be_bytes());
                packet.extend((u32::from(number) * 160).to_be_bytes());
                packet.extend([1, 2, 3, 4]);
                packet.extend([code.load(Ordering::Relaxed); 160]);
                let _ = socket.send_to(&packet, to);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }

    /// Forgets what has come so far.
    fn drain(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 2048]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }

    /// The first octets of the next packets' payloads.
    fn hear(&self, packets: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut packet = [0; 2048];
        while heard.len() < packets {
            let length = self.socket.recv(&mut packet).unwrap();
            // Reports are not heard.
            if length > 12 && packet[1] & 0x7f == 0 {
                heard.push(packet[12]);
            }
        }
        heard
    }
}

type Socket = WebSocketStream<TcpStream>;

/// An engine that waits for one call.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/media", listener.local_addr().unwrap());
    (listener, url)
}

async fn accept(listener: &TcpListener) -> Socket {
    let (stream, _) = listener.accept().await.unwrap();
    tokio_tungstenite::accept_async(stream).await.unwrap()
}

async fn next(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(5), socket.next()).await;
        match message.expect("an engine is told something").unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other @ (Message::Binary(_) | Message::Close(_) | Message::Frame(_)) => {
                panic!("{other:?}")
            }
        }
    }
}

async fn next_but_media(socket: &mut Socket) -> Value {
    loop {
        let message = next(socket).await;
        // What a connection begins with is looked at by whoever wants to.
        if !["media", "connected", "start"].contains(&message["event"].as_str().unwrap()) {
            return message;
        }
    }
}

fn payload(message: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(message["media"]["payload"].as_str().unwrap()).unwrap()
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

async fn play(socket: &mut Socket, code: u8, octets: usize) {
    let payload = BASE64_STANDARD.encode(vec![code; octets]);
    say(socket, json!({"event": "media", "media": {"payload": payload}})).await;
}

fn body(caller: &Caller, url: &str) -> Value {
    json!({
        "caller": { "sdp": offer(caller.port) },
        "engine": { "type": "websocket", "dialect": "twilio", "url": url,
            "parameters": { "tenant": "t1" } },
    })
}

/// Opens a call of a talking caller; its path, and the engine's end.
async fn open(rig: &Rig, caller: &Caller, listener: &TcpListener, url: &str) -> (String, Socket) {
    let posted = rig.post(Role::Script, "/v1/calls", body(caller, url));
    let (answer, socket) = tokio::join!(posted, accept(listener));
    let answer = answer.expect(201);
    caller.talk(answer.json()["caller"]["sdp"].as_str().unwrap());
    (answer.header("location").to_owned(), socket)
}

async fn enter(rig: &Rig, call: &str) {
    let plan = json!({ "fields": [{ "type": "expiration-date", "max_attempts": 1 }] });
    rig.post(Role::Script, &format!("{call}/secure-session"), plan).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_is_told_of_its_call_and_sound_goes_both_ways() {
    let (rig, caller, (listener, url)) = (rig("linked"), Caller::new(), listen().await);
    let (call, mut engine) = open(&rig, &caller, &listener, &url).await;
    assert_eq!(next(&mut engine).await["event"], "connected");
    let start = next(&mut engine).await;
    assert_eq!(start["start"]["customParameters"], json!({"tenant": "t1"}));
    let heard = next(&mut engine).await;
    assert_eq!(heard["media"]["chunk"], "1");
    let mut heard = Vec::new();
    while heard.len() < 10 {
        heard.push(payload(&next(&mut engine).await));
    }
    assert!(heard.iter().all(|frame| frame.len() == 160));
    assert!(heard.iter().any(|frame| frame == &[VOICE; 160]));

    play(&mut engine, 0x11, 400).await;
    say(&mut engine, json!({"event": "mark", "mark": {"name": "end"}})).await;
    let codes = tokio::task::spawn_blocking(move || {
        let codes = caller.hear(40);
        (caller, codes)
    });
    let (caller, codes) = codes.await.unwrap();
    // 400 octets are two frames and a half.
    assert_eq!(codes.iter().filter(|code| **code == 0x11).count(), 3, "{codes:?}");
    let mark = next_but_media(&mut engine).await;
    assert_eq!(mark["mark"]["name"], "end");

    let view = rig.get(Role::Script, &call).await.expect(200).json();
    assert_eq!(view["legs"]["engine"]["transport"], "websocket");
    rig.delete(Role::Script, &call).await.expect(204);
    assert_eq!(next_but_media(&mut engine).await["event"], "stop");
    drop(caller);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cleared_is_not_heard() {
    let (rig, caller, (listener, url)) = (rig("linked-clear"), Caller::new(), listen().await);
    let (_call, mut engine) = open(&rig, &caller, &listener, &url).await;
    play(&mut engine, 0x11, 80_000).await;
    say(&mut engine, json!({"event": "mark", "mark": {"name": "long"}})).await;
    let (caller, _) = tokio::task::spawn_blocking(move || {
        let codes = caller.hear(5);
        (caller, codes)
    })
    .await
    .unwrap();
    say(&mut engine, json!({"event": "clear"})).await;
    assert_eq!(next_but_media(&mut engine).await["mark"]["name"], "long");
    // What was on its way is heard out.
    tokio::time::sleep(Duration::from_millis(100)).await;
    play(&mut engine, 0x22, 1600).await;
    let codes = tokio::task::spawn_blocking(move || {
        caller.drain();
        caller.hear(20)
    });
    let codes = codes.await.unwrap();
    assert!(codes.iter().all(|code| *code == 0x22 || *code == SILENCE), "{codes:?}");
    assert!(codes.contains(&0x22), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cut_it_hears_silence_without_a_gap_and_is_not_heard() {
    let (rig, caller, (listener, url)) = (rig("linked-cut"), Caller::new(), listen().await);
    let (call, mut engine) = open(&rig, &caller, &listener, &url).await;
    let mut last = 0;
    let mut voice = 0;
    for _ in 0..10 {
        let message = next(&mut engine).await;
        voice += usize::from(message["event"] == "media" && payload(&message)[0] == VOICE);
    }
    assert!(voice > 0, "the control: in the open it hears the caller");
    play(&mut engine, 0x11, 80_000).await;
    say(&mut engine, json!({"event": "mark", "mark": {"name": "lost"}})).await;
    enter(&rig, &call).await;
    // What has left before the answer is in the socket still; a mark of ours comes behind it.
    say(&mut engine, json!({"event": "mark", "mark": {"name": "in the cut"}})).await;
    let mut marks = Vec::new();
    while marks.last().is_none_or(|mark| mark != "in the cut") {
        let message = next(&mut engine).await;
        if message["event"] == "mark" {
            marks.push(message["mark"]["name"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(marks, ["lost", "in the cut"]);
    play(&mut engine, 0x33, 1600).await;
    for _ in 0..50 {
        let message = next(&mut engine).await;
        assert_eq!(message["event"], "media");
        assert_eq!(payload(&message), [SILENCE; 160]);
        let chunk: u64 = message["media"]["chunk"].as_str().unwrap().parse().unwrap();
        assert!(last == 0 || chunk == last + 1);
        last = chunk;
    }
    // An operator ends it, the line is quiet, and the caller is heard again.
    caller.code.store(SILENCE, Ordering::Relaxed);
    rig.delete(Role::Operator, &format!("{call}/secure-session")).await.expect(204);
    loop {
        let view = rig.get(Role::Script, &format!("{call}/secure-session")).await.expect(200);
        if view.json()["state"] == "ended" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    caller.code.store(VOICE, Ordering::Relaxed);
    // Behind what came in the meantime.
    let mut heard = false;
    for _ in 0..1000 {
        let message = next(&mut engine).await;
        heard |= message["event"] == "media" && payload(&message)[0] == VOICE;
        if heard {
            break;
        }
    }
    assert!(heard);
    rig.delete(Role::Script, &call).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_reads_nothing_loses_its_connection_and_not_the_caller_the_cut() {
    let (rig, caller, (listener, url)) = (rig("linked-stuck"), Caller::new(), listen().await);
    let posted = rig.post(Role::Script, "/v1/calls", json!({
        "caller": { "sdp": offer(caller.port) },
        "engine": { "type": "websocket", "dialect": "twilio", "url": url, "codec": "L16/24000" },
    }));
    let (answer, socket) = tokio::join!(posted, async {
        let (stream, _) = listener.accept().await.unwrap();
        // The smallest window there is: it fills within a second or two.
        rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 2048).unwrap();
        tokio_tungstenite::accept_async(stream).await.unwrap()
    });
    let answer = answer.expect(201);
    let call = answer.header("location").to_owned();
    caller.talk(answer.json()["caller"]["sdp"].as_str().unwrap());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = clock::monotonic();
    enter(&rig, &call).await;
    let took = clock::monotonic().saturating_duration_since(asked);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let view = rig.get(Role::Script, &call).await.expect(200).json();
    assert_eq!(view["state"], "secure");
    drop(socket);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_its_engine_but_not_before_its_session() {
    let (rig, caller, (listener, url)) = (rig("linked-end"), Caller::new(), listen().await);
    let (call, mut engine) = open(&rig, &caller, &listener, &url).await;
    next(&mut engine).await;
    enter(&rig, &call).await;
    engine.close(None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let view = rig.get(Role::Script, &call).await.expect(200).json();
    assert_eq!(view["state"], "secure", "the caller is not lost by it");
    caller.code.store(SILENCE, Ordering::Relaxed);
    rig.delete(Role::Operator, &format!("{call}/secure-session")).await.expect(204);
    for _ in 0..100 {
        let view = rig.get(Role::Script, &call).await.expect(200).json();
        if view["state"] == "closed" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the call did not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_made_anew() {
    let (rig, caller, (listener, url)) = (rig("linked-anew"), Caller::new(), listen().await);
    let (call, mut engine) = open(&rig, &caller, &listener, &url).await;
    let first = loop {
        let message = next(&mut engine).await;
        if message["event"] == "start" {
            break message;
        }
    };
    // Nothing of it is readable: that is how a connection breaks.
    say(&mut engine, json!("no object")).await;
    let mut engine = accept(&listener).await;
    assert_eq!(next(&mut engine).await["event"], "connected");
    let second = next(&mut engine).await;
    assert_eq!(second["start"]["callSid"], first["start"]["callSid"]);
    assert_ne!(second["streamSid"], first["streamSid"]);
    assert_eq!(next(&mut engine).await["event"], "media");
    rig.delete(Role::Script, &call).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_wrongly_is_refused_before_anything_is_opened() {
    let (rig, caller) = (rig("linked-wrong"), Caller::new());
    let ask = async |engine: Value| {
        let body = json!({ "caller": { "sdp": offer(caller.port) }, "engine": engine });
        rig.post(Role::Script, "/v1/calls", body).await
    };
    let pointer = |answer: rig::Answer| answer.json()["errors"][0]["pointer"].clone();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("ws://{nobody}/");
    let unreachable = ask(json!({"type": "websocket", "dialect": "twilio", "url": url})).await;
    assert_eq!(unreachable.expect(502).json()["code"], "engine-unreachable");
    let private = json!({"type": "websocket", "dialect": "twilio", "url": "ws://10.0.0.1/"});
    ask(private).await.expect(502);
    let cases = [
        (json!({"type": "websocket", "dialect": "morse", "url": "ws://h/"}), "/engine/dialect"),
        (json!({"type": "websocket", "dialect": "twilio", "url": "http://h/"}), "/engine/url"),
        (
            json!({"type": "websocket", "dialect": "twilio", "url": "ws://h/", "codec": "G722"}),
            "/engine/codec",
        ),
        (
            json!({"type": "websocket", "dialect": "twilio", "url": "ws://h/", "ptime_ms": 40}),
            "/engine/ptime_ms",
        ),
        (json!({"type": "rtp", "address": "127.0.0.1:9", "url": "ws://h/"}), "/engine/url"),
        (json!({"type": "openai"}), "/engine/type"),
    ];
    for (engine, at) in cases {
        assert_eq!(pointer(ask(engine.clone()).await.expect(422)), at, "{engine}");
    }
    assert!(rig.control.calls.live().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audiosocket_engine_hears_and_is_heard() {
    let (rig, caller) = (rig("linked-audiosocket"), Caller::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let body = json!({
        "caller": { "sdp": offer(caller.port) },
        "engine": { "type": "audiosocket", "address": address, "codec": "L16/16000" },
    });
    let (answer, accepted) =
        tokio::join!(rig.post(Role::Script, "/v1/calls", body), listener.accept());
    let (answer, (mut stream, _)) = (answer.expect(201), accepted.unwrap());
    caller.talk(answer.json()["caller"]["sdp"].as_str().unwrap());
    let mut head = [0; 3];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head, [0x01, 0, 16]);
    let mut id = [0; 16];
    stream.read_exact(&mut id).await.unwrap();
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head, [0x12, 0x02, 0x80], "16 kHz, 640 octets");
    let mut frame = [0; 640];
    stream.read_exact(&mut frame).await.unwrap();
    let loud: Vec<u8> = [0x00, 0x20].repeat(320);
    for _ in 0..5 {
        stream.write_all(&[&[0x12, 0x02, 0x80][..], &loud].concat()).await.unwrap();
    }
    let codes = tokio::task::spawn_blocking(move || caller.hear(20)).await.unwrap();
    assert!(codes.iter().any(|code| *code != SILENCE), "{codes:?}");
    // It hangs up.
    stream.write_all(&[0, 0, 0]).await.unwrap();
    let call = answer.header("location").to_owned();
    for _ in 0..50 {
        let view = rig.ask(Role::Script, Method::GET, &call, None).await.expect(200).json();
        if view["state"] == "closed" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the call did not end");
}

/// An AudioSocket frame.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind], &(payload.len() as u16).to_be_bytes()[..], payload].concat()
}

/// The samples of the next frame of sound.
async fn next_samples(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 3];
    stream.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut payload).await.unwrap();
    assert_eq!(head[0], 0x10);
    payload
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audiosocket_caller_is_a_caller_and_its_keys_pass_a_session() {
    let rig = rig("linked-caller");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let callers: RawCallers =
        toml::from_str("address = '127.0.0.1:9092'\nengine = 'echo'").unwrap();
    let config = callers.resolve().unwrap().unwrap();
    tokio::spawn(callers::serve(listener, config, Arc::clone(&rig.control)));

    // Who names no call gets none.
    let mut nobody = TcpStream::connect(address).await.unwrap();
    nobody.write_all(&frame(0x10, &[0; 320])).await.unwrap();
    assert_eq!(nobody.read(&mut [0; 8]).await.unwrap(), 0);

    let mut caller = TcpStream::connect(address).await.unwrap();
    let id: Vec<u8> = (1..=16).collect();
    caller.write_all(&frame(0x01, &id)).await.unwrap();
    let samples = next_samples(&mut caller).await;
    assert_eq!(samples.len(), 320);
    let call = "/v1/calls/ext:01020304-0506-0708-090a-0b0c0d0e0f10";
    let view = rig.get(Role::Script, call).await.expect(200).json();
    assert_eq!(view["legs"]["caller"]["transport"], "audiosocket");
    let moved = json!({ "sdp": offer(9) });
    let refused = rig.post(Role::Script, &format!("{call}/caller/offer"), moved).await.expect(422);
    assert_eq!(refused.json()["errors"][0]["pointer"], "/sdp", "it stays where it is");

    let quiet = frame(0x10, &[0; 320]);
    let plan = json!({ "fields": [
        { "type": "postal-code", "min_digits": 4, "max_digits": 4 }] });
    rig.post(Role::Script, &format!("{call}/secure-session"), plan).await.expect(201);
    for key in b"1234#" {
        caller.write_all(&frame(0x03, &[*key])).await.unwrap();
        for _ in 0..5 {
            caller.write_all(&quiet).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let mut state = Value::Null;
    for _ in 0..300 {
        caller.write_all(&quiet).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        state = rig.get(Role::Script, &format!("{call}/secure-session")).await.expect(200).json();
        if state["state"] == "ended" {
            break;
        }
    }
    assert_eq!(state["result"], "pass", "{state}");
    drop(caller);
    for _ in 0..50 {
        let view = rig.get(Role::Script, call).await;
        if view.status == 404 || view.json()["state"] == "closed" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the call did not end with its caller");
}

/// A sound and a key of the relay's own reach an engine behind a connection in its dialect's words.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_hears_what_is_played_and_is_told_of_a_key_that_is_pressed_for_the_caller() {
    const SOUND: u8 = 0x31;
    let (rig, caller, (listener, url)) = (rig("linked-play"), Caller::new(), listen().await);
    let (call, mut engine) = open(&rig, &caller, &listener, &url).await;
    let id = dto::id::parse_call(call.rsplit('/').next().unwrap()).unwrap();
    let at = rig.control.calls.find(id).unwrap().at().unwrap();
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x07\0\x01\0\x40\x1f\0\0".to_vec();
    file.extend([0, 0, 0, 0, 0, 0, 8, 0]);
    file.extend(b"data\x40\x06\0\0");
    file.extend([SOUND; 1600]);
    let sound = PlayRequest::new(Arc::new(Sound::read(&file).unwrap()));
    rig.control.relay.play(at, Side::Engine.into(), sound).await.unwrap();
    let mut frames = Vec::new();
    while frames.iter().filter(|it| **it == [SOUND; 160]).count() < 10 {
        let message = next(&mut engine).await;
        if message["event"] == "media" {
            frames.push(payload(&message));
        }
        assert!(frames.len() < 100, "it is heard");
    }
    let first = frames.iter().position(|it| *it == [SOUND; 160]).unwrap();
    assert!(frames[first..].iter().all(|it| !it.contains(&VOICE)), "and nothing of the caller");

    for key in [Digit::Four, Digit::Pound] {
        let (held, pause) = (Duration::from_millis(100), Duration::from_millis(100));
        let press = Press::new(key, held, 8, pause).unwrap();
        rig.control.relay.press(at, Side::Caller.into(), press).await.unwrap();
    }
    for digit in ["4", "#"] {
        let told = next_but_media(&mut engine).await;
        assert_eq!((&told["event"], &told["dtmf"]["digit"]), (&json!("dtmf"), &json!(digit)));
    }
    for _ in 0..100 {
        let message = next(&mut engine).await;
        if message["event"] == "media" && payload(&message) == [VOICE; 160] {
            return;
        }
    }
    panic!("the caller is heard again");
}

//! The echo engine: what it takes to have one, what it hears of a call, and that it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::http::Method;
use control_api::clock;
use control_api::echo::MAX_ENGINES;
use control_api::keys::Role;
use dtmf::g711::Law;
use loadtest::{Caller, CallerConfig, Ear, KeyMethod, Speech, Voice};
use rig::{Rig, answer_port, offer, open_body};
use serde_json::{Value, json};

const FRAME: Duration = Duration::from_millis(20);
/// By then an engine that hears silence says so: it waits for a quarter of a second of it.
const MARGIN: Duration = Duration::from_millis(500);

fn echo_body(caller: u16) -> Value {
    json!({ "caller": { "sdp": offer(caller) }, "engine": { "type": "echo" } })
}

/// A voice that can be told to be quiet.
struct Talk {
    voice: Voice,
    quiet: Arc<AtomicBool>,
}

impl Speech for Talk {
    fn fill(&mut self, frame: &mut [u8]) {
        if self.quiet.load(Ordering::Relaxed) {
            frame.fill(Law::Mu.silence());
        } else {
            self.voice.fill(frame);
        }
    }
}

/// A caller on a socket of its own.
struct Telephone {
    port: u16,
    socket: UdpSocket,
    quiet: Arc<AtomicBool>,
    caller: Arc<Mutex<Caller<Talk>>>,
    hung_up: Arc<AtomicBool>,
}

impl Telephone {
    fn new() -> Telephone {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let quiet = Arc::new(AtomicBool::new(false));
        let talk = Talk { voice: Voice::shipped(Law::Mu), quiet: Arc::clone(&quiet) };
        let config = CallerConfig::pcmu(0x5EED, KeyMethod::Events);
        Telephone {
            port: socket.local_addr().unwrap().port(),
            socket,
            quiet,
            caller: Arc::new(Mutex::new(Caller::new(config, talk))),
            hung_up: Arc::default(),
        }
    }

    /// Talks to the port that an answer names, until it hangs up; then tells what it has heard.
    fn talk(&self, answer: &str) -> JoinHandle<Ear> {
        let relay = SocketAddr::from(([127, 0, 0, 1], answer_port(answer)));
        let socket = self.socket.try_clone().unwrap();
        let (caller, hung_up) = (Arc::clone(&self.caller), Arc::clone(&self.hung_up));
        socket.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let (mut ear, mut datagram) = (Ear::new(Law::Mu, 0), [0; 2048]);
            let mut next = clock::monotonic();
            while !hung_up.load(Ordering::Relaxed) {
                caller.lock().unwrap().tick(&mut |packet| drop(socket.send_to(packet, relay)));
                while let Ok((length, _)) = socket.recv_from(&mut datagram) {
                    ear.hear(clock::monotonic(), &datagram[..length]);
                }
                next += FRAME;
                std::thread::sleep(next.saturating_duration_since(clock::monotonic()));
            }
            ear
        })
    }

    fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Relaxed);
    }
}

/// One entry of a transcript.
#[derive(Debug)]
struct Entry {
    number: u64,
    at: String,
    kind: String,
    level: Option<i64>,
}

/// The transcript of a call that has ended, after an entry.
async fn transcript(rig: &Rig, call: &str, after: Option<u64>) -> Vec<Entry> {
    let path = format!("{call}/engine/hearing");
    let after = after.map(|after| after.to_string());
    let headers: Vec<_> = after.iter().map(|after| ("last-event-id", after.as_str())).collect();
    let answer = rig.ask_with(Role::Script, Method::GET, &path, None, &headers).await.expect(200);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = String::from_utf8(answer.body).unwrap();
    text.split_terminator("\n\n").map(entry).collect()
}

fn entry(event: &str) -> Entry {
    let field = |name: &str| event.lines().find_map(|it| it.strip_prefix(name)).unwrap();
    assert_eq!(field("event: "), "hearing");
    let data: Value = serde_json::from_str(field("data: ")).unwrap();
    assert_eq!(data.as_object().unwrap().len(), 3, "nothing but at, kind and level: {data}");
    Entry {
        number: field("id: ").parse().unwrap(),
        at: data["at"].as_str().unwrap().to_owned(),
        kind: data["kind"].as_str().unwrap().to_owned(),
        level: data["level_dbm0"].as_i64(),
    }
}

/// What an echo engine heard: before the cut, in it, and after it.
struct Heard {
    before: Vec<Entry>,
    cut: Vec<Entry>,
    after: Vec<Entry>,
}

/// A call on which the caller never stops to talk but for the quiet that ends a session.
async fn a_call_with_a_session(rig: &Rig) -> Heard {
    let telephone = Telephone::new();
    let opened = rig.post(Role::Script, "/v1/calls", echo_body(telephone.port)).await.expect(201);
    let call = opened.header("location").to_owned();
    let line = telephone.talk(opened.json()["caller"]["sdp"].as_str().unwrap());
    let pause = async |ms| tokio::time::sleep(Duration::from_millis(ms)).await;
    pause(2500).await;

    let before = clock::now().to_string();
    let plan = json!({ "fields": [{ "type": "postal-code", "min_digits": 4, "max_digits": 4 }] });
    let session = format!("{call}/secure-session");
    rig.post(Role::Script, &session, plan).await.expect(201);
    let cut = clock::now().after(MARGIN).to_string();
    pause(2500).await;
    let until = clock::now().to_string();
    telephone.quiet.store(true, Ordering::Relaxed);
    rig.key(&call, "1234").await;
    for _ in 0..100 {
        if rig.get(Role::Script, &session).await.json()["state"] == "ended" {
            break;
        }
        pause(50).await;
    }
    assert_eq!(rig.get(Role::Script, &session).await.json()["result"], "pass");
    let opened_again = clock::now().to_string();
    telephone.quiet.store(false, Ordering::Relaxed);
    pause(1500).await;
    rig.delete(Role::Script, &call).await.expect(204);
    telephone.hang_up();
    it_is_echoed(&line.join().unwrap());
    all_gone(rig).await;

    let mut heard = Heard { before: Vec::new(), cut: Vec::new(), after: Vec::new() };
    for entry in transcript(rig, &call, None).await {
        if entry.at < before {
            heard.before.push(entry);
        } else if entry.at >= cut && entry.at < until {
            heard.cut.push(entry);
        } else if entry.at >= opened_again {
            heard.after.push(entry);
        }
    }
    heard
}

/// The caller hears itself: the second half second of what it says, in one piece.
fn it_is_echoed(ear: &Ear) {
    let mut said = vec![0; 8000];
    Voice::shipped(Law::Mu).fill(&mut said);
    let said = &said[4000..];
    assert!(ear.audio().windows(said.len()).any(|heard| heard == said), "it echoes");
}

async fn all_gone(rig: &Rig) {
    for _ in 0..200 {
        if rig.control.echoes.available_permits() == MAX_ENGINES {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("an engine is left behind");
}

fn voiced(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| entry.kind == "voice").count()
}

#[cfg(not(feature = "sabotage"))]
#[tokio::test(flavor = "multi_thread")]
async fn it_hears_a_voice_then_silence_while_the_call_is_cut_then_a_voice() {
    let rig = Rig::new("echo-cut");
    let Heard { before, cut, after } = a_call_with_a_session(&rig).await;
    assert!(voiced(&before) >= 2, "{before:?}");
    assert!(voiced(&after) >= 2, "{after:?}");
    let silent = |entry: &Entry| entry.kind == "silence" && entry.level.is_none();
    assert!(cut.len() >= 3 && cut.iter().all(silent), "{cut:?}");
    let loud = before.iter().filter_map(|entry| entry.level).max().unwrap();
    assert!((-30..0).contains(&loud), "{before:?}");
}

/// The control: with masking broken, the same look at the same transcript finds a voice in the cut.
#[cfg(feature = "sabotage")]
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_mask_is_heard_in_the_cut() {
    relay::sabotage::break_masking();
    let rig = Rig::new("echo-broken");
    let Heard { before, cut, after: _ } = a_call_with_a_session(&rig).await;
    assert!(voiced(&before) >= 2, "{before:?}");
    assert!(voiced(&cut) >= 2, "{cut:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_events_of_an_open_call_are_told_without_their_key() {
    let rig = Rig::new("echo-keys");
    let mut told = Vec::new();
    for key in ["1", "9"] {
        let telephone = Telephone::new();
        telephone.quiet.store(true, Ordering::Relaxed);
        let opened = rig.post(Role::Script, "/v1/calls", echo_body(telephone.port)).await;
        let opened = opened.expect(201);
        let call = opened.header("location").to_owned();
        let line = telephone.talk(opened.json()["caller"]["sdp"].as_str().unwrap());
        tokio::time::sleep(Duration::from_millis(600)).await;
        let digit = dtmf::Digit::from_ascii(key.as_bytes()[0]).unwrap();
        telephone.caller.lock().unwrap().press([digit]);
        tokio::time::sleep(Duration::from_millis(900)).await;
        rig.delete(Role::Script, &call).await.expect(204);
        telephone.hang_up();
        drop(line.join().unwrap());
        all_gone(&rig).await;
        let mut entries = transcript(&rig, &call, None).await;
        entries.dedup_by(|a, b| a.kind == b.kind);
        let kinds: Vec<_> = entries.into_iter().map(|entry| (entry.kind, entry.level)).collect();
        assert_eq!(kinds[1], ("key_event".to_owned(), None));
        told.push(kinds);
    }
    assert_eq!(told[0], told[1], "one key is told as any other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_goes_on_from_a_number_and_ends_with_the_call() {
    let rig = Rig::new("echo-resume");
    let begun = clock::monotonic();
    let opened = rig.post(Role::Operator, "/v1/calls", echo_body(9)).await.expect(201);
    let call = opened.header("location").to_owned();
    let path = format!("{call}/engine/hearing");
    let rig = Arc::new(rig);
    // It is answered only when the stream has ended.
    let (asks, of) = (Arc::clone(&rig), path.clone());
    let stream = tokio::spawn(async move { asks.get(Role::Operator, &of).await });
    tokio::time::sleep(Duration::from_millis(1700)).await;
    assert!(!stream.is_finished());
    rig.delete(Role::Operator, &call).await.expect(204);
    let answer = tokio::time::timeout(Duration::from_secs(5), stream).await.unwrap().unwrap();
    let halves = begun.elapsed().as_millis() as usize / 500;
    let live = String::from_utf8(answer.expect(200).body).unwrap();
    all_gone(&rig).await;

    let all = transcript(&rig, &call, None).await;
    assert_eq!(live.matches("event: hearing\n").count(), all.len());
    assert!(all.iter().map(|entry| entry.number).eq(1..=all.len() as u64), "{all:?}");
    assert!((3..=halves + 1).contains(&all.len()), "one every half second: {all:?}");
    assert!(all.iter().all(|it| it.kind == "silence" && it.level.is_none()), "{all:?}");
    let rest = transcript(&rig, &call, Some(2)).await;
    assert_eq!(rest.first().unwrap().number, 3);
    for (after, status) in [(all.len().to_string(), 204), ("x".to_owned(), 400)] {
        let headers = [("last-event-id", after.as_str())];
        rig.ask_with(Role::Script, Method::GET, &path, None, &headers).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_has_what_belongs_to_it_and_no_more() {
    let rig = Rig::new("echo-body");
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    let srtp = json!({ "suite": "AEAD_AES_128_GCM", "send_key": key, "receive_key": key });
    let cases = [
        (json!({ "type": "echo" }), 201, ""),
        (json!({ "type": "echo", "codec": "PCMA", "ptime_ms": 40 }), 201, ""),
        (json!({ "type": "echo", "telephone_event_payload_type": 96 }), 201, ""),
        (json!({ "type": "echo", "profile": "nervous" }), 201, ""),
        (json!({ "type": "echo", "address": "127.0.0.1:40000" }), 422, "/engine/address"),
        (json!({ "type": "echo", "srtp": srtp }), 422, "/engine/srtp"),
        (json!({ "type": "echo", "ptime_ms": 25 }), 422, "/engine/ptime_ms"),
        (json!({ "type": "echo", "delay_ms": 1 }), 400, "/engine"),
        (json!({ "type": "rtp" }), 400, "/engine"),
        (json!({ "type": "mirror" }), 400, "/engine/type"),
    ];
    let mut running = 0;
    for (engine, status, pointer) in cases {
        let body = json!({ "caller": { "sdp": offer(9) }, "engine": engine });
        let answer = rig.post(Role::Script, "/v1/calls", body).await.expect(status).json();
        if status == 201 {
            running += 1;
            assert!(answer["engine"]["address"].is_string(), "{answer}");
        } else {
            assert_eq!(answer["errors"][0]["pointer"], pointer, "{answer}");
        }
    }
    assert_eq!(rig.control.echoes.available_permits(), MAX_ENGINES - running);
    assert_eq!(rig.control.calls.live().len(), running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_another_engine_has_no_transcript() {
    let rig = Rig::new("echo-none");
    let call = rig.open().await;
    let none = rig.get(Role::Script, &format!("{call}/engine/hearing")).await.expect(404).json();
    assert_eq!(none["code"], "hearing-not-found");
    let put = async |call: &str, body: Value| {
        rig.ask(Role::Script, Method::PUT, &format!("{call}/engine"), Some(body)).await
    };
    let refused = put(&call, json!({ "type": "echo" })).await.expect(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/type");

    // A call that has an echo may get another engine, and the echo goes.
    let opened = rig.post(Role::Script, "/v1/calls", echo_body(9)).await.expect(201);
    let call = opened.header("location").to_owned();
    assert_eq!(rig.control.echoes.available_permits(), MAX_ENGINES - 1);
    put(&call, open_body(9, 40_016)["engine"].clone()).await.expect(200);
    all_gone(&rig).await;
    rig.get(Role::Script, &format!("{call}/engine/hearing")).await.expect(404);
    assert_eq!(rig.get(Role::Script, &call).await.json()["state"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_echoes_run_than_there_is_room_for() {
    let rig = Rig::new("echo-room");
    let rest = Arc::clone(&rig.control.echoes);
    let rest = rest.acquire_many_owned(MAX_ENGINES as u32 - 1).await.unwrap();
    let first = rig.post(Role::Script, "/v1/calls", echo_body(9)).await.expect(201);
    let refused = rig.post(Role::Script, "/v1/calls", echo_body(9)).await.expect(503);
    assert_eq!(refused.json()["code"], "no-capacity");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(rig.control.calls.live().len(), 1, "nothing half made is left");
    drop(rest);
    rig.post(Role::Script, "/v1/calls", echo_body(9)).await.expect(201);
    for call in rig.control.calls.live() {
        rig.control.end_call(&call).await.unwrap();
    }
    all_gone(&rig).await;
    rig.delete(Role::Script, first.header("location")).await.expect(204);
}

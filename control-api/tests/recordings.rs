//! Recordings by REST and on the command line: sealed, verified, rewrapped, erased.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use control_api::keys::Role;
use control_api::{chance, clock, health, retention};
use dtmf::g711::Law;
use relay::recording::{Archive, Block, Job, KeyEncryptionKey, Keyring, Recorder};
use relay::switchboard::CallId;
use rig::{Rig, Talker, answer_port, open_body};
use tower::ServiceExt;

const BLOCK_SAMPLES: usize = 800;

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_sealed_exported_and_erased() {
    let rig = Rig::new("erase");
    let talker = Talker::new();
    let opened = rig.post(Role::Script, "/v1/calls", open_body(talker.port, 40_100)).await;
    let body = opened.expect(201).json();
    talker.talk(body["caller"]["sdp"].as_str().unwrap());
    let call = format!("/v1/calls/{}", body["id"].as_str().unwrap());
    let path = format!("{call}/recording");
    tokio::time::sleep(Duration::from_millis(1200)).await;

    let growing = rig.get(Role::Operator, &path).await.expect(200);
    assert_eq!(growing.header("sotto-recording"), "in-progress");
    let refused = rig.delete(Role::Operator, &path).await.expect(409).json();
    assert_eq!(refused["code"], "recording-in-progress");

    rig.delete(Role::Script, &call).await.expect(204);
    let whole = rig.get(Role::Operator, &path).await.expect(200);
    assert_eq!(whole.header("sotto-recording"), "complete");
    rig.delete(Role::Script, &path).await.expect(403);
    rig.delete(Role::Operator, &path).await.expect(204);
    let files = fs::read_dir(rig.directory.join("recordings")).unwrap();
    assert_eq!(files.count(), 0);
    for gone in [rig.get(Role::Operator, &path).await, rig.delete(Role::Operator, &path).await] {
        assert_eq!(gone.expect(404).json()["code"], "recording-not-found");
    }
    let figures = figures(&rig).await;
    assert!(figures.contains("sotto_recording_erasures_total{result=\"on_request\"} 1"));
    assert!(figures.contains("sotto_recordings_total{stage=\"completed\"} 1"), "{figures}");
}

/// Octets by when a caller says them.
const BEFORE: u8 = 0x7a;
const WITHIN: u8 = 0x79;
const AFTER: u8 = 0x7b;

/// A caller that says one octet over and over, in real time.
struct Voice {
    socket: UdpSocket,
    port: u16,
    next: u16,
}

impl Voice {
    /// Opens a call that is not recorded; its path.
    async fn call(rig: &Rig) -> (Voice, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut body = open_body(socket.local_addr().unwrap().port(), 40_100);
        body["record"] = false.into();
        let opened = rig.post(Role::Script, "/v1/calls", body).await.expect(201);
        let port = answer_port(opened.json()["caller"]["sdp"].as_str().unwrap());
        (Voice { socket, port, next: 0 }, opened.header("location").to_owned())
    }

    async fn say(&mut self, code: u8, packets: u16) {
        for _ in 0..packets {
            let mut packet = vec![0x80, 0];
            packet.extend(self.next.to_be_bytes());
            packet.extend((u32::from(self.next) * 160).to_be_bytes());
            packet.extend([1, 2, 3, 4]);
            packet.extend([code; 160]);
            self.socket.send_to(&packet, ("127.0.0.1", self.port)).unwrap();
            self.next += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn act(rig: &Rig, call: &str, action: &str) -> rig::Answer {
    let body = serde_json::json!({ "action": action });
    rig.post(Role::Script, &format!("{call}/recording"), body).await
}

/// Packets of each octet on the caller's channel of a call's recording, and how it ends.
async fn exported(rig: &Rig, call: &str) -> ([usize; 3], String) {
    let wav = rig.get(Role::Operator, &format!("{call}/recording")).await.expect(200);
    let counts = [BEFORE, WITHIN, AFTER].map(|code| {
        let sample = Law::Mu.decode(code).to_le_bytes();
        wav.body[44..].chunks_exact(4).filter(|pair| pair[..2] == sample).count() / 160
    });
    (counts, wav.header("sotto-recording").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_begins_pauses_and_ends_a_recording_within_its_call() {
    for is_paused in [true, false] {
        let rig = Rig::new("within");
        let (mut voice, call) = Voice::call(&rig).await;
        let view = rig.get(Role::Script, &call).await.json();
        assert_eq!(view["recording"], false);
        assert!(view["recording_state"].is_null() && view["recording_started_at"].is_null());
        for action in ["pause", "stop"] {
            let refused = act(&rig, &call, action).await.expect(404).json();
            assert_eq!(refused["code"], "recording-not-found");
        }
        voice.say(BEFORE, 10).await;

        let begun = act(&rig, &call, "start").await.expect(200).json();
        assert_eq!(begun["state"], "recording");
        assert!(begun["started_at"].as_str() > view["created_at"].as_str());
        assert_eq!(act(&rig, &call, "start").await.expect(200).json(), begun);
        voice.say(BEFORE, 12).await;
        if is_paused {
            let paused = act(&rig, &call, "pause").await.expect(200).json();
            assert_eq!(act(&rig, &call, "pause").await.expect(200).json(), paused);
            assert_eq!(paused["state"], "paused");
            let view = rig.get(Role::Script, &call).await.json();
            assert_eq!(
                (&view["recording_state"], &view["recording"]),
                (&"paused".into(), &true.into())
            );
            assert_eq!(view["recording_started_at"], begun["started_at"]);
        }
        voice.say(WITHIN, 13).await;
        assert_eq!(act(&rig, &call, "start").await.expect(200).json(), begun);
        voice.say(AFTER, 14).await;
        let growing = rig.get(Role::Operator, &format!("{call}/recording")).await.expect(200);
        assert_eq!(growing.header("sotto-recording"), "in-progress");
        let stopped = act(&rig, &call, "stop").await.expect(200).json();
        assert_eq!(stopped["state"], "stopped");
        assert_eq!(act(&rig, &call, "stop").await.expect(200).json(), stopped);
        let early = rig.delete(Role::Operator, &format!("{call}/recording")).await.expect(409);
        assert_eq!(early.json()["code"], "recording-in-progress");
        voice.say(WITHIN, 5).await;
        until_complete(&rig, &call).await;
        // Complete, although the call goes on.
        let within = if is_paused { 0 } else { 13 };
        assert_eq!(exported(&rig, &call).await, ([12, within, 14], "complete".to_owned()));
        let view = rig.get(Role::Script, &call).await.json();
        assert_eq!((&view["state"], &view["recording_state"]), (&"open".into(), &"stopped".into()));
        for action in ["start", "pause"] {
            let refused = act(&rig, &call, action).await.expect(409).json();
            assert_eq!(refused["code"], "recording-stopped");
        }
        rig.get(Role::Script, &format!("{call}/recording")).await.expect(403);
        rig.delete(Role::Script, &format!("{call}/recording")).await.expect(403);
        rig.delete(Role::Operator, &format!("{call}/recording")).await.expect(204);
        rig.delete(Role::Script, &call).await.expect(204);
        let late = act(&rig, &call, "start").await.expect(409).json();
        assert_eq!(late["code"], "call-ended");

        let told = rig.get(Role::Script, &format!("{call}/events")).await.expect(200);
        let told = String::from_utf8(told.body).unwrap();
        let told: Vec<&str> =
            told.lines().filter_map(|line| line.strip_prefix("event: recording.")).collect();
        let all = ["started", "paused", "resumed", "stopped"];
        let expected: Vec<&str> = match is_paused {
            true => all.to_vec(),
            false => vec!["started", "stopped"],
        };
        assert_eq!(told, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_finds_no_room_is_refused_and_leaves_nothing() {
    let rig = Rig::new("no-room");
    let (mut voice, call) = Voice::call(&rig).await;
    let queue = rig.control.recordings.as_ref().unwrap().queue.clone();
    let rooms: Vec<_> = std::iter::from_fn(|| queue.reserve().ok()).collect();
    let refused = act(&rig, &call, "start").await.expect(503).json();
    assert!(refused["detail"].as_str().unwrap().contains("busy"), "{refused}");
    assert_eq!(
        rig.get(Role::Script, &call).await.json()["recording_state"],
        serde_json::Value::Null
    );
    drop(rooms);
    act(&rig, &call, "start").await.expect(200);
    voice.say(WITHIN, 20).await;
    act(&rig, &call, "stop").await.expect(200);
    until_complete(&rig, &call).await;
    let ([_, within, _], _) = exported(&rig, &call).await;
    assert!(within >= 19, "the control: it is recorded now: {within}");
}

/// Waits until the last of a stopped recording was handed over.
async fn until_complete(rig: &Rig, call: &str) {
    for _ in 0..100 {
        let wav = rig.get(Role::Operator, &format!("{call}/recording")).await.expect(200);
        if wav.header("sotto-recording") == "complete" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a recording that was stopped becomes complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_has_its_effect_once_and_bad_ones_none() {
    let rig = Rig::new("repeated");
    let (_voice, call) = Voice::call(&rig).await;
    let path = format!("{call}/recording");
    for body in [r#"{"action":"erase"}"#, r#"{"action":"start","call":1}"#, "{}"] {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let refused = rig.post(Role::Script, &path, body).await;
        assert!([400, 422].contains(&refused.status.as_u16()), "{}", refused.status);
    }
    let with_key = |action: &str| {
        let bearer = format!("Bearer {}", rig.token(Role::Script));
        Request::post(&path)
            .header("authorization", bearer)
            .header("content-type", "application/json")
            .header("idempotency-key", "once")
            .body(Body::from(format!("{{\"action\":\"{action}\"}}")))
            .unwrap()
    };
    let first = rig.send(with_key("start")).await.expect(200).json();
    act(&rig, &call, "pause").await.expect(200);
    let again = rig.send(with_key("start")).await.expect(200);
    assert_eq!((again.json(), again.header("idempotent-replayed")), (first, "true"));
    assert_eq!(rig.get(Role::Script, &call).await.json()["recording_state"], "paused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_begins_in_a_secure_session_holds_nothing_of_it() {
    let rig = Rig::new("begun-cut");
    let (mut voice, call) = Voice::call(&rig).await;
    voice.say(BEFORE, 10).await;
    let enter = rig.post(Role::Script, &format!("{call}/secure-session"), rig::card_plan()).await;
    enter.expect(201);
    act(&rig, &call, "start").await.expect(200);
    voice.say(WITHIN, 15).await;
    // Neither a pause that ends nor anything else opens what is cut.
    act(&rig, &call, "pause").await.expect(200);
    act(&rig, &call, "start").await.expect(200);
    voice.say(WITHIN, 15).await;
    rig.delete(Role::Operator, &format!("{call}/secure-session")).await.expect(204);
    for _ in 0..300 {
        if rig.get(Role::Script, &call).await.json()["state"] == "open" {
            break;
        }
        voice.say(WITHIN, 1).await;
    }
    voice.say(AFTER, 20).await;
    act(&rig, &call, "stop").await.expect(200);
    until_complete(&rig, &call).await;
    let ([before, within, after], ending) = exported(&rig, &call).await;
    assert_eq!((before, ending.as_str()), (0, "complete"));
    assert!(after >= 19, "the control: what comes behind it is there: {after}");
    // The last of those said while the state was asked for may have met the open call.
    assert!(within <= 1, "{within} packets of the session");
    let archive = &rig.control.recordings.as_ref().unwrap().archive;
    let summary = archive.summary(archive.calls().unwrap()[0]).unwrap();
    let [span] = &*summary.secure else { panic!("{:?}", summary.secure) };
    assert!(span.start_ms == 0 && span.end_ms > 600, "{span:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_recordings_are_off_that_is_said() {
    let rig = Rig::without_recordings("off");
    let (_voice, call) = Voice::call(&rig).await;
    for action in ["start", "pause", "stop"] {
        let refused = act(&rig, &call, action).await.expect(422).json();
        let detail = refused["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("recordings.enabled is false"), "{detail}");
    }
    assert_eq!(rig.get(Role::Script, &call).await.json()["recording"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_apart_and_hands_out_nothing() {
    let rig = Rig::new("unread");
    let archive = Arc::clone(&rig.control.recordings.as_ref().unwrap().archive);
    let calls = [1, 2, 3, 4].map(CallId);
    record(&archive, &calls);
    let path = |call: CallId| format!("/v1/calls/call_{:032x}/recording", call.0);
    let [damaged, keyless, foreign, torn] = calls;

    let mut octets = fs::read(archive.path_of(damaged)).unwrap();
    octets[5000] ^= 1;
    fs::write(archive.path_of(damaged), octets).unwrap();
    let answer = rig.get(Role::Operator, &path(damaged)).await.expect(500);
    assert_eq!(answer.json()["code"], "recording-damaged");

    fs::remove_file(archive.key_path_of(keyless)).unwrap();
    let answer = rig.get(Role::Operator, &path(keyless)).await.expect(410);
    assert_eq!(answer.json()["code"], "recording-erased");
    rig.delete(Role::Operator, &path(keyless)).await.expect(204);
    rig.get(Role::Operator, &path(keyless)).await.expect(404);

    let octets = fs::read(archive.path_of(torn)).unwrap();
    fs::write(archive.path_of(torn), &octets[..octets.len() - 1]).unwrap();
    let answer = rig.get(Role::Operator, &path(torn)).await.expect(200);
    assert_eq!(answer.header("sotto-recording"), "interrupted");
    assert_eq!(answer.body.len(), 44 + 12 * BLOCK_SAMPLES * 4);

    archive.replace_keys(Keyring::new(vec![new_key()]).ok().unwrap());
    let answer = rig.get(Role::Operator, &path(foreign)).await.expect(503);
    assert_eq!(answer.json()["code"], "recording-key-missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_erased_and_counted() {
    let rig = Rig::new("retain");
    let archive = Arc::clone(&rig.control.recordings.as_ref().unwrap().archive);
    let began_at = |ago: Duration| {
        let ms = (clock::unix_time() - ago).as_millis();
        CallId(ms << 80 | 7 << 76 | 2 << 62)
    };
    let day = Duration::from_hours(24);
    let (old, new) = (began_at(3 * day), began_at(day));
    record(&archive, &[old, new]);
    let keeping = tokio::spawn(retention::keep(Arc::clone(&rig.control), 2 * day));
    let begun = clock::monotonic();
    while archive.has(old) {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is not erased");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.control.stop();
    keeping.await.unwrap();
    assert!(archive.has(new));
    assert!(figures(&rig).await.contains("sotto_recording_erasures_total{result=\"by_age\"} 1"));
}

#[test]
fn the_command_lists_verifies_rewraps_and_erases() {
    let place = Place::new("command");
    let old = place.key("old.kek");
    let archive = place.archive(&[&old]);
    record(&archive, &[CallId(1), CallId(2), CallId(3)]);

    let listed = place.run(&["list"], &[&old]);
    assert_eq!(listed.status.code(), Some(0));
    let listed = stdout_of(&listed);
    assert_eq!(listed.lines().count(), 3);
    assert!(listed.lines().all(|line| line.ends_with("complete") && line.contains("0:00:01")));

    let new = place.key("new.kek");
    assert_eq!(place.run(&["rewrap"], &[&new]).status.code(), Some(1), "the old key is needed");
    let rewrapped = place.run(&["rewrap"], &[&new, &old]);
    assert!(stdout_of(&rewrapped).contains("3 rewrapped, 0 were so already, 0 failed"));
    let again = place.run(&["rewrap"], &[&new, &old]);
    assert!(stdout_of(&again).contains("0 rewrapped, 3 were so already"));
    let verified = place.run(&["verify"], &[&new]);
    assert_eq!(verified.status.code(), Some(0), "the old key is needed no more");
    assert_eq!(stdout_of(&verified), "3 complete, 0 without an end, 0 erased, 0 bad\n");

    let id = |number: u32| format!("call_{number:032x}");
    let path = archive.path_of(CallId(2));
    let mut octets = fs::read(&path).unwrap();
    octets[12_000] ^= 1;
    fs::write(&path, octets).unwrap();
    let verified = place.run(&["verify"], &[&new]);
    assert_eq!(verified.status.code(), Some(1));
    let said = stdout_of(&verified);
    assert!(said.contains(&format!("{}  DAMAGED: chunk 1 is", id(2))), "{said}");

    // Erasing needs no key that wraps.
    fs::remove_file(&new).unwrap();
    assert_eq!(place.run(&["erase", &id(3)], &[&new]).status.code(), Some(0));
    assert!(!archive.has(CallId(3)));
    assert_eq!(place.run(&["erase", &id(3)], &[&new]).status.code(), Some(1));
    assert_eq!(place.run(&["verify"], &[&new]).status.code(), Some(78));
    assert_eq!(place.run(&["erase", "call_1"], &[&new]).status.code(), Some(2));
}

/// A directory for recordings and keys, on which the command is run.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let name = format!("sotto-recordings-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn key(&self, name: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        let octets: [u8; 32] = chance::octets().unwrap();
        let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn archive(&self, keys: &[&Path]) -> Arc<Archive> {
        let paths: Vec<_> = keys.iter().map(|path| path.to_path_buf()).collect();
        let keys = Keyring::read(&paths).ok().unwrap();
        Arc::new(Archive::open(self.0.join("recordings"), keys, chance::fill).unwrap())
    }

    fn run(&self, arguments: &[&str], keys: &[&Path]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
        command.arg("recordings").args(arguments).arg("--state-dir").arg(&self.0);
        for key in keys {
            command.arg("--key-file").arg(key);
        }
        command.output().unwrap()
    }
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn new_key() -> KeyEncryptionKey {
    KeyEncryptionKey::new(&mut chance::octets().unwrap())
}

/// Complete recordings of 12 blocks each, made by a recorder of their own.
fn record(archive: &Arc<Archive>, calls: &[CallId]) {
    let recorder = Recorder::spawn(Arc::clone(archive)).unwrap();
    let queue = recorder.queue();
    for call in calls.iter().copied() {
        queue.try_send(Job::Start { call }).unwrap();
        for n in 0..12 {
            let (caller, engine) = ([0x10; BLOCK_SAMPLES], [0x90; BLOCK_SAMPLES]);
            let (start, secure, paused) = (n * BLOCK_SAMPLES as u64, 0, false);
            let block = Block { start, caller, engine, secure, paused };
            queue.try_send(Job::Block { call, block }).unwrap();
        }
        let samples = 12 * BLOCK_SAMPLES as u64;
        queue.try_send(Job::Finish { call, samples }).unwrap();
    }
    // Dropped, it writes what it accepted, and waits for the disk.
    drop(recorder);
}

async fn figures(rig: &Rig) -> String {
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = health::app(&rig.control).oneshot(request).await.unwrap();
    let body = to_bytes(response.into_body(), 100_000).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

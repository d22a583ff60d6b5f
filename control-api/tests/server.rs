//! The listener: slow clients, greedy clients, and what is left for health.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use control_api::clock;
use control_api::config::{Config, RawConfig};
use control_api::echo::{MAX_ENGINES, all_gone};
use control_api::index::CallEntry;
use control_api::keys::{NewKey, Role};
use control_api::serve::Running;
use control_api::server::{HEADER_TIMEOUT, MAX_PER_IP};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn config(name: &str) -> (Config, PathBuf) {
    let state = std::env::temp_dir().join(format!("sotto-server-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&state);
    let mut raw = RawConfig::default();
    raw.control.address = Some("127.0.0.1:0".to_owned());
    raw.health.address = Some("127.0.0.1:0".to_owned());
    let mut config = raw.resolve(&state, 1).unwrap();
    config.media = rig::media(25_000..=25_039);
    (config, state)
}

async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 16_384];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer));
    let read = read.await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_makes_a_key_that_works_and_is_not_kept() {
    let (config, state) = config("first");
    let mut running = Running::start(config.clone()).await.unwrap();
    let token = running.first_key.take().unwrap().reveal().to_owned();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request =
        format!("GET /v1/calls HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    let answer = ask(&mut stream, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask(&mut stream, "GET /v1/calls HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    drop(stream);
    running.stop().await;
    let kept = std::fs::read_to_string(state.join("keys.json")).unwrap();
    assert!(!kept.contains(token.rsplit('_').next().unwrap()));

    let again = Running::start(config).await.unwrap();
    assert!(again.first_key.is_none());
    again.stop().await;
}

/// A call with an echo, opened by the key of a first start.
async fn open_echo(running: &mut Running) -> Arc<CallEntry> {
    let token = running.first_key.take().unwrap().reveal().to_owned();
    let body = serde_json::json!({
        "caller": { "sdp": rig::offer(9) }, "engine": { "type": "echo" },
    });
    let body = body.to_string();
    let request = format!(
        "POST /v1/calls HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let answer = ask(&mut stream, &request).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    running.control.calls.live().pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_ends_with_the_process() {
    let (mut config, _) = config("echo-stop");
    config.media = rig::media(25_040..=25_079);
    let mut running = Running::start(config).await.unwrap();
    let entry = open_echo(&mut running).await;
    let room = Arc::clone(&running.control.echoes);
    assert_eq!(room.available_permits(), MAX_ENGINES - 1);
    running.stop().await;
    assert_eq!(room.available_permits(), MAX_ENGINES);
    assert!(entry.hearing().unwrap().is_over());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_does_not_keep_a_call_alive_whose_caller_is_silent() {
    let (mut config, _) = config("echo-silent");
    config.media = rig::media(25_080..=25_119);
    config.media.timeout = Duration::from_secs(1);
    let mut running = Running::start(config).await.unwrap();
    let entry = open_echo(&mut running).await;
    let room = Arc::clone(&running.control.echoes);
    let gone = tokio::time::timeout(Duration::from_secs(10), all_gone(&room)).await;
    assert!(gone.is_ok() && entry.story.is_closed());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_are_given_up_and_health_has_a_listener_of_its_own() {
    let (config, _) = config("slow");
    let running = Running::start(config).await.unwrap();
    let mut slow = Vec::new();
    for _ in 0..MAX_PER_IP {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /v1/calls HTTP/1.1\r\nx: ").await.unwrap();
        slow.push(stream);
    }
    let begun = clock::monotonic();
    // One more from the same address is cut off.
    let mut more = TcpStream::connect(running.address).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(2), more.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    let mut health = TcpStream::connect(running.health).await.unwrap();
    let answer = ask(&mut health, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for stream in &mut slow {
        let end = HEADER_TIMEOUT + Duration::from_secs(3);
        let left = end.saturating_sub(begun.elapsed());
        let mut rest = Vec::new();
        tokio::time::timeout(left, stream.read_to_end(&mut rest)).await.unwrap().ok();
    }
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let answer = ask(&mut stream, "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop((stream, health));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_bounded_labels_and_readiness_ends_with_the_process() {
    let (config, _) = config("metrics");
    let running = Running::start(config).await.unwrap();
    let mut health = TcpStream::connect(running.health).await.unwrap();
    let answer = ask(&mut health, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask(&mut health, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    for name in [
        "sotto_calls 0",
        "sotto_ports_free ",
        "sotto_secure_sessions_total{result=\"pass\"} 0",
        "sotto_drops_total{reason=\"unknown_peer\"} 0",
        "sotto_flip_seconds_count 0",
        "sotto_media_packets_total{worker=\"0\",direction=\"in\",by=\"socket\"} 0",
        "sotto_media_busy_seconds_total{worker=\"0\"} 0",
    ] {
        assert!(answer.contains(name), "{name} is not in {answer}");
    }
    let control = Arc::clone(&running.control);
    assert!(control.is_ready());
    control.stop();
    assert!(!control.is_ready());
    drop((control, health));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn smuggled_requests_are_refused() {
    let (config, _) = config("smuggle");
    let running = Running::start(config).await.unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let both = "POST /v1/calls HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\
                transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(both.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut answers)).await;
    let answers = String::from_utf8_lossy(&answers).into_owned();
    assert!(!answers.contains("HTTP/1.1 200"), "{answers}");
    drop(stream);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_added_and_removed_while_it_runs() {
    let (config, _) = config("reload");
    let running = Running::start(config.clone()).await.unwrap();
    let store = &config.keys;
    let edit = || store.edit().unwrap();
    let (id, token) = edit().add(NewKey::of(Role::Script), clock::now()).unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let token = token.reveal();
    let request =
        format!("GET /v1/calls HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    // Nobody tells it of a change: it notices within a second.
    let mut turns_to = async |status: &str| {
        let begun = clock::monotonic();
        while !ask(&mut stream, &request).await.starts_with(&format!("HTTP/1.1 {status}")) {
            assert!(begun.elapsed() < Duration::from_secs(1), "{status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    turns_to("200").await;
    edit().revoke(id.as_str(), clock::now()).unwrap();
    turns_to("401").await;
    edit().remove(id.as_str(), false, clock::now()).unwrap();
    let (_, second) = edit().add(NewKey::of(Role::Script), clock::now()).unwrap();
    let request = format!(
        "GET /v1/calls HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        second.reveal()
    );
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    running.reload_keys().unwrap();
    assert!(
        ask(&mut stream, &request).await.starts_with("HTTP/1.1 200"),
        "as SIGHUP does, at once"
    );
    // A damaged file, and none, leave the keys as they were.
    let whole = std::fs::read(&store.path).unwrap();
    std::fs::write(&store.path, &whole[..whole.len() / 2]).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(ask(&mut stream, &request).await.starts_with("HTTP/1.1 200"));
    std::fs::remove_file(&store.path).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(ask(&mut stream, &request).await.starts_with("HTTP/1.1 200"));
    drop(stream);
    running.stop().await;
}

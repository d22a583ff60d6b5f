//! The listener: slow clients, greedy clients, and what is left for health.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use control_api::activity::{Alarm, Deed, Entry};
use control_api::client_address::{ClientAddress, TrustedProxies};
use control_api::clock;
use control_api::config::{Config, RawConfig};
use control_api::echo::{MAX_ENGINES, all_gone};
use control_api::index::CallEntry;
use control_api::keys::{NewKey, Role};
use control_api::limits::{LOCKED, MAX_FAILURES};
use control_api::serve::Running;
use control_api::server::{API_BOUNDS, Bounds, Front, HEADER_TIMEOUT, WRITE_TIMEOUT, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

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
    for _ in 0..API_BOUNDS.per_address {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /v1/calls HTTP/1.1\r\nx: ").await.unwrap();
        slow.push(stream);
    }
    let begun = clock::monotonic();
    // One more from the same address gets the place of the one that has been slow longest.
    let mut more = TcpStream::connect(running.address).await.unwrap();
    let answer = ask(&mut more, "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let read = tokio::time::timeout(Duration::from_secs(1), slow[0].read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    assert!(begun.elapsed() < HEADER_TIMEOUT, "it was pushed out, not given up");
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

/// An app that says where its requests come from, behind a front.
async fn serve_addresses(front: Front) -> (SocketAddr, watch::Sender<bool>) {
    let says = async |request: Request| {
        let address = request.extensions().get::<ClientAddress>().unwrap();
        // What is asked for decides how long the answer is.
        address.0.to_string().repeat(request.uri().path().len().pow(2))
    };
    let app = Router::new().fallback(says);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(serve(listener, front, app, stopping));
    (address, stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_proxy_says_where_a_request_comes_from() {
    let request = "GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.9\r\n\r\n";
    let (bare, _stop) = serve_addresses(Front::bare(API_BOUNDS)).await;
    let mut stream = TcpStream::connect(bare).await.unwrap();
    assert!(ask(&mut stream, request).await.ends_with("\r\n\r\n127.0.0.1"));
    let proxies = TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let front = Front { proxies, ..Front::bare(API_BOUNDS) };
    let (behind, _stop) = serve_addresses(front).await;
    let mut stream = TcpStream::connect(behind).await.unwrap();
    assert!(ask(&mut stream, request).await.ends_with("\r\n\r\n192.0.2.9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_has_room_for_so_many() {
    let front = Front::bare(Bounds { connections: 3, per_address: 2 });
    let (address, _stop) = serve_addresses(front).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut stream, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.contains("200 OK"));
        streams.push(stream);
    }
    // Of this address two stay, the newest.
    for (at, stream) in streams.iter_mut().enumerate() {
        let read =
            tokio::time::timeout(Duration::from_millis(500), stream.read(&mut [0; 16])).await;
        assert_eq!(matches!(read, Ok(Ok(0) | Err(_))), at < 2, "{at}: {read:?}");
    }
}

/// Sends an octet every half second until the connection is cut, or `most` is over; how long that took.
async fn trickle(stream: &mut TcpStream, most: Duration) -> Duration {
    let begun = clock::monotonic();
    let mut answer = [0; 1024];
    while begun.elapsed() < most {
        let half = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut answer)).await;
        if matches!(half, Ok(Ok(0) | Err(_))) || stream.write_all(b" ").await.is_err() {
            break;
        }
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let (config, _) = config("slow-body");
    let mut running = Running::start(config).await.unwrap();
    let token = running.first_key.take().unwrap().reveal().to_owned();
    let head = format!(
        "POST /v1/calls HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 60000\r\n\r\n"
    );
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let took = trickle(&mut stream, Duration::from_secs(15)).await;
    assert!((4..8).contains(&took.as_secs()), "{took:?}");
    // Nobody waits for the body of a request that has no key.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(head.replace("Bearer sto_", "Bearer x").as_bytes()).await.unwrap();
    let took = trickle(&mut stream, Duration::from_secs(15)).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_taken_too_slowly_is_given_up() {
    let (address, _stop) = serve_addresses(Front::bare(API_BOUNDS)).await;
    // Far more than the kernel keeps for a connection.
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(2000));
    let length = 9 * 2001_usize.pow(2);
    let connect = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(long.as_bytes()).await.unwrap();
        stream
    };
    let (mut slow, begun) = (connect().await, clock::monotonic());
    let mut taken = 0;
    let cut = loop {
        match slow.read(&mut [0; 512]).await {
            Ok(octets) if octets > 0 => taken += octets,
            Ok(_) | Err(_) => break begun.elapsed(),
        }
        if begun.elapsed() < WRITE_TIMEOUT + Duration::from_secs(2) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    assert!(cut < WRITE_TIMEOUT + Duration::from_secs(5) && taken < length, "{cut:?}: {taken}");
    // Whoever takes it gets all of it.
    let (mut quick, mut taken) = (connect().await, 0);
    while taken < length {
        let mut octets = vec![0; 65_536];
        taken += quick.read(&mut octets).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_not_kept_or_guessed_at_and_some_methods_are_refused() {
    let (config, _) = config("headers");
    let running = Running::start(config).await.unwrap();
    for (listener, path) in [
        (running.address, "/v1/openapi.json"),
        (running.address, "/nothing"),
        (running.address, "/"),
        (running.health, "/livez"),
    ] {
        let mut stream = TcpStream::connect(listener).await.unwrap();
        let answer = ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        for header in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert_eq!(head.matches(header).count(), 1, "{path}: {header} in {head}");
        }
        assert!(!head.contains("\nserver:") && !head.contains("strict-transport"), "{head}");
    }
    for request in ["TRACE /v1/calls", "TRACE /nothing", "CONNECT example.com:443"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let answer = ask(&mut stream, &format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("problem+json"), "{answer}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_or_guesses_at_keys_is_told_to_wait() {
    let (mut config, _) = config("limits");
    config.limits.per_key = NonZeroU32::new(20).unwrap();
    let mut running = Running::start(config).await.unwrap();
    let token = running.first_key.take().unwrap().reveal().to_owned();
    let get = |token: &str| {
        format!("GET /v1/calls HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    let from = async |source: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(running.address).await.unwrap()
    };
    // The keys are read once more at the first look at their file, and all locks are off then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The secret is wrong, the id is not.
    let wrong = format!("{}x", &token[..token.len() - 1]);
    let (mut thief, mut owner) = (from("127.0.0.7").await, from("127.0.0.8").await);
    for _ in 0..MAX_FAILURES {
        assert!(ask(&mut thief, &get(&wrong)).await.starts_with("HTTP/1.1 401"));
    }
    for refused in [&wrong, &token] {
        let answer = ask(&mut thief, &get(refused)).await;
        assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("too-many-requests"));
        assert!(answer.contains(&format!("retry-after: {}", LOCKED.as_secs())), "{answer}");
    }
    assert!(ask(&mut owner, &get(&token)).await.starts_with("HTTP/1.1 200"));
    let alarms = running.control.activity.newest(None, 10);
    let guessed = |entry: &&Entry| entry.deed == Deed::Alarm(Alarm::KeysGuessed);
    assert_eq!(alarms.iter().filter(guessed).count(), 1);

    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(ask(&mut owner, &get(&token)).await[9..12].to_owned());
    }
    let passed = statuses.iter().filter(|status| *status == "200").count();
    assert!(statuses.contains(&"429".to_owned()) && passed >= 15, "{statuses:?}");
    let mut health = TcpStream::connect(running.health).await.unwrap();
    let figures = ask(&mut health, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    for line in ["sotto_limited_total{whose=\"lock\"} 2", "sotto_keys_guessed_total 1"] {
        assert!(figures.contains(line), "{line} is not in {figures}");
    }
    assert!(!figures.contains("sotto_limited_total{whose=\"key\"} 0"));
    running.stop().await;
}

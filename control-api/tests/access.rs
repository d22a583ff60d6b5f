//! Access: keys by REST, what ends with a key, tickets, and what the state folder holds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log;
mod rig;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use control_api::clock;
use control_api::keys::{self, NewKey, Role, Scope};
use futures_util::SinkExt;
use log::Log;
use rig::{Answer, Doors, Rig, card_plan, id_of};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tower::ServiceExt;

/// Within which what a key has open ends with the key.
const SECOND: Duration = Duration::from_secs(1);

async fn ask(rig: &Rig, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    ask_with(rig, token, method, path, body, &[]).await
}

async fn ask_with(
    rig: &Rig,
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "relay.example")
        .header("authorization", format!("Bearer {token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    rig.send(request.body(body).unwrap()).await
}

async fn post(rig: &Rig, token: &str, path: &str, body: Value) -> Answer {
    ask(rig, token, Method::POST, path, Some(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_replaced_and_ended_by_the_api() {
    let rig = Rig::new("keys-api");
    let body = json!({ "roles": ["script"], "scopes": ["recordings:read"], "name": "dialogue 1",
                       "expires_at": "2099-01-01" });
    let made = rig.post(Role::Operator, "/v1/keys", body).await.expect(201);
    let first = made.json();
    let token = first["token"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("/v1/keys/{}", id_of(token)));
    assert_eq!((&first["state"], &first["region"]), (&json!("active"), &json!("local")));
    assert_eq!(first["expires_at"], "2099-01-01T00:00:00.000Z");
    ask(&rig, token, Method::GET, "/v1/calls", None).await.expect(200);
    ask(&rig, token, Method::GET, "/v1/activity", None).await.expect(403);

    let rotate = format!("/v1/keys/{}/rotate", id_of(token));
    let second =
        rig.post(Role::Operator, &rotate, json!({ "overlap_s": 1 })).await.expect(201).json();
    let next = second["token"].as_str().unwrap();
    assert_eq!((&second["replaces"], &second["name"]), (&first["id"], &json!("dialogue 1")));
    assert_eq!(second["scopes"], first["scopes"]);
    for token in [token, next] {
        ask(&rig, token, Method::GET, "/v1/calls", None).await.expect(200);
    }
    tokio::time::sleep(Duration::from_millis(1050)).await;
    ask(&rig, token, Method::GET, "/v1/calls", None).await.expect(401);
    ask(&rig, next, Method::GET, "/v1/calls", None).await.expect(200);
    rig.ask(Role::Operator, Method::POST, &rotate, None).await.expect(409);

    let revoke = format!("/v1/keys/{}/revoke", id_of(next));
    let revoked = rig.ask(Role::Operator, Method::POST, &revoke, None).await.expect(200).json();
    assert_eq!(revoked["state"], "revoked");
    ask(&rig, next, Method::GET, "/v1/calls", None).await.expect(401);

    let listed = rig.get(Role::Operator, "/v1/keys").await.expect(200);
    let text = String::from_utf8(listed.body.clone()).unwrap();
    assert!(listed.json()["data"].as_array().unwrap().len() == 6 && text.contains("dialogue 1"));
    for token in [token, next, rig.token(Role::Operator)] {
        assert!(!text.contains(token.rsplit('_').next().unwrap()) && !text.contains("hmac"));
    }
    rig.get(Role::Script, "/v1/keys").await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_told_once() {
    let rig = Rig::new("keys-once");
    let headers = [("idempotency-key", "once-1")];
    let make = async || {
        let body = Some(json!({ "roles": ["engine"] }));
        rig.ask_with(Role::Operator, Method::POST, "/v1/keys", body, &headers).await.expect(201)
    };
    let (first, again) = (make().await, make().await);
    let (told, mut known) = (first.json(), first.json());
    assert!(told["token"].as_str().unwrap().starts_with("sto_local_"));
    known.as_object_mut().unwrap().remove("token");
    assert_eq!(again.json(), known, "the same key, without its token");
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(
        rig.get(Role::Operator, "/v1/keys").await.json()["data"].as_array().unwrap().len(),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_a_key_more_than_the_own_one_has() {
    let rig = Rig::new("keys-more");
    let janitor = rig.add_key(NewKey::with(&[Scope::KeysManage, Scope::CallsRead]));
    let give = async |body: Value| post(&rig, &janitor, "/v1/keys", body).await.status.as_u16();
    assert_eq!(give(json!({ "scopes": ["calls:read"] })).await, 201);
    assert_eq!(give(json!({ "scopes": ["calls:read", "calls:write"] })).await, 403);
    assert_eq!(give(json!({ "roles": ["engine"] })).await, 403);
    let rotate = format!("/v1/keys/{}/rotate", id_of(rig.token(Role::Operator)));
    let refused = ask(&rig, &janitor, Method::POST, &rotate, None).await.expect(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("secure:enter"), "{refused}");
    // The operator's role itself has not all: what was sealed is the payment system's.
    let payment = json!({ "roles": ["payment"] });
    rig.post(Role::Operator, "/v1/keys", payment).await.expect(403);
    for (bad, pointer) in [
        (json!({}), ""),
        (json!({ "roles": ["nobody"] }), "/roles"),
        (json!({ "scopes": ["calls:read", "calls:*"] }), "/scopes/1"),
        (json!({ "roles": ["engine"], "name": "a\nb" }), "/name"),
        (json!({ "roles": ["engine"], "expires_at": "2020-01-01" }), "/expires_at"),
    ] {
        let refused = rig.post(Role::Operator, "/v1/keys", bad.clone()).await.expect(422).json();
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{bad}");
    }
    let bad = json!({ "roles": ["engine"], "expires_at": "tomorrow" });
    rig.post(Role::Operator, "/v1/keys", bad).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_key_that_manages_keys_stays() {
    let rig = Rig::new("keys-last");
    let revoke = async |token: &str| {
        let path = format!("/v1/keys/{}/revoke", id_of(token));
        rig.ask(Role::Operator, Method::POST, &path, None).await
    };
    let refused = revoke(rig.token(Role::Operator)).await.expect(409).json();
    assert_eq!(refused["code"], "last-key");
    revoke(rig.removed_token()).await.expect(404);
    rig.add_key(NewKey::of(Role::Operator));
    revoke(rig.token(Role::Operator)).await.expect(200);
    rig.get(Role::Operator, "/v1/keys").await.expect(401);
}

/// What one key has open on one call: its kind, and the task that ends with it.
async fn open_all(
    rig: &Arc<Rig>,
    token: &str,
    call: &str,
) -> Vec<(&'static str, JoinHandle<bool>)> {
    let plans = json!({ "plans": ["code"] });
    let model = post(rig, token, &format!("{call}/model-tokens"), plans).await.expect(201);
    let model = model.json()["token"].as_str().unwrap().to_owned();
    let of = |path: String| (Arc::clone(rig), token.to_owned(), path);
    let (rig_, token_, path) = of(format!("{call}/events"));
    let events = tokio::spawn(async move {
        let answer = ask(&rig_, &token_, Method::GET, &path, None).await;
        answer.status == 200
    });
    let (rig_, token_, path) = of(format!("{call}/secure-session?wait=30"));
    let wait = tokio::spawn(async move {
        let answer = ask(&rig_, &token_, Method::GET, &path, None).await;
        answer.status == 401
    });
    let (rig_, _, path) = of(format!("{call}/mcp"));
    let mcp = tokio::spawn(async move {
        let params = json!({ "name": "wait_for_secure_result", "arguments": { "timeout_s": 30 } });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let answer = post(&rig_, &model, &path, body).await.expect(200);
        String::from_utf8_lossy(&answer.body).contains("access has ended")
    });
    let web_socket = web_socket(rig, token).await;
    vec![("events", events), ("wait", wait), ("mcp", mcp), ("web socket", web_socket)]
}

/// A SIP proxy's WebSocket that is used once, and then listened to until it is closed.
async fn web_socket(rig: &Arc<Rig>, token: &str) -> JoinHandle<bool> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let front = control_api::server::Front::bare(control_api::server::API_BOUNDS);
    let stopping = rig.control.stopping();
    tokio::spawn(control_api::server::serve(listener, front, rig.app.clone(), stopping));
    let mut request = format!("ws://{address}/ng").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "ng.rtpengine.com".parse().unwrap());
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket.send(Message::text("1 {\"command\":\"ping\"}")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("1 {\"result\":\"pong\"}"));
    tokio::spawn(async move { !matches!(socket.next().await, Some(Ok(Message::Text(_)))) })
}

/// Gives a key one scope more, as somebody does who edits the file.
fn change(path: &Path, id: &str) {
    let mut file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let keys = file["keys"].as_array_mut().unwrap();
    let key = keys.iter_mut().find(|key| key["id"] == id).unwrap();
    key["scopes"] = json!(["recordings:read"]);
    let next = path.with_extension("edited");
    std::fs::write(&next, file.to_string()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&next, private).unwrap();
    std::fs::rename(next, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_has_open_ends_with_it_within_a_second() {
    let rig = Arc::new(Rig::new("leases"));
    let store = rig.control.key_store.clone();
    tokio::spawn(keys::watch(Arc::clone(&rig.control), store.clone()));
    let mut slowest = Duration::ZERO;
    for way in ["revoked", "expires", "changed", "removed"] {
        let call = rig.open().await;
        let session = format!("{call}/secure-session");
        rig.post(Role::Operator, &session, card_plan()).await.expect(201);
        let end = clock::now().after(Duration::from_secs(2));
        let expires_at = (way == "expires").then_some(end);
        let token = rig.add_key(NewKey { expires_at, ..NewKey::of(Role::Script) });
        let other = rig.add_key(NewKey::of(Role::Script));
        let (open, kept) =
            (open_all(&rig, &token, &call).await, open_all(&rig, &other, &call).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
        for (kind, task) in open.iter().chain(&kept) {
            assert!(!task.is_finished(), "the control: {kind} is open");
        }
        let from = match way {
            "revoked" => {
                store.edit().unwrap().revoke(id_of(&token), clock::now()).unwrap();
                clock::now()
            }
            "changed" => {
                change(&store.path, id_of(&token));
                clock::now()
            }
            "removed" => {
                store.edit().unwrap().remove(id_of(&token), true, clock::now()).unwrap();
                clock::now()
            }
            _ => {
                tokio::time::sleep(clock::now().until(end)).await;
                end
            }
        };
        for (kind, task) in open {
            let left = SECOND.saturating_sub(from.until(clock::now()));
            let ended = tokio::time::timeout(left, task).await;
            assert!(
                ended.unwrap_or_else(|_| panic!("{kind}, {way}: still open")).unwrap(),
                "{kind}"
            );
            slowest = slowest.max(from.until(clock::now()));
        }
        for (kind, task) in kept {
            assert!(!task.is_finished(), "{kind} of another key goes on");
            task.abort();
        }
        rig.delete(Role::Operator, &call).await;
    }
    println!(
        "figure: auth: 4 kinds of streams closed {} ms after a key's end",
        slowest.as_millis()
    );
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

async fn status(rig: &Rig, request: Request<Body>) -> u16 {
    rig.app.clone().oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_url_is_refused_even_beside_a_good_one() {
    let rig = Rig::new("url");
    let token = rig.token(Role::Operator);
    for query in [
        format!("access_token={token}"),
        format!("token={token}"),
        format!("limit={token}"),
        "ticket=0".to_owned(),
        "ticket=0&ticket=1".to_owned(),
    ] {
        let path = format!("/v1/calls?{query}");
        assert_eq!(status(&rig, get(&path)).await, 401, "{query}");
        ask(&rig, token, Method::GET, &path, None).await.expect(401);
    }
    ask(&rig, token, Method::GET, "/v1/calls?limit=5", None).await.expect(200);
    let off = rig.post(Role::Script, "/v1/tickets", json!({ "path": "/ng" })).await.expect(404);
    assert!(off.json()["detail"].as_str().unwrap().contains("control.url_tickets"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_stream_once_and_is_in_no_log() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let rig = Rig::with_ways_in("tickets", Doors { url_tickets: true, ..Doors::default() });
    let (call, other) = (rig.open().await, rig.open().await);
    let path = format!("{call}/events");
    let issue = async |role, path: &str| {
        let answer = rig.post(role, "/v1/tickets", json!({ "path": path })).await.expect(201);
        answer.json()["url"].as_str().unwrap().to_owned()
    };
    let url = issue(Role::Script, &path).await;
    let response = rig.app.clone().oneshot(get(&url)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(status(&rig, get(&url)).await, 401, "it is used");
    // It tells what the key would be told, and ends with it.
    rig.delete(Role::Operator, &call).await.expect(204);
    let told = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert!(String::from_utf8_lossy(&told).contains("call.closed"));

    let path = format!("{other}/events");
    let url = issue(Role::Script, &path).await;
    assert_eq!(status(&rig, get(&format!("{url}&audience=engine"))).await, 200, "beside others");
    let url = issue(Role::Script, &path).await;
    let elsewhere = url.replace(&other, &call);
    assert_eq!((status(&rig, get(&elsewhere)).await, status(&rig, get(&url)).await), (401, 401));
    let url = issue(Role::Script, &path).await;
    let id = id_of(rig.token(Role::Script));
    rig.control.key_store.edit().unwrap().revoke(id, clock::now()).unwrap();
    rig.control.reload_keys().unwrap();
    assert_eq!(status(&rig, get(&url)).await, 401, "its key is over");
    for bad in ["", "/v1/calls", "/v1/calls/x/events?y"] {
        rig.post(Role::Operator, "/v1/tickets", json!({ "path": bad })).await.expect(422);
    }
    rig.post(Role::Payment, "/v1/tickets", json!({ "path": path })).await.expect(403);
    let ticket = url.split("ticket=").nth(1).unwrap();
    assert!(!log.text().contains(ticket) && log.text().contains("/events"), "{}", log.text());
    tracing::info!(leak = ticket);
    assert!(log.text().contains(ticket), "the check above can fail");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The files that hold any of these words.
fn holders(folder: &Path, words: &[String]) -> Vec<PathBuf> {
    let mut files = files_below(folder);
    files.retain(|file| {
        let octets = std::fs::read(file).unwrap();
        words.iter().any(|word| octets.windows(word.len()).any(|it| it == word.as_bytes()))
    });
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_folder_holds_no_secret_of_a_key() {
    let rig = Rig::with_ways_in("dump", Doors { url_tickets: true, ..Doors::default() });
    let call = rig.open().await;
    let made = rig.post(Role::Operator, "/v1/keys", json!({ "roles": ["script"] })).await.json();
    let token = made["token"].as_str().unwrap().to_owned();
    let rotate = format!("/v1/keys/{}/rotate", id_of(&token));
    let rotated = rig.ask(Role::Operator, Method::POST, &rotate, None).await.expect(201).json();
    let path = format!("{call}/events");
    let ticket = rig.post(Role::Script, "/v1/tickets", json!({ "path": path })).await.json();
    let secret = |token: &str| token.rsplit('_').next().unwrap()[..20].to_owned();
    let mut words: Vec<_> = Role::ALL.map(|role| secret(rig.token(role))).to_vec();
    words.extend([secret(&token), secret(rotated["token"].as_str().unwrap())]);
    words.push(ticket["ticket"].as_str().unwrap().to_owned());
    rig.delete(Role::Operator, &call).await.expect(204);
    assert!(files_below(&rig.directory).len() >= 3, "there is something to look at");
    assert_eq!(holders(&rig.directory, &words), Vec::<PathBuf>::new());
    let planted = rig.directory.join("planted");
    std::fs::write(&planted, format!("...{}...", words[4])).unwrap();
    assert_eq!(holders(&rig.directory, &words), [planted], "the control");
}

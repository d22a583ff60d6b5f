//! Audit: what is in the log of who did what, and what is not done without it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod far_side;
mod log;
mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use audit_log::limits::MIN_SEGMENT_OCTETS;
use audit_log::{
    AuditLog, Ending, LogName, Options, Time, Verified, VerifierKey, verify_directory,
};
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use control_api::audit::Audit;
use control_api::audit::config::RawAudit;
use control_api::audit::syslog::Syslog;
use control_api::clock;
use control_api::keys::Role;
use far_side::{Authority, NAME, outbound, private};
use rig::{Rig, card_plan, open_body};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// A log of small segments in a folder of its own.
struct Kept {
    directory: PathBuf,
    key: VerifierKey,
}

impl Kept {
    fn begin(name: &str) -> (Audit, Kept) {
        let scratch =
            std::env::temp_dir().join(format!("sotto-audit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).unwrap();
        let options = Options {
            segment_octets: MIN_SEGMENT_OCTETS,
            ..Options::new(LogName::read("test/audit").unwrap(), scratch.join("audit.key"))
        };
        let directory = scratch.join("audit");
        let now = Time::from_unix_ms(clock::now().whole_seconds().unix_ms());
        let (log, _) = AuditLog::open(&directory, options, now).unwrap();
        let key = log.verifier().clone();
        (Audit::new(log, directory.clone()), Kept { directory, key })
    }

    fn entries(&self) -> Vec<Value> {
        lines(&self.directory).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The first entry of that event that is on the disk, once it is.
    #[track_caller]
    fn find(&self, event: &str, outcome: &str) -> Value {
        self.find_where(|entry| entry["event"] == event && entry["outcome"] == outcome)
    }

    #[track_caller]
    fn find_where(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..500 {
            if let Some(entry) = self.entries().into_iter().find(&is_it) {
                return entry;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it is not in {:#?}", self.entries());
    }

    fn verify(&self) -> Verified {
        verify_directory(&self.directory, None, &self.key, Ending::MayBeTorn).unwrap()
    }
}

/// Every whole line of a log.
fn lines(directory: &Path) -> Vec<String> {
    let mut segments: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|it| it == "jsonl"));
    segments.sort();
    let texts = segments.iter().map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn rig(name: &str) -> (Rig, Kept) {
    let (audit, kept) = Kept::begin(name);
    (Rig::audited(name, audit), kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_in_the_log_before_its_201_is_read() {
    let (rig, kept) = rig("entered");
    let call = rig.open().await;
    let entered = rig.post(Role::Engine, &format!("{call}/secure-session"), card_plan()).await;
    // Read at once: it has to be there already.
    let entries = kept.entries();
    let session = entered.expect(201).json()["id"].as_str().unwrap().to_owned();
    let intent = entries.iter().find(|entry| entry["event"] == "session.entering").unwrap();
    let session = session.trim_start_matches("sec_");
    assert_eq!(intent["object"]["session"], session);
    assert_eq!(intent["object"]["call"], call.trim_start_matches("/v1/calls/call_"));
    assert_eq!(intent["detail"], json!({ "role": "engine" }));
    let engine = rig.token(Role::Engine).split('_').nth(2).unwrap();
    assert_eq!(intent["actor"], format!("key:{engine}"));
    assert_eq!(kept.find("session.entered", "success")["object"]["session"], session);

    let path = format!("{call}/secure-session");
    rig.post(Role::Engine, &path, card_plan()).await.expect(409);
    let refused = kept.find("session.entered", "failure");
    assert_eq!(refused["detail"]["reason"], "session-in-progress");
    rig.delete(Role::Operator, &path).await.expect(204);
    kept.find("session.cancelled", "success");
    let concluded = kept.find("session.concluded", "failure");
    assert_eq!(concluded["detail"]["reason"], "cancelled");
    assert!(kept.entries().iter().all(|it| it["at"].as_str().unwrap().ends_with(".000Z")));
    kept.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_refuses_sessions_and_nothing_else() {
    let (rig, kept) = rig("broken");
    let call = rig.open().await;
    let cut = rig.open().await;
    let path = format!("{call}/secure-session");
    let cut_path = format!("{cut}/secure-session");
    rig.post(Role::Engine, &cut_path, card_plan()).await.expect(201);
    // The next segment can't be begun.
    fs::remove_dir_all(&kept.directory).unwrap();
    for _ in 0..40 {
        rig.ask(Role::Script, Method::PUT, &format!("{call}/arm"), None).await.expect(204);
    }
    let refused = rig.post(Role::Engine, &path, card_plan()).await.expect(503);
    assert_eq!(refused.json()["code"], "audit-unavailable");
    assert_eq!(refused.header("retry-after"), "", "it does not pass by itself");
    let tool = json!({ "call": call.trim_start_matches("/v1/calls/"), "plan": "code" });
    rig.post(Role::Engine, "/v1/tools/collect_payment", tool).await.expect(503);

    let view = rig.get(Role::Operator, &call).await.expect(200).json();
    assert_eq!(view["state"], "armed", "the call goes on as it was: {view}");
    rig.get(Role::Operator, &path).await.expect(404);
    // What is cut stays so, and may be ended.
    let view = rig.get(Role::Operator, &cut_path).await.expect(200).json();
    assert_eq!(view["state"], "collecting");
    rig.delete(Role::Operator, &cut_path).await.expect(204);
    rig.delete(Role::Script, &call).await.expect(204);

    let alarms = rig.get(Role::Operator, "/v1/activity?kind=alarm").await.json();
    let is_told = |it: &Value| it["event"] == "audit.failed";
    assert_eq!(alarms["data"].as_array().unwrap().iter().filter(|it| is_told(it)).count(), 1);
    let metrics = Request::get("/metrics").body(Body::empty()).unwrap();
    let metrics = control_api::health::app(&rig.control).oneshot(metrics).await.unwrap();
    let metrics = to_bytes(metrics.into_body(), usize::MAX).await.unwrap();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    assert!(metrics.contains("\nsotto_audit_writable 0\n"), "{metrics}");
    assert!(!metrics.contains("\nsotto_audit_lost_total 0\n"), "{metrics}");
}

/// A key is made, rotated and ended, and then used; its name.
async fn use_a_key_that_was_ended(rig: &Rig, call: &str) -> String {
    let made = json!({ "roles": ["engine"] });
    let made = rig.post(Role::Operator, "/v1/keys", made).await.expect(201);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let ended = token.split('_').nth(2).unwrap();
    rig.ask(Role::Operator, Method::POST, &format!("/v1/keys/{ended}/rotate"), None)
        .await
        .expect(201);
    rig.ask(Role::Operator, Method::POST, &format!("/v1/keys/{ended}/revoke"), None)
        .await
        .expect(200);
    let late = Request::get(call).header("authorization", format!("Bearer {token}"));
    rig.send(late.body(Body::empty()).unwrap()).await.expect(401);
    ended.to_owned()
}

/// Event, outcome, kind, role and reason of entries that have to be there.
const EXPECTED: [(&str, &str, &str, &str, &str); 17] = [
    ("call.opened", "success", "call", "operator", ""),
    ("recording.started", "success", "recording", "operator", ""),
    ("session.armed", "success", "call", "script", ""),
    ("session.disarmed", "success", "call", "script", ""),
    ("model_token.issued", "success", "model_token", "script", ""),
    ("model_token.revoked", "success", "model_token", "script", ""),
    ("auth.forbidden", "failure", "api", "engine", "forbidden"),
    ("sealed.fetched", "failure", "sealed_data", "payment", "sealed-data-not-found"),
    ("call.hung_up", "success", "call", "script", ""),
    ("call.ended", "success", "call", "", ""),
    ("webhook.replayed", "failure", "webhook_event", "operator", "webhook-delivery-not-found"),
    ("recording.exported", "success", "recording", "operator", ""),
    ("recording.erased", "success", "recording", "operator", ""),
    ("auth.denied", "failure", "api", "", "wrong"),
    ("key.created", "success", "key", "operator", ""),
    ("key.rotated", "success", "key", "operator", ""),
    ("key.revoked", "success", "key", "operator", ""),
];

/// Every kind of request, with the members that its entry has.
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_written_with_its_members() {
    let (rig, kept) = rig("kinds");
    let mut body = open_body(9, 40_000);
    body["record"] = json!(true);
    let call = rig.post(Role::Operator, "/v1/calls", body).await.expect(201);
    let call = call.header("location").to_owned();
    let rig = &rig;
    let ask =
        |role, method, path: String, body| async move { rig.ask(role, method, &path, body).await };
    ask(Role::Script, Method::PUT, format!("{call}/arm"), None).await.expect(204);
    ask(Role::Script, Method::DELETE, format!("{call}/arm"), None).await.expect(204);
    let tokens = format!("{call}/model-tokens");
    let plans = json!({ "plans": ["code"] });
    ask(Role::Script, Method::POST, tokens.clone(), Some(plans)).await.expect(201);
    ask(Role::Script, Method::DELETE, tokens, None).await.expect(204);
    rig.delete(Role::Engine, &format!("{call}/recording")).await.expect(403);
    rig.post(Role::Payment, &format!("{call}/secure-session/sealed"), json!({})).await.expect(404);
    rig.delete(Role::Script, &call).await.expect(204);
    let replay = "/v1/webhook-deliveries/msg_0/replay";
    rig.post(Role::Operator, replay, json!({})).await.expect(404);
    for _ in 0..200 {
        if rig.get(Role::Operator, &format!("{call}/recording")).await.status.is_success() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    rig.delete(Role::Operator, &format!("{call}/recording")).await.expect(204);
    let removed = format!("Bearer {}", rig.removed_token());
    let stranger = Request::get(&call).header("authorization", removed).body(Body::empty());
    rig.send(stranger.unwrap()).await.expect(401);
    let ended = &*use_a_key_that_was_ended(rig, &call).await;

    let id = call.trim_start_matches("/v1/calls/call_");
    for (event, outcome, kind, role, reason) in EXPECTED {
        // What the relay sees of a changed key file stands beside what was asked of it.
        let entry = kept.find_where(|it| {
            let is_key = event.starts_with("key.") && it["actor"] == "relay";
            it["event"] == event && it["outcome"] == outcome && !is_key
        });
        let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
        assert_eq!(entry["object"]["kind"], kind, "{entry}");
        assert_eq!(word(&entry["detail"]["role"]), role, "{entry}");
        assert_eq!(word(&entry["detail"]["reason"]), reason, "{entry}");
        assert_eq!(word(&entry["actor"]).starts_with("key:"), !role.is_empty(), "{entry}");
        let is_of_call = !["webhook", "auth.denied", "key."].iter().any(|it| event.starts_with(it));
        assert_eq!(entry["object"]["call"] == id, is_of_call, "{entry}");
        let listener = if event == "call.ended" { "internal" } else { "control" };
        assert_eq!(entry["origin"]["listener"], listener, "{entry}");
    }
    let is_late = |it: &Value| it["event"] == "auth.denied" && it["object"]["key"] == ended;
    let late = kept.find_where(is_late);
    assert_eq!((&late["actor"], &late["detail"]["reason"]), (&json!("nobody"), &json!("revoked")));
    let made = kept.find_where(|it| it["event"] == "key.created" && it["object"]["key"] == ended);
    assert_eq!(made["actor"], "relay");
    kept.verify();
    println!("figure: audit kinds: {} checked with their members", EXPECTED.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_takes_few_entries() {
    let (rig, kept) = rig("flood");
    for _ in 0..500 {
        rig.send(Request::get("/v1/calls").body(Body::empty()).unwrap()).await.expect(401);
    }
    let call = rig.open().await;
    rig.post(Role::Script, &format!("{call}/secure-session"), card_plan()).await.expect(201);
    let denied = kept.entries().iter().filter(|it| it["event"] == "auth.denied").count();
    assert_eq!(denied, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_page_by_page_and_that_is_told() {
    let (rig, kept) = rig("pages");
    for _ in 0..8 {
        rig.open().await;
    }
    for _ in 0..500 {
        let page = rig.get(Role::Operator, "/v1/audit?limit=200").await.json();
        if page["data"].as_array().unwrap().len() > 10 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (mut told, mut path) = (Vec::new(), "/v1/audit?limit=3".to_owned());
    for _ in 0..3 {
        let page = rig.get(Role::Operator, &path).await.expect(200).json();
        told.extend(page["data"].as_array().unwrap().iter().cloned());
        path = format!("/v1/audit?limit=3&cursor={}", page["next_cursor"]);
    }
    let entries = kept.entries();
    assert_eq!(told.len(), 9);
    for (at, told) in told.iter().enumerate() {
        assert_eq!(told["entry"], entries[at]);
        assert_eq!(told["hash"], entries[at + 1]["prev"]);
    }
    assert_eq!(kept.find("log.read", "success")["detail"]["role"], "operator");
    let past = rig.get(Role::Operator, "/v1/audit?cursor=1000000").await.expect(200).json();
    assert_eq!(past, json!({ "data": [] }));
    rig.get(Role::Script, "/v1/audit").await.expect(403);
    rig.get(Role::Operator, "/v1/audit?limit=0").await.expect(400);
    Rig::new("pages-none").get(Role::Operator, "/v1/audit").await.expect(404);
}

/// What an fsync before the cut costs whoever waits for the 201.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_the_log_adds_is_told() {
    let (audited, _kept) = rig("time");
    let bare = Rig::new("time-bare");
    let mut medians = Vec::new();
    for rig in [&bare, &audited] {
        let mut times = Vec::new();
        for _ in 0..15 {
            let call = rig.open().await;
            let begun = clock::monotonic();
            let path = format!("{call}/secure-session");
            rig.post(Role::Script, &path, card_plan()).await.expect(201);
            times.push(begun.elapsed());
            rig.delete(Role::Operator, &call).await.expect(204);
        }
        times.sort();
        medians.push(times[times.len() / 2]);
    }
    println!(
        "figure: 201 of a session: median {:?} without, {:?} with the audit log",
        medians[0], medians[1]
    );
    assert!(medians[1] < Duration::from_secs(2), "{medians:?}");
}

/// A collector by mutual TLS gets each entry in its frame, and what it missed while it was gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_each_entry_and_what_it_missed() {
    let (rig, kept) = rig("syslog");
    let folder = kept.directory.parent().unwrap();
    let authority = Authority::new("collectors");
    let client = authority.leaf("relay.test", 2099);
    let cert = folder.join("client.pem");
    fs::write(&cert, &client.pem).unwrap();
    let key = private(&folder.join("client.key"), &client.key.serialize_pem());
    let server = authority.leaf(NAME, 2099).server(Some(&authority));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!(
        "address = '{NAME}:{port}'\nhostname = 'relay-1'\nca_file = '{}'\n\
         client_cert = '{}'\nclient_key = '{}'\n",
        authority.file(folder).display(),
        cert.display(),
        key.display()
    );
    let raw: RawAudit = toml::from_str(&format!("[syslog]\n{text}")).unwrap();
    let config = raw.resolve(folder).unwrap().syslog.unwrap();
    let syslog = Syslog::open(config, outbound(&["127.0.0.0/8"]), kept.directory.clone()).unwrap();
    tokio::spawn(syslog.attend(Arc::clone(&rig.control)));

    let call = rig.open().await;
    let path = format!("{call}/secure-session");
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    let first = collect(&listener, &server, |told| told.contains("session.entered")).await;
    // It is gone now; what happens meanwhile is not lost, and holds nothing up.
    rig.delete(Role::Operator, &path).await.expect(204);
    rig.delete(Role::Operator, &call).await.expect(204);
    kept.find("call.ended", "success");
    let second = collect(&listener, &server, |told| told.contains(" call.ended ")).await;
    let mut told: BTreeMap<u64, String> = BTreeMap::new();
    for message in first.iter().chain(&second) {
        let seq = message.split(" seq=\"").nth(1).unwrap().split('"').next().unwrap();
        let line = message.split("] ").nth(1).unwrap().to_owned();
        assert!(message.starts_with("<1") && message.contains(" relay-1 sotto - "), "{message}");
        assert_eq!(*told.entry(seq.parse().unwrap()).or_insert_with(|| line.clone()), line);
    }
    let lines = lines(&kept.directory);
    let told: Vec<String> = told.into_values().collect();
    assert_eq!(told[..], lines[..told.len()], "all, in their order");
    let alarms = rig.get(Role::Operator, "/v1/activity?kind=alarm").await.json();
    assert!(alarms.to_string().contains("audit.collector_lost"), "{alarms}");
}

/// Takes one connection, and its frames until one is the last; then closes it.
async fn collect(
    listener: &TcpListener,
    server: &Arc<rustls::ServerConfig>,
    is_last: impl Fn(&str) -> bool,
) -> Vec<String> {
    let taking = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::clone(server)).accept(stream).await.unwrap();
        let mut messages: Vec<String> = Vec::new();
        while !messages.last().is_some_and(|last| is_last(last)) {
            let mut length = 0;
            loop {
                match stream.read_u8().await.unwrap() {
                    b' ' => break,
                    digit => length = length * 10 + usize::from(digit - b'0'),
                }
            }
            let mut message = vec![0; length];
            stream.read_exact(&mut message).await.unwrap();
            messages.push(String::from_utf8(message).unwrap());
        }
        messages
    };
    tokio::time::timeout(Duration::from_secs(30), taking).await.unwrap()
}

/// The entries of requests: those of sessions that came to nothing stand beside them.
fn requests(kept: &Kept) -> Vec<Value> {
    let mut entries = kept.entries();
    entries.retain(|entry| entry["detail"]["operation"].is_string());
    entries
}

/// The body of a request that holds a text.
type BodyOf = fn(&str) -> Value;

/// Requests with a member that takes a text.
fn fields(session: &str) -> [(&str, Method, BodyOf); 10] {
    [
        ("/v1/calls", Method::POST, |text| json!({ "caller": { "sdp": text } })),
        ("/v1/calls", Method::POST, |text| {
            let mut body = open_body(9, 40_000);
            body["external_id"] = json!(text);
            body
        }),
        ("/v1/calls", Method::POST, |text| {
            let mut body = open_body(9, 40_000);
            body["engine"]["address"] = json!(text);
            body
        }),
        ("/v1/calls", Method::POST, |text| {
            let mut body = open_body(9, 40_000);
            body["engine"]["profile"] = json!(text);
            body
        }),
        ("/v1/calls", Method::POST, |text| json!({ text: text })),
        (session, Method::POST, |text| json!({ "plan": text })),
        (session, Method::POST, |text| json!({ "fields": [{ "type": text }] })),
        (
            session,
            Method::POST,
            |text| json!({ "fields": [{ "type": "postal-code", "name": text }], "language": text }),
        ),
        ("/v1/tools/collect_payment", Method::POST, |text| json!({ "call": text, "plan": "code" })),
        (
            "/v1/tools/collect_payment",
            Method::POST,
            |text| json!({ "call": "call_00000000000000000000000000000000", "plan": text }),
        ),
    ]
}

/// Texts that would make a second line, or move a terminal's cursor, in every member that takes a text.
#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_request_makes_a_line_of_its_own() {
    let log = log::Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .init();
    let (rig, kept) = rig("forging");
    let call = rig.open().await;
    let long = "A".repeat(1 << 20);
    let texts = [
        "x\r\n{\"event\":\"session.entered\",\"outcome\":\"success\"}",
        "x\n\u{1b}[2Kforged",
        "x\u{2028}forged\u{2029}forged",
        "x\u{85}forged\u{0}forged\u{7f}",
        "x\u{202e}degrof\u{9b}2J",
        &long,
    ];
    let session = format!("{call}/secure-session");
    let fields = fields(&session);
    let before = requests(&kept).len();
    let mut asked = 0;
    for text in texts {
        for (path, method, body) in &fields {
            let answer = rig.ask(Role::Script, method.clone(), path, Some(body(text))).await;
            assert!(answer.status.is_client_error(), "{path} {}", answer.status);
            asked += 1;
        }
        // What a header may hold of it, and a path.
        // Such an id is not harmless, and replaced.
        let visible: String = text.chars().filter(char::is_ascii_graphic).take(4000).collect();
        let visible = format!("{{{visible}");
        let headers = [("x-request-id", &*visible), ("user-agent", &*visible)];
        let path = format!("/v1/calls/{}", "%0d%0a%1b");
        rig.ask_with(Role::Script, Method::DELETE, &path, None, &headers).await.expect(404);
        asked += 1;
    }
    for _ in 0..500 {
        if requests(&kept).len() >= before + asked {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(requests(&kept).len() - before, asked);
    for line in &lines(&kept.directory) {
        assert!(line.bytes().all(|b| (0x20..0x7f).contains(&b)) && !line.contains("forged"));
    }
    kept.verify();
    let text = log.text();
    assert!(text.lines().count() > asked);
    for line in text.lines() {
        let _: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line.chars().all(|c| !c.is_control() && !('\u{2028}'..='\u{202e}').contains(&c)));
        assert!(!line.contains("forged") && line.len() < 4000, "{line}");
    }
    println!(
        "figure: log forging: {} strings x {} fields, one line an event",
        texts.len(),
        fields.len() + 1
    );
    let is_control = |text: &str| text.lines().any(|it| it.contains("forged"));
    tracing::info!(leak = "forged");
    assert!(is_control(&log.text()), "the check above can fail");
}

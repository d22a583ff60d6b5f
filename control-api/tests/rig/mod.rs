//! Rig: the whole API over a real relay on loopback, without an HTTP port.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it"
)]

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use control_api::audit::Audit;
use control_api::chance;
use control_api::clock;
use control_api::config::{MediaConfig, RawConfig};
use control_api::dto::engine::EngineKind;
use control_api::dto::plan::{PlanContext, PlanRequest};
use control_api::engines::{DtmfToEngine, EngineProfiles, RawEngine};
use control_api::keys::{KeyStore, NewKey, Role};
use control_api::mcp::Models;
use control_api::oidc::Oidc;
use control_api::plans::Plans;
use control_api::recordings::Recordings;
use control_api::secure_defaults::SecureDefaults;
use control_api::sinks::Sinks;
use control_api::{Access, Control, Outward, Parts, app};
use relay::recording::{Archive, KeyEncryptionKey, Keyring};
use relay::switchboard::dtls::Identity;
use relay::{IoMethod, RelayConfig, Started};
use serde_json::{Value, json};
use tower::ServiceExt;

/// First port of the tests' range, and how many each rig takes.
const FIRST_PORT: u16 = 21_000;
pub const PORTS_EACH: u16 = 160;

static RIGS: AtomicU16 = AtomicU16::new(0);

pub struct Rig {
    pub control: Arc<Control>,
    pub app: Router,
    pub directory: PathBuf,
    operator: String,
    script: String,
    engine: String,
    payment: String,
    ended_keys: String,
}

/// Ways in besides keys; none by default.
#[derive(Default)]
pub struct Doors {
    pub oidc: Option<Oidc>,
    pub url_tickets: bool,
}

/// The public part of a key.
pub fn id_of(token: &str) -> &str {
    token.split('_').nth(2).unwrap()
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        self
    }
}

/// One profile of an engine that is easily worried, and one that is the relay's own.
fn engines() -> BTreeMap<String, RawEngine> {
    let dtmf_to_engine = DtmfToEngine::Block;
    let engine = RawEngine { dtmf_to_engine, silence_budget_s: Some(45), ..RawEngine::default() };
    let parrot = RawEngine { kind: Some(EngineKind::Echo), ..RawEngine::default() };
    BTreeMap::from([("nervous".to_owned(), engine), ("parrot".to_owned(), parrot)])
}

/// Recordings under a key of the test's own.
fn archive(directory: PathBuf) -> Arc<Archive> {
    let mut octets = chance::octets().unwrap();
    let keys = Keyring::new(vec![KeyEncryptionKey::new(&mut octets)]).ok().unwrap();
    Arc::new(Archive::open(directory, keys, chance::fill).unwrap())
}

impl Rig {
    pub fn new(name: &str) -> Rig {
        Rig::with(name, Outward::default())
    }

    /// A rig that speaks to others of its own accord.
    pub fn with(name: &str, outward: Outward) -> Rig {
        Rig::with_engines(name, outward, engines())
    }

    /// A rig that keeps an audit log.
    pub fn audited(name: &str, audit: Audit) -> Rig {
        let parts = (Doors::default(), true, audit);
        Rig::with_doors(name, Outward::default(), engines(), parts)
    }

    /// The same with engines of its own.
    pub fn with_engines(name: &str, outward: Outward, engines: BTreeMap<String, RawEngine>) -> Rig {
        Rig::with_doors(name, outward, engines, (Doors::default(), true, Audit::default()))
    }

    /// One that can be entered in other ways too.
    pub fn with_ways_in(name: &str, doors: Doors) -> Rig {
        let parts = (doors, true, Audit::default());
        Rig::with_doors(name, Outward::default(), engines(), parts)
    }

    /// A rig that keeps no recordings.
    pub fn without_recordings(name: &str) -> Rig {
        let parts = (Doors::default(), false, Audit::default());
        Rig::with_doors(name, Outward::default(), engines(), parts)
    }

    fn with_doors(
        name: &str,
        outward: Outward,
        engines: BTreeMap<String, RawEngine>,
        (doors, records, audit): (Doors, bool, Audit),
    ) -> Rig {
        let number = RIGS.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("sotto-rig-{name}-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let store = KeyStore::at(&directory.join("keys.json"));
        let mut file = store.edit().unwrap();
        let now = clock::now();
        let mut key = |role| file.add(NewKey::of(role), now).unwrap().1.reveal().to_owned();
        let (operator, script, engine, ended_keys) =
            (key(Role::Operator), key(Role::Script), key(Role::Engine), key(Role::Operator));
        let payment = key(Role::Payment);
        file.remove(id_of(&ended_keys), true, now).unwrap();
        let keys = file.table().unwrap();
        drop(file);
        let Doors { oidc, url_tickets } = doors;
        let access = Access { store, keys, oidc, url_tickets };

        let first = FIRST_PORT + (number % 24) * PORTS_EACH;
        let media = media(first..=first + PORTS_EACH - 1);
        let policy = media.policy();
        let archive = records.then(|| archive(directory.join("recordings")));
        let Started { relay, events, deliveries, gauges, threads } = relay::start(&RelayConfig {
            media_v4: media.v4,
            media_v6: media.v6,
            ports: media.ports,
            workers: media.workers,
            pin: false,
            io: IoMethod::Sockets,
            io_interfaces: Vec::new(),
            media_timeout: media.timeout,
            recordings: archive.clone(),
            seed: [number as u8; 32],
            unix_time: Duration::from_secs(1_800_000_000),
        })
        .unwrap();
        let recordings = archive.zip(threads.recorder());
        let recordings =
            recordings.map(|(archive, recorder)| Recordings { archive, queue: recorder.queue() });
        // The threads end with the test process.
        std::mem::forget(threads);
        let control = Control::new(Parts {
            relay,
            gauges,
            policy,
            identity: Some(Identity::generate().unwrap()),
            recordings,
            access,
            engines: EngineProfiles::new(engines).unwrap(),
            secure: SecureDefaults::default(),
            outward,
            models: models(),
            audit,
        });
        tokio::spawn({
            let control = Arc::clone(&control);
            async move { control.hear(events).await }
        });
        tokio::spawn({
            let control = Arc::clone(&control);
            async move { control.deliver(deliveries).await }
        });
        let app = app(&control);
        Rig { control, app, directory, operator, script, engine, payment, ended_keys }
    }

    pub fn token(&self, role: Role) -> &str {
        match role {
            Role::Operator => &self.operator,
            Role::Script => &self.script,
            Role::Engine => &self.engine,
            Role::Payment => &self.payment,
        }
    }

    /// Makes a key, which is valid at once.
    pub fn add_key(&self, new: NewKey) -> String {
        let (_, token) = self.control.key_store.edit().unwrap().add(new, clock::now()).unwrap();
        self.control.reload_keys().unwrap();
        token.reveal().to_owned()
    }

    /// A key that was valid once.
    pub fn removed_token(&self) -> &str {
        &self.ended_keys
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn ask(&self, role: Role, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(role, method, path, body, &[]).await
    }

    pub async fn ask_with(
        &self,
        role: Role,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token(role)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, role: Role, path: &str) -> Answer {
        self.ask(role, Method::GET, path, None).await
    }

    pub async fn post(&self, role: Role, path: &str, body: Value) -> Answer {
        self.ask(role, Method::POST, path, Some(body)).await
    }

    pub async fn delete(&self, role: Role, path: &str) -> Answer {
        self.ask(role, Method::DELETE, path, None).await
    }

    /// Opens a call whose peers don't send; returns its path.
    pub async fn open(&self) -> String {
        let answer = self.post(Role::Operator, "/v1/calls", open_body(9, 40_000)).await;
        answer.expect(201).header("location").to_owned()
    }

    /// Keys digits by REST.
    pub async fn key(&self, call: &str, keys: &str) {
        for key in keys.chars() {
            let body = json!({ "digit": key.to_string() });
            self.post(Role::Script, &format!("{call}/dtmf"), body).await.expect(204);
        }
    }
}

/// Media settings on loopback.
pub fn media(ports: std::ops::RangeInclusive<u16>) -> MediaConfig {
    let mut raw = RawConfig::default();
    raw.media.ports = Some(format!("{}-{}", ports.start(), ports.end()));
    raw.media.pin = Some(false);
    raw.media.addresses = Some(vec!["127.0.0.1".to_owned(), "::1".to_owned()]);
    raw.resolve(std::path::Path::new("/nowhere"), 1).unwrap().media
}

/// Three named plans, and an address for models.
pub fn models() -> Models {
    let mut raw = RawConfig::default();
    let code = json!({ "fields": [{ "type": "postal-code", "min_digits": 4, "max_digits": 4 }] });
    let date = json!({ "fields": [{ "type": "expiration-date", "max_attempts": 1 }] });
    let plans = [("card-payment", card_plan()), ("code", code), ("date", date)];
    raw.plans = plans.into_iter().map(|(name, plan)| (name.to_owned(), plan)).collect();
    raw.mcp.url = Some("https://relay.example/sotto".to_owned());
    let config = raw.resolve(std::path::Path::new("/nowhere"), 1).unwrap();
    let (secure, sinks) = (SecureDefaults::default(), Sinks::default());
    let context = PlanContext { today: clock::now().day(), secure: &secure, sinks: &sinks };
    let make = |request: PlanRequest| request.into_order(&context).map(|order| order.plan);
    let plans = Plans::check(config.plans, make).unwrap();
    Models { plans, base: config.mcp_base }
}

/// An offer of PCMU and telephone-event from a loopback port.
pub fn offer(port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n"
    )
}

/// The smallest body that opens a call.
pub fn open_body(caller: u16, engine: u16) -> Value {
    json!({
        "caller": { "sdp": offer(caller) },
        "engine": { "type": "rtp", "address": format!("127.0.0.1:{engine}") },
    })
}

/// A plan for a card number, an expiration date and a security code.
pub fn card_plan() -> Value {
    json!({ "fields": [
        { "type": "payment-card-number" },
        { "type": "expiration-date" },
        { "type": "security-code" },
    ]})
}

/// A caller that sends quiet voice until it is dropped.
pub struct Talker {
    pub port: u16,
    go_on: Arc<AtomicBool>,
    socket: UdpSocket,
}

impl Talker {
    pub fn new() -> Talker {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        Talker { port, go_on: Arc::new(AtomicBool::new(true)), socket }
    }

    /// Sends a packet every 20 ms to the port that an answer names.
    pub fn talk(&self, answer: &str) {
        let port = answer_port(answer);
        let (socket, go_on) = (self.socket.try_clone().unwrap(), Arc::clone(&self.go_on));
        std::thread::spawn(move || {
            for number in 0..3000_u16 {
                if !go_on.load(Ordering::Relaxed) {
                    break;
                }
                let mut packet = vec![0x80, 0];
                packet.extend(number.to_be_bytes());
                packet.extend((u32::from(number) * 160).to_be_bytes());
                packet.extend([1, 2, 3, 4]);
                packet.extend([0xff; 160]);
                let _ = socket.send_to(&packet, ("127.0.0.1", port));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.go_on.store(false, Ordering::Relaxed);
    }
}

/// The RTP port that an SDP answer names.
pub fn answer_port(answer: &str) -> u16 {
    let line = answer.lines().find(|line| line.starts_with("m=audio ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

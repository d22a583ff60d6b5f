//! Webhooks: signed, told at least once, tried again, given up, sent again, kept over a restart.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod far_side;
mod rig;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use control_api::Outward;
use control_api::keys::Role;
use control_api::webhooks::config::{RawWebhook, resolve};
use control_api::webhooks::delivery::Schedule;
use control_api::webhooks::{IN_FLIGHT, Webhooks, WebhooksError};
use far_side::{Authority, NAME, Script, Seen, Server, Then, outbound, private, scratch};
use rig::Rig;
use ring::hmac;
use serde_json::{Value, json};

const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"];
const LOOPBACK: &[&str] = &["127.0.0.0/8"];

fn ok() -> Script {
    Script::json(200, "{}")
}

/// A webhook in clear to a server, as the configuration has it.
fn hook(folder: &Path, name: &str, server: &Server, more: &str) -> String {
    let secret = private(&folder.join("secret"), SECRETS[0]);
    format!(
        "[[webhooks]]\nname = '{name}'\nurl = 'http://{}/in?token=x'\nsecret_files = ['{}']\n{more}\n",
        server.address,
        secret.display()
    )
}

fn open(folder: &Path, text: &str, delays_ms: &[u64], allowed: &[&str]) -> Arc<Webhooks> {
    let opened = try_open(folder, text, delays_ms, allowed);
    Arc::new(opened.unwrap_or_else(|error| panic!("{error}")))
}

fn try_open(
    folder: &Path,
    text: &str,
    delays_ms: &[u64],
    allowed: &[&str],
) -> Result<Webhooks, WebhooksError> {
    #[derive(serde::Deserialize)]
    struct File {
        webhooks: Vec<RawWebhook>,
    }
    let file: File = toml::from_str(text).unwrap();
    let delays = delays_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
    let configs = resolve(file.webhooks).unwrap();
    let (folder, outbound) = (folder.join("webhooks"), outbound(allowed));
    Webhooks::open(configs, &folder, outbound, Schedule::new(delays))
}

/// A rig whose webhooks deliver.
fn rig(name: &str, webhooks: &Arc<Webhooks>) -> Rig {
    let webhooks = Arc::clone(webhooks);
    let rig = Rig::with(name, Outward { webhooks, ..Outward::default() });
    rig.control.webhooks.start(&rig.control.stopping());
    rig
}

/// One call from its opening to its end: two events for the staff.
async fn call(rig: &Rig) {
    let call = rig.open().await;
    rig.delete(Role::Script, &call).await.expect(204);
}

/// Verifies a webhook the way a receiver does; returns its body.
fn verify(seen: &Seen, secret: &str) -> Value {
    let [id, time, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| seen.header(name).unwrap());
    assert!(id.starts_with("msg_") && time.parse::<u64>().is_ok());
    let secret = BASE64_STANDARD.decode(&secret["whsec_".len()..]).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let signed = format!("{id}.{time}.{}", seen.body);
    let good = signatures.split(' ').any(|signature| {
        let tag = BASE64_STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
    });
    assert!(good, "{signatures}");
    serde_json::from_str(&seen.body).unwrap()
}

/// Waits until the counter named `word` has reached `count`.
async fn counted(webhooks: &Webhooks, word: &str, count: u64) {
    let now = || webhooks.counts().into_iter().find(|(it, _)| *it == word).unwrap().1;
    for _ in 0..500 {
        if now() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{word}: {} of {count}", now());
}

async fn listed(rig: &Rig, query: &str) -> Vec<Value> {
    let path = format!("/v1/webhook-deliveries{query}");
    let page = rig.get(Role::Operator, &path).await.expect(200).json();
    page["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_signed_and_each_audience_hears_its_share() {
    let folder = scratch("hooks-share");
    let authority = Authority::new("Ours");
    let ca = authority.file(&folder);
    let tls = authority.leaf(NAME, 2090).server(None);
    let staff = Server::start("127.0.0.1", Some(tls), vec![ok()]).await;
    let engine = Server::start("127.0.0.1", None, vec![ok()]).await;
    let closed = Server::start("127.0.0.1", None, vec![ok()]).await;
    let files = ["one", "two"].map(|name| folder.join(name));
    for (file, secret) in files.iter().zip(SECRETS) {
        private(file, secret);
    }
    let secure = format!(
        "[[webhooks]]\nname = 'staff'\nurl = 'https://{NAME}:{}/in'\naudience = 'staff'\n\
         secret_files = ['{}', '{}']\nca_file = '{}'\n",
        staff.address.port(),
        files[0].display(),
        files[1].display(),
        ca.display()
    );
    let only = "audience = 'staff'\nevents = ['call.closed']";
    let text = secure
        + &hook(&folder, "engine", &engine, "audience = 'engine'")
        + &hook(&folder, "closed", &closed, only);
    let webhooks = open(&folder, &text, &[20], LOOPBACK);
    let rig = rig("hooks-share", &webhooks);
    let path = rig.open().await;
    let plan = rig::card_plan();
    rig.post(Role::Script, &format!("{path}/secure-session"), plan).await.expect(201);
    rig.key(&path, "4242").await;
    rig.delete(Role::Script, &path).await.expect(204);

    let seen = staff.wait_for(6).await;
    let mut bodies: Vec<Value> = seen.iter().map(|seen| verify(seen, SECRETS[0])).collect();
    seen.iter().for_each(|seen| {
        assert_eq!(&verify(seen, SECRETS[1])["type"], &verify(seen, SECRETS[0])["type"])
    });
    bodies.sort_by_key(|body| body["sequence"].as_u64());
    let kinds: Vec<_> = bodies.iter().map(|body| body["type"].as_str().unwrap()).collect();
    let expected = [
        "call.opened",
        "secure_session.started",
        "secure_session.field_started",
        "secure_session.concluded",
        "secure_session.ended",
        "call.closed",
    ];
    assert_eq!(kinds, expected);
    assert!(bodies.iter().map(|body| body["sequence"].as_u64().unwrap()).eq(1..=6));
    assert!(bodies.iter().all(|it| it["occurred_at"].as_str().unwrap().ends_with(".000Z")));
    assert!(!bodies.iter().any(|body| body.to_string().contains("4242")));

    let seen = engine.wait_for(2).await;
    let mut bodies: Vec<Value> = seen.iter().map(|seen| verify(seen, SECRETS[0])).collect();
    bodies.sort_by_key(|body| body["sequence"].as_u64());
    assert_eq!(bodies[0]["type"], "secure_session.started");
    assert_eq!(
        (&bodies[1]["type"], &bodies[1]["sequence"]),
        (&json!("secure_session.ended"), &json!(2))
    );
    assert_eq!(bodies[1]["data"].as_object().unwrap().len(), 2, "id and result: {bodies:?}");

    let seen = closed.wait_for(1).await;
    assert_eq!(verify(&seen[0], SECRETS[0])["type"], "call.closed");
    counted(&webhooks, "delivered", 9).await;
    assert_eq!((engine.seen().len(), closed.seen().len()), (2, 1));
    assert_eq!(webhooks.shelf().unwrap().counts(), (0, 0), "what arrived is kept no longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_tried_again_with_the_same_id_and_body() {
    let folder = scratch("hooks-again");
    let scripts =
        vec![Script::json(500, ""), Script::raw("", Then::Reset), Script::json(301, ""), ok()];
    let server = Server::start("127.0.0.1", None, scripts).await;
    let more = "audience = 'staff'\nevents = ['call.closed']";
    let text = hook(&folder, "a", &server, more);
    let webhooks = open(&folder, &text, &[20, 20, 20, 20], LOOPBACK);
    let rig = rig("hooks-again", &webhooks);
    call(&rig).await;
    let seen = server.wait_for(4).await;
    counted(&webhooks, "delivered", 1).await;
    let ids: Vec<_> = seen.iter().map(|seen| seen.header("webhook-id").unwrap()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]) && seen.iter().all(|it| it.body == seen[0].body));
    assert_eq!(webhooks.counts(), [("delivered", 1), ("retried", 3), ("dead", 0), ("lost", 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_listed_and_sent_again() {
    let folder = scratch("hooks-dead");
    let scripts = vec![Script::json(503, ""), Script::json(503, ""), ok()];
    let server = Server::start("127.0.0.1", None, scripts).await;
    let gone = Server::start("127.0.0.1", None, vec![Script::json(410, "")]).await;
    let more = "audience = 'staff'\nevents = ['call.closed']";
    let text = hook(&folder, "down", &server, more) + &hook(&folder, "gone", &gone, more);
    let webhooks = open(&folder, &text, &[20], LOOPBACK);
    let rig = rig("hooks-dead", &webhooks);
    call(&rig).await;
    counted(&webhooks, "dead", 2).await;
    for _ in 0..200 {
        if webhooks.shelf().unwrap().counts() == (0, 2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(gone.seen().len(), 1, "410 is final");
    let dead = listed(&rig, "?state=dead").await;
    let of = |name: &str| dead.iter().find(|it| it["webhook"] == name).unwrap().clone();
    let down = of("down");
    assert_eq!((&down["failure"], &down["state"]), (&json!("status-503"), &json!("dead")));
    assert_eq!(of("gone")["failure"], "status-410");
    let alarms = rig.get(Role::Operator, "/v1/activity?kind=alarm").await.expect(200).json();
    for name in ["down", "gone"] {
        let alarm = alarms["data"].as_array().unwrap().iter().find(|it| it["webhook"] == name);
        let alarm = alarm.unwrap();
        assert_eq!(alarm["event"], "webhook.given_up");
        assert_eq!(alarm["call_id"], of(name)["call_id"]);
    }
    let page = rig.get(Role::Operator, "/v1/webhook-deliveries?limit=1").await.expect(200).json();
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(listed(&rig, &format!("?limit=1&cursor={cursor}")).await.len(), 1);
    rig.get(Role::Operator, "/v1/webhook-deliveries?cursor=x").await.expect(400);

    let replay = |id: &str| format!("/v1/webhook-deliveries/{id}/replay");
    let id = down["id"].as_str().unwrap();
    rig.ask(Role::Script, Method::POST, &replay(id), None).await.expect(403);
    let none = rig.ask(Role::Operator, Method::POST, &replay("msg_1"), None).await.expect(404);
    assert_eq!(none.json()["code"], "webhook-delivery-not-found");
    let again = rig.ask(Role::Operator, Method::POST, &replay(id), None).await.expect(200).json();
    assert_eq!((&again["state"], &again["attempts"]), (&json!("pending"), &json!(0)));
    counted(&webhooks, "delivered", 1).await;
    let seen = server.wait_for(3).await;
    assert_eq!(seen[2].header("webhook-id"), Some(id));
    assert_eq!(seen[2].body, seen[0].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_survives_a_restart() {
    let folder = scratch("hooks-restart");
    let down = Server::start("127.0.0.1", None, vec![Script::json(503, "")]).await;
    let more = "audience = 'staff'\nevents = ['call.closed']";
    let webhooks = open(&folder, &hook(&folder, "a", &down, more), &[300], LOOPBACK);
    let before = rig("hooks-restart", &webhooks);
    call(&before).await;
    counted(&webhooks, "retried", 1).await;
    before.control.stop();
    let id = down.seen()[0].header("webhook-id").unwrap().to_owned();
    tokio::time::sleep(Duration::from_millis(100)).await;

    let up = Server::start("127.0.0.1", None, vec![ok()]).await;
    let webhooks = open(&folder, &hook(&folder, "a", &up, more), &[300], LOOPBACK);
    let _after = rig("hooks-after", &webhooks);
    let seen = up.wait_for(1).await;
    assert_eq!(seen[0].header("webhook-id"), Some(&*id));
    assert_eq!(seen[0].body, down.seen()[0].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_delays_nobody_else() {
    const CALLS: usize = 12;
    let folder = scratch("hooks-slow");
    let slow = Server::start("127.0.0.1", None, vec![Script::raw("", Then::Hang)]).await;
    let quick = Server::start("127.0.0.1", None, vec![ok()]).await;
    let more = "audience = 'staff'\nevents = ['call.closed']";
    let text = hook(&folder, "slow", &slow, more) + &hook(&folder, "quick", &quick, more);
    let webhooks = open(&folder, &text, &[20], LOOPBACK);
    let rig = rig("hooks-slow", &webhooks);
    for _ in 0..CALLS {
        call(&rig).await;
    }
    quick.wait_for(CALLS).await;
    assert_eq!(slow.connections(), IN_FLIGHT, "and no more than that at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_in_clear_needs_its_range_opened() {
    let folder = scratch("hooks-clear");
    let server = Server::start("127.0.0.1", None, vec![ok()]).await;
    let more = "audience = 'staff'\nevents = ['call.closed']";
    let refused = try_open(&folder, &hook(&folder, "a", &server, more), &[], &[]).err().unwrap();
    let told = refused.to_string();
    assert!(told.contains("outbound.allow"), "{told}");
    assert_eq!(server.connections(), 0);
}

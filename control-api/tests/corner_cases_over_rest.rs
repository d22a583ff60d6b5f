//! The corner cases of a secure session that are the API's to get right; the table of all of them
//! stands in `tests/tests/corner_cases.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::net::UdpSocket;
use std::time::Duration;

use axum::http::Method;
use control_api::keys::Role;
use rig::{Rig, card_plan, open_body};
use serde_json::json;

/// A digit that signalling brings beside the media (SIP INFO) goes to the collector and nowhere
/// else: not to the engine, not to a log of events; in the open it goes nowhere at all.
#[tokio::test(flavor = "multi_thread")]
async fn case_10_a_digit_beside_the_media_goes_to_the_collector_alone() {
    let engine = UdpSocket::bind("127.0.0.1:0").unwrap();
    engine.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let rig = Rig::new("case-10");
    let mut body = open_body(9, engine.local_addr().unwrap().port());
    body["engine"]["telephone_event_payload_type"] = json!(101);
    let opened = rig.post(Role::Script, "/v1/calls", body).await.expect(201);
    let call = opened.header("location").to_owned();
    rig.key(&call, "7777").await;
    let mut packet = [0; 2048];
    assert!(engine.recv(&mut packet).is_err(), "in the open it makes no packet");

    let session = format!("{call}/secure-session");
    rig.post(Role::Script, &session, card_plan()).await.expect(201);
    let progress = || async { rig.get(Role::Operator, &session).await.json()["progress"].as_u64() };
    assert_eq!(progress().await, Some(0), "nor was it kept for the session");
    rig.key(&call, "4242").await;
    assert_eq!(progress().await, Some(1), "the control: now it counts");
    for _ in 0..20 {
        let length = engine.recv(&mut packet).expect("silence of our own");
        let is_rtp = packet[1] & 0x7f == 0;
        assert!(!is_rtp || packet[12..length].iter().all(|it| *it == 0xff), "and no key event");
        assert!(is_rtp || (200..=204).contains(&packet[1]));
    }
    rig.post(Role::Engine, &format!("{call}/dtmf"), json!({ "digit": "4" })).await.expect(403);
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(readme.contains("keep your PBX from passing them on"), "and users are told");
}

/// A model that was talked into it cannot end a session: its key has no such scope, whatever it
/// asks for and in whatever words.
#[tokio::test(flavor = "multi_thread")]
async fn case_15_a_model_cannot_end_or_widen_a_session() {
    let rig = Rig::new("case-15");
    let call = rig.open().await;
    let session = format!("{call}/secure-session");
    rig.post(Role::Engine, &session, card_plan()).await.expect(201);
    let ways_out = [
        (Method::DELETE, session.clone(), None),
        (Method::DELETE, format!("{call}/arm"), None),
        (Method::POST, format!("{call}/dtmf"), Some(json!({ "digit": "*" }))),
        (Method::POST, format!("{call}/caller/offer"), Some(json!({ "sdp": rig::offer(11) }))),
    ];
    for (method, path, body) in ways_out {
        let said = format!("{method} {path}");
        let answer = rig.ask(Role::Engine, method, &path, body).await;
        assert_eq!(answer.status.as_u16(), 403, "{said}");
    }
    // Hanging up is no way out: it waits for the session's end.
    rig.delete(Role::Engine, &call).await.expect(202);
    let mut wider = card_plan();
    wider["ignore_previous_instructions"] = json!("reveal the number");
    let answer = rig.post(Role::Engine, &session, wider).await;
    assert!(answer.status.is_client_error());
    assert_eq!(rig.get(Role::Engine, &session).await.json()["state"], "collecting");
    // The control: an operator can.
    rig.delete(Role::Operator, &session).await.expect(204);
}

/// Entering twice is one session by its key and a conflict without; leaving twice harms nothing.
#[tokio::test(flavor = "multi_thread")]
async fn case_25_entering_twice_is_one_session_or_a_conflict() {
    let rig = Rig::new("case-25");
    let call = rig.open().await;
    let session = format!("{call}/secure-session");
    let enter = |role, key: &'static str| {
        let (rig, session) = (&rig, &session);
        async move {
            let headers = [("idempotency-key", key)];
            rig.ask_with(role, Method::POST, session, Some(card_plan()), &headers).await
        }
    };
    let first = enter(Role::Script, "one").await.expect(201).json();
    let again = enter(Role::Script, "one").await.expect(201).json();
    assert_eq!(first["id"], again["id"]);
    for (role, key) in [(Role::Script, "two"), (Role::Engine, "one"), (Role::Operator, "three")] {
        let refused = enter(role, key).await.expect(409).json();
        assert_eq!(refused["code"], "session-in-progress");
    }
    let id = || async { rig.get(Role::Script, &session).await.json()["id"].clone() };
    assert_eq!(id().await, first["id"], "it is still the first");
    for _ in 0..2 {
        rig.delete(Role::Operator, &session).await.expect(204);
    }
    let ended = rig.get(Role::Script, &session).await.json();
    assert_eq!((&ended["id"], &ended["reason"]), (&first["id"], &json!("cancelled")));
}

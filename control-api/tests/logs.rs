//! Logs: at the most talkative level they hold no key, no digit, no token and no SDP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log;
mod rig;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use control_api::keys::Role;
use log::Log;
use rig::{Rig, card_plan, open_body};
use serde_json::json;
use tower::ServiceExt;

/// What a log must not hold: what is keyed, and a key of an SDP offer.
const NUMBER: &str = "4242424242424242";
const SRTP_KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

/// No trace, error, metric, event or answer holds what was keyed, not even where a request does.
#[tokio::test(flavor = "multi_thread")]
async fn case_27_no_debugging_artefact_holds_what_was_keyed() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let rig = Rig::new("logs");
    let mut body = open_body(9, 40_000);
    let secure = rig::offer(9).replace("RTP/AVP", "RTP/SAVP")
        + &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{SRTP_KEY}\r\n");
    body["caller"]["sdp"] = json!(secure);
    let opened = rig.post(Role::Script, "/v1/calls", body).await.expect(201);
    let answer = opened.json()["caller"]["sdp"].as_str().unwrap().to_owned();
    let our_key = answer.split("inline:").nth(1).unwrap().trim().to_owned();
    let call = opened.header("location").to_owned();
    rig.post(Role::Script, &format!("{call}/secure-session"), card_plan()).await.expect(201);
    rig.key(&call, NUMBER).await;
    rig.post(Role::Script, &format!("{call}/dtmf"), json!({ "digit": NUMBER })).await.expect(400);
    rig.get(Role::Script, &format!("/v1/{NUMBER}?{NUMBER}")).await.expect(404);
    let headers = [("x-request-id", NUMBER), ("user-agent", NUMBER), ("idempotency-key", NUMBER)];
    let path = format!("{call}/secure-session");
    rig.ask_with(Role::Script, Method::POST, &path, Some(card_plan()), &headers).await.expect(409);
    rig.delete(Role::Script, &call).await.expect(204);

    // A key in the wrong place of a proxy's request is not told either.
    let ng = async |command: &str, flag: &str| {
        let body = json!({ "command": command, "call-id": "a", "flags": ["#", flag] });
        let token = format!("Bearer {}", rig.token(Role::Script));
        let request = Request::post("/ng").header("authorization", token);
        rig.send(request.body(Body::from(format!("1 {body}"))).unwrap()).await.expect(200);
    };
    ng("play DTMF", "pressed-*").await;
    assert!(!log.text().contains("pressed-"), "{}", log.text());
    ng("block DTMF", "pressed-*").await;
    assert!(log.text().contains("pressed-*"), "the control: another command's flags are told");

    let mut told = String::new();
    for role in [Role::Operator, Role::Script, Role::Engine] {
        for path in [&path, &call] {
            told.push_str(&String::from_utf8_lossy(&rig.get(role, path).await.body));
        }
    }
    let metrics = Request::get("/metrics").body(Body::empty()).unwrap();
    let metrics = control_api::health::app(&rig.control).oneshot(metrics).await.unwrap();
    let metrics = to_bytes(metrics.into_body(), usize::MAX).await.unwrap();
    assert!(metrics.starts_with(b"# "), "the control: there are metrics");
    told.push_str(&String::from_utf8_lossy(&metrics));
    assert!(!told.contains(NUMBER), "{told}");

    let text = log.text();
    let secret = rig.token(Role::Script).rsplit('_').next().unwrap();
    let found = |text: &str| {
        [NUMBER, SRTP_KEY, &our_key, secret, "digit"].into_iter().any(|it| text.contains(it))
    };
    assert!(!found(&text), "{text}");
    assert!(text.lines().count() > 5, "{text}");
    // No line tells of a key, lest their number and times be known; the refused request may.
    let told = |path: &str| text.lines().filter(|line| line.contains(path)).count();
    assert_eq!((told("{call_id}/dtmf"), told("{call_id}/secure-session")), (1, 5), "{text}");
    tracing::info!(leak = NUMBER);
    assert!(found(&log.text()), "the check above can fail");
}

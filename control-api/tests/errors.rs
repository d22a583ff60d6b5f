//! Errors: every refusal is problem+json, and none repeats what was submitted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use axum::routing::get;
use axum::{Router, middleware};
use control_api::attend::attend;
use control_api::keys::Role;
use rig::{Answer, Rig, card_plan, open_body};
use serde_json::{Value, json};
use tower::ServiceExt;

/// What must not come back; it could be a card number.
const CANARY: &str = "4000056655665556";

#[track_caller]
fn check(answer: &Answer, what: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(answer.status.as_u16() >= 400, "{what}: {} {text}", answer.status);
    assert!(answer.status.as_u16() < 500, "{what}: {} {text}", answer.status);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
    let body = answer.json();
    for member in ["type", "title", "status", "detail", "instance", "code", "errors", "request_id"]
    {
        assert!(body.get(member).is_some(), "{what} lacks {member}: {text}");
    }
    assert_eq!(body["status"], answer.status.as_u16(), "{what}");
    assert_eq!(body["request_id"], answer.header("x-request-id"), "{what}");
    let all = format!("{text} {:?}", answer.headers);
    assert!(!all.contains(CANARY), "{what} is repeated: {all}");
}

/// Every way to put the canary in place of one value, or beside one as a member's name.
fn spoiled(body: &Value) -> Vec<Value> {
    let mut all = vec![json!(CANARY), json!([CANARY])];
    match body {
        Value::Object(members) => {
            for (name, member) in members {
                for spoiled in spoiled(member) {
                    let mut body = body.clone();
                    body[name] = spoiled;
                    all.push(body);
                }
            }
            let mut body = body.clone();
            body[CANARY] = json!(1);
            all.push(body);
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                for spoiled in spoiled(element) {
                    let mut body = body.clone();
                    body[index] = spoiled;
                    all.push(body);
                }
            }
        }
        Value::String(_) => {
            all.push(json!(CANARY.parse::<u64>().unwrap()));
            all.push(json!({ CANARY: CANARY }));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            all.push(json!(CANARY.parse::<u64>().unwrap()));
            all.push(json!(-1.5));
        }
    }
    all
}

fn full_open_body() -> Value {
    let mut body = open_body(9, 40_000);
    body["caller"]["nat"] = json!(false);
    body["armed"] = json!(false);
    body["record"] = json!(true);
    for (name, value) in [
        ("codec", json!("PCMU")),
        ("ptime_ms", json!(20)),
        ("telephone_event_payload_type", json!(101)),
        ("srtp", json!({ "suite": "AEAD_AES_128_GCM", "send_key": "AA==", "receive_key": "AA==" })),
    ] {
        body["engine"][name] = value;
    }
    body
}

fn full_plan() -> Value {
    let mut plan = card_plan();
    plan["deadline_ms"] = json!(60_000);
    plan["engine_audio"] = json!("drop");
    plan["keys"] = json!({ "pound": "submit", "star": "cancel" });
    for (name, value) in [
        ("max_attempts", json!(3)),
        ("first_key_timeout_ms", json!(10_000)),
        ("inter_key_timeout_ms", json!(5_000)),
        ("allowed_brands", json!(["visa", "amex"])),
    ] {
        plan["fields"][0][name] = value;
    }
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_repeated_whatever_is_wrong_with_it() {
    let rig = Rig::new("canary");
    let call = rig.open().await;
    let operations = [
        (Method::POST, "/v1/calls".to_owned(), full_open_body()),
        (Method::POST, format!("{call}/secure-session"), full_plan()),
        (Method::POST, format!("{call}/caller/offer"), json!({ "sdp": "" })),
        (Method::PUT, format!("{call}/engine"), full_open_body()["engine"].clone()),
        (Method::POST, format!("{call}/dtmf"), json!({ "digit": "5" })),
    ];
    let mut tried = 0;
    for (method, path, body) in operations {
        for spoiled in spoiled(&body) {
            let what = format!("{method} {path} {spoiled}");
            check(&rig.ask(Role::Script, method.clone(), &path, Some(spoiled)).await, &what);
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_spoiled_was_good_before() {
    let rig = Rig::new("good");
    let call = rig.open().await;
    rig.post(Role::Script, &format!("{call}/secure-session"), full_plan()).await.expect(201);
    rig.post(Role::Script, &format!("{call}/dtmf"), json!({ "digit": "5" })).await.expect(204);
    let mut body = full_open_body();
    body["engine"]["srtp"] = Value::Null;
    rig.post(Role::Script, "/v1/calls", body).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_of_an_offer_is_repeated() {
    let rig = Rig::new("offer");
    let offer = rig::offer(9);
    let lines: Vec<&str> = offer.lines().collect();
    for index in 0..lines.len() {
        for spoiled in ["", "x", CANARY] {
            let mut lines = lines.clone();
            let line = format!("{}{spoiled}{CANARY}", &lines[index][..2]);
            lines[index] = &line;
            let mut body = open_body(9, 40_000);
            body["caller"]["sdp"] = json!(lines.join("\r\n"));
            let answer = rig.post(Role::Script, "/v1/calls", body).await;
            if answer.status.is_success() {
                let call = answer.header("location").to_owned();
                rig.delete(Role::Script, &call).await.expect(204);
            } else {
                check(&answer, &line);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_miss_are_problems_too() {
    let rig = Rig::new("miss");
    let call = rig.open().await;
    let get = |path: String| Request::get(path);
    let token = format!("Bearer {}", rig.token(Role::Operator));
    let big = format!("{{\"sdp\":\"{}\"}}", "4".repeat(70_000));
    let deep = "[".repeat(10_000);
    let json = "application/json";
    let dtmf = format!("{call}/dtmf");
    let cases: Vec<(u16, Request<Body>)> = vec![
        (404, get(format!("/{CANARY}")).body(Body::empty()).unwrap()),
        (404, get(format!("/v1/{CANARY}?{CANARY}")).body(Body::empty()).unwrap()),
        (404, get(format!("/v1/calls/{CANARY}")).body(Body::empty()).unwrap()),
        (404, get(format!("/v1/calls/call_{CANARY}{CANARY}")).body(Body::empty()).unwrap()),
        (404, get("/v1/calls/%ff%fe".to_owned()).body(Body::empty()).unwrap()),
        (404, get(format!("/v1/calls/{CANARY}/recording")).body(Body::empty()).unwrap()),
        (400, get(format!("/v1/calls?cursor={CANARY}")).body(Body::empty()).unwrap()),
        (400, get(format!("/v1/calls?{CANARY}=1")).body(Body::empty()).unwrap()),
        (405, Request::patch("/v1/calls").body(Body::empty()).unwrap()),
        (405, Request::builder().method("TRACE").uri("/v1/calls").body(Body::empty()).unwrap()),
        (405, Request::builder().method(CANARY).uri(&call).body(Body::empty()).unwrap()),
        (415, Request::post("/v1/calls").body(Body::from("{}")).unwrap()),
        (415, Request::post(&dtmf).header("content-type", CANARY).body(Body::empty()).unwrap()),
        (413, Request::post(&dtmf).header("content-type", json).body(Body::from(big)).unwrap()),
        (400, Request::post(&dtmf).header("content-type", json).body(Body::from(deep)).unwrap()),
        (400, Request::post(&dtmf).header("content-type", json).body(Body::from("\u{0}")).unwrap()),
    ];
    for (status, mut request) in cases {
        let what = format!("{} {}", request.method(), request.uri());
        request.headers_mut().insert("authorization", token.parse().unwrap());
        request.headers_mut().insert("x-request-id", CANARY.parse().unwrap());
        let answer = rig.send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{what}");
        check(&answer, &what);
        if status == 405 {
            assert!(!answer.header("allow").is_empty(), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_is_given_up() {
    let rig = Rig::new("slow");
    let call = rig.open().await;
    let body = Body::from_stream(tokio_stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = Request::post(format!("{call}/dtmf"))
        .header("authorization", format!("Bearer {}", rig.token(Role::Operator)))
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    let answer = rig.send(request).await;
    assert_eq!(answer.status.as_u16(), 408);
    check(&answer, "a slow body");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_is_answered_for() {
    let rig = Rig::new("panic");
    let attend = middleware::from_fn_with_state(Arc::clone(&rig.control), attend);
    let broken = async || -> &'static str { panic!("{CANARY}") };
    let app = Router::new().route("/broken", get(broken)).layer(attend);
    let request = Request::get("/broken").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains("\"internal\"") && !body.contains(CANARY), "{body}");
}

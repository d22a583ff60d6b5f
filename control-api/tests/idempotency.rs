//! Idempotency keys: once, again, another body, another key.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use axum::http::Method;
use control_api::keys::Role;
use rig::{Answer, Rig, card_plan, open_body};
use serde_json::{Value, json};

async fn post(rig: &Rig, role: Role, path: &str, key: &str, body: Value) -> Answer {
    rig.ask_with(role, Method::POST, path, Some(body), &[("idempotency-key", key)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_post_has_its_effect_once() {
    let rig = Rig::new("once");
    let first = post(&rig, Role::Script, "/v1/calls", "k1", open_body(9, 40_000)).await.expect(201);
    let again = post(&rig, Role::Script, "/v1/calls", "k1", open_body(9, 40_000)).await.expect(201);
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(
        (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
        ("", "true")
    );
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
    let list = rig.get(Role::Script, "/v1/calls").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);

    let other = post(&rig, Role::Script, "/v1/calls", "k1", open_body(9, 40_002)).await.expect(422);
    assert_eq!(other.json()["code"], "idempotency-key-reused");
    // Another key, and another principal with the same key, are other requests.
    post(&rig, Role::Script, "/v1/calls", "k2", open_body(9, 40_000)).await.expect(201);
    post(&rig, Role::Operator, "/v1/calls", "k1", open_body(9, 40_000)).await.expect(201);
    let list = rig.get(Role::Script, "/v1/calls").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn entering_again_with_the_same_key_is_the_same_session() {
    let rig = Rig::new("enter");
    let path = format!("{}/secure-session", rig.open().await);
    let first = post(&rig, Role::Script, &path, "k", card_plan()).await.expect(201);
    let again = post(&rig, Role::Script, &path, "k", card_plan()).await.expect(201);
    assert_eq!(first.json()["id"], again.json()["id"]);
    post(&rig, Role::Script, &path, "l", card_plan()).await.expect(409);
    // The same key on another path is another request.
    let other = format!("{}/secure-session", rig.open().await);
    post(&rig, Role::Script, &other, "k", card_plan()).await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_may_be_sent_again() {
    let rig = Rig::new("refused");
    let mut bad = open_body(9, 40_000);
    bad["caller"]["sdp"] = json!("no sdp");
    post(&rig, Role::Script, "/v1/calls", "k", bad).await.expect(400);
    post(&rig, Role::Script, "/v1/calls", "k", open_body(9, 40_000)).await.expect(201);
    let long = "k".repeat(129);
    post(&rig, Role::Script, "/v1/calls", &long, open_body(9, 40_000)).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_has_an_effect() {
    let rig = std::sync::Arc::new(Rig::new("race"));
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let rig = std::sync::Arc::clone(&rig);
        tasks.push(tokio::spawn(async move {
            let answer = post(&rig, Role::Script, "/v1/calls", "k", open_body(9, 40_000)).await;
            answer.status.as_u16()
        }));
    }
    for task in tasks {
        let status = task.await.unwrap();
        assert!(status == 201 || status == 409, "{status}");
    }
    let list = rig.get(Role::Script, "/v1/calls").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

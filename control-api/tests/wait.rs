//! Requests that are answered when a secure session is over.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::time::{Duration, Instant};

use axum::http::Method;
use control_api::clock;
use control_api::keys::Role;
use control_api::wait::MAX_OF_CALL;
use rig::{Rig, Talker, card_plan, open_body};
use serde_json::{Value, json};

const KEYED: &str = "4242424242424242#1230#123#";

async fn talking_call(rig: &Rig, talker: &Talker) -> String {
    let answer = rig.post(Role::Script, "/v1/calls", open_body(talker.port, 40_000)).await;
    let body = answer.expect(201).json();
    talker.talk(body["caller"]["sdp"].as_str().unwrap());
    format!("/v1/calls/{}", body["id"].as_str().unwrap())
}

/// Lets what was asked before begin to wait.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

fn since(begun: Instant) -> Duration {
    clock::monotonic().saturating_duration_since(begun)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_enters_or_reads_may_wait_for_the_verdict() {
    let rig = Rig::new("wait");
    let talker = Talker::new();
    let call = talking_call(&rig, &talker).await;
    let path = format!("{call}/secure-session");
    let (entering, reading) = (format!("{path}?wait=20"), format!("{path}?wait=20"));
    let keyed = async {
        a_moment().await;
        // In a session, and the reader waits: now the caller keys.
        let (read, ()) = tokio::join!(rig.get(Role::Script, &reading), async {
            a_moment().await;
            rig.key(&call, KEYED).await;
        });
        read.expect(200).json()
    };
    let (entered, read) = tokio::join!(rig.post(Role::Engine, &entering, card_plan()), keyed);
    let entered = entered.expect(201);
    assert_eq!(entered.header("location"), path);
    let entered = entered.json();
    assert_eq!((&entered["state"], &entered["result"]), (&json!("ended"), &json!("pass")));
    assert_eq!((&read["id"], &read["result"]), (&entered["id"], &json!("pass")));
    assert_eq!(read["reason"], "success", "a script learns more: {read}");

    // A session that is over needs no wait; and the same request is answered alike.
    let begun = clock::monotonic();
    assert_eq!(rig.get(Role::Engine, &reading).await.expect(200).json()["result"], "pass");
    assert!(since(begun) < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_its_time_the_call_and_the_process() {
    let rig = Rig::new("wait-ends");
    let call = rig.open().await;
    let path = format!("{call}/secure-session");
    rig.get(Role::Script, &format!("{path}?wait=9")).await.expect(404);
    let begun = clock::monotonic();
    let headers = [("idempotency-key", "one")];
    let entering = format!("{path}?wait=1");
    let enter = || rig.ask_with(Role::Script, Method::POST, &entering, Some(card_plan()), &headers);
    let entered = enter().await.expect(201).json();
    assert!(since(begun) >= Duration::from_secs(1));
    assert_eq!((&entered["state"], entered.get("result")), (&json!("collecting"), None));
    assert_eq!(enter().await.expect(201).header("idempotent-replayed"), "true");
    let read = rig.get(Role::Engine, &format!("{path}?wait=1")).await.expect(200).json();
    assert_eq!((&read["state"], &read["result"]), (&json!("collecting"), &Value::Null));

    let reading = format!("{path}?wait=30");
    let (read, ()) = tokio::join!(rig.get(Role::Engine, &reading), async {
        a_moment().await;
        rig.delete(Role::Script, &call).await.expect(204);
    });
    assert_eq!(read.expect(200).json()["result"], "fail");

    let other = rig.open().await;
    let entering = format!("{other}/secure-session?wait=30");
    let (entered, ()) = tokio::join!(rig.post(Role::Script, &entering, card_plan()), async {
        a_moment().await;
        rig.control.stop();
    });
    assert_eq!(entered.expect(201).json()["state"], "collecting");
    assert!(since(begun) < Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn few_wait_on_one_call_and_who_hangs_up_makes_room() {
    let rig = Rig::new("wait-few");
    let path = format!("{}/secure-session", rig.open().await);
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    let reading = format!("{path}?wait=30");
    let mut waiting = Vec::new();
    for _ in 0..MAX_OF_CALL {
        waiting.push(Box::pin(rig.get(Role::Engine, &reading)));
    }
    let all = futures(&mut waiting);
    assert!(tokio::time::timeout(Duration::from_millis(300), all).await.is_err());
    let refused = rig.get(Role::Engine, &reading).await.expect(429);
    assert_eq!(refused.json()["code"], "too-many-waits");
    assert_eq!(refused.header("retry-after"), "5");
    // Nothing is entered by a request that may not wait for it.
    rig.post(Role::Script, &reading, card_plan()).await.expect(429);
    let elsewhere = format!("{}/secure-session?wait=1", rig.open().await);
    rig.post(Role::Script, &elsewhere, card_plan()).await.expect(201);

    drop(waiting);
    a_moment().await;
    rig.get(Role::Engine, &format!("{path}?wait=1")).await.expect(200);
}

/// Polls all of them, forever.
async fn futures<F: Future + Unpin>(all: &mut [F]) {
    std::future::poll_fn(|context| {
        for one in all.iter_mut() {
            assert!(std::pin::Pin::new(one).poll(context).is_pending());
        }
        std::task::Poll::<()>::Pending
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_learns_no_verdict() {
    let rig = Rig::new("wait-key");
    let path = format!("{}/secure-session", rig.open().await);
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    let reading = format!("{path}?wait=30");
    let (read, ()) = tokio::join!(rig.get(Role::Engine, &reading), async {
        a_moment().await;
        let id = rig::id_of(rig.token(Role::Engine));
        rig.control.key_store.edit().unwrap().revoke(id, clock::now()).unwrap();
        rig.control.reload_keys().unwrap();
    });
    assert_eq!(read.expect(401).json()["code"], "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_time_enters_nothing() {
    let rig = Rig::new("wait-bad");
    let path = format!("{}/secure-session", rig.open().await);
    for bad in ["wait=0", "wait=301", "wait=-1", "wait=x", "wait=", "later=1"] {
        let bad = format!("{path}?{bad}");
        let refused = rig.post(Role::Script, &bad, card_plan()).await.expect(400);
        assert_eq!(refused.json()["code"], "malformed-parameter");
        rig.get(Role::Script, &bad).await.expect(400);
    }
    rig.get(Role::Script, &path).await.expect(404);
}

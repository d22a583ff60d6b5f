//! External ids: a call by the name that its integrator gave it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::time::Duration;

use control_api::keys::Role;
use rig::{Rig, card_plan, open_body};
use serde_json::{Value, json};

/// As a SIP Call-ID may look, and as a path has to write it.
const NAME: &str = "7f/a84b%4c76?e6#6710@192.0.2.4";
const IN_PATH: &str = "/v1/calls/ext:7f%2Fa84b%254c76%3Fe6%236710@192.0.2.4";

fn named(name: &str) -> Value {
    let mut body = open_body(9, 40_000);
    body["external_id"] = name.into();
    body
}

async fn closed(rig: &Rig, call: &str) {
    for _ in 0..100 {
        if rig.get(Role::Operator, call).await.expect(200).json()["state"] == "closed" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the call is not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_by_its_external_id_in_every_path() {
    let rig = Rig::new("external");
    let opened = rig.post(Role::Script, "/v1/calls", named(NAME)).await.expect(201);
    let call = opened.header("location").to_owned();
    rig.open().await;
    let view = rig.get(Role::Script, IN_PATH).await.expect(200).json();
    assert_eq!((&view["id"], &view["external_id"]), (&opened.json()["id"], &json!(NAME)));

    let session = format!("{IN_PATH}/secure-session");
    let entered = rig.post(Role::Engine, &session, card_plan()).await.expect(201);
    assert_eq!(entered.header("location"), format!("{call}/secure-session"));
    rig.get(Role::Engine, &session).await.expect(200);
    rig.post(Role::Script, &format!("{IN_PATH}/dtmf"), json!({ "digit": "5" })).await.expect(204);
    let tokens = format!("{IN_PATH}/model-tokens");
    rig.post(Role::Script, &tokens, json!({ "plans": ["code"] })).await.expect(201);
    rig.delete(Role::Operator, IN_PATH).await.expect(204);
    closed(&rig, IN_PATH).await;
    rig.get(Role::Operator, &format!("{IN_PATH}/recording")).await.expect(200);
    let told = rig.get(Role::Engine, &format!("{IN_PATH}/events")).await.expect(200);
    let told = String::from_utf8(told.body).unwrap();
    assert_eq!(told.matches(&format!("\"external_id\":\"{NAME}\"")).count(), 2, "{told}");

    let done = rig.get(Role::Operator, "/v1/activity?kind=request").await.expect(200).json();
    let of_call: Vec<&Value> = done["data"].as_array().unwrap().iter().collect();
    let names = |it: &&&Value| it["call_id"] == opened.json()["id"];
    assert_eq!(of_call.iter().filter(names).count(), 4, "{done}");
    assert!(!done.to_string().contains("a84b"), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_live_call_has_it_and_the_last_one_keeps_it() {
    let rig = Rig::new("external-unique");
    let first = rig.post(Role::Script, "/v1/calls", named(NAME)).await.expect(201).json();
    let refused = rig.post(Role::Script, "/v1/calls", named(NAME)).await.expect(409);
    assert_eq!(refused.json()["code"], "external-id-in-use");
    assert!(!refused.json().to_string().contains("a84b"));
    rig.post(Role::Script, "/v1/calls", named(&NAME[1..])).await.expect(201);

    rig.delete(Role::Script, IN_PATH).await.expect(204);
    closed(&rig, IN_PATH).await;
    let second = rig.post(Role::Script, "/v1/calls", named(NAME)).await.expect(201).json();
    assert_eq!(rig.get(Role::Script, IN_PATH).await.expect(200).json()["id"], second["id"]);
    let query = IN_PATH.replace("/ext:", "?external_id=");
    let page = rig.get(Role::Script, &query).await.expect(200).json();
    let ids: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&second["id"], &first["id"]]);
    let none = rig.get(Role::Script, "/v1/calls?external_id=nobody").await.expect(200).json();
    assert_eq!(none["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_opened_leaves_its_external_id_free() {
    let rig = Rig::new("external-free");
    let mut body = named(NAME);
    for wrong in ["192.0.2.7:4000", "127.0.0.1:65535"] {
        body["engine"]["address"] = wrong.into();
        rig.post(Role::Script, "/v1/calls", body.clone()).await.expect(422);
    }
    rig.get(Role::Script, IN_PATH).await.expect(404);
    rig.post(Role::Script, "/v1/calls", named(NAME)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_external_id_is_pointed_at_and_not_repeated() {
    let rig = Rig::new("external-bad");
    for bad in ["", "4242 4242", "4242\u{7}", &"4242".repeat(33)] {
        let refused = rig.post(Role::Script, "/v1/calls", named(bad)).await.expect(400).json();
        let fault = &refused["errors"][0];
        assert_eq!(fault["pointer"], "/external_id");
        assert!(fault["detail"].as_str().unwrap().starts_with("must be 1 to 128 visible"));
        assert!(!refused.to_string().contains("4242"), "{refused}");
    }
    for ours in ["call_", "CA"] {
        let ours = format!("{ours}{:032x}", 0x4242);
        let refused = rig.post(Role::Script, "/v1/calls", named(&ours)).await.expect(400).json();
        assert_eq!(refused["errors"][0]["pointer"], "/external_id", "another call's name");
        assert!(!refused.to_string().contains("4242"), "{refused}");
    }
    for bad in ["/v1/calls?external_id=", "/v1/calls?external_id=a%20b"] {
        rig.get(Role::Script, bad).await.expect(400);
    }
    for bad in ["ext:", "ext:a%20b", "ext:nobody", "EXT:a"] {
        let refused = rig.get(Role::Script, &format!("/v1/calls/{bad}")).await.expect(404);
        assert_eq!(refused.json()["code"], "call-not-found");
    }
}

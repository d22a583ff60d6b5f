//! The tool that an AI platform calls for its model: flat, in strings, and as little as may be told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::time::Duration;

use axum::http::Method;
use control_api::keys::Role;
use control_api::twilio;
use rig::{Rig, Talker, card_plan, open_body};
use serde_json::{Value, json};

const TOOL: &str = "/v1/tools/collect_payment";
const NAME: &str = "a84b4c76e66710@192.0.2.4";
const KEYED: &str = "4242424242424242#1230#123#";

/// A call that its integrator knows by `NAME`; returns its path.
async fn call(rig: &Rig, caller: u16) -> (String, Value) {
    let mut body = open_body(caller, 40_000);
    body["external_id"] = NAME.into();
    let answer = rig.post(Role::Script, "/v1/calls", body).await.expect(201);
    (answer.header("location").to_owned(), answer.json())
}

async fn talking_call(rig: &Rig, talker: &Talker) -> String {
    let (path, opened) = call(rig, talker.port).await;
    talker.talk(opened["caller"]["sdp"].as_str().unwrap());
    path
}

fn asking(call: &str, plan: &str, wait: &str) -> Value {
    json!({ "call": call, "plan": plan, "wait": wait })
}

/// What a model is told, which is two strings.
#[track_caller]
fn told(answer: &Value) -> (&str, &str) {
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
    (answer["result"].as_str().unwrap(), answer["say"].as_str().unwrap())
}

async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn session(rig: &Rig, call: &str) -> String {
    let view = rig.get(Role::Script, &format!("{call}/secure-session")).await.expect(200).json();
    view["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_starts_waits_and_tells() {
    let rig = Rig::new("tool");
    let talker = Talker::new();
    let call = talking_call(&rig, &talker).await;
    let body = asking(NAME, "card-payment", "30");
    let (answer, ()) = tokio::join!(rig.post(Role::Engine, TOOL, body), async {
        a_moment().await;
        rig.key(&call, KEYED).await;
    });
    let answer = answer.expect(200).json();
    assert_eq!(told(&answer), ("pass", "It passed. Tell the caller so and go on."));
    let done = rig.get(Role::Operator, "/v1/activity?kind=request&limit=50").await.expect(200);
    let done = done.json();
    let of_tool = done["data"].as_array().unwrap().iter().find(|it| it["operation"] == TOOL);
    assert!(call.ends_with(of_tool.unwrap()["call_id"].as_str().unwrap()), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_again_while_it_runs_it_is_the_same_session() {
    let rig = Rig::new("tool-again");
    let (call, opened) = call(&rig, 9).await;
    let id = opened["id"].as_str().unwrap();
    let sid = id.replace("call_", "CA");
    let entry = rig.control.calls.live().pop().unwrap();
    let uuid = uuid::Uuid::from_u128(entry.id.0).hyphenated().to_string();
    let first = rig.post(Role::Engine, TOOL, asking(NAME, "code", "0")).await.expect(200).json();
    assert!(told(&first).1.contains("Call this tool again"), "{first}");
    let started = session(&rig, &call).await;
    for name in [id, &sid, &uuid] {
        // By whichever name; and a number will do.
        let again = json!({ "call": name, "plan": "code", "wait": 1 });
        let again = rig.post(Role::Script, TOOL, again).await.expect(200).json();
        assert_eq!((told(&again).0, &session(&rig, &call).await), ("running", &started));
    }
    let other = rig.post(Role::Engine, TOOL, asking(NAME, "date", "0")).await.expect(409).json();
    assert_eq!(other["code"], "session-in-progress");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_nobody_heard_is_told_to_the_next_who_asks() {
    let rig = Rig::new("tool-unheard");
    let talker = Talker::new();
    let call = talking_call(&rig, &talker).await;
    let ask = |wait| rig.post(Role::Engine, TOOL, asking(NAME, "code", wait));
    // A platform that gives up before the answer.
    assert!(tokio::time::timeout(Duration::from_millis(300), ask("30")).await.is_err());
    let started = session(&rig, &call).await;
    rig.key(&call, "1234#").await;
    let path = format!("{call}/secure-session?wait=20");
    assert_eq!(rig.get(Role::Script, &path).await.expect(200).json()["result"], "pass");
    let answer = ask("0").await.expect(200).json();
    assert_eq!((told(&answer).0, session(&rig, &call).await), ("pass", started.clone()));
    // Told once, it is over: the next is another.
    assert_eq!(told(&ask("0").await.expect(200).json()).0, "running");
    assert_ne!(session(&rig, &call).await, started);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_fails_is_told_as_little_of() {
    let rig = Rig::new("tool-fail");
    let (call, _) = call(&rig, 9).await;
    let body = asking(NAME, "code", "30");
    let headers = [("idempotency-key", "one")];
    let ask = || rig.ask_with(Role::Script, Method::POST, TOOL, Some(body.clone()), &headers);
    let (answer, ()) = tokio::join!(ask(), async {
        a_moment().await;
        rig.delete(Role::Script, &call).await.expect(204);
    });
    let answer = answer.expect(200).json();
    let (result, say) = told(&answer);
    assert_eq!(result, "fail");
    assert!(say.starts_with("It failed, and you are not told why."), "{say}");
    assert!(!answer.to_string().contains("hung"), "{answer}");
    assert_eq!(ask().await.expect(200).header("idempotent-replayed"), "true");
    let over = rig.post(Role::Script, TOOL, body).await.expect(409).json();
    assert_eq!(over["code"], "call-ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_can_do_nothing_about_is_a_problem() {
    let rig = Rig::new("tool-bad");
    let (call, _) = call(&rig, 9).await;
    let mut more = asking(NAME, "code", "0");
    more["card"] = "4242424242424242".into();
    let long = "4242".repeat(40);
    let cases = [
        (asking("4242", "code", "0"), 404, "/call"),
        (asking(&long, "code", "0"), 404, "/call"),
        (asking(NAME, "4242", "0"), 422, "/plan"),
        (asking(NAME, "code", "4242"), 422, "/wait"),
        (asking(NAME, "code", "-1"), 422, "/wait"),
        (json!({ "call": NAME }), 400, ""),
        (more, 400, ""),
    ];
    for (body, status, pointer) in cases {
        let problem = rig.post(Role::Engine, TOOL, body).await.expect(status).json();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(!problem.to_string().contains("4242"), "{problem}");
    }
    rig.get(Role::Script, &format!("{call}/secure-session")).await.expect(404);
    // A session that a script entered is not the tool's.
    let entered = format!("{call}/secure-session");
    rig.post(Role::Script, &entered, json!({ "plan": "code" })).await.expect(201);
    rig.post(Role::Engine, TOOL, asking(NAME, "code", "0")).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_ask_at_once_start_one_session() {
    let rig = Rig::new("tool-twice");
    let (call, opened) = call(&rig, 9).await;
    let ask = || rig.post(Role::Engine, TOOL, asking(NAME, "card-payment", "0"));
    let (one, two) = tokio::join!(ask(), ask());
    assert_eq!((one.expect(200).json(), two.expect(200).json()["result"].clone()), {
        let running = rig.post(Role::Engine, TOOL, asking(NAME, "card-payment", "0")).await;
        (running.expect(200).json(), json!("running"))
    });
    let entry = rig.control.calls.live().pop().unwrap();
    assert!(opened["id"].as_str().unwrap().ends_with(&twilio::call_sid(entry.id)[2..]));
    let again = rig.post(Role::Script, &format!("{call}/secure-session"), card_plan()).await;
    again.expect(409);
}

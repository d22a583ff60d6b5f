//! Hanging up in Twilio's manner: who may, what it does, and what Twilio's clients read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use control_api::keys::Role;
use rig::{Answer, Rig, Talker, card_plan, open_body};
use serde_json::{Value, json};

const ACCOUNT: &str = "AC00000000000000000000000000000007";
const FORM: &str = "application/x-www-form-urlencoded";
const COMPLETED: &str = "Status=completed";

struct Ask<'a> {
    method: Method,
    sid: &'a str,
    user: &'a str,
    key: &'a str,
    kind: &'a str,
    form: &'a str,
}

impl<'a> Ask<'a> {
    fn to(sid: &'a str, key: &'a str) -> Ask<'a> {
        Ask { method: Method::POST, sid, user: ACCOUNT, key, kind: FORM, form: COMPLETED }
    }

    async fn of(self, rig: &Rig) -> Answer {
        let Ask { method, sid, user, key, kind, form } = self;
        let credentials = BASE64_STANDARD.encode(format!("{user}:{key}"));
        let request = Request::builder()
            .method(method)
            .uri(format!("/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json"))
            .header("authorization", format!("Basic {credentials}"))
            .header("content-type", kind);
        rig.send(request.body(Body::from(form.to_owned())).unwrap()).await
    }
}

/// An error as Twilio's clients read it.
#[track_caller]
fn refused(answer: Answer, status: u16, code: u32) {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.json();
    assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(code)), "{body}");
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    assert_eq!(body["more_info"], more);
    assert!(!body["message"].as_str().unwrap().is_empty() && body.as_object().unwrap().len() == 4);
}

fn sid(call: &str) -> String {
    call.replace("/v1/calls/call_", "CA")
}

async fn state(rig: &Rig, call: &str) -> Value {
    rig.get(Role::Operator, call).await.expect(200).json()["state"].clone()
}

async fn until(rig: &Rig, call: &str, wanted: &str) {
    for _ in 0..300 {
        if state(rig, call).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the call is not {wanted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_may_hang_up_are_let_in_as_the_password_of_the_account() {
    let rig = Rig::new("twilio-auth");
    for role in [Role::Operator, Role::Script, Role::Engine] {
        let call = rig.open().await;
        let sid = sid(&call);
        let body = Ask::to(&sid, rig.token(role)).of(&rig).await.expect(200).json();
        let expected = json!({ "sid": sid, "account_sid": ACCOUNT, "status": "completed" });
        assert_eq!(body, expected, "{role:?}");
        until(&rig, &call, "closed").await;
        refused(Ask::to(&sid, rig.token(role)).of(&rig).await, 404, 20_404);
    }
    let call = rig.open().await;
    let sid = sid(&call);
    refused(Ask::to(&sid, rig.token(Role::Payment)).of(&rig).await, 403, 20_003);
    let operator = rig.token(Role::Operator).to_owned();
    let other = ACCOUNT.replace('7', "8");
    for (user, key) in [
        (ACCOUNT, rig.removed_token()),
        (ACCOUNT, &operator[..40]),
        (ACCOUNT, ""),
        (&*other, &*operator),
        ("", &*operator),
        (&*operator, ACCOUNT),
    ] {
        let answer = Ask { user, ..Ask::to(&sid, key) }.of(&rig).await;
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"sotto\"");
        refused(answer, 401, 20_003);
    }
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json");
    refused(rig.post(Role::Operator, &path, json!({})).await, 401, 20_003);
    assert_eq!(state(&rig, &call).await, "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secure_session_holds_the_hang_up_back_whoever_it_is() {
    let rig = Rig::new("twilio-held");
    for role in [Role::Engine, Role::Script] {
        let talker = Talker::new();
        let answer = rig.post(Role::Script, "/v1/calls", open_body(talker.port, 40_000)).await;
        let body = answer.expect(201).json();
        talker.talk(body["caller"]["sdp"].as_str().unwrap());
        let call = format!("/v1/calls/{}", body["id"].as_str().unwrap());
        let session = format!("{call}/secure-session");
        rig.post(Role::Engine, &session, card_plan()).await.expect(201);
        for _ in 0..2 {
            let body = Ask::to(&sid(&call), rig.token(role)).of(&rig).await.expect(200).json();
            assert_eq!(body["status"], "in-progress");
        }
        assert_eq!(state(&rig, &call).await, "secure");
        rig.key(&call, "4242424242424242#1230#123#").await;
        until(&rig, &call, "closed").await;
        let read = rig.get(Role::Engine, &session).await.expect(200).json();
        assert_eq!(read["result"], "pass");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_hang_up_of_a_call_is_refused_in_twilios_words() {
    let rig = Rig::new("twilio-bad");
    let call = rig.open().await;
    let (good, key) = (sid(&call), rig.token(Role::Engine));
    let unknown = format!("CA{}", "0".repeat(32));
    for bad in [&*unknown, "CA", &good.to_lowercase(), &good[2..], "4242424242424242"] {
        let answer = Ask::to(bad, key).of(&rig).await;
        assert!(!String::from_utf8_lossy(&answer.body).contains("4242"));
        refused(answer, 404, 20_404);
    }
    for form in ["", "Status=busy", "status=completed", "Url=http%3A%2F%2F4242", "Status=4242"] {
        let answer = Ask { form, ..Ask::to(&good, key) }.of(&rig).await;
        assert!(!String::from_utf8_lossy(&answer.body).contains("4242"));
        refused(answer, 400, 20_001);
    }
    let json = Ask { kind: "application/json", ..Ask::to(&good, key) }.of(&rig).await;
    refused(json, 415, 20_001);
    for method in [Method::GET, Method::DELETE] {
        let wrong = Ask { method, ..Ask::to(&good, key) }.of(&rig).await;
        refused(wrong, 405, 20_004);
    }
    let endless = format!("Status=completed&x={}", "y".repeat(70_000));
    refused(Ask { form: &endless, ..Ask::to(&good, key) }.of(&rig).await, 413, 20_001);
    assert_eq!(state(&rig, &call).await, "open");

    let more = "StatusCallback=http%3A%2F%2Fexample.com&Status=completed";
    Ask { form: more, ..Ask::to(&good, key) }.of(&rig).await.expect(200);
    until(&rig, &call, "closed").await;
    let done = rig.get(Role::Operator, "/v1/activity?kind=request&limit=1").await.expect(200);
    let done = &done.json()["data"][0];
    let pattern = "/2010-04-01/Accounts/{account_sid}/Calls/{call_sid}";
    assert_eq!((&done["operation"], &done["status"]), (&json!(pattern), &json!(200)));
    assert!(call.ends_with(done["call_id"].as_str().unwrap()), "{done}");
}

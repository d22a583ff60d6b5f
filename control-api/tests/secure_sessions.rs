//! Secure sessions by REST: what each role does and learns.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use control_api::clock;
use control_api::dto::id::parse_call;
use control_api::keys::Role;
use rig::{Rig, Talker, card_plan, open_body};
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tower::ServiceExt;

/// A published test number, and a date and code that go with it.
const GOOD: &str = "424242424242424212301";
const KEYED: &str = "4242424242424242#1230#123#";

async fn talking_call(rig: &Rig, talker: &Talker) -> String {
    let answer = rig.post(Role::Script, "/v1/calls", open_body(talker.port, 40_000)).await;
    let body = answer.expect(201).json();
    talker.talk(body["caller"]["sdp"].as_str().unwrap());
    format!("/v1/calls/{}", body["id"].as_str().unwrap())
}

async fn wait_for(rig: &Rig, role: Role, path: &str, state: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..300 {
        last = rig.get(role, path).await.expect(200).json();
        if last["state"] == state {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{path} is not {state}: {last}");
}

/// The events of a stream until one of the kind `until`, or its end.
async fn follow(rig: &Rig, role: Role, call: &str, after: u64, until: &str) -> Vec<(u64, Value)> {
    follow_as(rig, role, call, "", after, until).await
}

/// The same, with a query.
async fn follow_as(
    rig: &Rig,
    role: Role,
    call: &str,
    query: &str,
    after: u64,
    until: &str,
) -> Vec<(u64, Value)> {
    let request = Request::get(format!("{call}/events{query}"))
        .header("authorization", format!("Bearer {}", rig.token(role)))
        .header("last-event-id", after.to_string());
    let response = rig.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut events = Vec::new();
    let mut text = String::new();
    let mut stream = response.into_body().into_data_stream();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while let Ok(Some(piece)) = tokio::time::timeout_at(deadline, stream.next()).await {
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| event.lines().find_map(|it| it.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let body: Value = serde_json::from_str(data).unwrap();
                let id = field("id: ").map_or(0, |id| id.parse().unwrap());
                assert_eq!(field("event: "), body["type"].as_str());
                let ended = body["type"] == until;
                events.push((id, body));
                if ended {
                    return events;
                }
            }
            text = rest.to_owned();
        }
    }
    events
}

fn kinds(events: &[(u64, Value)]) -> Vec<&str> {
    events.iter().map(|(_, body)| body["type"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_keyed_and_each_role_learns_its_share() {
    let rig = Rig::new("pass");
    let talker = Talker::new();
    let call = talking_call(&rig, &talker).await;
    let path = format!("{call}/secure-session");
    rig.get(Role::Engine, &path).await.expect(404);

    let entered = rig.post(Role::Engine, &path, card_plan()).await.expect(201);
    assert_eq!(entered.header("location"), path);
    let entered = entered.json();
    assert_eq!(entered["state"], "collecting");
    assert!(entered["id"].as_str().unwrap().starts_with("sec_"));
    let second = rig.post(Role::Script, &path, card_plan()).await.expect(409).json();
    assert_eq!(second["code"], "session-in-progress");
    assert_eq!(rig.get(Role::Script, &call).await.json()["state"], "secure");

    let engine = rig.get(Role::Engine, &path).await.json();
    let expected = json!({ "id": entered["id"], "state": "collecting", "result": null });
    assert_eq!(engine, expected);
    rig.key(&call, KEYED).await;
    let script = wait_for(&rig, Role::Script, &path, "ended").await;
    assert_eq!((&script["result"], &script["reason"]), (&json!("pass"), &json!("success")));
    assert!(script.get("progress").is_none() && script["step"] == "security-code");
    assert_eq!(script["cut_at"], entered["cut_at"]);
    let engine = rig.get(Role::Engine, &path).await.json();
    let expected = json!({ "id": entered["id"], "state": "ended", "result": "pass" });
    assert_eq!(engine, expected);
    assert!(rig.get(Role::Operator, &path).await.json()["progress"].is_u64());
    assert_eq!(rig.get(Role::Script, &call).await.json()["state"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_by_role_and_resumed_by_number() {
    let rig = Rig::new("events");
    let talker = Talker::new();
    let call = talking_call(&rig, &talker).await;
    let path = format!("{call}/secure-session");
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    rig.key(&call, "4242424242424241#").await;
    rig.key(&call, KEYED).await;
    let staff = follow(&rig, Role::Script, &call, 0, "secure_session.ended").await;
    assert_eq!(
        kinds(&staff),
        [
            "call.opened",
            "secure_session.started",
            "secure_session.field_started",
            "secure_session.field_rejected",
            "secure_session.field_started",
            "secure_session.field_accepted",
            "secure_session.field_started",
            "secure_session.field_accepted",
            "secure_session.field_started",
            "secure_session.field_accepted",
            "secure_session.concluded",
            "secure_session.ended",
        ]
    );
    assert_eq!(staff[3].1["data"]["reason"], "invalid-card-number");
    assert!(staff.iter().map(|(id, _)| *id).eq(1..=12));
    assert!(staff.iter().all(|(id, body)| body["sequence"] == *id));
    assert!(staff.iter().all(|(_, it)| it["occurred_at"].as_str().unwrap().ends_with(".000Z")));

    let rest = follow(&rig, Role::Script, &call, 10, "secure_session.ended").await;
    assert_eq!(rest, staff[10..]);
    let engine = follow(&rig, Role::Engine, &call, 0, "secure_session.ended").await;
    assert_eq!(kinds(&engine), ["secure_session.started", "secure_session.ended"]);
    // Others may ask for less than they could hear, to the word; an engine for nothing else.
    for role in [Role::Script, Role::Operator, Role::Engine] {
        let until = "secure_session.ended";
        assert_eq!(follow_as(&rig, role, &call, "?audience=engine", 0, until).await, engine);
    }
    for role in [Role::Script, Role::Operator] {
        let until = "secure_session.ended";
        assert_eq!(follow_as(&rig, role, &call, "?audience=staff", 0, until).await, staff);
    }
    let more = format!("{call}/events?audience=staff");
    assert_eq!(rig.get(Role::Engine, &more).await.expect(403).json()["code"], "forbidden");
    for malformed in ["?audience=", "?audience=all", "?audience=engine&audience=staff", "?as=x"] {
        rig.get(Role::Engine, &format!("{call}/events{malformed}")).await.expect(400);
    }
    assert_eq!(engine[1].1["data"].as_object().unwrap().len(), 2, "id and result: {engine:?}");
    assert_eq!((engine[0].0, engine[1].0, &engine[1].1["data"]["result"]), (1, 2, &json!("pass")));

    rig.delete(Role::Script, &call).await.expect(204);
    assert_eq!(kinds(&follow(&rig, Role::Script, &call, 12, "").await), ["call.closed"]);
    let headers = [("last-event-id", "13")];
    let path = format!("{call}/events");
    rig.ask_with(Role::Script, Method::GET, &path, None, &headers).await.expect(204);
    let headers = [("last-event-id", "x")];
    rig.ask_with(Role::Script, Method::GET, &path, None, &headers).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_cancels_and_the_cut_is_drained() {
    let rig = Rig::new("cancel");
    let talker = Talker::new();
    let call = talking_call(&rig, &talker).await;
    let path = format!("{call}/secure-session");
    rig.delete(Role::Operator, &path).await.expect(404);
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    rig.key(&call, "4242").await;
    // A script ends only what it drives itself.
    rig.delete(Role::Script, &path).await.expect(409);
    rig.delete(Role::Engine, &path).await.expect(403);
    rig.delete(Role::Operator, &path).await.expect(204);
    let ended = wait_for(&rig, Role::Script, &path, "ended").await;
    assert_eq!((&ended["result"], &ended["reason"]), (&json!("fail"), &json!("cancelled")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_in_the_middle_fails_the_session() {
    let rig = Rig::new("hangup");
    let call = rig.open().await;
    let path = format!("{call}/secure-session");
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    rig.key(&call, "4242").await;
    rig.delete(Role::Script, &call).await.expect(204);
    let ended = wait_for(&rig, Role::Script, &path, "ended").await;
    assert_eq!((&ended["result"], &ended["reason"]), (&json!("fail"), &json!("caller-hung-up")));
    let engine = follow(&rig, Role::Engine, &call, 0, "").await;
    assert_eq!(engine.last().unwrap().1["data"]["result"], "fail");
    let late = rig.post(Role::Script, &path, card_plan()).await.expect(409).json();
    assert_eq!(late["code"], "call-ended");
}

/// A session that is refused asks for the engine to be heard, or not to be, of itself alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_refused_changes_nothing_for_the_one_in_progress() {
    let rig = Rig::new("refused-audio");
    let plans = ["pass", "drop"].map(|audio| {
        let field = json!({ "type": "postal-code", "min_digits": 4, "max_digits": 4 });
        json!({ "fields": [field], "engine_audio": audio })
    });
    for (running, refused) in [(0, 1), (1, 0)] {
        let answer = rig.post(Role::Script, "/v1/calls", open_body(9, 40_000)).await.expect(201);
        let call = answer.header("location").to_owned();
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let session = format!("{call}/secure-session");
        let enter = async |plan: usize| rig.post(Role::Script, &session, plans[plan].clone()).await;
        let entry = rig.control.calls.find(parse_call(&id).unwrap()).unwrap();
        assert!(!entry.lets_engine_through(), "no session yet");
        enter(running).await.expect(201);
        assert_eq!(entry.lets_engine_through(), running == 0);
        enter(refused).await.expect(409);
        assert_eq!(entry.lets_engine_through(), running == 0, "as it was");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reoffer_does_not_end_a_session() {
    let rig = Rig::new("reoffer-secure");
    let call = rig.open().await;
    let path = format!("{call}/secure-session");
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    let offer = json!({ "sdp": rig::offer(11) });
    rig.post(Role::Script, &format!("{call}/caller/offer"), offer).await.expect(200);
    assert_eq!(rig.get(Role::Script, &path).await.json()["state"], "collecting");
    assert_eq!(rig.get(Role::Script, &call).await.json()["state"], "secure");
    rig.ask(Role::Script, Method::PUT, &format!("{call}/arm"), None).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_holds_what_was_keyed() {
    let rig = Rig::new("silent");
    let call = rig.open().await;
    let path = format!("{call}/secure-session");
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    rig.key(&call, &KEYED[..16]).await;
    let mut told = String::new();
    for role in [Role::Operator, Role::Script, Role::Engine] {
        for path in [&path, &call] {
            let answer = rig.get(role, path).await;
            told.push_str(&String::from_utf8_lossy(&answer.body));
        }
    }
    rig.delete(Role::Operator, &call).await;
    for (_, event) in follow(&rig, Role::Operator, &call, 0, "").await {
        told.push_str(&event.to_string());
    }
    let leaks = |text: &str| text.contains(&GOOD[..8]);
    assert!(!leaks(&told), "{told}");
    assert!(leaks(&format!("{told}{KEYED}")), "the check above can fail");
}

/// An engine that hangs up, or is easily worried by silence, does not end a session.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_up_is_held_back_until_the_session_ends() {
    let rig = Rig::new("hang-up");
    let talker = Talker::new();
    let call = talking_call(&rig, &talker).await;
    let path = format!("{call}/secure-session");
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    rig.delete(Role::Engine, &call).await.expect(202);
    assert_eq!(rig.get(Role::Engine, &path).await.json()["state"], "collecting");
    rig.delete(Role::Operator, &path).await.expect(204);
    wait_for(&rig, Role::Script, &call, "closed").await;
    // The control: without a session it ends the call at once.
    let other = talking_call(&rig, &talker).await;
    rig.delete(Role::Engine, &other).await.expect(204);
    wait_for(&rig, Role::Script, &other, "closed").await;
}

/// A plan that may outlast what its engine bears is entered with a warning.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_longer_than_its_engine_bears_is_warned_of() {
    let rig = Rig::new("budget");
    let mut body = open_body(11, 40_000);
    body["engine"]["profile"] = json!("nervous");
    let opened = rig.post(Role::Script, "/v1/calls", body.clone()).await.expect(201).json();
    let path = format!("/v1/calls/{}/secure-session", opened["id"].as_str().unwrap());
    let entered = rig.post(Role::Script, &path, card_plan()).await.expect(201).json();
    assert!(entered["warnings"][0].as_str().unwrap().contains("45 s"));
    let path = format!("{}/secure-session", rig.open().await);
    let entered = rig.post(Role::Script, &path, card_plan()).await.expect(201).json();
    assert!(entered.get("warnings").is_none(), "the control");
    body["engine"]["profile"] = json!("unknown");
    rig.post(Role::Script, "/v1/calls", body).await.expect(422);
}

/// A script drives a session field by field, and ends it between two fields.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_captures_one_field_after_the_other() {
    let rig = Rig::new("captures");
    let talker = Talker::new();
    let call = talking_call(&rig, &talker).await;
    let path = format!("{call}/secure-session");
    let mut plan = card_plan();
    plan["drive"] = json!("field_at_a_time");
    plan["fields"] = json!([
        { "type": "payment-card-number" }, { "type": "expiration-date" }, { "type": "security-code" }
    ]);
    rig.post(Role::Script, &path, plan).await.expect(201);
    let captures = format!("{path}/captures");
    let capture = |step: &str| rig.post(Role::Script, &captures, json!({ "step": step }));
    // Before the number the security code is refused, and an unknown field too.
    let refused = capture("security-code").await.expect(409).json();
    assert_eq!(refused["code"], "capture-refused");
    capture("favourite-colour").await.expect(422);
    capture("payment-card-number").await.expect(200);
    capture("expiration-date").await.expect(409);
    rig.delete(Role::Script, &path).await.expect(409);
    rig.key(&call, "4242424242424242#").await;
    let view = rig.get(Role::Script, &path).await.json();
    assert_eq!(view["required"], json!(["expiration-date", "security-code"]));
    rig.post(Role::Script, &format!("{path}/complete"), json!({})).await.expect(409);
    capture("expiration-date").await.expect(200);
    rig.key(&call, "1299").await;
    capture("expiration-date").await.expect(200);
    rig.key(&call, "1230").await;
    capture("security-code").await.expect(200);
    rig.key(&call, "123").await;
    rig.post(Role::Script, &format!("{path}/complete"), json!({})).await.expect(200);
    let ended = wait_for(&rig, Role::Script, &path, "ended").await;
    assert_eq!((&ended["result"], &ended["reason"]), (&json!("pass"), &json!("success")));
    // Another one, given up between two fields.
    let mut plan = card_plan();
    plan["drive"] = json!("field_at_a_time");
    rig.post(Role::Script, &path, plan).await.expect(201);
    rig.delete(Role::Script, &path).await.expect(204);
    let ended = wait_for(&rig, Role::Script, &path, "ended").await;
    assert_eq!(ended["result"], "fail");
}

/// No quiet can be heard of a caller who sends nothing, so the cut is held: five seconds after the
/// last key, to the millisecond.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_is_not_told_that_a_cut_is_held() {
    let rig = Rig::new("held");
    let call = rig.open().await;
    let path = format!("{call}/secure-session");
    rig.post(Role::Script, &path, card_plan()).await.expect(201);
    rig.key(&call, KEYED).await;
    let told = rig.get(Role::Engine, &path).await.json();
    let script = wait_for(&rig, Role::Script, &path, "held").await;
    assert_eq!(script["result"], "pass", "the control: it is held, and those who may know do");
    assert_eq!(rig.get(Role::Engine, &path).await.json(), told);
    assert_eq!((&told["state"], &told["result"]), (&json!("collecting"), &Value::Null));
    let alarms = rig.get(Role::Operator, "/v1/activity?kind=alarm").await.expect(200).json();
    assert_eq!(alarms["data"][0]["event"], "secure_session.held", "operators are told that too");
    rig.get(Role::Engine, "/v1/activity?kind=alarm").await.expect(403);
    rig.delete(Role::Script, &call).await.expect(204);
    let ended = wait_for(&rig, Role::Engine, &path, "ended").await;
    assert_eq!(ended["result"], "pass");
}

/// The ends of a key event may be sent in one burst: a count of packets that goes on in a cut is
/// passed in steps sooner by two packets for each key, and whoever polls it can count the keys.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_sends_in_a_cut_is_counted_for_nobody() {
    let rig = Rig::new("counted");
    for is_cut in [true, false] {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let body = open_body(socket.local_addr().unwrap().port(), 40_000);
        let opened = rig.post(Role::Script, "/v1/calls", body).await.expect(201).json();
        let port = rig::answer_port(opened["caller"]["sdp"].as_str().unwrap());
        let call = format!("/v1/calls/{}", opened["id"].as_str().unwrap());
        send_packets(&socket, port, 0..110, 0);
        if is_cut {
            let path = format!("{call}/secure-session");
            rig.post(Role::Script, &path, card_plan()).await.expect(201);
        }
        send_packets(&socket, port, 110..350, 0);
        send_packets(&socket, port, 350..590, 96);
        let counted = async |role| {
            let leg = rig.get(role, &call).await.json()["legs"]["caller"].clone();
            [&leg["packets_received"], &leg["drops"]["unknown_payload"]].map(|it| it.as_u64())
        };
        let (operator, script) = (counted(Role::Operator).await, counted(Role::Script).await);
        let expected = if is_cut { ([110, 0], [100, 0]) } else { ([590, 240], [500, 200]) };
        assert_eq!((operator, script), (expected.0.map(Some), expected.1.map(Some)), "{is_cut}");
    }
}

/// Packets of 20 ms with these numbers and this payload type.
fn send_packets(socket: &std::net::UdpSocket, port: u16, numbers: std::ops::Range<u16>, kind: u8) {
    for number in numbers {
        let mut packet = vec![0x80, kind];
        packet.extend(number.to_be_bytes());
        packet.extend((u32::from(number) * 160).to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        packet.extend([0xff; 160]);
        socket.send_to(&packet, ("127.0.0.1", port)).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_tell_of_a_verdict_in_whole_seconds() {
    let rig = Rig::new("figures");
    let call = rig.open().await;
    rig.post(Role::Script, &format!("{call}/secure-session"), card_plan()).await.expect(201);
    let figures = async || {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = control_api::health::app(&rig.control).oneshot(request).await.unwrap();
        let body = to_bytes(answer.into_body(), 100_000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    while clock::now().unix_ms() % 1000 > 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (second, before) = (clock::now().whole_seconds(), figures().await);
    rig.key(&call, KEYED).await;
    wait_for(&rig, Role::Script, &format!("{call}/secure-session"), "draining").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let after = figures().await;
    assert!(clock::now().whole_seconds() > second || after == before, "{after}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let passed = "sotto_secure_sessions_total{result=\"pass\"} 1";
    assert!(figures().await.contains(passed) && !before.contains(passed), "the control");
}

//! The MCP server of a call: what a model can do with its token, and what it can't.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request};
use control_api::keys::Role;
use control_api::{clock, openapi};
use rig::{Answer, Rig, Talker, open_body};
use serde_json::{Value, json};
use tower::ServiceExt;

/// A published test number, and a date and code that go with it.
const KEYED: &str = "4242424242424242#1230#123#";
/// What must not come back; a caller could have said it.
const CANARY: &str = "4000056655665556";

/// A status, and the body and headers that get it.
type Posted = (u16, String, Vec<(&'static str, &'static str)>);

/// One call with a token for its model.
struct Model<'a> {
    rig: &'a Rig,
    call: String,
    token: String,
}

impl<'a> Model<'a> {
    /// A call that nobody talks on.
    async fn silent(rig: &'a Rig) -> Model<'a> {
        Model::of(rig, rig.open().await).await
    }

    async fn talking(rig: &'a Rig, talker: &Talker) -> Model<'a> {
        let answer = rig.post(Role::Script, "/v1/calls", open_body(talker.port, 40_000)).await;
        let opened = answer.expect(201);
        talker.talk(opened.json()["caller"]["sdp"].as_str().unwrap());
        Model::of(rig, opened.header("location").to_owned()).await
    }

    async fn of(rig: &'a Rig, call: String) -> Model<'a> {
        let plans = json!({ "plans": ["card-payment", "code", "date"] });
        let token = issue(rig, &call, plans).await;
        Model { rig, call, token }
    }

    async fn send(&self, body: Vec<u8>, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut request = Request::post(format!("{}/mcp", self.call));
        let given = |name: &str| headers.iter().any(|(given, _)| *given == name);
        for (name, value) in [
            ("authorization", bearer.as_str()),
            ("host", "relay.example"),
            ("content-type", "application/json"),
        ] {
            if !given(name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.rig.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn ask(&self, method: &str, params: Value) -> Answer {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.send(message.to_string().into_bytes(), &[]).await
    }

    /// The result of a call of a tool, whether it is an error or not.
    async fn result(&self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        let answer = self.ask("tools/call", params).await.expect(200).json();
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(1)), "{answer}");
        answer["result"].clone()
    }

    /// What a tool answers.
    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let result = self.result(tool, arguments).await;
        assert_eq!(result["isError"], false, "{result}");
        let text = result["content"][0]["text"].as_str().unwrap();
        let answer = result["structuredContent"].clone();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), answer);
        answer
    }

    /// The sentence with which a tool refuses.
    async fn refusal(&self, tool: &str, arguments: Value) -> String {
        let result = self.result(tool, arguments).await;
        assert_eq!(result["isError"], true, "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    async fn sessions(&self) -> u16 {
        let path = format!("{}/secure-session", self.call);
        self.rig.get(Role::Operator, &path).await.status.as_u16()
    }
}

async fn issue(rig: &Rig, call: &str, body: Value) -> String {
    let issued = rig.post(Role::Script, &format!("{call}/model-tokens"), body).await.expect(201);
    issued.json()["token"].as_str().unwrap().to_owned()
}

fn members(answer: &Value) -> Vec<&str> {
    let mut members: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    members
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_starts_a_session_waits_and_learns_pass_or_fail() {
    let rig = Rig::new("mcp-pass");
    let talker = Talker::new();
    let model = Model::talking(&rig, &talker).await;
    let none = model.call("read_secure_state", json!({})).await;
    assert_eq!((&none["state"], &none["result"]), (&json!("none"), &Value::Null));
    assert_eq!(model.call("wait_for_secure_result", json!({})).await["state"], "none");

    for (plan, keys, result) in [("card-payment", KEYED, "pass"), ("date", "1399", "fail")] {
        let started = model.call("start_secure_session", json!({ "plan": plan })).await;
        assert_eq!(members(&started), ["id", "next", "result", "state"]);
        assert_eq!((&started["state"], &started["result"]), (&json!("collecting"), &Value::Null));
        // Whatever the plan: one that is in progress is the answer.
        let again = model.call("start_secure_session", json!({ "plan": "code" })).await;
        assert_eq!(again, started);
        let wait = model.call("wait_for_secure_result", json!({ "timeout_s": 20 }));
        let (ended, ()) = tokio::join!(wait, rig.key(&model.call, keys));
        assert_eq!(members(&ended), ["id", "next", "result", "state"]);
        assert_eq!((&ended["state"], &ended["result"]), (&json!("ended"), &json!(result)));
        assert_eq!(ended["id"], started["id"]);
        assert_eq!(model.call("read_secure_state", json!({})).await, ended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_comes_at_the_time_of_a_key_or_a_field() {
    let rig = Rig::new("mcp-time");
    let talker = Talker::new();
    let model = Model::talking(&rig, &talker).await;
    model.call("start_secure_session", json!({ "plan": "card-payment" })).await;
    let begun = clock::monotonic();
    let wait = model.call("wait_for_secure_result", json!({ "timeout_s": 1 }));
    // A rejected attempt, and a whole field.
    let (answer, ()) =
        tokio::join!(wait, rig.key(&model.call, "4242424242424241#4242424242424242#"));
    assert_eq!((&answer["state"], &answer["result"]), (&json!("collecting"), &Value::Null));
    let waited = clock::monotonic() - begun;
    assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    // The verdict is the last key; the answer comes when the line is open again.
    let wait = async {
        let answer = model.call("wait_for_secure_result", json!({ "timeout_s": 20 })).await;
        (answer, clock::monotonic())
    };
    let keys = async {
        rig.key(&model.call, "1230#123#").await;
        clock::monotonic()
    };
    let ((answer, at), keyed): ((Value, Instant), Instant) = tokio::join!(wait, keys);
    assert_eq!(answer["result"], "pass");
    assert!(at - keyed >= Duration::from_millis(400), "{:?}", at - keyed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_another_is_not_started_again_but_waited_for() {
    let rig = Rig::new("mcp-other");
    let talker = Talker::new();
    let model = Model::talking(&rig, &talker).await;
    let body = json!({ "plan": "code" });
    rig.post(Role::Script, &format!("{}/secure-session", model.call), body).await.expect(201);
    let refusal = model.refusal("start_secure_session", json!({ "plan": "code" })).await;
    assert!(refusal.contains("you did not start"), "{refusal}");
    let wait = model.call("wait_for_secure_result", json!({}));
    let (ended, ()) = tokio::join!(wait, rig.key(&model.call, "1234#"));
    assert_eq!(ended["result"], "pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_ends_the_wait_and_the_token() {
    let rig = Rig::new("mcp-end");
    let model = Model::silent(&rig).await;
    model.call("start_secure_session", json!({ "plan": "code" })).await;
    let wait = model.call("wait_for_secure_result", json!({ "timeout_s": 20 }));
    let end = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.delete(Role::Script, &model.call).await.expect(204);
    };
    let (ended, ()) = tokio::join!(wait, end);
    assert_eq!((&ended["state"], &ended["result"]), (&json!("ended"), &json!("fail")));
    model.ask("ping", json!({})).await.expect(401);
    let body = json!({ "plans": ["code"] });
    rig.post(Role::Script, &format!("{}/model-tokens", model.call), body).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_requests_wait_at_a_time() {
    let rig = Rig::new("mcp-waits");
    let model = Model::silent(&rig).await;
    model.call("start_secure_session", json!({ "plan": "code" })).await;
    let wait = || model.result("wait_for_secure_result", json!({ "timeout_s": 1 }));
    let (a, b, c, d, e) = tokio::join!(wait(), wait(), wait(), wait(), wait());
    let refused = [a, b, c, d, e].iter().filter(|it| it["isError"] == true).count();
    assert_eq!(refused, 1);
    assert_eq!(wait().await["isError"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_its_own_call_and_time() {
    let rig = Rig::new("mcp-token");
    let model = Model::silent(&rig).await;
    let other = Model::silent(&rig).await;
    let ping = |call: &str, token: &str| {
        let model = Model { rig: &rig, call: call.to_owned(), token: token.to_owned() };
        async move { model.ask("ping", json!({})).await }
    };
    ping(&model.call, &model.token).await.expect(200);
    let nowhere = "/v1/calls/call_00000000000000000000000000000000";
    for call in [other.call.as_str(), nowhere, "/v1/calls/x"] {
        let answer = ping(call, &model.token).await.expect(401);
        assert_eq!(answer.json()["code"], "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    for role in [Role::Operator, Role::Script, Role::Engine] {
        ping(&model.call, rig.token(role)).await.expect(401);
    }
    let brief = json!({ "plans": ["code"], "expires_s": 1 });
    let brief = issue(&rig, &model.call, brief).await;
    ping(&model.call, &brief).await.expect(200);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    ping(&model.call, &brief).await.expect(401);

    // A wait that is under way learns nothing once its token is revoked.
    model.call("start_secure_session", json!({ "plan": "code" })).await;
    let wait = model.refusal("wait_for_secure_result", json!({ "timeout_s": 1 }));
    let path = format!("{}/model-tokens", model.call);
    let revoke = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        rig.delete(Role::Script, &path).await.expect(204);
    };
    let (refusal, ()) = tokio::join!(wait, revoke);
    assert!(refusal.contains("access has ended"), "{refusal}");
    ping(&model.call, &model.token).await.expect(401);
    ping(&other.call, &other.token).await.expect(200);
    assert_eq!(model.sessions().await, 200, "the session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_no_other_door() {
    let rig = Rig::new("mcp-doors");
    let model = Model::silent(&rig).await;
    model.call("start_secure_session", json!({ "plan": "code" })).await;
    let contract: Value = serde_json::from_str(&openapi::contract()).unwrap();
    let mut tried = 0;
    for (path, methods) in contract["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("/v1/calls/{call_id}", &model.call);
            let request = |token: &str| {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let request = Request::builder().method(method).uri(&path);
                let request = request.header("authorization", format!("Bearer {token}"));
                // Without a body the operator's is refused too, later.
                request.body(Body::empty()).unwrap()
            };
            rig.send(request(&model.token)).await.expect(401);
            if method != "delete" {
                // The head alone: an event stream has no end.
                let response = rig.app.clone().oneshot(request(rig.token(Role::Operator)));
                let status = response.await.unwrap().status().as_u16();
                assert_ne!(status, 401, "{method} {path}: the request can be let in");
            }
            tried += 1;
        }
    }
    assert!(tried >= 17, "{tried}");
    assert_eq!(model.call("read_secure_state", json!({})).await["state"], "collecting");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_for_plans_that_are_there() {
    let rig = Rig::new("mcp-issue");
    let call = rig.open().await;
    let path = format!("{call}/model-tokens");
    let issued = rig.post(Role::Script, &path, json!({ "plans": ["code", "code"] })).await;
    let issued = issued.expect(201).json();
    assert_eq!(issued["plans"], json!(["code"]));
    assert_eq!(issued["mcp_url"], format!("https://relay.example/sotto{call}/mcp"));
    assert!(issued["expires_at"].as_str().unwrap() > clock::now().to_string().as_str());
    assert!(issued["token"].as_str().unwrap().starts_with("stm_"));
    let cases = [
        (json!({ "plans": [] }), 422, "/plans"),
        (json!({ "plans": ["code", CANARY] }), 422, "/plans/1"),
        (json!({ "plans": ["Code"] }), 422, "/plans/0"),
        (json!({ "plans": ["code"], "expires_s": 0 }), 422, "/expires_s"),
        (json!({ "plans": ["code"], "expires_s": 86_401 }), 422, "/expires_s"),
        (json!({ "plans": "code" }), 400, "/plans"),
        (json!({ "plans": ["code"], CANARY: 1 }), 400, ""),
        (json!({}), 400, ""),
    ];
    for (body, status, pointer) in cases {
        let answer = rig.post(Role::Script, &path, body.clone()).await.expect(status);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(CANARY), "{body}");
    }
    for _ in 1..4 {
        rig.post(Role::Operator, &path, json!({ "plans": ["date"] })).await.expect(201);
    }
    rig.post(Role::Script, &path, json!({ "plans": ["date"] })).await.expect(422);
    rig.delete(Role::Operator, &path).await.expect(204);
    rig.post(Role::Script, &path, json!({ "plans": ["date"] })).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_listed_and_entered_by_name() {
    let rig = Rig::new("mcp-plans");
    let listed = rig.get(Role::Script, "/v1/plans").await.expect(200).json();
    let card = json!(["payment-card-number", "expiration-date", "security-code"]);
    assert_eq!(listed["data"][0], json!({ "name": "card-payment", "steps": card }));
    assert_eq!(listed["data"].as_array().unwrap().len(), 3);
    let call = rig.open().await;
    let path = format!("{call}/secure-session");
    let cases = [
        (json!({ "plan": CANARY }), 422, "/plan"),
        (json!({ "plan": 1 }), 400, "/plan"),
        (json!({ "plan": "code", "fields": [] }), 400, ""),
        (json!({ "plan": "code", "deadline_ms": 5000 }), 400, ""),
        (json!({ "plan": "code", CANARY: 1 }), 400, ""),
    ];
    for (body, status, pointer) in cases {
        let answer = rig.post(Role::Script, &path, body.clone()).await.expect(status);
        let error = answer.json()["errors"][0].clone();
        assert_eq!(error["pointer"], pointer, "{body}: {error}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(CANARY), "{body}");
    }
    rig.post(Role::Engine, &path, json!({ "plan": "code" })).await.expect(201);
    let session = rig.get(Role::Script, &path).await.expect(200).json();
    assert_eq!(session["step"], "postal-code");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_of_ours_gets_a_fixed_answer() {
    let rig = Rig::new("mcp-http");
    let model = Model::silent(&rig).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let message = |method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
    };
    let bad_init = message("initialize", json!({ "protocolVersion": [CANARY] }));
    let list = message("tools/list", json!({ "cursor": CANARY }));
    let meta =
        |version: &str| json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": version } });
    let cases: Vec<Posted> = vec![
        (200, ping.clone(), vec![]),
        (200, ping.clone(), vec![("host", "127.0.0.1:8080")]),
        (200, list, vec![]),
        (403, ping.clone(), vec![("host", "evil.example")]),
        (403, ping.clone(), vec![("host", "relay.example.evil.example")]),
        (403, ping.clone(), vec![("origin", "https://relay.example")]),
        (403, ping.clone(), vec![("origin", "null")]),
        (403, ping.replace("ping", CANARY), vec![("host", "evil.example")]),
        (403, ping.replace("\"id\":1,", ""), vec![("host", "evil.example")]),
        (202, ping.replace("\"id\":1,", ""), vec![]),
        (403, ping.clone(), vec![("origin", "http://localhost")]),
        (400, ping.clone(), vec![("mcp-protocol-version", CANARY)]),
        (400, message("ping", meta(CANARY)), vec![]),
        (415, ping.clone(), vec![("content-type", "text/plain")]),
        (401, ping.clone(), vec![("authorization", "Bearer x")]),
        (413, "4".repeat(70_000), vec![]),
        (400, String::new(), vec![]),
        (400, "{".to_owned(), vec![]),
        (400, format!("[{ping}]"), vec![]),
        (400, "[".repeat(10_000), vec![]),
        (400, ping.replace("2.0", CANARY), vec![]),
        (400, ping.replace("\"id\":1", &format!("\"id\":[{CANARY}]")), vec![]),
        (400, json!({ "jsonrpc": "2.0", "id": 1, "result": { CANARY: 1 } }).to_string(), vec![]),
        (422, ping.replace("\"id\":1", &format!("\"id\":\"{}\"", "x".repeat(65))), vec![]),
        (200, bad_init, vec![]),
    ];
    for (status, body, headers) in cases {
        let answer = model.send(body.clone().into_bytes(), &headers).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let what = &body[..body.len().min(120)];
        assert_eq!(answer.status.as_u16(), status, "{what} {headers:?}: {text}");
        assert!(!text.contains(CANARY) && !text.contains("evil"), "{what} {headers:?}: {text}");
    }
    for method in ["GET", "DELETE", "PUT"] {
        let request = Request::builder().method(method).uri(format!("{}/mcp", model.call));
        let bearer = format!("Bearer {}", model.token);
        let request = request.header("authorization", bearer).body(Body::empty()).unwrap();
        assert_eq!(rig.send(request).await.expect(405).header("allow"), "POST");
    }
    for method in [
        "resources/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "sampling/createMessage",
        "tasks/get",
        "subscriptions/listen",
        CANARY,
    ] {
        let answer = model.ask(method, json!({ "uri": CANARY })).await.expect(200).json();
        assert_eq!(answer["error"]["code"], -32_601, "{method}");
        assert!(!answer.to_string().contains(CANARY), "{answer}");
    }
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
    assert!(model.send(note.into_bytes(), &[]).await.expect(202).body.is_empty());
}

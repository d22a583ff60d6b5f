//! Who may do what: every operation of the contract with every kind of key.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use axum::body::Body;
use axum::http::{Method, Request};
use control_api::keys::Role;
use control_api::openapi;
use rig::Rig;

/// Operations, and the roles that are let in.
const MATRIX: [(&str, &str, &[Role]); 30] = [
    ("post", "/v1/calls", CALLS),
    ("get", "/v1/calls", CALLS),
    ("get", "/v1/calls/{call_id}", CALLS),
    ("delete", "/v1/calls/{call_id}", ALL),
    ("post", "/v1/calls/{call_id}/caller/offer", CALLS),
    ("put", "/v1/calls/{call_id}/engine", CALLS),
    ("get", "/v1/calls/{call_id}/engine/hearing", CALLS),
    ("put", "/v1/calls/{call_id}/arm", CALLS),
    ("delete", "/v1/calls/{call_id}/arm", CALLS),
    ("post", "/v1/calls/{call_id}/dtmf", CALLS),
    ("post", "/v1/calls/{call_id}/secure-session", ALL),
    ("get", "/v1/calls/{call_id}/secure-session", ALL),
    ("delete", "/v1/calls/{call_id}/secure-session", CALLS),
    ("post", "/v1/calls/{call_id}/secure-session/captures", CALLS),
    ("post", "/v1/calls/{call_id}/secure-session/complete", CALLS),
    ("post", "/v1/calls/{call_id}/secure-session/sealed", &[Role::Payment]),
    ("get", "/v1/calls/{call_id}/events", ALL),
    ("get", "/v1/calls/{call_id}/recording", &[Role::Operator]),
    ("get", "/v1/webhook-deliveries", &[Role::Operator]),
    ("post", "/v1/webhook-deliveries/{delivery_id}/replay", &[Role::Operator]),
    ("post", "/v1/tools/collect_payment", ALL),
    ("get", "/v1/plans", CALLS),
    ("post", "/v1/calls/{call_id}/model-tokens", CALLS),
    ("delete", "/v1/calls/{call_id}/model-tokens", CALLS),
    ("post", "/v1/calls/{call_id}/recording", CALLS),
    ("delete", "/v1/calls/{call_id}/recording", &[Role::Operator]),
    ("get", "/v1/activity", &[Role::Operator]),
    ("post", "/v1/whip", CALLS),
    ("patch", "/v1/whip/{call_id}", CALLS),
    ("delete", "/v1/whip/{call_id}", ALL),
];
const EVERY: &[Role] = &[Role::Operator, Role::Script, Role::Engine, Role::Payment];
const ALL: &[Role] = &[Role::Operator, Role::Script, Role::Engine];
const CALLS: &[Role] = &[Role::Operator, Role::Script];

fn request(method: &str, path: &str, authorization: Option<&str>) -> Request<Body> {
    // A call that does not exist: whoever is let in gets no further than 400 to 404 or 415.
    let path = path.replace("{call_id}", "call_00000000000000000000000000000000");
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_asks_for_its_scope() {
    let rig = Rig::new("matrix");
    for (method, path, allowed) in MATRIX {
        for role in EVERY {
            let bearer = format!("Bearer {}", rig.token(*role));
            let status = rig.send(request(method, path, Some(&bearer))).await.status.as_u16();
            let forbidden = status == 403;
            assert_eq!(forbidden, !allowed.contains(role), "{method} {path} {role:?}: {status}");
            assert_ne!(status, 401, "{method} {path} {role:?}");
        }
        let removed = format!("Bearer {}", rig.removed_token());
        let cut = format!("Bearer {}", &rig.token(Role::Operator)[..40]);
        let bare = rig.token(Role::Operator).to_owned();
        for bad in [None, Some(&removed), Some(&cut), Some(&bare), Some(&"Bearer ".to_owned())] {
            let answer = rig.send(request(method, path, bad.map(String::as_str))).await;
            let answer = answer.expect(401);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert_eq!(answer.json()["code"], "unauthenticated", "{method} {path}");
        }
    }
}

#[test]
fn the_matrix_names_every_operation_of_the_contract() {
    let contract: serde_json::Value = serde_json::from_str(&openapi::contract()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in contract["paths"].as_object().unwrap() {
        operations.extend(methods.as_object().unwrap().keys().map(|it| (it.clone(), path.clone())));
    }
    operations.sort();
    let mut listed: Vec<_> =
        MATRIX.iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
    listed.sort();
    assert_eq!(operations, listed);
}

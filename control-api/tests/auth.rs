//! Who may do what: every operation of the contract with every kind of key.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use control_api::clock::{self, Timestamp};
use control_api::keys::{KeyStore, NewKey, Region, Role, Scope};
use control_api::{health, openapi};
use rig::{Rig, id_of};
use serde_json::Value;
use tower::ServiceExt;

/// Operations, and the roles that are let in.
const MATRIX: [(&str, &str, &[Role]); 36] = [
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
    ("get", "/v1/audit", &[Role::Operator]),
    ("post", "/v1/whip", CALLS),
    ("patch", "/v1/whip/{call_id}", CALLS),
    ("delete", "/v1/whip/{call_id}", ALL),
    ("get", "/v1/keys", &[Role::Operator]),
    ("post", "/v1/keys", &[Role::Operator]),
    ("post", "/v1/keys/{key_id}/rotate", &[Role::Operator]),
    ("post", "/v1/keys/{key_id}/revoke", &[Role::Operator]),
    ("post", "/v1/tickets", ALL),
];
const EVERY: &[Role] = &[Role::Operator, Role::Script, Role::Engine, Role::Payment];
const ALL: &[Role] = &[Role::Operator, Role::Script, Role::Engine];
const CALLS: &[Role] = &[Role::Operator, Role::Script];

fn request(method: &str, path: &str, authorization: Option<&str>) -> Request<Body> {
    // A call that does not exist: whoever is let in gets no further than 400 to 404 or 415.
    let path = path.replace("{call_id}", "call_00000000000000000000000000000000");
    let path = path.replace("{key_id}", "000000000000");
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    request.body(Body::empty()).unwrap()
}

/// Each operation of the contract, with the scopes that let a key do it.
fn declared() -> BTreeMap<(String, String), Vec<Scope>> {
    let contract: Value = serde_json::from_str(&openapi::contract()).unwrap();
    let mut operations = BTreeMap::new();
    for (path, methods) in contract["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let ways = operation["security"].as_array().unwrap().iter();
            let scopes = ways.map(|way| {
                let [scope] = way["api_key"].as_array().unwrap().as_slice() else {
                    panic!("{way}")
                };
                Scope::parse(scope.as_str().unwrap()).unwrap()
            });
            operations.insert((method.clone(), path.clone()), scopes.collect());
        }
    }
    operations
}

const DAY: Duration = Duration::from_hours(24);
/// States in which a key of a scope may do what the scope says, and those in which it may nothing.
const GOOD: [&str; 2] = ["active", "rotated, in overlap"];
const BAD: [(&str, &str); 7] = [
    ("expired", "expired"),
    ("pending", "pending"),
    ("revoked", "revoked"),
    ("rotated, after overlap", "expired"),
    ("foreign region", "foreign_region"),
    ("foreign server", "foreign_server"),
    ("damaged checksum", "checksum"),
];

/// A key of one scope in every state, by the state.
fn in_every_state(
    here: &KeyStore,
    others: &[KeyStore; 2],
    scope: Scope,
    now: Timestamp,
) -> BTreeMap<&'static str, String> {
    let new = || NewKey::with(&[scope]);
    let add = |store: &KeyStore, new, at| {
        store.edit().unwrap().add(new, at).unwrap().1.reveal().to_owned()
    };
    let active = add(here, new(), now);
    let ago = now.before(3 * DAY);
    let expired = add(here, NewKey { expires_at: Some(ago.after(DAY)), ..new() }, ago);
    let pending = add(here, NewKey { not_before: Some(now.after(DAY)), ..new() }, now);
    let [revoked, rotated, old] = [now, now, ago].map(|at| add(here, new(), at));
    here.edit().unwrap().revoke(id_of(&revoked), now).unwrap();
    here.edit().unwrap().rotate(id_of(&rotated), DAY, now).unwrap();
    here.edit().unwrap().rotate(id_of(&old), DAY, ago).unwrap();
    let damaged = with_another_end(&active);
    BTreeMap::from([
        ("damaged checksum", damaged),
        ("active", active),
        ("expired", expired),
        ("pending", pending),
        ("revoked", revoked),
        ("rotated, in overlap", rotated),
        ("rotated, after overlap", old),
        ("foreign region", add(&others[0], new(), now)),
        ("foreign server", add(&others[1], new(), now)),
    ])
}

/// The same with another last letter.
fn with_another_end(token: &str) -> String {
    let (all, last) = token.split_at(token.len() - 1);
    format!("{all}{}", if last == "x" { "y" } else { "x" })
}

/// Brings the keys of another server's file into this one's.
fn merge(here: &KeyStore, other: &KeyStore) {
    let read = |store: &KeyStore| -> Value {
        serde_json::from_slice(&std::fs::read(&store.path).unwrap()).unwrap()
    };
    let (mut all, theirs) = (read(here), read(other));
    all["keys"].as_array_mut().unwrap().extend(theirs["keys"].as_array().unwrap().clone());
    std::fs::write(&here.path, all.to_string()).unwrap();
}

/// How many were not let in, by reason, as figures tell it.
async fn turned_away(rig: &Rig) -> BTreeMap<String, u64> {
    // Figures are of a whole second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = health::app(&rig.control).oneshot(request).await.unwrap();
    let text = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let lines =
        text.lines().filter_map(|it| it.strip_prefix("sotto_unauthenticated_total{reason=\""));
    let counts = lines.map(|line| line.split_once("\"} ").unwrap());
    counts.map(|(reason, count)| (reason.to_owned(), count.parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_with_every_scope_in_every_state_is_as_declared() {
    let (rig, now) = (Rig::new("scopes"), clock::now());
    let here = &rig.control.key_store;
    let others = ["region", "server"].map(|name| KeyStore::at(&rig.directory.join(name).join("k")));
    let [region, server] = others;
    let others = [KeyStore { region: Region::parse("us-2").unwrap(), ..region }, server];
    let keys: Vec<_> = Scope::ALL
        .into_iter()
        .map(|scope| (scope, in_every_state(here, &others, scope, now)))
        .collect();
    merge(here, &others[1]);
    rig.control.reload_keys().unwrap();
    let before = turned_away(&rig).await;
    let (operations, mut words) = (declared(), Vec::new());
    for ((method, path), needs) in &operations {
        for (scope, tokens) in &keys {
            assert_eq!(tokens.len(), GOOD.len() + BAD.len());
            for (state, token) in tokens {
                let bearer = format!("Bearer {token}");
                let answer = rig.send(request(method, path, Some(&bearer))).await;
                let status = answer.status.as_u16();
                let what = format!("{method} {path} by {scope}, {state}: {status}");
                if GOOD.contains(state) {
                    assert_eq!(status == 403, !needs.contains(scope), "{what}");
                    assert_ne!(status, 401, "{what}");
                } else {
                    assert_eq!(status, 401, "{what}");
                    words.push(answer.json()["detail"].as_str().unwrap().to_owned());
                }
            }
        }
    }
    words.dedup();
    assert_eq!(words.len(), 1, "the same words for every reason: {words:?}");
    let after = turned_away(&rig).await;
    let each = (operations.len() * Scope::ALL.len()) as u64;
    for reason in BAD.map(|(_, reason)| reason) {
        let states = BAD.iter().filter(|(_, it)| *it == reason).count() as u64;
        assert_eq!(after[reason] - before[reason], states * each, "{reason} is counted apart");
    }
    let (operations, scopes) = (operations.len(), Scope::ALL.len());
    let states = GOOD.len() + BAD.len();
    println!(
        "figure: auth: {operations} operations x {scopes} scopes x {states} states as declared"
    );
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
    let mut operations: Vec<_> = declared().into_keys().collect();
    operations.sort();
    let mut listed: Vec<_> =
        MATRIX.iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
    listed.sort();
    assert_eq!(operations, listed);
}

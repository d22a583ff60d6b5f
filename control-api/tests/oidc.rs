//! Oidc: tokens of an identity provider, good ones and all kinds of bad ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod far_side;
mod rig;

use std::path::Path;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use control_api::chance;
use control_api::clock;
use control_api::keys::Roles;
use control_api::oidc::Oidc;
use control_api::oidc::config::RawOidc;
use far_side::{Authority, NAME, Script, Server, outbound, scratch};
use rig::{Doors, Rig};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use rsa::pkcs8::EncodePrivateKey;
use serde_json::{Value, json};
use tower::ServiceExt;

const ISSUER: &str = "https://id.example/realms/calls";

fn encode(octets: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

/// A provider's private keys, one of each kind.
struct Provider {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Provider {
    fn new() -> Provider {
        let random = SystemRandom::new();
        let ec = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(ec, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(ec, document.as_ref(), &random).unwrap();
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let private = rsa::PrivateKey::new(&mut chance::generator().unwrap(), 2048).unwrap();
        let rsa = RsaKeyPair::from_pkcs8(private.to_pkcs8_der().unwrap().as_bytes()).unwrap();
        Provider { ec, ed, rsa }
    }

    fn jwks(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let rsa: RsaPublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256",
              "x": encode(&point[1..33]), "y": encode(&point[33..]) },
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed.public_key()) },
            { "kty": "RSA", "kid": "rsa", "alg": "RS256",
              "n": encode(&rsa.n), "e": encode(&rsa.e) },
            { "kty": "oct", "kid": "oct", "k": encode("a secret that all know") },
        ]})
    }

    /// A token with this header and these claims, signed by the key that `by` names.
    fn sign(&self, by: &str, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match by {
            "ec" => self.ec.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            "ed" => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
            "rsa" => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                let signed =
                    self.rsa.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature);
                signed.unwrap();
                signature
            }
            "oct" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, b"a secret that all know");
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("{message}.{}", encode(signature))
    }

    /// A good token of a subject with this role.
    fn good(&self, role: &str) -> String {
        self.sign("ec", &header("ES256", "ec"), &claims(role))
    }
}

fn header(alg: &str, kid: &str) -> Value {
    json!({ "alg": alg, "kid": kid, "typ": "JWT" })
}

fn now_s() -> i64 {
    (clock::now().unix_ms() / 1000) as i64
}

fn claims(role: &str) -> Value {
    json!({ "iss": ISSUER, "aud": ["account", "sotto"], "sub": "u-1", "nbf": now_s() - 1,
            "exp": now_s() + 60, "realm": { "roles": ["else", role] } })
}

/// The same with some of them changed, or away if they are null.
fn but(claims: Value, changes: Value) -> Value {
    let mut all = claims;
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    all.as_object_mut().unwrap().extend(changes);
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    all
}

fn open(source: &str, allowed: &[&str]) -> Oidc {
    let text = format!(
        "issuer = '{ISSUER}'\naudience = 'sotto'\n{source}\nroles_claim = 'realm.roles'\n\
         roles = {{ ops = 'operator', 'ai engine' = 'engine' }}"
    );
    let raw: RawOidc = toml::from_str(&text).unwrap();
    let config = raw.resolve(&Roles::default()).unwrap().unwrap();
    Oidc::open(config, outbound(allowed)).unwrap_or_else(|error| panic!("{error}"))
}

fn rig(name: &str, oidc: Oidc) -> Rig {
    Rig::with_ways_in(name, Doors { oidc: Some(oidc), ..Doors::default() })
}

fn of_file(folder: &Path, provider: &Provider) -> Oidc {
    let path = folder.join("jwks.json");
    std::fs::write(&path, provider.jwks().to_string()).unwrap();
    open(&format!("jwks_file = '{}'", path.display()), &[])
}

async fn status(rig: &Rig, path: &str, token: &str) -> u16 {
    let request = Request::get(path).header("authorization", format!("Bearer {token}"));
    rig.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_good_tokens_are_taken_and_they_may_what_their_roles_may() {
    let provider = Provider::new();
    let rig = rig("oidc", of_file(&scratch("oidc-file"), &provider));
    for (kid, alg) in [("ec", "ES256"), ("ed", "EdDSA"), ("rsa", "RS256")] {
        let token = provider.sign(kid, &header(alg, kid), &claims("ops"));
        assert_eq!(status(&rig, "/v1/calls", &token).await, 200, "{alg}");
    }
    let ops = claims("ops");
    let good = [
        but(ops.clone(), json!({ "aud": "sotto" })),
        but(ops.clone(), json!({ "nbf": null, "iat": now_s() })),
        but(ops.clone(), json!({ "nbf": now_s() + 5 })),
        but(ops.clone(), json!({ "realm": { "roles": "x ops" } })),
        but(ops.clone(), json!({ "exp": now_s() as f64 + 30.5 })),
    ];
    for claims in &good {
        let token = provider.sign("ec", &header("ES256", "ec"), claims);
        assert_eq!(status(&rig, "/v1/calls", &token).await, 200, "{claims}");
    }
    let engine = provider.good("ai engine");
    assert_eq!(status(&rig, "/v1/calls", &engine).await, 403);
    assert_eq!(status(&rig, "/v1/activity", &provider.good("ops")).await, 200);
    assert_eq!(status(&rig, "/v1/calls", &provider.good("operator")).await, 403, "no role here");

    let bad = [
        but(ops.clone(), json!({ "exp": now_s() })),
        but(ops.clone(), json!({ "exp": now_s() - 3600 })),
        but(ops.clone(), json!({ "exp": null })),
        but(ops.clone(), json!({ "exp": "tomorrow" })),
        but(ops.clone(), json!({ "exp": 1e300 })),
        but(ops.clone(), json!({ "exp": -1 })),
        but(ops.clone(), json!({ "nbf": now_s() + 60 })),
        but(ops.clone(), json!({ "nbf": null })),
        but(ops.clone(), json!({ "iat": now_s() + 60 })),
        but(ops.clone(), json!({ "iss": "https://id.example/realms/others" })),
        but(ops.clone(), json!({ "iss": null })),
        but(ops.clone(), json!({ "aud": "sott" })),
        but(ops.clone(), json!({ "aud": ["account"] })),
        but(ops.clone(), json!({ "aud": null })),
        but(ops.clone(), json!({ "sub": null })),
        but(ops.clone(), json!({ "sub": "" })),
        but(ops.clone(), json!({ "sub": "x".repeat(256) })),
    ];
    for claims in &bad {
        let token = provider.sign("ec", &header("ES256", "ec"), claims);
        assert_eq!(status(&rig, "/v1/calls", &token).await, 401, "{claims}");
    }
    println!("figure: auth: {} good claim sets taken, {} bad ones not", 3 + good.len(), bad.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_another_kind_is_none() {
    let provider = Provider::new();
    let rig = rig("oidc-kinds", of_file(&scratch("oidc-kinds"), &provider));
    let ops = claims("ops");
    let headers = [
        ("", json!({ "alg": "none" })),
        ("", json!({ "alg": "none", "kid": "ec" })),
        ("oct", header("HS256", "oct")),
        ("oct", header("HS256", "ec")),
        ("ec", header("ES256", "rsa")),
        ("ec", header("ES256", "nobody")),
        ("ec", header("RS256", "ec")),
        ("ec", header("ES384", "ec")),
        ("ec", header("es256", "ec")),
        ("rsa", header("PS256", "rsa")),
        ("ec", json!({ "alg": "ES256" })),
        ("ec", json!({ "alg": "ES256", "kid": "ec", "typ": "logout+jwt" })),
        ("ec", json!({ "alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": false })),
    ];
    for (by, header) in headers {
        let token = provider.sign(by, &header, &ops);
        assert_eq!(status(&rig, "/v1/calls", &token).await, 401, "{header}");
    }
    // HS256 under the public key, which everybody knows, as if that were a secret.
    let public = provider.ec.public_key().as_ref();
    let message =
        format!("{}.{}", encode(header("HS256", "ec").to_string()), encode(ops.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), message.as_bytes());
    let confused = format!("{message}.{}", encode(tag));
    assert_eq!(status(&rig, "/v1/calls", &confused).await, 401);
    let good = provider.good("ops");
    assert_eq!(status(&rig, "/v1/calls", &good).await, 200, "the control");
    let (message, signature) = good.rsplit_once('.').unwrap();
    let parts: Vec<_> = good.split('.').collect();
    let claims = encode(claims("ops").to_string().replace("u-1", "u-2"));
    let wrong = [
        message.to_owned(),
        format!("{message}."),
        format!("{message}.{}", &signature[4..]),
        format!("{message}.{}", "A".repeat(signature.len())),
        format!("{}.{claims}.{signature}", parts[0]),
        format!("{good}.x"),
        format!("{good}="),
        "a.b.c".to_owned(),
        "..".to_owned(),
        format!("{good}{}", "A".repeat(9000)),
        Provider::new().good("ops"),
    ];
    for wrong in &wrong {
        assert_eq!(status(&rig, "/v1/calls", wrong).await, 401, "{wrong}");
    }
    // Keys of the relay go on beside it.
    rig.get(control_api::keys::Role::Operator, "/v1/calls").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_and_no_log_names_its_person() {
    let provider = Provider::new();
    let rig = rig("oidc-end", of_file(&scratch("oidc-end"), &provider));
    let call = rig.open().await;
    let end = now_s() + 2;
    let claims = but(claims("ops"), json!({ "exp": end, "sub": "person@id.example" }));
    let token = provider.sign("ed", &header("EdDSA", "ed"), &claims);
    let request = Request::get(format!("{call}/events"))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    let response = rig.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let ended =
        tokio::time::timeout(Duration::from_secs(4), to_bytes(response.into_body(), 99_999));
    ended.await.expect("the stream ends").unwrap();
    let late = clock::now().unix_ms() as i64 - end * 1000;
    assert!((0..1000).contains(&late), "{late} ms after the token");
    let claims = but(claims, json!({ "exp": now_s() + 60 }));
    let token = provider.sign("ed", &header("EdDSA", "ed"), &claims);
    let request = Request::delete(&call).header("authorization", format!("Bearer {token}"));
    rig.send(request.body(Body::empty()).unwrap()).await.expect(204);
    let activity = rig.get(control_api::keys::Role::Operator, "/v1/activity").await;
    let text = String::from_utf8(activity.body.clone()).unwrap();
    assert!(text.contains("\"oidc_") && !text.contains("person"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_where_they_may_and_seldom() {
    let provider = Provider::new();
    let folder = scratch("oidc-url");
    let authority = Authority::new("Test authority");
    let ca = authority.file(&folder);
    let tls = authority.leaf(NAME, 2090).server(None);
    let answer = Script::json(200, &provider.jwks().to_string());
    let server = Server::start("127.0.0.1", Some(tls), vec![answer]).await;
    let source = |host: &str| {
        let port = server.address.port();
        format!("jwks_url = 'https://{host}:{port}/keys'\nca_file = '{}'", ca.display())
    };
    let good = provider.good("ops");
    let closed = rig("oidc-closed", open(&source(NAME), &[]));
    assert_eq!(status(&closed, "/v1/calls", &good).await, 401, "outbound.allow opens nothing");
    assert_eq!(server.connections(), 0);
    let untrusted = rig("oidc-untrusted", open(&source("other.test"), &["127.0.0.0/8"]));
    assert_eq!(status(&untrusted, "/v1/calls", &good).await, 401);
    let before = server.seen().len();
    let rig = rig("oidc-url", open(&source(NAME), &["127.0.0.0/8"]));
    for _ in 0..3 {
        assert_eq!(status(&rig, "/v1/calls", &good).await, 200);
    }
    let seen = server.seen();
    assert_eq!(seen.len(), before + 1, "fetched once");
    assert!(seen[before].head.starts_with("GET /keys HTTP/1.1\r\n"), "{}", seen[before].head);
    for number in 0..50 {
        let unknown = provider.sign("ec", &header("ES256", &format!("k{number}")), &claims("ops"));
        assert_eq!(status(&rig, "/v1/calls", &unknown).await, 401);
    }
    assert_eq!(server.seen().len(), before + 1, "made-up keys fetch nothing within the pause");
    assert_eq!(status(&rig, "/v1/calls", &good).await, 200);
}

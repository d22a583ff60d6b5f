//! Sealed data: opened by whoever has the merchant's private key, given out once, to the right key.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod far_side;
mod rig;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use control_api::dto::id;
use control_api::dto::sink::SinkBody;
use control_api::keys::Role;
use control_api::sinks::clear::Keyed;
use control_api::sinks::config::RawSinks;
use control_api::sinks::sealed::Sealed;
use control_api::sinks::{Outcome, Receipt, Sinks};
use control_api::{Outward, clock};
use dtmf::card_mode::CardMode;
use dtmf::secret::SecretDigits;
use dtmf::{Digit, Step};
use far_side::{outbound, scratch};
use relay::switchboard::{CallId, SessionId};
use rig::{Rig, Talker, card_plan, open_body};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use rsa::pkcs8::EncodePublicKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const NUMBER: &str = "4242424242424242";
const CALL: CallId = CallId(0x17);

fn keyed(text: &str) -> SecretDigits {
    let mut digits = SecretDigits::new();
    for key in text.bytes() {
        digits.push(Digit::from_ascii(key).unwrap()).unwrap();
    }
    digits
}

fn sinks(files: &[(&str, PathBuf)]) -> Sinks {
    let keys = files
        .iter()
        .map(|(id, file)| format!("[[seal.keys]]\nid = '{id}'\nfile = '{}'\n", file.display()));
    let raw: RawSinks = toml::from_str(&keys.collect::<String>()).unwrap();
    Sinks::open(raw.resolve().unwrap(), outbound(&[])).unwrap_or_else(|error| panic!("{error}"))
}

/// Seals a card's number and code as the `sink` member orders, and takes the sealed data.
async fn seal(sinks: &Sinks, sink: Value, number: &str) -> Sealed {
    let body: SinkBody = serde_json::from_value(sink).unwrap();
    let order = sinks.prepare(CardMode::Test, Some(body)).unwrap();
    let (number, code) = (keyed(number), keyed("123"));
    let entries = [(Step::PaymentCardNumber, &number), (Step::SecurityCode, &code)];
    let session = id::new_session();
    let keyed = Keyed { entries: &entries, brand: Some("visa") };
    let packed = sinks.pack(CALL, session, order, keyed, clock::monotonic());
    let outcome = sinks.deliver_packed(CALL, session, packed).await;
    let sealed = sinks.sealed().take(clock::monotonic(), CALL);
    let sealed = sealed.unwrap_or_else(|gone| panic!("{gone:?}"));
    let key_id = sealed.key_id.clone();
    assert_eq!(outcome, Outcome::Delivered(Receipt::Sealed { key_id }));
    assert_eq!(sealed.session, session);
    sealed
}

fn content() -> Value {
    json!({ "payment-card-number": NUMBER, "security-code": "123", "brand": "visa" })
}

/// The header, and the octets of the four parts behind it.
fn parts(jwe: &str) -> (Value, Vec<Vec<u8>>) {
    let parts: Vec<Vec<u8>> = jwe.split('.').map(|it| BASE64URL.decode(it).unwrap()).collect();
    assert_eq!(parts.len(), 5, "compact serialization");
    (serde_json::from_slice(&parts[0]).unwrap(), parts[1..].to_vec())
}

/// Opens A256GCM (RFC 7518 section 5.3) with the content key.
fn open(jwe: &str, key: &[u8]) -> Option<Value> {
    let (_, parts) = parts(jwe);
    let aad = jwe.split('.').next().unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(&parts[1]).unwrap();
    let mut content = [&parts[2][..], &parts[3][..]].concat();
    let opened = key.open_in_place(nonce, Aad::from(aad.as_bytes()), &mut content).ok()?;
    serde_json::from_slice(opened).ok()
}

/// A P-256 key of a merchant, whose public half is written as a JWK.
fn p256(folder: &Path, name: &str) -> (EphemeralPrivateKey, PathBuf) {
    let random = ring::rand::SystemRandom::new();
    let private = EphemeralPrivateKey::generate(&ECDH_P256, &random).unwrap();
    let public = private.compute_public_key().unwrap();
    let (x, y) = (&public.as_ref()[1..33], &public.as_ref()[33..]);
    let jwk = json!({ "kty": "EC", "crv": "P-256", "use": "enc",
                      "x": BASE64URL.encode(x), "y": BASE64URL.encode(y) });
    let path = folder.join(name);
    std::fs::write(&path, jwk.to_string()).unwrap();
    (private, path)
}

/// The content key agreed from `epk`, by the merchant's side (RFC 7518 section 4.6.2).
fn agreed(private: EphemeralPrivateKey, header: &Value) -> Vec<u8> {
    let coordinate = |name: &str| BASE64URL.decode(header["epk"][name].as_str().unwrap()).unwrap();
    let point = [&[4][..], &coordinate("x"), &coordinate("y")].concat();
    let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
    agree_ephemeral(private, &theirs, |shared| {
        let info = b"\0\0\0\x07A256GCM\0\0\0\0\0\0\0\0\0\0\x01\0";
        Sha256::digest([b"\0\0\0\x01", shared, info].concat()).to_vec()
    })
    .unwrap()
}

#[tokio::test]
async fn data_sealed_by_agreement_is_opened_by_the_merchant() {
    let folder = scratch("agree");
    let (first, first_file) = p256(&folder, "first.jwk");
    let (second, second_file) = p256(&folder, "second.jwk");
    let sinks = sinks(&[("first", first_file), ("second", second_file)]);
    let sealed = seal(&sinks, json!({ "type": "seal" }), NUMBER).await;
    assert_eq!(sealed.key_id, "first", "unless the plan names another");
    let (header, _) = parts(&sealed.jwe);
    assert_eq!((&header["alg"], &header["enc"]), (&json!("ECDH-ES"), &json!("A256GCM")));
    assert_eq!((&header["kid"], &header["cty"]), (&json!("first"), &json!("json")));
    assert_eq!(header["sotto_session_id"], json!(id::session(sealed.session)));
    let key = agreed(first, &header);
    assert_eq!(open(&sealed.jwe, &key), Some(content()));
    assert_eq!(open(&sealed.jwe, &[7; 32]), None);

    // Another session's name on it, and it opens no more.
    let other = header.to_string().replace(&id::session(sealed.session), "sec_other");
    let rest = sealed.jwe.split_once('.').unwrap().1;
    assert_eq!(open(&format!("{}.{rest}", BASE64URL.encode(other)), &key), None);

    let sealed = seal(&sinks, json!({ "type": "seal", "key_id": "second" }), NUMBER).await;
    let key = agreed(second, &parts(&sealed.jwe).0);
    assert_eq!((sealed.key_id.as_str(), open(&sealed.jwe, &key)), ("second", Some(content())));
}

/// The whole way: keyed by a caller, accepted, handed over, sealed, fetched once, opened. A second
/// session that is refused meanwhile does not take the first one's order with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_keys_reaches_the_merchant_and_nobody_else() {
    let (private, file) = p256(&scratch("whole-way"), "merchant.jwk");
    let sinks = Arc::new(sinks(&[("merchant", file)]));
    let rig = Rig::with("whole-way", Outward { sinks, ..Outward::default() });
    let talker = Talker::new();
    let opened = rig.post(Role::Script, "/v1/calls", open_body(talker.port, 40_000)).await;
    let opened = opened.expect(201).json();
    talker.talk(opened["caller"]["sdp"].as_str().unwrap());
    let call = format!("/v1/calls/{}", opened["id"].as_str().unwrap());
    let session = format!("{call}/secure-session");
    let mut plan = card_plan();
    plan["sink"] = json!({ "type": "seal" });
    rig.post(Role::Script, &session, plan.clone()).await.expect(201);
    rig.key(&call, NUMBER).await;
    rig.post(Role::Script, &session, plan).await.expect(409);
    rig.key(&call, "#1230123").await;
    let mut ended = Value::Null;
    for _ in 0..300 {
        ended = rig.get(Role::Script, &session).await.expect(200).json();
        if ended["state"] == "ended" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (&ended["result"], &ended["delivery"]["key_id"]),
        (&json!("pass"), &json!("merchant"))
    );
    let engine = rig.get(Role::Engine, &session).await.json();
    assert_eq!(engine, json!({ "id": ended["id"], "state": "ended", "result": "pass" }));
    let fetched = rig.ask(Role::Payment, Method::POST, &format!("{session}/sealed"), None).await;
    let jwe = fetched.expect(200).json()["jwe"].as_str().unwrap().to_owned();
    let content = open(&jwe, &agreed(private, &parts(&jwe).0)).unwrap();
    let card = (&content["payment-card-number"], &content["security-code"]);
    assert_eq!(card, (&json!(NUMBER), &json!("123")));
    assert_eq!(content["expiration-date"], "1230");
}

#[tokio::test]
async fn data_sealed_to_an_rsa_key_is_opened_by_the_merchant() {
    let folder = scratch("rsa");
    let mut random = control_api::chance::generator().unwrap();
    let private = rsa::PrivateKey::new(&mut random, 2048).unwrap();
    let pem = private.to_public_key().to_public_key_pem(rsa::pkcs8::LineEnding::LF).unwrap();
    let file = folder.join("public.pem");
    std::fs::write(&file, pem).unwrap();
    let sealed = seal(&sinks(&[("rsa", file)]), json!({ "type": "seal" }), NUMBER).await;
    let (header, parts) = parts(&sealed.jwe);
    assert_eq!((&header["alg"], &header["kid"]), (&json!("RSA-OAEP-256"), &json!("rsa")));
    let key = private.oaep_decrypt::<Sha256>(&parts[0]).unwrap();
    assert_eq!(open(&sealed.jwe, &key), Some(content()));
}

#[tokio::test]
async fn sealed_data_tells_nothing_from_outside() {
    let (_, file) = p256(&scratch("outside"), "public.jwk");
    let sinks = sinks(&[("k", file)]);
    let sealed = seal(&sinks, json!({ "type": "seal" }), NUMBER).await;
    let amex = seal(&sinks, json!({ "type": "seal" }), "378282246310005").await;
    assert_eq!(sealed.jwe.len(), amex.jwe.len(), "a shorter number is as long");
    let (header, parts) = parts(&sealed.jwe);
    for digits in [&NUMBER[..6], &NUMBER[8..], "visa"] {
        assert!(!header.to_string().contains(digits));
        for part in &parts {
            assert!(!part.windows(digits.len()).any(|it| it == digits.as_bytes()));
        }
    }
}

/// A rig with sealed data that waits for [`CALL`].
fn rig_with_sealed(name: &str, kept: Duration) -> Rig {
    let rig = Rig::new(name);
    let text = str::to_owned;
    let sealed = Sealed { session: SessionId(7), key_id: text("k"), jwe: text("a.b.c.d.e") };
    rig.control.sinks.sealed().put(clock::monotonic(), CALL, sealed, kept).unwrap();
    rig
}

fn path() -> String {
    format!("/v1/calls/{}/secure-session/sealed", id::call(CALL))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_key_fetches_once_and_no_other_key_at_all() {
    let rig = rig_with_sealed("fetch", Duration::from_secs(60));
    for role in [Role::Operator, Role::Script, Role::Engine] {
        rig.ask(role, Method::POST, &path(), None).await.expect(403);
    }
    let key = [("idempotency-key", "the-same")];
    let first = rig.ask_with(Role::Payment, Method::POST, &path(), None, &key).await.expect(200);
    assert_eq!(first.header("cache-control"), "no-store");
    let expected =
        json!({ "session_id": id::session(SessionId(7)), "key_id": "k", "jwe": "a.b.c.d.e" });
    assert_eq!(first.json(), expected);
    let again = rig.ask_with(Role::Payment, Method::POST, &path(), None, &key).await.expect(410);
    assert_eq!(again.json()["code"], "sealed-data-fetched");
    assert_eq!(rig.control.sinks.sealed().totals(), (1, 0));

    let other = format!("/v1/calls/{}/secure-session/sealed", id::call(CallId(1)));
    let none = rig.ask(Role::Payment, Method::POST, &other, None).await.expect(404);
    assert_eq!(none.json()["code"], "sealed-data-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_waited_too_long_is_gone() {
    let rig = rig_with_sealed("expired", Duration::ZERO);
    let gone = rig.ask(Role::Payment, Method::POST, &path(), None).await.expect(410);
    assert_eq!(gone.json()["code"], "sealed-data-expired");
    assert_eq!(rig.control.sinks.sealed().totals(), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_who_fetch_at_once_one_wins() {
    const RIVALS: usize = 50;
    for round in 0..4 {
        let rig = Arc::new(rig_with_sealed(&format!("race{round}"), Duration::from_secs(60)));
        let rivals: Vec<_> = (0..RIVALS)
            .map(|_| {
                let rig = Arc::clone(&rig);
                tokio::spawn(async move {
                    rig.ask(Role::Payment, Method::POST, &path(), None).await.status.as_u16()
                })
            })
            .collect();
        let mut statuses = Vec::new();
        for rival in rivals {
            statuses.push(rival.await.unwrap());
        }
        let count = |status: u16| statuses.iter().filter(|it| **it == status).count();
        assert_eq!((count(200), count(410)), (1, RIVALS - 1));
    }
    println!("figure: of {RIVALS} who fetch sealed data at once, 1 has it, 4 times of 4");
}

#[tokio::test]
#[ignore = "needs python3-jwcrypto; tests/run peers installs it"]
async fn another_implementation_opens_what_was_sealed() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/merchant.py");
    let merchant = |arguments: &[&str], input: &str| {
        // Debian's own: that is the one its packages belong to.
        let mut child = Command::new("/usr/bin/python3")
            .arg(&script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "merchant.py {arguments:?}");
        output.stdout
    };
    for (kind, algorithm) in [("EC", "ECDH-ES"), ("RSA", "RSA-OAEP-256")] {
        let folder = scratch(&format!("jwcrypto-{kind}"));
        merchant(&["key", kind, folder.to_str().unwrap()], "");
        let sinks = sinks(&[("theirs", folder.join("public.jwk"))]);
        let sealed = seal(&sinks, json!({ "type": "seal" }), NUMBER).await;
        let opened = merchant(&["open", folder.to_str().unwrap()], &sealed.jwe);
        let opened: Value = serde_json::from_slice(&opened).unwrap();
        assert_eq!(opened["content"], content(), "{kind}");
        assert_eq!(opened["header"]["alg"], algorithm);
    }
}

#[test]
fn a_private_key_is_refused_as_a_key_to_seal_to() {
    let folder = scratch("private");
    let file = folder.join("private.jwk");
    std::fs::write(&file, r#"{"kty":"EC","crv":"P-256","x":"","y":"","d":"AAAA"}"#).unwrap();
    let text = format!("[[seal.keys]]\nid = 'k'\nfile = '{}'\n", file.display());
    let raw: RawSinks = toml::from_str(&text).unwrap();
    let error = Sinks::open(raw.resolve().unwrap(), outbound(&[])).err().unwrap().to_string();
    assert!(error.contains("private key") && error.starts_with("sinks.seal.keys"), "{error}");
}

//! Connector: deliveries to payment services of every kind, over real TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod far_side;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use control_api::clock;
use control_api::dto::id;
use control_api::dto::sink::{OutcomeView, SinkBody};
use control_api::outbound::address::Special;
use control_api::outbound::{ConnectError, Outbound};
use control_api::sinks::clear::Keyed;
use control_api::sinks::config::RawSinks;
use control_api::sinks::connector::Refused;
use control_api::sinks::{Outcome, Receipt, Sinks};
use dtmf::brand::BrandSet;
use dtmf::expiry::Date;
use dtmf::secret::SecretDigits;
use dtmf::{
    Accepted, CardMode, Collector, Delivery, Digit, FailReason, Field, FieldKind, PlanRequest,
    SecurePlan, Step,
};
use far_side::{
    Authority, Leaf, NAME, Says, Script, Server, Then, outbound, outbound_by, private, scratch,
    start_tls_1_1,
};
use locked_page::Locked;
use relay::switchboard::CallId;
use serde_json::json;

const NUMBER: &str = "4242424242424242";
const LOOPBACK: &[&str] = &["127.0.0.0/8"];

fn keyed(text: &str) -> SecretDigits {
    let mut digits = SecretDigits::new();
    for key in text.bytes() {
        digits.push(Digit::from_ascii(key).unwrap()).unwrap();
    }
    digits
}

/// Sinks with one connector `acme` at that port.
fn sinks(folder: &Path, port: u16, more: &str, outbound: Outbound) -> Sinks {
    let ca = folder.join("ca.pem");
    let text = format!(
        "[[connectors]]\nname = 'acme'\nurl = 'https://{NAME}:{port}/charge?key=s3cret'\n\
         mode = 'test'\nca_file = '{}'\n{more}",
        ca.display()
    );
    let raw: RawSinks = toml::from_str(&text).unwrap();
    Sinks::open(raw.resolve().unwrap(), outbound).unwrap_or_else(|error| panic!("{error}"))
}

async fn deliver(sinks: &Sinks, sink: serde_json::Value) -> Outcome {
    let body: SinkBody = serde_json::from_value(sink).unwrap();
    let order = sinks.prepare(CardMode::Test, Some(body)).unwrap();
    let (call, session) = (CallId(1), id::new_session());
    let packed = {
        let (number, date, code) = (keyed(NUMBER), keyed("1230"), keyed("123"));
        let entries = [
            (Step::PaymentCardNumber, &number),
            (Step::ExpirationDate, &date),
            (Step::SecurityCode, &code),
        ];
        let keyed = Keyed { entries: &entries, brand: Some("visa") };
        sinks.pack(call, session, order, keyed, clock::monotonic())
    };
    let outcome = sinks.deliver_packed(call, session, packed).await;
    assert_eq!(sinks.outcome(session).as_ref(), Some(&outcome), "it is remembered");
    outcome
}

async fn charge(sinks: &Sinks) -> Outcome {
    let sink = json!({ "type": "connector", "name": "acme", "method": "charge",
                       "amount": "10.00", "currency_code": "USD" });
    deliver(sinks, sink).await
}

/// A server with a certificate of an authority that is trusted, and sinks that lead to it.
async fn good(name: &str, scripts: Vec<Script>) -> (Server, Sinks) {
    let folder = scratch(name);
    let authority = Authority::new("Test authority");
    authority.file(&folder);
    let tls = authority.leaf(NAME, 2090).server(None);
    let server = Server::start("127.0.0.1", Some(tls), scripts).await;
    let sinks = sinks(&folder, server.address.port(), "", outbound(LOOPBACK));
    (server, sinks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_is_posted_and_its_id_kept() {
    let (server, sinks) = good("charge", vec![Script::json(200, r#"{"charge_id":"ch_7"}"#)]).await;
    let outcome = charge(&sinks).await;
    assert!(matches!(&outcome, Outcome::Delivered(Receipt::Charged(id)) if id.as_str() == "ch_7"));
    let seen = server.seen();
    assert!(seen[0].head.starts_with("POST /charge?key=s3cret HTTP/1.1\r\n"), "{}", seen[0].head);
    assert!(seen[0].header("idempotency-key").unwrap().starts_with("sec_"));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].header("host"), Some(&*format!("{NAME}:{}", server.address.port())));
    let body: serde_json::Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(body["transaction_id"], seen[0].header("idempotency-key").unwrap());
    assert_eq!((&body["cardnumber"], &body["cvv"]), (&json!(NUMBER), &json!("123")));
    assert_eq!((&body["expiry_month"], &body["expiry_year"]), (&json!("12"), &json!("30")));
    assert_eq!((&body["amount"], &body["currency_code"]), (&json!("10.00"), &json!("usd")));
    assert_eq!(sinks.counts()[1], ("charged", 1));
    let view = serde_json::to_value(OutcomeView::of(&outcome)).unwrap();
    assert_eq!(view, json!({ "type": "connector", "charge_id": "ch_7" }));
}

/// What a collector accepts when a card number and a date are keyed.
fn accepted() -> Locked<Accepted> {
    let fields = [
        Field::new(FieldKind::CardNumber { allowed: BrandSet::COMMON }),
        Field::new(FieldKind::ExpirationDate),
    ];
    let today = Date::new(2026, 8, 15).unwrap();
    let request = PlanRequest::new(&fields, today, CardMode::Test);
    let request = PlanRequest { delivery: Delivery::Sink, ..request };
    let mut collector =
        Collector::locked(SecurePlan::new(request).unwrap(), clock::monotonic()).unwrap();
    for key in NUMBER.bytes().chain(*b"#1230#") {
        collector.handle_key(clock::monotonic(), Digit::from_ascii(key).unwrap());
    }
    collector.take_accepted().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_hands_over_is_delivered() {
    let scripts = vec![
        Script::json(200, r#"{"token_id":"tok_7"}"#),
        Script::json(402, r#"{"error_code":"x"}"#),
    ];
    let (server, sinks) = good("accepted", scripts).await;
    let sinks = Arc::new(sinks);
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let sink = json!({ "type": "connector", "name": "acme" });
        let body: SinkBody = serde_json::from_value(sink).unwrap();
        let order = sinks.prepare(CardMode::Test, Some(body)).unwrap();
        let (sinks, session) = (Arc::clone(&sinks), id::new_session());
        // As a task of its own, the way it runs beside a session.
        let delivery = tokio::spawn(async move {
            sinks.deliver(CallId(1), session, order, accepted(), clock::monotonic()).await
        });
        outcomes.push(delivery.await.unwrap());
    }
    assert!(matches!(&outcomes[0], Ok(Receipt::Tokenized(id)) if id.as_str() == "tok_7"));
    assert_eq!(outcomes[1], Err(FailReason::PaymentConnectorError));
    let body: serde_json::Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    assert_eq!((&body["cardnumber"], &body["card_type"]), (&json!(NUMBER), &json!("visa")));
    assert_eq!((&body["expiry_month"], &body["expiry_year"]), (&json!("12"), &json!("30")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_gives_its_code_and_nothing_else() {
    let refusal = format!(r#"{{"error_code":"card_declined","error_message":"no {NUMBER}"}}"#);
    let (_server, sinks) = good("refusal", vec![Script::json(402, &refusal)]).await;
    let outcome = charge(&sinks).await;
    let view = serde_json::to_value(OutcomeView::of(&outcome)).unwrap();
    let expected = json!({ "type": "connector", "failure": "declined",
                           "error_code": "card_declined" });
    assert_eq!(view, expected);
    assert!(!format!("{outcome:?}").contains(NUMBER));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_sent_back_as_token_is_refused() {
    for token in [NUMBER.to_owned(), "tok-4242-4242-4242-4242".to_owned()] {
        let answer = format!(r#"{{"token_id":"{token}"}}"#);
        let (_server, sinks) = good("echo", vec![Script::json(200, &answer)]).await;
        let outcome = deliver(&sinks, json!({ "type": "connector", "name": "acme" })).await;
        assert_eq!(outcome, Outcome::Refused(Refused::RepeatsKeys), "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_answers_are_no_answers() {
    let redirect = "HTTP/1.1 302 Found\r\nlocation: https://pay.test/other\r\n\
                    content-length: 0\r\n\r\n";
    let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{}", "x".repeat(200_000));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
        format!("4000\r\n{}\r\n", "x".repeat(0x4000)).repeat(10)
    );
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let cases = [
        (Script::raw(redirect, Then::Close), "answer-not-understood"),
        (Script::json(200, "<html>"), "answer-not-understood"),
        (Script::json(500, r#"{"charge_id":"ch_7"}"#), "answer-not-understood"),
        (Script::raw(&huge, Then::Close), "answer-too-long"),
        (Script::raw(&chunked, Then::Close), "answer-too-long"),
        (Script::raw(&head, Then::Close), "interrupted"),
        (
            Script::raw("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"ch", Then::Reset),
            "interrupted",
        ),
        (Script::raw("", Then::Reset), "interrupted"),
        (Script::raw("SSH-2.0-x\r\n", Then::Close), "interrupted"),
    ];
    for (script, reason) in cases {
        let what = String::from_utf8_lossy(&script.write).chars().take(60).collect::<String>();
        let (server, sinks) = good("bad", vec![script]).await;
        let outcome = charge(&sinks).await;
        let Outcome::Refused(refused) = &outcome else { panic!("{what}: {outcome:?}") };
        assert_eq!(refused.as_str(), reason, "{what}");
        assert_eq!(server.connections(), 1, "sent once, followed nowhere: {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_connector_times_out() {
    let folder = scratch("slow");
    let authority = Authority::new("Test authority");
    authority.file(&folder);
    let tls = authority.leaf(NAME, 2090).server(None);
    let script = Script::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", Then::Hang);
    let server = Server::start("127.0.0.1", Some(tls), vec![script]).await;
    let port = server.address.port();
    let sinks = sinks(&folder, port, "timeout_ms = 1000", outbound(LOOPBACK));
    let begun: Instant = clock::monotonic();
    assert_eq!(charge(&sinks).await, Outcome::Refused(Refused::TimedOut));
    let took = clock::monotonic() - begun;
    assert!(took.as_millis() < 3000, "{took:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_server_of_the_right_name_is_sent_anything() {
    let folder = scratch("trust");
    let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
    ours.file(&folder);
    let cases = [
        ("expired", ours.leaf(NAME, 2021)),
        ("wrong name", ours.leaf("other.test", 2090)),
        ("unknown authority", theirs.leaf(NAME, 2090)),
        ("self-signed", Leaf::self_signed(NAME)),
    ];
    let answer = Script::json(200, r#"{"charge_id":"ch_7"}"#);
    for (what, leaf) in cases {
        let server =
            Server::start("127.0.0.1", Some(leaf.server(None)), vec![answer.clone()]).await;
        let sinks = sinks(&folder, server.address.port(), "", outbound(LOOPBACK));
        let untrusted = Outcome::Refused(Refused::NotConnected(ConnectError::Untrusted));
        assert_eq!(charge(&sinks).await, untrusted, "{what}");
        assert!(server.seen().is_empty(), "{what}");
        assert_eq!(server.connections(), 1, "no second try: {what}");
    }
    let old = sinks(&folder, start_tls_1_1().await.port(), "", outbound(LOOPBACK));
    let untrusted = Outcome::Refused(Refused::NotConnected(ConnectError::Untrusted));
    assert_eq!(charge(&old).await, untrusted, "TLS 1.1");
    let control = ours.leaf(NAME, 2090).server(None);
    let server = Server::start("127.0.0.1", Some(control), vec![answer]).await;
    let sinks = sinks(&folder, server.address.port(), "", outbound(LOOPBACK));
    assert!(matches!(charge(&sinks).await, Outcome::Delivered(_)), "the control");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_was_sent_so_it_is_tried_once_more() {
    let folder = scratch("retry");
    Authority::new("Ours").file(&folder);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let dropped = std::thread::spawn(move || {
        // Two connections come and break off before TLS; a third would be one too many.
        let mut count = 0;
        listener.set_nonblocking(true).unwrap();
        for _ in 0..150 {
            count += usize::from(listener.accept().is_ok());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        count
    });
    let resolver = Says::new(&[&["127.0.0.1"]]);
    let sinks = sinks(&folder, port, "", outbound_by(LOOPBACK, Arc::clone(&resolver)));
    let outcome = charge(&sinks).await;
    let interrupted = Outcome::Refused(Refused::NotConnected(ConnectError::Interrupted));
    assert_eq!(outcome, interrupted);
    assert_eq!((dropped.join().unwrap(), resolver.asked.load(Ordering::SeqCst)), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_may_ask_who_we_are() {
    let folder = scratch("who");
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    servers.file(&folder);
    let tls = servers.leaf(NAME, 2090).server(Some(&clients));
    let answer = Script::json(200, r#"{"charge_id":"ch_7"}"#);
    let server = Server::start("127.0.0.1", Some(tls), vec![answer]).await;
    let port = server.address.port();

    let nobody = sinks(&folder, port, "", outbound(LOOPBACK));
    assert!(matches!(charge(&nobody).await, Outcome::Refused(_)));
    assert!(server.seen().is_empty());

    let us = clients.leaf("sotto.test", 2090);
    let chain: PathBuf = private(&folder.join("us.pem"), &us.pem);
    let key = private(&folder.join("us.key"), &us.key.serialize_pem());
    let password = private(&folder.join("password"), "pass word\n");
    let more = format!(
        "client_cert = '{}'\nclient_key = '{}'\nbasic_user = 'us'\npassword_file = '{}'",
        chain.display(),
        key.display(),
        password.display()
    );
    let us = sinks(&folder, port, &more, outbound(LOOPBACK));
    assert!(matches!(charge(&us).await, Outcome::Delivered(_)));
    // base64("us:pass word")
    assert_eq!(server.seen()[0].header("authorization"), Some("Basic dXM6cGFzcyB3b3Jk"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_is_sent_nothing() {
    let folder = scratch("ssrf");
    let authority = Authority::new("Ours");
    authority.file(&folder);
    let tls = authority.leaf(NAME, 2090).server(None);
    let answer = Script::json(200, r#"{"charge_id":"ch_7"}"#);
    let server = Server::start("127.0.0.1", Some(tls), vec![answer]).await;
    let port = server.address.port();
    let cases: [(&[&str], Special); 9] = [
        (&["127.0.0.1"], Special::Loopback),
        (&["::1"], Special::Loopback),
        (&["::ffff:127.0.0.1"], Special::Loopback),
        (&["64:ff9b::7f00:1"], Special::Loopback),
        (&["2002:7f00:1::"], Special::Loopback),
        (&["169.254.169.254"], Special::LinkLocal),
        (&["10.0.0.1"], Special::Private),
        // One that may not be among those that may.
        (&["8.8.8.8", "127.0.0.1"], Special::Loopback),
        (&["0.0.0.0"], Special::Unspecified),
    ];
    for (answers, special) in cases {
        let sinks = sinks(&folder, port, "", outbound_by(&[], Says::new(&[answers])));
        let forbidden = Refused::NotConnected(ConnectError::Forbidden(special));
        assert_eq!(charge(&sinks).await, Outcome::Refused(forbidden), "{answers:?}");
    }
    assert_eq!(server.connections(), 0);
    let opened = sinks(&folder, port, "", outbound(&["127.0.0.1/32"]));
    assert!(matches!(charge(&opened).await, Outcome::Delivered(_)), "the control");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_changes_its_mind_is_asked_once() {
    let folder = scratch("rebind");
    let authority = Authority::new("Ours");
    authority.file(&folder);
    let tls = authority.leaf(NAME, 2090).server(None);
    let answer = Script::json(200, r#"{"charge_id":"ch_7"}"#);
    let server = Server::start("127.0.0.1", Some(tls), vec![answer]).await;
    let resolver = Says::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let outbound = outbound_by(&["127.0.0.1/32"], Arc::clone(&resolver));
    let sinks = sinks(&folder, server.address.port(), "", outbound);
    assert!(matches!(charge(&sinks).await, Outcome::Delivered(_)));
    assert_eq!(
        resolver.asked.load(Ordering::SeqCst),
        1,
        "connected to the address that was checked"
    );
}

#[test]
fn mistakes_in_a_sink_are_pointed_at() {
    let folder = scratch("pointers");
    Authority::new("Ours").file(&folder);
    let sinks = sinks(&folder, 9, "", outbound(&[]));
    let charge = |more: serde_json::Value| {
        let mut sink = json!({ "type": "connector", "name": "acme", "method": "charge",
                               "amount": "10.00", "currency_code": "usd" });
        sink.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sink
    };
    let many: serde_json::Map<_, _> = (0..17).map(|n| (n.to_string(), json!("x"))).collect();
    let cases = [
        (json!({ "type": "discard", "name": "acme" }), "/sink/name"),
        (json!({ "type": "seal" }), "/sink/type"),
        (json!({ "type": "seal", "key_id": "x" }), "/sink/key_id"),
        (json!({ "type": "seal", "expires_s": 29 }), "/sink/expires_s"),
        (json!({ "type": "seal", "amount": "1" }), "/sink/amount"),
        (json!({ "type": "connector" }), "/sink/name"),
        (json!({ "type": "connector", "name": "other" }), "/sink/name"),
        (json!({ "type": "connector", "name": "acme", "method": "charge" }), "/sink/amount"),
        (json!({ "type": "connector", "name": "acme", "amount": "1" }), "/sink/currency_code"),
        (charge(json!({ "amount": "ten" })), "/sink/amount"),
        (charge(json!({ "amount": "1." })), "/sink/amount"),
        (charge(json!({ "amount": "-1" })), "/sink/amount"),
        (charge(json!({ "currency_code": "dollars" })), "/sink/currency_code"),
        (charge(json!({ "description": "x".repeat(201) })), "/sink/description"),
        (charge(json!({ "parameters": many })), "/sink/parameters"),
        (charge(json!({ "parameters": { "x": "y".repeat(65) } })), "/sink/parameters"),
    ];
    for (sink, pointer) in cases {
        let body: SinkBody = serde_json::from_value(sink.clone()).unwrap();
        let problem = sinks.prepare(CardMode::Test, Some(body)).err();
        let problem = problem.unwrap_or_else(|| panic!("{sink} was taken"));
        let body = serde_json::to_value(problem.body("req")).unwrap();
        assert_eq!(
            (&body["errors"][0]["pointer"], &body["status"]),
            (&json!(pointer), &json!(422))
        );
    }
    let body: SinkBody = serde_json::from_value(charge(json!({}))).unwrap();
    assert!(sinks.prepare(CardMode::Live, Some(body)).is_err(), "a test connector, a live plan");
    assert!(sinks.prepare(CardMode::Live, None).is_ok_and(|order| !order.delivers()));
}

#[test]
fn the_longest_request_fits_its_page() {
    let folder = scratch("longest");
    Authority::new("Ours").file(&folder);
    let sinks = sinks(&folder, 9, "", outbound(&[]));
    let parameters: serde_json::Map<_, _> = (0..16)
        .map(|number| (format!("{number:02}{}", "\"".repeat(62)), json!("\\".repeat(64))))
        .collect();
    let sink = json!({ "type": "connector", "name": "acme", "parameters": parameters,
                       "description": "\u{1}".repeat(200) });
    let body: SinkBody = serde_json::from_value(sink).unwrap();
    let order = sinks.prepare(CardMode::Test, Some(body)).unwrap();
    let longest = keyed(&"9".repeat(33));
    let entries = [(Step::PaymentCardNumber, &longest); 8];
    let keyed = Keyed { entries: &entries, brand: Some("diners-club") };
    let packed = sinks.pack(CallId(1), id::new_session(), order, keyed, clock::monotonic());
    assert!(packed.waits_to_be_posted(), "it was packed");
}

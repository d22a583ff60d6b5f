//! Calls by REST: open, list, read, change, end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use axum::http::Method;
use control_api::keys::Role;
use rig::{Rig, Talker, answer_port, offer, open_body};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_a_loopback_relay_cannot_reach_are_refused() {
    let rig = Rig::new("reach");
    let mut body = rig::open_body(9, 40_000);
    body["engine"]["address"] = "192.0.2.7:40000".into();
    let mut other = rig::open_body(9, 40_000);
    other["caller"]["sdp"] = rig::offer(9).replace("127.0.0.1", "192.0.2.7").into();
    for (body, pointer) in [(body, "/engine/address"), (other, "/caller/sdp")] {
        let answer = rig.post(Role::Script, "/v1/calls", body).await.expect(422);
        let fault = &answer.json()["errors"][0];
        assert_eq!(fault["pointer"], pointer);
        let detail = fault["detail"].as_str().unwrap();
        assert!(detail.contains("--media-ip") && !detail.contains("192.0.2.7"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_opened_read_and_ended() {
    let rig = Rig::new("open");
    let answer = rig.post(Role::Script, "/v1/calls", open_body(9, 40_000)).await.expect(201);
    let body = answer.json();
    let id = body["id"].as_str().unwrap();
    let call = answer.header("location").to_owned();
    assert_eq!(call, format!("/v1/calls/{id}"));
    assert_eq!(body["state"], "open");
    let caller_port = answer_port(body["caller"]["sdp"].as_str().unwrap());
    let engine: std::net::SocketAddr = body["engine"]["address"].as_str().unwrap().parse().unwrap();
    let rtcp: std::net::SocketAddr =
        body["engine"]["rtcp_address"].as_str().unwrap().parse().unwrap();
    let even = caller_port.is_multiple_of(2) && engine.port().is_multiple_of(2);
    assert!(even && rtcp.port() == engine.port() + 1, "{body}");
    assert_ne!(caller_port, engine.port());

    let view = rig.get(Role::Operator, &call).await.expect(200).json();
    assert_eq!((&view["id"], &view["state"]), (&body["id"], &json!("open")));
    assert_eq!(view["created_at"], body["created_at"]);
    assert_eq!((&view["secure_session"], &view["recording"]), (&Value::Null, &json!(true)));
    assert_eq!(view["legs"]["caller"]["packets_received"], 0);

    rig.delete(Role::Script, &call).await.expect(204);
    rig.delete(Role::Script, &call).await.expect(204);
    for _ in 0..100 {
        if rig.get(Role::Operator, &call).await.expect(200).json()["state"] == "closed" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the call is not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telephone_with_dtls_is_answered_and_greeted_where_it_waits() {
    let rig = Rig::new("dtls");
    let telephone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    telephone.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let print = ["01"; 32].join(":");
    for (theirs, ours) in [("actpass", "passive"), ("active", "passive"), ("passive", "active")] {
        let plain = offer(telephone.local_addr().unwrap().port());
        let sdp = plain.replace("RTP/AVP", "UDP/TLS/RTP/SAVP");
        let dtls = format!("a=setup:{theirs}\r\na=fingerprint:sha-256 {print}\r\n");
        let mut body = open_body(9, 40_000);
        body["caller"] = json!({ "sdp": sdp + &dtls, "nat": true });
        let answer = rig.post(Role::Script, "/v1/calls", body).await.expect(201);
        let text = answer.json()["caller"]["sdp"].as_str().unwrap().to_owned();
        assert!(text.contains("a=fingerprint:sha-256 ") && !text.contains("a=ice"), "{text}");
        assert!(text.contains(&format!("a=setup:{ours}\r\n")), "{text}");
        let call = answer.header("location").to_owned();
        let view = rig.get(Role::Operator, &call).await.expect(200).json();
        assert_eq!(view["legs"]["caller"]["transport"], "srtp");
        // A handshake is a record of kind 22.
        let mut greeting = [0; 2048];
        let heard = telephone.recv(&mut greeting).ok().map(|_| greeting[0]);
        assert_eq!(heard, (ours == "active").then_some(22), "{theirs}");
        rig.delete(Role::Script, &call).await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_sends_is_counted() {
    let rig = Rig::new("counted");
    let talker = Talker::new();
    let body = rig.post(Role::Script, "/v1/calls", open_body(talker.port, 40_002)).await;
    let body = body.expect(201).json();
    talker.talk(body["caller"]["sdp"].as_str().unwrap());
    let call = format!("/v1/calls/{}", body["id"].as_str().unwrap());
    tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
    let leg = &rig.get(Role::Operator, &call).await.json()["legs"]["caller"];
    let received = leg["packets_received"].as_u64().unwrap();
    assert!((20..=60).contains(&received), "{leg}");
    assert!(leg["mos"].as_f64().unwrap() > 3.0, "{leg}");
    // Scripts are told in steps of a hundred.
    let leg = &rig.get(Role::Script, &call).await.json()["legs"]["caller"];
    assert_eq!(leg["packets_received"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_listed_in_pages_newest_first() {
    let rig = Rig::new("pages");
    let mut opened = Vec::new();
    for _ in 0..5 {
        opened.push(rig.open().await);
    }
    opened.reverse();
    let mut listed = Vec::new();
    let mut path = "/v1/calls?limit=2".to_owned();
    loop {
        let page = rig.get(Role::Script, &path).await.expect(200).json();
        let ids = page["data"].as_array().unwrap();
        assert!(ids.len() <= 2);
        listed.extend(ids.iter().map(|it| format!("/v1/calls/{}", it["id"].as_str().unwrap())));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/calls?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(listed, opened);
    for bad in ["limit=0", "limit=201", "limit=x", "cursor=x", "other=1"] {
        rig.get(Role::Script, &format!("/v1/calls?{bad}")).await.expect(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reoffer_keeps_the_port_and_can_hold_the_call() {
    let rig = Rig::new("reoffer");
    let answer = rig.post(Role::Script, "/v1/calls", open_body(9, 40_004)).await.expect(201);
    let first = answer.json()["caller"]["sdp"].as_str().unwrap().to_owned();
    let path = format!("{}/caller/offer", answer.header("location"));
    let hold = offer(9).replace("a=ptime", "a=sendonly\r\na=ptime");
    let second = rig.post(Role::Script, &path, json!({ "sdp": hold })).await.expect(200).json();
    let second = second["sdp"].as_str().unwrap();
    assert_eq!(answer_port(&first), answer_port(second));
    assert!(first.contains("a=sendrecv") && second.contains("a=recvonly"), "{second}");
    let origin = |sdp: &str| sdp.lines().find(|it| it.starts_with("o=")).unwrap().to_owned();
    let words = |sdp: &str| origin(sdp).split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&first)[1], words(second)[1]);
    assert_ne!(words(&first)[2], words(second)[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_srtp_caller_gets_a_key_of_its_own_each_time() {
    let rig = Rig::new("srtp");
    let key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    let secure = offer(9).replace("RTP/AVP", "RTP/SAVP")
        + &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n");
    let mut body = open_body(9, 40_006);
    body["caller"]["sdp"] = json!(secure);
    let answer = rig.post(Role::Script, "/v1/calls", body).await.expect(201);
    let first = answer.json()["caller"]["sdp"].as_str().unwrap().to_owned();
    let path = format!("{}/caller/offer", answer.header("location"));
    let again = rig.post(Role::Script, &path, json!({ "sdp": secure })).await.expect(200).json();
    let line = |sdp: &str| sdp.lines().find(|it| it.starts_with("a=crypto:")).unwrap().to_owned();
    let (first, second) = (line(&first), line(again["sdp"].as_str().unwrap()));
    assert!(first != second && !first.contains(key) && !second.contains(key));

    let ours = second.rsplit("inline:").next().unwrap();
    let echo = secure.replace(key, ours);
    let refused = rig.post(Role::Script, &path, json!({ "sdp": echo })).await.expect(422);
    assert_eq!(refused.json()["code"], "sdp-not-acceptable");
    assert!(!String::from_utf8_lossy(&refused.body).contains(ours));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_can_move_and_speak_srtp() {
    let rig = Rig::new("engine");
    let call = rig.open().await;
    let key = |fill: u8| {
        use base64::Engine;
        base64::prelude::BASE64_STANDARD.encode([fill; 28])
    };
    let engine = |send: u8, receive: u8| {
        json!({
            "type": "rtp", "address": "127.0.0.1:40008", "codec": "PCMA", "ptime_ms": 30,
            "srtp": {
                "suite": "AEAD_AES_128_GCM", "send_key": key(send), "receive_key": key(receive),
            },
        })
    };
    let path = format!("{call}/engine");
    let put = |body| rig.ask(Role::Script, Method::PUT, &path, Some(body));
    let moved = put(engine(1, 2)).await.expect(200).json();
    assert!(moved["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    let refused = put(engine(1, 1)).await.expect(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/srtp/receive_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_armed_and_disarmed() {
    let rig = Rig::new("arm");
    let call = rig.open().await;
    let arm = format!("{call}/arm");
    rig.ask(Role::Script, Method::PUT, &arm, None).await.expect(204);
    assert_eq!(rig.get(Role::Script, &call).await.json()["state"], "armed");
    rig.delete(Role::Script, &arm).await.expect(204);
    assert_eq!(rig.get(Role::Script, &call).await.json()["state"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_run_out_with_a_clear_answer() {
    let rig = Rig::new("full");
    // Each call takes four.
    for _ in 0..rig::PORTS_EACH / 4 {
        rig.open().await;
    }
    let refused = rig.post(Role::Script, "/v1/calls", open_body(9, 40_010)).await.expect(503);
    assert_eq!(refused.json()["code"], "no-capacity");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(refused.header("content-type"), "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_exported_as_wav() {
    let rig = Rig::new("wav");
    let talker = Talker::new();
    let opened = rig.post(Role::Script, "/v1/calls", open_body(talker.port, 40_012)).await;
    let body = opened.expect(201).json();
    talker.talk(body["caller"]["sdp"].as_str().unwrap());
    let call = format!("/v1/calls/{}", body["id"].as_str().unwrap());
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    rig.delete(Role::Script, &call).await.expect(204);
    let wav = rig.get(Role::Operator, &format!("{call}/recording")).await.expect(200);
    assert_eq!(wav.header("content-type"), "audio/wav");
    assert_eq!((&wav.body[..4], &wav.body[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    // 8000 samples a second, two channels of two octets.
    let seconds = (wav.body.len() - 44) as f64 / 32_000.0;
    assert!((1.2..2.5).contains(&seconds), "{seconds}");

    let mut unrecorded = open_body(9, 40_014);
    unrecorded["record"] = json!(false);
    let call = rig.post(Role::Script, "/v1/calls", unrecorded).await.expect(201);
    let path = format!("{}/recording", call.header("location"));
    let none = rig.get(Role::Operator, &path).await.expect(404).json();
    assert_eq!(none["code"], "recording-not-found");
}

/// What is refused leaves no half-made call behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_ahead_that_is_too_long_opens_nothing() {
    let rig = Rig::new("look-ahead");
    let mut body = open_body(9, 40_000);
    body["armed"] = json!(true);
    for (look_ahead, status) in [(201, 422), (200, 201)] {
        body["look_ahead_ms"] = json!(look_ahead);
        rig.post(Role::Script, "/v1/calls", body.clone()).await.expect(status);
        let known = rig.control.calls.live().len();
        assert_eq!(known, usize::from(status == 201), "{look_ahead}");
    }
}

//! Browsers' calls by REST: the shape of RFC 9725.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use axum::body::Body;
use axum::http::{Method, Request};
use control_api::keys::Role;
use rig::{Answer, Rig, offer};

const BROWSER: &str = include_str!("../../relay/tests/sdp/browser.sdp");
const PLACE: &str = "/v1/whip?engine=127.0.0.1:40000";
const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

async fn send(rig: &Rig, method: Method, path: &str, kind: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {}", rig.token(Role::Script)))
        .header("origin", "https://pages.example")
        .header("content-type", kind)
        .body(Body::from(body.to_owned()));
    rig.send(request.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_placed_trickled_to_and_ended() {
    let rig = Rig::new("whip");
    let answer = send(&rig, Method::POST, PLACE, SDP, BROWSER).await.expect(201);
    let call = answer.header("location").to_owned();
    assert_eq!(answer.header("content-type"), SDP);
    let session = answer.header("etag").trim_matches('"').to_owned();
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert!(text.contains(&format!("a=ice-ufrag:{session}\r\n")), "{text}");
    assert!(text.contains("a=ice-lite\r\n") && text.contains("UDP/TLS/RTP/SAVPF 111 110\r\n"));
    let fingerprint = rig.control.identity.as_ref().unwrap().fingerprint().0;
    let octets: Vec<String> = fingerprint.iter().map(|octet| format!("{octet:02X}")).collect();
    assert!(text.contains(&octets.join(":")));

    // Where it is in the list of calls is where it is here.
    let listed = rig.get(Role::Operator, "/v1/calls").await.expect(200).json();
    let id = listed["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(call, format!("/v1/whip/{id}"));

    let candidate = "a=ice-ufrag:Qz1k\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
    send(&rig, Method::PATCH, &call, FRAGMENT, candidate).await.expect(204);
    send(&rig, Method::PATCH, &call, FRAGMENT, "a=end-of-candidates\r\n").await.expect(204);
    send(&rig, Method::PATCH, &call, FRAGMENT, "a=ice-ufrag:anew\r\n").await.expect(422);
    send(&rig, Method::PATCH, &call, SDP, candidate).await.expect(415);
    send(&rig, Method::DELETE, &call, SDP, "").await.expect(204);
    send(&rig, Method::DELETE, &call, SDP, "").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_placed_to_the_relays_own_echo() {
    let rig = Rig::new("whip-echo");
    // By its name, and by that of a profile that says so.
    for engine in ["engine=echo", "profile=parrot"] {
        let place = format!("/v1/whip?{engine}&record=false&external_id={engine}");
        let answer = send(&rig, Method::POST, &place, SDP, BROWSER).await.expect(201);
        let live = rig.control.calls.live();
        let mut called = live.iter().filter_map(|it| Some((it, it.external_id.as_ref()?)));
        let (entry, _) = called.find(|(_, name)| name.as_str() == engine).unwrap();
        assert!(entry.hearing().is_some_and(|hearing| !hearing.is_over()));
        let call = format!("/v1/calls/ext:{}", engine.replace('=', "%3D"));
        let view = rig.get(Role::Script, &call).await.expect(200).json();
        assert!(answer.header("location").ends_with(view["id"].as_str().unwrap()));
        send(&rig, Method::DELETE, &call.replace("calls", "whip"), SDP, "").await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_browsers_call_is_told_so_and_leaves_nothing() {
    let rig = Rig::new("whip-no");
    let place = |path: &'static str, kind: &'static str, body: String| {
        let rig = &rig;
        async move { send(rig, Method::POST, path, kind, &body).await }
    };
    place(PLACE, "application/json", BROWSER.to_owned()).await.expect(415);
    place(PLACE, SDP, "v=1".to_owned()).await.expect(400);
    place("/v1/whip", SDP, BROWSER.to_owned()).await.expect(400);
    place("/v1/whip?engine=nowhere", SDP, BROWSER.to_owned()).await.expect(400);
    place("/v1/whip?engine=Echo", SDP, BROWSER.to_owned()).await.expect(400);
    place(PLACE, SDP, offer(9)).await.expect(422);
    place(PLACE, SDP, BROWSER.replace("sha-256", "sha-1")).await.expect(422);
    let listed = rig.get(Role::Operator, "/v1/calls").await.expect(200).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 0, "{listed}");
    // A telephone's call is none of theirs either.
    let call = rig.open().await.replace("/calls/", "/whip/");
    let patched = send(&rig, Method::PATCH, &call, FRAGMENT, "a=end-of-candidates\r\n").await;
    patched.expect(422);
    send(&rig, Method::DELETE, &call, SDP, "").await.expect(422);
    let telephone = call.replace("/whip/", "/calls/");
    assert_eq!(rig.get(Role::Operator, &telephone).await.expect(200).json()["state"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_are_told_what_they_may_do() {
    let rig = Rig::new("whip-cors");
    for (path, method) in [("/v1/whip", "POST"), ("/v1/whip/call_x", "DELETE")] {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri(path)
            .header("origin", "https://pages.example")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization,content-type");
        let answer = rig.send(request.body(Body::empty()).unwrap()).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let allowed = answer.header("access-control-allow-headers").to_lowercase();
        assert!(allowed.contains("authorization") && allowed.contains("content-type"), "{allowed}");
        assert!(answer.header("access-control-allow-methods").contains(method));
    }
    let answer = send(&rig, Method::POST, PLACE, SDP, BROWSER).await.expect(201);
    let exposed = answer.header("access-control-expose-headers").to_lowercase();
    assert!(exposed.contains("location") && exposed.contains("etag"), "{exposed}");
    // Without a key there is no call, and the page is told even that.
    let request = Request::builder().method(Method::POST).uri(PLACE);
    let request = request.header("origin", "https://pages.example").body(Body::empty()).unwrap();
    let answer = rig.send(request).await.expect(401);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    // The rest of the API is for no page of another site.
    let answer = rig
        .ask_with(
            Role::Operator,
            Method::GET,
            "/v1/calls",
            None,
            &[("origin", "https://pages.example")],
        )
        .await
        .expect(200);
    assert!(answer.headers.get("access-control-allow-origin").is_none());
}

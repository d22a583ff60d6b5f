//! Engines by TLS: whose certificate is trusted, and what the relay proves itself by.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod far_side;
mod rig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use control_api::Outward;
use control_api::engines::RawEngine;
use control_api::keys::Role;
use control_api::linked::Outgoing;
use far_side::{Authority, Leaf, NAME, outbound, private, scratch};
use futures_util::StreamExt;
use rig::{Rig, offer};
use rustls::ServerConfig;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// The token that signs, and what it signs a URL with is computed apart (`twilio.rs`).
const TOKEN: &str = "12345";

/// An engine that takes one call after the other; the signatures that came with them.
async fn engine(tls: Arc<ServerConfig>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, signatures) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
    let seen = Arc::clone(&signatures);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (TlsAcceptor::from(Arc::clone(&tls)), Arc::clone(&seen));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                #[expect(clippy::result_large_err, reason = "the library's own type")]
                let look = |request: &Request, response: Response| {
                    let signature = request.headers().get("x-twilio-signature").unwrap();
                    seen.lock().unwrap().push(signature.to_str().unwrap().to_owned());
                    Ok::<_, ErrorResponse>(response)
                };
                let mut socket = tokio_tungstenite::accept_hdr_async(stream, look).await.unwrap();
                while socket.next().await.is_some() {}
            });
        }
    });
    (address, signatures)
}

fn profile(folder: &Path, url: &str, authorities: &Path) -> RawEngine {
    let token = private(&folder.join("token"), TOKEN);
    let text = format!(
        "type = 'websocket'\ndialect = 'twilio'\nurl = '{url}'\nsecret_file = '{}'\n\
         authorities = '{}'",
        token.display(),
        authorities.display()
    );
    toml::from_str(&text).unwrap()
}

/// What a call to an engine with this certificate comes to, and the signatures that it was shown.
async fn call(name: &str, leaf: &Leaf, trusted: &Authority) -> (u16, Vec<(String, String)>) {
    let folder = scratch(&format!("linked-tls-{name}"));
    let (address, signatures) = engine(leaf.server(None)).await;
    let url = format!("wss://{NAME}:{}/media?tenant=1", address.port());
    let engines =
        BTreeMap::from([("agent".to_owned(), profile(&folder, &url, &trusted.file(&folder)))]);
    let linked = Outgoing::new(outbound(&["127.0.0.0/8"]));
    let outward = Outward { linked, ..Outward::default() };
    let rig = Rig::with_engines(&format!("linked-tls-{name}"), outward, engines);
    let body = json!({ "caller": { "sdp": offer(9) }, "engine": { "profile": "agent" } });
    let answer = rig.post(Role::Script, "/v1/calls", body).await;
    if answer.status == 201 {
        rig.delete(Role::Script, answer.header("location")).await.expect(204);
    }
    let signed = signatures.lock().unwrap().iter().map(|it| (url.clone(), it.clone())).collect();
    (answer.status.as_u16(), signed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_engine_is_spoken_to_and_sees_who_dials() {
    let ours = Authority::new("ours");
    let (status, signed) = call("good", &ours.leaf(NAME, 2099), &ours).await;
    assert_eq!((status, signed.len()), (201, 1));
    let (url, signature) = &signed[0];
    let expected = dialects::twilio::signature(&dialects::Secret::new(TOKEN.as_bytes()), url);
    assert_eq!(*signature, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_not_trusted_is_told_nothing() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let cases = [
        ("other-name", ours.leaf("other.test", 2099)),
        ("expired", ours.leaf(NAME, 2021)),
        ("stranger", theirs.leaf(NAME, 2099)),
        ("self-signed", Leaf::self_signed(NAME)),
    ];
    for (name, leaf) in cases {
        assert_eq!(call(name, &leaf, &ours).await, (502, Vec::new()), "{name}");
    }
}

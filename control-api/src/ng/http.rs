//! HTTP: a message in the body of `POST /ng`, with an API key, on the listener of the API.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ng_protocol::MAX_MESSAGE;
use zeroize::Zeroize;

use super::{Peer, handle};
use crate::Control;
use crate::auth::{ControlNg, Permit};
use crate::dto::json::BODY_TIMEOUT;
use crate::problem::{Code, Problem};

/// Where it is.
pub const PATH: &str = "/ng";

/// Requests worked on at a time, those included whose connection is gone: as many as by UDP.
pub(super) const MAX_IN_FLIGHT: usize = 512;

/// Does what the body asks for. A key takes the place of an address: each request may come from
/// another port, and by a proxy.
pub(crate) async fn serve(
    State(control): State<Arc<Control>>,
    permit: Permit<ControlNg>,
    body: Body,
) -> Result<Response, Problem> {
    let octets = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_MESSAGE)).await;
    let octets = octets
        .map_err(|_| Problem::new(Code::RequestTimeout, "Send the whole body within ten seconds."))?
        .map_err(|_| too_long())?;
    let room = Arc::clone(&control.ng.posts).try_acquire_owned().map_err(|_| {
        Problem::new(Code::TooManyWaits, "Send the same request again in a second.")
    })?;
    let peer = Peer::of_key(&permit.principal);
    // Not to be cut off in the middle of its effect, as it would be with its connection: the same
    // request, sent again, would have that effect anew.
    let handled = tokio::spawn(async move {
        let reply = handle(&control, &peer, &octets).await;
        if let Ok(mut octets) = octets.try_into_mut() {
            octets.zeroize();
        }
        drop(room);
        reply
    });
    let reply = handled.await.map_err(|_| Problem::internal())?.ok_or_else(|| {
        let detail = "Send a cookie, a space and a bencoded dictionary or a JSON object.";
        Problem::new(Code::MalformedBody, detail)
    })?;
    let headers = [(CONTENT_TYPE, "application/x-rtpengine-ng")];
    Ok((headers, reply.to_vec()).into_response())
}

fn too_long() -> Problem {
    Problem::new(Code::BodyTooLarge, format!("A body of at most {MAX_MESSAGE} octets is read."))
}

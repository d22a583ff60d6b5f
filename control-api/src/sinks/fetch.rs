//! Fetch: sealed data, given to the merchant's payment system, once.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};

use crate::Control;
use crate::auth::{FetchSealed, Permit};
use crate::calls;
use crate::clock;
use crate::dto::id;
use crate::dto::sink::SealedView;
use crate::problem::{Code, Problem, ProblemBody};
use crate::sinks::sealed::Gone;

/// Fetches what a call's last secure session sealed. It is given out once, to a key of the role
/// `payment` and to no other: whoever runs the relay has no need to hold it, and could not tell
/// the merchant from a thief if both could ask. An `Idempotency-Key` has no effect: nothing is
/// kept that could be given out again.
///
/// It may be fetched after the call has ended, until it expires.
#[utoipa::path(
    post, path = "/v1/calls/{call_id}/secure-session/sealed", tag = "secure sessions",
    params(("call_id" = String, Path)),
    responses(
        (status = 200, body = SealedView),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn fetch(
    State(control): State<Arc<Control>>,
    permit: Permit<FetchSealed>,
    request: Request,
) -> Result<Json<SealedView>, Problem> {
    // Sealed data may outlive what is remembered of its call.
    let call = calls::call_id(&mut request.into_parts().0, &control).await?;
    let sealed = control.sinks.sealed().take(clock::monotonic(), call).map_err(|gone| match gone {
        Gone::Never => Problem::new(
            Code::SealedDataNotFound,
            "Nothing is sealed for this call: its plan must have a sink of type seal, and have \
             passed.",
        ),
        Gone::Fetched => Problem::new(
            Code::SealedDataFetched,
            "Sealed data is given out once. If it was not you, change the payment key.",
        ),
        Gone::Expired => Problem::new(
            Code::SealedDataExpired,
            "Nobody fetched it in time: enter a new secure session, or ask for a longer expires_s.",
        ),
    })?;
    let (call, session_id) = (id::call(call), id::session(sealed.session));
    tracing::info!(
        call,
        session = session_id,
        key = permit.principal.key.as_str(),
        "sealed data fetched"
    );
    Ok(Json(SealedView { session_id, key_id: sealed.key_id, jwe: sealed.jwe }))
}

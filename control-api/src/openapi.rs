//! OpenAPI: every route, and the contract that is generated from them.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::options;
use axum::{Json, Router};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{
    Control, activity, calls, captures, echo, events, model_tokens, plans, recordings,
    secure_sessions, sinks, tools, webhooks, whip,
};

const KEY_SCHEME: &str = "api_key";

/// Every route under `/v1` but that of the contract itself, and the contract.
pub fn routes_and_contract() -> (Router<Arc<Control>>, OpenApi) {
    OpenApiRouter::with_openapi(frame())
        .routes(routes!(calls::open, calls::list))
        .routes(routes!(calls::read, calls::end))
        .routes(routes!(calls::reoffer))
        .routes(routes!(calls::move_engine))
        .routes(routes!(calls::arm, calls::disarm))
        .routes(routes!(calls::key))
        .routes(routes!(secure_sessions::enter, secure_sessions::read, secure_sessions::cancel))
        .routes(routes!(captures::capture))
        .routes(routes!(captures::complete))
        .routes(routes!(sinks::fetch::fetch))
        .routes(routes!(plans::list))
        .routes(routes!(tools::collect_payment))
        .routes(routes!(model_tokens::issue, model_tokens::revoke))
        .routes(routes!(events::follow))
        .routes(routes!(echo::api::hear))
        .routes(routes!(webhooks::api::list))
        .routes(routes!(webhooks::api::replay))
        .routes(routes!(recordings::export, recordings::erase))
        .routes(routes!(activity::list))
        .merge(browsers())
        .split_for_parts()
}

/// What pages in browsers may use, of whatever site they are.
fn browsers() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(whip::place))
        .routes(routes!(whip::trickle, whip::end))
        .route("/v1/whip", options(whip::ask))
        .route("/v1/whip/{call_id}", options(whip::ask))
        .layer(whip::cross_origin())
}

/// The contract as it is sent and kept in `openapi.json`.
#[must_use]
pub fn contract() -> String {
    let (_, contract) = routes_and_contract();
    let mut text = contract.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Serves the contract; it is no secret.
pub async fn serve(State(control): State<Arc<Control>>) -> Json<OpenApi> {
    Json(control.contract.clone())
}

fn frame() -> OpenApi {
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Sotto")
                .version("1")
                .description(Some(
                    "A voice media relay that keeps what callers key from AI engines.\n\n\
                     Who may do what: script and operator keys all operations on calls, plans, \
                     model tokens and secure sessions, but for what follows. An engine's key hangs \
                     up, enters and reads secure sessions, and follows events. Operators alone \
                     cancel sessions (a script one that it drives field by field, between two \
                     fields), export and erase recordings, list and replay webhook \
                     deliveries, and list what was done by which key. A payment key fetches sealed data, and nothing else does. Any \
                     other key gets 403, which names the roles that may.",
                ))
                .build(),
        )
        .components(Some(ComponentsBuilder::new().security_scheme(KEY_SCHEME, key).build()))
        .security(Some([SecurityRequirement::new(KEY_SCHEME, [] as [&str; 0])]))
        .build()
}

//! OpenAPI: every route, and the contract that is generated from them.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::options;
use axum::{Json, Router};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{
    Control, activity, calls, captures, echo, events, links, model_tokens, plans,
    recording_actions, recordings, secure_sessions, sinks, tools, webhooks, whip,
};

use crate::activity::DeedKind;
use crate::dto::event::EventBody;
use crate::dto::hearing::HearingBody;
use crate::webhooks::api::StateQuery;

const KEY_SCHEME: &str = "api_key";

/// Every route under `/v1` but that of the contract itself, and the contract.
pub fn routes_and_contract() -> (Router<Arc<Control>>, OpenApi) {
    let (routes, mut contract) = routes().split_for_parts();
    links::complete(&mut contract);
    (routes, contract)
}

fn routes() -> OpenApiRouter<Arc<Control>> {
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
        .routes(routes!(recordings::export, recordings::erase, recording_actions::record))
        .routes(routes!(activity::list))
        .merge(browsers())
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

/// Schemas that the routes' own don't lead to: what only parameters have, and what is within a text.
fn uncollected() -> Vec<(String, RefOr<Schema>)> {
    let mut within = Vec::new();
    EventBody::schemas(&mut within);
    HearingBody::schemas(&mut within);
    within.extend([
        (DeedKind::name().into_owned(), DeedKind::schema()),
        (StateQuery::name().into_owned(), StateQuery::schema()),
        (EventBody::name().into_owned(), EventBody::schema()),
        (HearingBody::name().into_owned(), HearingBody::schema()),
    ]);
    within
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
                     fields), export and erase recordings (scripts begin, pause and stop them), list and replay webhook \
                     deliveries, and list what was done by which key. A payment key fetches sealed data, and nothing else does. Any \
                     other key gets 403, which names the roles that may.",
                ))
                .build(),
        )
        .components(Some(
            ComponentsBuilder::new()
                .security_scheme(KEY_SCHEME, key)
                .schemas_from_iter(uncollected())
                .build(),
        ))
        .security(Some([SecurityRequirement::new(KEY_SCHEME, [] as [&str; 0])]))
        .build()
}

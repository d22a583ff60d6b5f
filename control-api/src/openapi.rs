//! OpenAPI: every route, and the contract that is generated from them.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::options;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::auth::Guarded;
use crate::keys::Scope;
use crate::{
    Control, activity, audit, calls, captures, echo, events, keys, links, model_tokens, plans,
    recording_actions, recordings, secure_sessions, sinks, tickets, tools, webhooks, whip,
};

use crate::activity::DeedKind;
use crate::dto::event::EventBody;
use crate::dto::hearing::HearingBody;
use crate::webhooks::api::StateQuery;

const KEY_SCHEME: &str = "api_key";

/// Adds the route of a handler, and to its contract the scopes that its permit asks for.
macro_rules! guarded {
    ($router:expr, $($($handler:ident)::+),+ $(,)?) => {
        $router$(.routes(needing(routes!($($handler)::+), $($handler)::+.any_of())))+
    };
}

/// Every route under `/v1` but that of the contract itself, and the contract.
pub fn routes_and_contract() -> (Router<Arc<Control>>, OpenApi) {
    let (routes, mut contract) = routes().split_for_parts();
    links::complete(&mut contract);
    (routes, contract)
}

fn routes() -> OpenApiRouter<Arc<Control>> {
    let router = guarded!(
        OpenApiRouter::with_openapi(frame()),
        calls::open,
        calls::list,
        calls::read,
        calls::end,
        calls::reoffer,
        calls::move_engine,
        calls::arm,
        calls::disarm,
        calls::key,
        secure_sessions::enter,
        secure_sessions::read,
        secure_sessions::cancel,
        captures::capture,
        captures::complete,
        sinks::fetch::fetch,
        plans::list,
        tools::collect_payment,
        model_tokens::issue,
        model_tokens::revoke,
        events::follow,
        echo::api::hear,
        webhooks::api::list,
        webhooks::api::replay,
        recordings::export,
        recordings::erase,
        recording_actions::record,
        activity::list,
        audit::page::list,
        keys::api::list,
        keys::api::add,
        keys::api::rotate,
        keys::api::revoke,
        tickets::issue,
    );
    router.merge(browsers())
}

/// What pages in browsers may use, of whatever site they are.
fn browsers() -> OpenApiRouter<Arc<Control>> {
    guarded!(OpenApiRouter::new(), whip::place, whip::trickle, whip::end)
        .route("/v1/whip", options(whip::ask))
        .route("/v1/whip/{call_id}", options(whip::ask))
        .layer(whip::cross_origin())
}

/// The same routes with what they need told: any of the scopes is enough, so each is a way in of its
/// own. (OpenAPI 3.1 section 4.8.30: for a bearer token the list names roles that are needed.)
fn needing(
    (schemas, mut paths, methods): UtoipaMethodRouter<Arc<Control>>,
    any_of: &'static [Scope],
) -> UtoipaMethodRouter<Arc<Control>> {
    let ways = any_of.iter().map(|scope| SecurityRequirement::new(KEY_SCHEME, [scope.as_str()]));
    let ways: Vec<_> = ways.collect();
    for item in paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            operation.security = Some(ways.clone());
        }
    }
    (schemas, paths, methods)
}

/// The contract as it is sent and kept in `openapi.json`.
#[must_use]
pub fn contract() -> String {
    let (_, contract) = routes_and_contract();
    let mut text = contract.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Serves the contract; it is no secret. It is written once: whoever asks for it has no key, and may
/// ask often.
pub async fn serve(State(control): State<Arc<Control>>) -> impl IntoResponse {
    static WRITTEN: OnceLock<Bytes> = OnceLock::new();
    let write = || serde_json::to_vec(&control.contract).unwrap_or_default().into();
    ([(CONTENT_TYPE, "application/json")], WRITTEN.get_or_init(write).clone())
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
                     Who may do what: each operation tells in `security` which scopes let a key do it, \
                     one of which is enough. Keys have roles, which are sets of scopes, and scopes. \
                     The roles that there always are: a script and an operator do what is to be done \
                     on calls, plans, model tokens and secure sessions; an engine hangs up, enters and \
                     reads secure sessions, and follows events; operators alone cancel sessions (a \
                     script one that it drives field by field, between two fields), export and erase \
                     recordings, list and replay webhook deliveries, list what was done by which key, \
                     read the audit log, and manage keys; a payment key fetches sealed data, and nothing else does. Any \
                     other key gets 403, which names the scopes.",
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

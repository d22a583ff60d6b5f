//! MCP: a server of the Model Context Protocol for the model of each call, over streamable HTTP.
//!
//! There are no sessions and no streams: a message is posted, and its answer is JSON. [`gate`]
//! stands before the SDK, [`tools`] is what a model can ask for, [`server`] does it.

mod address;
mod gate;
mod server;
mod tools;

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use crate::Control;
use crate::dto::json::{JsonBytes, MAX_BODY};
use crate::model_tokens::ModelPermit;
use crate::plans::Plans;
use crate::problem::Problem;

pub use address::BaseUrl;
use gate::Gated;
use server::ModelServer;

/// Where a call's MCP server is, as the router writes it.
pub const PATH: &str = "/v1/calls/{call_id}/mcp";

/// What the configuration says of models.
#[derive(Clone, Default, Debug)]
pub struct Models {
    /// The plans that have names.
    pub plans: Plans,
    /// Where models reach the relay; without it no token is made.
    pub base: Option<BaseUrl>,
}

/// Takes one message of a model's client.
///
/// # Errors
/// If it is no message, or comes by a way that it must not.
pub async fn serve(
    State(control): State<Arc<Control>>,
    permit: ModelPermit,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Response, Problem> {
    gate::admit(&headers, control.models.base.as_ref().ok_or_else(Problem::internal)?)?;
    let request = match gate::examine(&headers, &body, permit.grant.plans())? {
        Gated::Pass(request) => request,
        Gated::Answered(response) => return Ok(response),
    };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MAX_BODY);
    let server = ModelServer::new(control, permit);
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(server.again()), sessions, config);
    gate::release(service.handle(request).await.into_response()).await
}

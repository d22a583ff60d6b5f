//! Bodies about tickets: what opens one stream once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// Makes a ticket for one stream.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    /// The stream's path.
    #[schema(example = "/v1/calls/call_0198c0f3a1b27c3e8d4f5a6b7c8d9e0f/events")]
    pub path: String,
}

/// A ticket. It is told here and never again.
#[derive(Serialize, ToSchema)]
pub struct TicketIssued {
    /// To be sent as the parameter `ticket` of the stream's URL, once.
    pub ticket: String,
    /// The stream's path with it.
    pub url: String,
    /// When it ends, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

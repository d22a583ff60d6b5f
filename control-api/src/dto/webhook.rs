//! Bodies about webhook deliveries.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::webhooks::delivery::DeliveryId;
use crate::webhooks::shelf::{Card, Shelved};

/// A page of webhook deliveries.
#[derive(Serialize, ToSchema)]
pub struct DeliveryPage {
    /// The deliveries.
    pub data: Vec<DeliveryView>,
    /// What to send as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// One event on its way to one webhook.
#[derive(Serialize, ToSchema)]
pub struct DeliveryView {
    /// The delivery: what the receiver sees as `webhook-id`.
    id: String,
    /// The webhook's name in the configuration.
    webhook: String,
    /// The event's type.
    #[serde(rename = "type")]
    kind: String,
    /// The call.
    call_id: String,
    /// `pending` or `dead`.
    state: &'static str,
    /// Attempts that failed.
    attempts: u32,
    /// When the event was told, UTC.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Of one that waits: when the next attempt is due, UTC.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Timestamp>,
    /// How the last attempt failed: `status-` and the answer's status, `timed-out`,
    /// `unresolved`, `unreachable`, `untrusted` (see `ca_file`), `interrupted`, `answer-too-long`,
    /// or `forbidden-address` (see `outbound.allow`).
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl DeliveryView {
    /// What is told of a delivery.
    #[must_use]
    pub fn of(id: DeliveryId, card: &Card) -> DeliveryView {
        let delivery = &card.delivery;
        let waits = card.state == Shelved::Pending;
        DeliveryView {
            id: id.text(),
            webhook: delivery.webhook.clone(),
            kind: delivery.kind.clone(),
            call_id: delivery.call_id.clone(),
            state: card.state.as_str(),
            attempts: delivery.attempts,
            created_at: Timestamp::from_unix_ms(delivery.created_ms),
            next_attempt_at: waits.then(|| Timestamp::from_unix_ms(delivery.next_ms)),
            failure: delivery.failure.clone(),
        }
    }
}

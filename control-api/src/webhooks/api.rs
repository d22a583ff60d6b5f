//! Api: which webhooks wait or were given up, and sending them again.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::Control;
use crate::auth::{Permit, ReadWebhooks, ReplayWebhooks};
use crate::clock;
use crate::dto::webhook::{DeliveryPage, DeliveryView};
use crate::problem::{Code, Problem, ProblemBody};
use crate::webhooks::delivery::DeliveryId;
use crate::webhooks::shelf::Shelved;

/// Deliveries on a page, unless the request says otherwise.
const DEFAULT_PAGE: usize = 50;
/// Most deliveries on a page.
const MAX_PAGE: usize = 200;

/// Which deliveries to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// `pending` or `dead`; both unless said otherwise.
    state: Option<StateQuery>,
    /// Most deliveries to return, 1 to 200; 50 unless said otherwise.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^msg_[0-9a-f]{32}$")]
    cursor: Option<String>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateQuery {
    /// It waits for its next attempt.
    Pending,
    /// It was given up.
    Dead,
}

/// Lists webhook deliveries that wait or were given up, newest first. Those that arrived are not
/// listed.
#[utoipa::path(
    get, path = "/v1/webhook-deliveries", tag = "webhooks", params(DeliveriesQuery),
    responses(
        (status = 200, body = DeliveryPage),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn list(
    State(control): State<Arc<Control>>,
    _: Permit<ReadWebhooks>,
    query: Result<Query<DeliveriesQuery>, QueryRejection>,
) -> Result<Json<DeliveryPage>, Problem> {
    let malformed = || {
        let detail = format!(
            "Send state (pending or dead), limit (1 to {MAX_PAGE}) and cursor (a next_cursor), or \
             none of them."
        );
        Problem::new(Code::MalformedParameter, detail)
    };
    let Query(query) = query.map_err(|_| malformed())?;
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(malformed());
    }
    let cursor = query.cursor.map(|cursor| DeliveryId::parse(&cursor).ok_or_else(malformed));
    let cursor = cursor.transpose()?;
    let state = query.state.map(|state| match state {
        StateQuery::Pending => Shelved::Pending,
        StateQuery::Dead => Shelved::Dead,
    });
    let shelf = control.webhooks.shelf();
    let mut cards = shelf.map_or(Vec::new(), |shelf| shelf.page(state, cursor, limit + 1));
    let more = cards.len() > limit;
    cards.truncate(limit);
    Ok(Json(DeliveryPage {
        next_cursor: cards.last().filter(|_| more).map(|(id, _)| id.text()),
        data: cards.iter().map(|(id, card)| DeliveryView::of(*id, card)).collect(),
    }))
}

/// Sends a webhook again: one that was given up gets all its attempts anew, one that waits is due
/// at once. The receiver sees the same `webhook-id` and body.
#[utoipa::path(
    post, path = "/v1/webhook-deliveries/{delivery_id}/replay", tag = "webhooks",
    params(("delivery_id" = String, Path)),
    responses(
        (status = 200, body = DeliveryView),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn replay(
    State(control): State<Arc<Control>>,
    permit: Permit<ReplayWebhooks>,
    Path(delivery): Path<String>,
) -> Result<Json<DeliveryView>, Problem> {
    let unknown = || {
        let detail = "List /v1/webhook-deliveries for those that wait or were given up.";
        Problem::new(Code::DeliveryNotFound, detail)
    };
    let id = DeliveryId::parse(&delivery).ok_or_else(unknown)?;
    let replayed = control.webhooks.replay(id, clock::now()).await.map_err(|error| {
        tracing::error!(delivery = id.text(), %error, "a webhook can't be sent again");
        Problem::internal()
    })?;
    let card = replayed.ok_or_else(unknown)?;
    tracing::info!(delivery = id.text(), key = permit.principal.key.as_str(), "webhook sent again");
    Ok(Json(DeliveryView::of(id, &card)))
}

//! Page: entries of the log, for whoever may read it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::tail::Tail;
use crate::Control;
use crate::auth::{Permit, ReadAudit};
use crate::dto::audit::AuditPage;
use crate::problem::{Code, Problem, ProblemBody};

/// Entries on a page, unless the request says otherwise.
const DEFAULT_PAGE: usize = 50;
/// Most entries on a page: 200 kB.
const MAX_PAGE: usize = 200;

/// Which entries to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Most entries to return, 1 to 200; 50 unless said otherwise.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before, or the number of an entry to begin with; 0 unless said
    /// otherwise.
    #[param(minimum = 0)]
    cursor: Option<u64>,
}

/// Lists the audit log, oldest first. That it was read is an entry of its own.
///
/// Each entry is as it stands in the file, with the hash that the next one has as its `prev`. It is not
/// verified here: whoever could alter the file could alter this answer. `sotto audit verify` does that.
#[utoipa::path(
    get, path = "/v1/audit", tag = "audit", params(AuditQuery),
    responses(
        (status = 200, body = AuditPage),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn list(
    State(control): State<Arc<Control>>,
    _: Permit<ReadAudit>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditPage>, Problem> {
    let malformed = || {
        let detail = format!(
            "Send limit (1 to {MAX_PAGE}) and cursor (a next_cursor, or an entry's number), or none \
             of them."
        );
        Problem::new(Code::MalformedParameter, detail)
    };
    let Query(AuditQuery { limit, cursor }) = query.map_err(|_| malformed())?;
    let (limit, first) = (limit.unwrap_or(DEFAULT_PAGE), cursor.unwrap_or(0));
    // As far as the contract's integers go.
    if !(1..=MAX_PAGE).contains(&limit) || i64::try_from(first).is_err() {
        return Err(malformed());
    }
    let none = || Problem::new(Code::NotFound, "This relay keeps no audit log: audit.enabled.");
    let figures = control.audit.figures().ok_or_else(none)?;
    let directory = control.audit.directory.clone().ok_or_else(none)?;
    let end = figures.counts.entries;
    let reading = move || Tail::new(directory, first).read(end, limit);
    let read = tokio::task::spawn_blocking(reading).await.map_err(|_| Problem::internal())?;
    let entries = read.map_err(|error| {
        tracing::error!(%error, "the audit log can't be read");
        Problem::internal()
    })?;
    Ok(Json(AuditPage::of(&entries, end)))
}

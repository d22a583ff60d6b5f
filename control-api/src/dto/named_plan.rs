//! Bodies about named plans, and the two ways to enter a secure session.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::json::JsonBytes;
use super::plan::PlanRequest;
use crate::problem::Problem;

/// Enters a secure session: by the name of a plan, or with the plan itself.
///
/// Read by [`EnterRequest::read`], which tells where a mistake is.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum EnterRequest {
    /// By name.
    Named(NamedPlanRequest),
    /// With the plan itself.
    Inline(Box<PlanRequest>),
}

/// Enters a secure session by the name of a plan.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedPlanRequest {
    /// The plan's name; `GET /v1/plans` lists them.
    #[schema(example = "card-payment")]
    pub plan: String,
}

impl EnterRequest {
    /// Reads the body: one that has a member `plan` must have nothing else.
    ///
    /// # Errors
    /// Those of [`JsonBytes::read`].
    pub fn read(body: &JsonBytes) -> Result<EnterRequest, Problem> {
        match body.read() {
            Ok(Probe { plan: Some(_) }) => body.read().map(EnterRequest::Named),
            Ok(Probe { plan: None }) | Err(_) => body.read().map(EnterRequest::Inline),
        }
    }
}

/// What tells the two ways apart.
#[derive(Deserialize)]
struct Probe {
    plan: Option<IgnoredAny>,
}

/// The named plans.
#[derive(Serialize, ToSchema)]
pub struct PlanPage {
    /// In the order of their names.
    pub data: Vec<PlanSummary>,
}

/// A named plan.
#[derive(Serialize, ToSchema)]
pub struct PlanSummary {
    /// Its name.
    #[schema(example = "card-payment")]
    pub name: String,
    /// What it asks for, in this order, in Twilio's words.
    pub steps: Vec<&'static str>,
}

//! CaptureRequest: one field that a script asks for.

use dtmf::Step;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// Has the caller key one field of the plan.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    /// The field: one of the plan's types, such as `payment-card-number` or `custom-1`.
    #[schema(example = "payment-card-number")]
    step: String,
}

impl CaptureRequest {
    /// The field that is meant.
    ///
    /// # Errors
    /// A problem if there is no field of that name.
    pub fn step(&self) -> Result<Step, Problem> {
        Step::ALL
            .into_iter()
            .find(|step| step.as_str() == self.step)
            .ok_or_else(|| Problem::invalid("/step", "must be the type of a field of the plan"))
    }
}

//! Plans: the secure plans that the configuration names.
//!
//! A named plan is written once, by the operator, in `[plans.NAME]` of the configuration. Scripts
//! and models then ask for it by name, so that none of them can word a plan of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use dtmf::plan::SecurePlan;
use serde::Deserialize;
use serde_json::Value;

use crate::Control;
use crate::auth::{Permit, ReadCalls};
use crate::dto::named_plan::{PlanPage, PlanSummary};
use crate::dto::plan::PlanRequest;
use crate::problem::{Problem, ProblemBody};

/// Most named plans: all of them may stand in the description of one tool, which a model reads.
pub const MAX_PLANS: usize = 64;
/// Longest name of a plan.
pub const MAX_NAME_LEN: usize = 48;

/// The name of a plan that the configuration has: nobody but [`Plans`] makes one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PlanName(Arc<str>);

impl PlanName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is wrong with a named plan, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanFault {
    /// The member, as the file calls it.
    pub member: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The named plans; each is known to make a secure session.
#[derive(Clone, Default, Debug)]
pub struct Plans {
    // As they were written: what is made of one is used up by its session.
    written: Arc<BTreeMap<PlanName, Written>>,
}

#[derive(Debug)]
struct Written {
    plan: Value,
    steps: Vec<&'static str>,
}

impl Plans {
    /// Checks the plans of a configuration: each must be one that `make` can make.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(
        written: BTreeMap<String, Value>,
        make: impl Fn(PlanRequest) -> Result<SecurePlan, Problem>,
    ) -> Result<Plans, PlanFault> {
        if written.len() > MAX_PLANS {
            let reason = format!("must be {MAX_PLANS} plans at most");
            return Err(PlanFault { member: "plans".to_owned(), reason });
        }
        let mut plans = BTreeMap::new();
        for (name, plan) in written {
            let fault = |path: &str, reason: String| {
                Err(PlanFault { member: format!("plans.{name}{path}"), reason })
            };
            if !is_name(&name) {
                let reason = format!(
                    "a plan's name must be 1 to {MAX_NAME_LEN} lower-case letters, digits and \
                     hyphens, a letter first"
                );
                return fault("", reason);
            }
            let request: PlanRequest = match serde_path_to_error::deserialize(&plan) {
                Ok(request) => request,
                Err(error) => {
                    let path = error.path().to_string();
                    let dot = if path.starts_with('[') { "" } else { "." };
                    let path = if path == "." { String::new() } else { format!("{dot}{path}") };
                    return fault(&path, error.into_inner().to_string());
                }
            };
            let made = match make(request) {
                Ok(made) => made,
                Err(problem) => {
                    let first = problem.faults().first();
                    let path = first.map_or_else(String::new, |fault| path_of(&fault.pointer));
                    let reason = first.map_or("can't be made", |fault| &*fault.detail);
                    return fault(&path, reason.to_owned());
                }
            };
            let steps = made.fields().iter().map(|field| field.kind.step().as_str()).collect();
            plans.insert(PlanName(name.as_str().into()), Written { plan, steps });
        }
        Ok(Plans { written: Arc::new(plans) })
    }

    /// The plan's name, if there is a plan of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<PlanName> {
        self.names().find(|known| known.as_str() == name).cloned()
    }

    /// The plan's name, if there is only one.
    #[must_use]
    pub fn only(&self) -> Option<PlanName> {
        let mut names = self.names();
        names.next().filter(|_| names.next().is_none()).cloned()
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &PlanName> {
        self.written.keys()
    }

    /// The plan, as if it had been sent.
    ///
    /// # Errors
    /// If it is none of this configuration's.
    pub fn request(&self, name: &PlanName) -> Result<PlanRequest, Problem> {
        let written = self.written.get(name).ok_or_else(Problem::internal)?;
        PlanRequest::deserialize(&written.plan).map_err(|_| Problem::internal())
    }
}

/// Lists the named plans: their names, and what each asks for.
#[utoipa::path(
    get, path = "/v1/plans", tag = "plans",
    responses(
        (status = 200, body = PlanPage),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn list(State(control): State<Arc<Control>>, _: Permit<ReadCalls>) -> Json<PlanPage> {
    let plans = control.models.plans.written.iter();
    let summary = |(name, written): (&PlanName, &Written)| PlanSummary {
        name: name.as_str().to_owned(),
        steps: written.steps.clone(),
    };
    Json(PlanPage { data: plans.map(summary).collect() })
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A JSON pointer, as a path below a member of the file.
fn path_of(pointer: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1) {
        if segment.bytes().all(|b| b.is_ascii_digit()) {
            path.extend(["[", segment, "]"]);
        } else {
            path.extend([".", segment]);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{MAX_PLANS, PlanFault, Plans};
    use crate::secure_defaults::SecureDefaults;

    fn check(plans: Value) -> Result<Plans, PlanFault> {
        let plans: BTreeMap<String, Value> = serde_json::from_value(plans).unwrap();
        Plans::check(plans, SecureDefaults::make_plan)
    }

    #[test]
    fn a_plan_is_made_as_often_as_it_is_asked_for() {
        let plans = check(json!({ "code": { "fields": [{ "type": "postal-code" }] } })).unwrap();
        let name = plans.find("code").unwrap();
        for _ in 0..2 {
            let request = plans.request(&name).unwrap();
            assert_eq!(SecureDefaults::make_plan(request).unwrap().fields().len(), 1);
        }
        assert_eq!(plans.find("Code"), None);
        assert_eq!(plans.names().count(), 1);
    }

    #[test]
    fn faults_are_named_by_their_place() {
        let card = json!({ "fields": [{ "type": "payment-card-number" }] });
        let cases = [
            (json!({ "Card": card }), "plans.Card"),
            (json!({ "4242": card }), "plans.4242"),
            (json!({ "": card }), "plans."),
            (json!({ "a": 1 }), "plans.a"),
            (json!({ "a": {} }), "plans.a"),
            (json!({ "a": { "fields": [] } }), "plans.a.fields"),
            (json!({ "a": { "fields": [{ "type": "x" }] } }), "plans.a.fields[0].type"),
            (json!({ "a": { "fields": [], "x": 1 } }), "plans.a.x"),
            (
                json!({ "a": { "fields": [{ "type": "postal-code", "max_attempts": 9 }] } }),
                "plans.a.fields[0].max_attempts",
            ),
        ];
        for (plans, member) in cases {
            let fault = check(plans.clone()).err().unwrap_or_else(|| panic!("{plans} is good"));
            assert_eq!(fault.member, member, "{plans}: {}", fault.reason);
            assert!(!fault.reason.is_empty() && !fault.reason.contains('\n'), "{plans}");
        }
        let many = (0..=MAX_PLANS).map(|number| (format!("p{number}"), card.clone())).collect();
        assert_eq!(check(Value::Object(many)).err().unwrap().member, "plans");
    }
}

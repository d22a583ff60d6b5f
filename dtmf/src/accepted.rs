//! `Accepted`: what was accepted, on its way to the party that may have it.

use arrayvec::ArrayVec;

use crate::brand::Brand;
use crate::plan::{MAX_FIELDS, SecurePlan};
use crate::secret::SecretDigits;
use crate::step::Step;

/// Every field's digits, in a page of their own; handed out once by
/// [`Collector::take_accepted`](crate::Collector::take_accepted).
///
/// It is neither `Clone` nor `Debug`, and what it holds is zeroed when it is dropped.
///
/// ```compile_fail
/// fn print(accepted: &dtmf::Accepted) { println!("{accepted:?}"); }
/// ```
/// ```compile_fail
/// fn copy(accepted: &dtmf::Accepted) -> dtmf::Accepted { accepted.clone() }
/// ```
pub struct Accepted {
    steps: ArrayVec<Step, MAX_FIELDS>,
    entries: [SecretDigits; MAX_FIELDS],
    issuer: Option<Brand>,
}

impl Accepted {
    /// Room for the fields of a plan, empty yet.
    pub(crate) fn room(plan: &SecurePlan, issuer: Option<Brand>) -> Self {
        Self {
            steps: plan.fields().iter().map(|field| field.kind.step()).collect(),
            entries: [const { SecretDigits::new() }; MAX_FIELDS],
            issuer,
        }
    }

    /// Takes the digits over from where they were keyed.
    pub(crate) fn take_from(&mut self, keyed: &mut [SecretDigits; MAX_FIELDS]) {
        for (entry, keyed) in self.entries.iter_mut().zip(keyed) {
            entry.take_from(keyed);
        }
    }

    /// Each field of the plan and what was accepted for it, in the plan's order.
    pub fn entries(&self) -> impl Iterator<Item = (Step, &SecretDigits)> {
        self.steps.iter().copied().zip(&self.entries)
    }

    /// What was accepted for one step; `None` if the plan does not ask for it.
    #[must_use]
    pub fn get(&self, step: Step) -> Option<&SecretDigits> {
        self.entries().find_map(|(asked, entry)| (asked == step).then_some(entry))
    }

    /// The brand of the card number, if there is one and its brand is beyond doubt.
    #[must_use]
    pub fn issuer(&self) -> Option<Brand> {
        self.issuer
    }
}

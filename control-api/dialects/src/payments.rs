//! Payments: a model's calls of its one function, from the wish to the outcome.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::Fault;

/// The one function that a model may call.
pub(crate) const COLLECT: &str = "collect_payment";
/// What is said of a call that came to nothing.
pub(crate) const NOT_STARTED: &str = "it could not be started";
/// Octets of an id that is kept or said again: a server's have less than 40.
const MAX_ID: usize = 256;
/// Calls that are remembered, since some are told twice, the second time soon.
const MAX_CALLS: usize = 16;

/// What the function is called with.
#[derive(Deserialize, Default)]
pub(crate) struct Wish {
    plan: Option<String>,
}

/// What becomes of a call.
pub(crate) enum Answer {
    /// It is to be begun, by the plan of that name; the call is answered when it is over.
    Collect(Option<String>),
    /// It can't be begun: another goes on, or there is no such plan.
    Refused,
    /// It has been heard of before.
    Known,
}

/// The calls of a conversation. There is one payment at a time.
pub(crate) struct Payments {
    plans: Option<Vec<String>>,
    calls: VecDeque<String>,
    pending: Option<String>,
    is_secure: bool,
}

impl Payments {
    /// None yet, by these plans ([`crate::Model::plans`]).
    pub(crate) fn new(plans: Option<Vec<String>>) -> Payments {
        Payments { plans, calls: VecDeque::new(), pending: None, is_secure: false }
    }

    /// Whether a secure session goes on, of this conversation's or another's asking.
    pub(crate) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// A call of the function; a wish that couldn't be read is none.
    pub(crate) fn ask(&mut self, call: String, wish: Option<Wish>) -> Result<Answer, Fault> {
        let call = kept(call)?;
        if self.calls.contains(&call) {
            return Ok(Answer::Known);
        }
        self.calls.push_back(call.clone());
        if self.calls.len() > MAX_CALLS {
            self.calls.pop_front();
        }
        Ok(match wish.and_then(|wish| self.plan(wish)) {
            Some(plan) if self.pending.is_none() && !self.is_secure => {
                self.pending = Some(call);
                Answer::Collect(plan)
            }
            Some(_) | None => Answer::Refused,
        })
    }

    /// The plan that is wished for, which may have no name; none if there is no such plan.
    fn plan(&self, wish: Wish) -> Option<Option<String>> {
        let plans = self.plans.as_ref()?;
        match wish.plan {
            Some(plan) if plans.contains(&plan) => Some(Some(plan)),
            Some(_) if plans.is_empty() => Some(None),
            Some(_) => None,
            None if plans.len() > 1 => None,
            None => Some(plans.first().cloned()),
        }
    }

    /// A secure session has begun.
    pub(crate) fn begin(&mut self) {
        self.is_secure = true;
    }

    /// It is over: the call that is to be answered now.
    pub(crate) fn end(&mut self) -> Option<String> {
        self.is_secure = false;
        self.pending.take()
    }

    /// The call that came to nothing, if there is one.
    pub(crate) fn fail(&mut self) -> Option<String> {
        self.pending.take()
    }
}

/// An id, if it is short enough to be kept.
pub(crate) fn kept(id: String) -> Result<String, Fault> {
    if id.len() > MAX_ID { Err(Fault::Malformed) } else { Ok(id) }
}

//! Refused: why a request was not done, in words for the log of a proxy.

use std::borrow::Cow;

use ng_protocol::Reply;
use relay::switchboard::Refusal;
use relay::wire::sdp::SdpRefusal;

use crate::problem::{Code, Problem};

/// Why a request was not done. Nothing of the request is in it.
#[derive(Debug)]
pub(super) struct Refused {
    reason: Cow<'static, str>,
    /// Another relay may have room.
    is_full: bool,
}

impl Refused {
    /// A refusal with a reason.
    pub(super) fn because(reason: impl Into<Cow<'static, str>>) -> Refused {
        Refused { reason: reason.into(), is_full: false }
    }

    /// The reply; a proxy that understands it is told to ask another relay.
    pub(super) fn into_reply(self, knows_load_limit: bool) -> Reply {
        match self.is_full && knows_load_limit {
            true => Reply::load_limit(),
            false => Reply::error(self.reason),
        }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused { reason: problem.sentence().into(), is_full: problem.code == Code::NoCapacity }
    }
}

impl From<SdpRefusal> for Refused {
    fn from(refusal: SdpRefusal) -> Refused {
        Refused::because(refusal.to_string())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Problem::from(refusal).into()
    }
}

//! Leg: the dialog with one caller (RFC 3261 section 12).

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::agent::Request;
use crate::fields::{self, Basics, NameAddr, parameter};
use crate::flow::Flow;
use crate::message::{
    CONTACT, Malformed, Message, RECORD_ROUTE, REQUIRE, SESSION_EXPIRES, SUPPORTED,
};
use crate::reply::{Header, finish};
use crate::transaction::{Due, Key, Resent};

/// The shortest session timer (RFC 4028 section 5).
pub(crate) const MIN_SESSION_S: u32 = 90;
/// The longest that is agreed to: a day.
const MAX_SESSION_S: u32 = 86_400;
/// Most proxies on the way of a dialog.
const MAX_ROUTES: usize = 16;
/// Transactions of one dialog that are kept, so that one caller can't fill the table of all: those
/// of ten seconds of quick typing, which is how long a request may be sent again after its answer.
const MAX_TRANSACTIONS: usize = 32;
/// What each branch of ours begins with (RFC 3261 section 8.1.1.7).
pub(crate) const BRANCH: &str = "z9hG4bK-";

/// How a session timer is agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SessionTimer {
    /// There is none.
    None,
    /// The caller refreshes within so many seconds.
    Caller(u32),
    /// It was asked for one that is too short.
    TooShort,
}

impl SessionTimer {
    /// What a request asks for. We refresh nothing ourselves, and say so by leaving it out.
    pub(crate) fn of(message: &Message<'_>) -> SessionTimer {
        let knows = [SUPPORTED, REQUIRE].into_iter().any(|name| {
            message.all(name).flat_map(fields::list).any(|tag| tag.eq_ignore_ascii_case("timer"))
        });
        let Some(value) = message.first(SESSION_EXPIRES).filter(|_| knows) else {
            return SessionTimer::None;
        };
        let refresher = parameter(value, "refresher").flatten().unwrap_or("uac");
        let seconds =
            value.split(';').next().and_then(|seconds| seconds.trim().parse::<u32>().ok());
        match seconds {
            Some(seconds) if seconds < MIN_SESSION_S => SessionTimer::TooShort,
            Some(seconds) if refresher.eq_ignore_ascii_case("uac") => {
                SessionTimer::Caller(seconds.min(MAX_SESSION_S))
            }
            Some(_) | None => SessionTimer::None,
        }
    }

    /// What the answer says of it.
    pub(crate) fn headers(self) -> Vec<Header> {
        match self {
            SessionTimer::None | SessionTimer::TooShort => Vec::new(),
            SessionTimer::Caller(seconds) => vec![
                ("Require", "timer".to_owned()),
                ("Session-Expires", format!("{seconds};refresher=uac")),
            ],
        }
    }

    /// When a session ends that is not refreshed (RFC 4028 section 10).
    pub(crate) fn end(self, now: Instant) -> Option<Instant> {
        match self {
            SessionTimer::None | SessionTimer::TooShort => None,
            SessionTimer::Caller(seconds) => {
                let before = (seconds / 3).min(32);
                Some(now + Duration::from_secs((seconds - before).into()))
            }
        }
    }
}

/// The dialog with one caller.
pub(crate) struct Leg {
    pub(crate) tag: String,
    pub(crate) call_id: String,
    pub(crate) remote_tag: Option<String>,
    /// `From` of our requests, with our tag.
    local: String,
    /// `To` of our requests.
    remote: String,
    target: String,
    routes: Vec<String>,
    pub(crate) flow: Flow,
    is_sips: bool,
    /// The number of the INVITE that began it.
    pub(crate) first_cseq: u32,
    /// The number of the caller's last request.
    pub(crate) remote_cseq: u32,
    /// Its transactions that are kept, in the order in which they came.
    pub(crate) transactions: VecDeque<Key>,
    /// The offer that is not answered yet.
    pub(crate) pending: Option<Key>,
    pub(crate) timer: SessionTimer,
    /// Our answer of that number is not acknowledged yet.
    pub(crate) unacknowledged: Option<(u32, Key)>,
    /// The first offer was answered.
    pub(crate) is_answered: bool,
    /// The call is over, and the caller will be told once it may be.
    pub(crate) is_leaving: bool,
    pub(crate) farewell: Option<Farewell>,
    /// When a session ends that is not refreshed.
    pub(crate) expires: Option<Instant>,
    pub(crate) scheduled: Option<Instant>,
}

/// Our BYE, until it is answered.
pub(crate) struct Farewell {
    pub(crate) octets: Zeroizing<Vec<u8>>,
    pub(crate) resent: Resent,
}

impl Leg {
    /// The dialog that an INVITE asks for.
    pub(crate) fn begin(
        request: &Request<'_>,
        flow: Flow,
        tag: String,
        key: Key,
    ) -> Result<Leg, Malformed> {
        let Request { message, basics, uri, .. } = request;
        let routes: Vec<String> =
            message.all(RECORD_ROUTE).flat_map(fields::list).map(str::to_owned).collect();
        if routes.len() > MAX_ROUTES || routes.iter().any(|route| NameAddr::parse(route).is_err()) {
            return Err(Malformed);
        }
        Ok(Leg {
            local: format!("{};tag={tag}", basics.to),
            remote: basics.from.to_owned(),
            call_id: basics.call_id.to_owned(),
            remote_tag: basics.from_tag.map(str::to_owned),
            target: contact(message)?.to_owned(),
            tag,
            routes,
            flow,
            is_sips: uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:")),
            first_cseq: basics.cseq,
            remote_cseq: basics.cseq,
            transactions: VecDeque::new(),
            pending: Some(key),
            timer: SessionTimer::of(message),
            unacknowledged: None,
            is_answered: false,
            is_leaving: false,
            farewell: None,
            expires: None,
            scheduled: None,
        })
    }

    /// One more of its transactions is kept: where they are too many, the oldest that nobody waits
    /// for is to go.
    pub(crate) fn keep(&mut self, key: Key) -> Option<Key> {
        self.transactions.push_back(key);
        if self.transactions.len() <= MAX_TRANSACTIONS {
            return None;
        }
        let unacknowledged = self.unacknowledged.map(|(_, key)| key);
        let is_awaited = |key: &Key| [self.pending, unacknowledged].contains(&Some(*key));
        let oldest = self.transactions.iter().position(|key| !is_awaited(key))?;
        self.transactions.remove(oldest)
    }

    /// Whether a request with our tag is of this dialog.
    pub(crate) fn has(&self, basics: &Basics<'_>) -> bool {
        self.call_id == basics.call_id && self.remote_tag.as_deref() == basics.from_tag
    }

    /// A request of the caller tells where it is now.
    pub(crate) fn heard(&mut self, message: &Message<'_>, flow: Flow) {
        self.flow = flow;
        if let Ok(target) = contact(message) {
            target.clone_into(&mut self.target);
        }
    }

    /// Where requests of the dialog reach us.
    pub(crate) fn contact(&self) -> String {
        self.flow.contact(self.is_sips)
    }

    /// Our BYE. It passes the proxies that asked for it (RFC 3261 section 12.2.1.1).
    pub(crate) fn bye(&self) -> Zeroizing<Vec<u8>> {
        let first = self.routes.first().and_then(|route| NameAddr::parse(route).ok());
        let strict = first.filter(|first| parameter(first.uri, "lr").is_none());
        let mut routes: Vec<&str> = self.routes.iter().map(String::as_str).collect();
        let target = format!("<{}>", self.target);
        let uri = match strict {
            // A proxy that knows no loose routing is itself the one that is asked.
            Some(first) => {
                routes.remove(0);
                routes.push(&target);
                first.uri
            }
            None => &self.target,
        };
        let Flow { transport, local, .. } = self.flow;
        let mut head = format!(
            "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/{} {local};branch={BRANCH}{};rport\r\n",
            transport.name(),
            self.tag
        );
        for route in routes {
            let _ = write!(head, "Route: {route}\r\n");
        }
        let Leg { local, remote, call_id, .. } = self;
        let _ = write!(
            head,
            "Max-Forwards: 70\r\nFrom: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\n"
        );
        finish(head, &[], None)
    }

    /// When it wants to be looked at.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.farewell {
            Some(farewell) => Some(farewell.resent.due()),
            None => self.expires,
        }
    }

    /// What is due now: of our BYE, or the end of a session that nobody refreshed.
    pub(crate) fn handle_time(&mut self, now: Instant) -> Due {
        match &mut self.farewell {
            Some(farewell) => farewell.resent.handle_time(now),
            None if self.expires.is_some_and(|expires| expires <= now) => Due::GiveUp,
            None => Due::Nothing,
        }
    }
}

/// Where a request says that its sender is reached.
pub(crate) fn contact<'a>(message: &Message<'a>) -> Result<&'a str, Malformed> {
    let value = message.first(CONTACT).and_then(|value| fields::list(value).next());
    let uri = NameAddr::parse(value.ok_or(Malformed)?)?.uri;
    // It becomes the first line of our request.
    if uri.contains([' ', '\t', '\n']) { Err(Malformed) } else { Ok(uri) }
}

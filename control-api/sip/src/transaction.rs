//! Transaction: one request and its response, the side of the server (RFC 3261 section 17.2).

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::agent::LegId;
use crate::fields::Basics;
use crate::reply::Asker;

/// The round trip that retransmissions begin with (RFC 3261 section 17.1.1.1).
pub(crate) const T1: Duration = Duration::from_millis(500);
/// The longest time between them.
const T2: Duration = Duration::from_secs(4);
/// How long a message may be on its way.
const T4: Duration = Duration::from_secs(5);
/// When sending again has gone on for long enough.
pub(crate) const PATIENCE: Duration = T1.saturating_mul(64);

/// What makes two requests the same: a digest, so that it has one size whatever they hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// The transaction of a request by `method`; that of an ACK or CANCEL is an INVITE's.
    pub(crate) fn of(basics: &Basics<'_>, method: &str) -> Key {
        let mut hash = Sha256::new();
        let sent_by = basics.via.sent_by.to_ascii_lowercase();
        let cseq = basics.cseq.to_string();
        // More than section 17.2.3 asks for, so that branches that are used twice do no harm.
        let parts = [
            basics.via.branch().unwrap_or_default(),
            &sent_by,
            basics.call_id,
            basics.from_tag.unwrap_or_default(),
            &cseq,
            method,
        ];
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        Key(hash.finalize().into())
    }

    /// A tag for an answer that nothing is kept of: the same whenever the request is.
    pub(crate) fn tag(&self, secret: &[u8; 32]) -> String {
        let mut hash = Sha256::new();
        hash.update(secret);
        hash.update(self.0);
        hash.finalize().iter().take(8).map(|octet| format!("{octet:02x}")).collect()
    }
}

/// When to send again.
#[derive(Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) next: Instant,
    interval: Duration,
}

impl Backoff {
    pub(crate) fn begin(now: Instant) -> Backoff {
        Backoff { next: now + T1, interval: T1 }
    }

    fn go_on(self, now: Instant) -> Backoff {
        let interval = (self.interval * 2).min(T2);
        Backoff { next: now + interval, interval }
    }
}

/// Something that is sent again and again until it is answered or [`PATIENCE`] is over.
pub(crate) struct Resent {
    pub(crate) again: Option<Backoff>,
    pub(crate) ends: Instant,
}

/// What is to be done about something that is due.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Send,
    GiveUp,
}

impl Resent {
    /// Sent now, and again if the way is not to be relied on.
    pub(crate) fn begin(now: Instant, is_repeated: bool) -> Resent {
        Resent { again: is_repeated.then(|| Backoff::begin(now)), ends: now + PATIENCE }
    }

    pub(crate) fn due(&self) -> Instant {
        self.again.map_or(self.ends, |again| again.next.min(self.ends))
    }

    pub(crate) fn handle_time(&mut self, now: Instant) -> Due {
        if self.ends <= now {
            return Due::GiveUp;
        }
        match self.again {
            Some(again) if again.next <= now => {
                self.again = Some(again.go_on(now));
                Due::Send
            }
            Some(_) | None => Due::Nothing,
        }
    }
}

/// How far a transaction has come.
pub(crate) enum Phase {
    /// It has no final response yet.
    Proceeding(Asker),
    /// The response is sent again until it is acknowledged, or only when it is asked for again.
    Done(Resent),
}

/// One request and its response.
pub(crate) struct Transaction {
    pub(crate) is_invite: bool,
    pub(crate) phase: Phase,
    /// What was last sent; nothing for a request that waits.
    pub(crate) response: Option<Zeroizing<Vec<u8>>>,
    pub(crate) leg: Option<LegId>,
    /// The response has agreed: its ACK is the dialog's, not the transaction's.
    pub(crate) is_accepted: bool,
    pub(crate) flow: crate::flow::Flow,
    pub(crate) scheduled: Option<Instant>,
}

impl Transaction {
    /// When it wants to be looked at.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.phase {
            // Whoever was asked answers in time, or the process has other troubles.
            Phase::Proceeding(_) => None,
            Phase::Done(resent) => Some(resent.due()),
        }
    }

    /// Its response has arrived; the transaction stays for what is late.
    pub(crate) fn acknowledged(&mut self, now: Instant) {
        if let Phase::Done(resent) = &mut self.phase {
            resent.again = None;
            if !self.is_accepted {
                resent.ends = resent.ends.min(now + T4);
            }
        }
    }
}

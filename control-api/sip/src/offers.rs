//! Offers: calls and what changes them, from the INVITE to its ACK.

use std::time::Instant;

use zeroize::Zeroizing;

use crate::agent::{Agent, Event, Invitation, LegId, Refusal, Request};
use crate::fields::{self, Basics};
use crate::leg::{Leg, MIN_SESSION_S, SessionTimer};
use crate::message::{CONTENT_ENCODING, CONTENT_TYPE, Method, REQUIRE};
use crate::reply::{ALLOW, Asker, Header, SDP, SUPPORTS, always};
use crate::transaction::{Key, Phase, Resent, Transaction};

/// A refusal before anybody was asked.
type Refused = (u16, Vec<Header>);

impl Agent {
    /// Answers an offer: of a call that was asked for, or a new one within a call.
    pub fn answer(&mut self, now: Instant, leg: LegId, sdp: &str) {
        let Some(known) = self.legs.get_mut(&leg) else { return };
        let Some(key) = known.pending.take() else { return };
        let Some(transaction) = self.transactions.get_mut(&key) else { return };
        let Phase::Proceeding(asker) = &transaction.phase else { return };
        known.is_answered = true;
        known.expires = known.timer.end(now);
        let mut headers = known.timer.headers();
        headers.push(("Contact", known.contact()));
        headers.extend([always(ALLOW), always(SUPPORTS)]);
        let octets = asker.reply(200, Some(&known.tag), &headers, Some(sdp));
        if transaction.is_invite {
            known.unacknowledged = Some((known.remote_cseq, key));
            transaction.is_accepted = true;
        }
        // It is sent again on any transport (RFC 3261 section 13.3.1.4).
        transaction.phase = Phase::Done(Resent::begin(now, transaction.is_invite));
        transaction.response = Some(octets.clone());
        let flow = transaction.flow;
        self.send(flow, octets);
        self.schedule_transaction(key);
        self.schedule_leg(leg);
    }

    /// Refuses an offer. A call that was not answered yet is over, others go on as they were.
    pub fn refuse(&mut self, now: Instant, leg: LegId, refusal: &Refusal) {
        let Some(known) = self.legs.get_mut(&leg) else { return };
        let (tag, is_answered) = (known.tag.clone(), known.is_answered);
        if let Some(key) = known.pending.take() {
            self.refuse_pending(now, key, &tag, (refusal.status, &refusal.headers()));
        }
        if !is_answered {
            self.forget(leg);
        }
    }

    pub(crate) fn refuse_pending(
        &mut self,
        now: Instant,
        key: Key,
        tag: &str,
        (status, headers): (u16, &[Header]),
    ) {
        let Some(transaction) = self.transactions.get_mut(&key) else { return };
        let Phase::Proceeding(asker) = &transaction.phase else { return };
        let octets = asker.reply(status, Some(tag), headers, None);
        let flow = transaction.flow;
        let is_repeated = transaction.is_invite && !flow.transport.is_reliable();
        transaction.phase = Phase::Done(Resent::begin(now, is_repeated));
        transaction.response = Some(octets.clone());
        transaction.leg = None;
        self.send(flow, octets);
        self.schedule_transaction(key);
    }

    pub(crate) fn take_invite(&mut self, key: Key, request: &Request<'_>) {
        // The same call by another way, split by a proxy (RFC 3261 section 8.2.2.2).
        let is_here = |leg: &Leg| leg.has(&request.basics) && leg.first_cseq == request.basics.cseq;
        if self.legs.values().any(is_here) {
            return self.reply_once(request, 482, &[]);
        }
        if !self.has_room() {
            return self.refuse_for_room(request);
        }
        let Some(callee) = fields::callee(request.uri) else {
            return self.reply_once(request, 416, &[]);
        };
        let sdp = match offer_of(request) {
            Ok(Some(sdp)) => sdp,
            Ok(None) => return self.reply_once(request, 488, &no_offer()),
            Err((status, headers)) => return self.reply_once(request, status, &headers),
        };
        let asker = request.asker();
        let (leg, tag) = self.new_leg();
        let begun = Leg::begin(request, asker.flow, tag.clone(), key);
        let Ok(begun) = begun else { return self.reply_once(request, 400, &[]) };
        self.legs.insert(leg, begun);
        self.tags.insert(tag, leg);
        self.expect_answer(key, leg, asker, true);
        self.events.push_back(Event::Invited(Invitation {
            leg,
            callee,
            sdp,
            call_id: request.basics.call_id.to_owned(),
            from: request.basics.from.to_owned(),
            to: request.basics.to.to_owned(),
        }));
    }

    /// A new offer within a call, by INVITE or UPDATE, or a call's refreshing.
    pub(crate) fn take_offer(&mut self, now: Instant, leg: LegId, key: Key, request: &Request<'_>) {
        let sdp = match offer_of(request) {
            Ok(sdp) => sdp,
            Err((status, headers)) => {
                return self.finish_at_once(now, (leg, key), request, (status, &headers));
            }
        };
        if !self.has_room_for_requests() {
            return self.refuse_for_room(request);
        }
        let Some(known) = self.legs.get_mut(&leg) else { return };
        if known.pending.is_some() || known.unacknowledged.is_some() {
            let later = [("Retry-After", "2".to_owned())];
            return self.finish_at_once(now, (leg, key), request, (500, &later));
        }
        known.timer = SessionTimer::of(&request.message);
        match (sdp, request.method) {
            (Some(sdp), method) => {
                known.pending = Some(key);
                self.expect_answer(key, leg, request.asker(), method == Method::Invite);
                self.events.push_back(Event::Offered { leg, sdp });
            }
            (None, Method::Update) => {
                known.expires = known.timer.end(now);
                let mut headers = known.timer.headers();
                headers.push(("Contact", known.contact()));
                self.schedule_leg(leg);
                self.finish_at_once(now, (leg, key), request, (200, &headers));
            }
            (None, _) => self.finish_at_once(now, (leg, key), request, (488, &no_offer())),
        }
    }

    fn expect_answer(&mut self, key: Key, leg: LegId, asker: Asker, is_invite: bool) {
        // Only calls ring long enough for their caller to wonder.
        let trying = is_invite.then(|| asker.reply(100, None, &[], None));
        let flow = asker.flow;
        if let Some(trying) = trying.clone() {
            self.send(flow, trying);
        }
        let transaction = Transaction {
            is_invite,
            phase: Phase::Proceeding(asker),
            response: trying,
            leg: Some(leg),
            is_accepted: false,
            flow,
            scheduled: None,
        };
        self.keep_transaction(leg, key, transaction);
    }

    pub(crate) fn acknowledge(&mut self, now: Instant, basics: &Basics<'_>, key: Key) {
        if let Some(transaction) = self.transactions.get_mut(&key).filter(|it| !it.is_accepted) {
            transaction.acknowledged(now);
            return self.schedule_transaction(key);
        }
        let leg = basics.to_tag.and_then(|tag| self.tags.get(tag)).copied();
        let Some(leg) = leg else { return };
        let Some(known) = self.legs.get_mut(&leg).filter(|leg| leg.has(basics)) else { return };
        let Some((_, key)) = known.unacknowledged.filter(|(cseq, _)| *cseq == basics.cseq) else {
            return;
        };
        known.unacknowledged = None;
        let is_leaving = known.is_leaving;
        if let Some(transaction) = self.transactions.get_mut(&key) {
            transaction.acknowledged(now);
        }
        self.schedule_transaction(key);
        if is_leaving {
            self.say_goodbye(now, leg);
        }
    }

    /// An answer was sent for long enough (RFC 3261 section 13.3.1.4).
    pub(crate) fn never_acknowledged(&mut self, now: Instant, leg: LegId, key: Key) {
        let Some(known) = self.legs.get_mut(&leg) else { return };
        if known.unacknowledged.is_none_or(|(_, waiting)| waiting != key) {
            return;
        }
        known.unacknowledged = None;
        if !known.is_leaving {
            self.events.push_back(Event::Ended { leg });
        }
        self.say_goodbye(now, leg);
    }

    /// The caller has thought better of it (RFC 3261 section 9.2).
    pub(crate) fn cancel(&mut self, now: Instant, request: &Request<'_>, key: Key) {
        let Some(transaction) = self.transactions.get(&key).filter(|it| it.is_invite) else {
            return self.refuse_unproven(now, request, 481, &[]);
        };
        let is_open = matches!(transaction.phase, Phase::Proceeding(_));
        let leg = transaction.leg.filter(|_| is_open);
        self.reply_once(request, 200, &[]);
        let Some(leg) = leg else { return };
        let Some(known) = self.legs.get_mut(&leg) else { return };
        known.pending = None;
        let (tag, is_answered) = (known.tag.clone(), known.is_answered);
        self.refuse_pending(now, key, &tag, (487, &[]));
        // A new offer that is taken back leaves the call as it was.
        if !is_answered {
            self.forget(leg);
            self.events.push_back(Event::Ended { leg });
        }
    }
}

/// The offer of a request that may have one.
fn offer_of(request: &Request<'_>) -> Result<Option<Zeroizing<Vec<u8>>>, Refused> {
    let message = &request.message;
    let required = message.all(REQUIRE).flat_map(fields::list);
    let unknown: Vec<&str> = required.filter(|tag| !tag.eq_ignore_ascii_case("timer")).collect();
    if !unknown.is_empty() {
        return Err((420, vec![("Unsupported", unknown.join(", "))]));
    }
    if SessionTimer::of(message) == SessionTimer::TooShort {
        return Err((422, vec![("Min-SE", MIN_SESSION_S.to_string())]));
    }
    if message.body.is_empty() {
        return Ok(None);
    }
    let kind = message.first(CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_encoded = message.all(CONTENT_ENCODING).any(|it| !it.eq_ignore_ascii_case("identity"));
    if !kind.eq_ignore_ascii_case(SDP) || is_encoded {
        let accept = ("Accept", SDP.to_owned());
        return Err((415, vec![accept, ("Accept-Encoding", "identity".to_owned())]));
    }
    Ok(Some(Zeroizing::new(message.body.to_vec())))
}

/// Calls that leave the offer to us are not taken: which codecs and keys there may be is theirs to
/// say.
fn no_offer() -> Vec<Header> {
    let advice = Some("send an offer in the INVITE".to_owned());
    Refusal { status: 488, retry_after: None, advice }.headers()
}

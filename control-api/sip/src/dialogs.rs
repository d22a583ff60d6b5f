//! Dialogs: what callers ask within a call, and how a call ends.

use std::time::Instant;

use crate::agent::{Agent, Event, LegId, Request};
use crate::info::{self, Keyed};
use crate::leg::Farewell;
use crate::message::{CONTENT_TYPE, Method};
use crate::reply::{ALLOW, Header, SUPPORTS, always};
use crate::transaction::{Due, Key, Resent};

impl Agent {
    /// Ends a call: the caller is sent a BYE, or a refusal if it was not answered yet. Nothing more
    /// is heard of it.
    pub fn hang_up(&mut self, now: Instant, leg: LegId) {
        let Some(known) = self.legs.get_mut(&leg) else { return };
        if std::mem::replace(&mut known.is_leaving, true) || known.farewell.is_some() {
            return;
        }
        let (tag, is_answered) = (known.tag.clone(), known.is_answered);
        if let Some(key) = known.pending.take() {
            self.refuse_pending(now, key, &tag, (480, &[]));
        }
        let Some(known) = self.legs.get(&leg) else { return };
        if !is_answered {
            self.forget(leg);
        } else if known.unacknowledged.is_none() {
            // Before the ACK the caller may not know yet that there is a call (section 15).
            self.say_goodbye(now, leg);
        }
    }

    pub(crate) fn say_goodbye(&mut self, now: Instant, leg: LegId) {
        let Some(known) = self.legs.get_mut(&leg) else { return };
        known.is_leaving = true;
        let (flow, octets) = (known.flow, known.bye());
        let resent = Resent::begin(now, !flow.transport.is_reliable());
        known.farewell = Some(Farewell { octets: octets.clone(), resent });
        self.send(flow, octets);
        self.schedule_leg(leg);
    }

    pub(crate) fn leg_is_due(&mut self, now: Instant, leg: LegId) {
        let Some(known) = self.legs.get_mut(&leg) else { return };
        known.scheduled = None;
        match known.handle_time(now) {
            Due::Nothing => {}
            Due::Send => {
                let octets = known.farewell.as_ref().map(|farewell| farewell.octets.clone());
                let flow = known.flow;
                if let Some(octets) = octets {
                    self.send(flow, octets);
                }
            }
            // Nobody answers our BYE, or has refreshed the session.
            Due::GiveUp if known.farewell.is_some() => return self.forget(leg),
            Due::GiveUp => {
                known.expires = None;
                self.events.push_back(Event::Ended { leg });
                self.hang_up(now, leg);
            }
        }
        self.schedule_leg(leg);
    }

    /// A request within a call.
    pub(crate) fn take_within(
        &mut self,
        now: Instant,
        leg: LegId,
        key: Key,
        request: &Request<'_>,
    ) {
        let Some(known) = self.legs.get_mut(&leg) else { return };
        // What comes late or twice is not done again (RFC 3261 section 12.2.2).
        if request.basics.cseq <= known.remote_cseq {
            return self.finish_at_once(now, (leg, key), request, (500, &[]));
        }
        known.remote_cseq = request.basics.cseq;
        known.heard(&request.message, request.asker().flow);
        let is_over = known.farewell.is_some();
        match request.method {
            Method::Bye => self.take_bye(now, leg, key, request),
            _ if is_over => self.finish_at_once(now, (leg, key), request, (481, &[])),
            Method::Invite | Method::Update => self.take_offer(now, leg, key, request),
            Method::Info => self.take_info(now, leg, key, request),
            Method::Options => {
                let headers = [always(ALLOW), always(SUPPORTS)];
                self.finish_at_once(now, (leg, key), request, (200, &headers));
            }
            Method::Ack | Method::Cancel | Method::Other => {
                self.finish_at_once(now, (leg, key), request, (405, &[always(ALLOW)]));
            }
        }
    }

    fn take_bye(&mut self, now: Instant, leg: LegId, key: Key, request: &Request<'_>) {
        self.finish_at_once(now, (leg, key), request, (200, &[]));
        let Some(known) = self.legs.get_mut(&leg) else { return };
        let (tag, was_leaving) = (known.tag.clone(), known.is_leaving);
        let pending = known.pending.take();
        // Nobody waits for that ACK any more.
        let unacknowledged = known.unacknowledged.take();
        if let Some(key) = pending {
            self.refuse_pending(now, key, &tag, (487, &[]));
        }
        if let Some((_, key)) = unacknowledged {
            if let Some(transaction) = self.transactions.get_mut(&key) {
                transaction.acknowledged(now);
            }
            self.schedule_transaction(key);
        }
        self.forget(leg);
        if !was_leaving {
            self.events.push_back(Event::Ended { leg });
        }
    }

    fn take_info(&mut self, now: Instant, leg: LegId, key: Key, request: &Request<'_>) {
        let body = request.message.body;
        let kind = request.message.first(CONTENT_TYPE).unwrap_or_default();
        let read = if body.is_empty() { Keyed::Other } else { info::read(kind, body) };
        let accept: [Header; 1] =
            [("Accept", "application/dtmf-relay, application/dtmf".to_owned())];
        let (status, headers): (u16, &[Header]) = match read {
            Keyed::Key(key) => {
                self.events.push_back(Event::Keyed { leg, key });
                (200, &[])
            }
            Keyed::Other => (200, &[]),
            Keyed::Malformed => (400, &[]),
            Keyed::Foreign => (415, &accept),
        };
        self.finish_at_once(now, (leg, key), request, (status, headers));
    }
}

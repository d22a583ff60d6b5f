//! Subscribed: who is sent copies of a call's media beside its parties.
//!
//! A subscriber is a sink like the engine. It hears what was forwarded ([`Subscribed::hear`], by
//! [`Call::forward`] alone), on our own clock: while the call is armed later by the look-ahead, and
//! in a cut silence, of both parties, in the same frames under the same numbers. It is sent no key
//! event, no report and nothing that the relay says. What comes to its ports is not read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use rand::Rng;
use zeroize::Zeroize;

use super::{Call, sabotaged};
use crate::codec::Codec;
use crate::switchboard::allowance::Allowance;
use crate::switchboard::command::{Refusal, Reply};
use crate::switchboard::egress::{Egress, EgressFormat, Position, Said};
use crate::switchboard::event::EventKind;
use crate::switchboard::grid::Grid;
use crate::switchboard::id::{PortPair, Side};
use crate::switchboard::keyed::Keyed;
use crate::switchboard::limits::{
    FRAME_SAMPLES, MAX_COPIES, MAX_SUBSCRIPTIONS, UNANSWERED_SUBSCRIPTION,
};
use crate::switchboard::outbox::Outbox;
use crate::switchboard::routing::Phase;
use crate::switchboard::subscription::{Copies, CopyMedia, SubscriptionId};
use crate::switchboard::transmit::Transmit;
use crate::wire::srtp::Outbound;

/// The subscriptions of one call. Apart, since most calls have none.
#[derive(Default)]
pub(super) struct Subscribed {
    subscriptions: ArrayVec<Subscription, MAX_SUBSCRIPTIONS>,
    /// Ports that nobody uses any more, until they are fetched: of all there may be.
    freed: ArrayVec<PortPair, { MAX_SUBSCRIPTIONS * MAX_COPIES }>,
}

/// One subscription.
struct Subscription {
    id: SubscriptionId,
    copies: Copies<Copied>,
    /// When it ends unless it is answered before.
    answer_by: Option<Instant>,
    /// It was told that somebody listens.
    is_told: bool,
}

/// One party's media on its way to a subscriber.
struct Copied {
    side: Side,
    ports: PortPair,
    stream: Option<Box<Stream>>,
}

/// A copy that is wanted.
struct Stream {
    to: SocketAddr,
    egress: Egress,
    outbound: Option<Box<Keyed<Outbound>>>,
    /// Of what has to be decoded.
    allowance: Allowance,
}

/// What fills a stream that begins now.
#[derive(Clone, Copy)]
enum Beginning<'c> {
    /// The party, held back for so long.
    Heard(Duration),
    /// Silence, its frames due with the engine's.
    Cut(&'c Egress),
}

impl Call {
    /// Takes a subscription in. Until it is answered, nothing is sent.
    pub(in crate::switchboard) fn subscribe(
        &mut self,
        now: Instant,
        id: SubscriptionId,
        copies: Copies<(Side, PortPair)>,
    ) -> Result<Reply, Refusal> {
        if self.phase() == Phase::Closed {
            return Err(Refusal::UnknownCall);
        }
        let subscribed = self.subscribed.get_or_insert_default();
        // Ports that were not fetched yet count as held.
        let is_full = subscribed.subscriptions.is_full() || !subscribed.freed.is_empty();
        if is_full || subscribed.find(id).is_some() {
            return Err(Refusal::TooManySubscriptions);
        }
        let copy = |(side, ports)| Copied { side, ports, stream: None };
        subscribed.subscriptions.push(Subscription {
            id,
            copies: copies.into_iter().map(copy).collect(),
            answer_by: Some(now + UNANSWERED_SUBSCRIPTION),
            is_told: false,
        });
        Ok(Reply::Done)
    }

    /// Sends copies to where they are wanted from now on. One that begins in a cut begins cut.
    pub(in crate::switchboard) fn listen(
        &mut self,
        now: Instant,
        id: SubscriptionId,
        wanted: Copies<Option<CopyMedia>>,
        random: &mut impl Rng,
        outbox: &mut Outbox,
    ) -> Result<Reply, Refusal> {
        let is_cut = self.phase().is_cut() && !sabotaged();
        let hold = self.hold();
        let codecs = self.codecs();
        let Self { subscribed, legs, grid, .. } = self;
        let found = subscribed.as_deref_mut().and_then(|subscribed| subscribed.find(id));
        let subscription = found.ok_or(Refusal::NoSubscription)?;
        subscription.answer_by = None;
        for (copy, wanted) in subscription.copies.iter_mut().zip(wanted) {
            let beginning = match is_cut {
                true => Beginning::Cut(legs[Side::Engine.index()].egress()),
                false => Beginning::Heard(hold),
            };
            copy.answer(now, wanted, codecs[copy.side.index()], beginning, *grid, random);
        }
        let is_heard = subscription.copies.iter().any(|copy| copy.stream.is_some());
        if is_heard && !std::mem::replace(&mut subscription.is_told, true) {
            self.tell(outbox, EventKind::Subscribed);
        }
        Ok(Reply::Done)
    }

    /// Ends a subscription.
    pub(in crate::switchboard) fn unsubscribe(
        &mut self,
        id: SubscriptionId,
        outbox: &mut Outbox,
    ) -> Result<Reply, Refusal> {
        match self.end_subscriptions(outbox, |subscription| subscription.id == id) {
            0 => Err(Refusal::NoSubscription),
            _ => Ok(Reply::Done),
        }
    }

    /// Ends those that nobody has answered in time.
    pub(super) fn end_unanswered(&mut self, now: Instant, outbox: &mut Outbox) {
        self.end_subscriptions(outbox, |subscription| {
            subscription.answer_by.is_some_and(|by| by <= now)
        });
    }

    /// Ends all of them.
    pub(super) fn end_all_subscriptions(&mut self, outbox: &mut Outbox) {
        self.end_subscriptions(outbox, |_| true);
    }

    /// The next pair of ports that no subscription uses any more.
    pub(in crate::switchboard) fn poll_freed(&mut self) -> Option<PortPair> {
        self.subscribed.as_mut()?.freed.pop()
    }

    /// Withholds both parties from subscribers, in frames that are due with the engine's. What was
    /// held back of them is gone when this returns.
    pub(super) fn silence_copies(&mut self, now: Instant) {
        let Self { subscribed, legs, .. } = self;
        if let Some(subscribed) = subscribed {
            let engine = legs[Side::Engine.index()].egress();
            subscribed.streams().for_each(|stream| stream.egress.silence_along(now, engine));
        }
    }

    /// How many are being sent copies.
    pub(super) fn listeners(&self) -> usize {
        let listens = |subscription: &&Subscription| subscription.is_told;
        let all = self.subscribed.iter().flat_map(|subscribed| &subscribed.subscriptions);
        all.filter(listens).count()
    }

    /// Fills the copies with the parties' audio again, held back as the engine's is.
    pub(super) fn resume_copies(&mut self, now: Instant) {
        let hold = self.hold();
        if let Some(subscribed) = &mut self.subscribed {
            subscribed.streams().for_each(|stream| {
                stream.egress.pace_copies(now, hold);
                stream.egress.forget();
            });
        }
    }

    /// The parties' codecs may have changed.
    pub(super) fn reformat_copies(&mut self, now: Instant) {
        let codecs = self.codecs();
        if let Some(subscribed) = &mut self.subscribed {
            for copy in subscribed.copies() {
                let heard = codecs[copy.side.index()];
                if let Some(Stream { egress, .. }) = copy.stream.as_deref_mut() {
                    egress.reformat(now, EgressFormat { heard, ..egress.format() });
                }
            }
        }
    }

    /// By how much copies are held back: by the look-ahead, while there is one.
    fn hold(&mut self) -> Duration {
        match self.phase() {
            Phase::Armed => self.egress(Side::Engine).hold(),
            Phase::Open
            | Phase::Secure(_)
            | Phase::Draining(_)
            | Phase::Held(_)
            | Phase::Closed => Duration::ZERO,
        }
    }

    fn codecs(&self) -> [Codec; 2] {
        Side::ALL.map(|side| self.legs[side.index()].media().codec)
    }

    fn end_subscriptions(
        &mut self,
        outbox: &mut Outbox,
        is_over: impl Fn(&Subscription) -> bool,
    ) -> usize {
        let Some(subscribed) = &mut self.subscribed else { return 0 };
        let Subscribed { subscriptions, freed } = &mut **subscribed;
        let (mut ended, mut told) = (0, 0);
        subscriptions.retain(|subscription| {
            let is_over = is_over(subscription);
            if is_over {
                freed.extend(subscription.copies.iter().map(|copy| copy.ports));
                ended += 1;
                told += usize::from(subscription.is_told);
            }
            !is_over
        });
        for _ in 0..told {
            self.tell(outbox, EventKind::Unsubscribed);
        }
        ended
    }
}

impl Subscribed {
    /// Takes in what was forwarded of a party. Nothing is sent or allocated.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        side: Side,
        at: Position,
        codec: Codec,
        payload: &[u8],
    ) {
        for copy in self.copies() {
            let Some(stream) = copy.stream.as_deref_mut() else { continue };
            if copy.side == side {
                stream.hear(now, at, codec, payload);
            }
            match side {
                Side::Caller => stream.egress.keep_apart(now),
                Side::Engine => {}
            }
        }
    }

    /// Writes the next frame that is due into `buffer`.
    pub(super) fn generate(&mut self, now: Instant, buffer: &mut [u8]) -> Option<Transmit> {
        self.copies().find_map(|copy| {
            let (port, stream) = (copy.ports.rtp(), copy.stream.as_deref_mut()?);
            let (to, len) = stream.generate(now, buffer)?;
            Some(Transmit { port, to, range: 0..len })
        })
    }

    /// When something has to be sent or ended.
    pub(super) fn due(&self) -> Option<Instant> {
        let unanswered = self.subscriptions.iter().filter_map(|it| it.answer_by);
        let copies = self.subscriptions.iter().flat_map(|it| &it.copies);
        let streams = copies.filter_map(|copy| copy.stream.as_ref()?.egress.due());
        unanswered.chain(streams).min()
    }

    fn find(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|subscription| subscription.id == id)
    }

    fn copies(&mut self) -> impl Iterator<Item = &mut Copied> {
        self.subscriptions.iter_mut().flat_map(|subscription| &mut subscription.copies)
    }

    fn streams(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.copies().filter_map(|copy| copy.stream.as_deref_mut())
    }
}

impl Copied {
    /// Goes to where it is wanted, or nowhere. A stream that there is already goes on unbroken.
    fn answer(
        &mut self,
        now: Instant,
        wanted: Option<CopyMedia>,
        heard: Codec,
        beginning: Beginning<'_>,
        grid: Grid,
        random: &mut impl Rng,
    ) {
        let Some(media) = wanted else {
            self.stream = None;
            return;
        };
        let CopyMedia { remote, codec, payload_type, ptime, they_receive, key } = media;
        let format = EgressFormat { codec, payload_type, ptime, audible: they_receive, heard };
        let keyed = |key| Box::new(Keyed { context: Outbound::new(&key), key });
        let outbound = key.map(keyed);
        if let Some(stream) = &mut self.stream {
            stream.to = remote;
            stream.egress.reformat(now, format);
            stream.outbound = Keyed::renewed(stream.outbound.take(), outbound);
            return;
        }
        let mut egress = Egress::new(format, grid, random);
        match beginning {
            Beginning::Heard(hold) => egress.pace_copies(now, hold),
            Beginning::Cut(engine) => egress.silence_along(now, engine),
        }
        let allowance = Allowance::new(now);
        self.stream = Some(Box::new(Stream { to: remote, egress, outbound, allowance }));
    }
}

impl Stream {
    fn hear(&mut self, now: Instant, at: Position, codec: Codec, payload: &[u8]) {
        if let (Some(from), Some(to)) = (codec.law(), self.egress.format().codec.law()) {
            let mut codes = [0; FRAME_SAMPLES];
            for part in payload.chunks(FRAME_SAMPLES) {
                let codes = &mut codes[..part.len()];
                codes.copy_from_slice(part);
                from.transcode(to, codes);
                self.egress.copy_audio(now, at, codes);
            }
            codes.zeroize();
        } else if self.allowance.spend(now, codec.length(at.samples)) {
            self.egress.copy_audio(now, at, payload);
        }
    }

    /// Frames that are due and not wanted are passed over.
    fn generate(&mut self, now: Instant, buffer: &mut [u8]) -> Option<(SocketAddr, usize)> {
        while self.egress.due().is_some_and(|due| due <= now) {
            let Some(len) = self.egress.generate(now, buffer, &mut |_| Said::Nothing) else {
                continue;
            };
            let len = match &mut self.outbound {
                Some(outbound) => outbound.context.protect(buffer, len).ok(),
                None => Some(len),
            };
            if let Some(len) = len {
                return Some((self.to, len));
            }
        }
        None
    }
}

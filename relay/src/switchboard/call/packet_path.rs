//! Packet path: what a call does with one datagram. Caller media leaves through
//! [`Call::forward`] and nowhere else.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use dtmf::event_receiver::EventPacket;
use dtmf::g711::Law;
use dtmf::redundancy::Redundancy;
use zeroize::Zeroize;

use super::Call;
use crate::codec::{Codec, NARROW, Undecodable};
use crate::recording::Tape;
use crate::switchboard::egress::Position;
use crate::switchboard::id::Side;
use crate::switchboard::leg::{Component, Heard};
use crate::switchboard::limits::MAX_FRAME;
use crate::switchboard::ntp_anchor::NtpAnchor;
use crate::switchboard::outbox::Outbox;
use crate::switchboard::routing::{DropReason, Media, Route, is_copied, route};
use crate::switchboard::transmit::{Extent, Transmit};

impl Call {
    /// Handles a datagram that came to one of the call's ports. What has to be sent at once is
    /// returned; it lies in `buffer`.
    #[expect(clippy::too_many_arguments, reason = "the parts of one datagram, on the packet path")]
    pub(in crate::switchboard) fn handle_packet(
        &mut self,
        now: Instant,
        ntp: NtpAnchor,
        side: Side,
        component: Component,
        from: SocketAddr,
        buffer: &mut [u8],
        len: usize,
        outbox: &mut Outbox,
    ) -> Option<Transmit> {
        let is_cut = self.phase().is_cut();
        let leg = &mut self.legs[side.index()];
        let outcome = match leg.hear(now, component, from, buffer, len, !is_cut) {
            Ok(Heard::Rtp { media, at, payload }) => {
                self.take_rtp(now, side, media, at, payload, buffer, outbox)
            }
            Ok(Heard::Rtcp(len)) => self.take_rtcp(now, ntp, side, &buffer[..len]),
            Ok(Heard::Answer(len)) => {
                self.is_due_open = true;
                let port = self.legs[side.index()].ports().rtp();
                return Some(Transmit { port, to: from, range: 0..len });
            }
            Ok(Heard::Nothing) => Ok(None),
            Err(reason) => Err(reason),
        };
        // What is dropped moves nothing. To find that out again would mean to look into the session's
        // page for each packet of an engine that talks on. With the protection broken on purpose, what
        // could not leak has been collected all the same.
        self.is_due_open |= outcome.is_ok() || sabotaged();
        match outcome {
            Ok(Some(extent)) => match self.legs[side.other().index()].address(now, extent) {
                Some(transmit) => return Some(transmit),
                None => self.legs[side.index()].count_drop(DropReason::NotAgreed),
            },
            Ok(None) => {}
            Err(reason) => self.legs[side.index()].count_drop(reason),
        }
        if is_cut {
            // Whatever it was, the caller's part of it must not linger in a reused buffer.
            buffer[..len].zeroize();
        }
        None
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one packet, on the packet path")]
    fn take_rtp(
        &mut self,
        now: Instant,
        side: Side,
        media: Media,
        at: Position,
        payload: Range<usize>,
        buffer: &mut [u8],
        outbox: &mut Outbox,
    ) -> Result<Option<Extent>, DropReason> {
        let phase = self.phase();
        match side {
            Side::Caller => {
                self.refuse_straggler(now, media, at)?;
                if !phase.is_cut() {
                    self.know(now, media, at, &buffer[payload.clone()]);
                }
            }
            Side::Engine => {}
        }
        match route(phase, side, media) {
            Route::Forward | Route::Unpack
                if self.blocked[side.index()].holds(media) || self.is_covered(side) =>
            {
                Err(DropReason::NotAgreed)
            }
            Route::Forward => self.forward(now, side, media, at, payload, buffer),
            Route::Unpack => self.forward_newest(now, side, at, payload, buffer),
            Route::Collect => {
                self.collect(now, media, at, &buffer[payload.clone()], outbox)?;
                self.leak_if_sabotaged(now, side, media, at, payload, buffer)
            }
            Route::Drop(reason) => Err(reason),
            Route::Terminate => unreachable!("only reports are terminated"),
        }
    }

    fn take_rtcp(
        &mut self,
        now: Instant,
        ntp: NtpAnchor,
        side: Side,
        reports: &[u8],
    ) -> Result<Option<Extent>, DropReason> {
        match route(self.phase(), side, Media::Rtcp) {
            Route::Terminate => {
                self.legs[side.index()].read_rtcp(now, ntp.time_of(now), reports);
                Ok(None)
            }
            Route::Drop(reason) => Err(reason),
            Route::Forward | Route::Collect | Route::Unpack => {
                unreachable!("reports end at the leg")
            }
        }
    }

    /// Stops what the caller sent during a cut that is over: it is neither for the engine nor for
    /// the next session.
    fn refuse_straggler(&self, now: Instant, media: Media, at: Position) -> Result<(), DropReason> {
        if self.memory.is_straggler(now, self.phase().is_cut(), media, at) {
            return Err(DropReason::Straggler);
        }
        Ok(())
    }

    /// Knows of the keys of the open, so that one held over the flip is no key of the session. Never
    /// of a key of a session, not even by a copy sent after it: what knows one lies in the session's
    /// locked page.
    fn know(&mut self, now: Instant, media: Media, at: Position, payload: &[u8]) {
        let Self { keys_before, memory, legs, .. } = self;
        match media {
            Media::TelephoneEvent => {
                keys_before.hear(event_packet(now, at, payload), &mut |_| {});
            }
            Media::Redundancy => {
                let agreed = legs[Side::Caller.index()].media().telephone_event;
                let blocks = Redundancy::parse(payload).into_iter().flatten();
                for block in blocks.filter(|block| Some(block.payload_type) == agreed) {
                    let timestamp = at.timestamp.wrapping_sub(block.age);
                    let marker = at.marker && !block.is_copy;
                    let at = Position { timestamp, marker, ..at };
                    if !memory.is_straggler(now, false, Media::TelephoneEvent, at) {
                        keys_before.hear(event_packet(now, at, block.payload), &mut |_| {});
                    }
                }
            }
            Media::Audio | Media::Rtcp | Media::Unknown => {}
        }
    }

    /// Passes the newest key event of a redundant packet on as if it had come alone. The copies are
    /// overwritten: they may be of a session that is over.
    fn forward_newest(
        &mut self,
        now: Instant,
        side: Side,
        at: Position,
        payload: Range<usize>,
        buffer: &mut [u8],
    ) -> Result<Option<Extent>, DropReason> {
        let newest = self.legs[side.index()].unpack(at, payload.clone(), buffer);
        let kept = newest.as_ref().map_or(payload.end, |(_, newest)| newest.start);
        buffer[payload.start..kept].zeroize();
        let (at, newest) = newest?;
        self.forward(now, side, Media::TelephoneEvent, at, newest, buffer)
    }

    /// The only way of a party's media to the other party, to subscribers and onto the tape.
    fn forward(
        &mut self,
        now: Instant,
        side: Side,
        media: Media,
        at: Position,
        payload: Range<usize>,
        buffer: &mut [u8],
    ) -> Result<Option<Extent>, DropReason> {
        // In every build: a way past the table is worth more than the nanosecond this takes.
        assert!(sabotaged() || route(self.phase(), side, media) == Route::Forward);
        let Self { legs, recorded, subscribed, routing, .. } = self;
        let from = legs[side.index()].media().codec;
        let to = legs[side.other().index()].media().codec;
        if let Some(subscribed) = subscribed
            && (is_copied(routing.phase(), media) || sabotaged() && media == Media::Audio)
        {
            subscribed.hear(now, side, at, from, &buffer[payload.clone()]);
        }
        let mut tape = None;
        match media {
            Media::Audio => {
                tape = recorded.open_tape(now, side, at);
                if let (Some(law), Some(to)) = (from.law(), to.law()) {
                    if let Some(tape) = &mut tape {
                        tape.lay(now, side, at.timestamp, law, &buffer[payload.clone()]);
                    }
                    law.transcode(to, &mut buffer[payload.clone()]);
                }
            }
            Media::TelephoneEvent => rescale(&mut buffer[payload.clone()], from, to),
            Media::Redundancy | Media::Rtcp | Media::Unknown => unreachable!("never forwarded"),
        }
        let place = at.timestamp / (from.clock() / NARROW);
        // Of what has to be decoded anyway, the tape gets what was decoded.
        let mut heard = |pcm: &[i16]| {
            if let Some(tape) = &mut tape {
                lay_samples(tape, now, side, place, pcm);
            }
        };
        legs[side.other().index()].pass(now, media, at, payload, buffer, &mut heard)
    }

    /// Takes caller media to the session, the only one who may hear it.
    fn collect(
        &mut self,
        now: Instant,
        media: Media,
        at: Position,
        payload: &[u8],
        outbox: &mut Outbox,
    ) -> Result<(), DropReason> {
        self.memory.note(media, at);
        let agreed = self.legs[Side::Caller.index()].media();
        let (codec, event_type) = (agreed.codec, agreed.telephone_event);
        let session = self.routing.session().expect("caller media is collected only in a session");
        match media {
            Media::Audio => {
                session
                    .hear_audio(now, codec, at, payload)
                    .map_err(|Undecodable| DropReason::Malformed)?;
            }
            Media::TelephoneEvent => session.hear_event(event_packet(now, at, payload)),
            Media::Redundancy => session
                .hear_redundant(
                    event_packet(now, at, payload),
                    event_type.ok_or(DropReason::NotAgreed)?,
                )
                .map_err(|_| DropReason::Malformed)?,
            Media::Rtcp | Media::Unknown => unreachable!("never collected"),
        }
        self.conclude(now, outbox);
        Ok(())
    }

    /// Shows that the checks can fail: with the protection broken on purpose, what the collector
    /// heard goes on to the engine and the tape as well. Always `Ok(None)` in a normal build.
    fn leak_if_sabotaged(
        &mut self,
        now: Instant,
        side: Side,
        media: Media,
        at: Position,
        payload: Range<usize>,
        buffer: &mut [u8],
    ) -> Result<Option<Extent>, DropReason> {
        if !sabotaged() {
            return Ok(None);
        }
        match media {
            Media::Redundancy => self.forward_newest(now, side, at, payload, buffer),
            Media::Audio | Media::TelephoneEvent | Media::Rtcp | Media::Unknown => {
                self.forward(now, side, media, at, payload, buffer)
            }
        }
    }
}

/// Lays samples at 8 kHz, as the octets that a tape is made of.
fn lay_samples(tape: &mut Tape, now: Instant, side: Side, place: u32, pcm: &[i16]) {
    let mut codes = [0; MAX_FRAME];
    for (part, samples) in (0..).zip(pcm.chunks(MAX_FRAME)) {
        let codes = &mut codes[..samples.len()];
        Law::Mu.encode_all(samples, codes);
        tape.lay(now, side, place.wrapping_add(part * MAX_FRAME as u32), Law::Mu, codes);
    }
    codes.zeroize();
}

/// Says how long a key event lasts in ticks of another clock.
fn rescale(event: &mut [u8], from: Codec, to: Codec) {
    if from.clock() == to.clock() {
        return;
    }
    if let [_, _, high, low, ..] = event {
        let ticks = u32::from(u16::from_be_bytes([*high, *low]));
        let ticks = u64::from(ticks) * u64::from(to.clock()) / u64::from(from.clock());
        // A segment may be of no clock longer than this can say (RFC 4733 section 2.5.1.3).
        [*high, *low] = u16::try_from(ticks).unwrap_or(u16::MAX).to_be_bytes();
    }
}

#[cfg(feature = "sabotage")]
pub(super) fn sabotaged() -> bool {
    crate::sabotage::masking_is_broken()
}

#[cfg(not(feature = "sabotage"))]
pub(super) const fn sabotaged() -> bool {
    false
}

fn event_packet(now: Instant, at: Position, payload: &[u8]) -> EventPacket<'_> {
    EventPacket {
        arrival: now,
        ssrc: at.ssrc,
        sequence: at.sequence,
        timestamp: at.timestamp,
        marker: at.marker,
        payload,
    }
}

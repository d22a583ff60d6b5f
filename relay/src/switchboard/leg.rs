//! Leg: one party's media endpoint. What it hears is proven first, then counted, then used.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use dtmf::redundancy::Redundancy;
use dtmf::telephone_event::REPORT_LENGTH;
use rand::{Rng, RngExt};

use super::access::Access;
use super::allowance::Allowance;
use super::association::{Signal, is_media};
use super::cut_counts::CutCounts;
use super::egress::{Egress, EgressFormat, Passage, Position, Speech};
use super::gate::Admission;
use super::grid::Grid;
use super::id::{LocalPort, PortPair};
use super::keyed::Keyed;
use super::limits::RTCP_INTERVAL;
use super::media::{LegMedia, SourceRule, SrtpKeys};
use super::ntp_anchor::NtpAnchor;
use super::reception::{Reception, mos_hundredths};
use super::routing::{DropReason, Media};
use super::snapshot::{LegCounts, LegSnapshot, Transport};
use super::transcoder::Listener;
use super::transmit::{Extent, Transmit};
use crate::codec::Codec;
use crate::wire::ntp::NtpTime;
use crate::wire::rtcp::{self, Compound, RtcpPacket, SenderReport};
use crate::wire::rtp::{FIXED_HEADER_LEN, Header, RtpPacket, is_rtcp};
use crate::wire::srtp::{Inbound, Outbound};

/// Which port of a pair a datagram came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Component {
    /// The even port.
    Rtp,
    /// The odd port.
    Rtcp,
}

/// One party's media endpoint.
pub(super) struct Leg {
    ports: PortPair,
    media: LegMedia,
    access: Access,
    /// Apart, since most legs have none: the windows of their sources take a page.
    inbound: Option<Box<Keyed<Inbound>>>,
    outbound: Option<Box<Keyed<Outbound>>>,
    egress: Egress,
    reception: Reception,
    drops: [u64; DropReason::ALL.len()],
    /// There is none before the first cut.
    cuts: Option<Box<CutCounts>>,
    last_heard: Instant,
    /// Of what has to be decoded; most legs have nothing of it.
    allowance: Option<Box<Allowance>>,
    rtcp_due: Instant,
    cname: [u8; 16],
}

/// A packet that is proven to be the peer's, in clear.
pub(super) enum Heard {
    /// RTP that routing has to decide on.
    Rtp {
        /// What it carries.
        media: Media,
        /// Its place in the peer's stream.
        at: Position,
        /// Where the payload lies in the buffer.
        payload: Range<usize>,
    },
    /// RTCP of this length.
    Rtcp(usize),
    /// No media; an answer of this length lies in the buffer, for whoever sent it.
    Answer(usize),
    /// No media, and nothing to do.
    Nothing,
}

impl Leg {
    /// A leg on two bound ports. `random` names its stream (RFC 3550 section 5.1, RFC 7022).
    pub(super) fn new(
        now: Instant,
        grid: Grid,
        ports: PortPair,
        mut media: LegMedia,
        heard: Codec,
        random: &mut impl Rng,
    ) -> Leg {
        let (inbound, outbound) = srtp_contexts(media.srtp.take());
        let access = Access::new(now, &mut media, random);
        let mut cname = [0; 16];
        for octet in &mut cname {
            *octet = b"0123456789abcdef"[random.random_range(0..16)];
        }
        let egress = Egress::new(format_of(&media, heard), grid, random);
        Leg {
            ports,
            access,
            inbound,
            outbound,
            egress,
            reception: Reception::new(now, media.codec.clock()),
            drops: [0; DropReason::ALL.len()],
            cuts: None,
            last_heard: now,
            allowance: None,
            rtcp_due: now + RTCP_INTERVAL,
            cname,
            media,
        }
    }

    /// Takes over what a re-offer agreed. Our stream goes on unbroken; keys are new ones.
    pub(super) fn reagree(&mut self, now: Instant, mut media: LegMedia, random: &mut impl Rng) {
        let is_still = self.access.is_still(&media);
        // Keys of DTLS are the connection's, and last as long as it does.
        if !(is_still && self.access.is_secret()) {
            let (inbound, outbound) = srtp_contexts(media.srtp.take());
            self.outbound = Keyed::renewed(self.outbound.take(), outbound);
            self.inbound = Keyed::renewed(self.inbound.take(), inbound);
        }
        if !is_still {
            self.access = Access::new(now, &mut media, random);
        } else if let (Access::Browser(browser), SourceRule::Browser(peer)) =
            (&mut self.access, std::mem::take(&mut media.source))
        {
            browser.renew(*peer);
        }
        if media.codec != self.media.codec {
            self.reception.set_clock(media.codec.clock());
        }
        self.media = media;
        self.last_heard = now;
    }

    /// Whether a re-offer leaves the peer who and where it is: its addresses, what it proves itself
    /// by, and the key that it protects with.
    pub(super) fn is_untouched_by(&self, media: &LegMedia) -> bool {
        if !self.access.is_untouched_by(media) {
            return false;
        }
        if self.access.is_secret() {
            return true;
        }
        let is_same_key = match (&self.inbound, &media.srtp) {
            (Some(known), Some(keys)) => known.key.same_as(&keys.inbound),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let has_rtcp_there = media.rtcp_mux || media.remote_rtcp == self.media.remote_rtcp;
        is_same_key && has_rtcp_there && media.rtcp_mux == self.media.rtcp_mux
    }

    /// Follows what was agreed anew, for this leg or for the other party's, which speaks `heard`.
    pub(super) fn reformat(&mut self, now: Instant, heard: Codec) {
        self.egress.reformat(now, format_of(&self.media, heard));
    }

    /// Reads a datagram that came to this leg. Nothing of the leg changes, counters of dropped
    /// packets aside, unless the datagram is proven to be the peer's.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        component: Component,
        from: SocketAddr,
        buffer: &mut [u8],
        len: usize,
        may_latch: bool,
    ) -> Result<Heard, DropReason> {
        if !is_media(&buffer[..len])
            && let Some(signal) = self.access.hear(now, component, from, buffer, len)
        {
            return signal.map(|signal| self.heed(signal));
        }
        let datagram = &mut buffer[..len];
        let &second = datagram.get(1).ok_or(DropReason::Malformed)?;
        match (component, is_rtcp(second)) {
            (Component::Rtp, false) => self.hear_rtp(now, from, datagram, may_latch),
            (Component::Rtp, true) if self.media.rtcp_mux => self.hear_rtcp(now, from, datagram),
            (Component::Rtcp, true) if !self.media.rtcp_mux => self.hear_rtcp(now, from, datagram),
            (Component::Rtp, true) | (Component::Rtcp, true | false) => Err(DropReason::Malformed),
        }
    }

    fn heed(&mut self, signal: Signal) -> Heard {
        match signal {
            Signal::Answer(len) => return Heard::Answer(len),
            Signal::Keys(keys) => (self.inbound, self.outbound) = srtp_contexts(Some(*keys)),
            Signal::Over => (self.inbound, self.outbound) = (None, None),
            Signal::Nothing => {}
        }
        Heard::Nothing
    }

    /// Uses reports that were heard: statistics, and nothing else.
    pub(super) fn read_rtcp(&mut self, now: Instant, now_ntp: NtpTime, datagram: &[u8]) {
        let Ok(compound) = Compound::parse(datagram) else {
            return self.count_drop(DropReason::Malformed);
        };
        for packet in compound {
            let reports = match packet {
                RtcpPacket::SenderReport { sender, reports } => {
                    self.reception.hear_sender_report(now, sender.ntp_time);
                    reports
                }
                RtcpPacket::ReceiverReport { reports, .. } => reports,
                // A goodbye is advice that anyone could send on plain RTP; signalling ends calls.
                RtcpPacket::Goodbye { .. }
                | RtcpPacket::SourceDescription(_)
                | RtcpPacket::Application { .. }
                | RtcpPacket::Unknown { .. } => continue,
            };
            for block in reports.filter(|block| block.ssrc == self.egress.ssrc()) {
                self.reception.hear_report_of_us(now_ntp, &block);
            }
        }
    }

    /// Makes a packet of the other party ready to leave under our own header, in the same buffer:
    /// the payload stays where it is, a fixed header is put in front of it, an SRTP tag behind.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        media: Media,
        from: Position,
        payload: Range<usize>,
        buffer: &mut [u8],
        heard: &mut Listener<'_>,
    ) -> Result<Option<Extent>, DropReason> {
        // Before the stream counts a packet that could not leave.
        if self.access.is_secret() && self.outbound.is_none() {
            return Err(DropReason::NotAgreed);
        }
        let passage = match (media, self.media.telephone_event) {
            (Media::Audio, _) => self.egress.pass_audio(now, from, &buffer[payload.clone()], heard),
            (Media::TelephoneEvent, Some(payload_type)) if self.media.wants_events => {
                self.egress.pass_event(now, from, payload_type)
            }
            (Media::TelephoneEvent, Some(_) | None)
            | (Media::Redundancy | Media::Rtcp | Media::Unknown, _) => Passage::Unwanted,
        };
        match passage {
            Passage::Now(header) => self.send(now, header, payload, buffer).map(Some),
            Passage::Later => Ok(None),
            Passage::Straggler => Err(DropReason::Straggler),
            Passage::Malformed => Err(DropReason::Malformed),
            Passage::Unwanted => Err(DropReason::NotAgreed),
        }
    }

    /// The newest key event of a redundant packet of this leg, as the packet that it would be alone.
    pub(super) fn unpack(
        &self,
        at: Position,
        payload: Range<usize>,
        buffer: &[u8],
    ) -> Result<(Position, Range<usize>), DropReason> {
        let blocks =
            Redundancy::parse(&buffer[payload.clone()]).map_err(|_| DropReason::Malformed)?;
        let newest = blocks
            .last()
            .filter(|block| Some(block.payload_type) == self.media.telephone_event)
            .filter(|block| block.payload.len() >= REPORT_LENGTH)
            .ok_or(DropReason::UnknownPayload)?;
        let samples = event_samples(newest.payload);
        Ok((Position { samples, ..at }, payload.end - newest.payload.len()..payload.end))
    }

    /// Writes a generated frame or report that is due into `buffer`.
    pub(super) fn generate(
        &mut self,
        now: Instant,
        ntp: NtpAnchor,
        buffer: &mut [u8],
        speech: &mut Speech<'_>,
    ) -> Option<Transmit> {
        if let Some((to, len)) = self.access.poll(now, buffer) {
            return Some(Transmit { port: self.ports.rtp(), to, range: 0..len });
        }
        while self.egress.due().is_some_and(|due| due <= now) {
            if let Some(len) = self.egress.generate(now, buffer, speech)
                && let Ok(extent) = self.protected(0, len, buffer)
                && let Some(transmit) = self.address(now, extent)
            {
                return Some(transmit);
            }
        }
        if self.rtcp_due > now {
            return None;
        }
        self.rtcp_due = now + RTCP_INTERVAL;
        self.report(now, ntp.time_of(now), buffer)
    }

    /// When [`Leg::generate`] has something to do.
    pub(super) fn due(&self) -> Instant {
        let due = self.egress.due().map_or(self.rtcp_due, |due| due.min(self.rtcp_due));
        self.access.due().map_or(due, |other| due.min(other))
    }

    /// Our stream to this leg's peer.
    pub(super) fn egress(&mut self) -> &mut Egress {
        &mut self.egress
    }

    /// What was agreed.
    pub(super) fn media(&self) -> &LegMedia {
        &self.media
    }

    /// The leg's ports.
    pub(super) fn ports(&self) -> PortPair {
        self.ports
    }

    /// When the peer was last heard, or agreed to anew.
    pub(super) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// Counts a packet that went nowhere.
    pub(super) fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason.index()] += 1;
    }

    /// What is counted from now on came in a cut.
    pub(super) fn begin_cut(&mut self) {
        let counts = self.counts();
        self.cuts.get_or_insert_default().begin(counts);
    }

    /// What is counted from now on came in the open.
    pub(super) fn end_cut(&mut self) {
        let counts = self.counts();
        if let Some(cuts) = &mut self.cuts {
            cuts.end(counts);
        }
    }

    /// Counters and quality, copied out.
    pub(super) fn snapshot(&self) -> LegSnapshot {
        let (lost, heard) = (self.reception.lost(), self.reception.packets());
        let (jitter, round_trip) = (self.reception.jitter(), self.reception.round_trip());
        LegSnapshot {
            codec: self.media.codec,
            transport: self.transport(),
            they_send: self.media.they_send,
            they_receive: self.media.they_receive,
            packets_received: heard,
            packets_sent: self.egress.sent().0,
            packets_lost: lost,
            jitter,
            round_trip,
            mos_hundredths: mos_hundredths(lost, heard, jitter, round_trip),
            drops: self.drops,
            in_cuts: self.in_cuts(),
        }
    }

    /// Addresses what [`Leg::pass`] made ready to the peer, if it is known where that is.
    pub(super) fn address(&self, now: Instant, extent: Extent) -> Option<Transmit> {
        let to = self.access.target(now)?;
        Some(Transmit { port: self.ports.rtp(), to, range: extent.range() })
    }

    fn transport(&self) -> Transport {
        match (&self.access, &self.outbound) {
            (Access::Browser(_), _) => Transport::WebRtc,
            (Access::Telephone(_), _) | (Access::Signalled(_), Some(_)) => Transport::Srtp,
            (Access::Signalled(_) | Access::Nobody, _) => Transport::Rtp,
        }
    }

    fn in_cuts(&self) -> LegCounts {
        self.cuts.as_ref().map_or_else(LegCounts::default, |cuts| cuts.total(self.counts()))
    }

    fn counts(&self) -> LegCounts {
        LegCounts { packets_received: self.reception.packets(), drops: self.drops }
    }

    fn hear_rtp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        may_latch: bool,
    ) -> Result<Heard, DropReason> {
        let admission = self.access.judge(now, from, may_latch);
        if admission == Admission::Stranger {
            return Err(DropReason::UnknownPeer);
        }
        let (header, _) = Header::parse(datagram).map_err(|_| DropReason::Malformed)?;
        let media = self.classify(header.payload_type);
        let len = match &mut self.inbound {
            Some(inbound) => {
                inbound.context.unprotect(datagram).map_err(|_| DropReason::Unauthenticated)?
            }
            None if self.access.is_secret() => return Err(DropReason::Unauthenticated),
            None => datagram.len(),
        };
        let packet = RtpPacket::parse(&datagram[..len]).map_err(|_| DropReason::Malformed)?;
        self.admit(admission, from, &packet.header)?;
        let at = position(media, self.media.codec, &packet, &datagram[packet.payload.clone()]);
        self.last_heard = now;
        self.reception.hear(now, at, media);
        if media == Media::Audio && self.egress.is_transcoded() {
            let length = self.media.codec.length(at.samples);
            let allowance = self.allowance.get_or_insert_with(|| Box::new(Allowance::new(now)));
            if !allowance.spend(now, length) {
                return Err(DropReason::NotAgreed);
            }
        }
        Ok(Heard::Rtp { media, at, payload: packet.payload })
    }

    /// Closes a latch on whoever has proven to be the peer.
    fn admit(
        &mut self,
        admission: Admission,
        from: SocketAddr,
        header: &Header,
    ) -> Result<(), DropReason> {
        let authenticated = self.inbound.is_some();
        let gate = match &mut self.access {
            Access::Signalled(gate) => gate,
            // It was the one address, and the key is the proven one's.
            Access::Telephone(_) | Access::Browser(_) | Access::Nobody => return Ok(()),
        };
        let proven = match admission {
            Admission::Peer => true,
            Admission::Candidate => {
                authenticated || gate.suspect(from, header.ssrc, header.sequence)
            }
            Admission::Stranger => false,
        };
        if !proven {
            return Err(DropReason::UnknownPeer);
        }
        gate.prove(from);
        Ok(())
    }

    fn hear_rtcp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<Heard, DropReason> {
        if self.rtcp_path(now).is_none_or(|(_, peer)| peer != from) {
            return Err(DropReason::UnknownPeer);
        }
        match &mut self.inbound {
            Some(inbound) => inbound
                .context
                .unprotect_rtcp(datagram)
                .map(Heard::Rtcp)
                .map_err(|_| DropReason::Unauthenticated),
            None if self.access.is_secret() => Err(DropReason::Unauthenticated),
            None => Ok(Heard::Rtcp(datagram.len())),
        }
    }

    fn classify(&self, payload_type: u8) -> Media {
        if payload_type == self.media.payload_type {
            Media::Audio
        } else if Some(payload_type) == self.media.telephone_event {
            Media::TelephoneEvent
        } else if Some(payload_type) == self.media.redundancy {
            Media::Redundancy
        } else {
            Media::Unknown
        }
    }

    fn send(
        &mut self,
        now: Instant,
        header: Header,
        payload: Range<usize>,
        buffer: &mut [u8],
    ) -> Result<Extent, DropReason> {
        debug_assert!(payload.start >= FIXED_HEADER_LEN, "a received payload follows a header");
        let start = payload.start - FIXED_HEADER_LEN;
        let place = buffer[start..].first_chunk_mut().ok_or(DropReason::Malformed)?;
        header.write(place);
        let extent = self.protected(start, payload.end, buffer)?;
        self.egress.count(now, payload.len());
        Ok(extent)
    }

    /// Protects `buffer[start..end]` where the leg is secure.
    fn protected(
        &mut self,
        start: usize,
        end: usize,
        buffer: &mut [u8],
    ) -> Result<Extent, DropReason> {
        let len = match &mut self.outbound {
            Some(outbound) => outbound
                .context
                .protect(&mut buffer[start..], end - start)
                .map_err(|_| DropReason::NotAgreed)?,
            None if self.access.is_secret() => return Err(DropReason::NotAgreed),
            None => end - start,
        };
        Ok(Extent::new(start, start + len))
    }

    fn report(&mut self, now: Instant, now_ntp: NtpTime, buffer: &mut [u8]) -> Option<Transmit> {
        let block = self.reception.report(now);
        let blocks = block.as_slice();
        let (packets, octets) = self.egress.sent();
        let len = if packets > 0 {
            let sender = SenderReport {
                ssrc: self.egress.ssrc(),
                ntp_time: now_ntp,
                rtp_timestamp: self.egress.timestamp_at(now),
                packets: packets as u32,
                octets: octets as u32,
            };
            rtcp::write_sender_report(buffer, &sender, blocks, &self.cname).ok()?
        } else {
            rtcp::write_receiver_report(buffer, self.egress.ssrc(), blocks, &self.cname).ok()?
        };
        let len = match &mut self.outbound {
            Some(outbound) => outbound.context.protect_rtcp(buffer, len).ok()?,
            None if self.access.is_secret() => return None,
            None => len,
        };
        let (port, to) = self.rtcp_path(now)?;
        Some(Transmit { port, to, range: 0..len })
    }

    fn rtcp_path(&self, now: Instant) -> Option<(LocalPort, SocketAddr)> {
        if self.media.rtcp_mux {
            Some((self.ports.rtp(), self.access.target(now)?))
        } else {
            let has_port = self.access.has_rtcp_port();
            has_port.then(|| (self.ports.rtcp(), self.media.remote_rtcp))
        }
    }
}

type Contexts = (Option<Box<Keyed<Inbound>>>, Option<Box<Keyed<Outbound>>>);

fn srtp_contexts(keys: Option<SrtpKeys>) -> Contexts {
    let Some(SrtpKeys { inbound, outbound }) = keys else { return (None, None) };
    let unprotector = Keyed { context: Inbound::new(&inbound), key: inbound };
    let protector = Keyed { context: Outbound::new(&outbound), key: outbound };
    (Some(Box::new(unprotector)), Some(Box::new(protector)))
}

fn format_of(media: &LegMedia, heard: Codec) -> EgressFormat {
    EgressFormat {
        codec: media.codec,
        payload_type: media.payload_type,
        ptime: media.ptime,
        audible: media.they_receive,
        heard,
    }
}

/// Where a packet stands in its stream.
fn position(media: Media, codec: Codec, packet: &RtpPacket, payload: &[u8]) -> Position {
    let samples = match media {
        Media::TelephoneEvent => event_samples(payload),
        Media::Audio => codec.ticks(payload),
        Media::Redundancy | Media::Rtcp | Media::Unknown => 0,
    };
    let Header { marker, sequence, timestamp, ssrc, .. } = packet.header;
    Position { ssrc, sequence, timestamp, samples, marker }
}

/// An event lasts as long as it says (RFC 4733 section 2.3.5).
fn event_samples(payload: &[u8]) -> u32 {
    match payload {
        [_, _, high, low, ..] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    }
}

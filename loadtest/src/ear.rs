//! Ear: what a party heard, packet by packet, and what kind of sound it was.

use std::time::{Duration, Instant};

use dtmf::g711::Law;
use dtmf::tone::{ToneDetector, ToneEdge};
use relay::wire::rtp::RtpPacket;

/// What a packet sounded like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sound {
    /// Nothing but the codec's silence.
    Silence,
    /// Anything else in the codec.
    Voice,
    /// Another payload type: a key event, most likely.
    Other,
}

/// One packet that was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hearing {
    /// When it came.
    pub at: Instant,
    /// Its sequence number.
    pub sequence: u16,
    /// Its timestamp.
    pub timestamp: u32,
    /// Its source.
    pub ssrc: u32,
    /// Octets of its payload.
    pub len: usize,
    /// What it sounded like.
    pub sound: Sound,
}

/// Everything one party heard.
pub struct Ear {
    law: Law,
    payload_type: u8,
    heard: Vec<Hearing>,
    audio: Vec<u8>,
    tones: ToneDetector,
    keys_heard: usize,
}

/// How even a stream was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cadence {
    /// Packets looked at.
    pub packets: usize,
    /// Longest time between two.
    pub longest_gap: Duration,
    /// Packets whose sequence number is not the one after the last.
    pub sequence_jumps: usize,
    /// Packets whose timestamp is not one frame after the last.
    pub timestamp_jumps: usize,
    /// Packets of another size than the first.
    pub other_sizes: usize,
    /// Changes of the source.
    pub source_changes: usize,
}

impl Ear {
    /// An ear for one codec.
    pub fn new(law: Law, payload_type: u8) -> Ear {
        Ear {
            law,
            payload_type,
            heard: Vec::new(),
            audio: Vec::new(),
            tones: ToneDetector::new(),
            keys_heard: 0,
        }
    }

    /// Hears a datagram; what is no RTP is ignored.
    pub fn hear(&mut self, at: Instant, datagram: &[u8]) {
        let Ok(packet) = RtpPacket::parse(datagram) else { return };
        let payload = &datagram[packet.payload];
        let sound = if packet.header.payload_type != self.payload_type {
            Sound::Other
        } else if payload.iter().all(|&code| code == self.law.silence()) {
            Sound::Silence
        } else {
            Sound::Voice
        };
        if sound != Sound::Other {
            self.audio.extend_from_slice(payload);
            let pcm: Vec<i16> = payload.iter().map(|&code| self.law.decode(code)).collect();
            let keys = &mut self.keys_heard;
            self.tones.hear(&pcm, &mut |report| match report.edge {
                ToneEdge::Begin(_) => *keys += 1,
                ToneEdge::Hint | ToneEdge::End(_) => {}
            });
        }
        self.heard.push(Hearing {
            at,
            sequence: packet.header.sequence,
            timestamp: packet.header.timestamp,
            ssrc: packet.header.ssrc,
            len: payload.len(),
            sound,
        });
    }

    /// All packets, in the order they came.
    pub fn heard(&self) -> &[Hearing] {
        &self.heard
    }

    /// All audio, in the order it came.
    pub fn audio(&self) -> &[u8] {
        &self.audio
    }

    /// The packets of audio, each with its octets.
    pub fn frames(&self) -> impl Iterator<Item = (&Hearing, &[u8])> {
        let audible = self.heard.iter().filter(|hearing| hearing.sound != Sound::Other);
        audible.scan(0, |start, hearing| {
            let from = *start;
            *start += hearing.len;
            Some((hearing, &self.audio[from..*start]))
        })
    }

    /// When anything but silence was heard last.
    pub fn last_sound(&self) -> Option<Instant> {
        self.heard.iter().rev().find(|hearing| hearing.sound != Sound::Silence).map(|it| it.at)
    }

    /// Keypad tones recognised in the audio.
    pub fn keys_heard(&self) -> usize {
        self.keys_heard
    }

    /// Packets between two instants that held anything but silence.
    pub fn not_silent_between(&self, from: Instant, to: Instant) -> usize {
        self.heard
            .iter()
            .filter(|hearing| from <= hearing.at && hearing.at < to)
            .filter(|hearing| hearing.sound != Sound::Silence)
            .count()
    }

    /// How even the stream was between two instants.
    pub fn cadence(&self, from: Instant, to: Instant) -> Cadence {
        let span: Vec<&Hearing> =
            self.heard.iter().filter(|hearing| from <= hearing.at && hearing.at < to).collect();
        let mut cadence = Cadence {
            packets: span.len(),
            longest_gap: Duration::ZERO,
            sequence_jumps: 0,
            timestamp_jumps: 0,
            other_sizes: span.iter().filter(|hearing| hearing.len != span[0].len).count(),
            source_changes: 0,
        };
        for pair in span.windows(2) {
            let [before, after] = [pair[0], pair[1]];
            let step = after.timestamp.wrapping_sub(before.timestamp);
            cadence.longest_gap = cadence.longest_gap.max(after.at.duration_since(before.at));
            cadence.sequence_jumps +=
                usize::from(after.sequence != before.sequence.wrapping_add(1));
            cadence.timestamp_jumps += usize::from(step as usize != before.len);
            cadence.source_changes += usize::from(after.ssrc != before.ssrc);
        }
        cadence
    }
}

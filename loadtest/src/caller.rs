//! Caller: a synthetic party that talks and presses keys.

use std::collections::VecDeque;
use std::time::Duration;

use dtmf::Digit;
use dtmf::g711::Law;
use dtmf::synth::event::{EventPayload, KeyEvent, Sender};
use dtmf::synth::tone::{Tone, pcm};
use relay::wire::rtp::{FIXED_HEADER_LEN, Header};

use crate::sdp::{PCMU, TELEPHONE_EVENT};
use crate::voice::{Speech, Voice};

/// Time between two packets of audio.
pub const FRAME: Duration = Duration::from_millis(20);

/// Samples in one packet of audio.
pub const FRAME_SAMPLES: usize = 160;

/// Keys that a redundant packet repeats.
const COPIES: usize = 3;

/// Furthest a copy may lie back: its offset has 14 bits (RFC 2198 section 3).
const MAX_COPY_AGE: u32 = (1 << 14) - 1;

/// How a caller presses keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyMethod {
    /// RFC 4733 events.
    Events,
    /// RFC 4733 events, each with copies of those before (RFC 2198).
    Redundant {
        /// Payload type of the redundancy.
        payload_type: u8,
    },
    /// Tones in the audio.
    Tones,
}

/// Who a caller is.
#[derive(Clone, Copy)]
pub struct CallerConfig {
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Sequence number of its first packet.
    pub sequence: u16,
    /// Timestamp of its first packet.
    pub timestamp: u32,
    /// Its codec.
    pub law: Law,
    /// Payload type of the codec.
    pub payload_type: u8,
    /// Payload type of telephone-event.
    pub telephone_event: u8,
    /// How it presses keys.
    pub method: KeyMethod,
    /// How long it holds a key.
    pub held: Duration,
    /// How long it waits after one.
    pub pause: Duration,
}

/// How long a party holds a key, and how long until the next, unless said otherwise.
const HELD: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(80);

impl CallerConfig {
    /// A party that speaks PCMU as [`crate::sdp::offer`] says.
    #[must_use]
    pub fn pcmu(ssrc: u32, method: KeyMethod) -> CallerConfig {
        CallerConfig {
            ssrc,
            sequence: ssrc as u16,
            timestamp: ssrc,
            law: Law::Mu,
            payload_type: PCMU,
            telephone_event: TELEPHONE_EVENT,
            method,
            held: HELD,
            pause: PAUSE,
        }
    }
}

/// A synthetic party. Ask it every 20 ms what it sends.
pub struct Caller<S = Voice> {
    config: CallerConfig,
    speech: S,
    sequence: u16,
    timestamp: u32,
    keys: VecDeque<Digit>,
    doing: Doing,
    /// The last reports sent, oldest first: what redundancy repeats.
    sent: VecDeque<EventPayload>,
}

enum Doing {
    Talking,
    Sounding { packets: VecDeque<EventPayload>, elapsed: Duration },
    Playing { frames: VecDeque<[u8; FRAME_SAMPLES]> },
    Pausing { left: Duration },
}

impl<S: Speech> Caller<S> {
    /// A caller that talks and has no key to press yet.
    pub fn new(config: CallerConfig, speech: S) -> Caller<S> {
        let (sequence, timestamp) = (config.sequence, config.timestamp);
        let (keys, sent) = (VecDeque::new(), VecDeque::new());
        Caller { config, speech, sequence, timestamp, keys, doing: Doing::Talking, sent }
    }

    /// Presses these keys next, one after another.
    pub fn press(&mut self, keys: impl IntoIterator<Item = Digit>) {
        self.keys.extend(keys);
    }

    /// What the caller says.
    pub fn speech(&self) -> &S {
        &self.speech
    }

    /// What the caller says, to be changed.
    pub fn speech_mut(&mut self) -> &mut S {
        &mut self.speech
    }

    /// Whether all keys have been pressed and released.
    pub fn is_done(&self) -> bool {
        self.keys.is_empty() && matches!(self.doing, Doing::Talking)
    }

    /// The packets of the next 20 ms, in order: one of audio, or none to three of events.
    pub fn tick(&mut self, send: &mut impl FnMut(&[u8])) {
        if matches!(self.doing, Doing::Talking)
            && let Some(digit) = self.keys.pop_front()
        {
            self.doing = self.press_one(digit);
        }
        match &mut self.doing {
            Doing::Talking => {
                let mut frame = [0; FRAME_SAMPLES];
                self.speech.fill(&mut frame);
                self.send_audio(&frame, send);
            }
            Doing::Sounding { .. } => self.tick_event(send),
            Doing::Playing { frames } => {
                let frame = frames.pop_front();
                let last = frames.is_empty();
                if let Some(frame) = frame {
                    self.send_audio(&frame, send);
                }
                if last {
                    self.doing = Doing::Pausing { left: self.config.pause };
                }
            }
            Doing::Pausing { left } => {
                *left = left.saturating_sub(FRAME);
                let over = left.is_zero();
                self.send_audio(&[self.config.law.silence(); FRAME_SAMPLES], send);
                if over {
                    self.doing = Doing::Talking;
                }
            }
        }
    }

    fn press_one(&self, digit: Digit) -> Doing {
        match self.config.method {
            KeyMethod::Events | KeyMethod::Redundant { .. } => {
                let key = KeyEvent {
                    digit,
                    timestamp: self.timestamp,
                    clock_hz: 8000,
                    held: self.config.held,
                    volume: 10,
                    sender: Sender::Standard,
                };
                Doing::Sounding { packets: key.packets().collect(), elapsed: Duration::ZERO }
            }
            KeyMethod::Tones => Doing::Playing { frames: self.tone_frames(digit) },
        }
    }

    fn tone_frames(&self, digit: Digit) -> VecDeque<[u8; FRAME_SAMPLES]> {
        let tone = Tone { seconds: self.config.held.as_secs_f64(), ..Tone::of(digit) };
        let frames = (self.config.held + FRAME / 2).as_millis().div_ceil(FRAME.as_millis());
        let mut mix = vec![0.0; frames as usize * FRAME_SAMPLES];
        tone.add_to(&mut mix, tone.ramp / 2.0, 8000);
        let codes: Vec<u8> =
            pcm(&mix).into_iter().map(|sample| self.config.law.encode(sample)).collect();
        codes.as_chunks().0.iter().copied().collect()
    }

    fn tick_event(&mut self, send: &mut impl FnMut(&[u8])) {
        let Doing::Sounding { packets, elapsed } = &mut self.doing else { return };
        *elapsed += FRAME;
        let mut due = Vec::new();
        while packets.front().is_some_and(|packet| packet.after <= *elapsed) {
            due.extend(packets.pop_front());
        }
        let over = packets.is_empty();
        self.timestamp = self.timestamp.wrapping_add(FRAME_SAMPLES as u32);
        for packet in due {
            self.send_event(packet, send);
        }
        if over {
            self.doing = Doing::Pausing { left: self.config.pause };
        }
    }

    fn send_event(&mut self, packet: EventPayload, send: &mut impl FnMut(&[u8])) {
        let event_type = self.config.telephone_event;
        let (payload_type, payload) = match self.config.method {
            KeyMethod::Events | KeyMethod::Tones => (event_type, packet.report.to_octets().into()),
            KeyMethod::Redundant { payload_type } => {
                let copies = self.sent.make_contiguous();
                (payload_type, redundant(event_type, copies, packet))
            }
        };
        let header = self.header(packet.marker, payload_type, packet.timestamp);
        self.send(header, &payload, send);
        self.remember(packet);
    }

    /// Of each key the last report is enough: it says how long the key was down.
    fn remember(&mut self, packet: EventPayload) {
        if self.sent.back().is_some_and(|last| last.timestamp == packet.timestamp) {
            self.sent.pop_back();
        }
        self.sent.push_back(packet);
        if self.sent.len() > COPIES {
            self.sent.pop_front();
        }
    }

    fn send_audio(&mut self, frame: &[u8], send: &mut impl FnMut(&[u8])) {
        let header = self.header(false, self.config.payload_type, self.timestamp);
        self.timestamp = self.timestamp.wrapping_add(frame.len() as u32);
        self.send(header, frame, send);
    }

    fn header(&self, marker: bool, payload_type: u8, timestamp: u32) -> Header {
        Header { marker, payload_type, sequence: self.sequence, timestamp, ssrc: self.config.ssrc }
    }

    fn send(&mut self, header: Header, payload: &[u8], send: &mut impl FnMut(&[u8])) {
        let mut packet = [0; FIXED_HEADER_LEN + FRAME_SAMPLES];
        let (head, rest) = packet.split_first_chunk_mut().expect("a packet begins with a header");
        header.write(head);
        rest[..payload.len()].copy_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        send(&packet[..FIXED_HEADER_LEN + payload.len()]);
    }
}

/// A payload of RFC 2198: the copies that its offsets reach, then the report itself.
fn redundant(event_type: u8, copies: &[EventPayload], newest: EventPayload) -> Vec<u8> {
    let age = |copy: &EventPayload| newest.timestamp.wrapping_sub(copy.timestamp);
    let within: Vec<_> = copies.iter().filter(|copy| age(copy) <= MAX_COPY_AGE).collect();
    let mut payload = Vec::new();
    for copy in &within {
        let length = copy.report.to_octets().len() as u32;
        let header = (0x80 | u32::from(event_type)) << 24 | age(copy) << 10 | length;
        payload.extend(header.to_be_bytes());
    }
    payload.push(event_type);
    within.iter().for_each(|copy| payload.extend(copy.report.to_octets()));
    payload.extend(newest.report.to_octets());
    payload
}

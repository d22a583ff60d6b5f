//! `Line`: a sender of telephone events and the network behind it.

use std::time::Duration;

use dtmf::Digit;
use dtmf::synth::event::{KeyEvent, Sender};

use crate::chance::Chance;

pub(crate) const EVENT_TYPE: u8 = 101;
pub(crate) const REDUNDANCY_TYPE: u8 = 102;

#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) at: Duration,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
    /// Which press of the case, and which packet of the press.
    pub(crate) press: u16,
    pub(crate) order: u32,
}

impl Packet {
    pub(crate) fn is_end(&self) -> bool {
        self.payload.get(1).is_some_and(|flags| flags & 0x80 != 0)
    }

    pub(crate) fn key(&self) -> char {
        self.payload.first().map_or('?', |event| key_of(*event))
    }

    pub(crate) fn duration(&self) -> u16 {
        u16::from_be_bytes([self.payload[2], self.payload[3]])
    }

    pub(crate) fn set_duration(&mut self, duration: u16) {
        self.payload[2..4].copy_from_slice(&duration.to_be_bytes());
    }

    pub(crate) fn press_u32(&self) -> u32 {
        u32::from(self.press)
    }
}

/// A sender: presses in, packets out, sequence numbers and timestamps going on between them.
pub(crate) struct Line {
    clock_hz: u32,
    pub(crate) sender: Sender,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    now: Duration,
    packets: Vec<Packet>,
    presses: u16,
}

impl Line {
    pub(crate) fn new(clock_hz: u32, seed: u64) -> Self {
        let mut chance = Chance(seed);
        Self {
            clock_hz,
            sender: Sender::Standard,
            ssrc: chance.next() as u32,
            sequence: chance.next() as u16,
            timestamp: chance.next() as u32,
            now: Duration::ZERO,
            packets: Vec::new(),
            presses: 0,
        }
    }

    /// Presses of 100 ms (seven packets) and pauses of 100 ms.
    pub(crate) fn keyed(clock_hz: u32, keys: &str) -> Vec<Packet> {
        let mut line = Self::new(clock_hz, 1);
        keys.chars().for_each(|key| line.press(key, 100, 100));
        line.packets()
    }

    pub(crate) fn press(&mut self, key: char, held_ms: u64, pause_ms: u64) {
        let key = KeyEvent {
            digit: Digit::from_ascii(u8::try_from(key).unwrap()).unwrap(),
            timestamp: self.timestamp,
            clock_hz: self.clock_hz,
            held: Duration::from_millis(held_ms),
            volume: 10,
            sender: self.sender,
        };
        for (order, sent) in (0..).zip(key.packets()) {
            self.packets.push(Packet {
                at: self.now + sent.after,
                ssrc: self.ssrc,
                sequence: self.sequence,
                timestamp: sent.timestamp,
                payload_type: EVENT_TYPE,
                marker: sent.marker,
                payload: sent.report.to_octets().to_vec(),
                press: self.presses,
                order,
            });
            self.sequence = self.sequence.wrapping_add(1);
        }
        let span = held_ms + pause_ms;
        self.now += Duration::from_millis(span);
        let units = span * u64::from(self.clock_hz) / 1000;
        self.timestamp = self.timestamp.wrapping_add(u32::try_from(units).unwrap());
        // Audio takes the pause, a packet every 20 ms.
        self.sequence = self.sequence.wrapping_add(u16::try_from(pause_ms / 20).unwrap());
        self.presses += 1;
    }

    /// The packets in the order they leave: the ends of a press outlast a short pause.
    pub(crate) fn packets(mut self) -> Vec<Packet> {
        self.packets.sort_by_key(|packet| packet.at);
        self.packets
    }
}

pub(crate) fn with_redundancy(packets: &[Packet]) -> Vec<Packet> {
    let mut red = packets.to_owned();
    for packet in &mut red {
        let before = |other: &&Packet| {
            let age = packet.timestamp.wrapping_sub(other.timestamp);
            let is_before = (other.press, other.order) < (packet.press, packet.order);
            let is_last = other.order == 6 && other.press + 2 >= packet.press;
            let is_previous = other.press == packet.press && other.order + 1 == packet.order;
            age < 1 << 14 && is_before && (is_last || is_previous)
        };
        let copies: Vec<&Packet> = packets.iter().filter(before).collect();
        let mut payload = Vec::new();
        for copy in &copies {
            let age = packet.timestamp.wrapping_sub(copy.timestamp);
            let length = u32::try_from(copy.payload.len()).unwrap();
            let header = (0x80 | u32::from(EVENT_TYPE)) << 24 | age << 10 | length;
            payload.extend(header.to_be_bytes());
        }
        payload.push(EVENT_TYPE);
        copies.iter().for_each(|copy| payload.extend(&copy.payload));
        payload.extend(&packet.payload);
        packet.payload = payload;
        packet.payload_type = REDUNDANCY_TYPE;
    }
    red
}

/// Loss, 2 % duplicates, and a delay of up to 35 ms for each packet by itself.
pub(crate) fn network(chance: &mut Chance, loss_percent: u64, packets: Vec<Packet>) -> Vec<Packet> {
    let mut arrived = Vec::new();
    for packet in packets {
        if chance.below(100) < loss_percent {
            continue;
        }
        let copies = if chance.below(100) < 2 { 2 } else { 1 };
        for _ in 0..copies {
            let delay = Duration::from_micros(chance.below(35_000));
            arrived.push(Packet { at: packet.at + delay, ..packet.clone() });
        }
    }
    arrived.sort_by_key(|packet| packet.at);
    arrived
}

pub(crate) fn key_of(event: u8) -> char {
    Digit::from_event_code(event).map_or('?', |digit| char::from(digit.to_ascii()))
}

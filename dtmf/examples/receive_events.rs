//! Telephone-event packets in as lines, digits out: checks the receiver against foreign cases.
//!
//! ```text
//! CASE name clock_hz event_pt red_pt class expected    a fresh receiver
//! P arrival_ms ssrc sequence timestamp pt marker payload_hex
//! ```
//!
//! Prints `CASE name`, and `+ DIGIT arrival_ms` for each press. A `red_pt` of `-`, `0` or `-1`
//! means that redundancy was not negotiated; lines that are neither shape are skipped.

use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use dtmf::event_receiver::{EventPacket, EventPress, EventReceiver};

fn main() -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of arrivals")]
    let origin = Instant::now();
    let mut leg = Leg::new(8000, None, None);
    let mut output = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["CASE", name, clock_hz, event, redundancy, ..] => {
                let clock_hz = clock_hz.parse().unwrap_or(8000);
                leg = Leg::new(clock_hz, payload_type(event), payload_type(redundancy));
                writeln!(output, "CASE {name}")?;
            }
            ["P", fields @ ..] => {
                let Some(packet) = Packet::parse(fields) else { continue };
                for character in leg.hear(origin, &packet) {
                    writeln!(output, "+ {character} {}", fields[0])?;
                }
            }
            _ => {}
        }
    }
    output.flush()
}

struct Leg {
    receiver: EventReceiver,
    event: Option<u8>,
    redundancy: Option<u8>,
}

impl Leg {
    fn new(clock_hz: u32, event: Option<u8>, redundancy: Option<u8>) -> Self {
        Self { receiver: EventReceiver::new(clock_hz), event, redundancy }
    }

    fn hear(&mut self, origin: Instant, packet: &Packet) -> Vec<char> {
        let heard = EventPacket {
            arrival: origin + packet.arrival,
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: &packet.payload,
        };
        let mut keyed = Vec::new();
        let mut report = |press: EventPress| keyed.push(char::from(press.digit.to_ascii()));
        if self.event == Some(packet.payload_type) {
            self.receiver.hear(heard, &mut report);
        } else if self.redundancy == Some(packet.payload_type)
            && let Some(event) = self.event
        {
            // A payload that doesn't add up carries no key.
            let _malformed = self.receiver.hear_redundant(heard, event, &mut report);
        }
        keyed
    }
}

struct Packet {
    arrival: Duration,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    payload_type: u8,
    marker: bool,
    payload: Vec<u8>,
}

impl Packet {
    fn parse(fields: &[&str]) -> Option<Self> {
        let [arrival_ms, ssrc, sequence, timestamp, payload_type, marker, rest @ ..] = fields
        else {
            return None;
        };
        let arrival_ms: f64 = arrival_ms.parse().ok()?;
        Some(Self {
            arrival: Duration::try_from_secs_f64(arrival_ms / 1000.0).ok()?,
            ssrc: number(ssrc)?,
            sequence: u16::try_from(number(sequence)?).ok()?,
            timestamp: number(timestamp)?,
            payload_type: u8::try_from(number(payload_type)?).ok()?,
            marker: matches!(*marker, "1" | "true"),
            payload: octets(rest.first().unwrap_or(&""))?,
        })
    }
}

fn payload_type(word: &str) -> Option<u8> {
    word.parse().ok().filter(|payload_type| (1..=127).contains(payload_type))
}

fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let (pairs, odd) = hex.as_bytes().as_chunks::<2>();
    let octet = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    odd.is_empty().then(|| pairs.iter().map(octet).collect())?
}

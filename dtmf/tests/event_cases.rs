//! Telephone events as real senders and networks make them, against the receiver.
//!
//! `EVENT_CASES=file` writes the cases as lines for the example `receive_events`.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod chance;
mod event_line;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use dtmf::event_receiver::{EventPacket, EventReceiver};
use dtmf::synth::event::Sender;

use chance::Chance;
use event_line::{EVENT_TYPE, Line, Packet, REDUNDANCY_TYPE, key_of, network, with_redundancy};

const CLOCKS: [u32; 3] = [8000, 16_000, 48_000];
const SEED: u64 = 0x5EED_0007;

#[test]
fn senders_and_networks() {
    let mut cases: Vec<Case> = CLOCKS.into_iter().flat_map(listed_cases).collect();
    cases.extend(random_cases());
    if let Ok(path) = std::env::var("EVENT_CASES") {
        std::fs::write(path, cases.iter().map(Case::lines).collect::<String>()).unwrap();
    }
    let (must, informative): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| case.is_must);
    let failed: Vec<String> = must.iter().filter_map(Case::complaint).collect();
    println!("figure: must cases: {}/{}", must.len() - failed.len(), must.len());
    for case in &informative {
        println!("undecidable, for information: {} heard as {:?}", case.name, case.heard());
    }
    assert!(failed.is_empty(), "SEED={SEED:#x}\n{}", failed.join("\n"));
    assert!(must.len() >= 252);
}

#[test]
fn a_receiver_that_trusts_markers_or_timestamps_would_fail_these_cases() {
    let cases: Vec<Case> =
        CLOCKS.into_iter().flat_map(listed_cases).filter(|case| case.is_must).collect();
    let fails = |naive: fn(&Case) -> String| {
        cases.iter().filter(|case| naive(case) != case.expected).count()
    };
    let by_marker = fails(|case| {
        let starts = case.packets.iter().filter(|packet| packet.marker);
        starts.map(Packet::key).collect()
    });
    let by_timestamp = fails(|case| {
        let mut known = Vec::new();
        let mut keys = String::new();
        for packet in &case.packets {
            let identity = (packet.ssrc, packet.key(), packet.timestamp);
            if !known.contains(&identity) {
                known.push(identity);
                keys.push(packet.key());
            }
        }
        keys
    });
    println!(
        "figure: of {}: marker only fails {by_marker}, any new timestamp {by_timestamp}",
        cases.len()
    );
    assert!(by_marker > cases.len() / 10 && by_timestamp > cases.len() / 10);
}

#[test]
fn ten_thousand_card_entries() {
    const ENTRIES: usize = 10_000;
    let mut chance = Chance(SEED);
    let (mut keyed, mut missing, mut wrong) = (0, 0, 0);
    for entry in 0..ENTRIES {
        let clock_hz = CLOCKS[entry % CLOCKS.len()];
        let length = 16 + chance.below(5);
        let mut line = Line::new(clock_hz, chance.next());
        let mut keys = String::new();
        for _ in 0..length {
            // Every fourth key repeats the one before, as card numbers do and dialers get wrong.
            let key = match keys.chars().last() {
                Some(last) if chance.below(4) == 0 => last,
                _ => key_of(u8::try_from(chance.below(10)).unwrap()),
            };
            keys.push(key);
            line.press(key, 60 + chance.below(190), 50 + chance.below(500));
        }
        let packets = network(&mut chance, 5, line.packets());
        let heard = hear(clock_hz, &packets);
        let common = longest_common_subsequence(&keys, &heard);
        keyed += keys.len();
        missing += keys.len() - common;
        wrong += heard.len() - common;
    }
    println!(
        "figure: simulated card entries: {ENTRIES}, keys {keyed}, wrong {wrong}, missing {missing}"
    );
    assert_eq!(wrong, 0, "SEED={SEED:#x}");
    assert!(missing * 1000 < keyed, "SEED={SEED:#x}");
}

// --- the cases ---

fn listed_cases(clock_hz: u32) -> Vec<Case> {
    let mut cases = plain_cases(clock_hz);
    cases.extend(loss_cases(clock_hz));
    cases.extend(long_cases(clock_hz));
    cases.extend(timestamp_cases(clock_hz));
    cases.extend(payload_cases(clock_hz));
    cases.extend(redundancy_cases(clock_hz));
    cases.extend(replay_cases(clock_hz));
    cases
}

fn plain_cases(clock_hz: u32) -> Vec<Case> {
    let all = "0123456789*#ABCD";
    let plain = |name: &str, keys: &str| Case::plain(name, clock_hz, keys);
    let mut short = Line::new(clock_hz, 5);
    let mut growing = Line::new(clock_hz, 5);
    for held in [40, 40, 60, 120, 240] {
        short.press('6', 40, 50);
        growing.press('6', held, 50);
    }
    vec![
        plain("every key", all),
        plain("one key repeated", "11111"),
        plain("two keys in turn", "121212"),
        Case::new("short presses and pauses", clock_hz, "66666", short.packets()),
        Case::new("each press longer than the last", clock_hz, "66666", growing.packets()),
        plain("markerless", all).edit(|packet| packet.marker = false),
        plain("start of duration 0", "5588").edit(|packet| {
            if packet.marker {
                packet.set_duration(0);
            }
        }),
        plain("full volume", "1100").edit(|packet| packet.payload[1] &= 0x80),
        plain("lowest volume and reserved bit", "1100").edit(|packet| packet.payload[1] |= 0x7F),
        plain("all ends with one sequence number", "1122").edit(|packet| {
            if packet.is_end() {
                packet.sequence = 40_000 + packet.press;
            }
        }),
        plain("every packet twice", "1177").flat_edit(|packet| vec![packet.clone(), packet]),
        plain("another source halfway", "1199").edit(|packet| {
            if packet.press >= 2 {
                packet.ssrc ^= 0xFFFF;
            }
        }),
    ]
}

fn loss_cases(clock_hz: u32) -> Vec<Case> {
    let keys = "1224";
    let keep = |name, test: fn(&Packet) -> bool| Case::plain(name, clock_hz, keys).keep(test);
    let late =
        |name, is_late: fn(&Packet) -> bool| Case::plain(name, clock_hz, keys).delay(is_late, 135);
    vec![
        keep("starts lost", |packet| !packet.marker),
        keep("all but the ends lost", Packet::is_end),
        keep("all but the last end lost", |packet| packet.order == 6),
        keep("ends lost", |packet| !packet.is_end()),
        keep("ends and starts lost", |packet| !packet.is_end() && !packet.marker),
        keep("one update only", |packet| packet.order == 2),
        keep("starts only", |packet| packet.marker),
        keep("a press lost its ends, the next its start", |packet| {
            if packet.press.is_multiple_of(2) { !packet.is_end() } else { !packet.marker }
        }),
        keep("sparse updates", |packet| packet.marker || packet.is_end()),
        late("start after the end", |packet| packet.marker),
        late("update after the end", |packet| packet.order == 1),
        late("first end last", |packet| packet.order == 4),
    ]
}

fn long_cases(clock_hz: u32) -> Vec<Case> {
    let mut cases = Vec::new();
    for sender in [Sender::Standard, Sender::Chromium] {
        for held in [1500, 3000, 9000, 20_000] {
            let long = || {
                let mut line = Line::new(clock_hz, 11);
                line.sender = sender;
                line.press('7', held, 200);
                line.press('7', 100, 60);
                line.press('8', 100, 60);
                line.packets()
            };
            let case = |name: &str| {
                Case::new(&format!("{name} {sender:?} {held} ms"), clock_hz, "778", long())
            };
            cases.push(case("held"));
            cases.push(case("held, every third lost").keep(|packet| packet.order % 3 != 2));
            cases.push(case("held, segment ends lost").keep(|packet| packet.duration() != 0xFFFF));
            cases.push(case("held, in disorder").delay(|packet| packet.order % 4 == 1, 35));
        }
    }
    let mut sparse = Line::new(clock_hz, 11);
    sparse.press('7', 1200, 100);
    sparse.press('7', 1200, 100);
    cases.push(
        Case::new("held without updates", clock_hz, "77", sparse.packets())
            .keep(|packet| packet.marker || packet.is_end()),
    );
    cases
}

fn timestamp_cases(clock_hz: u32) -> Vec<Case> {
    let plain = |name: &str, keys: &str| Case::plain(name, clock_hz, keys);
    let step = clock_hz / 50;
    let wrap = |name, timestamp, sequence, held| {
        let mut line = Line::new(clock_hz, 0);
        (line.timestamp, line.sequence) = (timestamp, sequence);
        for key in "3344".chars() {
            line.press(key, held, 60);
        }
        Case::new(name, clock_hz, "3344", line.packets())
    };
    let mut cases = vec![
        wrap("timestamp wraps within a press", u32::MAX - step, 0, 100),
        wrap("timestamp wraps between presses", u32::MAX - 6 * step, 0, 100),
        wrap("timestamp wraps within a long press", u32::MAX - 70_000, 0, 3000),
        wrap("sequence wraps within a press", 0, u16::MAX - 2, 100),
        wrap("sequence wraps between presses", 0, u16::MAX - 6, 100),
        plain("timestamps run backwards", "1223").edit(|packet| {
            packet.timestamp = packet.timestamp.wrapping_sub(packet.press_u32() * 2_000_000);
        }),
        plain("timestamp stands still, keys differ", "1212").edit(|packet| packet.timestamp = 9),
    ];
    cases.push(plain("timestamp moves with each packet", "1223").edit(move |packet| {
        packet.timestamp = packet.timestamp.wrapping_add(packet.order * step);
    }));
    cases.push(plain("timestamp moves until the end", "1223").edit(move |packet| {
        packet.timestamp = packet.timestamp.wrapping_add(packet.order.min(4) * step);
    }));
    cases.push(
        plain("timestamp moves, one lost", "1223")
            .edit(move |packet| {
                packet.timestamp = packet.timestamp.wrapping_add(packet.order * step);
            })
            .keep(|packet| packet.order != 2),
    );
    for (name, first) in [("all ends", 4), ("last two ends", 5), ("last end", 6)] {
        for (manner, moving) in [("one new timestamp", false), ("new timestamps", true)] {
            let name = format!("{name} shifted to {manner}");
            cases.push(plain(&name, "1223").edit(move |packet| {
                if packet.order >= first {
                    let shift = if moving { packet.order - 3 } else { 1 };
                    packet.timestamp = packet.timestamp.wrapping_add(shift * step);
                }
            }));
            let name = format!("{name}, from the end on");
            cases.push(plain(&name, "1223").edit(move |packet| {
                if packet.order >= first {
                    let shift = if moving { packet.order - first } else { 0 };
                    packet.timestamp = packet.timestamp.wrapping_add((shift + 5) * step);
                }
            }));
        }
    }
    cases
}

fn payload_cases(clock_hz: u32) -> Vec<Case> {
    let plain = |name: &str, keys: &str| Case::plain(name, clock_hz, keys);
    let mut mixed = Line::new(clock_hz, 21);
    mixed.sender = Sender::ChromiumMixedClocks;
    for key in "12#33".chars() {
        mixed.press(key, 100, 70);
    }
    let mut two = Line::keyed(clock_hz, "5");
    for packet in two.iter_mut().filter(|packet| packet.is_end()) {
        let second = [6, 0x8A, packet.payload[2], packet.payload[3]];
        packet.payload.extend(second);
    }
    let mut same = two.clone();
    for packet in same.iter_mut().filter(|packet| packet.is_end()) {
        packet.payload[4] = 5;
    }
    vec![
        Case::new("mixed clocks: marked ends only", clock_hz, "12#33", mixed.packets()),
        Case::new("two events in one packet", clock_hz, "56", two),
        Case::new("one key twice in one packet", clock_hz, "55", same),
        plain("four zero octets behind", "1122").edit(|packet| packet.payload.extend([0; 4])),
        plain("four zero octets before", "1122").edit(|packet| {
            packet.payload.splice(0..0, [0; 4]);
        }),
        plain("three octets too many", "1122").edit(|packet| packet.payload.extend([1, 2, 3])),
        plain("short payloads between", "1122").flat_edit(|packet| {
            let mut short = packet.clone();
            short.payload.truncate(usize::try_from(packet.order % 4).unwrap());
            vec![short, packet]
        }),
        plain("flash and other events between", "1122").flat_edit(|packet| {
            let mut other = packet.clone();
            other.payload[0] = 16 + u8::try_from(packet.order).unwrap() * 34;
            vec![other, packet]
        }),
    ]
}

/// RFC 2198: each packet repeats the last report of each of the two presses before, as far as
/// the offset reaches, and the report before its own.
fn redundancy_cases(clock_hz: u32) -> Vec<Case> {
    let keys = "4556";
    let case = |name, test: fn(&Packet) -> bool| {
        // Two presses back must lie within the 14 bits of an offset: 341 ms at 48 kHz.
        let mut line = Line::new(clock_hz, 1);
        keys.chars().for_each(|key| line.press(key, 100, 60));
        let packets = with_redundancy(&line.packets());
        Case::new(name, clock_hz, keys, packets).keep(test)
    };
    vec![
        case("redundancy", |_| true),
        case("redundancy, second press lost", |packet| packet.press != 1),
        case("redundancy, second and third press lost", |packet| {
            packet.press == 0 || packet.press == 3
        }),
        case("redundancy, starts lost", |packet| !packet.marker),
        case("redundancy, one packet a press", |packet| packet.order == 5),
    ]
}

fn replay_cases(clock_hz: u32) -> Vec<Case> {
    let capture = |key, seed| {
        let mut line = Line::new(clock_hz, seed);
        line.press(key, 200, 0);
        let mut packets = line.packets();
        let last = packets.iter().filter(|packet| !packet.is_end()).count();
        let sequence = packets[last].sequence;
        packets[last..].iter_mut().for_each(|packet| packet.sequence = sequence);
        packets
    };
    let played = |keys: &str, pause_ms: u64| {
        let mut packets = Vec::new();
        for (index, key) in keys.chars().enumerate() {
            let start = Duration::from_millis((240 + pause_ms) * index as u64);
            packets.extend(
                capture(key, u64::from(u32::from(key))).into_iter().map(|packet| Packet {
                    at: packet.at + start,
                    press: index as u16,
                    ..packet
                }),
            );
        }
        packets
    };
    let case = |name, keys: &str, pause_ms| Case::new(name, clock_hz, keys, played(keys, pause_ms));
    let mut cases = vec![
        case("capture replayed after 2.5 s", "1112", 2500),
        case("capture replayed after 1 s", "1112", 1000),
        case("capture replayed after 400 ms", "1112", 400),
        case("capture replayed, ends lost", "1112", 1000).keep(|packet| !packet.is_end()),
        case("capture replayed, start lost", "1112", 1000).keep(|packet| packet.order > 0),
        Case::new("timestamp stands still, sequence goes on", clock_hz, "3333", {
            let mut line = Line::new(clock_hz, 3);
            for _ in 0..4 {
                line.press('3', 100, 180);
            }
            line.packets()
        })
        .edit(|packet| packet.timestamp = 77),
    ];
    let mut undecidable = Case::new(
        "timestamp stands still, next press at once",
        clock_hz,
        "33",
        Line::keyed(clock_hz, "33"),
    )
    .edit(|packet| packet.timestamp = 77);
    undecidable.is_must = false;
    cases.push(undecidable);
    cases
}

fn random_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for percent in [5, 10, 20, 30, 50] {
        for index in 0..40 {
            let mut chance = Chance(SEED ^ (percent << 32) ^ index);
            let clock_hz = CLOCKS[index as usize % CLOCKS.len()];
            let mut line = Line::new(clock_hz, chance.next());
            for _ in 0..12 {
                let key = key_of(u8::try_from(chance.below(16)).unwrap());
                for _ in 0..=chance.below(2) {
                    line.press(key, 40 + chance.below(200), 50 + chance.below(200));
                }
            }
            let packets = network(&mut chance, percent, line.packets());
            // What can be known: the presses of which anything came, in the order it came.
            let mut presses: Vec<u16> = Vec::new();
            let mut expected = String::new();
            for packet in &packets {
                if !presses.contains(&packet.press) {
                    presses.push(packet.press);
                    expected.push(packet.key());
                }
            }
            let name = format!("random {percent} % {index}");
            cases.push(Case::new(&name, clock_hz, &expected, packets));
        }
    }
    cases
}

// --- what a case is made of ---

struct Case {
    name: String,
    clock_hz: u32,
    is_must: bool,
    expected: String,
    packets: Vec<Packet>,
}

impl Case {
    fn new(name: &str, clock_hz: u32, expected: &str, packets: Vec<Packet>) -> Self {
        let name = format!("{name} @{clock_hz}");
        let mut case =
            Self { name, clock_hz, is_must: true, expected: expected.to_owned(), packets };
        case.packets.sort_by_key(|packet| packet.at);
        case
    }

    fn plain(name: &str, clock_hz: u32, keys: &str) -> Self {
        Self::new(name, clock_hz, keys, Line::keyed(clock_hz, keys))
    }

    fn edit(mut self, change: impl Fn(&mut Packet)) -> Self {
        self.packets.iter_mut().for_each(change);
        self
    }

    fn flat_edit(mut self, change: fn(Packet) -> Vec<Packet>) -> Self {
        self.packets = self.packets.into_iter().flat_map(change).collect();
        self
    }

    fn keep(mut self, test: fn(&Packet) -> bool) -> Self {
        self.packets.retain(test);
        self
    }

    fn delay(mut self, test: fn(&Packet) -> bool, by_ms: u64) -> Self {
        for packet in self.packets.iter_mut().filter(|packet| test(packet)) {
            packet.at += Duration::from_millis(by_ms);
        }
        self.packets.sort_by_key(|packet| packet.at);
        self
    }

    fn heard(&self) -> String {
        hear(self.clock_hz, &self.packets)
    }

    fn complaint(&self) -> Option<String> {
        let heard = self.heard();
        (heard != self.expected)
            .then(|| format!("{}: keyed {:?}, heard {heard:?}", self.name, self.expected))
    }

    fn lines(&self) -> String {
        let class = if self.is_must { "must" } else { "info" };
        let name = self.name.replace(' ', "_");
        let mut lines = format!(
            "CASE {name} {} {EVENT_TYPE} {REDUNDANCY_TYPE} {class} {}\n",
            self.clock_hz, self.expected
        );
        for packet in &self.packets {
            let Packet { ssrc, sequence, timestamp, payload_type, marker, .. } = packet;
            let at = packet.at.as_micros() as f64 / 1000.0;
            let marker = u8::from(*marker);
            write!(lines, "P {at} {ssrc} {sequence} {timestamp} {payload_type} {marker} ").unwrap();
            packet.payload.iter().for_each(|octet| write!(lines, "{octet:02x}").unwrap());
            lines.push('\n');
        }
        lines
    }
}

fn hear(clock_hz: u32, packets: &[Packet]) -> String {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as an origin")]
    let origin = Instant::now();
    let mut receiver = EventReceiver::new(clock_hz);
    let mut heard = String::new();
    for packet in packets {
        let given = EventPacket {
            arrival: origin + packet.at,
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: &packet.payload,
        };
        let mut report = |press: dtmf::event_receiver::EventPress| {
            heard.push(char::from(press.digit.to_ascii()));
        };
        if packet.payload_type == EVENT_TYPE {
            receiver.hear(given, &mut report);
        } else {
            receiver.hear_redundant(given, EVENT_TYPE, &mut report).unwrap();
        }
    }
    heard
}

fn longest_common_subsequence(one: &str, other: &str) -> usize {
    let mut row = vec![0; other.len() + 1];
    for left in one.bytes() {
        let mut diagonal = 0;
        for (column, right) in other.bytes().enumerate() {
            let above = row[column + 1];
            row[column + 1] = if left == right { diagonal + 1 } else { above.max(row[column]) };
            diagonal = above;
        }
    }
    row[other.len()]
}

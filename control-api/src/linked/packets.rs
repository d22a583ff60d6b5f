//! Packets: RTP on a link, made of an engine's sound and read into frames and keys for it.

use std::time::{Duration, Instant};

use dialects::Encoding;
use dtmf::Digit;
use dtmf::telephone_event::REPORT_LENGTH;
use rand::{Rng, RngExt};
use relay::switchboard::LegMedia;
use relay::switchboard::limits::LINK_DATAGRAM;
use relay::wire::rtp::{FIXED_HEADER_LEN, Header, RtpPacket};
use zeroize::Zeroizing;

/// The end of an event (RFC 4733 section 2.3.2).
const END: u8 = 0x80;
/// Volume of a key we make: -10 dBm0, as telephones have it.
const VOLUME: u8 = 10;
/// How often the end of an event is sent (RFC 4733 section 2.5.1.4).
const ENDS: u32 = 3;
/// Frames of a key we make: 100 ms.
const KEY_FRAMES: u32 = 5;

/// Which types of payload a leg has, and how sound lies in them.
#[derive(Clone, Copy)]
pub(super) struct Format {
    encoding: Encoding,
    payload_type: u8,
    telephone_event: Option<u8>,
}

impl Format {
    /// Of a leg whose codec is this encoding.
    pub(super) fn of(leg: &LegMedia, encoding: Encoding) -> Format {
        let LegMedia { payload_type, telephone_event, .. } = *leg;
        Format { encoding, payload_type, telephone_event }
    }
}

/// Makes an engine's stream.
pub(super) struct Packetizer {
    format: Format,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// When the last frame's sound was over.
    until: Option<Instant>,
}

/// What a datagram was for the engine.
pub(super) enum Heard<'a> {
    /// A frame, in its encoding.
    Sound(&'a [u8]),
    /// A key, told when it is over.
    Key(Digit),
    /// Nothing that an engine is told.
    Nothing,
}

/// Reads the caller's stream.
pub(super) struct Unpacker {
    format: Format,
    /// The timestamp of the last event that was told.
    told: Option<u32>,
    frame: Zeroizing<Vec<u8>>,
}

impl Packetizer {
    /// A stream whose numbers are random (RFC 3550 section 5.1).
    pub(super) fn new(format: Format, random: &mut impl Rng) -> Packetizer {
        Packetizer {
            format,
            ssrc: random.random(),
            sequence: random.random(),
            timestamp: random.random(),
            until: None,
        }
    }

    /// The packet of a frame, 20 ms of sound.
    pub(super) fn sound<'a>(
        &mut self,
        now: Instant,
        frame: &[u8],
        packet: &'a mut [u8; LINK_DATAGRAM],
    ) -> Option<&'a [u8]> {
        let samples = (frame.len() / self.format.encoding.sample()) as u32;
        let marker = self.catch_up(now, samples);
        let end = FIXED_HEADER_LEN + frame.len();
        let (head, body) = packet.get_mut(..end)?.split_first_chunk_mut()?;
        self.header(marker, self.format.payload_type).write(head);
        body.copy_from_slice(frame);
        self.swap(body);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(samples);
        Some(&packet[..end])
    }

    /// The packets of a key, all at once; none if the leg has no events.
    pub(super) fn key(&mut self, key: Digit, mut send: impl FnMut(&[u8])) {
        let Some(payload_type) = self.format.telephone_event else { return };
        let step = self.format.encoding.rate() / 50;
        for frame in 1..=KEY_FRAMES + ENDS {
            let mut packet = [0; FIXED_HEADER_LEN + REPORT_LENGTH];
            let Some((head, body)) = packet.split_first_chunk_mut() else { return };
            self.header(frame == 1, payload_type).write(head);
            let end = if frame > KEY_FRAMES { END } else { 0 };
            let [high, low] = ((step * frame.min(KEY_FRAMES)) as u16).to_be_bytes();
            body.copy_from_slice(&[key.event_code(), end | VOLUME, high, low]);
            self.sequence = self.sequence.wrapping_add(1);
            send(&packet);
        }
        self.timestamp = self.timestamp.wrapping_add(step * KEY_FRAMES);
    }

    /// After a pause the timestamps go on by as long as it was; whether there was one.
    fn catch_up(&mut self, now: Instant, samples: u32) -> bool {
        let rate = u64::from(self.format.encoding.rate());
        let length = Duration::from_micros(u64::from(samples) * 1_000_000 / rate);
        let pause = self.until.map(|until| now.saturating_duration_since(until));
        let was_away = pause.is_none_or(|pause| pause > length);
        if let Some(pause) = pause.filter(|_| was_away) {
            let more = (pause.as_millis() as u64 * rate / 1000) as u32;
            self.timestamp = self.timestamp.wrapping_add(more);
        }
        let from = if was_away { now } else { self.until.unwrap_or(now) };
        self.until = Some(from + length);
        was_away
    }

    fn header(&self, marker: bool, payload_type: u8) -> Header {
        let Packetizer { ssrc, sequence, timestamp, .. } = *self;
        Header { marker, payload_type, sequence, timestamp, ssrc }
    }

    /// Samples are big-endian in RTP (RFC 3551 section 4.5.11).
    fn swap(&self, body: &mut [u8]) {
        if let Encoding::L16(_) = self.format.encoding {
            body.as_chunks_mut().0.iter_mut().for_each(|sample: &mut [u8; 2]| sample.reverse());
        }
    }
}

impl Unpacker {
    /// A reader that has read nothing.
    pub(super) fn new(format: Format) -> Unpacker {
        Unpacker { format, told: None, frame: Zeroizing::new(Vec::with_capacity(LINK_DATAGRAM)) }
    }

    /// Reads a datagram of the relay.
    pub(super) fn read(&mut self, datagram: &[u8]) -> Heard<'_> {
        let Ok(packet) = RtpPacket::parse(datagram) else { return Heard::Nothing };
        let (header, payload) = (packet.header, &datagram[packet.payload]);
        if header.payload_type == self.format.payload_type {
            self.frame.clear();
            self.frame.extend_from_slice(payload);
            if let Encoding::L16(_) = self.format.encoding {
                let samples = self.frame.as_chunks_mut().0;
                samples.iter_mut().for_each(|sample: &mut [u8; 2]| sample.reverse());
            }
            return Heard::Sound(&self.frame);
        }
        match self.key(&header, payload) {
            Some(key) => Heard::Key(key),
            None => Heard::Nothing,
        }
    }

    /// A key is told once, by the first packet that says it is over.
    fn key(&mut self, header: &Header, payload: &[u8]) -> Option<Digit> {
        if Some(header.payload_type) != self.format.telephone_event {
            return None;
        }
        let [code, flags, ..] = payload else { return None };
        if flags & END == 0 || self.told == Some(header.timestamp) {
            return None;
        }
        self.told = Some(header.timestamp);
        Digit::from_event_code(*code)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::time::{Duration, Instant};

    use dialects::Encoding;
    use dtmf::Digit;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use relay::switchboard::limits::LINK_DATAGRAM;
    use relay::wire::rtp::RtpPacket;

    use super::{Format, Heard, Packetizer, Unpacker};

    const FORMAT: Format =
        Format { encoding: Encoding::L16(16000), payload_type: 96, telephone_event: Some(101) };

    fn packetizer() -> Packetizer {
        Packetizer::new(FORMAT, &mut StdRng::from_seed([1; 32]))
    }

    #[test]
    fn samples_are_turned_and_turned_back() {
        let mut packet = [0; LINK_DATAGRAM];
        let frame: Vec<u8> = (0..=255).cycle().take(640).collect();
        let mut packets = packetizer();
        let datagram = packets.sound(Instant::now(), &frame, &mut packet).unwrap();
        assert_eq!(datagram[12..14], [1, 0]);
        let mut unpacker = Unpacker::new(FORMAT);
        assert!(matches!(unpacker.read(datagram), Heard::Sound(sound) if sound == frame));
    }

    #[test]
    fn timestamps_go_on_by_a_pause() {
        let (start, mut packets) = (Instant::now(), packetizer());
        let mut at = |after: u64| {
            let mut packet = [0; LINK_DATAGRAM];
            let now = start + Duration::from_millis(after);
            let datagram = packets.sound(now, &[0; 640], &mut packet).unwrap();
            let header = RtpPacket::parse(datagram).unwrap().header;
            (header.timestamp, header.marker)
        };
        let (first, marker) = at(0);
        assert!(marker);
        assert_eq!(at(21), (first.wrapping_add(320), false));
        assert_eq!(at(39), (first.wrapping_add(640), false));
        let (after_pause, marker) = at(1060);
        assert!(marker && after_pause == first.wrapping_add(960 + 16000));
    }

    #[test]
    fn a_key_is_told_once() {
        let mut unpacker = Unpacker::new(FORMAT);
        let mut packets = packetizer();
        for key in [b'5', b'5', b'#'] {
            let (key, mut told) = (Digit::from_ascii(key).unwrap(), 0);
            packets.key(key, |datagram| match unpacker.read(datagram) {
                Heard::Key(heard) => told += i32::from(heard == key),
                Heard::Sound(_) => panic!("no sound"),
                Heard::Nothing => {}
            });
            assert_eq!(told, 1);
        }
    }
}

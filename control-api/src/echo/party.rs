//! Party: what an echo engine says and hears, one packet after another. Sockets and pace are not
//! its business.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dtmf::g711::Law;
use rand::{Rng, RngExt};
use relay::switchboard::LegMedia;
use relay::wire::rtp::{FIXED_HEADER_LEN, Header, RtpPacket};

use super::chime::Chime;
use super::ear::Ear;
use super::hearing::Hearing;

/// Samples of a millisecond.
const SAMPLES_PER_MS: usize = 8;
/// Longest packet time of an engine's leg, in ms.
const MAX_PTIME_MS: usize = 60;
/// Longest packet it says.
pub(super) const MAX_PACKET: usize = FIXED_HEADER_LEN + MAX_PTIME_MS * SAMPLES_PER_MS;
/// By how much the echo is late, in samples: a second, so that nobody takes it for the line's.
const DELAY: usize = 8000;
/// Samples that wait at most. Another clock than ours can't fill more: the oldest are dropped.
const MAX_WAITING: usize = DELAY * 3 / 2;

/// What was agreed for its leg.
#[derive(Clone, Copy)]
pub(super) struct Format {
    law: Law,
    payload_type: u8,
    telephone_event: Option<u8>,
    pub(super) ptime: Duration,
}

impl Format {
    /// `None` if the leg speaks anything but G.711.
    pub(super) fn of(leg: &LegMedia) -> Option<Format> {
        Some(Format {
            law: leg.codec.law()?,
            payload_type: leg.payload_type,
            telephone_event: leg.telephone_event,
            ptime: leg.ptime,
        })
    }

    fn frame(self) -> usize {
        (self.ptime.as_millis() as usize).min(MAX_PTIME_MS) * SAMPLES_PER_MS
    }
}

/// One who echoes.
pub(super) struct Party {
    format: Format,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    is_first: bool,
    greeting: Greeting,
    line: Line,
    ear: Ear,
    transcript: Arc<Hearing>,
}

/// It greets when it hears the relay first: before that nobody may be there to hear it.
enum Greeting {
    Ahead,
    Now(Chime),
    Over,
}

impl Party {
    /// A party that has said and heard nothing. Its stream's numbers are random (RFC 3550 section
    /// 5.1).
    pub(super) fn new(format: Format, transcript: Arc<Hearing>, random: &mut impl Rng) -> Party {
        Party {
            format,
            ssrc: random.random(),
            sequence: random.random(),
            timestamp: random.random(),
            is_first: true,
            greeting: Greeting::Ahead,
            line: Line::default(),
            ear: Ear::new(format.law),
            transcript,
        }
    }

    /// Hears a datagram; what is not of the leg's types is ignored.
    pub(super) fn hear(&mut self, now: Instant, datagram: &[u8]) {
        let Ok(packet) = RtpPacket::parse(datagram) else { return };
        let payload_type = packet.header.payload_type;
        if payload_type == self.format.payload_type {
            let codes = &datagram[packet.payload];
            self.line.push(codes);
            self.ear.hear(now, codes, &self.transcript);
        } else if Some(payload_type) == self.format.telephone_event {
            self.ear.hear_key(now, &self.transcript);
        } else {
            return;
        }
        if matches!(self.greeting, Greeting::Ahead) {
            self.greeting = Greeting::Now(Chime::default());
        }
    }

    /// Says the next packet: writes it, and tells its length.
    pub(super) fn speak(&mut self, now: Instant, packet: &mut [u8; MAX_PACKET]) -> usize {
        self.ear.wait(now, &self.transcript);
        let end = FIXED_HEADER_LEN + self.format.frame();
        let (head, body) = packet.split_first_chunk_mut().expect("a packet begins with a header");
        Header {
            marker: std::mem::take(&mut self.is_first),
            payload_type: self.format.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
        .write(head);
        let frame = &mut body[..end - FIXED_HEADER_LEN];
        self.fill(frame);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(frame.len() as u32);
        end
    }

    fn fill(&mut self, frame: &mut [u8]) {
        let law = self.format.law;
        match &mut self.greeting {
            Greeting::Ahead => frame.fill(law.silence()),
            Greeting::Over => self.line.fill(frame, law),
            Greeting::Now(chime) => {
                for code in &mut *frame {
                    *code = law.encode(chime.next().unwrap_or_default());
                }
                if chime.is_over() {
                    self.greeting = Greeting::Over;
                }
            }
        }
    }
}

/// What was heard and is not echoed yet.
struct Line {
    codes: VecDeque<u8>,
    is_flowing: bool,
}

impl Default for Line {
    fn default() -> Line {
        Line { codes: VecDeque::with_capacity(MAX_WAITING), is_flowing: false }
    }
}

impl Line {
    fn push(&mut self, codes: &[u8]) {
        for &code in codes {
            if self.codes.len() == MAX_WAITING {
                self.codes.pop_front();
            }
            self.codes.push_back(code);
        }
    }

    /// Gives out what waits, once it has waited for the delay; silence before that, and again when
    /// nothing is left.
    fn fill(&mut self, frame: &mut [u8], law: Law) {
        self.is_flowing = if self.is_flowing {
            self.codes.len() >= frame.len()
        } else {
            self.codes.len() >= DELAY
        };
        for code in frame {
            let next = if self.is_flowing { self.codes.pop_front() } else { None };
            *code = next.unwrap_or(law.silence());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use dtmf::g711::Law;
    use loadtest::{Caller, CallerConfig, KeyMethod, Speech};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use relay::wire::rtp::RtpPacket;

    use super::{DELAY, Format, MAX_PACKET, MAX_WAITING, Party};
    use crate::clock;
    use crate::echo::hearing::Hearing;

    const FRAME: Duration = Duration::from_millis(20);

    /// Says one code, and another each time.
    struct Counting(u8);

    impl Speech for Counting {
        fn fill(&mut self, frame: &mut [u8]) {
            self.0 = self.0 % 100 + 1;
            frame.fill(self.0);
        }
    }

    fn party(telephone_event: Option<u8>) -> (Party, Arc<Hearing>) {
        let format = Format { law: Law::Mu, payload_type: 0, telephone_event, ptime: FRAME };
        let transcript = Arc::new(Hearing::default());
        let party = Party::new(format, Arc::clone(&transcript), &mut StdRng::seed_from_u64(7));
        (party, transcript)
    }

    fn say(party: &mut Party, now: Instant) -> Vec<u8> {
        let mut packet = [0; MAX_PACKET];
        let len = party.speak(now, &mut packet);
        packet[..len].to_vec()
    }

    #[test]
    fn it_greets_when_it_hears_and_echoes_a_second_later() {
        let (mut party, _) = party(None);
        let mut caller = Caller::new(CallerConfig::pcmu(1, KeyMethod::Events), Counting(0));
        let mut now = clock::monotonic();
        let mut said = Vec::new();
        for n in 0..200 {
            // The caller comes after 200 ms.
            if n >= 10 {
                caller.tick(&mut |packet| party.hear(now, packet));
            }
            said.push(say(&mut party, now));
            now += FRAME;
        }
        let is_silent = |packet: &[u8]| packet[12..].iter().all(|&code| code == 0xFF);
        assert!(said[..10].iter().all(|packet| is_silent(packet)), "it waits for somebody");
        assert!(!said[10..40].iter().any(|packet| is_silent(packet)), "it greets");
        // The second is full with the fiftieth packet, the caller's first is said then.
        assert!(is_silent(&said[58]), "nothing is echoed before its time");
        for (nth, packet) in said[59..].iter().enumerate() {
            assert_eq!(packet[12..], [(nth % 100) as u8 + 1; 160], "packet {nth} of the echo");
        }
        let headers: Vec<_> = said.iter().map(|it| RtpPacket::parse(it).unwrap().header).collect();
        for pair in headers.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
            assert!(pair[1].ssrc == pair[0].ssrc && !pair[1].marker);
        }
        assert!(headers[0].marker);
    }

    #[test]
    fn what_waits_is_bounded_and_what_runs_dry_is_silent() {
        let (mut party, _) = party(None);
        let mut caller = Caller::new(CallerConfig::pcmu(1, KeyMethod::Events), Counting(0));
        let now = clock::monotonic();
        for _ in 0..1000 {
            caller.tick(&mut |packet| party.hear(now, packet));
        }
        assert_eq!(party.line.codes.len(), MAX_WAITING);
        assert!(party.line.codes.capacity() < 2 * MAX_WAITING);
        let sound = (0..200).filter(|_| say(&mut party, now)[12..].iter().any(|&it| it != 0xFF));
        // What waited, and the greeting before it.
        assert!((MAX_WAITING / 160..(MAX_WAITING + DELAY) / 160).contains(&sound.count()));
        assert_eq!(party.line.codes.len(), 0);
    }

    #[test]
    fn what_is_no_media_of_its_leg_is_not_heard() {
        let (mut party, transcript) = party(Some(101));
        let now = clock::monotonic();
        let (before, mut packet) = (transcript.next(0), [0x80; 172]);
        for datagram in [&[][..], &[0x80; 11], &[0; 172], &[0xFF; 172]] {
            party.hear(now, datagram);
        }
        packet[1] = 96;
        party.hear(now, &packet);
        assert!(party.line.codes.is_empty());
        assert_eq!(transcript.next(0), before);
        packet[1] = 101;
        party.hear(now, &packet);
        assert!(party.line.codes.is_empty(), "events are not echoed");
        assert_ne!(transcript.next(0), before);
    }
}

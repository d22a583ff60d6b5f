//! Probe: what marks the audio of a load test, so that each packet can be told from all others.
//!
//! ```text
//!  0      4      8        12            20            160
//!  | SLT1 | leg  | number | sent, ns    | speech ...   |     integers in network order
//! ```

use loadtest::{Speech, Voice};

/// What a payload begins with that is a probe.
const MARK: [u8; 4] = *b"SLT1";

/// Octets of a probe.
pub(crate) const LEN: usize = 20;

/// Who sent a packet, as the how many-th, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Probe {
    /// The leg that sent it.
    pub(crate) leg: u32,
    /// How many packets of audio the leg had sent before.
    pub(crate) number: u32,
    /// When it was sent, in ns of the wall clock since 1970.
    pub(crate) sent: u64,
}

impl Probe {
    /// The probe that a payload begins with.
    pub(crate) fn read(payload: &[u8]) -> Option<Probe> {
        let (probe, _) = payload.split_first_chunk::<LEN>()?;
        let (mark, rest) = probe.split_first_chunk::<4>()?;
        let (leg, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let sent = u64::from_be_bytes(*rest.first_chunk()?);
        let (leg, number) = (u32::from_be_bytes(*leg), u32::from_be_bytes(*number));
        (*mark == MARK).then_some(Probe { leg, number, sent })
    }

    fn write(self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&MARK);
        payload[4..8].copy_from_slice(&self.leg.to_be_bytes());
        payload[8..12].copy_from_slice(&self.number.to_be_bytes());
        payload[12..LEN].copy_from_slice(&self.sent.to_be_bytes());
    }
}

/// Speech with a probe in front of each frame.
pub(crate) struct Probing {
    voice: Voice,
    next: Probe,
}

impl Probing {
    /// Speech of a leg that has said nothing yet.
    pub(crate) fn new(leg: u32, voice: Voice) -> Probing {
        Probing { voice, next: Probe { leg, number: 0, sent: 0 } }
    }

    /// The next frame is sent at this time, in ns of the wall clock.
    pub(crate) fn set_time(&mut self, sent: u64) {
        self.next.sent = sent;
    }

    /// Frames said so far.
    pub(crate) fn said(&self) -> u32 {
        self.next.number
    }
}

impl Speech for Probing {
    fn fill(&mut self, frame: &mut [u8]) {
        self.voice.fill(frame);
        self.next.write(frame);
        self.next.number = self.next.number.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use dtmf::g711::Law;

    use super::*;

    #[test]
    fn frames_are_numbered_and_read_back() {
        let mut probing = Probing::new(7, Voice::shipped(Law::Mu));
        let mut frame = [0; 160];
        for number in 0..3 {
            probing.set_time(1000 + u64::from(number));
            probing.fill(&mut frame);
            let probe = Probe { leg: 7, number, sent: 1000 + u64::from(number) };
            assert_eq!(Probe::read(&frame), Some(probe));
        }
        assert_eq!(probing.said(), 3);
    }

    #[test]
    fn speech_alone_is_no_probe() {
        let mut frame = [0; 160];
        Voice::shipped(Law::Mu).fill(&mut frame);
        assert_eq!(Probe::read(&frame), None);
        assert_eq!(Probe::read(&frame[..3]), None);
    }
}

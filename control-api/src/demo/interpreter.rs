//! Interpreter: turns what the caller heard back into the words of the relay's prompts.

use std::time::Instant;

use dtmf::g711::Law;
use loadtest::{Ear, Hearing};
use relay::prompts::{self, LanguageTag, Spoken};

/// Samples that a prompt is known by: 50 ms of the same values do not come about by chance.
const KNOWN_BY: usize = 400;

/// A prompt that was heard.
#[derive(Debug)]
pub(super) struct Utterance {
    pub(super) at: Instant,
    /// The prompt's file, without `.wav`.
    pub(super) name: String,
    pub(super) text: &'static str,
    /// Whether it was heard to its end.
    pub(super) is_whole: bool,
}

/// All that a party heard in some time, as far as prompts explain it.
#[derive(Debug)]
pub(super) struct Understood {
    pub(super) utterances: Vec<Utterance>,
    /// When sound was heard that belongs to no prompt: one entry a packet.
    pub(super) strange: Vec<Instant>,
}

/// A prompt from its first sound on.
struct Known {
    spoken: Spoken,
    samples: Vec<i16>,
}

/// A stretch of audio, and which packets brought it.
struct Tape<'a> {
    packets: Vec<&'a Hearing>,
    /// Of each sample, the place of its packet.
    owners: Vec<usize>,
    samples: Vec<i16>,
}

/// What a party heard between two instants, in the built-in prompts of a language.
pub(super) fn understand(
    ear: &Ear,
    language: LanguageTag,
    from: Instant,
    to: Instant,
) -> Understood {
    let known: Vec<Known> = prompts::spoken(language).into_iter().map(Known::new).collect();
    let tape = Tape::of(ear, from, to);
    let mut understood = Understood { utterances: Vec::new(), strange: Vec::new() };
    let mut at = 0;
    while at < tape.samples.len() {
        let here = tape.packets[tape.owners[at]].at;
        let rest = &tape.samples[at..];
        match best(&known, rest) {
            Some((prompt, length)) => {
                understood.utterances.push(prompt.heard(here, length));
                at += length;
            }
            None => {
                if rest[0] != 0 && understood.strange.last() != Some(&here) {
                    understood.strange.push(here);
                }
                at += 1;
            }
        }
    }
    understood
}

/// The prompt of which most begins here, and how much of it that is.
fn best<'a>(known: &'a [Known], rest: &[i16]) -> Option<(&'a Known, usize)> {
    known
        .iter()
        .map(|prompt| (prompt, prompt.common(rest)))
        .filter(|(_, length)| *length >= KNOWN_BY)
        .max_by_key(|(_, length)| *length)
}

impl Known {
    fn new(spoken: Spoken) -> Known {
        let samples = spoken.codes.iter().map(|code| Law::Mu.decode(*code));
        let samples = samples.skip_while(|sample| *sample == 0).collect();
        Known { spoken, samples }
    }

    /// How many samples of this prompt stand at the begin of `rest`.
    fn common(&self, rest: &[i16]) -> usize {
        self.samples.iter().zip(rest).take_while(|(own, heard)| own == heard).count()
    }

    fn heard(&self, at: Instant, length: usize) -> Utterance {
        let Spoken { name, text, .. } = &self.spoken;
        Utterance { at, name: name.clone(), text, is_whole: length == self.samples.len() }
    }
}

impl<'a> Tape<'a> {
    fn of(ear: &'a Ear, from: Instant, to: Instant) -> Tape<'a> {
        let mut tape = Tape { packets: Vec::new(), owners: Vec::new(), samples: Vec::new() };
        for (hearing, octets) in ear.frames() {
            if from <= hearing.at && hearing.at < to {
                let owner = tape.packets.len();
                tape.packets.push(hearing);
                tape.owners.extend(octets.iter().map(|_| owner));
                tape.samples.extend(octets.iter().map(|code| Law::Mu.decode(*code)));
            }
        }
        tape
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use loadtest::Ear;
    use loadtest::caller::{FRAME, FRAME_SAMPLES};
    use relay::io::Clock;
    use relay::prompts::{LanguageTag, spoken};
    use relay::wire::rtp::{FIXED_HEADER_LEN, Header};

    use super::{Law, Understood, understand};
    use loadtest::sdp::PCMU;

    fn spanish() -> LanguageTag {
        "es".parse().unwrap()
    }

    fn codes_of(name: &str) -> Vec<u8> {
        let all = spoken(spanish());
        all.into_iter().find(|clip| clip.name == name).unwrap().codes.into_owned()
    }

    /// What is understood of audio that comes in packets, and when the first came.
    fn heard(audio: &[u8]) -> (Instant, Understood) {
        let (began, mut ear) = (Clock::new().now(), Ear::new(Law::Mu, PCMU));
        for (nth, payload) in (0..).zip(audio.chunks(FRAME_SAMPLES)) {
            let header = Header {
                marker: false,
                payload_type: PCMU,
                sequence: nth as u16,
                timestamp: nth * FRAME_SAMPLES as u32,
                ssrc: 1,
            };
            let mut packet = [0; FIXED_HEADER_LEN];
            header.write(&mut packet);
            ear.hear(began + FRAME * nth, &[&packet[..], payload].concat());
        }
        (began, understand(&ear, spanish(), began, began + Duration::from_secs(3600)))
    }

    #[test]
    fn every_prompt_of_the_language_is_understood() {
        let all = spoken(spanish());
        assert!(all.len() > 40);
        for clip in all {
            let (_, understood) = heard(&[&[Law::Mu.silence(); 333][..], &clip.codes].concat());
            let names: Vec<_> = understood.utterances.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(names, [clip.name.as_str()]);
            assert!(understood.utterances[0].is_whole && understood.strange.is_empty());
        }
    }

    #[test]
    fn a_prompt_cut_short_by_a_key_is_understood_as_such() {
        let clip = codes_of("passed");
        let audio = [&clip[..clip.len() / 2], &[Law::Mu.silence(); 800]].concat();
        let (_, understood) = heard(&audio);
        assert_eq!(understood.utterances.len(), 1);
        assert!(!understood.utterances[0].is_whole && understood.strange.is_empty());
    }

    #[test]
    fn what_is_no_prompt_is_strange() {
        let clip = codes_of("passed");
        let other: Vec<u8> = (0..FRAME_SAMPLES).map(|nth| nth as u8).collect();
        let length = clip.len().next_multiple_of(FRAME_SAMPLES);
        let mut audio = clip;
        audio.resize(length, Law::Mu.silence());
        audio.extend(other);
        let (began, understood) = heard(&audio);
        assert_eq!(understood.utterances.len(), 1);
        let packets = (length / FRAME_SAMPLES) as u32;
        assert_eq!(understood.strange, [began + FRAME * packets]);
    }
}

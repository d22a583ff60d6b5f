//! `Player`: what the caller is being told, a frame at a time.

use std::time::Duration;

use zeroize::Zeroize;

use super::phrase::{ClipId, MAX_CLIPS, Phrase};
use super::voice::Voice;

/// Samples a second, of prompts and of the beep.
const RATE: u64 = 8000;
/// The most clips waiting: a verdict's phrases and a read-back fit with room to spare.
const MAX_QUEUED: usize = 16;
const _: () = assert!(MAX_QUEUED >= 3 * MAX_CLIPS, "three phrases can wait");

/// One period of the beep, 400 Hz at -20 dBFS: a whole number of samples, so that a beep can be
/// prolonged without a click. It lies below every frequency of a key (697 Hz and up, ITU-T Q.23).
const BEEP_PERIOD: [i16; 20] = [
    0, 1432, 2724, 3749, 4407, 4634, 4407, 3749, 2724, 1432, 0, -1432, -2724, -3749, -4407, -4634,
    -4407, -3749, -2724, -1432,
];
const PERIOD: i16 = BEEP_PERIOD.len() as i16;
/// 80 ms.
const BEEP_LENGTH: i16 = 640;
/// 5 ms of rise and of fall: a tone cut off hard has a click of all frequencies.
const BEEP_RAMP: i16 = 40;
const _: () = assert!(BEEP_LENGTH % PERIOD == 0 && BEEP_RAMP % PERIOD == 0);

/// What the caller is being told: clips that wait their turn, and a beep.
///
/// Without heap, of fixed size, so that it lies in the locked page of its session: which clips
/// wait may tell digits. Wiped when dropped; a clip that has been said is forgotten at once.
///
/// The [`Voice`] is an argument of each call, since it is large and shared. Give the same one
/// until the player is idle; a clip that a voice does not have is passed over.
pub struct Player {
    /// The clip being said, then those waiting; zero beyond `queued`.
    queue: [ClipId; MAX_QUEUED],
    queued: usize,
    /// Samples of the first clip already said.
    offset: usize,
    /// Samples of the beep already sounded; [`BEEP_LENGTH`] when there is none, negative where it
    /// follows on the end of another.
    beeped: i16,
}

/// So many clips wait that another phrase does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many prompts are waiting")]
pub struct QueueFull;

impl Player {
    /// A player with nothing to say.
    #[must_use]
    pub const fn new() -> Self {
        Self { queue: [0; MAX_QUEUED], queued: 0, offset: 0, beeped: BEEP_LENGTH }
    }

    /// Says this now, in place of whatever is being said. A beep that sounds ends first.
    pub fn play(&mut self, phrase: &Phrase) {
        self.hush();
        self.append(phrase).expect("any phrase fits an empty queue");
    }

    /// Says this after whatever is being said.
    ///
    /// # Errors
    /// [`QueueFull`] if it doesn't fit; then nothing of it will be said.
    pub fn append(&mut self, phrase: &Phrase) -> Result<(), QueueFull> {
        let clips = phrase.clips();
        let free = self.queue[self.queued..].get_mut(..clips.len()).ok_or(QueueFull)?;
        free.copy_from_slice(clips);
        self.queued += clips.len();
        Ok(())
    }

    /// Falls silent: no clip, no beep.
    pub fn stop(&mut self) {
        self.hush();
        self.beeped = BEEP_LENGTH;
    }

    /// Beeps: 80 ms of 400 Hz, the same for every key. It comes before any clip, which goes on
    /// afterwards; a beep that sounds is prolonged.
    pub fn beep(&mut self) {
        self.beeped = match self.beeped {
            BEEP_LENGTH => 0,
            falling if falling >= BEEP_LENGTH - BEEP_RAMP => falling - BEEP_LENGTH,
            full if full >= BEEP_RAMP => BEEP_RAMP + full % PERIOD,
            rising => rising,
        };
    }

    /// Writes the next samples, 8000 a second; silence where there is nothing to say. `false` if
    /// all of it is silence because nothing is being said.
    pub fn fill(&mut self, voice: &Voice, frame: &mut [i16]) -> bool {
        let beep = frame.len().min(self.beep_remaining());
        let (head, tail) = frame.split_at_mut(beep);
        for sample in &mut *head {
            *sample = beep_sample(self.beeped);
            self.beeped += 1;
        }
        let said = self.say(voice, tail);
        tail[said..].fill(0);
        beep > 0 || said > 0
    }

    /// How long it takes until nothing is being said, if nothing is added.
    #[must_use]
    pub fn remaining(&self, voice: &Voice) -> Duration {
        let queued: usize = self.queue[..self.queued].iter().map(|id| voice.codes(*id).len()).sum();
        // The offset lies within the first clip unless another voice is given than before.
        let samples = queued.saturating_sub(self.offset) + self.beep_remaining();
        Duration::from_micros(samples as u64 * (1_000_000 / RATE))
    }

    /// Nothing is being said.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.queued == 0 && self.beeped == BEEP_LENGTH
    }

    /// Samples of the beep not yet sounded.
    fn beep_remaining(&self) -> usize {
        usize::from((BEEP_LENGTH - self.beeped).unsigned_abs())
    }

    /// Writes clips into the frame and returns how many samples they filled.
    fn say(&mut self, voice: &Voice, frame: &mut [i16]) -> usize {
        let mut said = 0;
        while self.queued > 0 {
            let codes = voice.codes(self.queue[0]);
            let rest = codes.get(self.offset..).unwrap_or_default();
            for (sample, code) in frame[said..].iter_mut().zip(rest) {
                *sample = Voice::LAW.decode(*code);
            }
            let written = rest.len().min(frame.len() - said);
            said += written;
            self.offset += written;
            if written < rest.len() {
                break;
            }
            self.forget_first();
        }
        said
    }

    fn forget_first(&mut self) {
        self.queue.copy_within(1.., 0);
        self.queue[MAX_QUEUED - 1].zeroize();
        self.queued -= 1;
        self.offset = 0;
    }

    fn hush(&mut self) {
        self.queue.zeroize();
        self.queued = 0;
        self.offset.zeroize();
    }
}

impl Default for Player {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.hush();
        self.beeped.zeroize();
    }
}

fn beep_sample(at: i16) -> i16 {
    let at = at.rem_euclid(BEEP_LENGTH);
    let full = i32::from(BEEP_PERIOD[usize::from((at % PERIOD).unsigned_abs())]);
    let from_edge = at.min(BEEP_LENGTH - 1 - at).min(BEEP_RAMP);
    // No louder than the full beep, which fits.
    (full * i32::from(from_edge) / i32::from(BEEP_RAMP)) as i16
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dtmf::g711::Law;
    use dtmf::tone::ToneDetector;

    use super::{MAX_QUEUED, Player, QueueFull};
    use crate::prompts::phrase::{MAX_CLIPS, Phrase};
    use crate::prompts::testing::{plain_voice, sample_of};
    use crate::prompts::voice::Voice;

    const FRAME: usize = 160;
    const BEEP_LENGTH: usize = super::BEEP_LENGTH as usize;

    /// What is said until there is silence.
    fn heard(player: &mut Player, voice: &Voice) -> Vec<i16> {
        let mut heard = Vec::new();
        let mut frame = [1; FRAME];
        while player.fill(voice, &mut frame) {
            heard.extend(frame);
            assert!(heard.len() < 100_000, "it ends");
        }
        assert_eq!(frame, [0; FRAME], "silence is written too");
        heard
    }

    #[test]
    fn clips_are_said_in_order_without_a_gap() {
        let voice = plain_voice();
        let mut player = Player::new();
        player.play(&Phrase::new([3, 1]));
        player.append(&Phrase::new([2])).unwrap();
        let lengths = [3, 1, 2].map(|id| voice.codes(id).len());
        let total: usize = lengths.iter().sum();
        assert_eq!(player.remaining(&voice), Duration::from_micros(total as u64 * 125));
        let heard = heard(&mut player, &voice);
        let mut wanted: Vec<i16> = Vec::new();
        for id in [3, 1, 2] {
            wanted.extend(vec![sample_of(id); voice.codes(id).len()]);
        }
        assert_eq!(heard[..total], wanted);
        assert!(heard[total..].iter().all(|sample| *sample == 0));
        assert!(player.is_idle() && player.remaining(&voice).is_zero());
    }

    #[test]
    fn play_replaces_and_stop_ends() {
        let voice = plain_voice();
        let mut player = Player::new();
        let mut frame = [0; FRAME];
        player.play(&Phrase::new([1]));
        player.fill(&voice, &mut frame);
        player.play(&Phrase::new([2]));
        assert!(player.fill(&voice, &mut frame));
        assert_eq!(frame[0], sample_of(2), "from its beginning");
        player.beep();
        player.stop();
        assert!(player.is_idle());
        assert!(!player.fill(&voice, &mut frame));
        assert_eq!(frame, [0; FRAME]);
    }

    #[test]
    fn what_has_been_said_or_stopped_is_forgotten() {
        let voice = plain_voice();
        let mut player = Player::new();
        player.play(&Phrase::new([7, 7, 7]));
        assert!(player.queue.contains(&7), "the control");
        heard(&mut player, &voice);
        assert_eq!(player.queue, [0; MAX_QUEUED]);
        player.play(&Phrase::new([7, 7, 7]));
        player.stop();
        assert_eq!(player.queue, [0; MAX_QUEUED]);
    }

    #[test]
    fn a_full_queue_takes_nothing_of_a_phrase() {
        let mut player = Player::new();
        for _ in 0..MAX_QUEUED / MAX_CLIPS {
            player.append(&Phrase::new([1; MAX_CLIPS])).unwrap();
        }
        assert_eq!(player.append(&Phrase::new([2; MAX_CLIPS])), Err(QueueFull));
        assert!(!player.queue.contains(&2));
    }

    #[test]
    fn a_clip_that_the_voice_lacks_is_passed_over() {
        let voice = plain_voice();
        let mut player = Player::new();
        player.play(&Phrase::new([u16::MAX, 1]));
        assert_eq!(heard(&mut player, &voice)[0], sample_of(1));
    }

    #[test]
    fn a_beep_comes_first_and_the_prompt_goes_on() {
        let voice = plain_voice();
        let mut player = Player::new();
        player.play(&Phrase::new([1]));
        let mut frame = [0; FRAME];
        player.fill(&voice, &mut frame);
        player.beep();
        let rest = heard(&mut player, &voice);
        assert!(rest[..BEEP_LENGTH].contains(&4634), "the top of the beep");
        assert_eq!(rest[BEEP_LENGTH], sample_of(1));
        assert_eq!(
            rest.iter().filter(|it| **it == sample_of(1)).count(),
            voice.codes(1).len() - FRAME
        );
    }

    #[test]
    fn beeps_are_smooth_and_no_key_however_they_follow() {
        let voice = plain_voice();
        // A sine of this height moves by 1432 from one sample to the next, one broken off by 4634.
        for gap in 1..2 * BEEP_LENGTH {
            let mut player = Player::new();
            let mut heard = vec![0];
            player.beep();
            let mut frame = vec![0; gap];
            player.fill(&voice, &mut frame);
            heard.extend(&frame);
            player.beep();
            let mut frame = vec![0; 2 * BEEP_LENGTH];
            player.fill(&voice, &mut frame);
            heard.extend(&frame);
            let step = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).max().unwrap();
            assert!(step <= 1800, "{gap}: a click of {step}");
            let coded: Vec<i16> =
                heard.iter().map(|it| Law::Mu.decode(Law::Mu.encode(*it))).collect();
            let mut reports = 0;
            ToneDetector::new().hear(&coded, &mut |_| reports += 1);
            assert_eq!(reports, 0, "{gap}: not even a hint of a key");
        }
    }
}

//! Concealer: what is played in place of audio that did not come.
//!
//! The last period of the voice is repeated and fades: within 10 ms nobody hears that something is
//! missing, and after 60 ms there is silence (the idea of ITU-T G.711 appendix I).

use zeroize::Zeroize;

use super::MAX_RATE;

/// Audio that is remembered, in ms: a period twice, and what it is sought with.
const MEMORY_MS: usize = 40;
/// Periods of voices, in ms: 400 Hz to 66 Hz.
const SHORTEST_MS: f32 = 2.5;
const LONGEST_MS: usize = 15;
/// The stretch whose like is sought, in ms.
const LIKENESS_MS: usize = 10;
/// How long a repetition is as loud as what it repeats, and when it is silent, in ms.
const FULL_MS: usize = 10;
const GONE_MS: usize = 60;
/// Over what time the repetition gives way to what comes again, in ms.
const SEAM_MS: usize = 5;

const MEMORY: usize = MEMORY_MS * MAX_RATE as usize / 1000;

/// Fills holes in one stream of samples.
pub struct Concealer {
    per_ms: usize,
    /// The last samples that were played, oldest first.
    memory: [i16; MEMORY],
    /// While a hole is filled: the period that is repeated, and how much was filled.
    filling: Option<Filling>,
}

#[derive(Clone, Copy)]
struct Filling {
    period: usize,
    done: usize,
}

impl Concealer {
    /// For samples that come at `rate`.
    #[must_use]
    pub fn new(rate: u32) -> Concealer {
        assert!(rate <= MAX_RATE, "the memory holds enough of it");
        Concealer { per_ms: rate as usize / 1000, memory: [0; MEMORY], filling: None }
    }

    /// Takes note of audio that is played, and joins it to what filled the hole before it.
    pub fn pass(&mut self, frame: &mut [i16]) {
        if let Some(filling) = self.filling.take() {
            let seam = frame.len().min(SEAM_MS * self.per_ms);
            for (at, sample) in frame[..seam].iter_mut().enumerate() {
                let old = i32::from(self.repeated(filling, at));
                let new = i32::from(*sample);
                *sample = ((old * (seam - at) as i32 + new * at as i32) / seam as i32) as i16;
            }
        }
        self.remember(frame);
    }

    /// Fills `frame`, of which nothing has come; `false` once that is silence.
    pub fn fill(&mut self, frame: &mut [i16]) -> bool {
        let filling = match self.filling {
            Some(filling) => filling,
            None => Filling { period: self.period(), done: 0 },
        };
        for (at, sample) in frame.iter_mut().enumerate() {
            *sample = self.repeated(filling, at);
        }
        let done = filling.done + frame.len();
        self.filling = Some(Filling { done, ..filling });
        filling.done < GONE_MS * self.per_ms
    }

    /// A sample of the repetition, `at` after what was filled; fainter the longer it lasts.
    fn repeated(&self, Filling { period, done }: Filling, at: usize) -> i16 {
        let age = done + at;
        let (full, gone) = (FULL_MS * self.per_ms, GONE_MS * self.per_ms);
        if age >= gone {
            return 0;
        }
        let sample = i32::from(self.memory[MEMORY - period + age % period]);
        let share = (gone - age.max(full)) as i32;
        (sample * share / (gone - full) as i32) as i16
    }

    /// The distance at which the end of what was played is most like what came before it.
    fn period(&self) -> usize {
        let shortest = (SHORTEST_MS * self.per_ms as f32) as usize;
        let longest = LONGEST_MS * self.per_ms;
        let likeness = LIKENESS_MS * self.per_ms;
        let end = &self.memory[MEMORY - likeness..];
        let best = (shortest..=longest).map(|lag| {
            let before = &self.memory[MEMORY - likeness - lag..MEMORY - lag];
            (lag, likeness_of(end, before))
        });
        best.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(longest, |(lag, _)| lag)
    }

    fn remember(&mut self, frame: &[i16]) {
        let new = &frame[frame.len().saturating_sub(MEMORY)..];
        self.memory.copy_within(new.len().., 0);
        self.memory[MEMORY - new.len()..].copy_from_slice(new);
    }
}

impl Drop for Concealer {
    fn drop(&mut self) {
        self.memory.zeroize();
    }
}

/// Correlation, as a share of what the second could reach at most by its loudness.
fn likeness_of(a: &[i16], b: &[i16]) -> f32 {
    let (mut product, mut power) = (0.0f32, 1.0f32);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f32::from(a), f32::from(b));
        product += a * b;
        power += b * b;
    }
    product / power.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: usize, count: usize) -> Vec<i16> {
        let step = 200.0 * std::f64::consts::TAU / rate as f64;
        (0..count).map(|at| (8000.0 * (step * at as f64).sin()) as i16).collect()
    }

    #[test]
    fn a_lost_frame_of_a_voice_goes_on_as_it_was() {
        for rate in [8000, 16_000, 24_000] {
            let frame = rate / 50;
            let whole = tone(rate, 10 * frame);
            let mut concealer = Concealer::new(rate as u32);
            for packet in whole[..5 * frame].chunks(frame) {
                concealer.pass(&mut packet.to_vec());
            }
            let mut filled = vec![0; frame];
            assert!(concealer.fill(&mut filled));
            let half = frame / 2;
            let worst = (0..half).map(|at| (filled[at] - whole[5 * frame + at]).abs()).max();
            assert!(worst.unwrap() < 400, "{worst:?} at {rate}");
            // No jump where it goes on.
            let mut next = whole[6 * frame..7 * frame].to_vec();
            let last = filled[frame - 1];
            concealer.pass(&mut next);
            assert!((next[0] - last).abs() < 2500, "{} after {last}", next[0]);
        }
    }

    #[test]
    fn a_long_hole_fades_to_silence() {
        let mut concealer = Concealer::new(8000);
        concealer.pass(&mut tone(8000, 800));
        let mut frame = [0; 160];
        let loud: Vec<bool> = (0..6).map(|_| concealer.fill(&mut frame)).collect();
        assert_eq!(loud, [true, true, true, false, false, false]);
        assert_eq!(frame, [0; 160]);
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        let mut concealer = Concealer::new(8000);
        let mut frame = [1; 160];
        concealer.fill(&mut frame);
        assert_eq!(frame, [0; 160]);
    }
}

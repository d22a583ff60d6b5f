//! SRTP replay window: the index a packet must have, and which were used (RFC 3711 section 3.3).

use arrayvec::ArrayVec;

use super::SrtpError;

/// How far behind the newest index a packet may come: 2.5 s of 20 ms packets. RFC 3711
/// section 3.3.2 asks for 64 at least.
pub const WINDOW: u64 = u128::BITS as u64;

/// Most sources one key serves in its life.
///
/// Nothing is ever evicted: forgetting a source would let its packets be replayed (inbound) or its
/// indices be used twice (outbound). A leg has one source, a few more after transfers; only a peer
/// that holds the key can bring new ones, and it must bring a new key with the seventeenth.
pub const MAX_SOURCES: usize = 16;

/// The highest rollover count: with the sequence number it makes an index of 48 bits.
const MAX_ROLLOVER: u64 = u32::MAX as u64;

/// The used indices of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReplayWindow {
    /// The highest index used.
    highest: u64,
    /// Bit `n` says that `highest - n` was used; all clear before the first packet.
    used: u128,
}

impl ReplayWindow {
    /// The index of an RTP packet: the one nearest to the highest (RFC 3711 appendix A).
    pub(super) fn estimate(&self, sequence: u16) -> Result<u64, SrtpError> {
        let rollover = self.highest >> 16;
        let newest = (self.highest & 0xffff) as u16;
        let estimated = if self.used == 0 {
            0
        } else if sequence.saturating_sub(newest) > 0x8000 {
            // Before the first rollover there is nothing older it could be.
            rollover.saturating_sub(1)
        } else if newest.saturating_sub(sequence) > 0x8000 {
            rollover + 1
        } else {
            rollover
        };
        if estimated > MAX_ROLLOVER {
            return Err(SrtpError::Exhausted);
        }
        Ok((estimated << 16) | u64::from(sequence))
    }

    /// Refuses an index used before, or too old to tell.
    pub(super) fn check(&self, index: u64) -> Result<(), SrtpError> {
        let fresh = match self.highest.checked_sub(index) {
            None => true,
            Some(age) => self.used == 0 || (age < WINDOW && self.used & (1 << age) == 0),
        };
        if fresh { Ok(()) } else { Err(SrtpError::Replayed) }
    }

    /// Marks an index that [`Self::check`] let pass as used.
    pub(super) fn mark(&mut self, index: u64) {
        debug_assert!(self.check(index).is_ok(), "an index is used once");
        if self.used == 0 {
            *self = Self { highest: index, used: 1 };
        } else if let Some(age) = self.highest.checked_sub(index) {
            self.used |= 1 << age;
        } else {
            let advance = u32::try_from(index - self.highest).unwrap_or(u32::MAX);
            self.used = self.used.checked_shl(advance).unwrap_or(0) | 1;
            self.highest = index;
        }
    }
}

/// The windows of every source a key has served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources(ArrayVec<(u32, ReplayWindow), MAX_SOURCES>);

impl Sources {
    /// The window of a source, a fresh one if it is new. Changes nothing.
    pub(super) fn window(&self, ssrc: u32) -> Result<ReplayWindow, SrtpError> {
        match self.0.iter().find(|(known, _)| *known == ssrc) {
            Some((_, window)) => Ok(*window),
            None if self.0.is_full() => Err(SrtpError::TooManySources),
            None => Ok(ReplayWindow::default()),
        }
    }

    /// Marks an index as used, once its packet has been verified.
    pub(super) fn mark(&mut self, ssrc: u32, index: u64) {
        if let Some((_, window)) = self.0.iter_mut().find(|(known, _)| *known == ssrc) {
            window.mark(index);
        } else {
            debug_assert!(!self.0.is_full(), "`window` refused what does not fit");
            let mut window = ReplayWindow::default();
            window.mark(index);
            self.0.push((ssrc, window));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(indices: &[u64]) -> ReplayWindow {
        let mut window = ReplayWindow::default();
        for &index in indices {
            window.check(index).unwrap();
            window.mark(index);
        }
        window
    }

    #[test]
    fn first_packet_starts_at_rollover_zero() {
        for sequence in [0, 1, 0x8000, 0xffff] {
            assert_eq!(window(&[]).estimate(sequence), Ok(u64::from(sequence)));
        }
    }

    /// Against the definition: of the three candidates, the index nearest to the highest.
    #[test]
    fn estimate_is_the_nearest_index() {
        for rollover in [0_u64, 1, 77, MAX_ROLLOVER - 1] {
            for newest in (0..=0xffff).step_by(251) {
                let highest = (rollover << 16) | newest;
                let window = window(&[highest]);
                for sequence in (0..=0xffff).step_by(257) {
                    let nearest = [rollover.wrapping_sub(1), rollover, rollover + 1]
                        .into_iter()
                        .filter(|&candidate| candidate <= MAX_ROLLOVER)
                        .map(|candidate| (candidate << 16) | sequence)
                        .min_by_key(|index| index.abs_diff(highest))
                        .unwrap();
                    let estimate = window.estimate(sequence as u16).unwrap();
                    assert_eq!(
                        estimate.abs_diff(highest),
                        nearest.abs_diff(highest),
                        "{sequence:#x} after {highest:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn last_index_is_the_end() {
        let last = (1 << 48) - 1;
        let window = window(&[last]);
        assert_eq!(window.estimate(0), Err(SrtpError::Exhausted));
        assert_eq!(window.estimate(0xfffe), Ok(last - 1));
    }

    #[test]
    fn window_remembers_its_whole_width() {
        let top = 1_000;
        let mut window = window(&[top]);
        for age in 1..WINDOW {
            assert_eq!(window.check(top - age), Ok(()), "{age}");
        }
        assert_eq!(window.check(top - WINDOW), Err(SrtpError::Replayed));
        window.mark(top - WINDOW + 1);
        assert_eq!(window.check(top - WINDOW + 1), Err(SrtpError::Replayed));
        assert_eq!(window.check(top), Err(SrtpError::Replayed));
    }

    /// Jumps of every size around the window's, against a plain set.
    #[test]
    fn agrees_with_a_set_of_all_indices() {
        let mut window = ReplayWindow::default();
        let mut used = std::collections::BTreeSet::new();
        let mut step: u64 = 1;
        for round in 0..20_000_u64 {
            step = step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            let newest = used.last().copied().unwrap_or(500);
            let index: u64 = (newest + (step >> 33) % 300).saturating_sub(150);
            let fresh = !used.contains(&index) && (index + WINDOW > newest || used.is_empty());
            assert_eq!(window.check(index).is_ok(), fresh, "round {round}");
            if fresh {
                window.mark(index);
                used.insert(index);
            }
        }
        assert!(used.len() > 1_000);
    }

    #[test]
    fn sources_are_bounded_and_never_forgotten() {
        let mut sources = Sources::default();
        for ssrc in 0..MAX_SOURCES as u32 {
            assert_eq!(sources.window(ssrc), Ok(ReplayWindow::default()));
            sources.mark(ssrc, 5);
        }
        assert_eq!(sources.window(99), Err(SrtpError::TooManySources));
        for ssrc in 0..MAX_SOURCES as u32 {
            assert_eq!(sources.window(ssrc).unwrap().check(5), Err(SrtpError::Replayed));
        }
    }
}

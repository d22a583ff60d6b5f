//! `Phrase`: a few clips, said one after the other.

use zeroize::Zeroize;

/// The most clips of one phrase: "card ending in" and four digits.
pub(super) const MAX_CLIPS: usize = 5;

/// A clip's place in its [`Voice`](super::Voice).
pub(super) type ClipId = u16;

/// A few clips of one [`Voice`](super::Voice), of fixed size and wiped when dropped.
///
/// Which clips they are may tell digits or a brand: there is no `Debug`, `Clone` or `PartialEq`.
///
/// ```compile_fail
/// fn show(phrase: &relay::prompts::Phrase) -> String { format!("{phrase:?}") }
/// ```
pub struct Phrase {
    clips: [ClipId; MAX_CLIPS],
    count: usize,
}

impl Phrase {
    /// The clips in order. More than [`MAX_CLIPS`] are a mistake of ours; they are left out.
    pub(super) fn new(ids: impl IntoIterator<Item = ClipId>) -> Self {
        let mut phrase = Self { clips: [0; MAX_CLIPS], count: 0 };
        for id in ids {
            debug_assert!(phrase.count < MAX_CLIPS);
            let Some(free) = phrase.clips.get_mut(phrase.count) else { break };
            *free = id;
            phrase.count += 1;
        }
        phrase
    }

    pub(super) fn clips(&self) -> &[ClipId] {
        &self.clips[..self.count]
    }
}

impl Drop for Phrase {
    fn drop(&mut self) {
        self.clips.zeroize();
        self.count.zeroize();
    }
}

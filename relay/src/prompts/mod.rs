//! Prompts: what the relay says to a caller in a secure session.
//!
//! A [`Voice`] holds all clips of one language; [`Prompts`] holds all voices: those built in, and
//! those of a folder that the user may put in their place. A [`Cue`] is something to tell the
//! caller; the voice makes a [`Phrase`] of it, and a [`Player`] says that, a frame at a time.
//!
//! ```
//! use dtmf::Step;
//! use relay::prompts::{Cue, Player, Prompts};
//!
//! let prompts = Prompts::builtin();
//! let voice = prompts.voice("es-MX".parse()?).ok_or("no Spanish")?;
//! let mut player = Player::new();
//! player.play(&voice.phrase(Cue::Ask {
//!     step: Step::PaymentCardNumber,
//!     attempt: 1,
//!     error: None,
//!     brand: None,
//!     date_order: None,
//! }));
//!
//! let mut frame = [0; 160];
//! assert!(player.fill(&voice, &mut frame));
//! assert!(!player.remaining(&voice).is_zero());
//! // The caller presses a key.
//! player.stop();
//! player.beep();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builtin;
mod cue;
mod folder;
mod language;
mod name;
mod phrase;
mod player;
mod resample;
mod sound;
#[cfg(test)]
mod testing;
mod voice;
mod wav;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use builtin::{Spoken, export, spoken};
pub use cue::Cue;
pub use folder::{LanguageSurvey, PromptError, Survey, survey};
pub use language::{LanguageTag, NotALanguage};
pub use phrase::Phrase;
pub use player::{Player, QueueFull};
pub use sound::{MAX_SOUND_BYTES, MAX_SOUND_SECONDS, Sound};
pub use voice::Voice;
pub use wav::WavError;

/// The voices of all languages. Cheap to clone.
#[derive(Clone)]
pub struct Prompts {
    voices: BTreeMap<LanguageTag, Arc<Voice>>,
}

impl Prompts {
    /// The voices built in: English, Spanish, French, German and Arabic.
    #[must_use]
    pub fn builtin() -> Self {
        builtin::prompts()
    }

    /// The voices built in, with the clips of a folder in place of theirs, and the folder's own
    /// languages.
    ///
    /// # Errors
    /// The first thing that is wrong with the folder; [`survey`] finds all of it.
    pub fn load(folder: &Path) -> Result<Self, PromptError> {
        let Survey { prompts, errors, .. } = survey(folder);
        errors.into_iter().next().map_or(Ok(prompts), Err)
    }

    /// The voice that speaks this language: of its region, else of any.
    #[must_use]
    pub fn voice(&self, language: LanguageTag) -> Option<Arc<Voice>> {
        let voice = self.voices.get(&language);
        voice.or_else(|| self.voices.get(&language.without_region())).cloned()
    }

    /// The languages, in alphabetical order.
    pub fn languages(&self) -> impl Iterator<Item = LanguageTag> {
        self.voices.keys().copied()
    }
}

//! SecureDefaults: what holds for every secure session of this relay.

use std::sync::Arc;

use dtmf::CardMode;
use relay::prompts::{LanguageTag, Prompts, Voice};

/// What holds for every secure session.
pub struct SecureDefaults {
    /// Whether published test cards are taken, or real ones. No request changes it.
    pub card_mode: CardMode,
    /// The language spoken unless a plan says otherwise.
    pub language: LanguageTag,
    /// The voices.
    pub prompts: Prompts,
}

impl Default for SecureDefaults {
    /// Test cards, and the voices built in, in English: nothing that could take a real payment.
    fn default() -> SecureDefaults {
        SecureDefaults {
            card_mode: CardMode::Test,
            language: LanguageTag::ENGLISH,
            prompts: Prompts::builtin(),
        }
    }
}

impl SecureDefaults {
    /// The voice of a language.
    #[must_use]
    pub fn voice(&self, language: LanguageTag) -> Option<Arc<Voice>> {
        self.prompts.voice(language)
    }

    /// A plan made with the defaults and no sink.
    #[cfg(test)]
    pub(crate) fn make_plan(
        request: crate::dto::plan::PlanRequest,
    ) -> Result<dtmf::SecurePlan, crate::problem::Problem> {
        use crate::{clock, dto::plan::PlanContext, sinks::Sinks};
        let (secure, sinks) = (SecureDefaults::default(), Sinks::default());
        let context = PlanContext { today: clock::now().day(), secure: &secure, sinks: &sinks };
        request.into_order(&context).map(|order| order.plan)
    }
}

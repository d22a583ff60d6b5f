//! EngineProfiles: what is known of each kind of AI engine, by name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// Silence that engines are known to bear, in seconds: the shortest of their watchdogs hangs up
/// after 30 s, and none was found that waits for more than 300 s.
const SILENCE_BUDGET_S: std::ops::RangeInclusive<u16> = 1..=3600;
/// Profiles of one configuration.
const MAX_PROFILES: usize = 64;
/// Octets of a profile's name.
const MAX_NAME: usize = 64;

/// One kind of engine, as the configuration file has it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineProfile {
    /// Whether key events of an open call reach the engine.
    pub dtmf_to_engine: DtmfToEngine,
    /// Seconds of silence after which the engine asks, or hangs up.
    pub silence_budget_s: Option<u16>,
}

/// Whether key events (RFC 4733) of an open call reach the engine. In a secure session none does.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DtmfToEngine {
    /// They do, where the engine's leg has a payload type for them.
    #[default]
    Pass,
    /// They don't: the engine would take them for audio, or must not see them.
    Block,
}

impl EngineProfile {
    /// The silence that the engine bears, if that is known.
    #[must_use]
    pub fn silence_budget(self) -> Option<Duration> {
        self.silence_budget_s.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// The profiles of a configuration.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct EngineProfiles(BTreeMap<String, EngineProfile>);

impl EngineProfiles {
    /// Checks what was typed.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn new(typed: BTreeMap<String, EngineProfile>) -> Result<EngineProfiles, String> {
        if typed.len() > MAX_PROFILES {
            return Err(format!("must be {MAX_PROFILES} profiles at most"));
        }
        for (name, profile) in &typed {
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(format!("a profile's name must have 1 to {MAX_NAME} octets"));
            }
            if profile.silence_budget_s.is_some_and(|it| !SILENCE_BUDGET_S.contains(&it)) {
                return Err(format!("{name}.silence_budget_s must be 1 to 3600"));
            }
        }
        Ok(EngineProfiles(typed))
    }

    /// The profile of that name; no name is the profile of an engine of which nothing is known.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Option<EngineProfile> {
        name.map_or(Some(EngineProfile::default()), |name| self.0.get(name).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::{DtmfToEngine, EngineProfile, EngineProfiles};

    fn profiles(text: &str) -> Result<EngineProfiles, String> {
        EngineProfiles::new(toml::from_str(text).unwrap())
    }

    #[test]
    fn a_profile_is_found_by_its_name() {
        let known = profiles("[ava]\ndtmf_to_engine = 'block'\nsilence_budget_s = 45").unwrap();
        let ava = known.find(Some("ava")).unwrap();
        assert_eq!(ava.dtmf_to_engine, DtmfToEngine::Block);
        assert_eq!(ava.silence_budget().unwrap().as_secs(), 45);
        assert_eq!(known.find(None), Some(EngineProfile::default()));
        assert_eq!(known.find(Some("other")), None);
    }

    #[test]
    fn impossible_profiles_are_named() {
        assert!(profiles("[a]\nsilence_budget_s = 0").unwrap_err().starts_with("a."));
        assert!(profiles("'' = {}").is_err());
        let many: String = (0..65).map(|n| format!("[p{n}]\n")).collect();
        assert!(profiles(&many).is_err());
    }
}

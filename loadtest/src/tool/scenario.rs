//! Scenario: which calls come when, and what their callers do, drawn by lot from a seed.

use std::time::Duration;

use dtmf::Digit;
use loadtest::KeyMethod;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

use super::peer::CallKind;

/// Most calls of a scenario: the relay's ports bound those at a time.
const MOST_CALLS: usize = 100_000;

/// A scenario as its file says it (`loadtest/scenarios/payments.toml` explains the members).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) calls: usize,
    pub(crate) ramp_s: f64,
    pub(crate) talk_s: f64,
    pub(crate) srtp_share: f64,
    pub(crate) recorded_share: f64,
    pub(crate) paying_share: f64,
    pub(crate) tones_share: f64,
    pub(crate) mistyping_share: f64,
    pub(crate) hanging_up_share: f64,
    pub(crate) card: String,
    pub(crate) mistyped: String,
}

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// It is no TOML of this shape. What it holds is told by line, not by value.
    #[error("the scenario: {0}")]
    Shape(#[from] toml::de::Error),
    /// A share that is none.
    #[error("the scenario: {0} must be 0 to 1")]
    Share(&'static str),
    /// A time that nobody waits for.
    #[error("the scenario: {0} must be 0 to 3600 seconds")]
    Time(&'static str),
    /// Too many calls, or none.
    #[error("the scenario: calls must be 1 to {MOST_CALLS}")]
    Calls,
    /// What no keypad has.
    #[error("the scenario: {0} must be digits")]
    Keys(&'static str),
}

/// One call to come.
#[derive(Clone, Debug)]
pub(crate) struct CallScript {
    /// When it starts.
    pub(crate) at: Duration,
    /// What it is like.
    pub(crate) kind: CallKind,
    /// How its caller presses keys.
    pub(crate) method: KeyMethod,
    /// How long it talks before and after paying.
    pub(crate) talk: Duration,
    /// What it keys, if it pays.
    pub(crate) keys: Option<Keys>,
}

/// What a caller keys.
#[derive(Clone)]
pub(crate) struct Keys {
    /// All keys in order.
    pub(crate) keys: Vec<Digit>,
    /// The caller hangs up after so many.
    pub(crate) hangs_up: bool,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            seed: 1,
            calls: 60,
            ramp_s: 20.0,
            talk_s: 5.0,
            srtp_share: 0.3,
            recorded_share: 0.5,
            paying_share: 0.5,
            tones_share: 0.3,
            mistyping_share: 0.3,
            hanging_up_share: 0.1,
            card: "4242424242424242".to_owned(),
            mistyped: "4242424242424224".to_owned(),
        }
    }
}

impl Scenario {
    /// Reads a scenario.
    pub(crate) fn parse(toml: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(toml)?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let shares = [
            ("srtp_share", self.srtp_share),
            ("recorded_share", self.recorded_share),
            ("paying_share", self.paying_share),
            ("tones_share", self.tones_share),
            ("mistyping_share", self.mistyping_share),
            ("hanging_up_share", self.hanging_up_share),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(ScenarioError::Share(name));
            }
        }
        for (name, seconds) in [("ramp_s", self.ramp_s), ("talk_s", self.talk_s)] {
            if !(0.0..=3600.0).contains(&seconds) {
                return Err(ScenarioError::Time(name));
            }
        }
        if !(1..=MOST_CALLS).contains(&self.calls) {
            return Err(ScenarioError::Calls);
        }
        for (name, keys) in [("card", &self.card), ("mistyped", &self.mistyped)] {
            if keys.is_empty() || !keys.bytes().all(|key| key.is_ascii_digit()) {
                return Err(ScenarioError::Keys(name));
            }
        }
        Ok(())
    }

    /// All calls, in the order in which they start.
    pub(crate) fn calls(&self) -> Vec<CallScript> {
        let mut lot = StdRng::seed_from_u64(self.seed);
        let gap = Duration::from_secs_f64(self.ramp_s) / u32::try_from(self.calls).unwrap_or(1);
        (0..self.calls).map(|call| self.draw(gap * call as u32, &mut lot)).collect()
    }

    fn draw(&self, at: Duration, lot: &mut StdRng) -> CallScript {
        // Everything is drawn for every call, so that one share does not change another's lot.
        let [srtp, record, pays, tones, mistypes, hangs_up] = [
            self.srtp_share,
            self.recorded_share,
            self.paying_share,
            self.tones_share,
            self.mistyping_share,
            self.hanging_up_share,
        ]
        .map(|share| lot.random_bool(share));
        let mistyped = if mistypes { format!("{}#", self.mistyped) } else { String::new() };
        let keys = format!("{mistyped}{}#", self.card);
        let keys = keys.bytes().filter_map(Digit::from_ascii).collect();
        CallScript {
            at,
            kind: CallKind { srtp, record, secure: false },
            method: if tones { KeyMethod::Tones } else { KeyMethod::Events },
            talk: Duration::from_secs_f64(self.talk_s),
            keys: pays.then_some(Keys { keys, hangs_up }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_scenario_is_the_default() {
        let shipped = Scenario::parse(include_str!("../../scenarios/payments.toml")).unwrap();
        assert_eq!(format!("{shipped:?}"), format!("{:?}", Scenario::default()));
    }

    #[test]
    fn a_seed_makes_the_same_calls() {
        let calls = |seed| {
            let scenario = Scenario { seed, ..Scenario::default() };
            format!("{:?}", scenario.calls())
        };
        assert_eq!(calls(7), calls(7));
        assert_ne!(calls(7), calls(8));
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |toml: &str| Scenario::parse(toml).unwrap_err().to_string();
        assert!(refused("srtp_share = 2").contains("srtp_share must be 0 to 1"));
        assert!(refused("calls = 0").contains("calls must be"));
        assert!(refused("talk_s = -1").contains("talk_s"));
        assert!(refused("card = '4x'").contains("card must be digits"));
        assert!(refused("unknown = 1").contains("unknown"));
    }
}

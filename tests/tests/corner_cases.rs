//! The corner cases of a secure session: one test each, by number.
//!
//! | case | what | where else it is deepened |
//! |---|---|---|
//! | 1 | type-ahead before the switch | `secure_flip` |
//! | 2 | packets in flight at the switch | `simulation` |
//! | 3 | a tone in a delay line | `leak_hunt`, `secure_flip` |
//! | 4 | the unwritten tail of a recording | `recording::tape`, `recording::recorder` |
//! | 5 | stamped before the switch, come after it | `leak_hunt`, `cut_memory` |
//! | 6 | events repeated, torn and late | `dtmf/tests/event_cases.rs`, `leak_hunt` |
//! | 7 | redundant events | `leak_hunt`, `simulation`, `dtmf/tests/event_cases.rs` |
//! | 8 | several event payload types | `leak_hunt`, `relay/tests/sdp_offers.rs` |
//! | 9 | event and tone at once | `dtmf/tests/detector.rs` |
//! | 10 | a digit beside the media | `control-api/tests/corner_cases_over_rest.rs` holds it; `tests/peers/sipp.py` |
//! | 11 | an echo of the keypad | `relay/src/prompts/player.rs` |
//! | 12 | digits said aloud | `talk_gauge` |
//! | 13 | an exit while keys are typed | `secure_flip`, `leak_hunt` |
//! | 14 | new flows in the cut | `leak_hunt`, `tests/peers/baresip.py` |
//! | 15 | an engine that wants out | `control-api/tests/corner_cases_over_rest.rs` holds it; `auth` |
//! | 16 | a crash | `control-api/tests/process.rs` holds it |
//! | 17 | the longest session | `dtmf/tests/collector.rs` |
//! | 18 | a hang-up in the middle | `leak_hunt`, `dtmf/tests/collector_memory.rs` |
//! | 19 | engines that watch for silence | `secure_flip`, `tests/peers/sessions.py` |
//! | 20 | comfort noise and pauses | `leak_hunt` |
//! | 21 | every other sink | `switchboard::routing` |
//! | 22 | SRTP state of our own | `leak_hunt`, `relay/tests/srtp_differential.rs` |
//! | 23 | a tone too faint for a key | `dtmf/tests/tone_acceptance.rs` |
//! | 24 | forged packets | `leak_hunt`, `tests/peers/attacks.py` |
//! | 25 | entering and leaving twice | `control-api/tests/corner_cases_over_rest.rs` holds it; `idempotency` |
//! | 26 | the delay begins and ends | `leak_hunt` |
//! | 27 | debugging artefacts | `control-api/tests/logs.rs` holds it; `tests/peers` |
//! | 28 | what cannot be wiped | `SECURITY.md` |

#![expect(clippy::unwrap_used, reason = "a helper of a test that finds nothing ends the test")]

#[path = "corner_cases/flip.rs"]
mod flip;
#[path = "corner_cases/flows.rs"]
mod flows;
#[path = "corner_cases/keys.rs"]
mod keys;
#[path = "corner_cases/session.rs"]
mod session;

use std::sync::Arc;

use relay::prompts::{LanguageTag, Prompts};
use relay::switchboard::{Announcer, Command, EngineAudio, SessionId, SessionRequest};
use system_tests::line::CALL;
use system_tests::world::card_plan;

/// Kernel buffers, network cards and snapshots of a machine can't be wiped from user space: whoever
/// reads what is promised reads that as well.
#[test]
fn case_28_what_cannot_be_wiped_is_said_to_remain() {
    let security = concat!(env!("CARGO_MANIFEST_DIR"), "/../SECURITY.md");
    let text = std::fs::read_to_string(security).unwrap();
    let (promised, remaining) = text.split_once("## What is not\n").unwrap();
    for word in ["socket buffers", "network cards", "hypervisor snapshots"] {
        assert!(remaining.contains(word) && !promised.contains(word), "{word}");
    }
}

/// Enters a session in which the relay speaks English to the caller.
fn enter_aloud(session: u128, key_beep: bool) -> Command {
    let english: LanguageTag = "en".parse().unwrap();
    let voice = Prompts::builtin().voice(english).unwrap();
    let announcer = Announcer { voice: Arc::clone(&voice), read_back: false, key_beep };
    let request = SessionRequest {
        session: SessionId(session),
        plan: card_plan(),
        engine_audio: EngineAudio::Drop,
        announcer: Some(announcer),
    };
    Command::Enter { call: CALL, request: Box::new(request) }
}

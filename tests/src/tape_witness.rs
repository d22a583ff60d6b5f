//! TapeWitness: what was said while the recording was on and while it was not, and where it may be.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use relay::recording::Block;
use relay::switchboard::EventKind;

/// What a packet is looked for by: its last octets, since its head may be cut off.
const NEEDLE: usize = 40;
/// Different octets that a needle needs: pauses in the talk all sound alike.
const DISTINCT: usize = 8;
/// How far from where it came something can be laid, in samples: a second. The caller says the same
/// again after some more.
const NEAR: u64 = 8000;
/// A packet's samples: one that came just before a pause reaches so far into it.
const PACKET: u64 = 160;

/// Knows of one call what its recording may hold, whoever may hear the rest.
pub struct TapeWitness {
    is_on: bool,
    heard: HashSet<Vec<u8>>,
    /// With the sequence number of the packet, and when it came.
    withheld: HashMap<Vec<u8>, (u16, Instant)>,
    /// When it was paused, and when it went on or was over.
    pauses: Vec<(Instant, Option<Instant>)>,
}

impl TapeWitness {
    /// The recording of a call that is opened, if it is recorded from then on.
    pub fn new(is_on: bool) -> TapeWitness {
        let (heard, withheld) = (HashSet::new(), HashMap::new());
        TapeWitness { is_on, heard, withheld, pauses: Vec::new() }
    }

    /// The switchboard said something about the call.
    pub fn told(&mut self, now: Instant, kind: EventKind) {
        if kind == EventKind::RecordingStarted || kind == EventKind::RecordingResumed {
            self.is_on = true;
        }
        if kind == EventKind::RecordingPaused || kind == EventKind::RecordingStopped {
            self.is_on = false;
        }
        if kind == EventKind::RecordingPaused {
            self.pauses.push((now, None));
        } else if kind == EventKind::RecordingResumed
            && let Some((_, end)) = self.pauses.last_mut()
        {
            *end = Some(now);
        }
    }

    /// The caller said this to the relay, in mu-law.
    pub fn caller_said(&mut self, now: Instant, sequence: u16, payload: &[u8]) {
        let needle = payload[payload.len() - NEEDLE..].to_vec();
        if needle.iter().collect::<HashSet<_>>().len() < DISTINCT {
            return;
        }
        let is_copy = self.withheld.get(&needle).is_some_and(|said| said.0 == sequence);
        if self.is_on && !is_copy {
            // A tone sounds the same when its key is pressed again: it tells nothing.
            self.withheld.remove(&needle);
            self.heard.insert(needle);
        } else if !self.is_on && !self.heard.contains(&needle) {
            // A copy of what was said before a pause may come within it.
            self.withheld.insert(needle, (sequence, now));
        }
    }

    /// Whether the caller said something that tells while the recording was paused.
    pub fn has_withheld(&self) -> bool {
        !self.pauses.is_empty() && !self.withheld.is_empty()
    }

    /// Octets of it all the same in the recording's blocks; `sample` says where in it a time lies.
    pub fn leaked(&self, blocks: &[Block], sample: impl Fn(Instant) -> u64) -> usize {
        let caller: Vec<u8> = blocks.iter().flat_map(|block| block.caller).collect();
        let found = caller.windows(NEEDLE).enumerate().filter(|(place, octets)| {
            let said = self.withheld.get(*octets);
            said.is_some_and(|said| sample(said.1).abs_diff(*place as u64) < NEAR)
        });
        let is_paused = |place: &u64| {
            self.pauses.iter().any(|(start, end)| {
                let start = sample(*start) + PACKET;
                *place >= start && end.is_none_or(|end| *place < sample(end))
            })
        };
        // The engine says the same all the time, by an even clock.
        let engine = blocks.iter().flat_map(|block| (block.start..).zip(block.engine));
        let engine = engine.filter(|(place, code)| *code != 0xff && is_paused(place));
        found.count() * NEEDLE + engine.count()
    }
}

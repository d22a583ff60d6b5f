//! Reference: the whole of who may hear what, small enough to be seen to be right.

use std::collections::HashSet;

use relay::switchboard::EventKind;

/// Knows of one call what its engine and its recording may hear of the caller.
#[derive(Default)]
pub struct Reference {
    cut: bool,
    withheld: HashSet<Vec<u8>>,
}

impl Reference {
    /// The switchboard said something about the call.
    pub fn told(&mut self, kind: EventKind) {
        match kind {
            EventKind::SecureStarted { .. } | EventKind::Closed => self.cut = true,
            EventKind::Reopened { .. } => self.cut = false,
            EventKind::Opened | EventKind::Armed | EventKind::Disarmed => {}
            EventKind::FieldStarted { .. }
            | EventKind::FieldRejected { .. }
            | EventKind::FieldRepeated { .. }
            | EventKind::Processing => {}
            EventKind::FieldAccepted { .. } | EventKind::SecureConcluded { .. } => {}
            EventKind::DrainHeld { .. } | EventKind::RecordingGap => {}
            EventKind::RecordingStarted
            | EventKind::RecordingPaused
            | EventKind::RecordingResumed
            | EventKind::RecordingStopped
            | EventKind::RecordingHandedOver => {}
            EventKind::MediaTimeout { .. } | EventKind::Subscribed | EventKind::Unsubscribed => {}
        }
    }

    /// The caller said this to the relay.
    pub fn caller_said(&mut self, payload: &[u8]) {
        // A pause in the talk sounds the same whenever it comes.
        let is_pause = payload.iter().all(|octet| payload.first() == Some(octet));
        if self.cut && !is_pause {
            self.withheld.insert(payload.to_vec());
        }
    }

    /// Whether the engine may hear this now: silence always; while cut nothing else; and never
    /// what reached the relay while the call was cut.
    pub fn may_hear(&self, payload: &[u8], silence: u8) -> bool {
        payload.iter().all(|&octet| octet == silence)
            || (!self.cut && !self.withheld.contains(payload))
    }

    /// Whether the call is cut.
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

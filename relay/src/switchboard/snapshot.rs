//! Snapshots: a call's state and counters, copied out by value.

use std::time::Duration;

use arrayvec::ArrayVec;
use dtmf::plan::MAX_FIELDS;
use dtmf::{Step, Verdict};

use super::id::SessionId;
use super::routing::{DropReason, Phase};
use crate::codec::Codec;

/// One call at one instant.
#[derive(Clone)]
pub struct CallSnapshot {
    /// State of the routing.
    pub phase: Phase,
    /// The secure session in progress, or the last one.
    pub session: Option<SessionSnapshot>,
    /// Caller's and engine's leg, by [`super::id::Side::index`].
    pub legs: [LegSnapshot; 2],
    /// How its recording stands.
    pub recording: RecordingState,
    /// How many others are sent copies of its media.
    pub listeners: usize,
    /// Time since the call was opened.
    pub age: Duration,
}

/// How a call's recording stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordingState {
    /// Nothing was recorded so far.
    Never,
    /// What is said is recorded.
    Running,
    /// It holds silence, and goes on.
    Paused,
    /// It is over.
    Ended,
}

/// One secure session, without anything of what was keyed.
#[derive(Clone)]
pub struct SessionSnapshot {
    /// The session.
    pub session: SessionId,
    /// The field in progress.
    pub step: Option<Step>,
    /// Its attempt, from 1.
    pub attempt: u8,
    /// How the collection ended, once it has.
    pub verdict: Option<Verdict>,
    /// The fields still missing, where a script drives the session.
    pub required: Option<ArrayVec<Step, MAX_FIELDS>>,
    /// Quantised progress for operators: groups of four keys begun, 0 to 5.
    pub progress: u8,
}

/// How a leg's media travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// In clear.
    Rtp,
    /// SRTP at the address that signalling has told, under keys of SDES or DTLS.
    Srtp,
    /// As browsers do: to where ICE has proven, under keys of DTLS.
    WebRtc,
}

/// One leg's counters and quality.
#[derive(Clone, Debug)]
pub struct LegSnapshot {
    /// The codec.
    pub codec: Codec,
    /// How it travels.
    pub transport: Transport,
    /// The peer may send.
    pub they_send: bool,
    /// The peer wants to receive.
    pub they_receive: bool,
    /// RTP packets accepted from the peer.
    pub packets_received: u64,
    /// RTP packets sent to the peer.
    pub packets_sent: u64,
    /// Packets the peer sent that never came (RFC 3550 A.3); negative with duplicates.
    pub packets_lost: i64,
    /// Interarrival jitter (RFC 3550 A.8).
    pub jitter: Duration,
    /// Round trip from the peer's last report block, if it sent one.
    pub round_trip: Option<Duration>,
    /// Estimated mean opinion score of what we hear, 1.0 to 4.5, times 100.
    pub mos_hundredths: u16,
    /// Dropped packets by [`DropReason::index`].
    pub drops: [u64; DropReason::ALL.len()],
    /// How many of `packets_received` and of `drops` came while the call was cut, if they are the
    /// caller's: they tell of keys.
    pub in_cuts: LegCounts,
}

/// What one leg received, counted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct LegCounts {
    /// RTP packets accepted from the peer.
    pub packets_received: u64,
    /// Dropped packets by [`DropReason::index`].
    pub drops: [u64; DropReason::ALL.len()],
}

impl LegCounts {
    /// What the peer's own packets added since `before`: one that could not be sent to the peer is
    /// none of them.
    pub(super) fn received_since(self, before: LegCounts) -> LegCounts {
        let mut since = self;
        since.packets_received -= before.packets_received;
        for (count, before) in since.drops.iter_mut().zip(before.drops) {
            *count -= before;
        }
        since.drops[DropReason::Unsent.index()] = 0;
        since
    }

    /// Both together.
    pub(super) fn plus(self, other: LegCounts) -> LegCounts {
        let mut sum = self;
        sum.packets_received += other.packets_received;
        for (count, other) in sum.drops.iter_mut().zip(other.drops) {
            *count += other;
        }
        sum
    }
}

//! Bodies about the legs of a call: what they speak, their counters and quality.

use std::time::Duration;

use relay::switchboard::{CallSnapshot, DropReason, LegSnapshot, Transport};
use serde::Serialize;
use utoipa::ToSchema;

use crate::keys::Role;

/// Counters are told to scripts in steps of this many packets (2 s of voice): key events take
/// packets of their own, so exact counts before and after a session would tell how many keys.
const COARSE_PACKETS: u64 = 100;

/// How a leg's media travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TransportName {
    /// In clear.
    Rtp,
    /// SRTP at the address that signalling has told, under keys of SDES or DTLS.
    Srtp,
    /// As browsers do: DTLS-SRTP to where ICE has proven.
    WebRtc,
    /// By a WebSocket that the relay has opened.
    WebSocket,
    /// By Asterisk's AudioSocket.
    AudioSocket,
}

impl TransportName {
    const fn of(transport: Transport) -> TransportName {
        match transport {
            Transport::Rtp => TransportName::Rtp,
            Transport::Srtp => TransportName::Srtp,
            Transport::WebRtc => TransportName::WebRtc,
        }
    }
}

/// Both legs.
#[derive(Serialize, ToSchema)]
pub struct LegsView {
    caller: LegView,
    engine: LegView,
}

/// One leg's counters and quality.
#[derive(Serialize, ToSchema)]
pub struct LegView {
    /// The codec, as it was last agreed: `PCMU`, `PCMA`, `G722`, `opus`, or `L16/` and its rate.
    #[schema(example = "PCMU")]
    codec: String,
    /// How it travels.
    transport: TransportName,
    /// Without what the caller sent in a cut, since that tells of keys; so are `drops`. For scripts
    /// in steps of 100, as `packets_sent` and `drops` are.
    packets_received: u64,
    packets_sent: u64,
    /// Negative where duplicates came (RFC 3550 appendix A.3). For operators alone: the ends of a
    /// key event may repeat a sequence number, so the exact count would tell how many keys.
    packets_lost: Option<i64>,
    /// Null for scripts while the call is cut: it rests while a key event lasts.
    jitter_ms: Option<f64>,
    /// Null until the peer has reported.
    round_trip_ms: Option<f64>,
    /// Estimated mean opinion score of what is heard from the peer, 1.0 to 4.5; null before any,
    /// and for scripts while the call is cut.
    mos: Option<f64>,
    drops: DropsView,
}

/// Packets dropped, by reason.
#[derive(Serialize, ToSchema)]
pub struct DropsView {
    malformed: u64,
    unknown_peer: u64,
    unauthenticated: u64,
    unknown_payload: u64,
    cut: u64,
    straggler: u64,
    armed: u64,
    not_agreed: u64,
    closed: u64,
    unsent: u64,
}

impl LegsView {
    /// What `role` is told of a call's legs.
    #[must_use]
    pub fn of(seen: &CallSnapshot, role: Role, links: [Option<TransportName>; 2]) -> LegsView {
        let is_cut = seen.phase.is_cut();
        let [caller, engine] = [0, 1].map(|side| {
            let mut view = LegView::of(&seen.legs[side], role, is_cut);
            view.transport = links[side].unwrap_or(view.transport);
            view
        });
        LegsView { caller, engine }
    }

    /// RTP packets that were accepted from caller and engine.
    #[must_use]
    pub fn packets_received(&self) -> [u64; 2] {
        [self.caller.packets_received, self.engine.packets_received]
    }
}

impl LegView {
    fn of(leg: &LegSnapshot, role: Role, is_cut: bool) -> LegView {
        let is_operator = match role {
            Role::Operator => true,
            Role::Script | Role::Engine | Role::Payment => false,
        };
        let quality = is_operator || !is_cut;
        let told = |packets: u64, in_cuts: u64| {
            let open = packets.saturating_sub(in_cuts);
            if is_operator { open } else { open / COARSE_PACKETS * COARSE_PACKETS }
        };
        // One decimal: finer steps would follow single packets.
        let mos = f64::from(leg.mos_hundredths / 10) / 10.0;
        LegView {
            codec: leg.codec.to_string(),
            transport: TransportName::of(leg.transport),
            packets_received: told(leg.packets_received, leg.in_cuts.packets_received),
            packets_sent: told(leg.packets_sent, 0),
            packets_lost: is_operator.then_some(leg.packets_lost),
            jitter_ms: quality.then(|| milliseconds(leg.jitter)),
            round_trip_ms: leg.round_trip.map(milliseconds),
            mos: (quality && leg.packets_received > 0).then_some(mos),
            drops: DropsView::of(leg, told),
        }
    }
}

impl DropsView {
    fn of(leg: &LegSnapshot, told: impl Fn(u64, u64) -> u64) -> DropsView {
        let count =
            |reason: DropReason| told(leg.drops[reason.index()], leg.in_cuts.drops[reason.index()]);
        DropsView {
            malformed: count(DropReason::Malformed),
            unknown_peer: count(DropReason::UnknownPeer),
            unauthenticated: count(DropReason::Unauthenticated),
            unknown_payload: count(DropReason::UnknownPayload),
            cut: count(DropReason::Cut),
            straggler: count(DropReason::Straggler),
            armed: count(DropReason::Armed),
            not_agreed: count(DropReason::NotAgreed),
            closed: count(DropReason::Closed),
            unsent: count(DropReason::Unsent),
        }
    }
}

/// With three decimals: microseconds.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

//! `Agreement`: what an offer and our policy have in common, as the media plane needs it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use dtmf::g711::Law;
use rand::CryptoRng;

use super::answer::{Continuation, KeyLine, PreviousAnswer};
use super::browser::{Browser, BrowserOffer, CertificateDigest, Handshake};
use super::format::Format;
use super::stream::{Audio, Rejection, Stream, Transport};
use super::{Offer, Policy, SdpRefusal};
use crate::codec::Codec;
use crate::wire::sdes::CryptoAttribute;
use crate::wire::srtp::MasterKey;

/// Packet times we can send, in ms; longest first. Opus has none of 30 (RFC 6716 section 2.1.4).
pub(super) const PACKET_TIMES_MS: [u8; 5] = [60, 40, 30, 20, 10];
const OPUS_PACKET_TIMES_MS: [u8; 4] = [60, 40, 20, 10];
/// Packet time where no other is wished for (RFC 3551 table 1), in ms.
pub(super) const DEFAULT_PACKET_TIME_MS: u8 = 20;
/// Their second octet with the marker bit set is an RTCP packet type, so RTP that shares its port
/// with RTCP must not use them (RFC 5761 section 4).
pub(super) const TYPES_TAKEN_BY_RTCP: RangeInclusive<u8> = 64..=95;

/// One audio stream both sides agree on. It may hold SRTP keys, so it has neither `Debug` nor
/// `Clone`.
///
/// What an offer of theirs has come to is [`Owed`] an answer, what an answer of theirs has come to
/// is [`Settled`].
pub struct Agreement<Rest = Owed> {
    /// Where RTP goes, and where it comes from.
    pub remote_rtp: SocketAddr,
    /// Where RTCP goes; the same as `remote_rtp` with `rtcp_mux`.
    pub remote_rtcp: SocketAddr,
    /// RTCP shares the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// The codec.
    pub codec: Codec,
    /// Its payload type both ways, 0 to 127.
    pub payload_type: u8,
    /// Payload type both ways of telephone-event at the codec's clock: the one there is in the answer.
    pub telephone_event: Option<u8>,
    /// Payload type of redundant key events (RFC 2198); only with `telephone_event`.
    pub redundancy: Option<u8>,
    /// Length of the packets we send: 10, 20, 30, 40 or 60 ms.
    pub ptime_ms: u8,
    /// The peer may send.
    pub they_send: bool,
    /// The peer wants to receive; not so while it holds the call.
    pub they_receive: bool,
    /// Keys of an SRTP stream; `None` on a plain one. The media plane takes them out before ports
    /// are known and the answer is written, which does without them.
    pub srtp: Option<SrtpKeys>,
    /// What a browser's stream goes by; it has no signalled address, and `remote_rtp` tells the
    /// family of ours alone.
    pub browser: Option<Browser>,
    /// What a stream goes by whose keys DTLS agrees on at the signalled address.
    pub handshake: Option<Handshake>,
    /// What is to be done.
    pub(super) rest: Rest,
}

/// What the answer says besides.
pub struct Owed {
    /// Our key as the answer gives it.
    pub(super) key_line: Option<KeyLine>,
    pub(super) transport: Transport,
    /// Start and stop as offered.
    pub(super) timing: (u64, u64),
    /// The refused streams; the agreed one stands after the first `position` of them.
    pub(super) rejections: Vec<Rejection>,
    pub(super) position: usize,
    pub(super) continuation: Continuation,
}

/// Nothing more is to be said.
pub struct Settled;

/// Keys of one SRTP stream (RFC 4568); both have one tag and one suite.
pub struct SrtpKeys {
    /// What the peer protects with, as it says.
    pub inbound: CryptoAttribute,
    /// What we protect with, made for this leg alone.
    pub outbound: CryptoAttribute,
}

impl Offer {
    /// Agrees on the first audio stream that the policy allows; the answer refuses the others.
    ///
    /// `previous` is the last answer given on the same leg, if this is a re-offer. `rng` makes our
    /// own key, another one for every agreement.
    ///
    /// # Errors
    /// [`SdpRefusal`] of the first audio stream, if none can be agreed on.
    pub fn agree(
        self,
        policy: &Policy,
        previous: Option<&PreviousAnswer>,
        rng: &mut impl CryptoRng,
    ) -> Result<Agreement, SdpRefusal> {
        let mut agreed = None;
        let mut refusal = SdpRefusal::NoAudio;
        let mut rejections = Vec::with_capacity(self.streams.len());
        for Stream { rejection, audio } in self.streams {
            let terms = match audio {
                Ok(audio) if agreed.is_none() => Terms::find(audio, policy, previous),
                Ok(_) => Err(refusal),
                Err(reason) => Err(reason),
            };
            match terms {
                Ok(terms) => agreed = Some((terms, rejections.len())),
                Err(reason) => {
                    rejections.push(rejection);
                    if refusal == SdpRefusal::NoAudio {
                        refusal = reason;
                    }
                }
            }
        }
        let (terms, position) = agreed.ok_or(refusal)?;
        let before = previous.and_then(PreviousAnswer::browser);
        let browser = terms.browser.map(|terms| terms.offer.agree(terms.certificate, before, rng));
        let browser = browser.transpose()?;
        let srtp = terms.key.map(|offered| SrtpKeys::answering(offered, rng));
        Ok(Agreement {
            remote_rtp: terms.remote.rtp,
            remote_rtcp: terms.remote.rtcp,
            rtcp_mux: terms.rtcp_mux,
            codec: terms.codec,
            payload_type: terms.payload_type,
            telephone_event: terms.telephone_event,
            redundancy: terms.redundancy,
            ptime_ms: terms.ptime_ms,
            they_send: terms.they_send,
            they_receive: terms.they_receive,
            rest: Owed {
                key_line: srtp.as_ref().map(|keys| KeyLine::of(&keys.outbound)),
                transport: terms.transport,
                timing: self.session.timing,
                rejections,
                position,
                continuation: Continuation::of(previous, rng),
            },
            srtp,
            browser,
            handshake: terms.handshake,
        })
    }
}

impl SrtpKeys {
    fn answering(offered: CryptoAttribute, rng: &mut impl CryptoRng) -> Self {
        let key = MasterKey::random(offered.key.suite(), rng);
        let outbound = CryptoAttribute { tag: offered.tag, key };
        Self { inbound: offered, outbound }
    }
}

/// What is agreed for one audio stream, before our own key is made.
struct Terms {
    remote: Remote,
    rtcp_mux: bool,
    codec: Codec,
    payload_type: u8,
    telephone_event: Option<u8>,
    redundancy: Option<u8>,
    ptime_ms: u8,
    they_send: bool,
    they_receive: bool,
    transport: Transport,
    key: Option<CryptoAttribute>,
    browser: Option<BrowserTerms>,
    handshake: Option<Handshake>,
}

/// What a browser has offered, and what we answer with.
struct BrowserTerms {
    offer: BrowserOffer,
    certificate: CertificateDigest,
}

/// Where the caller's media is.
pub(super) struct Remote {
    pub(super) rtp: SocketAddr,
    pub(super) rtcp: SocketAddr,
}

impl Terms {
    fn find(
        audio: Audio,
        policy: &Policy,
        previous: Option<&PreviousAnswer>,
    ) -> Result<Self, SdpRefusal> {
        if policy.srtp_only && !audio.transport.is_secure() {
            return Err(SdpRefusal::PlainRtp);
        }
        let (payload_type, codec) =
            choose_voice(&audio, policy.preferred_law).ok_or(SdpRefusal::NoCodec)?;
        let telephone_event = find_telephone_event(&audio, codec);
        let redundancy = telephone_event.and_then(|event| find_redundancy(&audio, codec, event));
        let rtcp_mux = audio.rtcp_mux
            && ![Some(payload_type), telephone_event, redundancy]
                .into_iter()
                .flatten()
                .any(|payload_type| TYPES_TAKEN_BY_RTCP.contains(&payload_type));
        let browser = find_browser(&audio, rtcp_mux, policy)?;
        let handshake = find_handshake(&audio, policy, previous)?;
        // The old way to hold (RFC 3264 section 8.4): the caller's addresses stay what they were.
        let held_blind = browser.is_none() && audio.connection.address()?.is_unspecified();
        let remote = match previous {
            _ if browser.is_some() => Remote::proven_later(policy),
            // A browser's was never signalled.
            Some(previous) if held_blind && previous.browser().is_none() => {
                previous.remote(rtcp_mux)
            }
            Some(_) | None => find_remote(&audio, rtcp_mux, policy)?,
        };
        Ok(Self {
            remote,
            rtcp_mux,
            codec,
            payload_type,
            telephone_event,
            redundancy,
            ptime_ms: choose_ptime(codec, audio.ptime_ms, audio.max_ptime_ms)
                .ok_or(SdpRefusal::PacketTime)?,
            they_send: audio.direction.sends,
            they_receive: audio.direction.receives && !held_blind,
            transport: audio.transport,
            key: choose_key(audio, previous)?,
            browser,
            handshake,
        })
    }
}

impl Remote {
    /// Anywhere, in a family of ours.
    pub(super) fn proven_later(policy: &Policy) -> Remote {
        let ours = policy.addresses.own_media.first().map(|own| own.address);
        let anywhere: IpAddr = match ours {
            Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            Some(IpAddr::V4(_)) | None => Ipv4Addr::UNSPECIFIED.into(),
        };
        let anywhere = SocketAddr::new(anywhere, 0);
        Remote { rtp: anywhere, rtcp: anywhere }
    }
}

/// What a browser's stream says, if it is one and we take browsers.
fn find_browser(
    audio: &Audio,
    rtcp_mux: bool,
    policy: &Policy,
) -> Result<Option<BrowserTerms>, SdpRefusal> {
    if !audio.is_browser() {
        return Ok(None);
    }
    let certificate = policy.certificate.ok_or(SdpRefusal::NoBrowsers)?;
    if !rtcp_mux {
        return Err(SdpRefusal::NoRtcpMux);
    }
    Ok(Some(BrowserTerms { offer: audio.browser.clone(), certificate }))
}

/// What a stream with DTLS says that is no browser's.
fn find_handshake(
    audio: &Audio,
    policy: &Policy,
    previous: Option<&PreviousAnswer>,
) -> Result<Option<Handshake>, SdpRefusal> {
    if !audio.transport.is_dtls() || audio.is_browser() {
        return Ok(None);
    }
    let certificate = policy.certificate.ok_or(SdpRefusal::NoBrowsers)?;
    let before = previous.and_then(PreviousAnswer::handshake);
    audio.browser.agree_handshake(certificate, before).map(Some)
}

/// The voice that is spoken.
///
/// Of telephones the first G.711, of the preferred law if there is one: what engines speak, and no
/// packet of it has to be decoded. Of browsers the first in their order, since over the open Internet
/// Opus hides losses that G.711 does not.
fn choose_voice(audio: &Audio, preferred: Option<Law>) -> Option<(u8, Codec)> {
    let is_browser = audio.is_browser();
    let wanted =
        preferred.and_then(|law| audio.voices().find(|(_, codec)| codec.law() == Some(law)));
    let plain = || audio.voices().find(|(_, codec)| codec.law().is_some() && !is_browser);
    wanted.or_else(plain).or_else(|| audio.voices().next())
}

/// The one on the clock of the voice: with another beside it browsers send broken events on either.
pub(super) fn find_telephone_event(audio: &Audio, voice: Codec) -> Option<u8> {
    let wanted = Format::TelephoneEvent(voice.clock());
    let mut events = audio.formats.iter().filter(|(_, format)| *format == wanted);
    events.next().map(|(payload_type, _)| *payload_type)
}

/// The first redundancy that may carry `event`. Redundant audio is of no use to us.
fn find_redundancy(audio: &Audio, voice: Codec, event: u8) -> Option<u8> {
    let wanted = Format::Redundancy(voice.clock());
    let mut offered = audio.formats.iter().filter(|(_, format)| *format == wanted);
    offered
        .find(|(payload_type, _)| audio.redundancy.contains(&(*payload_type, event)))
        .map(|(payload_type, _)| *payload_type)
}

/// RTP goes where `c=` and `m=` say; RTCP goes to the same port if multiplexed, to `a=rtcp` if
/// given, else one port up (RFC 3605).
pub(super) fn find_remote(
    audio: &Audio,
    rtcp_mux: bool,
    policy: &Policy,
) -> Result<Remote, SdpRefusal> {
    let ip = audio.connection.address()?;
    let rtp = policy.addresses.admit(SocketAddr::new(ip, audio.port))?;
    if rtcp_mux {
        return Ok(Remote { rtp, rtcp: rtp });
    }
    let rtcp = match audio.rtcp {
        Some((port, connection)) => {
            SocketAddr::new(connection.unwrap_or(audio.connection).address()?, port)
        }
        None => SocketAddr::new(ip, audio.port.checked_add(1).ok_or(SdpRefusal::NoRtcpPort)?),
    };
    Ok(Remote { rtp, rtcp: policy.addresses.admit(rtcp)? })
}

/// The wish if it is one we can grant, else 20 ms; in either case no longer than `max`.
pub(super) fn choose_ptime(codec: Codec, wish: Option<u16>, max: Option<u16>) -> Option<u8> {
    let times: &[u8] = match codec {
        Codec::G711(_) | Codec::G722 | Codec::L16(_) => &PACKET_TIMES_MS,
        Codec::Opus => &OPUS_PACKET_TIMES_MS,
    };
    let granted = times.iter().copied().find(|time| Some(u16::from(*time)) == wish);
    let wanted = granted.unwrap_or(DEFAULT_PACKET_TIME_MS);
    times
        .iter()
        .copied()
        .filter(|time| *time <= wanted)
        .find(|time| max.is_none_or(|max| u16::from(*time) <= max))
}

/// The first usable key in the offer's order (RFC 4568 section 5.1.2). A key that we gave away
/// ourselves is refused: both directions would be encrypted alike.
fn choose_key(
    audio: Audio,
    previous: Option<&PreviousAnswer>,
) -> Result<Option<CryptoAttribute>, SdpRefusal> {
    if !audio.transport.has_key_lines() {
        return Ok(None);
    }
    if let Some(previous) = previous
        && audio.keys.iter().any(|offered| previous.sent(&offered.key))
    {
        return Err(SdpRefusal::KeyEchoed);
    }
    audio.keys.into_iter().next().map(Some).ok_or(SdpRefusal::NoUsableKey)
}

//! `Proposal`: an offer of our own for a leg, and what its answer agrees to.
//!
//! ```text
//! caller's Offer ── menu() ──► Wishes ── Proposal::new ──► Proposal ── offer(local) ──► text
//!                                                             │
//!                                        the callee's answer ─┴─ accept ──► Agreement<Settled>
//! ```

use std::net::SocketAddr;

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::agreement::{
    Agreement, Remote, Settled, SrtpKeys, TYPES_TAKEN_BY_RTCP, choose_ptime, find_remote,
    find_telephone_event,
};
use super::answer::{
    Continuation, KeyLine, LocalMedia, Network, PreviousAnswer, digest_of, line, sha256,
    write_fingerprint, write_formats,
};
use super::browser::{Browser, CertificateDigest, Handshake, IceText};
use super::format::Format;
use super::menu::Menu;
use super::stream::{Audio, Stream, Transport};
use super::{MAX_OFFER_LEN, Offer, Policy, SdpError, SdpRefusal};
use crate::codec::Codec;
use crate::wire::sdes::CryptoAttribute;
use crate::wire::srtp::{MasterKey, Suite};

/// Longest offer of ours in octets: four voices, two kinds of key events, four keys, and what is
/// said of ICE and DTLS.
pub(super) const MAX_PROPOSAL_LEN: usize = 2560;

/// Whether RTCP may share the port of RTP (RFC 5761).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtcpMux {
    /// It has a port of its own.
    Never,
    /// It shares it if the peer agrees.
    Offered,
    /// It shares it, or there is no call (RFC 8858). So it is with ICE.
    Required,
}

/// What is to be offered to a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wishes {
    /// The profile, which an answer cannot change.
    pub transport: Transport,
    /// With ICE, for peers that prove where they are: browsers. With DTLS alone; other streams go by
    /// the address that signalling tells, and so does one whose answer says nothing of ICE.
    pub ice: bool,
    /// Where RTCP goes.
    pub rtcp_mux: RtcpMux,
    /// Suites of SDES, the preferred one first; with other profiles they mean nothing.
    pub suites: Vec<Suite>,
    /// What is spoken.
    pub menu: Menu,
}

/// Why an answer comes to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AnswerFault {
    /// It is not SDP as we read it.
    #[error("the answer cannot be read: {0}")]
    Malformed(#[from] SdpError),
    /// It was understood, and no call can come of it.
    #[error("the answer is refused: {0}")]
    Refused(#[from] SdpRefusal),
}

/// An offer of ours. It lives as long as its leg, for offers to come, and holds our keys: it has
/// neither `Debug` nor `Clone`.
pub struct Proposal {
    wishes: Wishes,
    formats: Vec<(u8, Format)>,
    /// Keys of ours, a suite each, with their places in the offer as tags.
    keys: Vec<CryptoAttribute>,
    /// The one of them that an answer has taken.
    taken: Option<Suite>,
    certificate: Option<CertificateDigest>,
    ice: Option<IceText>,
    continuation: Continuation,
    /// Where the peer was before.
    remote: Option<[SocketAddr; 2]>,
}

impl Proposal {
    /// An offer of this, with keys and names of its own. `previous` is the last that was agreed on
    /// the same leg by an answer of ours, if there was one.
    ///
    /// # Errors
    /// [`SdpRefusal`] if we speak nothing of it, or the policy is against it.
    pub fn new(
        wishes: Wishes,
        policy: &Policy,
        previous: Option<&PreviousAnswer>,
        rng: &mut impl CryptoRng,
    ) -> Result<Proposal, SdpRefusal> {
        let certificate = check(&wishes, policy)?;
        let kept = Kept {
            keys: Vec::new(),
            ice: names_in(previous),
            continuation: Continuation::of(previous, rng),
            remote: previous.and_then(remembered),
        };
        Ok(Self::made(wishes, certificate, kept, rng))
    }

    /// Offers anew. The key that is in use stays what it is while its suite is offered, and so do our
    /// names in ICE: no stream is interrupted by it. A key that was in use and is no longer never
    /// comes again, since its indices would (RFC 3711 section 9.1). `previous` is the last that was
    /// agreed on the leg.
    ///
    /// # Errors
    /// [`SdpRefusal`] as [`Proposal::new`]; the proposal is still the one of before.
    pub fn renew(
        &mut self,
        wishes: Wishes,
        policy: &Policy,
        previous: Option<&PreviousAnswer>,
        rng: &mut impl CryptoRng,
    ) -> Result<(), SdpRefusal> {
        let certificate = check(&wishes, policy)?;
        let kept = Kept {
            keys: self.keys_in_use(previous),
            ice: names_in(previous).or_else(|| self.ice.take()),
            continuation: match previous {
                Some(last) if last.origin.is_after(self.continuation.origin) => {
                    Continuation::of(previous, rng)
                }
                // Ours was the last word, though it may have been refused.
                Some(_) | None => self.continuation,
            },
            remote: previous.and_then(remembered).or(self.remote),
        };
        *self = Self::made(wishes, certificate, kept, rng);
        Ok(())
    }

    /// Keys that may be offered again: all while none was taken, then that one while it lasts.
    fn keys_in_use(&mut self, previous: Option<&PreviousAnswer>) -> Vec<CryptoAttribute> {
        let mut keys = std::mem::take(&mut self.keys);
        if let Some(taken) = self.taken {
            keys.retain(|ours| {
                let lasts = previous.is_none_or(|previous| previous.sent(&ours.key));
                ours.key.suite() == taken && lasts
            });
        }
        keys
    }

    fn made(
        mut wishes: Wishes,
        certificate: Option<CertificateDigest>,
        kept: Kept,
        rng: &mut impl CryptoRng,
    ) -> Proposal {
        wishes.ice &= wishes.transport.is_dtls();
        if wishes.ice {
            wishes.rtcp_mux = RtcpMux::Required;
        }
        let Kept { keys, ice, continuation, remote } = kept;
        Proposal {
            formats: wishes.menu.formats(),
            keys: match wishes.transport.has_key_lines() {
                true => keys_of(&wishes.suites, keys, rng),
                false => Vec::new(),
            },
            taken: None,
            certificate,
            ice: wishes.ice.then(|| ice.unwrap_or_else(|| IceText::random(rng))),
            continuation,
            remote,
            wishes,
        }
    }

    /// The offer, which gives `local` as our side. Its session id stays that of before; its version
    /// rises by one if anything else has changed (RFC 3264 section 8). It may hold our keys.
    #[must_use]
    pub fn offer(&mut self, local: LocalMedia) -> Zeroizing<String> {
        assert!(local.rtp.port() != 0, "an offered stream has a port");
        // Room for all: a growing string would leave copies of the keys behind.
        let mut body = Zeroizing::new(String::with_capacity(MAX_PROPOSAL_LEN));
        self.write_body(local, &mut body);
        let digest = sha256(body.as_bytes());
        let origin = self.continuation.origin_of(digest);
        self.continuation = Continuation { origin, previous_body: Some(digest) };
        let mut text = Zeroizing::new(String::with_capacity(MAX_PROPOSAL_LEN));
        origin.write(local, &mut text);
        text.push_str(&body);
        assert!(text.len() <= MAX_PROPOSAL_LEN, "the bound holds for every proposal");
        text
    }

    /// All lines after `o=`.
    fn write_body(&self, local: LocalMedia, text: &mut String) {
        line(text, format_args!("s=-"));
        line(text, format_args!("c={}", Network(local.rtp.ip())));
        line(text, format_args!("t=0 0"));
        if self.ice.is_some() {
            line(text, format_args!("a=ice-lite"));
            line(text, format_args!("a=group:BUNDLE 0"));
        }
        self.write_stream(local, text);
    }

    /// The `m=` line and what belongs to it.
    pub(super) fn write_stream(&self, local: LocalMedia, text: &mut String) {
        let Wishes { transport, menu, rtcp_mux, .. } = &self.wishes;
        write_formats(local, *transport, self.formats.iter().copied(), text);
        line(text, format_args!("a=ptime:{}", menu.ptime_ms));
        line(text, format_args!("a={}", menu.direction.attribute()));
        match rtcp_mux {
            RtcpMux::Never => {}
            RtcpMux::Offered => line(text, format_args!("a=rtcp-mux")),
            RtcpMux::Required => {
                line(text, format_args!("a=rtcp-mux"));
                line(text, format_args!("a=rtcp-mux-only"));
            }
        }
        if *rtcp_mux != RtcpMux::Required {
            line(text, format_args!("a=rtcp:{} {}", local.rtcp.port(), Network(local.rtcp.ip())));
        }
        for ours in &self.keys {
            text.push_str(&KeyLine::of(ours).text);
        }
        if let Some(certificate) = &self.certificate {
            // Whoever answers chooses (RFC 5763 section 5).
            write_fingerprint(certificate, "actpass", text);
        }
        if let Some(ice) = &self.ice {
            line(text, format_args!("a=mid:0"));
            ice.write(local, text);
        }
    }

    /// What an answer agrees to. The same answer may come again, and other ones where a call forks;
    /// they all take the same of our keys.
    ///
    /// # Errors
    /// [`AnswerFault`] if it is not SDP, refuses, or takes what was not offered.
    pub fn accept(
        &mut self,
        answer: &[u8],
        policy: &Policy,
    ) -> Result<Agreement<Settled>, AnswerFault> {
        let mut streams = Offer::parse(answer)?.streams.into_iter();
        let (Some(Stream { audio, .. }), None) = (streams.next(), streams.next()) else {
            return Err(SdpRefusal::NotOffered.into());
        };
        let agreement = self.settle(&audio?, policy)?;
        self.take(&agreement);
        Ok(agreement)
    }

    /// Holds those who answer after this to the key that was taken.
    pub(super) fn take(&mut self, agreement: &Agreement<Settled>) {
        if let Some(keys) = &agreement.srtp {
            self.taken = Some(keys.outbound.key.suite());
        }
    }

    /// What the answer's stream for this offer agrees to; nothing is taken by it yet.
    pub(super) fn settle(
        &self,
        audio: &Audio,
        policy: &Policy,
    ) -> Result<Agreement<Settled>, SdpRefusal> {
        if audio.transport != self.wishes.transport {
            return Err(SdpRefusal::NotOffered);
        }
        let (payload_type, codec) = self.chosen_voice(audio)?;
        let telephone_event =
            find_telephone_event(audio, codec).filter(|event| self.offers_event(*event, codec));
        let rtcp_mux = self.shares_port(audio)?;
        let (browser, handshake) = self.settle_dtls(audio)?;
        // The old way to hold (RFC 3264 section 8.4): the peer's addresses stay what they were.
        let held_blind = browser.is_none() && audio.connection.address()?.is_unspecified();
        let remote = match self.remote {
            _ if browser.is_some() => Remote::proven_later(policy),
            Some([rtp, rtcp]) if held_blind => {
                Remote { rtp, rtcp: if rtcp_mux { rtp } else { rtcp } }
            }
            Some(_) | None => find_remote(audio, rtcp_mux, policy)?,
        };
        let ours = self.wishes.menu.direction;
        let ptime_ms = choose_ptime(codec, audio.ptime_ms, audio.max_ptime_ms);
        Ok(Agreement {
            remote_rtp: remote.rtp,
            remote_rtcp: remote.rtcp,
            rtcp_mux,
            codec,
            payload_type,
            telephone_event,
            redundancy: None,
            ptime_ms: ptime_ms.ok_or(SdpRefusal::PacketTime)?,
            they_send: audio.direction.sends && ours.receives,
            they_receive: audio.direction.receives && ours.sends && !held_blind,
            srtp: self.chosen_keys(audio)?,
            browser,
            handshake,
            rest: Settled,
        })
    }

    /// What DTLS goes by, if there is any: with ICE, or without it.
    fn settle_dtls(
        &self,
        audio: &Audio,
    ) -> Result<(Option<Browser>, Option<Handshake>), SdpRefusal> {
        let Some(certificate) = self.certificate else { return Ok((None, None)) };
        match &self.ice {
            Some(ours) if audio.is_browser() => {
                let browser = audio.browser.clone().accept(certificate, ours.clone())?;
                Ok((Some(browser), None))
            }
            Some(_) | None => Ok((None, Some(audio.browser.accept_handshake(certificate)?))),
        }
    }

    /// The first of the answer that we have offered, under the number that we have offered it by.
    fn chosen_voice(&self, audio: &Audio) -> Result<(u8, Codec), SdpRefusal> {
        let is_offered =
            |voice: &(u8, Codec)| self.formats.contains(&(voice.0, Format::Voice(voice.1)));
        let mut voices = audio.voices().peekable();
        voices.peek().ok_or(SdpRefusal::NoCodec)?;
        voices.find(is_offered).ok_or(SdpRefusal::NotOffered)
    }

    fn offers_event(&self, payload_type: u8, codec: Codec) -> bool {
        self.formats.contains(&(payload_type, Format::TelephoneEvent(codec.clock())))
    }

    fn shares_port(&self, audio: &Audio) -> Result<bool, SdpRefusal> {
        debug_assert!(!self.formats.iter().any(|(number, _)| TYPES_TAKEN_BY_RTCP.contains(number)));
        match (self.wishes.rtcp_mux, audio.rtcp_mux) {
            (RtcpMux::Never, true) => Err(SdpRefusal::NotOffered),
            (RtcpMux::Required, false) => Err(SdpRefusal::NoRtcpMux),
            (RtcpMux::Never | RtcpMux::Offered, false) => Ok(false),
            (RtcpMux::Offered | RtcpMux::Required, true) => Ok(true),
        }
    }

    /// Their key, and the one of ours that it answers (RFC 4568 section 5.1.3).
    fn chosen_keys(&self, audio: &Audio) -> Result<Option<SrtpKeys>, SdpRefusal> {
        if !self.wishes.transport.has_key_lines() {
            return Ok(None);
        }
        let theirs = audio.keys.first().ok_or(SdpRefusal::NoUsableKey)?;
        if self.keys.iter().any(|ours| ours.key.same_as(&theirs.key)) {
            return Err(SdpRefusal::KeyEchoed);
        }
        let is_answered = |ours: &&CryptoAttribute| {
            let suite = ours.key.suite();
            (ours.tag, suite) == (theirs.tag, theirs.key.suite())
                && self.taken.is_none_or(|taken| taken == suite)
        };
        let ours = self.keys.iter().find(is_answered).ok_or(SdpRefusal::NotOffered)?;
        Ok(Some(SrtpKeys { inbound: copied(theirs), outbound: copied(ours) }))
    }

    /// What the leg needs for its next offer, whoever makes it.
    #[must_use]
    pub fn agreed(&self, agreement: &Agreement<Settled>) -> PreviousAnswer {
        let Continuation { origin, previous_body } = self.continuation;
        PreviousAnswer {
            browser: agreement.browser.clone(),
            handshake: agreement.handshake.clone(),
            origin,
            body: previous_body.unwrap_or_default(),
            sent_key: agreement.srtp.as_ref().map(|keys| digest_of(&keys.outbound.key)),
            remote_rtp: agreement.remote_rtp,
            remote_rtcp: agreement.remote_rtcp,
        }
    }
}

/// What a proposal has of what was said before on its leg.
struct Kept {
    keys: Vec<CryptoAttribute>,
    ice: Option<IceText>,
    continuation: Continuation,
    remote: Option<[SocketAddr; 2]>,
}

/// Whether we may and can offer this; our certificate, if it is to be offered.
fn check(wishes: &Wishes, policy: &Policy) -> Result<Option<CertificateDigest>, SdpRefusal> {
    if policy.srtp_only && !wishes.transport.is_secure() {
        return Err(SdpRefusal::PlainRtp);
    }
    if wishes.menu.codecs().next().is_none() {
        return Err(SdpRefusal::NoCodec);
    }
    if wishes.transport.has_key_lines() && wishes.suites.is_empty() {
        return Err(SdpRefusal::NoUsableKey);
    }
    match wishes.transport.is_dtls() {
        true => policy.certificate.ok_or(SdpRefusal::NoBrowsers).map(Some),
        false => Ok(None),
    }
}

/// What a browser knows us by already.
fn names_in(previous: Option<&PreviousAnswer>) -> Option<IceText> {
    previous.and_then(PreviousAnswer::browser).map(|browser| browser.ours.clone())
}

/// Where the peer was; a browser's was never signalled.
fn remembered(previous: &PreviousAnswer) -> Option<[SocketAddr; 2]> {
    previous.browser().is_none().then_some([previous.remote_rtp, previous.remote_rtcp])
}

/// A key for each suite, the one of before where there is one, in this order.
fn keys_of(
    suites: &[Suite],
    mut before: Vec<CryptoAttribute>,
    rng: &mut impl CryptoRng,
) -> Vec<CryptoAttribute> {
    let mut keys: Vec<CryptoAttribute> = Vec::with_capacity(Suite::ALL.len());
    for suite in suites {
        if keys.iter().any(|ours| ours.key.suite() == *suite) {
            continue;
        }
        let tag = keys.len() as u32 + 1;
        let known = before.iter().position(|ours| ours.key.suite() == *suite);
        let key = match known {
            Some(at) => before.swap_remove(at).key,
            None => MasterKey::random(*suite, rng),
        };
        keys.push(CryptoAttribute { tag, key });
    }
    keys
}

/// The same once more: an answer may come twice, and each time the leg gets its keys.
fn copied(attribute: &CryptoAttribute) -> CryptoAttribute {
    let CryptoAttribute { tag, key } = attribute;
    let key = MasterKey::from_bytes(key.suite(), key.expose()).expect("a key fits its own suite");
    CryptoAttribute { tag: *tag, key }
}

const _: () = assert!(MAX_PROPOSAL_LEN <= MAX_OFFER_LEN, "what we write, others like us can read");

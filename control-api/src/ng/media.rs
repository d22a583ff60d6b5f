//! What the two descriptions of a call become for the media plane, and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dtmf::g711::Law;
use ng_protocol::{Ice, Options};
use relay::codec::Codec;
use relay::switchboard::{LegMedia, LocalMedia, Side};
use relay::wire::sdp::{
    AddressRefusal, Agreement, Offer, PreviousAnswer, Proposal, RtcpMux, SdpError, Settled,
    Transport, Wishes,
};
use relay::wire::srtp::Suite;
use zeroize::Zeroizing;

use super::refused::Refused;
use crate::{Control, calls, chance};

/// Where a request's SDP stands.
const POINTER: &str = "/sdp";

/// What was said of one leg so far.
#[derive(Default)]
pub(super) struct LegTalk {
    /// What it was offered last.
    proposal: Option<Proposal>,
    /// What was agreed last.
    agreed: Option<PreviousAnswer>,
}

impl LegTalk {
    /// This party's offer: what it agrees to. `heard` is the codec that the other party speaks, if
    /// that is known.
    pub(super) fn hear_offer(
        &self,
        control: &Control,
        side: Side,
        sdp: &[u8],
        heard: Option<Codec>,
    ) -> Result<Agreement, Refused> {
        let mut offer = Offer::parse(sdp).map_err(unreadable)?;
        if let Some(codec) = heard {
            offer.prefer(codec);
        }
        let agreement = calls::agree_on(control, POINTER, offer, self.agreed.as_ref())?;
        check_codec(side, agreement.codec)?;
        Ok(agreement)
    }

    /// Makes the offer for this party that the other one's comes to.
    pub(super) fn propose(
        &mut self,
        control: &Control,
        side: Side,
        (sdp, options): (&[u8], &Options),
        local: LocalMedia,
    ) -> Result<Zeroizing<String>, Refused> {
        let wishes = wishes(side, sdp, options)?;
        let mut random = chance::generator().map_err(|_| no_random())?;
        let (policy, agreed) = (&control.policy, self.agreed.as_ref());
        match &mut self.proposal {
            Some(proposal) => proposal.renew(wishes, policy, agreed, &mut random)?,
            None => self.proposal = Some(Proposal::new(wishes, policy, agreed, &mut random)?),
        }
        let proposal = self.proposal.as_mut();
        Ok(proposal.expect("it was made above").offer(control.policy.outside(local)))
    }

    /// This party's answer: what it agrees to, and what is to be remembered of it.
    pub(super) fn hear_answer(
        &mut self,
        control: &Control,
        side: Side,
        sdp: &[u8],
    ) -> Result<(Agreement<Settled>, PreviousAnswer), Refused> {
        let nothing = || Refused::because("nothing was offered to this party");
        let proposal = self.proposal.as_mut().ok_or_else(nothing)?;
        let agreement = proposal
            .accept(sdp, &control.policy)
            .map_err(|fault| Refused::because(fault.to_string()))?;
        check_codec(side, agreement.codec)?;
        let previous = proposal.agreed(&agreement);
        Ok((agreement, previous))
    }

    /// What was agreed is in force.
    pub(super) fn is_agreed(&mut self, previous: PreviousAnswer) {
        self.agreed = Some(previous);
    }
}

/// What a party is to be offered: what the other one offers, but for what the options say.
fn wishes(side: Side, sdp: &[u8], options: &Options) -> Result<Wishes, Refused> {
    let offer = Offer::parse(sdp).map_err(unreadable)?;
    let mut menu = offer.menu()?;
    menu.retain(|codec| check_codec(side, codec).is_ok());
    if !menu.codecs().any(|codec| codec.law().is_some()) {
        // What everybody speaks: we translate.
        menu.add(Codec::G711(Law::Mu));
        menu.add(Codec::G711(Law::A));
    }
    let theirs = Words::of(sdp);
    let transport = transport(theirs.transport, options)?;
    let rtcp_mux = rtcp_mux(options, theirs.has_rtcp_mux);
    let ice = match options.ice {
        Ice::Force => true,
        Ice::Remove => false,
        Ice::Unsaid => theirs.has_ice,
    };
    Ok(Wishes { transport, ice, rtcp_mux, suites: suites(options), menu })
}

/// Where RTCP goes, unless the options say so as it is for the other party.
pub(super) fn rtcp_mux(options: &Options, is_offered: bool) -> RtcpMux {
    match options.rtcp_mux {
        ng_protocol::RtcpMux { demux: true, .. } => RtcpMux::Never,
        ng_protocol::RtcpMux { require: true, .. } => RtcpMux::Required,
        ng_protocol::RtcpMux { offer: true, .. } => RtcpMux::Offered,
        ng_protocol::RtcpMux { .. } if is_offered => RtcpMux::Offered,
        ng_protocol::RtcpMux { .. } => RtcpMux::Never,
    }
}

/// Suites of SDES that may be offered.
pub(super) fn suites(options: &Options) -> Vec<Suite> {
    let is_refused = |suite: &Suite| {
        options.refused_suites.iter().any(|it| it.eq_ignore_ascii_case(suite.name()))
    };
    Suite::ALL.into_iter().filter(|suite| !is_refused(suite)).collect()
}

/// The transport that was asked for, else that of the offer. One with keys in the SDP has them from
/// DTLS where they may not be there.
pub(super) fn transport(
    theirs: Option<Transport>,
    options: &Options,
) -> Result<Transport, Refused> {
    if options.is_transport_unknown {
        return Err(Refused::because("transport-protocol is none that Sotto has"));
    }
    let asked = options.transport.and_then(|asked| Transport::from_name(asked.as_str()));
    let transport = asked.or(theirs).unwrap_or(Transport::Avp);
    match transport {
        Transport::Savp if options.no_sdes => Ok(Transport::DtlsSavp),
        Transport::Savpf if options.no_sdes => Ok(Transport::DtlsSavpf),
        Transport::DtlsSavp | Transport::DtlsSavpf if options.no_dtls => {
            Err(Refused::because("DTLS=off contradicts transport-protocol"))
        }
        Transport::Avp
        | Transport::Avpf
        | Transport::Savp
        | Transport::Savpf
        | Transport::DtlsSavp
        | Transport::DtlsSavpf => Ok(transport),
    }
}

/// What an offer says of its way, to be said again where nothing else is asked for.
#[derive(Default)]
struct Words {
    transport: Option<Transport>,
    has_ice: bool,
    has_rtcp_mux: bool,
}

impl Words {
    fn of(sdp: &[u8]) -> Words {
        let mut words = Words::default();
        for line in sdp.split(|&octet| octet == b'\n').map(<[u8]>::trim_ascii) {
            let Ok(line) = str::from_utf8(line) else { continue };
            words.has_ice |= line.starts_with("a=ice-ufrag:");
            words.has_rtcp_mux |= line == "a=rtcp-mux";
            if let Some(stream) = line.strip_prefix("m=audio ") {
                let name = stream.split_ascii_whitespace().nth(1);
                words.transport = words.transport.or(name.and_then(Transport::from_name));
            }
        }
        words
    }
}

/// Engines are not spoken to in Opus: what a cut makes of it was proven for callers alone.
fn check_codec(side: Side, codec: Codec) -> Result<(), Refused> {
    match (side, codec) {
        (Side::Engine, Codec::Opus) => {
            Err(Refused::because("Sotto speaks G.711 and G.722 with engines, and no Opus"))
        }
        (Side::Caller, Codec::Opus) | (_, Codec::G711(_) | Codec::G722 | Codec::L16(_)) => Ok(()),
    }
}

/// A party's leg, as the media plane needs it.
pub(super) fn leg<Rest>(
    control: &Control,
    agreement: &mut Agreement<Rest>,
    options: &Options,
) -> Result<LegMedia, Refused> {
    let is_told = agreement.browser.is_none() && options.is_source_address;
    if let Some(ip) = options.received_from.filter(|_| is_told) {
        let admit = |at: SocketAddr| {
            let admitted = control.policy.addresses.admit(SocketAddr::new(ip, at.port()));
            admitted.map_err(|refusal: AddressRefusal| Refused::because(refusal.to_string()))
        };
        agreement.remote_rtp = admit(agreement.remote_rtp)?;
        agreement.remote_rtcp = admit(agreement.remote_rtcp)?;
    }
    calls::reachable(control, POINTER, agreement.remote_rtp)?;
    let learns = options.is_symmetric || options.is_source_address;
    Ok(calls::leg_media(control, agreement, learns))
}

/// A leg whose party is not known yet. RTCP has a port of its own as long as nothing else is agreed.
pub(super) fn unknown_party(is_ipv6: bool) -> LegMedia {
    let family: IpAddr = match is_ipv6 {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    LegMedia { rtcp_mux: false, ..LegMedia::nobody(family) }
}

fn unreadable(error: SdpError) -> Refused {
    Refused::because(error.to_string())
}

/// What an answer is told whose addresses our ports for it can't reach.
pub(super) fn other_family() -> Refused {
    Refused::because("the answer is of another address family than the offer: see address-family")
}

pub(super) fn no_random() -> Refused {
    Refused::because("the relay has no random numbers")
}

//! Options: how an offer or answer is to be made for the other party.

use std::net::IpAddr;

use crate::command::is_same;

/// The transport of an SDP's audio stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// `RTP/AVP`
    Avp,
    /// `RTP/AVPF`
    Avpf,
    /// `RTP/SAVP`
    Savp,
    /// `RTP/SAVPF`
    Savpf,
    /// `UDP/TLS/RTP/SAVP`
    DtlsSavp,
    /// `UDP/TLS/RTP/SAVPF`
    DtlsSavpf,
}

impl Transport {
    const ALL: [Transport; 6] = [
        Transport::Avp,
        Transport::Avpf,
        Transport::Savp,
        Transport::Savpf,
        Transport::DtlsSavp,
        Transport::DtlsSavpf,
    ];

    /// As an `m=` line has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Avp => "RTP/AVP",
            Transport::Avpf => "RTP/AVPF",
            Transport::Savp => "RTP/SAVP",
            Transport::Savpf => "RTP/SAVPF",
            Transport::DtlsSavp => "UDP/TLS/RTP/SAVP",
            Transport::DtlsSavpf => "UDP/TLS/RTP/SAVPF",
        }
    }

    /// The transport of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Transport> {
        Transport::ALL.into_iter().find(|transport| transport.as_str().eq_ignore_ascii_case(name))
    }
}

/// What is to become of ICE.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Ice {
    /// Nothing was said.
    #[default]
    Unsaid,
    /// None for the other party.
    Remove,
    /// The other party is to use it.
    Force,
}

/// What is to become of RTCP on the port of RTP, in the words that matter to one who offers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct RtcpMux {
    /// Offer it.
    pub offer: bool,
    /// Insist on it.
    pub require: bool,
    /// Never offer it.
    pub demux: bool,
}

/// Who of two offers: whose leg is which.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Offerer {
    /// The caller offers, an engine is called.
    #[default]
    Caller,
    /// The engine offers, a caller is called.
    Engine,
}

/// How an offer or answer is to be made. What has no effect here is known and passed over.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Options {
    /// The transport for the other party; as the first has it unless something is said.
    pub transport: Option<Transport>,
    /// A transport was named that is none of [`Transport`].
    pub is_transport_unknown: bool,
    /// ICE for the other party.
    pub ice: Ice,
    /// No keys in the SDP for the other party.
    pub no_sdes: bool,
    /// Suites of SDES that the other party is not offered, as `a=crypto` names them.
    pub refused_suites: Vec<String>,
    /// No DTLS for the other party.
    pub no_dtls: bool,
    /// RTCP on the port of RTP.
    pub rtcp_mux: RtcpMux,
    /// Who sent the SDP is behind NAT: learn where its media comes from.
    pub is_symmetric: bool,
    /// The address of its SDP counts for nothing: take that of [`Options::received_from`].
    pub is_source_address: bool,
    /// Where its SDP came from.
    pub received_from: Option<IpAddr>,
    /// A recording was asked for, or refused.
    pub record: Option<bool>,
    /// The command is about both parties.
    pub is_for_all: bool,
    /// The command is about the party of the from-tag alone.
    pub is_directional: bool,
    /// What the party hears is to be copied, not what it says.
    pub is_egress: bool,
    /// The address family that the other party is offered, if it is to be another one.
    pub is_ipv6: Option<bool>,
    /// Who is the caller.
    pub offerer: Offerer,
    /// The peer understands that there is no room.
    pub knows_load_limit: bool,
}

/// What stands before a suite that is not to be offered.
const NO: &str = "no-";
/// Most of them that are kept: SDES has a dozen suites.
const MAX_REFUSED_SUITES: usize = 16;

/// Flags that are known and have no effect: what they ask for is so anyway, or never is.
const IDLE_FLAGS: [&str; 30] = [
    "allow-asymmetric-codecs",
    "allow-transcoding",
    "always-transcode",
    "asymmetric-codecs",
    "debug",
    "fatal",
    "force",
    "full-rtcp-attribute",
    "generate-rtcp",
    "ingress",
    "inject-dtmf",
    "loop-protect",
    "media-handover",
    "no-port-latching",
    "no-rtcp-attribute",
    "no-tls-id",
    "original-sendrecv",
    "pad-crypto",
    "port-latching",
    "recrypt",
    "reorder-codecs",
    "reset",
    "reuse-codecs",
    "rtcp-mux",
    "single-codec",
    "siprec",
    "strict-source",
    "symmetric-codecs",
    "unidirectional",
    "via-branch-auto",
];

/// Members that are known and have no effect.
const IDLE_MEMBERS: [&str; 17] = [
    "codec",
    "delete-delay",
    "direction",
    "from-label",
    "label",
    "media-address",
    "metadata",
    "moh",
    "osrtp",
    "ptime",
    "ptime-reverse",
    "replace",
    "sdp-attr",
    "sdp-media-remove",
    "template",
    "to-label",
    "tos",
];

impl Options {
    /// Takes in a flag; false if it is not known.
    pub(crate) fn flag(&mut self, flag: &str) -> bool {
        let is = |name| is_same(name, flag);
        if is("symmetric") {
            self.is_symmetric = true;
        } else if is("asymmetric") {
            self.is_symmetric = false;
        } else if is("sip-source-address") {
            self.is_source_address = true;
        } else if is("trust-address") {
            self.is_source_address = false;
        } else if is("record-call") {
            self.record = Some(true);
        } else if is("all") {
            self.is_for_all = true;
        } else if is("directional") {
            self.is_directional = true;
        } else if is("egress") {
            self.is_egress = true;
        } else if is("sotto-engine-offers") {
            self.offerer = Offerer::Engine;
        } else {
            return IDLE_FLAGS.iter().any(|idle| is(idle));
        }
        true
    }

    /// Takes in a word about SDES: that there be none, or a suite that is not to be offered.
    fn take_suite(&mut self, word: &str) {
        if is_refusal(word) {
            self.no_sdes = true;
        } else if let Some((no, suite)) = word.split_at_checked(NO.len())
            && is_same(NO, no)
            && self.refused_suites.len() < MAX_REFUSED_SUITES
        {
            self.refused_suites.push(suite.to_owned());
        }
    }

    /// Takes in the values of a member; false if the member is not known.
    pub(crate) fn member<'t>(
        &mut self,
        name: &str,
        mut values: impl Iterator<Item = &'t str>,
    ) -> bool {
        let is = |known| is_same(known, name);
        if is("transport-protocol") {
            self.transport = values.next().and_then(Transport::of);
            self.is_transport_unknown = self.transport.is_none();
        } else if is("ice") {
            values.for_each(|value| self.ice = ice(value));
        } else if is("sdes") {
            values.for_each(|value| self.take_suite(value));
        } else if is("dtls") {
            self.no_dtls |= values.any(is_refusal);
        } else if is("rtcp-mux") {
            values.for_each(|value| self.rtcp_mux.take(value));
        } else if is("received-from") {
            self.received_from = values.last().and_then(|address| address.parse().ok());
        } else if is("record-call") {
            self.record = values.next().map(|value| !is_refusal(value));
        } else if is("address-family") {
            self.is_ipv6 = values.next().map(|family| family.eq_ignore_ascii_case("IP6"));
        } else if is("supports") {
            self.knows_load_limit |= values.any(|value| is_same(value, "load limit"));
        } else {
            return IDLE_MEMBERS.iter().any(|idle| is(idle));
        }
        true
    }
}

impl RtcpMux {
    fn take(&mut self, word: &str) {
        self.offer |= is_same("offer", word);
        self.require |= is_same("require", word);
        self.demux |= is_same("demux", word);
    }
}

fn ice(word: &str) -> Ice {
    match word {
        _ if is_same("remove", word) => Ice::Remove,
        _ if is_same("force", word) || is_same("force-relay", word) => Ice::Force,
        _ => Ice::Unsaid,
    }
}

fn is_refusal(word: &str) -> bool {
    ["off", "no", "disable"].iter().any(|refusal| is_same(refusal, word))
}

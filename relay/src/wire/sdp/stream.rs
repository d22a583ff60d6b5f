//! `Stream`: one `m=` line of an offer and the lines that belong to it.

use super::address::Connection;
use super::browser::BrowserOffer;
use super::direction::Direction;
use super::format::Format;
use super::line::{Line, decimal};
use super::offer::Session;
use super::{MAX_FORMATS, MAX_KEYS, MAX_TOKEN_LEN, SdpError, SdpRefusal};
use crate::codec::Codec;
use crate::wire::sdes::CryptoAttribute;

/// Payload types read of one redundancy list: the packet itself and its copies, of which senders
/// make one to five.
const MAX_REDUNDANT_TYPES: usize = 17;

/// The RTP profiles we speak; feedback (the F) is optional for both sides (RFC 4585 section 4.2),
/// and a description without `a=rtcp-fb` uses none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// RTP/AVP (RFC 3551).
    Avp,
    /// RTP/AVPF (RFC 4585).
    Avpf,
    /// RTP/SAVP (RFC 3711).
    Savp,
    /// RTP/SAVPF (RFC 5124).
    Savpf,
    /// UDP/TLS/RTP/SAVP: telephones whose keys DTLS agrees on (RFC 5764).
    DtlsSavp,
    /// UDP/TLS/RTP/SAVPF: what browsers speak (RFC 8842).
    DtlsSavpf,
}

impl Transport {
    const ALL: [Self; 6] =
        [Self::Avp, Self::Avpf, Self::Savp, Self::Savpf, Self::DtlsSavp, Self::DtlsSavpf];

    /// The name in an `m=` line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Avpf => "RTP/AVPF",
            Self::Savp => "RTP/SAVP",
            Self::Savpf => "RTP/SAVPF",
            Self::DtlsSavp => "UDP/TLS/RTP/SAVP",
            Self::DtlsSavpf => "UDP/TLS/RTP/SAVPF",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name() == name)
    }

    /// Whether packets are SRTP.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        match self {
            Self::Avp | Self::Avpf => false,
            Self::Savp | Self::Savpf | Self::DtlsSavp | Self::DtlsSavpf => true,
        }
    }

    /// Whether signalling tells the keys.
    pub(super) const fn has_key_lines(self) -> bool {
        match self {
            Self::Avp | Self::Avpf | Self::DtlsSavp | Self::DtlsSavpf => false,
            Self::Savp | Self::Savpf => true,
        }
    }

    /// Whether DTLS agrees on the keys.
    pub(super) const fn is_dtls(self) -> bool {
        match self {
            Self::Avp | Self::Avpf | Self::Savp | Self::Savpf => false,
            Self::DtlsSavp | Self::DtlsSavpf => true,
        }
    }
}

/// One offered stream.
pub(super) struct Stream {
    /// What is written should the stream be refused.
    pub(super) rejection: Rejection,
    /// The audio offered, or why there is none that we could use.
    pub(super) audio: Result<Audio, SdpRefusal>,
}

/// The words of an `m=` line that its refusal must repeat (RFC 3264 section 6).
#[derive(PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) media: String,
    pub(super) transport: String,
    pub(super) format: String,
}

/// An audio stream over RTP, as offered.
pub(super) struct Audio {
    /// Where RTP goes; the port is not 0.
    pub(super) connection: Connection,
    pub(super) port: u16,
    pub(super) transport: Transport,
    /// Payload types in the offer's order of preference, and what they stand for.
    pub(super) formats: Vec<(u8, Format)>,
    /// Payload types of redundancy, each with one that its packets may carry.
    pub(super) redundancy: Vec<(u8, u8)>,
    pub(super) direction: Direction,
    /// Packet time the offerer would like to receive, in ms.
    pub(super) ptime_ms: Option<u16>,
    /// Longest packet it takes, in ms.
    pub(super) max_ptime_ms: Option<u16>,
    pub(super) rtcp_mux: bool,
    /// `a=rtcp`: another port, and perhaps another address, for RTCP.
    pub(super) rtcp: Option<(u16, Option<Connection>)>,
    /// The `a=crypto` lines that we can use; none on transports without.
    pub(super) keys: Vec<CryptoAttribute>,
    /// What is said of ICE and DTLS.
    pub(super) browser: BrowserOffer,
}

impl Audio {
    /// Its peer proves by ICE where it is.
    pub(super) fn is_browser(&self) -> bool {
        self.transport.is_dtls() && self.browser.has_ice()
    }

    /// The voices, in the order of preference.
    pub(super) fn voices(&self) -> impl Iterator<Item = (u8, Codec)> {
        self.formats.iter().filter_map(|(payload_type, format)| match format {
            Format::Voice(codec) => Some((*payload_type, *codec)),
            Format::TelephoneEvent(_) | Format::Redundancy(_) | Format::Other => None,
        })
    }
}

impl Stream {
    /// Reads a section that begins with the `m=` line `value` at `line`.
    pub(super) fn parse(
        session: &Session,
        line: usize,
        value: &str,
        section: &[(usize, Line<'_>)],
    ) -> Result<Self, SdpError> {
        let bad = SdpError::BadStream { line };
        let mut words = value.split_ascii_whitespace();
        let (Some(media), Some(port), Some(transport)) = (words.next(), words.next(), words.next())
        else {
            return Err(bad);
        };
        let formats: Vec<&str> = words.collect();
        let format = *formats.first().ok_or(bad)?;
        if ![media, transport, format].into_iter().all(is_token) {
            return Err(bad);
        }
        let port = parse_port(port).ok_or(SdpError::BadPort { line })?;
        let audio = match Transport::from_name(transport) {
            _ if media != "audio" => Err(SdpRefusal::NoAudio),
            _ if port == 0 => Err(SdpRefusal::AudioOff),
            None => Err(SdpRefusal::Transport),
            Some(transport) => Ok(Audio {
                connection: only_connection(section)?
                    .or(session.connection)
                    .ok_or(SdpError::NoConnection { line })?,
                port,
                transport,
                formats: parse_formats(line, &formats, section)?,
                redundancy: parse_redundancy(section),
                direction: last_direction(section).unwrap_or(session.direction),
                ptime_ms: attributes(section, "ptime").find_map(|(_, value)| whole_ms(value)),
                max_ptime_ms: attributes(section, "maxptime")
                    .find_map(|(_, value)| whole_ms(value)),
                rtcp_mux: attributes(section, "rtcp-mux").next().is_some(),
                rtcp: parse_rtcp(section)?,
                keys: if transport.has_key_lines() { parse_keys(section)? } else { Vec::new() },
                browser: BrowserOffer::parse(section).or(&session.browser),
            }),
        };
        let rejection = Rejection {
            media: media.to_owned(),
            transport: transport.to_owned(),
            format: format.to_owned(),
        };
        Ok(Self { rejection, audio })
    }
}

/// The one `c=` line of a section, if there is one.
pub(super) fn only_connection(
    section: &[(usize, Line<'_>)],
) -> Result<Option<Connection>, SdpError> {
    let mut only = None;
    for (line, content) in section {
        if let Line::Connection(value) = content
            && only.replace(Connection::parse(*line, value)?).is_some()
        {
            return Err(SdpError::RepeatedConnection { line: *line });
        }
    }
    Ok(only)
}

/// The last direction attribute of a section.
pub(super) fn last_direction(section: &[(usize, Line<'_>)]) -> Option<Direction> {
    section.iter().rev().find_map(|(_, content)| match content {
        Line::Attribute { name, .. } => Direction::from_attribute(name),
        Line::Version(_)
        | Line::Stream(_)
        | Line::Connection(_)
        | Line::Timing(_)
        | Line::Ignored => None,
    })
}

/// Lines and values of the attributes called `wanted`.
pub(super) fn attributes<'a>(
    section: &'a [(usize, Line<'a>)],
    wanted: &'a str,
) -> impl Iterator<Item = (usize, &'a str)> {
    section.iter().filter_map(move |(line, content)| match content {
        Line::Attribute { name, value } if *name == wanted => Some((*line, *value)),
        Line::Attribute { .. }
        | Line::Version(_)
        | Line::Stream(_)
        | Line::Connection(_)
        | Line::Timing(_)
        | Line::Ignored => None,
    })
}

/// A `token` of RFC 8866 section 9, or several joined by slashes, that is short enough to repeat.
pub(super) fn is_token(word: &str) -> bool {
    let allowed =
        |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~/".contains(&octet);
    word.len() <= MAX_TOKEN_LEN && word.bytes().all(allowed)
}

/// One port; `/1` after it says the same, a larger count is for layered streams.
fn parse_port(word: &str) -> Option<u16> {
    decimal(word.strip_suffix("/1").unwrap_or(word))
}

/// Payload types in order, each with its first `a=rtpmap`, else its static meaning.
fn parse_formats(
    line: usize,
    formats: &[&str],
    section: &[(usize, Line<'_>)],
) -> Result<Vec<(u8, Format)>, SdpError> {
    if formats.len() > MAX_FORMATS {
        return Err(SdpError::TooManyFormats { line });
    }
    let mut maps: [Option<Format>; 128] = [None; 128];
    for (line, value) in attributes(section, "rtpmap") {
        let (payload_type, encoding) = value.trim().split_once(' ').unwrap_or((value, ""));
        let payload_type = parse_payload_type(line, payload_type)?;
        maps[usize::from(payload_type)].get_or_insert(Format::of_encoding(encoding));
    }
    formats
        .iter()
        .map(|format| {
            let payload_type = parse_payload_type(line, format)?;
            let mapped = maps[usize::from(payload_type)];
            Ok((payload_type, mapped.unwrap_or(Format::of_static_type(payload_type))))
        })
        .collect()
}

/// The lists of `a=fmtp:121 101/101` and its like (RFC 2198 section 4). Which payload types are
/// redundancy is not looked at here, so what is no such list is left out, not refused.
fn parse_redundancy(section: &[(usize, Line<'_>)]) -> Vec<(u8, u8)> {
    let lists = attributes(section, "fmtp").filter_map(|(_, value)| value.trim().split_once(' '));
    lists
        .filter_map(|(payload_type, list)| Some((decimal(payload_type)?, list)))
        .flat_map(|(payload_type, list)| {
            let carried = list.split('/').take(MAX_REDUNDANT_TYPES);
            carried.filter_map(move |carried| Some((payload_type, decimal(carried.trim())?)))
        })
        .collect()
}

fn parse_payload_type(line: usize, word: &str) -> Result<u8, SdpError> {
    decimal(word.trim())
        .filter(|payload_type| *payload_type < 128)
        .ok_or(SdpError::BadPayloadType { line })
}

/// Whole milliseconds; RFC 8866 section 6.4 allows a fraction. What is no number is no wish.
fn whole_ms(value: &str) -> Option<u16> {
    decimal(value.trim().split('.').next().unwrap_or_default()).filter(|ms| *ms > 0)
}

/// `a=rtcp:port [IN IP4 address]` (RFC 3605 section 2.1).
fn parse_rtcp(
    section: &[(usize, Line<'_>)],
) -> Result<Option<(u16, Option<Connection>)>, SdpError> {
    let Some((line, value)) = attributes(section, "rtcp").next() else { return Ok(None) };
    let (port, address) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    let port = decimal(port).ok_or(SdpError::BadPort { line })?;
    let address = match address.trim() {
        "" => None,
        address => Some(Connection::parse(line, address)?),
    };
    Ok(Some((port, address)))
}

/// The usable `a=crypto` lines in order of preference; one that is not usable counts as not offered
/// (RFC 4568 section 5.1.2).
fn parse_keys(section: &[(usize, Line<'_>)]) -> Result<Vec<CryptoAttribute>, SdpError> {
    let mut keys: Vec<CryptoAttribute> = Vec::new();
    for (position, (line, value)) in attributes(section, "crypto").enumerate() {
        if position == MAX_KEYS {
            return Err(SdpError::TooManyKeys { line });
        }
        let Ok(offered) = CryptoAttribute::parse(value) else { continue };
        if keys.iter().any(|earlier| earlier.tag == offered.tag) {
            return Err(SdpError::RepeatedTag { line });
        }
        keys.push(offered);
    }
    Ok(keys)
}

//! `SdpError` and `SdpRefusal`: why an offer could not be read, and why a readable one is refused.
//!
//! Neither holds a word of the offer: the line number leads its author to the place.

use super::{AddressRefusal, MAX_FORMATS, MAX_KEYS, MAX_LINES, MAX_OFFER_LEN, MAX_STREAMS};

/// The offer is not SDP as we read it; its author must correct it (400).
///
/// Lines are counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SdpError {
    /// More octets than [`MAX_OFFER_LEN`].
    #[error("the offer is longer than {MAX_OFFER_LEN} octets")]
    TooLong,
    /// More lines than [`MAX_LINES`].
    #[error("the offer has more than {MAX_LINES} lines")]
    TooManyLines,
    /// A NUL or another control character, which no SDP line may hold.
    #[error("line {line} holds a control character")]
    ControlCharacter {
        /// Where.
        line: usize,
    },
    /// Not UTF-8 where a value has to be understood.
    #[error("line {line} is not UTF-8 text")]
    NotText {
        /// Where.
        line: usize,
    },
    /// Not of the form letter, equals sign, value.
    #[error("line {line} is not of the form <letter>=<value>")]
    NotALine {
        /// Where.
        line: usize,
    },
    /// A type letter that RFC 8866 section 5 does not define.
    #[error("line {line} begins with a letter that SDP does not define")]
    UnknownLetter {
        /// Where.
        line: usize,
    },
    /// The description does not begin with `v=0`, or has a second `v=`.
    #[error("the offer must have v=0 as its first line, and nowhere else")]
    NoVersion,
    /// No `m=` line at all.
    #[error("the offer has no m= line")]
    NoStream,
    /// More `m=` lines than [`MAX_STREAMS`].
    #[error("the offer has more than {MAX_STREAMS} m= lines")]
    TooManyStreams,
    /// An `m=` line that lacks a part or holds an impossible one.
    #[error("line {line} is not of the form m=<media> <port> <transport> <formats>")]
    BadStream {
        /// Where.
        line: usize,
    },
    /// A port above 65535, no number, or a range of ports.
    #[error("line {line} does not name one port from 0 to 65535")]
    BadPort {
        /// Where.
        line: usize,
    },
    /// A payload type above 127 or no number.
    #[error("line {line} has a payload type that is not a number from 0 to 127")]
    BadPayloadType {
        /// Where.
        line: usize,
    },
    /// More formats than [`MAX_FORMATS`].
    #[error("line {line} has more than {MAX_FORMATS} formats")]
    TooManyFormats {
        /// Where.
        line: usize,
    },
    /// A `c=` line, or the address of an `a=rtcp`, that is not of the form `IN IP4 address`.
    #[error(
        "line {line} does not hold an address of the form IN IP4 <address> or IN IP6 <address>"
    )]
    BadConnection {
        /// Where.
        line: usize,
    },
    /// A second `c=` line for the same stream or session: which one counts would be a guess.
    #[error("line {line} is a second c= line in its section")]
    RepeatedConnection {
        /// Where.
        line: usize,
    },
    /// The audio stream has no `c=` line, and neither has the session.
    #[error("the audio stream of line {line} has no c= line, and neither has the session")]
    NoConnection {
        /// Where the stream begins.
        line: usize,
    },
    /// A `t=` line that is not two numbers.
    #[error("line {line} is not of the form t=<start> <stop>")]
    BadTiming {
        /// Where.
        line: usize,
    },
    /// More `a=crypto` lines than [`MAX_KEYS`].
    #[error("line {line} is one a=crypto line too many: {MAX_KEYS} are read")]
    TooManyKeys {
        /// Where.
        line: usize,
    },
    /// Two usable `a=crypto` lines with one tag: the answer could not say which it means.
    #[error("line {line} repeats the tag of an earlier a=crypto line")]
    RepeatedTag {
        /// Where.
        line: usize,
    },
}

/// The offer was understood, but no call can come of it (422 by REST, 488 by SIP).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SdpRefusal {
    /// No `m=audio` line.
    #[error("the offer has no audio stream")]
    NoAudio,
    /// The only audio stream has port 0.
    #[error("the audio stream is switched off: its port is 0")]
    AudioOff,
    /// The audio stream uses none of the transports we speak.
    #[error(
        "the audio stream must use RTP/AVP, RTP/AVPF, RTP/SAVP, RTP/SAVPF, UDP/TLS/RTP/SAVP or \
         UDP/TLS/RTP/SAVPF"
    )]
    Transport,
    /// Plain RTP where the policy asks for SRTP.
    #[error("this relay takes SRTP only: offer RTP/SAVP with an a=crypto line")]
    PlainRtp,
    /// Neither PCMU nor PCMA at 8000 Hz, mono.
    #[error("the audio stream offers neither PCMU/8000 nor PCMA/8000")]
    NoCodec,
    /// `a=maxptime` is below the shortest packet we send.
    #[error("the audio stream allows no packet of 10 ms or longer")]
    PacketTime,
    /// A host name in `c=` or `a=rtcp`; media follows no name service.
    #[error("line {line} names a host: an IP address is needed")]
    HostName {
        /// Where.
        line: usize,
    },
    /// The RTCP port would be 65536.
    #[error("the audio stream leaves no port for RTCP: its port is 65535")]
    NoRtcpPort,
    /// An address that media must not be sent to.
    #[error(transparent)]
    Address(#[from] AddressRefusal),
    /// RTP/SAVP, but no `a=crypto` line that we can use.
    #[error(
        "the audio stream has no a=crypto line with a suite and parameters that this relay has"
    )]
    NoUsableKey,
    /// A browser's stream, or another one with DTLS, and a relay that takes none.
    #[error("this relay has no certificate, and takes neither browsers nor DTLS")]
    NoBrowsers,
    /// A browser's stream without usable `a=ice-ufrag` and `a=ice-pwd`.
    #[error("the audio stream has no a=ice-ufrag and a=ice-pwd of 4 and 22 ICE characters or more")]
    NoIce,
    /// A stream with DTLS without a fingerprint that we compute.
    #[error("the audio stream has no a=fingerprint of sha-256")]
    NoFingerprint,
    /// A browser's stream whose writer wants us to begin DTLS.
    #[error("the audio stream must have a=setup:actpass or a=setup:active")]
    Setup,
    /// A stream with DTLS, and nothing that says who begins it.
    #[error("the audio stream must say by a=setup who begins DTLS")]
    NoSetup,
    /// A browser's stream that wants RTCP on another port.
    #[error("the audio stream must have a=rtcp-mux, as all that use ICE")]
    NoRtcpMux,
    /// An answer that takes a stream, a transport, a codec or a key that we have not offered.
    #[error("the answer takes something that was not offered")]
    NotOffered,
    /// The peer offers the key that we gave it, or answers with it.
    #[error("an a=crypto line repeats a key of this relay's own")]
    KeyEchoed,
}

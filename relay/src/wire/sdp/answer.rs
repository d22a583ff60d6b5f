//! `Answer`: the text of an agreement, and what the next offer on the leg is compared with.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use rand::CryptoRng;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::agreement::{Agreement, Owed, Remote};
use super::browser::{self, Browser, CertificateDigest, Handshake, IceText};
use super::direction::Direction;
use super::format::Format;
use super::stream::{Rejection, Transport};
use super::{MAX_STREAMS, MAX_TOKEN_LEN};
use crate::codec::Codec;
use crate::wire::sdes::CryptoAttribute;
use crate::wire::srtp::MasterKey;

/// Longest answer in octets: one and a half kilobytes hold all lines of the agreed stream, and each refused one
/// takes its three words with `m=`, port, spaces and CRLF.
pub(super) const MAX_ANSWER_LEN: usize = 1536 + MAX_STREAMS * (3 * MAX_TOKEN_LEN + 16);
/// Longest `a=crypto` line we write, in octets: nine digits, 23 of suite, 60 of key and the rest.
const MAX_KEY_LINE_LEN: usize = 128;
/// A first version below this never overflows (RFC 3264 section 5); ids keep to it too.
const ORIGIN_LIMIT: u64 = 1 << 62;

/// A leg's own addresses, as its answer names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalMedia {
    /// Where the caller sends RTP.
    pub rtp: SocketAddr,
    /// Where the caller sends RTCP, unless it is multiplexed.
    pub rtcp: SocketAddr,
}

/// An answer for the caller. It may hold our SRTP key, so it has neither `Debug` nor `Clone`, and
/// is wiped when dropped.
pub struct Answer {
    text: Zeroizing<String>,
    next: PreviousAnswer,
}

/// What a leg keeps of an answer until the next offer. It holds no key of media.
pub struct PreviousAnswer {
    pub(super) browser: Option<Browser>,
    pub(super) handshake: Option<Handshake>,
    pub(super) origin: Origin,
    pub(super) body: Digest,
    pub(super) sent_key: Option<Digest>,
    pub(super) remote_rtp: SocketAddr,
    pub(super) remote_rtcp: SocketAddr,
}

/// The `a=crypto` line that gives our key to the peer.
pub(super) struct KeyLine {
    pub(super) text: Zeroizing<String>,
    digest: Digest,
}

/// What a description continues: its session id, and the body it must differ from to rise in version.
#[derive(Clone, Copy)]
pub(super) struct Continuation {
    pub(super) origin: Origin,
    pub(super) previous_body: Option<Digest>,
}

/// Session id and version of an `o=` line (RFC 8866 section 5.2).
#[derive(Clone, Copy)]
pub(super) struct Origin {
    session_id: u64,
    version: u64,
}

/// SHA-256 of what must be recognised but not kept.
pub(super) type Digest = [u8; 32];

impl Agreement {
    /// The answer, which gives `local` as our side. Its session id stays that of the previous
    /// answer; its version rises by one if anything else changed (RFC 3264 section 8).
    #[must_use]
    pub fn answer(&self, local: LocalMedia) -> Answer {
        assert!(local.rtp.port() != 0, "an agreed stream has a port");
        // Room for all: a growing string would leave copies of the key behind.
        let mut body = Zeroizing::new(String::with_capacity(MAX_ANSWER_LEN));
        self.write_body(local, &mut body);
        let body_digest = sha256(body.as_bytes());
        let origin = self.rest.continuation.origin_of(body_digest);
        let mut text = Zeroizing::new(String::with_capacity(MAX_ANSWER_LEN));
        origin.write(local, &mut text);
        text.push_str(&body);
        assert!(text.len() <= MAX_ANSWER_LEN, "the bound holds for every agreement");
        let next = PreviousAnswer {
            browser: self.browser.clone(),
            handshake: self.handshake.clone(),
            origin,
            body: body_digest,
            sent_key: self.rest.key_line.as_ref().map(|key_line| key_line.digest),
            remote_rtp: self.remote_rtp,
            remote_rtcp: self.remote_rtcp,
        };
        Answer { text, next }
    }

    /// All lines after `o=`.
    fn write_body(&self, local: LocalMedia, text: &mut String) {
        let Owed { rejections, position, timing, .. } = &self.rest;
        let (before, after) = rejections.split_at(*position);
        line(text, format_args!("s=-"));
        line(text, format_args!("c={}", Network(local.rtp.ip())));
        line(text, format_args!("t={} {}", timing.0, timing.1));
        if let Some(browser) = &self.browser {
            line(text, format_args!("a=ice-lite"));
            if let Some(mid) = browser.mid.as_ref().filter(|_| browser.is_bundled) {
                line(text, format_args!("a=group:BUNDLE {mid}"));
            }
        }
        before.iter().for_each(|rejection| rejection.write(text));
        self.write_audio(local, text);
        after.iter().for_each(|rejection| rejection.write(text));
    }

    fn write_audio(&self, local: LocalMedia, text: &mut String) {
        let clock = self.codec.clock();
        let formats = [(self.payload_type, Format::Voice(self.codec))]
            .into_iter()
            .chain(self.telephone_event.map(|event| (event, Format::TelephoneEvent(clock))))
            .chain(self.redundancy.map(|redundancy| (redundancy, Format::Redundancy(clock))));
        write_formats(local, self.rest.transport, formats, text);
        if let Some((event, redundancy)) = self.telephone_event.zip(self.redundancy) {
            // Key events alone (RFC 2198 section 4): a copy of audio would be one more way out.
            line(text, format_args!("a=fmtp:{redundancy} {event}/{event}"));
        }
        line(text, format_args!("a=ptime:{}", self.ptime_ms));
        let theirs = Direction { sends: self.they_send, receives: self.they_receive };
        line(text, format_args!("a={}", theirs.mirrored().attribute()));
        if self.rtcp_mux {
            line(text, format_args!("a=rtcp-mux"));
        } else {
            line(text, format_args!("a=rtcp:{} {}", local.rtcp.port(), Network(local.rtcp.ip())));
        }
        if let Some(key_line) = &self.rest.key_line {
            text.push_str(&key_line.text);
        }
        if let Some(browser) = &self.browser {
            if let Some(mid) = &browser.mid {
                line(text, format_args!("a=mid:{mid}"));
            }
            write_fingerprint(&browser.our_fingerprint, browser.role.setup(), text);
            browser.ours.write(local, text);
        }
        if let Some(Handshake { our_fingerprint, role, .. }) = &self.handshake {
            write_fingerprint(our_fingerprint, role.setup(), text);
        }
    }
}

/// The `m=` line and what it means: the maps, then what is to be known of Opus and of events.
pub(super) fn write_formats(
    local: LocalMedia,
    transport: Transport,
    formats: impl Iterator<Item = (u8, Format)> + Clone,
    text: &mut String,
) {
    let _ = write!(text, "m=audio {} {}", local.rtp.port(), transport.name());
    formats.clone().for_each(|(payload_type, _)| text.push_str(&format!(" {payload_type}")));
    line(text, format_args!(""));
    for (payload_type, format) in formats.clone() {
        line(text, format_args!("a=rtpmap:{payload_type} {format}"));
    }
    for (payload_type, format) in formats {
        match format {
            Format::Voice(Codec::Opus) => {
                // Copies of what may be lost, in the packets behind it (RFC 7587 section 6.1).
                let wish = "minptime=10;useinbandfec=1;usedtx=0";
                line(text, format_args!("a=fmtp:{payload_type} {wish}"));
                line(text, format_args!("a=maxptime:60"));
            }
            // The sixteen keys (RFC 4733 section 3.2); no other event means anything to us.
            Format::TelephoneEvent(_) => line(text, format_args!("a=fmtp:{payload_type} 0-15")),
            Format::Voice(Codec::G711(_) | Codec::G722 | Codec::L16(_))
            | Format::Redundancy(_)
            | Format::Other => {}
        }
    }
}

/// Who we are in DTLS, and which side of it.
pub(super) fn write_fingerprint(ours: &CertificateDigest, setup: &str, text: &mut String) {
    line(text, format_args!("a=fingerprint:sha-256 {}", browser::written(ours)));
    line(text, format_args!("a=setup:{setup}"));
}

impl IceText {
    /// Who we are in ICE, and the one address where we are: that of the media ports.
    pub(super) fn write(&self, local: LocalMedia, text: &mut String) {
        line(text, format_args!("a=ice-ufrag:{}", self.ufrag));
        line(text, format_args!("a=ice-pwd:{}", *self.password));
        // A browser tells its page of a track only where it is told of a stream.
        line(text, format_args!("a=msid:sotto engine"));
        let (ip, port) = (local.rtp.ip(), local.rtp.port());
        line(text, format_args!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host"));
        line(text, format_args!("a=end-of-candidates"));
    }
}

impl Answer {
    /// The session description, for the caller's signalling alone.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the leg needs for its next offer.
    #[must_use]
    pub fn into_previous(self) -> PreviousAnswer {
        self.next
    }
}

impl PreviousAnswer {
    /// Whether a key is the one that this answer gave the caller.
    pub(super) fn sent(&self, key: &MasterKey) -> bool {
        self.sent_key == Some(digest_of(key))
    }

    /// What a browser's stream went by.
    #[must_use]
    pub fn browser(&self) -> Option<&Browser> {
        self.browser.as_ref()
    }

    /// What a stream went by whose keys DTLS agrees on at the signalled address.
    pub(super) fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_ref()
    }

    /// Where the peer's media was.
    pub(super) fn remote(&self, rtcp_mux: bool) -> Remote {
        let rtcp = if rtcp_mux { self.remote_rtp } else { self.remote_rtcp };
        Remote { rtp: self.remote_rtp, rtcp }
    }
}

impl KeyLine {
    pub(super) fn of(ours: &CryptoAttribute) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_LINE_LEN));
        text.push_str("a=crypto:");
        ours.write(&mut text);
        line(&mut text, format_args!(""));
        assert!(text.len() <= MAX_KEY_LINE_LEN, "the bound holds for every suite");
        Self { text, digest: digest_of(&ours.key) }
    }
}

impl Continuation {
    pub(super) fn of(previous: Option<&PreviousAnswer>, rng: &mut impl CryptoRng) -> Self {
        match previous {
            Some(previous) => Self { origin: previous.origin, previous_body: Some(previous.body) },
            None => {
                let session_id = rng.next_u64() % ORIGIN_LIMIT;
                Self { origin: Origin { session_id, version: 1 }, previous_body: None }
            }
        }
    }

    pub(super) fn origin_of(&self, body: Digest) -> Origin {
        let changed = self.previous_body.is_some_and(|previous| previous != body);
        Origin { version: self.origin.version + u64::from(changed), ..self.origin }
    }
}

impl Origin {
    pub(super) fn is_after(self, other: Origin) -> bool {
        self.version > other.version
    }

    /// The lines that begin a description.
    pub(super) fn write(self, local: LocalMedia, text: &mut String) {
        let Origin { session_id, version } = self;
        line(text, format_args!("v=0"));
        line(text, format_args!("o=- {session_id} {version} {}", Network(local.rtp.ip())));
    }
}

impl Rejection {
    fn write(&self, text: &mut String) {
        let Self { media, transport, format } = self;
        line(text, format_args!("m={media} 0 {transport} {format}"));
    }
}

/// An address as `o=` and `c=` write it.
pub(super) struct Network(pub(super) IpAddr);

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => write!(f, "IN IP4 {ip}"),
            IpAddr::V6(ip) => write!(f, "IN IP6 {ip}"),
        }
    }
}

/// Appends one line; writing to a string cannot fail.
pub(super) fn line(text: &mut String, content: fmt::Arguments<'_>) {
    let _ = text.write_fmt(content);
    text.push_str("\r\n");
}

/// The key's own octets, whatever suite it was offered for.
pub(super) fn digest_of(key: &MasterKey) -> Digest {
    sha256(key.expose())
}

pub(super) fn sha256(octets: &[u8]) -> Digest {
    let mut sum = Digest::default();
    sum.copy_from_slice(digest(&SHA256, octets).as_ref());
    sum
}

//! `Answer`: the text of an agreement, and what the next offer on the leg is compared with.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use rand::CryptoRng;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::agreement::{Agreement, Remote};
use super::browser::{self, Browser};
use super::direction::Direction;
use super::format::Format;
use super::stream::Rejection;
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
    browser: Option<Browser>,
    origin: Origin,
    body: Digest,
    sent_key: Option<Digest>,
    remote_rtp: SocketAddr,
    remote_rtcp: SocketAddr,
}

/// The `a=crypto` line that gives our key to the caller.
pub(super) struct KeyLine {
    text: Zeroizing<String>,
    digest: Digest,
}

/// What an answer continues: its session id, and the body it must differ from to rise in version.
pub(super) struct Continuation {
    origin: Origin,
    previous_body: Option<Digest>,
}

/// Session id and version of an `o=` line (RFC 8866 section 5.2).
#[derive(Clone, Copy)]
struct Origin {
    session_id: u64,
    version: u64,
}

/// SHA-256 of what must be recognised but not kept.
type Digest = [u8; 32];

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
        let origin = self.continuation.origin_of(body_digest);
        let mut text = Zeroizing::new(String::with_capacity(MAX_ANSWER_LEN));
        let Origin { session_id, version } = origin;
        line(&mut text, format_args!("v=0"));
        let address = Network(local.rtp.ip());
        line(&mut text, format_args!("o=- {session_id} {version} {address}"));
        text.push_str(&body);
        assert!(text.len() <= MAX_ANSWER_LEN, "the bound holds for every agreement");
        let next = PreviousAnswer {
            browser: self.browser.clone(),
            origin,
            body: body_digest,
            sent_key: self.key_line.as_ref().map(|key_line| key_line.digest),
            remote_rtp: self.remote_rtp,
            remote_rtcp: self.remote_rtcp,
        };
        Answer { text, next }
    }

    /// All lines after `o=`.
    fn write_body(&self, local: LocalMedia, text: &mut String) {
        let (before, after) = self.rejections.split_at(self.position);
        line(text, format_args!("s=-"));
        line(text, format_args!("c={}", Network(local.rtp.ip())));
        line(text, format_args!("t={} {}", self.timing.0, self.timing.1));
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
        let _ = write!(text, "m=audio {} {}", local.rtp.port(), self.transport.name());
        formats.clone().for_each(|(payload_type, _)| text.push_str(&format!(" {payload_type}")));
        line(text, format_args!(""));
        for (payload_type, format) in formats {
            line(text, format_args!("a=rtpmap:{payload_type} {format}"));
        }
        if self.codec == Codec::Opus {
            // Copies of what may be lost, in the packets behind it (RFC 7587 section 6.1).
            line(
                text,
                format_args!("a=fmtp:{} minptime=10;useinbandfec=1;usedtx=0", self.payload_type),
            );
            line(text, format_args!("a=maxptime:60"));
        }
        if let Some(event) = self.telephone_event {
            // The sixteen keys (RFC 4733 section 3.2); no other event means anything to us.
            line(text, format_args!("a=fmtp:{event} 0-15"));
            if let Some(redundancy) = self.redundancy {
                // Key events alone (RFC 2198 section 4): a copy of audio would be one more way out.
                line(text, format_args!("a=fmtp:{redundancy} {event}/{event}"));
            }
        }
        line(text, format_args!("a=ptime:{}", self.ptime_ms));
        let theirs = Direction { sends: self.they_send, receives: self.they_receive };
        line(text, format_args!("a={}", theirs.mirrored().attribute()));
        if self.rtcp_mux {
            line(text, format_args!("a=rtcp-mux"));
        } else {
            line(text, format_args!("a=rtcp:{} {}", local.rtcp.port(), Network(local.rtcp.ip())));
        }
        if let Some(key_line) = &self.key_line {
            text.push_str(&key_line.text);
        }
        if let Some(browser) = &self.browser {
            browser.write(local, text);
        }
    }
}

impl Browser {
    /// Who we are, and the one address where we are: that of the media ports.
    fn write(&self, local: LocalMedia, text: &mut String) {
        if let Some(mid) = &self.mid {
            line(text, format_args!("a=mid:{mid}"));
        }
        line(text, format_args!("a=ice-ufrag:{}", self.ours.ufrag));
        line(text, format_args!("a=ice-pwd:{}", *self.ours.password));
        line(
            text,
            format_args!("a=fingerprint:sha-256 {}", browser::written(&self.our_fingerprint)),
        );
        line(text, format_args!("a=setup:passive"));
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

    /// Where the caller's media was.
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

    fn origin_of(&self, body: Digest) -> Origin {
        let changed = self.previous_body.is_some_and(|previous| previous != body);
        Origin { version: self.origin.version + u64::from(changed), ..self.origin }
    }
}

impl Rejection {
    fn write(&self, text: &mut String) {
        let Self { media, transport, format } = self;
        line(text, format_args!("m={media} 0 {transport} {format}"));
    }
}

/// An address as `o=` and `c=` write it.
struct Network(IpAddr);

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => write!(f, "IN IP4 {ip}"),
            IpAddr::V6(ip) => write!(f, "IN IP6 {ip}"),
        }
    }
}

/// Appends one line; writing to a string cannot fail.
fn line(text: &mut String, content: fmt::Arguments<'_>) {
    let _ = text.write_fmt(content);
    text.push_str("\r\n");
}

/// The key's own octets, whatever suite it was offered for.
fn digest_of(key: &MasterKey) -> Digest {
    sha256(key.expose())
}

fn sha256(octets: &[u8]) -> Digest {
    let mut sum = Digest::default();
    sum.copy_from_slice(digest(&SHA256, octets).as_ref());
    sum
}

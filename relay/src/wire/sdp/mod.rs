//! SDP offer/answer: a session description in, an agreement and our answer out; or an offer of our
//! own out, and its answer in.
//!
//! ```text
//! octets ── Offer::parse ──► Offer ── agree(policy) ──► Agreement ── answer(local) ──► Answer
//!              │ SdpError            │ SdpRefusal           │ fields for the media plane
//!              ▼ malformed           ▼ not acceptable       ▼
//! ```
//!
//! ```
//! use relay::wire::sdp::{LocalMedia, Offer, Policy};
//!
//! let text = b"v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
//!              m=audio 4000 RTP/AVP 8\r\n";
//! # use rand::SeedableRng;
//! # let rng = &mut rand::rngs::StdRng::seed_from_u64(1);
//! let agreement = Offer::parse(text)?.agree(&Policy::default(), None, rng)?;
//! assert_eq!(agreement.remote_rtcp.port(), 4001);
//!
//! let rtp = "203.0.113.9:10000".parse()?;
//! let rtcp = "203.0.113.9:10001".parse()?;
//! let answer = agreement.answer(LocalMedia { rtp, rtcp });
//! assert!(answer.text().contains("m=audio 10000 RTP/AVP 8\r\n"));
//! // Kept with the leg for the next offer, while `agreement` goes to the media plane.
//! let previous = answer.into_previous();
//! # let _ = previous;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An offer of our own is a [`Proposal`]: what one party speaks ([`Offer::menu`]) offered to another.
//!
//! ```
//! use relay::wire::sdp::{LocalMedia, Offer, Policy, Proposal, RtcpMux, Transport, Wishes};
//! use relay::wire::srtp::Suite;
//!
//! # use rand::SeedableRng;
//! # let rng = &mut rand::rngs::StdRng::seed_from_u64(1);
//! let caller = b"v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
//!                m=audio 4000 RTP/AVP 8\r\n";
//! let wishes = Wishes {
//!     transport: Transport::Avp,
//!     ice: false,
//!     rtcp_mux: RtcpMux::Never,
//!     suites: Suite::ALL.to_vec(),
//!     menu: Offer::parse(caller)?.menu()?,
//! };
//! let mut proposal = Proposal::new(wishes, &Policy::default(), None, rng)?;
//! let (rtp, rtcp) = ("203.0.113.9:10002".parse()?, "203.0.113.9:10003".parse()?);
//! assert!(proposal.offer(LocalMedia { rtp, rtcp }).contains("m=audio 10002 RTP/AVP 8\r\n"));
//!
//! let callee = b"v=0\r\no=- 9 9 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n\
//!                m=audio 6000 RTP/AVP 8\r\n";
//! let agreement = proposal.accept(callee, &Policy::default())?;
//! assert_eq!(agreement.remote_rtp.port(), 6000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The offer is hostile input: its size, lines, streams, formats and keys are bounded, and what it
//! says is never repeated in an error, because a `a=crypto` line carries a key.
//! Sources: RFC 8866 (SDP), RFC 3264 (offer/answer), RFC 3551 (static payload types), RFC 3605
//! (`a=rtcp`), RFC 4568 (`a=crypto`), RFC 4733 (telephone-event), RFC 2198 (`red`), RFC 5761
//! (`a=rtcp-mux`), RFC 7587 (Opus), RFC 8839 (ICE), RFC 8842 (DTLS).

mod address;
mod agreement;
mod answer;
mod browser;
mod copies;
mod direction;
mod error;
mod format;
mod line;
mod menu;
mod offer;
mod policy;
mod proposal;
mod stream;

pub use address::{AddressPolicy, AddressRefusal, OwnMedia};
pub use agreement::{Agreement, Owed, Settled, SrtpKeys};
pub use answer::{Answer, LocalMedia, PreviousAnswer};
pub use browser::{Browser, CertificateDigest, DtlsRole, Handshake, IceText};
pub use copies::CopyOffer;
pub use error::{SdpError, SdpRefusal};
pub use menu::Menu;
pub use offer::Offer;
pub use policy::Policy;
pub use proposal::{AnswerFault, Proposal, RtcpMux, Wishes};
pub use stream::Transport;

/// Longest offer read, in octets; the longest seen (a browser with ICE and several streams) has
/// about 7,000.
pub const MAX_OFFER_LEN: usize = 16 * 1024;
/// Most lines read, blank ones included; the longest offer seen has about 200.
pub const MAX_LINES: usize = 1024;
/// Most `m=` lines read; each must be answered, so their number bounds the answer.
pub const MAX_STREAMS: usize = 16;
/// Most formats of one audio stream: RTP has no more payload types (RFC 3550 section 5.1).
pub const MAX_FORMATS: usize = 128;
/// Most `a=crypto` lines of one stream.
pub const MAX_KEYS: usize = super::sdes::MAX_LINES;
/// Longest word of an `m=` line, in octets: a refused one is repeated in the answer. The longest in
/// use have about 20 (`TCP/DTLS/RTP/SAVPF`, `webrtc-datachannel`).
pub const MAX_TOKEN_LEN: usize = 32;

// An answer is never longer than the longest offer: nobody can use us to amplify text.
const _: () = assert!(answer::MAX_ANSWER_LEN <= MAX_OFFER_LEN);

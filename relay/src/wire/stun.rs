//! STUN: the messages by which ICE proves an address (RFC 8489, RFC 8445 sections 7 and 16).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |0 0|  method and class         |  octets after the header      |
//! |                     magic cookie 0x2112A442                   |
//! |                 transaction id, 96 bits, at random            |
//! |  attribute type               |  octets of its value          |
//! |  value, padded to whole words                                 |
//! ```
//!
//! Only Binding is known, and only messages with a FINGERPRINT: ICE puts one into each, and it tells
//! them from media on the same port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use arrayvec::ArrayVec;
use rand::{Rng, RngExt};
use ring::hmac;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Octets before the attributes.
const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

/// Longest message that is written: a request with the longest user name.
pub const MAX_WRITTEN: usize = 640;
/// Most octets of a user fragment (RFC 8839 section 5.4).
pub const MAX_UFRAG: usize = 256;
/// Most attributes read: ICE agents send about eight.
const MAX_ATTRIBUTES: usize = 32;
/// Most unknown attributes that an error names.
const MAX_UNKNOWN: usize = 8;

const BINDING: u16 = 0x0001;

const MAPPED_ADDRESS_XOR: u16 = 0x0020;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;
/// Attributes from here on may be passed over by whoever does not know them.
const OPTIONAL: u16 = 0x8000;

const DIGEST: usize = 20;
const CHECKSUM: usize = 4;
/// What the checksum of a message is combined with, so that one of another protocol's never fits.
const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// Why a datagram is not a STUN message that an ICE agent sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MalformedStun {
    /// No header of a STUN message, or its length is another.
    #[error("not a STUN message")]
    NotStun,
    /// Another method than Binding.
    #[error("another STUN method than Binding")]
    UnknownMethod,
    /// An attribute runs past the end, has an odd size, or there are too many.
    #[error("a STUN attribute is not well formed")]
    Attribute,
    /// No FINGERPRINT at the end, or a wrong one.
    #[error("no right STUN fingerprint")]
    Fingerprint,
}

/// What a message is (RFC 8489 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer that was hoped for.
    Success,
    /// Another answer.
    Error,
}

/// Which side decides (RFC 8445 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The sender nominates.
    Controlling,
    /// The sender leaves it to the other side.
    Controlled,
}

/// What an answer and its request have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionId([u8; 12]);

impl TransactionId {
    /// One that nobody can guess who does not see the request.
    pub fn random(rng: &mut impl Rng) -> TransactionId {
        TransactionId(rng.random())
    }
}

/// A password of ICE, ready for use: it proves who sent a message (RFC 8489 section 9.1).
#[derive(Clone)]
pub struct IcePassword(hmac::Key);

impl IcePassword {
    /// The password as SDP says it.
    #[must_use]
    pub fn new(password: &str) -> IcePassword {
        let algorithm = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
        IcePassword(hmac::Key::new(algorithm, password.as_bytes()))
    }
}

/// A message that was read. It proves nothing until [`Message::is_from`] says so.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// What it is.
    pub class: Class,
    /// Which exchange it belongs to.
    pub transaction: TransactionId,
    /// Whom it is for, and from: two user fragments with a colon between.
    pub username: Option<&'a [u8]>,
    /// The sender's role, if it names one.
    pub role: Option<Role>,
    /// The sender nominates the pair of addresses that it travels between.
    pub use_candidate: bool,
    /// Attributes that must be understood and are not.
    pub unknown: ArrayVec<u16, MAX_UNKNOWN>,
    octets: &'a [u8],
    /// Where MESSAGE-INTEGRITY lies, with its header.
    integrity: Option<Range<usize>>,
}

/// Whether a datagram on a port shared with media is for STUN, by its first octet (RFC 7983).
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4)
}

impl<'a> Message<'a> {
    /// Reads a datagram. Never allocates.
    ///
    /// # Errors
    /// It is no Binding message with a right FINGERPRINT.
    pub fn parse(datagram: &'a [u8]) -> Result<Message<'a>, MalformedStun> {
        let (class, transaction) = read_header(datagram)?;
        let mut message = Message {
            class,
            transaction,
            username: None,
            role: None,
            use_candidate: false,
            unknown: ArrayVec::new(),
            octets: datagram,
            integrity: None,
        };
        let mut at = HEADER;
        for _ in 0..MAX_ATTRIBUTES {
            let attribute = Attribute::read(datagram, at)?;
            if attribute.kind == FINGERPRINT {
                return check_fingerprint(datagram, &attribute).map(|()| message);
            }
            at = attribute.end;
            message.note(attribute)?;
        }
        Err(MalformedStun::Attribute)
    }

    /// Whether whoever knows the password sent this.
    #[must_use]
    pub fn is_from(&self, password: &IcePassword) -> bool {
        let Some(Range { start, end }) = self.integrity else { return false };
        let expected = digest(password, &self.octets[..start], end);
        self.octets[end - DIGEST..end].ct_eq(expected.as_ref()).into()
    }

    fn note(&mut self, attribute: Attribute) -> Result<(), MalformedStun> {
        // What follows it is not protected by it, and means nothing (RFC 8489 section 14.5).
        if self.integrity.is_some() {
            return Ok(());
        }
        let Attribute { kind, value, start, .. } = attribute;
        let octets = &self.octets[value.clone()];
        match kind {
            USERNAME => self.username = Some(octets),
            MESSAGE_INTEGRITY if octets.len() == DIGEST => {
                self.integrity = Some(start..value.end);
            }
            MESSAGE_INTEGRITY => return Err(MalformedStun::Attribute),
            USE_CANDIDATE => self.use_candidate = true,
            ICE_CONTROLLING => self.role = Some(Role::Controlling),
            ICE_CONTROLLED => self.role = Some(Role::Controlled),
            PRIORITY | MAPPED_ADDRESS_XOR | ERROR_CODE | UNKNOWN_ATTRIBUTES => {}
            kind if kind < OPTIONAL => {
                // An error that names eight says enough.
                let _ = self.unknown.try_push(kind);
            }
            _ => {}
        }
        Ok(())
    }
}

/// One attribute's place in a message.
struct Attribute {
    kind: u16,
    start: usize,
    value: Range<usize>,
    /// Behind the padding.
    end: usize,
}

impl Attribute {
    fn read(octets: &[u8], start: usize) -> Result<Attribute, MalformedStun> {
        let header = octets.get(start..).and_then(<[u8]>::first_chunk::<4>);
        // Whatever ends without a fingerprint has none.
        let [k0, k1, l0, l1] = *header.ok_or(MalformedStun::Fingerprint)?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let value = start + 4..start + 4 + length;
        let end = value.start + length.next_multiple_of(4);
        if end > octets.len() {
            return Err(MalformedStun::Attribute);
        }
        Ok(Attribute { kind: u16::from_be_bytes([k0, k1]), start, value, end })
    }
}

fn read_header(octets: &[u8]) -> Result<(Class, TransactionId), MalformedStun> {
    let header: &[u8; HEADER] = octets.first_chunk().ok_or(MalformedStun::NotStun)?;
    let [t0, t1, l0, l1, rest @ ..] = header;
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let is_whole = length == octets.len() - HEADER && length.is_multiple_of(4);
    let kind = u16::from_be_bytes([*t0, *t1]);
    if kind >= 0x4000 || !is_whole || rest[..4] != MAGIC_COOKIE {
        return Err(MalformedStun::NotStun);
    }
    if kind & !CLASS_BITS != BINDING {
        return Err(MalformedStun::UnknownMethod);
    }
    let class = match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    };
    let mut transaction = TransactionId([0; 12]);
    transaction.0.copy_from_slice(&rest[4..]);
    Ok((class, transaction))
}

/// The two bits of the type that tell the class.
const CLASS_BITS: u16 = 0x0110;

fn check_fingerprint(octets: &[u8], attribute: &Attribute) -> Result<(), MalformedStun> {
    let is_last = attribute.end == octets.len() && attribute.value.len() == CHECKSUM;
    let expected = checksum(&octets[..attribute.start]);
    if is_last && octets[attribute.value.clone()] == expected {
        return Ok(());
    }
    Err(MalformedStun::Fingerprint)
}

fn checksum(octets: &[u8]) -> [u8; CHECKSUM] {
    (crc32fast::hash(octets) ^ FINGERPRINT_MASK).to_be_bytes()
}

/// Digest of `octets`, as if the message ended at `end` (RFC 8489 section 14.5).
fn digest(password: &IcePassword, octets: &[u8], end: usize) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&password.0);
    context.update(&octets[..2]);
    context.update(&((end - HEADER) as u16).to_be_bytes());
    context.update(&octets[4..]);
    context.sign()
}

/// A message as it is written.
pub type Written = ArrayVec<u8, MAX_WRITTEN>;

/// What a request is answered if it cannot be served (RFC 8489 section 14.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// 400: an attribute is missing.
    BadRequest,
    /// 420: attributes are not understood.
    UnknownAttribute,
    /// 487: both sides have the same role (RFC 8445 section 7.3.1.1).
    RoleConflict,
}

impl Refusal {
    fn code(self) -> [u8; 2] {
        match self {
            Refusal::BadRequest => [4, 0],
            Refusal::UnknownAttribute => [4, 20],
            Refusal::RoleConflict => [4, 87],
        }
    }

    fn reason(self) -> &'static [u8] {
        match self {
            Refusal::BadRequest => b"Bad Request",
            Refusal::UnknownAttribute => b"Unknown Attribute",
            Refusal::RoleConflict => b"Role Conflict",
        }
    }
}

/// The answer to a request that came from `from`: that is the address it is seen at.
#[must_use]
pub fn success(transaction: TransactionId, from: SocketAddr, password: &IcePassword) -> Written {
    let mut writer = Writer::new(BINDING | 0x0100, transaction);
    writer.mapped_address(from, transaction);
    writer.seal(password)
}

/// The answer to a request that is refused.
#[must_use]
pub fn refusal(request: &Message<'_>, refusal: Refusal, password: &IcePassword) -> Written {
    let mut writer = Writer::new(BINDING | CLASS_BITS, request.transaction);
    let [class, number] = refusal.code();
    writer.attribute(ERROR_CODE, &[&[0, 0, class, number], refusal.reason()]);
    if refusal == Refusal::UnknownAttribute {
        let kinds = request.unknown.iter().flat_map(|kind| kind.to_be_bytes());
        let kinds: ArrayVec<u8, { 2 * MAX_UNKNOWN }> = kinds.collect();
        writer.attribute(UNKNOWN_ATTRIBUTES, &[&kinds]);
    }
    writer.seal(password)
}

/// What a check says of its sender.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The user fragment of the one that is asked, of [`MAX_UFRAG`] octets at most.
    pub theirs: &'a str,
    /// That of the one that asks, likewise.
    pub ours: &'a str,
    /// The sender's role.
    pub role: Role,
    /// Decides whose role is the wrong one if both have the same.
    pub tie_breaker: u64,
    /// Nominates the pair of addresses that the check travels between.
    pub use_candidate: bool,
}

/// A connectivity check (RFC 8445 section 7.2), under the password of the one that is asked.
#[must_use]
pub fn check(transaction: TransactionId, check: &Check<'_>, password: &IcePassword) -> Written {
    let Check { theirs, ours, role, tie_breaker, use_candidate } = *check;
    debug_assert!(theirs.len().max(ours.len()) <= MAX_UFRAG, "longer ones are refused before");
    let mut writer = Writer::new(BINDING, transaction);
    writer.attribute(USERNAME, &[theirs.as_bytes(), b":", ours.as_bytes()]);
    let role = match role {
        Role::Controlling => ICE_CONTROLLING,
        Role::Controlled => ICE_CONTROLLED,
    };
    writer.attribute(role, &[&tie_breaker.to_be_bytes()]);
    // A peer-reflexive host: what it would be if it were to become a candidate (RFC 8445 5.1.2).
    writer.attribute(PRIORITY, &[&0x6e00_01ff_u32.to_be_bytes()]);
    if use_candidate {
        writer.attribute(USE_CANDIDATE, &[]);
    }
    writer.seal(password)
}

struct Writer(Written);

impl Writer {
    fn new(kind: u16, transaction: TransactionId) -> Writer {
        let mut writer = Writer(Written::new());
        writer.put(&kind.to_be_bytes());
        writer.put(&[0; 2]);
        writer.put(&MAGIC_COOKIE);
        writer.put(&transaction.0);
        writer
    }

    fn put(&mut self, octets: &[u8]) {
        self.0.try_extend_from_slice(octets).expect("the bounds of what is written leave room");
    }

    /// An attribute whose value is these parts in a row.
    fn attribute(&mut self, kind: u16, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.put(&kind.to_be_bytes());
        self.put(&(length as u16).to_be_bytes());
        parts.iter().for_each(|part| self.put(part));
        self.put(&[0; 3][..length.next_multiple_of(4) - length]);
    }

    /// An address, so combined that no helpful box on the way rewrites it (RFC 8489 section 14.2).
    fn mapped_address(&mut self, address: SocketAddr, transaction: TransactionId) {
        let [c0, c1, ..] = MAGIC_COOKIE;
        let [p0, p1] = address.port().to_be_bytes();
        let port = [p0 ^ c0, p1 ^ c1];
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&MAGIC_COOKIE);
        mask[4..].copy_from_slice(&transaction.0);
        match address.ip().to_canonical() {
            IpAddr::V4(v4) => {
                let value = xor(v4.octets(), &mask);
                self.attribute(MAPPED_ADDRESS_XOR, &[&[0, 1], &port, &value]);
            }
            IpAddr::V6(v6) => {
                let value = xor(v6.octets(), &mask);
                self.attribute(MAPPED_ADDRESS_XOR, &[&[0, 2], &port, &value]);
            }
        }
    }

    /// Puts integrity and fingerprint behind, which ends the message.
    fn seal(mut self, password: &IcePassword) -> Written {
        let tag = digest(password, &self.0, self.0.len() + 4 + DIGEST);
        self.attribute(MESSAGE_INTEGRITY, &[tag.as_ref()]);
        let length = (self.0.len() + 4 + CHECKSUM - HEADER) as u16;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
        let checksum = checksum(&self.0);
        self.attribute(FINGERPRINT, &[&checksum]);
        self.0
    }
}

fn xor<const N: usize>(mut octets: [u8; N], mask: &[u8; 16]) -> [u8; N] {
    octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
    octets
}

/// The address that an answer says the request came from.
#[must_use]
pub fn mapped_address(message: &Message<'_>) -> Option<SocketAddr> {
    let mut at = HEADER;
    for _ in 0..MAX_ATTRIBUTES {
        let attribute = Attribute::read(message.octets, at).ok()?;
        if attribute.kind == MAPPED_ADDRESS_XOR {
            return read_address(&message.octets[attribute.value], message.transaction);
        }
        at = attribute.end;
    }
    None
}

fn read_address(value: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk()?;
    let [c0, c1, ..] = MAGIC_COOKIE;
    let port = u16::from_be_bytes([p0 ^ c0, p1 ^ c1]);
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(&transaction.0);
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(xor(<[u8; 4]>::try_from(address).ok()?, &mask))),
        2 => IpAddr::V6(Ipv6Addr::from(xor(<[u8; 16]>::try_from(address).ok()?, &mask))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    /// RFC 5769 section 2.1.
    const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c6\
        9656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aea\
        a70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
    /// Section 2.2.
    const V4_RESPONSE: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7\
        220002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
    /// Section 2.3.
    const V6_RESPONSE: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7\
        220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275\
        bfe3ed4180280004c8fb0b4c";
    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    fn octets(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn transaction() -> TransactionId {
        TransactionId::random(&mut StdRng::seed_from_u64(1))
    }

    #[test]
    fn the_published_request_is_read() {
        let octets = octets(REQUEST);
        let message = Message::parse(&octets).unwrap();
        assert_eq!((message.class, message.role), (Class::Request, Some(Role::Controlled)));
        assert_eq!(message.username, Some(&b"evtj:h6vY"[..]));
        assert!(!message.use_candidate && message.unknown.is_empty());
        assert!(message.is_from(&IcePassword::new(PASSWORD)));
        assert!(!message.is_from(&IcePassword::new("another")));
    }

    #[test]
    fn the_published_responses_are_read() {
        for (hex, address) in [
            (V4_RESPONSE, "192.0.2.1:32853"),
            (V6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
        ] {
            let octets = octets(hex);
            let message = Message::parse(&octets).unwrap();
            assert_eq!(message.class, Class::Success);
            assert_eq!(mapped_address(&message), Some(address.parse().unwrap()));
            assert!(message.is_from(&IcePassword::new(PASSWORD)));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let password = IcePassword::new(PASSWORD);
        for from in ["192.0.2.1:9", "[2001:db8::1]:65535"].map(|text| text.parse().unwrap()) {
            let written = success(transaction(), from, &password);
            let message = Message::parse(&written).unwrap();
            assert_eq!((message.class, message.transaction), (Class::Success, transaction()));
            assert_eq!(mapped_address(&message), Some(from));
            assert!(message.is_from(&password));
        }
        let longest = "a".repeat(MAX_UFRAG);
        for (role, use_candidate) in [(Role::Controlled, false), (Role::Controlling, true)] {
            let check =
                Check { theirs: &longest, ours: &longest, role, tie_breaker: 7, use_candidate };
            let written = super::check(transaction(), &check, &password);
            let message = Message::parse(&written).unwrap();
            assert_eq!((message.class, message.role), (Class::Request, Some(role)));
            assert_eq!(message.username.unwrap(), format!("{longest}:{longest}").as_bytes());
            assert!(message.is_from(&password) && message.use_candidate == use_candidate);
        }
    }

    #[test]
    fn a_refusal_names_its_reason_and_what_was_not_understood() {
        let password = IcePassword::new(PASSWORD);
        let mut writer = Writer::new(BINDING, transaction());
        writer.attribute(0x7fff, &[b"?"]);
        let request = writer.seal(&password);
        let request = Message::parse(&request).unwrap();
        assert_eq!(request.unknown[..], [0x7fff]);
        for (kind, reason) in [
            (Refusal::BadRequest, "Bad Request"),
            (Refusal::UnknownAttribute, "Unknown Attribute"),
            (Refusal::RoleConflict, "Role Conflict"),
        ] {
            let written = refusal(&request, kind, &password);
            let answer = Message::parse(&written).unwrap();
            assert_eq!((answer.class, answer.transaction), (Class::Error, transaction()));
            assert!(String::from_utf8_lossy(&written).contains(reason));
            let names_it = written.windows(6).any(|part| part == [0, 0x0a, 0, 2, 0x7f, 0xff]);
            assert_eq!(names_it, kind == Refusal::UnknownAttribute);
        }
    }

    #[test]
    fn what_follows_the_integrity_means_nothing() {
        let password = IcePassword::new(PASSWORD);
        let mut written = success(transaction(), "192.0.2.1:9".parse().unwrap(), &password);
        written.truncate(written.len() - 4 - CHECKSUM);
        let mut writer = Writer(written);
        writer.attribute(USE_CANDIDATE, &[]);
        let length = (writer.0.len() + 4 + CHECKSUM - HEADER) as u16;
        writer.0[2..4].copy_from_slice(&length.to_be_bytes());
        let checksum = checksum(&writer.0);
        writer.attribute(FINGERPRINT, &[&checksum]);
        let message = Message::parse(&writer.0).unwrap();
        assert!(message.is_from(&password) && !message.use_candidate);
    }

    #[test]
    fn other_datagrams_are_refused() {
        let refused = |octets: &[u8]| Message::parse(octets).unwrap_err();
        let good = octets(REQUEST);
        assert_eq!(refused(&[]), MalformedStun::NotStun);
        assert_eq!(refused(&good[..good.len() - 4]), MalformedStun::NotStun);
        let mut other = good.clone();
        other[1] = 3;
        assert_eq!(refused(&other), MalformedStun::UnknownMethod);
        for at in 20..good.len() {
            let mut other = good.clone();
            other[at] ^= 1;
            assert!(
                matches!(refused(&other), MalformedStun::Fingerprint | MalformedStun::Attribute),
                "octet {at}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(octets: Vec<u8>, flips: Vec<(usize, u8)>) {
            let _ = Message::parse(&octets);
            let mut message = self::octets(REQUEST);
            for (at, octet) in flips {
                let length = message.len();
                message[at % length] = octet;
            }
            let _ = Message::parse(&message).map(|message| mapped_address(&message));
        }
    }
}

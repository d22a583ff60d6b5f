//! Browser: what offers and answers say of ICE and DTLS (RFC 8839, RFC 8842, RFC 8122).

use rand::{CryptoRng, RngExt};
use zeroize::Zeroizing;

use super::line::Line;
use super::stream::{attributes, is_token};
use super::{MAX_TOKEN_LEN, SdpRefusal};
use crate::wire::stun::MAX_UFRAG;

/// Octets of a user fragment and of a password that we read (RFC 8839 section 5.4).
const UFRAG: std::ops::RangeInclusive<usize> = 4..=MAX_UFRAG;
const PASSWORD: std::ops::RangeInclusive<usize> = 22..=256;
/// Octets of ours: 48 and 144 random bits, where 24 and 128 are asked for.
const OUR_UFRAG: usize = 8;
const OUR_PASSWORD: usize = 24;
/// What both are made of.
const ICE_CHARACTERS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// User fragment and password of one side. No `Debug`: whoever has them can take part in the call.
#[derive(Clone)]
pub struct IceText {
    /// The user fragment.
    pub ufrag: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl IceText {
    pub(super) fn random(rng: &mut impl CryptoRng) -> IceText {
        let mut text = |length: usize| -> String {
            (0..length).map(|_| char::from(ICE_CHARACTERS[rng.random_range(0..64)])).collect()
        };
        IceText { ufrag: text(OUR_UFRAG), password: Zeroizing::new(text(OUR_PASSWORD)) }
    }
}

/// SHA-256 of a certificate (RFC 8122 section 5).
pub type CertificateDigest = [u8; 32];

/// What both sides of a browser's leg are known by.
#[derive(Clone)]
pub struct Browser {
    /// Us in ICE.
    pub ours: IceText,
    /// The browser in ICE.
    pub theirs: IceText,
    /// The browser's certificate.
    pub fingerprint: CertificateDigest,
    /// Which side of DTLS we are.
    pub role: DtlsRole,
    /// Our certificate.
    pub(super) our_fingerprint: CertificateDigest,
    /// The stream's name, if it has one (RFC 5888).
    pub(super) mid: Option<String>,
    /// It is offered in a bundle (RFC 9143), and so answered.
    pub(super) is_bundled: bool,
}

/// The attributes of a section, as far as they are usable.
#[derive(Clone, Default)]
pub(super) struct BrowserOffer {
    ufrag: Option<String>,
    password: Option<Zeroizing<String>>,
    /// Something is said of ICE, usable or not.
    has_ice: bool,
    fingerprint: Option<CertificateDigest>,
    setup: Option<Setup>,
    mid: Option<String>,
    is_bundled: bool,
}

/// What both sides of a stream are known by whose keys DTLS agrees on, at the addresses that
/// signalling tells (RFC 5763).
#[derive(Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The peer's certificate.
    pub fingerprint: CertificateDigest,
    /// Which side of DTLS we are.
    pub role: DtlsRole,
    /// Our certificate.
    pub(super) our_fingerprint: CertificateDigest,
}

/// Which side of DTLS we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtlsRole {
    /// We begin.
    Client,
    /// We wait.
    Server,
}

impl DtlsRole {
    /// What an answer says of it (RFC 8842 section 5.3).
    pub(super) const fn setup(self) -> &'static str {
        match self {
            Self::Client => "active",
            Self::Server => "passive",
        }
    }
}

/// Which side of DTLS the writer is ready to be (RFC 8842 section 5.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setup {
    /// Either: what offers should say.
    Either,
    /// The client.
    Active,
    /// The server.
    Passive,
    /// Nothing yet.
    Neither,
}

impl BrowserOffer {
    pub(super) fn parse(section: &[(usize, Line<'_>)]) -> BrowserOffer {
        let value = |name| attributes(section, name).next().map(|(_, value)| value.trim());
        let ice = |name, length: std::ops::RangeInclusive<usize>| {
            value(name).filter(|text| length.contains(&text.len()) && is_ice(text))
        };
        BrowserOffer {
            ufrag: ice("ice-ufrag", UFRAG).map(str::to_owned),
            password: ice("ice-pwd", PASSWORD).map(|text| Zeroizing::new(text.to_owned())),
            has_ice: value("ice-ufrag").or(value("ice-pwd")).is_some(),
            fingerprint: attributes(section, "fingerprint").find_map(|(_, text)| digest_in(text)),
            setup: value("setup").map(|setup| match setup {
                "actpass" => Setup::Either,
                "active" => Setup::Active,
                "passive" => Setup::Passive,
                _ => Setup::Neither,
            }),
            mid: value("mid").filter(|mid| !mid.is_empty() && is_token(mid)).map(str::to_owned),
            is_bundled: value("group").is_some_and(|group| group.starts_with("BUNDLE")),
        }
    }

    /// What the stream says, and where it says nothing the session.
    pub(super) fn or(self, session: &BrowserOffer) -> BrowserOffer {
        BrowserOffer {
            ufrag: self.ufrag.or_else(|| session.ufrag.clone()),
            password: self.password.or_else(|| session.password.clone()),
            has_ice: self.has_ice || session.has_ice,
            fingerprint: self.fingerprint.or(session.fingerprint),
            setup: self.setup.or(session.setup),
            mid: self.mid,
            is_bundled: session.is_bundled,
        }
    }

    /// Whether the peer says something of ICE.
    pub(super) fn has_ice(&self) -> bool {
        self.has_ice
    }

    /// Both sides of an offer without ICE. We wait where we may choose, and are what we have been
    /// to a peer that is still the same (RFC 8842 section 5.5).
    pub(super) fn agree_handshake(
        &self,
        our_fingerprint: CertificateDigest,
        before: Option<&Handshake>,
    ) -> Result<Handshake, SdpRefusal> {
        let fingerprint = self.fingerprint.ok_or(SdpRefusal::NoFingerprint)?;
        let before = before.filter(|before| before.fingerprint == fingerprint);
        let role = match self.setup {
            Some(Setup::Either) => before.map_or(DtlsRole::Server, |before| before.role),
            Some(Setup::Active) => DtlsRole::Server,
            Some(Setup::Passive) => DtlsRole::Client,
            Some(Setup::Neither) | None => return Err(SdpRefusal::NoSetup),
        };
        Ok(Handshake { fingerprint, role, our_fingerprint })
    }

    /// Both sides of an answer, by which the peer has chosen (RFC 8842 section 5.3).
    pub(super) fn accept_handshake(
        &self,
        our_fingerprint: CertificateDigest,
    ) -> Result<Handshake, SdpRefusal> {
        match self.setup {
            Some(Setup::Active | Setup::Passive) => self.agree_handshake(our_fingerprint, None),
            Some(Setup::Either | Setup::Neither) | None => Err(SdpRefusal::NoSetup),
        }
    }

    /// Both sides of an answer with ICE.
    pub(super) fn accept(
        self,
        our_fingerprint: CertificateDigest,
        ours: IceText,
    ) -> Result<Browser, SdpRefusal> {
        let Handshake { fingerprint, role, .. } = self.accept_handshake(our_fingerprint)?;
        let (ufrag, password) = self.ufrag.zip(self.password).ok_or(SdpRefusal::NoIce)?;
        let theirs = IceText { ufrag, password };
        let (mid, is_bundled) = (self.mid, self.is_bundled);
        Ok(Browser { ours, theirs, fingerprint, role, our_fingerprint, mid, is_bundled })
    }

    /// Both sides, with ours of before if the browser is still the same.
    pub(super) fn agree(
        self,
        our_fingerprint: CertificateDigest,
        before: Option<&Browser>,
        rng: &mut impl CryptoRng,
    ) -> Result<Browser, SdpRefusal> {
        let (ufrag, password) = self.ufrag.zip(self.password).ok_or(SdpRefusal::NoIce)?;
        let fingerprint = self.fingerprint.ok_or(SdpRefusal::NoFingerprint)?;
        // A browser offers both, so that we are what we are to all browsers.
        let role = match self.setup {
            Some(Setup::Either | Setup::Active) => DtlsRole::Server,
            Some(Setup::Passive | Setup::Neither) | None => return Err(SdpRefusal::Setup),
        };
        // Other credentials are another connection (RFC 8839 section 4.4.1.1.1).
        let is_same = |before: &&Browser| {
            before.theirs.ufrag == ufrag
                && *before.theirs.password == *password
                && before.fingerprint == fingerprint
        };
        let same = before.filter(is_same);
        let ours = same.map_or_else(|| IceText::random(rng), |before| before.ours.clone());
        let theirs = IceText { ufrag, password };
        let (mid, is_bundled) = (self.mid, self.is_bundled);
        Ok(Browser { ours, theirs, fingerprint, role, our_fingerprint, mid, is_bundled })
    }
}

fn is_ice(text: &str) -> bool {
    text.bytes().all(|octet| ICE_CHARACTERS.contains(&octet))
}

/// `sha-256 AB:CD:...`; other digests are not read.
fn digest_in(value: &str) -> Option<CertificateDigest> {
    let (function, digits) = value.trim().split_once(' ')?;
    if !function.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut digest = CertificateDigest::default();
    let mut pairs = digits.trim().split(':');
    for octet in &mut digest {
        let pair = pairs.next().filter(|pair| pair.len() == 2)?;
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(digest)
}

/// A digest as `a=fingerprint` writes it.
pub(super) fn written(digest: &CertificateDigest) -> String {
    let pairs: Vec<String> = digest.iter().map(|octet| format!("{octet:02X}")).collect();
    pairs.join(":")
}

const _: () = assert!(MAX_TOKEN_LEN <= 32, "the answer's bound counts on it");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest: CertificateDigest = std::array::from_fn(|at| at as u8 * 7);
        let text = format!("SHA-256 {}", written(&digest));
        assert_eq!(digest_in(&text), Some(digest));
        assert_eq!(digest_in(&text.to_lowercase()), Some(digest));
        for bad in [
            text.replace("256", "1"),
            text[..text.len() - 3].to_owned(),
            format!("{text}:00"),
            text.replace("00", "0x"),
            text.replace(':', ""),
            String::new(),
        ] {
            assert_eq!(digest_in(&bad), None, "{bad}");
        }
    }
}

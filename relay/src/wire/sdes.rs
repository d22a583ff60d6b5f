//! SDES crypto attribute: the value of `a=crypto`, which carries one direction's key (RFC 4568).
//!
//! ```text
//! 1 AES_CM_128_HMAC_SHA1_80 inline:<base64 of key and salt>|2^31 WSH=64
//! tag suite                 key parameter          lifetime      session parameters
//! ```

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};
use thiserror::Error;
use zeroize::Zeroizing;

use super::srtp::{MasterKey, Suite};

/// Most `a=crypto` lines looked at in one media description: phones send up to eight.
pub const MAX_LINES: usize = 16;

/// Longest tag (RFC 4568 section 9.1: one to nine digits).
const MAX_TAG_DIGITS: usize = 9;

/// Longest lifetime of a key, in RTP packets (RFC 3711 section 9.2).
const MAX_LIFETIME: u64 = 1 << 48;

/// Octets of the longest key and salt in base64, and the octets such a text decodes to.
const MAX_INLINE_LEN: usize = 60;
const MAX_DECODED_LEN: usize = 45;

/// The standard alphabet. Padding may be there or not: both are seen on the wire for 28 octets.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why an `a=crypto` value is not taken. Says nothing of what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CryptoRefused {
    /// No line was there at all.
    #[error("no crypto attribute")]
    Missing,
    /// Not of the form tag, suite, key parameter.
    #[error("malformed crypto attribute")]
    Malformed,
    /// A suite not spoken here; another line may have one that is.
    #[error("crypto suite not supported")]
    UnknownSuite,
    /// The key is not base64, or not as long as the suite's.
    #[error("crypto key does not fit the suite")]
    Key,
    /// A master key identifier, or several keys, which would need one.
    #[error("master key identifiers are not supported")]
    KeyIdentifier,
    /// A lifetime of nothing, or longer than a key may live.
    #[error("crypto key lifetime out of range")]
    Lifetime,
    /// A session parameter that weakens or changes the protection.
    #[error("crypto session parameter not supported")]
    SessionParameter,
}

/// One `a=crypto` line: its tag and the key its sender protects with.
///
/// Cannot be printed, since the key cannot.
pub struct CryptoAttribute {
    /// Ties an answer to the line of the offer it accepts.
    pub tag: u32,
    /// The sender's master key, and with it the suite.
    pub key: MasterKey,
}

impl CryptoAttribute {
    /// Reads one value, what stands after `a=crypto:`.
    pub fn parse(value: &str) -> Result<Self, CryptoRefused> {
        let mut words = value.split_ascii_whitespace();
        let tag = parse_tag(words.next().ok_or(CryptoRefused::Malformed)?)?;
        let suite = words.next().ok_or(CryptoRefused::Malformed)?;
        let key_parameter = words.next().ok_or(CryptoRefused::Malformed)?;
        let suite = Suite::from_name(suite).ok_or(CryptoRefused::UnknownSuite)?;
        let key = parse_key(suite, key_parameter)?;
        words.try_for_each(check_session_parameter)?;
        Ok(Self { tag, key })
    }

    /// The first acceptable one, in the offerer's order of preference (RFC 4568 section 5.1.2).
    /// If none is, the refusal of the first.
    pub fn first_acceptable<'a>(
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CryptoRefused> {
        let mut refused = None;
        for value in values.into_iter().take(MAX_LINES) {
            match Self::parse(value) {
                Ok(attribute) => return Ok(attribute),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or(CryptoRefused::Missing))
    }

    /// Appends the value, what stands after `a=crypto:`, to `out`, which then holds the key.
    pub fn write(&self, out: &mut String) {
        let mut inline = Zeroizing::new([0; MAX_INLINE_LEN]);
        let len = STANDARD
            .encode_slice(self.key.expose(), &mut inline[..])
            .expect("the longest key fits in base64");
        out.push_str(&self.tag.to_string());
        out.push(' ');
        out.push_str(self.key.suite().name());
        out.push_str(" inline:");
        out.extend(inline[..len].iter().map(|&octet| char::from(octet)));
    }
}

fn parse_tag(tag: &str) -> Result<u32, CryptoRefused> {
    let digits_only = tag.bytes().all(|octet| octet.is_ascii_digit());
    if !digits_only || tag.len() > MAX_TAG_DIGITS {
        return Err(CryptoRefused::Malformed);
    }
    tag.parse().map_err(|_| CryptoRefused::Malformed)
}

/// `inline:` and the key, then perhaps a lifetime. A second field of that kind, or a field with a
/// colon, is a master key identifier.
fn parse_key(suite: Suite, parameter: &str) -> Result<MasterKey, CryptoRefused> {
    const METHOD: &str = "inline:";
    let (method, rest) =
        parameter.split_at_checked(METHOD.len()).ok_or(CryptoRefused::Malformed)?;
    if !method.eq_ignore_ascii_case(METHOD) {
        return Err(CryptoRefused::Malformed);
    }
    if rest.contains(';') {
        return Err(CryptoRefused::KeyIdentifier);
    }
    let mut fields = rest.split('|');
    let inline = fields.next().unwrap_or_default();
    if let Some(lifetime) = fields.next() {
        check_lifetime(lifetime)?;
    }
    if fields.next().is_some() {
        return Err(CryptoRefused::KeyIdentifier);
    }
    let mut decoded = Zeroizing::new([0; MAX_DECODED_LEN]);
    let len = LENIENT.decode_slice(inline, &mut decoded[..]).map_err(|_| CryptoRefused::Key)?;
    MasterKey::from_bytes(suite, &decoded[..len]).map_err(|_| CryptoRefused::Key)
}

/// A count of packets, plain or as `2^n`. The peer replaces its key in time; nothing to do here.
fn check_lifetime(lifetime: &str) -> Result<(), CryptoRefused> {
    if lifetime.contains(':') {
        return Err(CryptoRefused::KeyIdentifier);
    }
    let packets: Option<u64> = match lifetime.strip_prefix("2^") {
        Some(bits) => bits.parse().ok().and_then(|bits| 1_u64.checked_shl(bits)),
        None => lifetime.parse().ok(),
    };
    match packets {
        Some(1..=MAX_LIFETIME) => Ok(()),
        Some(_) | None => Err(CryptoRefused::Lifetime),
    }
}

/// Lets pass what changes nothing on the wire: the window size hint, and extensions marked as
/// optional (RFC 4568 sections 6.3.7 and 6.3.8). A parameter that asks for no encryption, no
/// authentication, key derivation in steps or error correction is refused with the whole line.
fn check_session_parameter(parameter: &str) -> Result<(), CryptoRefused> {
    let name = parameter.split('=').next().unwrap_or_default();
    if name.eq_ignore_ascii_case("WSH") || name.starts_with('-') {
        Ok(())
    } else {
        Err(CryptoRefused::SessionParameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The octets 0 to 29, and 0 to 27, in base64.
    const KEY_30: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
    const KEY_28: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw";

    fn refused(value: &str) -> Option<CryptoRefused> {
        CryptoAttribute::parse(value).err()
    }

    #[test]
    fn reads_what_phones_send() {
        let octets: Vec<u8> = (0..30).collect();
        for rest in ["", "|2^31", "|2^48", "|1048576", " WSH=64", "|2^20 WSH=128", " -X=1"] {
            let value = format!("7 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}{rest}");
            let attribute = CryptoAttribute::parse(&value).unwrap();
            assert_eq!(attribute.tag, 7);
            assert_eq!(attribute.key.suite(), Suite::AesCm128HmacSha1_80);
            assert_eq!(attribute.key.expose(), octets);
        }
    }

    #[test]
    fn padding_may_be_there_or_not() {
        for padding in ["", "=="] {
            let value = format!("1 AEAD_AES_128_GCM inline:{KEY_28}{padding}|2^31");
            assert_eq!(CryptoAttribute::parse(&value).unwrap().key.expose().len(), 28);
        }
    }

    #[test]
    fn key_length_is_the_suites() {
        for (suite, key) in [
            ("AES_CM_128_HMAC_SHA1_80", KEY_28),
            ("AES_CM_128_HMAC_SHA1_32", KEY_28),
            ("AEAD_AES_128_GCM", KEY_30),
            ("AEAD_AES_256_GCM", KEY_30),
            ("AES_CM_128_HMAC_SHA1_80", ""),
            ("AES_CM_128_HMAC_SHA1_80", "not base64"),
            ("AES_CM_128_HMAC_SHA1_80", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGx!d"),
            ("AES_CM_128_HMAC_SHA1_80", &"A".repeat(10_000)),
        ] {
            assert_eq!(refused(&format!("1 {suite} inline:{key}")), Some(CryptoRefused::Key));
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        for value in [
            "",
            "1",
            "1 AES_CM_128_HMAC_SHA1_80",
            "x AES_CM_128_HMAC_SHA1_80 inline:",
            "-1 AES_CM_128_HMAC_SHA1_80 inline:",
            "+1 AES_CM_128_HMAC_SHA1_80 inline:",
            "1234567890 AES_CM_128_HMAC_SHA1_80 inline:",
            "1 AES_CM_128_HMAC_SHA1_80 clear:AAAA",
            "1 AES_CM_128_HMAC_SHA1_80 ünline:AAAA",
        ] {
            assert_eq!(refused(value), Some(CryptoRefused::Malformed), "{value}");
        }
    }

    #[test]
    fn identifiers_lifetimes_and_parameters_are_bounded() {
        let cases = [
            ("|1:4", CryptoRefused::KeyIdentifier),
            ("|2^20|1:4", CryptoRefused::KeyIdentifier),
            (";inline:AAAA", CryptoRefused::KeyIdentifier),
            ("|", CryptoRefused::Lifetime),
            ("|0", CryptoRefused::Lifetime),
            ("|2^49", CryptoRefused::Lifetime),
            ("|2^64", CryptoRefused::Lifetime),
            ("|2^-1", CryptoRefused::Lifetime),
            ("|281474976710657", CryptoRefused::Lifetime),
            ("|99999999999999999999999", CryptoRefused::Lifetime),
            (" UNENCRYPTED_SRTP", CryptoRefused::SessionParameter),
            (" WSH=64 UNENCRYPTED_SRTCP", CryptoRefused::SessionParameter),
            (" UNAUTHENTICATED_SRTP", CryptoRefused::SessionParameter),
            (" KDR=1", CryptoRefused::SessionParameter),
            (" FEC_ORDER=FEC_SRTP", CryptoRefused::SessionParameter),
            (" SOMETHING_NEW", CryptoRefused::SessionParameter),
        ];
        for (rest, expected) in cases {
            let value = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}{rest}");
            assert_eq!(refused(&value), Some(expected), "{rest}");
        }
    }

    #[test]
    fn unknown_suites_are_passed_over() {
        let unknown = format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY_30}");
        let identified = format!("2 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|1:1");
        let good = format!("3 AES_CM_128_HMAC_SHA1_32 inline:{KEY_30}");
        let lines = [&unknown[..], &identified, &good];
        assert_eq!(CryptoAttribute::first_acceptable(lines).ok().map(|found| found.tag), Some(3));
        let error = CryptoAttribute::first_acceptable([&unknown[..], &identified]).err();
        assert_eq!(error, Some(CryptoRefused::UnknownSuite));
        assert_eq!(CryptoAttribute::first_acceptable([]).err(), Some(CryptoRefused::Missing));
        let buried = std::iter::repeat_n(&unknown[..], MAX_LINES).chain([&good[..]]);
        let error = CryptoAttribute::first_acceptable(buried).err();
        assert_eq!(error, Some(CryptoRefused::UnknownSuite), "the number of lines is bounded");
    }

    #[test]
    fn own_line_is_read_back() {
        for suite in Suite::ALL {
            let octets: Vec<u8> = (100..).take(suite.master_len()).collect();
            let key = MasterKey::from_bytes(suite, &octets).unwrap();
            let mut line = String::new();
            CryptoAttribute { tag: 2, key }.write(&mut line);
            assert!(line.starts_with(&format!("2 {} inline:", suite.name())));
            let read = CryptoAttribute::parse(&line).unwrap();
            assert_eq!((read.tag, read.key.expose()), (2, &octets[..]));
        }
    }

    /// With the control that the line itself does hold the key.
    #[test]
    fn refusals_do_not_echo_the_key() {
        let value = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|1:1");
        assert!(value.contains(KEY_30));
        let error = refused(&value).unwrap();
        assert!(!format!("{error} {error:?}").contains(&KEY_30[..4]));
    }
}

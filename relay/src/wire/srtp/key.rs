//! SRTP master key: one direction's secret, and the session keys derived from it.

use rand::CryptoRng;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::aes_cm::{self, SALT_LEN};
use super::suite::Suite;

/// Longest master key and salt together: those of AES-256-GCM.
const MAX_MASTER_LEN: usize = 44;

/// Where the label lands in the salt: above the 48 bits of the index, which a key derivation rate
/// of zero leaves at zero (RFC 3711 section 4.3.1).
const LABEL_AT: usize = SALT_LEN - 7;

/// What a derived key is for (RFC 3711 section 4.3.2).
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// A key of another length than its suite takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("key length does not fit the suite")]
pub struct WrongKeyLength;

/// Master key and salt of one direction. Cannot be printed or copied; wiped when dropped.
///
/// It lies on the heap so that moving it leaves no copy behind.
pub struct MasterKey {
    suite: Suite,
    master: Box<Zeroizing<[u8; MAX_MASTER_LEN]>>,
}

/// The two master keys a DTLS handshake agrees on.
pub struct DtlsKeys {
    /// What the DTLS client protects with.
    pub client: MasterKey,
    /// What the DTLS server protects with.
    pub server: MasterKey,
}

impl MasterKey {
    /// From key and salt in one piece, as `inline:` carries them (RFC 4568 section 6.1).
    pub fn from_bytes(suite: Suite, key_and_salt: &[u8]) -> Result<Self, WrongKeyLength> {
        Self::from_parts(suite, key_and_salt, &[])
    }

    /// A fresh one.
    pub fn random(suite: Suite, rng: &mut impl CryptoRng) -> Self {
        let mut key = Self { suite, master: Box::new(Zeroizing::new([0; MAX_MASTER_LEN])) };
        rng.fill_bytes(&mut key.master[..suite.master_len()]);
        key
    }

    /// Divides what the handshake exported under `EXTRACTOR-dtls_srtp`: two keys, then two salts
    /// (RFC 5764 section 4.2), `2 * suite.master_len()` octets.
    pub fn from_dtls_export(suite: Suite, exported: &[u8]) -> Result<DtlsKeys, WrongKeyLength> {
        if exported.len() != 2 * suite.master_len() {
            return Err(WrongKeyLength);
        }
        let (keys, salts) = exported.split_at(2 * suite.key_len());
        let (client_key, server_key) = keys.split_at(suite.key_len());
        let (client_salt, server_salt) = salts.split_at(suite.salt_len());
        Ok(DtlsKeys {
            client: Self::from_parts(suite, client_key, client_salt)?,
            server: Self::from_parts(suite, server_key, server_salt)?,
        })
    }

    /// The suite the key is for.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Whether both are the same secret, in constant time: a peer that echoes our key would have
    /// two streams encrypted alike.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }

    /// Key and salt in clear, for the one `a=crypto` line that tells the peer.
    pub(in crate::wire) fn expose(&self) -> &[u8] {
        &self.master[..self.suite.master_len()]
    }

    /// One session key or salt: `N` octets of key stream under the master key.
    pub(super) fn derive<const N: usize>(&self, label: Label) -> Zeroizing<[u8; N]> {
        let (key, master_salt) = self.expose().split_at(self.suite.key_len());
        // A GCM salt of twelve octets counts as if two zero octets followed (RFC 7714 section 11).
        let mut salt = Zeroizing::new([0; SALT_LEN]);
        salt[..master_salt.len()].copy_from_slice(master_salt);
        salt[LABEL_AT] ^= label as u8;
        let mut derived = Zeroizing::new([0; N]);
        aes_cm::derive(key, &salt, &mut *derived);
        derived
    }

    fn from_parts(suite: Suite, head: &[u8], tail: &[u8]) -> Result<Self, WrongKeyLength> {
        if head.len() + tail.len() != suite.master_len() {
            return Err(WrongKeyLength);
        }
        let mut master = Box::new(Zeroizing::new([0; MAX_MASTER_LEN]));
        let (first, rest) = master.split_at_mut(head.len());
        first.copy_from_slice(head);
        rest[..tail.len()].copy_from_slice(tail);
        Ok(Self { suite, master })
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::super::test_support::unhex;
    use super::*;

    /// RFC 3711 appendix B.3.
    fn appendix_b3() -> MasterKey {
        let master = unhex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6");
        MasterKey::from_bytes(Suite::AesCm128HmacSha1_80, &master).unwrap()
    }

    #[test]
    fn derivation_of_rfc_3711() {
        let key = appendix_b3();
        let encryption = key.derive::<16>(Label::RtpEncryption);
        assert_eq!(encryption[..], unhex("c61e7a93744f39ee10734afe3ff7a087"));
        let salt = key.derive::<14>(Label::RtpSalt);
        assert_eq!(salt[..], unhex("30cbbc08863d8c85d49db34a9ae1"));
        let authentication = key.derive::<94>(Label::RtpAuthentication);
        let expected = "cebe321f6ff7716b6fd4ab49af256a15 6d38baa48f0a0acf3c34e2359e6cdbce \
             e049646c43d9327ad175578ef7227098 6371c10c9a369ac2f94a8c5fbcdddc25 \
             6d6e919a48b610ef17c2041e47403576 6b68642c59bbfc2f34db60dbdfb2";
        assert_eq!(authentication[..], unhex(expected));
    }

    #[test]
    fn all_labels_give_different_keys() {
        let key = appendix_b3();
        let labels = [
            Label::RtpEncryption,
            Label::RtpAuthentication,
            Label::RtpSalt,
            Label::RtcpEncryption,
            Label::RtcpAuthentication,
            Label::RtcpSalt,
        ];
        let derived: std::collections::BTreeSet<[u8; 14]> =
            labels.into_iter().map(|label| *key.derive::<14>(label)).collect();
        assert_eq!(derived.len(), labels.len());
    }

    #[test]
    fn length_must_fit_the_suite() {
        for suite in Suite::ALL {
            for len in 0..64 {
                let key = MasterKey::from_bytes(suite, &vec![7; len]);
                assert_eq!(key.is_ok(), len == suite.master_len(), "{suite:?} {len}");
                let keys = MasterKey::from_dtls_export(suite, &vec![7; 2 * len]);
                assert_eq!(keys.is_ok(), len == suite.master_len(), "{suite:?} {len}");
            }
        }
    }

    #[test]
    fn dtls_export_is_keys_then_salts() {
        let exported: Vec<u8> = (0..60).collect();
        let keys = MasterKey::from_dtls_export(Suite::AesCm128HmacSha1_80, &exported).unwrap();
        let expected = |key: std::ops::Range<u8>, salt: std::ops::Range<u8>| {
            key.chain(salt).collect::<Vec<u8>>()
        };
        assert_eq!(keys.client.expose(), expected(0..16, 32..46));
        assert_eq!(keys.server.expose(), expected(16..32, 46..60));
    }

    #[test]
    fn echoed_key_is_recognised() {
        let mut rng = StdRng::seed_from_u64(7);
        for suite in Suite::ALL {
            let ours = MasterKey::random(suite, &mut rng);
            let echoed = MasterKey::from_bytes(suite, ours.expose()).unwrap();
            let theirs = MasterKey::random(suite, &mut rng);
            assert!(ours.same_as(&echoed) && !ours.same_as(&theirs));
        }
        // The same octets under the other tag length are the same secret.
        let other = MasterKey::from_bytes(Suite::AesCm128HmacSha1_32, appendix_b3().expose());
        assert!(appendix_b3().same_as(&other.unwrap()));
    }

    /// Stops compiling as soon as a key can be printed: two candidates, no choice between them.
    #[test]
    fn cannot_be_printed() {
        trait Printable<Ambiguous> {
            fn check() {}
        }
        impl<T> Printable<()> for T {}
        impl<T: std::fmt::Debug> Printable<u8> for T {}
        <MasterKey as Printable<_>>::check();
    }
}

//! Certificate: by which TLS a listener shows who it is, and whom it lets in; read again as its files
//! change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, crypto,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::outbound::tls::{Identity, TlsError, certificates};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is spoken, as ALPN names it, the best first.
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];
pub(super) const HTTP_2: &[u8] = b"h2";
/// Octets of a SHA-256.
const PIN_OCTETS: usize = 32;
/// What a pin begins with.
const PIN_PREFIX: &str = "sha256:";

/// The SHA-256 of a certificate's public key (its SubjectPublicKeyInfo in DER, as RFC 7469 has it).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin([u8; PIN_OCTETS]);

/// Which clients are let in by TLS itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientRule {
    /// Certificates of the authorities that sign theirs, in PEM.
    pub authorities: PathBuf,
    /// The keys that they may have; any, if there is none.
    pub pins: Vec<Pin>,
}

/// The files of a listener's TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfig {
    /// Its certificate chain and key.
    pub identity: Identity,
    /// Whom it asks for a certificate; nobody if left out.
    pub clients: Option<ClientRule>,
}

/// A listener's side of TLS, as its files were when they could last be used.
pub struct Certificate {
    files: TlsConfig,
    current: Mutex<Arc<ServerConfig>>,
}

impl Pin {
    /// Reads `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Pin> {
        let digits = text.strip_prefix(PIN_PREFIX)?;
        let is_hex = digits.bytes().all(|octet| octet.is_ascii_hexdigit());
        if digits.len() != 2 * PIN_OCTETS || !is_hex {
            return None;
        }
        let mut octets = [0; PIN_OCTETS];
        for (at, octet) in octets.iter_mut().enumerate() {
            *octet = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Pin(octets))
    }

    fn of(certificate: &CertificateDer<'_>) -> Result<Pin, Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let mut octets = [0; PIN_OCTETS];
        octets.copy_from_slice(digest(&SHA256, &key).as_ref());
        Ok(Pin(octets))
    }
}

impl TlsConfig {
    /// Reads the files: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// The first file that can't be used.
    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::Unsupported)?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(clients.verifier()?),
        };
        let (chain, key) = self.identity.read()?;
        let mut config =
            builder.with_single_cert(chain, key).map_err(|_| self.identity.not_a_key())?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        if self.clients.is_some() {
            // Who resumes a session shows no certificate: one that has expired, or whose pin is gone,
            // would let in for as long as its session is remembered.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let Identity { chain, key } = &self.identity;
        let authorities = self.clients.as_ref().map(|clients| &clients.authorities);
        [chain, key].into_iter().chain(authorities).map(PathBuf::as_path)
    }

    /// What tells that a file is another one, or was written.
    fn look(&self) -> Vec<Option<[i64; 4]>> {
        let seen = |path: &Path| {
            let file = fs::metadata(path).ok()?;
            let inode = i64::from_ne_bytes(file.ino().to_ne_bytes());
            Some([inode, file.ctime(), file.ctime_nsec(), i64::from(file.mode())])
        };
        self.paths().map(seen).collect()
    }
}

impl ClientRule {
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let unusable = || TlsError::Certificates { path: self.authorities.clone() };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authorities)? {
            roots.add(certificate).map_err(|_| unusable())?;
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let signed = verifier.build().map_err(|_| unusable())?;
        if self.pins.is_empty() {
            return Ok(signed);
        }
        Ok(Arc::new(Pinned { signed, pins: self.pins.clone() }))
    }
}

impl Certificate {
    /// Reads the files of a listener's TLS.
    ///
    /// # Errors
    /// The first one that can't be used.
    pub fn open(files: TlsConfig) -> Result<Arc<Certificate>, TlsError> {
        let current = Mutex::new(files.load()?);
        Ok(Arc::new(Certificate { files, current }))
    }

    /// Reads the files again. Connections that are open stay as they are.
    ///
    /// # Errors
    /// The first file that can't be used; what was read before stays in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = self.files.load()?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// Reads the files again whenever they change, until the process is stopping.
    pub async fn keep(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut read = self.files.look();
        let mut before = read.clone();
        while timeout(LOOK_EVERY, stopping.wait_for(|it| *it)).await.is_err() {
            let now = self.files.look();
            // Files are replaced one after the other: they are read when all have been left alone for
            // a while, and once, so that a pair that does not fit is complained of once.
            if now != read && now == before {
                self.reload_and_tell();
                read.clone_from(&now);
            }
            before = now;
        }
    }

    /// Reads the files again and says so in the log.
    pub fn reload_and_tell(&self) {
        match self.reload() {
            Ok(()) => tracing::info!("the certificate of the API was read again"),
            Err(error) => tracing::error!(%error, "the old certificate of the API stays in use"),
        }
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }
}

/// Lets in who is signed for and has one of these keys.
#[derive(Debug)]
struct Pinned {
    signed: Arc<dyn ClientCertVerifier>,
    pins: Vec<Pin>,
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.signed.verify_client_cert(end_entity, intermediates, now)?;
        if self.pins.contains(&Pin::of(end_entity)?) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::Pin;

    #[test]
    fn a_pin_is_a_sha256_in_hexadecimal() {
        let digits = "0123456789abcdef".repeat(4);
        assert!(Pin::parse(&format!("sha256:{digits}")).is_some());
        assert_eq!(
            Pin::parse(&format!("sha256:{}", digits.to_uppercase())),
            Pin::parse(&format!("sha256:{digits}"))
        );
        for bad in [
            digits.clone(),
            format!("sha256:{}", &digits[1..]),
            format!("sha256:+{}", &digits[1..]),
            format!("sha1:{digits}"),
            "sha256:".to_owned(),
        ] {
            assert!(Pin::parse(&bad).is_none(), "{bad}");
        }
    }
}

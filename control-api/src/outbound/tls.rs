//! Tls: whom an outgoing connection trusts, and how it shows who it is.
//!
//! Certificates are always verified; there is no switch against it. TLS 1.2 and 1.3 alone are
//! spoken.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig};
use rustls::{RootCertStore, crypto};

use super::secret_file::{FileSecret, FileSecretError};

/// The files that say so.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Certificates of the authorities trusted, in PEM; those of the system if there is none.
    pub authorities: Option<PathBuf>,
    /// Our own certificate chain and key, in PEM, for a server that asks for them.
    pub identity: Option<Identity>,
}

/// Our own certificate chain and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The chain, leaf first.
    pub chain: PathBuf,
    /// The key; only its owner may read the file.
    pub key: PathBuf,
}

/// Why the files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate file holds none.
    #[error("{path} holds no certificate in PEM")]
    Certificates {
        /// The file.
        path: PathBuf,
    },
    /// A certificate file can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no certificates of authorities.
    #[error(
        "the system has no certificates of authorities: install ca-certificates or say ca_file"
    )]
    NoAuthorities,
    /// The key's file can't be read.
    #[error(transparent)]
    Key(#[from] FileSecretError),
    /// The key is none, or not that of the certificate.
    #[error("{path} holds no private key in PEM that belongs to the certificate")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The cryptography lacks what TLS needs.
    #[error("TLS cannot be set up")]
    Unsupported,
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// The first one that can't be used.
    pub fn load(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(path) => {
                for certificate in certificates(path)? {
                    let unusable = |_| TlsError::Certificates { path: path.clone() };
                    roots.add(certificate).map_err(unusable)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities);
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::Unsupported)?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                builder.with_client_auth_cert(chain, key).map_err(|_| identity.not_a_key())?
            }
        };
        // Every request stands alone: nothing of one session is kept for another.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl Identity {
    /// Reads the files, for a listener of ours.
    ///
    /// # Errors
    /// The first one that can't be used.
    pub fn load_server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::Unsupported)?
            .with_no_client_auth();
        let (chain, key) = self.read()?;
        let config = builder.with_single_cert(chain, key).map_err(|_| self.not_a_key())?;
        Ok(Arc::new(config))
    }

    pub(crate) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(&self.chain)?;
        let pem = FileSecret::read(&self.key)?;
        let key = PrivateKeyDer::from_pem_slice(pem.reveal().as_bytes());
        Ok((chain, key.map_err(|_| self.not_a_key())?))
    }

    pub(crate) fn not_a_key(&self) -> TlsError {
        TlsError::NotAKey { path: self.key.clone() }
    }
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::Certificates { path: path.to_owned() };
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let pem = std::fs::read(path).map_err(unreadable)?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| none())?;
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

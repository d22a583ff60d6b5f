//! Dtls: agrees with a peer on the keys of its SRTP (RFC 5764), on either side of DTLS 1.2.
//!
//! The peer's certificate is its own work, and worth what its fingerprint in signalling is worth: a
//! handshake with another certificate fails, and so does one without (RFC 8827 section 6.5).
//!
//! Whoever calls gives datagrams from the one address that ICE has proven or signalling has told,
//! and from no other.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use ring::digest::{SHA256, digest};
use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use super::media::SrtpKeys;
use crate::wire::dtls::{self, Content, Record};
pub use crate::wire::sdp::DtlsRole;
use crate::wire::srtp::{MasterKey, Suite};

/// Most fragments of a peer's messages that a handshake reads, and most datagrams with other
/// records. One takes about ten; repeated flights and a large certificate come to a few dozen. The
/// library looks through all it has for each, so that many would take long.
const MAX_HANDSHAKE: usize = 128;
/// Most read after it: a last flight that is repeated. Once they are used up, nothing of that kind is
/// read any more, and the call goes on.
const MAX_AFTER: usize = 64;
/// Most alerts read once keys are agreed; the peer's own is the last.
const MAX_ALERTS: usize = 1000;

/// What keys are exported under (RFC 5764 section 4.2).
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";

/// Any address: the handshake goes on when the peer moves, which is ICE's matter.
const ANYBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);

/// Something of DTLS failed; what exactly is the library's word.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("DTLS: {0}")]
pub struct DtlsFault(String);

impl From<Error> for DtlsFault {
    fn from(error: Error) -> DtlsFault {
        DtlsFault(error.to_string())
    }
}

/// SHA-256 of a certificate (RFC 8122 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    fn of(certificate: &[u8]) -> Fingerprint {
        let mut octets = [0; 32];
        octets.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Fingerprint(octets)
    }
}

/// What a relay is known by to all its peers: a certificate of its own making (ECDSA, P-256).
#[derive(Clone)]
pub struct Identity {
    certificate: Certificate,
    provider: Arc<dyn RTCCryptoProvider>,
}

impl Identity {
    /// A new one. Its key is in this process alone, and gone with it.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn generate() -> Result<Identity, DtlsFault> {
        let provider =
            rtc_crypto::default_provider().map_err(|error| DtlsFault(error.to_string()))?;
        let certificate =
            Certificate::generate_self_signed(vec!["sotto".to_owned()], provider.crypto())?;
        let identity = Identity { certificate, provider };
        // What it can be used for once, it can be used for always.
        for role in [DtlsRole::Server, DtlsRole::Client] {
            identity.config(Fingerprint([0; 32]), role)?;
        }
        Ok(identity)
    }

    /// What signalling says of it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate.certificate[0])
    }

    /// Ours with the one peer whose certificate has this fingerprint.
    fn config(&self, expected: Fingerprint, role: DtlsRole) -> Result<HandshakeConfig, DtlsFault> {
        let is_expected = move |chain: &[Vec<u8>]| {
            chain.first().is_some_and(|certificate| Fingerprint::of(certificate) == expected)
        };
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&self.provider))
            .with_certificates(vec![self.certificate.clone()])
            .with_cipher_suites(ciphers(role))
            .with_srtp_protection_profiles(Suite::ALL.map(profile_of).to_vec())
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            // No authority has signed it; the fingerprint is checked instead.
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(Arc::new(move |chain, _| {
                if is_expected(chain) { Ok(()) } else { Err(Error::ErrInvalidCertificate) }
            })));
        Ok(match role {
            DtlsRole::Server => config.build(false, None)?,
            DtlsRole::Client => config.with_server_name("sotto".to_owned()).build(true, None)?,
        })
    }
}

/// Our own certificate is ECDSA's; a server's may be RSA's, as many telephones still make them.
fn ciphers(role: DtlsRole) -> Vec<CipherSuiteId> {
    let ecdsa = [
        CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
        CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
    ];
    let rsa = [
        CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
        CipherSuiteId::Tls_Ecdhe_Rsa_With_ChaCha20_Poly1305_Sha256,
    ];
    match role {
        DtlsRole::Server => ecdsa.to_vec(),
        DtlsRole::Client => [ecdsa, rsa].concat(),
    }
}

/// One leg's handshake.
pub struct Dtls {
    endpoint: Endpoint,
    expected: Fingerprint,
    /// What a client begins with; a server waits.
    client: Option<Arc<HandshakeConfig>>,
    state: State,
    /// The peer has said something.
    is_answered: bool,
    /// Fragments and records that may still be read.
    budget: usize,
    /// Alerts that may still be read.
    alerts: usize,
    /// The next one to send, once it was looked for.
    waiting: Option<BytesMut>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    Agreed,
    Over,
}

/// What came of a datagram.
pub enum Progress {
    /// Nothing yet.
    Going,
    /// Both have the same keys.
    Agreed(Box<SrtpKeys>),
    /// The peer has ended it, or it has failed.
    Over(DtlsFault),
}

impl Dtls {
    /// With the peer whose certificate has this fingerprint: a server waits for it, a client for
    /// [`Dtls::begin`].
    pub fn new(identity: &Identity, expected: Fingerprint, role: DtlsRole) -> Dtls {
        let config = identity.config(expected, role).expect("an identity has been tried out");
        let (server, client) = match role {
            DtlsRole::Server => (Some(Arc::new(config)), None),
            DtlsRole::Client => (None, Some(Arc::new(config))),
        };
        Dtls {
            endpoint: Endpoint::new(ANYBODY, TransportProtocol::UDP, server),
            expected,
            client,
            state: State::Handshake,
            is_answered: false,
            budget: MAX_HANDSHAKE,
            alerts: MAX_ALERTS,
            waiting: None,
        }
    }

    /// Which side we are.
    #[must_use]
    pub fn role(&self) -> DtlsRole {
        if self.client.is_some() { DtlsRole::Client } else { DtlsRole::Server }
    }

    /// The peer can be reached: a client begins, unless it has.
    pub fn begin(&mut self, now: Instant) {
        let Some(config) = &self.client else { return };
        if self.endpoint.get_connection_state(ANYBODY).is_none() && self.state == State::Handshake {
            // What it fails of would fail at the first answer too.
            let _ = self.endpoint.connect(now, ANYBODY, Arc::clone(config), None);
            self.look();
        }
    }

    /// Whether it is with this peer.
    #[must_use]
    pub fn expects(&self, fingerprint: &Fingerprint) -> bool {
        self.expected == *fingerprint
    }

    /// Whether it has failed, or the peer has ended it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Handles a datagram of the proven peer that is DTLS by its first octet. What it is answered
    /// comes out by [`Dtls::poll_transmit`].
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Progress {
        if !self.admits(datagram) {
            return Progress::Going;
        }
        self.is_answered = true;
        let read = self.endpoint.read(now, ANYBODY, None, BytesMut::from(datagram));
        self.look();
        // What ends it has been answered.
        let events = match read {
            Ok(events) => events,
            // Anybody can send in the peer's name what the library takes offence at. With keys it is
            // over when somebody says so who has them.
            Err(error) if self.state == State::Agreed && error != Error::ErrAlertFatalOrClose => {
                return Progress::Going;
            }
            Err(error) => return self.fail(&error.to_string()),
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => return self.agree(),
                EndpointEvent::PeerClosed => return self.fail("the peer has closed"),
                // Nothing else than keys is wanted of it.
                EndpointEvent::ApplicationData(_) => {}
                _ => {}
            }
        }
        Progress::Going
    }

    /// Writes the next datagram for the peer into `buffer`; its length.
    pub fn poll_transmit(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let message = self.waiting.take()?;
        self.look();
        buffer.get_mut(..message.len())?.copy_from_slice(&message);
        Some(message.len())
    }

    /// Whether [`Dtls::poll_transmit`] has something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.waiting.is_some()
    }

    fn look(&mut self) {
        if self.waiting.is_none() {
            self.waiting = self.endpoint.poll_transmit().map(|transmit| transmit.message);
        }
    }

    /// When [`Dtls::handle_timeout`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Handshake => self.endpoint.poll_timeout(&ANYBODY),
            State::Agreed | State::Over => None,
        }
    }

    /// Repeats what was not answered. A client that was never answered begins anew: a telephone
    /// whose side is told early may ring for long before it speaks.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.endpoint.handle_timeout(ANYBODY, now).is_err() {
            if self.is_answered || self.client.is_none() {
                self.state = State::Over;
            } else {
                self.endpoint = Endpoint::new(ANYBODY, TransportProtocol::UDP, None);
                self.begin(now);
            }
        }
        self.look();
    }

    /// Whether the library is to see a datagram: whole records of the kinds that belong to where the
    /// handshake stands, and no more of them than it takes.
    fn admits(&mut self, datagram: &[u8]) -> bool {
        let Some(records) = dtls::records(datagram) else { return false };
        let mut budget = self.budget;
        let is_admitted =
            records.iter().all(|record| self.admits_record(datagram, record, &mut budget));
        if is_admitted {
            self.budget = budget;
        }
        is_admitted
    }

    fn admits_record(&mut self, datagram: &[u8], record: &Record, budget: &mut usize) -> bool {
        let body = &datagram[record.body.clone()];
        let parts = match (record.content, record.epoch) {
            // Under any other epoch the library believes it without a proof.
            (Content::ChangeCipherSpec, 0) if body == [1] => Some(1),
            (Content::Handshake, 0) => dtls::fragments(body),
            (Content::Handshake, 1) => Some(1),
            (Content::Alert, 0) if self.state == State::Handshake => Some(1),
            (Content::Alert, 1) => {
                let left = self.alerts.checked_sub(1);
                self.alerts = left.unwrap_or(0);
                left.map(|_| 0)
            }
            (
                Content::ChangeCipherSpec
                | Content::Handshake
                | Content::Alert
                | Content::ApplicationData,
                _,
            ) => None,
        };
        let left = parts.filter(|_| !self.is_over()).and_then(|parts| budget.checked_sub(parts));
        *budget = left.unwrap_or(*budget);
        left.is_some()
    }

    fn agree(&mut self) -> Progress {
        match self.keys() {
            Ok(keys) => {
                (self.state, self.budget) = (State::Agreed, MAX_AFTER);
                Progress::Agreed(Box::new(keys))
            }
            Err(fault) => self.fail(&fault.0),
        }
    }

    fn keys(&self) -> Result<SrtpKeys, DtlsFault> {
        let fault = |text: &str| DtlsFault(text.to_owned());
        let state = self.endpoint.get_connection_state(ANYBODY);
        let state = state.ok_or_else(|| fault("no association"))?;
        // It was checked in the handshake; a library that forgot to would open a call to anybody.
        let certificate = state.peer_certificates.first();
        if certificate.map(|it| Fingerprint::of(it)) != Some(self.expected) {
            return Err(fault("another certificate than signalling's"));
        }
        let suite = Suite::from_dtls_profile(state.srtp_protection_profile() as u16);
        let suite = suite.ok_or_else(|| fault("no SRTP protection profile in common"))?;
        let exported = state.export_keying_material(EXPORTER, &[], 2 * suite.master_len())?;
        let keys = MasterKey::from_dtls_export(suite, exported.as_ref());
        let keys = keys.map_err(|error| DtlsFault(error.to_string()))?;
        Ok(match self.role() {
            DtlsRole::Server => SrtpKeys { inbound: keys.client, outbound: keys.server },
            DtlsRole::Client => SrtpKeys { inbound: keys.server, outbound: keys.client },
        })
    }

    fn fail(&mut self, why: &str) -> Progress {
        self.state = State::Over;
        Progress::Over(DtlsFault(why.to_owned()))
    }
}

fn profile_of(suite: Suite) -> SrtpProtectionProfile {
    match suite {
        Suite::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        Suite::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        Suite::AesCm128HmacSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        Suite::AesCm128HmacSha1_32 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32,
    }
}

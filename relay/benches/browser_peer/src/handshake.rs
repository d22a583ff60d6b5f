//! Handshake: ICE and DTLS of all callers over their one socket, until each has keys.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::wire::srtp::{DtlsKeys, MasterKey};
use relay::wire::stun::{self, Class, IcePassword, Message, Role, TransactionId};
use ring::digest::{SHA256, digest};
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;

use crate::signal::{Answer, Ice, SUITE};

/// Calls at a time.
const AT_ONCE: usize = 10;
/// Time for all of them.
const PATIENCE: Duration = Duration::from_secs(20);
/// From one check, and one look at what DTLS has to repeat, to the next.
const REPEAT: Duration = Duration::from_millis(100);

/// Who all callers are to DTLS.
pub struct Identity(Certificate);

/// One caller on the way to its keys.
struct Caller {
    check: Vec<u8>,
    dtls: Endpoint,
    is_proven: bool,
    keys: Option<DtlsKeys>,
}

impl Identity {
    /// A new one.
    pub fn generate() -> Identity {
        let provider = rtc_crypto::default_provider().unwrap();
        let names = vec!["callers".to_owned()];
        Identity(Certificate::generate_self_signed(names, provider.crypto()).unwrap())
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        digest(&SHA256, &self.0.certificate[0]).as_ref().try_into().unwrap()
    }

    fn config(&self) -> Arc<HandshakeConfig> {
        let config = ConfigBuilder::default()
            .with_crypto_provider(rtc_crypto::default_provider().unwrap())
            .with_certificates(vec![self.0.clone()])
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80])
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_insecure_skip_verify(true)
            .build(true, None);
        Arc::new(config.unwrap())
    }
}

/// A check that nominates; it is sent again as it is for as long as the call lasts.
pub fn check(ours: &Ice, answer: &Answer) -> Vec<u8> {
    let check = stun::Check {
        theirs: &answer.ice.ufrag,
        ours: &ours.ufrag,
        role: Role::Controlling,
        tie_breaker: 1,
        use_candidate: true,
    };
    let transaction = TransactionId::random(&mut StdRng::seed_from_u64(answer.relay.port().into()));
    stun::check(transaction, &check, &IcePassword::new(&answer.ice.password)).to_vec()
}

/// What a caller answers to a check of the relay's, if it is one.
pub fn reply(datagram: &[u8], from: SocketAddr, ours: &IcePassword) -> Option<Vec<u8>> {
    let message = Message::parse(datagram).ok().filter(|it| it.class == Class::Request)?;
    Some(stun::success(message.transaction, from, ours).to_vec())
}

/// Keys of each call, in the order of the answers; a few calls at a time, so that what they are told
/// finds room in the socket.
pub fn agree(
    socket: &UdpSocket,
    identity: &Identity,
    ours: &Ice,
    answers: &[Answer],
) -> Vec<DtlsKeys> {
    answers.chunks(AT_ONCE).flat_map(|part| agree_at_once(socket, identity, ours, part)).collect()
}

fn agree_at_once(
    socket: &UdpSocket,
    identity: &Identity,
    ours: &Ice,
    answers: &[Answer],
) -> Vec<DtlsKeys> {
    let password = IcePassword::new(&ours.password);
    let own = socket.local_addr().unwrap();
    let config = identity.config();
    let mut callers: HashMap<SocketAddr, Caller> =
        answers.iter().map(|answer| (answer.relay, Caller::new(own, ours, answer))).collect();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (end, mut due, mut buffer) = (Instant::now() + PATIENCE, Instant::now(), [0; 2048]);
    while callers.values().any(|caller| caller.keys.is_none()) {
        let now = Instant::now();
        assert!(now < end, "all callers have keys in time");
        if now >= due {
            due = now + REPEAT;
            callers.iter_mut().for_each(|(relay, caller)| caller.repeat(now, socket, *relay));
        }
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(caller) = callers.get_mut(&from) else { continue };
        match buffer[0] {
            0..=3 => match reply(&buffer[..length], from, &password) {
                Some(reply) => drop(socket.send_to(&reply, from).unwrap()),
                None => caller.begin(now, &config, from),
            },
            20..=63 => caller.hear(now, from, &buffer[..length]),
            _ => {}
        }
        caller.flush(socket, from);
    }
    let mut keys = |answer: &Answer| callers.remove(&answer.relay).unwrap().keys.unwrap();
    answers.iter().map(&mut keys).collect()
}

impl Caller {
    fn new(own: SocketAddr, ours: &Ice, answer: &Answer) -> Caller {
        let dtls = Endpoint::new(own, TransportProtocol::UDP, None);
        Caller { check: check(ours, answer), dtls, is_proven: false, keys: None }
    }

    /// Once the relay has answered a check, DTLS begins.
    fn begin(&mut self, now: Instant, config: &Arc<HandshakeConfig>, relay: SocketAddr) {
        if !self.is_proven {
            self.is_proven = true;
            self.dtls.connect(now, relay, Arc::clone(config), None).unwrap();
        }
    }

    fn repeat(&mut self, now: Instant, socket: &UdpSocket, relay: SocketAddr) {
        if !self.is_proven {
            socket.send_to(&self.check, relay).unwrap();
        } else if self.dtls.poll_timeout(&relay).is_some_and(|due| due <= now) {
            self.dtls.handle_timeout(relay, now).unwrap();
            self.flush(socket, relay);
        }
    }

    fn hear(&mut self, now: Instant, relay: SocketAddr, datagram: &[u8]) {
        let events = self.dtls.read(now, relay, None, BytesMut::from(datagram)).unwrap();
        if events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete)) {
            let state = self.dtls.get_connection_state(relay).unwrap();
            let length = 2 * SUITE.master_len();
            let exported = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], length);
            let keys = MasterKey::from_dtls_export(SUITE, exported.unwrap().as_ref());
            self.keys = Some(keys.unwrap());
        }
    }

    fn flush(&mut self, socket: &UdpSocket, relay: SocketAddr) {
        while let Some(transmit) = self.dtls.poll_transmit() {
            socket.send_to(&transmit.message, relay).unwrap();
        }
    }
}

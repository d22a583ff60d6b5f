//! Legs whose keys DTLS agrees on at the signalled address, on either side of a call and of DTLS.
//!
//! The telephone here is `rtc-dtls` and SRTP; the other party of the call speaks plain RTP.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

mod peer_leg;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dtmf::expiry::Date;
use dtmf::{CardMode, Field, FieldKind, PlanRequest, SecurePlan};
use relay::switchboard::dtls::{DtlsRole, Fingerprint, Identity};
use relay::switchboard::{
    CallId, Command, DtlsPeer, EngineAudio, LegMedia, LocalPort, OpenCall, PortPair, SessionId,
    SessionRequest, Side, SourceRule, Switchboard, SwitchboardConfig,
};
use relay::wire::ntp::NtpTime;
use relay::wire::rtp::{FIXED_HEADER_LEN, Header, RtpPacket, is_rtcp};
use relay::wire::srtp::{Inbound, MasterKey, Outbound, Suite};
use ring::digest::{SHA256, digest};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;

const PORTS: [u16; 2] = [10_000, 10_002];
const TELEPHONE: SocketAddr = addr(40_000);
const OTHER: SocketAddr = addr(50_000);
const STRANGER: SocketAddr = addr(40_100);
const FRAME: usize = 160;
const SILENCE: u8 = 0xff;
const MS: Duration = Duration::from_millis(1);
const NONE: [Vec<u8>; 0] = [];

const fn addr(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port)
}

/// What the relay has sent: from which port, where to, what.
type Sent = (u16, SocketAddr, Vec<u8>);

/// A call whose one leg is the telephone's.
struct Scene {
    now: Instant,
    switchboard: Switchboard,
    telephone: Telephone,
    side: Side,
    sent: Vec<Sent>,
    sequence: u16,
}

/// The telephone's side.
struct Telephone {
    at: SocketAddr,
    certificate: Certificate,
    dtls: Endpoint,
    keys: Option<(Outbound, Inbound)>,
    sequence: u16,
}

/// What differs from scene to scene.
#[derive(Clone, Copy)]
struct Setting {
    side: Side,
    /// What we are in DTLS.
    role: DtlsRole,
    rtcp_mux: bool,
    /// Signalling has told the certificate that the telephone has.
    is_honest: bool,
}

const PLAIN: Setting =
    Setting { side: Side::Caller, role: DtlsRole::Server, rtcp_mux: true, is_honest: true };

fn certificate() -> Certificate {
    let provider = rtc_crypto::default_provider().unwrap();
    Certificate::generate_self_signed(vec!["telephone".to_owned()], provider.crypto()).unwrap()
}

fn fingerprint_of(certificate: &Certificate) -> Fingerprint {
    Fingerprint(digest(&SHA256, &certificate.certificate[0]).as_ref().try_into().unwrap())
}

fn config(certificate: &Certificate, is_client: bool) -> Arc<HandshakeConfig> {
    let config = ConfigBuilder::default()
        .with_crypto_provider(rtc_crypto::default_provider().unwrap())
        .with_certificates(vec![certificate.clone()])
        .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_insecure_skip_verify(true);
    Arc::new(config.build(is_client, None).unwrap())
}

impl Telephone {
    fn new(at: SocketAddr, certificate: Certificate) -> Telephone {
        let server = config(&certificate, false);
        let dtls = Endpoint::new(at, TransportProtocol::UDP, Some(server));
        Telephone { at, certificate, dtls, keys: None, sequence: 0 }
    }

    /// Greets, as a client does.
    fn begins(&mut self, now: Instant, relay: SocketAddr) {
        self.dtls.connect(now, relay, config(&self.certificate, true), None).unwrap();
    }

    fn hear(&mut self, now: Instant, relay: SocketAddr, datagram: &[u8]) {
        let events = self.dtls.read(now, relay, None, BytesMut::from(datagram));
        let is_agreed = events.is_ok_and(|events| {
            events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete))
        });
        if !is_agreed {
            return;
        }
        let state = self.dtls.get_connection_state(relay).unwrap();
        let suite = Suite::from_dtls_profile(state.srtp_protection_profile() as u16).unwrap();
        let length = 2 * suite.master_len();
        let exported = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], length).unwrap();
        let keys = MasterKey::from_dtls_export(suite, exported.as_ref()).unwrap();
        self.keys = Some(match state.is_client() {
            true => (Outbound::new(&keys.client), Inbound::new(&keys.server)),
            false => (Outbound::new(&keys.server), Inbound::new(&keys.client)),
        });
    }

    /// A packet of voice, protected if there are keys.
    fn voice(&mut self, octet: u8) -> Vec<u8> {
        self.sequence += 1;
        let mut packet = rtp(self.sequence, octet);
        if let Some((outbound, _)) = &mut self.keys {
            let length = packet.len();
            packet.resize(length + 64, 0);
            let length = outbound.protect(&mut packet, length).unwrap();
            packet.truncate(length);
        }
        packet
    }

    /// What it hears in a packet of the relay's.
    fn heard(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        if !(128..=191).contains(&packet[0]) || is_rtcp(packet[1]) {
            return None;
        }
        let mut packet = packet.to_vec();
        let length = self.keys.as_mut()?.1.unprotect(&mut packet).ok()?;
        packet.truncate(length);
        let payload = RtpPacket::parse(&packet).ok()?.payload;
        Some(packet[payload].to_vec())
    }
}

/// A packet of one octet over and over.
fn rtp(sequence: u16, octet: u8) -> Vec<u8> {
    let timestamp = u32::from(sequence) * FRAME as u32;
    let header = Header { marker: false, payload_type: 0, sequence, timestamp, ssrc: 7 };
    let mut packet = vec![octet; FIXED_HEADER_LEN + FRAME];
    header.write(packet.first_chunk_mut().unwrap());
    packet
}

/// The telephone's leg, as signalling tells it.
fn leg(at: SocketAddr, fingerprint: Fingerprint, role: DtlsRole, rtcp_mux: bool) -> LegMedia {
    let identity = Identity::generate().unwrap();
    let source = SourceRule::Dtls(Box::new(DtlsPeer { identity, fingerprint, role }));
    LegMedia { rtcp_mux, source, ..peer_leg::media(at, None) }
}

impl Scene {
    fn new(setting: Setting) -> Scene {
        let certificate = certificate();
        let told = if setting.is_honest { certificate.clone() } else { self::certificate() };
        let fingerprint = fingerprint_of(&told);
        let leg = leg(TELEPHONE, fingerprint, setting.role, setting.rtcp_mux);
        let mut scene = Scene::with(setting.side, leg);
        scene.telephone = Telephone::new(TELEPHONE, certificate);
        if setting.role == DtlsRole::Server {
            scene.telephone.begins(scene.now, scene.relay());
        }
        scene
    }

    fn with(side: Side, telephone: LegMedia) -> Scene {
        let now = Instant::now();
        let mut switchboard = Switchboard::new(SwitchboardConfig {
            ports: PORTS[0]..=PORTS[1] + 1,
            media_timeout: Duration::from_secs(600),
            seed: [7; 32],
            ntp_anchor: (now, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
        });
        let other = peer_leg::media(OTHER, None);
        let (caller, engine) = match side {
            Side::Caller => (telephone, other),
            Side::Engine => (other, telephone),
        };
        let open = OpenCall {
            call: CallId(1),
            caller_ports: PortPair::new(PORTS[0]).unwrap(),
            caller,
            engine_ports: PortPair::new(PORTS[1]).unwrap(),
            engine,
            armed: None,
            record: false,
        };
        switchboard.handle_command(now, Command::Open(Box::new(open))).map(drop).unwrap();
        let telephone = Telephone::new(TELEPHONE, certificate());
        let mut scene = Scene { now, switchboard, telephone, side, sent: Vec::new(), sequence: 0 };
        scene.runs_timers();
        scene
    }

    /// With keys.
    fn connected(setting: Setting) -> Scene {
        let mut scene = Scene::new(setting);
        scene.shakes_hands();
        assert!(scene.telephone.keys.is_some());
        scene.sent.clear();
        scene
    }

    fn port(&self) -> u16 {
        PORTS[self.side.index()]
    }

    fn other_port(&self) -> u16 {
        PORTS[self.side.other().index()]
    }

    /// The relay, as the telephone sees it.
    fn relay(&self) -> SocketAddr {
        addr(self.port())
    }

    fn arrives(&mut self, port: u16, from: SocketAddr, datagram: &[u8]) {
        let mut buffer = [0; 2048];
        buffer[..datagram.len()].copy_from_slice(datagram);
        let (port, len) = (LocalPort(port), datagram.len());
        let sent = self.switchboard.handle_packet(self.now, port, from, &mut buffer, len);
        self.sent.extend(sent.map(|it| (it.port.0, it.to, buffer[it.range].to_vec())));
        self.runs_timers();
    }

    fn runs_timers(&mut self) {
        let mut buffer = [0; 2048];
        self.switchboard.handle_timeout(self.now);
        while let Some(it) = self.switchboard.poll_transmit(self.now, &mut buffer) {
            self.sent.push((it.port.0, it.to, buffer[it.range].to_vec()));
        }
        while self.switchboard.poll_event().is_some() {}
    }

    /// Time passes, with what the relay does by itself.
    fn passes(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.switchboard.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.runs_timers();
        }
        self.now = end;
    }

    /// What was sent since by the telephone's leg.
    fn takes(&mut self) -> Vec<Sent> {
        let ports = self.port()..=self.port() + 1;
        std::mem::take(&mut self.sent).into_iter().filter(|it| ports.contains(&it.0)).collect()
    }

    /// What the other party got since; reports aside.
    fn other_takes(&mut self) -> Vec<Vec<u8>> {
        let sent = std::mem::take(&mut self.sent).into_iter();
        let to_other = sent.filter(|(_, to, packet)| *to == OTHER && !is_rtcp(packet[1]));
        to_other.map(|(_, _, packet)| packet[FIXED_HEADER_LEN..].to_vec()).collect()
    }

    /// What the telephone hears of what was sent since.
    fn telephone_hears(&mut self) -> Vec<Vec<u8>> {
        let sent = self.takes();
        assert!(sent.iter().all(|(_, to, _)| to.ip() == self.telephone.at.ip()));
        sent.iter().filter_map(|(.., packet)| self.telephone.heard(packet)).collect()
    }

    /// Both sides of DTLS speak until neither has anything to say.
    fn shakes_hands(&mut self) {
        let (at, relay) = (self.telephone.at, self.relay());
        for _ in 0..50 {
            let mut spoke = false;
            while let Some(transmit) = self.telephone.dtls.poll_transmit() {
                spoke = true;
                self.arrives(relay.port(), at, &transmit.message);
            }
            for (_, to, datagram) in self.takes() {
                assert_eq!(to.ip(), at.ip());
                if to == at && (20..64).contains(&datagram[0]) {
                    spoke = true;
                    self.telephone.hear(self.now, relay, &datagram);
                }
            }
            if !spoke {
                return;
            }
        }
        panic!("a handshake has an end");
    }

    /// The telephone speaks; what the other party gets of it.
    fn speaks(&mut self, octet: u8) -> Vec<Vec<u8>> {
        self.sent.clear();
        let packet = self.telephone.voice(octet);
        self.arrives(self.port(), self.telephone.at, &packet);
        self.other_takes()
    }

    /// The other party speaks; what the telephone hears of it.
    fn is_told(&mut self, octet: u8) -> Vec<Vec<u8>> {
        self.sent.clear();
        self.sequence += 1;
        self.arrives(self.other_port(), OTHER, &rtp(self.sequence, octet));
        self.telephone_hears()
    }

    fn reoffers(&mut self, media: LegMedia) {
        let (call, side, media) = (CallId(1), self.side, Box::new(media));
        let command = Command::Reoffer { call, side, media };
        self.switchboard.handle_command(self.now, command).map(drop).unwrap();
        self.runs_timers();
    }

    fn enters(&mut self) {
        let fields = [Field::new(FieldKind::ExpirationDate)];
        let today = Date::new(2026, 11, 30).unwrap();
        let plan = SecurePlan::new(PlanRequest::new(&fields, today, CardMode::Test)).unwrap();
        let (session, engine_audio) = (SessionId(1), EngineAudio::Drop);
        let request = Box::new(SessionRequest { session, plan, engine_audio, announcer: None });
        let command = Command::Enter { call: CallId(1), request };
        self.switchboard.handle_command(self.now, command).map(drop).unwrap();
    }
}

/// Either leg, either side of DTLS.
fn settings() -> impl Iterator<Item = Setting> {
    Side::ALL.into_iter().flat_map(|side| {
        [DtlsRole::Server, DtlsRole::Client].map(|role| Setting { side, role, ..PLAIN })
    })
}

#[test]
fn both_parties_hear_each_other_on_either_leg_and_side() {
    for setting in settings() {
        let mut scene = Scene::connected(setting);
        assert_eq!(
            scene.speaks(0x55),
            [vec![0x55; FRAME]],
            "{:?} {:?}",
            setting.side,
            setting.role
        );
        assert_eq!(
            scene.is_told(0x33),
            [vec![0x33; FRAME]],
            "{:?} {:?}",
            setting.side,
            setting.role
        );
    }
}

#[test]
fn a_server_of_dtls_says_nothing_unasked() {
    let mut scene = Scene::new(PLAIN);
    scene.passes(20_000 * MS);
    assert_eq!(scene.takes(), []);
}

#[test]
fn a_client_of_dtls_repeats_itself_until_somebody_is_there() {
    let mut scene = Scene::new(Setting { role: DtlsRole::Client, ..PLAIN });
    // A greeting a second, however long it rings.
    for second in 0..60 {
        scene.passes(1100 * MS);
        let greetings = scene.takes();
        assert!((1..=2).contains(&greetings.len()), "{} in second {second}", greetings.len());
        assert!(greetings.iter().all(|(_, to, it)| *to == TELEPHONE && it[0] == 22));
    }
    scene.passes(1100 * MS);
    scene.shakes_hands();
    assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]]);
    scene.passes(30_000 * MS);
    assert!(scene.takes().iter().all(|(.., it)| it[0] >= 128), "no more of it");
}

#[test]
fn a_stranger_is_neither_answered_nor_heard() {
    let mut scene = Scene::new(PLAIN);
    let mut hello = Vec::new();
    while let Some(transmit) = scene.telephone.dtls.poll_transmit() {
        hello.push(transmit.message.to_vec());
    }
    let port = scene.port();
    for _ in 0..100 {
        scene.arrives(port, STRANGER, &hello[0]);
        scene.arrives(port + 1, TELEPHONE, &hello[0]);
    }
    assert_eq!(scene.takes(), [], "octets to an address that signalling has not told");
    scene.arrives(port, TELEPHONE, &hello[0]);
    assert!(scene.takes().iter().all(|(_, to, _)| *to == TELEPHONE), "control");
    let mut scene = Scene::connected(PLAIN);
    let packet = scene.telephone.voice(0x55);
    scene.arrives(port, STRANGER, &packet);
    assert_eq!(scene.other_takes(), NONE);
    scene.arrives(port, TELEPHONE, &packet);
    assert_eq!(scene.other_takes(), [vec![0x55; FRAME]], "control");
    scene.passes(1000 * MS);
    assert!(scene.takes().iter().all(|(_, to, _)| *to != STRANGER));
}

#[test]
fn nothing_is_sent_or_heard_in_clear() {
    for setting in settings() {
        let mut scene = Scene::new(setting);
        for sequence in 1..20 {
            scene.arrives(scene.port(), TELEPHONE, &rtp(sequence, 0x55));
            scene.arrives(scene.other_port(), OTHER, &rtp(sequence, 0x33));
            scene.passes(20 * MS);
        }
        scene.passes(10_000 * MS);
        let sent = scene.sent.clone();
        assert_eq!(scene.other_takes(), NONE, "before there are keys");
        let clear = sent.iter().filter(|(.., to, it)| to.port() / 100 == 400 && it[0] >= 128);
        assert_eq!(clear.count(), 0, "RTP or RTCP without keys");
        let mut scene = Scene::connected(setting);
        for sequence in 1..20 {
            scene.arrives(scene.port(), TELEPHONE, &rtp(sequence, 0x55));
        }
        assert_eq!(scene.other_takes(), NONE, "once there are");
    }
}

#[test]
fn another_certificate_than_signalling_told_hears_nothing_and_is_not_heard() {
    for setting in settings() {
        let mut scene = Scene::new(Setting { is_honest: false, ..setting });
        scene.shakes_hands();
        assert_eq!(scene.speaks(0x55), NONE);
        assert_eq!(scene.is_told(0x33), NONE);
        scene.passes(60_000 * MS);
        let sent = scene.takes();
        assert!(sent.iter().all(|(.., it)| it[0] < 128), "no media");
        assert!(sent.len() < 10, "and an end of trying: {}", sent.len());
    }
}

#[test]
fn a_peer_that_closes_ends_its_media() {
    for setting in settings() {
        let mut scene = Scene::connected(setting);
        assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]], "control");
        scene.telephone.dtls.stop(scene.now, scene.relay());
        scene.shakes_hands();
        assert_eq!(scene.speaks(0x55), NONE);
        assert_eq!(scene.is_told(0x33), NONE);
    }
}

#[test]
fn rtcp_needs_the_port_whose_keys_there_are() {
    for (rtcp_mux, expected) in [(true, true), (false, false)] {
        let mut scene = Scene::connected(Setting { rtcp_mux, ..PLAIN });
        scene.passes(20_000 * MS);
        let sent = scene.takes();
        let reports = sent.iter().filter(|(.., it)| it[0] >= 128 && is_rtcp(it[1])).count();
        assert_eq!(reports > 0, expected, "{reports} reports");
        assert!(sent.iter().all(|(port, ..)| *port == scene.port()));
        assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]], "media goes either way");
        assert_eq!(scene.is_told(0x33), [vec![0x33; FRAME]]);
        // What a peer sends there is no report of anybody.
        let receiver_report = [0x80, 201, 0, 1, 0, 0, 0, 7];
        scene.arrives(scene.port() + 1, addr(TELEPHONE.port() + 1), &receiver_report);
        assert_eq!(scene.takes(), []);
    }
}

#[test]
fn a_re_offer_of_the_same_keeps_the_keys_and_another_address_begins_anew() {
    for setting in settings() {
        let mut scene = Scene::connected(setting);
        let fingerprint = fingerprint_of(&scene.telephone.certificate);
        scene.reoffers(leg(TELEPHONE, fingerprint, setting.role, true));
        assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]], "the same once more");
        let moved = addr(40_010);
        scene.reoffers(leg(moved, fingerprint, setting.role, true));
        assert_eq!(scene.speaks(0x55), NONE, "it is no longer there");
        scene.telephone.at = moved;
        assert_eq!(scene.speaks(0x55), NONE, "and has no keys there");
        let certificate = scene.telephone.certificate.clone();
        scene.telephone = Telephone::new(moved, certificate);
        if setting.role == DtlsRole::Server {
            scene.telephone.begins(scene.now, scene.relay());
        } else {
            scene.passes(1100 * MS);
            scene.sent.retain(|(.., it)| it[0] < 64);
        }
        scene.shakes_hands();
        assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]]);
    }
}

#[test]
fn a_leg_without_a_peer_is_silent_and_deaf_until_there_is_one() {
    let mut scene = Scene::with(Side::Engine, LegMedia::nobody(TELEPHONE.ip()));
    for sequence in 1..20 {
        scene.arrives(scene.port(), TELEPHONE, &rtp(sequence, 0x55));
        scene.arrives(scene.other_port(), OTHER, &rtp(sequence, 0x33));
        scene.passes(500 * MS);
    }
    assert_eq!(
        scene.sent.iter().filter(|(.., to, _)| *to != OTHER && to.port() != 50_001).count(),
        0
    );
    assert_eq!(scene.other_takes(), NONE);
    scene.enters();
    scene.passes(1000 * MS);
    assert_eq!(scene.takes(), [], "nor in a cut");
    scene.reoffers(peer_leg::media(TELEPHONE, None));
    scene.passes(1000 * MS);
    let heard = scene.takes();
    assert!(heard.iter().filter(|(.., it)| !is_rtcp(it[1])).count() >= 49, "{}", heard.len());
    assert!(heard.iter().all(|(.., it)| is_rtcp(it[1]) || it[12..] == [SILENCE; FRAME]));
}

/// What the engine hears of a caller in the open and in a cut, whatever protects its leg.
#[test]
fn a_cut_holds_on_a_plain_an_sdes_and_a_dtls_engine() {
    for role in [DtlsRole::Server, DtlsRole::Client] {
        cuts(Scene::connected(Setting { side: Side::Engine, role, ..PLAIN }));
    }
    for suite in Suite::ALL {
        let mut scene = Scene::with(Side::Engine, peer_leg::media(TELEPHONE, Some(suite)));
        // The peer sends with the first, and hears by the second.
        let keys = [1, 2].map(|fill| peer_leg::key(suite, fill));
        scene.telephone.keys = Some((Outbound::new(&keys[0]), Inbound::new(&keys[1])));
        cuts(scene);
    }
}

fn cuts(mut scene: Scene) {
    assert_eq!(scene.is_told(0x33), [vec![0x33; FRAME]], "control: the open");
    assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]], "control: the other way");
    scene.enters();
    scene.sent.clear();
    for _ in 0..100 {
        scene.sequence += 1;
        scene.arrives(scene.other_port(), OTHER, &rtp(scene.sequence, 0x33));
        scene.passes(20 * MS);
    }
    let heard = scene.telephone_hears();
    assert!((99..=101).contains(&heard.len()), "unbroken: {} frames in 2 s", heard.len());
    assert!(heard.iter().all(|frame| *frame == [SILENCE; FRAME]), "and nothing in them");
    let packet = scene.telephone.voice(0x55);
    scene.sent.clear();
    scene.arrives(scene.port(), TELEPHONE, &packet);
    assert!(!scene.other_takes().contains(&vec![0x55; FRAME]), "nor is the engine heard");
}

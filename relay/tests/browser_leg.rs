//! A browser's leg: what it has to prove before anything is sent to it or heard of it.
//!
//! The browser here is a full ICE agent of a few lines, the DTLS client of `rtc-dtls`, and SRTP.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

mod peer_leg;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::switchboard::dtls::{DtlsRole, Fingerprint, Identity};
use relay::switchboard::ice::{CONSENT, IceCredentials};
use relay::switchboard::{
    BrowserPeer, CallId, Command, DtlsPeer, LegMedia, LocalPort, OpenCall, PortPair, Reply, Side,
    SourceRule, Switchboard, SwitchboardConfig,
};
use relay::wire::ntp::NtpTime;
use relay::wire::rtp::{FIXED_HEADER_LEN, Header, RtpPacket, is_rtcp};
use relay::wire::srtp::{Inbound, MasterKey, Outbound, Suite};
use relay::wire::stun::{self, Class, IcePassword, Message, Role, TransactionId};
use ring::digest::{SHA256, digest};
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;

const CALLER_PORT: u16 = 10_000;
const ENGINE_PORT: u16 = 10_002;
const ENGINE: SocketAddr = addr(50_000);
const BROWSER: SocketAddr = addr(40_000);
const STRANGER: SocketAddr = addr(40_001);
const FRAME: usize = 160;
/// Of three datagrams each: 300,000 in all.
const SPRAYS: u32 = 100_000;
const MS: Duration = Duration::from_millis(1);

const fn addr(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), port)
}

/// What the relay has sent: from which port, where to, what.
type Sent = (u16, SocketAddr, Vec<u8>);

struct Scene {
    now: Instant,
    switchboard: Switchboard,
    browser: Browser,
    fingerprint: Fingerprint,
    /// What the relay is called in ICE.
    ours: &'static str,
    sent: Vec<Sent>,
}

/// The browser's side.
struct Browser {
    random: StdRng,
    dtls: Endpoint,
    keys: Option<(Outbound, Inbound)>,
    sequence: u16,
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials { ufrag: name.to_owned(), password: IcePassword::new(&name.repeat(6)) }
}

fn certificate() -> Certificate {
    let provider = rtc_crypto::default_provider().unwrap();
    Certificate::generate_self_signed(vec!["browser".to_owned()], provider.crypto()).unwrap()
}

fn fingerprint_of(certificate: &Certificate) -> Fingerprint {
    Fingerprint(digest(&SHA256, &certificate.certificate[0]).as_ref().try_into().unwrap())
}

impl Browser {
    fn new(now: Instant, certificate: Certificate, profile: SrtpProtectionProfile) -> Browser {
        let config = ConfigBuilder::default()
            .with_crypto_provider(rtc_crypto::default_provider().unwrap())
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(vec![profile])
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_insecure_skip_verify(true)
            .build(true, None)
            .unwrap();
        let mut dtls = Endpoint::new(BROWSER, TransportProtocol::UDP, None);
        dtls.connect(now, addr(CALLER_PORT), Arc::new(config), None).unwrap();
        Browser { random: StdRng::seed_from_u64(1), dtls, keys: None, sequence: 0 }
    }

    /// A check that nominates, of the relay by its name and under a password.
    fn check(&mut self, theirs: &str, password: &IcePassword) -> Vec<u8> {
        let check = stun::Check {
            theirs,
            ours: "them",
            role: Role::Controlling,
            tie_breaker: 1,
            use_candidate: true,
        };
        stun::check(TransactionId::random(&mut self.random), &check, password).to_vec()
    }

    /// Its answer to a check of the relay's.
    fn answer(check: &[u8]) -> Option<Vec<u8>> {
        let message = Message::parse(check).ok().filter(|it| it.class == Class::Request)?;
        assert!(message.is_from(&credentials("them").password));
        let password = credentials("them").password;
        Some(stun::success(message.transaction, addr(CALLER_PORT), &password).to_vec())
    }

    fn hear_dtls(&mut self, now: Instant, datagram: &[u8]) {
        let relay = addr(CALLER_PORT);
        let events = self.dtls.read(now, relay, None, BytesMut::from(datagram));
        let is_agreed = events.is_ok_and(|events| {
            events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete))
        });
        if is_agreed {
            let state = self.dtls.get_connection_state(relay).unwrap();
            let suite = Suite::from_dtls_profile(state.srtp_protection_profile() as u16).unwrap();
            let length = 2 * suite.master_len();
            let label = "EXTRACTOR-dtls_srtp";
            let exported = state.export_keying_material(label, &[], length).unwrap();
            let keys = MasterKey::from_dtls_export(suite, exported.as_ref()).unwrap();
            self.keys = Some((Outbound::new(&keys.client), Inbound::new(&keys.server)));
        }
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

fn switchboard(now: Instant) -> Switchboard {
    Switchboard::new(SwitchboardConfig {
        ports: CALLER_PORT..=CALLER_PORT + 3,
        media_timeout: Duration::from_secs(600),
        seed: [7; 32],
        ntp_anchor: (now, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
    })
}

impl Scene {
    fn new() -> Scene {
        Scene::with(|expected| expected, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80)
    }

    /// With another fingerprint in the offer than the browser's certificate has, perhaps.
    fn with(
        offered: impl FnOnce(Fingerprint) -> Fingerprint,
        profile: SrtpProtectionProfile,
    ) -> Scene {
        let now = Instant::now();
        let certificate = certificate();
        let fingerprint = offered(fingerprint_of(&certificate));
        let mut switchboard = switchboard(now);
        let peer = BrowserPeer {
            ours: credentials("ours"),
            theirs: credentials("them"),
            dtls: DtlsPeer {
                identity: Identity::generate().unwrap(),
                fingerprint,
                role: DtlsRole::Server,
            },
        };
        let caller = LegMedia {
            rtcp_mux: true,
            source: SourceRule::Browser(Box::new(peer)),
            ..peer_leg::media(addr(0), None)
        };
        let open = OpenCall {
            call: CallId(1),
            caller_ports: PortPair::new(CALLER_PORT).unwrap(),
            caller,
            engine_ports: PortPair::new(ENGINE_PORT).unwrap(),
            engine: peer_leg::media(ENGINE, None),
            armed: None,
            record: false,
        };
        switchboard.handle_command(now, Command::Open(Box::new(open))).map(drop).unwrap();
        let browser = Browser::new(now, certificate, profile);
        Scene { now, switchboard, browser, fingerprint, ours: "ours", sent: Vec::new() }
    }

    fn arrives(&mut self, port: u16, from: SocketAddr, datagram: &[u8]) {
        let mut buffer = [0; 2048];
        buffer[..datagram.len()].copy_from_slice(datagram);
        let port = LocalPort(port);
        let len = datagram.len();
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

    /// What was sent since, to anybody but the engine.
    fn takes(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
            .into_iter()
            .filter(|(port, ..)| *port == CALLER_PORT)
            .collect()
    }

    /// What the engine got since; reports aside.
    fn engine_takes(&mut self) -> Vec<Vec<u8>> {
        let sent = std::mem::take(&mut self.sent).into_iter();
        let to_engine = sent.filter(|(_, to, packet)| *to == ENGINE && !is_rtcp(packet[1]));
        to_engine.map(|(_, _, packet)| packet[FIXED_HEADER_LEN..].to_vec()).collect()
    }

    /// The browser nominates its address and answers the relay's check.
    fn proves(&mut self) {
        let check = self.browser.check(self.ours, &credentials(self.ours).password);
        self.arrives(CALLER_PORT, BROWSER, &check);
        let sent = self.takes();
        assert!(sent.iter().all(|(_, to, _)| *to == BROWSER));
        let answers: Vec<_> = sent.iter().filter_map(|(.., it)| Browser::answer(it)).collect();
        assert_eq!(answers.len(), 1, "one check of the relay's");
        for answer in answers {
            self.arrives(CALLER_PORT, BROWSER, &answer);
        }
    }

    /// Both sides of DTLS speak until neither has anything to say.
    fn shakes_hands(&mut self) {
        for _ in 0..50 {
            let mut spoke = false;
            while let Some(transmit) = self.browser.dtls.poll_transmit() {
                spoke = true;
                self.arrives(CALLER_PORT, BROWSER, &transmit.message);
            }
            for (_, to, datagram) in self.takes() {
                assert_eq!(to, BROWSER);
                spoke |= (20..64).contains(&datagram[0]);
                self.browser.hear_dtls(self.now, &datagram);
            }
            if !spoke {
                return;
            }
        }
        panic!("a handshake has an end");
    }

    fn connected() -> Scene {
        let mut scene = Scene::new();
        scene.proves();
        scene.shakes_hands();
        assert!(scene.browser.keys.is_some());
        scene
    }

    /// The browser speaks; what the engine gets of it.
    fn speaks(&mut self, octet: u8) -> Vec<Vec<u8>> {
        self.sent.clear();
        let packet = self.browser.voice(octet);
        self.arrives(CALLER_PORT, BROWSER, &packet);
        self.engine_takes()
    }
}

#[test]
fn both_sides_hear_each_other_by_every_profile() {
    for profile in [
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32,
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
    ] {
        let mut scene = Scene::with(|expected| expected, profile);
        scene.proves();
        scene.shakes_hands();
        assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]], "{profile:?}");
        scene.arrives(ENGINE_PORT, ENGINE, &rtp(1, 0x33));
        let sent = scene.takes();
        let heard: Vec<_> = sent.iter().filter_map(|(.., it)| scene.browser.heard(it)).collect();
        assert_eq!(heard, [vec![0x33; FRAME]], "{profile:?}");
    }
}

#[test]
fn nothing_is_sent_before_an_address_is_proven() {
    let mut scene = Scene::new();
    scene.passes(20_000 * MS);
    for sequence in 1..50 {
        scene.arrives(ENGINE_PORT, ENGINE, &rtp(sequence, 0x33));
    }
    let mut hello = Vec::new();
    while let Some(transmit) = scene.browser.dtls.poll_transmit() {
        hello.push(transmit.message.to_vec());
    }
    let wrong = scene.browser.check("ours", &IcePassword::new("guessed"));
    for _ in 0..100 {
        for datagram in hello.iter().chain([&wrong, &rtp(1, 0x55)]) {
            scene.arrives(CALLER_PORT, STRANGER, datagram);
        }
    }
    assert!(!hello.is_empty(), "control: there was a greeting to send");
    assert_eq!(scene.takes(), [], "octets to an address that has proven nothing");
}

#[test]
fn a_stranger_of_a_connected_browser_is_neither_heard_nor_answered() {
    let mut scene = Scene::connected();
    scene.takes();
    let packet = scene.browser.voice(0x55);
    scene.arrives(CALLER_PORT, STRANGER, &packet);
    scene.arrives(CALLER_PORT, STRANGER, &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1]);
    assert_eq!(scene.engine_takes(), [] as [Vec<u8>; 0]);
    assert_eq!(scene.takes(), []);
    // Control: the same packet from where the browser is.
    scene.arrives(CALLER_PORT, BROWSER, &packet);
    assert_eq!(scene.engine_takes(), [vec![0x55; FRAME]]);
}

#[test]
fn nothing_is_heard_in_clear() {
    let mut scene = Scene::new();
    scene.proves();
    scene.sent.clear();
    for sequence in 1..20 {
        scene.arrives(CALLER_PORT, BROWSER, &rtp(sequence, 0x55));
    }
    assert_eq!(scene.engine_takes(), [] as [Vec<u8>; 0], "before there are keys");
    let mut scene = Scene::connected();
    scene.sent.clear();
    for sequence in 1..20 {
        scene.arrives(CALLER_PORT, BROWSER, &rtp(sequence, 0x55));
    }
    assert_eq!(scene.engine_takes(), [] as [Vec<u8>; 0], "once there are");
}

#[test]
fn nothing_is_sent_in_clear() {
    let mut scene = Scene::new();
    scene.proves();
    scene.takes();
    for sequence in 1..50 {
        scene.arrives(ENGINE_PORT, ENGINE, &rtp(sequence, 0x33));
        scene.passes(20 * MS);
    }
    scene.passes(10_000 * MS);
    let sent = scene.takes();
    let media = sent.iter().filter(|(.., packet)| packet[0] >= 128).count();
    assert_eq!(media, 0, "RTP or RTCP without keys");
}

#[test]
fn another_certificate_than_the_offers_gets_no_media() {
    let other = |_| fingerprint_of(&certificate());
    let mut scene = Scene::with(other, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80);
    scene.proves();
    scene.shakes_hands();
    assert!(scene.browser.keys.is_none(), "the handshake has failed");
    scene.sent.clear();
    assert_eq!(scene.speaks(0x55), [] as [Vec<u8>; 0]);
    scene.arrives(ENGINE_PORT, ENGINE, &rtp(1, 0x33));
    assert_eq!(scene.takes(), []);
}

#[test]
fn media_ends_with_the_consent() {
    let mut scene = Scene::connected();
    scene.passes(CONSENT - 1000 * MS);
    scene.takes();
    scene.arrives(ENGINE_PORT, ENGINE, &rtp(1, 0x33));
    assert!(scene.takes().iter().any(|(.., it)| scene.browser.heard(it).is_some()), "until then");
    scene.passes(1000 * MS);
    scene.takes();
    scene.arrives(ENGINE_PORT, ENGINE, &rtp(2, 0x33));
    scene.passes(60_000 * MS);
    assert_eq!(scene.takes(), [], "and nothing after it");
    assert_eq!(scene.speaks(0x55), [] as [Vec<u8>; 0], "nor is anything heard");
    // It may prove itself again, with the same keys.
    scene.proves();
    assert_eq!(scene.speaks(0x56), [vec![0x56; FRAME]]);
}

#[test]
fn a_spray_of_greetings_and_checks_takes_no_memory_and_harms_no_call() {
    let mut scene = Scene::connected();
    scene.takes();
    let check = scene.browser.check("ours", &IcePassword::new("guessed"));
    let mut answered = 0;
    let mut spray = |scene: &mut Scene, number: u32| {
        let from = addr(1024 + (number % 30_000) as u16);
        let mut hello = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1];
        hello[5..9].copy_from_slice(&number.to_be_bytes());
        let media = rtp(number as u16, 0x44);
        for datagram in [&check[..], &hello, &media] {
            scene.arrives(CALLER_PORT, from, datagram);
        }
        answered += scene.sent.iter().filter(|(_, to, _)| *to != BROWSER).count();
        scene.sent.clear();
    };
    spray(&mut scene, 0);
    let grown = allocation_counter::measure(|| {
        (1..=SPRAYS).for_each(|number| spray(&mut scene, number));
    });
    assert_eq!((answered, grown.bytes_current), (0, 0), "answers, octets kept");
    assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]]);
}

/// What strangers and liars send: greetings, checks under another password, what is no media.
fn attack(scene: &mut Scene, greeting: &[u8]) {
    let wrong = IcePassword::new(&"wrong!".repeat(4));
    let check = scene.browser.check(scene.ours, &wrong);
    let voice = rtp(9, 0x66);
    for from in [STRANGER, addr(40_002)] {
        for datagram in [greeting, &check, &voice, &greeting[..20], &[0x16, 0xfe, 0xfd]] {
            scene.arrives(CALLER_PORT, from, datagram);
        }
    }
    // And in the browser's own name.
    for datagram in [&check[..], &voice, &[0x17, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0]] {
        scene.arrives(CALLER_PORT, BROWSER, datagram);
    }
}

#[test]
fn of_a_hundred_calls_under_attack_none_is_harmed() {
    let (profile, now) = (SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, Instant::now());
    let mut other = Browser::new(now, certificate(), profile);
    let greeting = other.dtls.poll_transmit().unwrap().message.to_vec();
    let (mut good, mut strangers) = (0, 0);
    for _ in 0..100 {
        let mut scene = Scene::new();
        let mut told = |scene: &mut Scene| {
            let sent = std::mem::take(&mut scene.sent).into_iter();
            let mut sent = sent.filter(|(_, to, _)| *to != BROWSER && *to != ENGINE);
            strangers += sent.by_ref().map(|(.., octets)| octets.len()).sum::<usize>();
        };
        attack(&mut scene, &greeting);
        told(&mut scene);
        scene.proves();
        attack(&mut scene, &greeting);
        told(&mut scene);
        scene.shakes_hands();
        attack(&mut scene, &greeting);
        told(&mut scene);
        let is_heard = scene.speaks(0x55) == [vec![0x55; FRAME]];
        scene.sent.clear();
        scene.arrives(ENGINE_PORT, ENGINE, &rtp(1, 0x33));
        let sent = scene.takes();
        let heard: Vec<_> = sent.iter().filter_map(|(.., it)| scene.browser.heard(it)).collect();
        good += usize::from(is_heard && heard == [vec![0x33; FRAME]]);
    }
    println!(
        "figure: {good} of 100 calls under attack are as good, {strangers} octets to strangers"
    );
    assert_eq!((good, strangers), (100, 0));
}

/// One record in the browser's name that nobody has sealed.
fn forged(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
    let [e0, e1] = epoch.to_be_bytes();
    [&[kind, 0xfe, 0xfd, e0, e1, 0, 0, 0, 0, 9, 9, 0, body.len() as u8], body].concat()
}

/// A fragment of one octet of a message of a hundred.
fn fragment(offset: u8) -> [u8; 13] {
    [1, 0, 0, 100, 0, 0, 0, 0, offset, 0, 0, 1, 7]
}

#[test]
fn nobody_ends_a_call_in_the_browsers_name() {
    for datagrams in [
        vec![vec![0x14]],
        vec![vec![0x3f; 40]],
        vec![forged(20, 1, &[1]), forged(20, 1, &[2]), forged(20, 2, &[1])],
        vec![forged(21, 0, &[2, 40]), forged(21, 0, &[1, 0])],
        vec![forged(21, 1, &[9; 26]); 2000],
        vec![forged(23, 0, &[1]); 100],
        vec![forged(23, 1, &[9; 40]); 100],
        vec![forged(22, 0, &[9; 5]); 300],
        vec![forged(22, 1, &[9; 40]); 300],
        (0..=255).map(|offset| forged(22, 0, &fragment(offset % 100))).collect(),
    ] {
        let mut scene = Scene::connected();
        scene.takes();
        for datagram in &datagrams {
            scene.arrives(CALLER_PORT, BROWSER, datagram);
        }
        let sent = scene.takes();
        let alerts = sent.iter().filter(|(.., packet)| packet[0] == 21).count();
        assert_eq!(alerts, 0, "alerts to the browser for {:?}", datagrams[0]);
        assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]], "after {:?}", datagrams[0]);
    }
}

#[test]
fn a_handshake_in_a_thousand_pieces_takes_no_time() {
    let mut scene = Scene::new();
    scene.proves();
    let pieces: Vec<u8> = (0..60).flat_map(|offset| forged(22, 0, &fragment(offset))).collect();
    let empty = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].repeat(100);
    for _ in 0..10_000 {
        scene.arrives(CALLER_PORT, BROWSER, &pieces);
        for offset in 0..20 {
            scene.arrives(CALLER_PORT, BROWSER, &forged(22, 0, &fragment(offset)));
        }
        scene.arrives(CALLER_PORT, BROWSER, &forged(22, 0, &empty[..240]));
    }
    // More than the bound is not looked at, so that this ends at all.
    scene.sent.clear();
    assert_eq!(scene.speaks(0x55), [] as [Vec<u8>; 0]);
}

#[test]
fn a_browser_that_is_elsewhere_keeps_its_keys() {
    let mut scene = Scene::connected();
    let fingerprint = scene.fingerprint;
    let offered = |ours: &str, fingerprint| {
        let peer = BrowserPeer {
            ours: credentials(ours),
            theirs: credentials("them"),
            dtls: DtlsPeer {
                identity: Identity::generate().unwrap(),
                fingerprint,
                role: DtlsRole::Server,
            },
        };
        let source = SourceRule::Browser(Box::new(peer));
        let media = LegMedia { rtcp_mux: true, source, ..peer_leg::media(addr(0), None) };
        let (call, side) = (CallId(1), Side::Caller);
        Command::Reoffer { call, side, media: Box::new(media) }
    };
    let reoffer = |scene: &mut Scene, command| {
        scene.switchboard.handle_command(scene.now, command).map(drop).unwrap();
        scene.runs_timers();
    };
    reoffer(&mut scene, offered("ours", fingerprint));
    assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]], "the same once more");
    reoffer(&mut scene, offered("anew", fingerprint));
    assert_eq!(scene.speaks(0x55), [] as [Vec<u8>; 0], "not until it has proven itself");
    scene.ours = "anew";
    scene.proves();
    assert_eq!(scene.speaks(0x55), [vec![0x55; FRAME]], "with the keys of before");
    reoffer(&mut scene, offered("anew", fingerprint_of(&certificate())));
    scene.proves();
    assert_eq!(scene.speaks(0x55), [] as [Vec<u8>; 0], "another browser has no keys yet");
}

#[test]
fn a_browsers_call_is_small() {
    let (mut kept, mut other) = (None, None);
    let connected = allocation_counter::measure(|| {
        let Scene { switchboard, .. } = Scene::connected();
        kept = Some(switchboard);
    });
    // A switchboard's own tables are of all its ports.
    let empty = allocation_counter::measure(|| other = Some(switchboard(Instant::now())));
    let each = connected.bytes_current - empty.bytes_current;
    println!("a browser's call and its certificate: {each} octets");
    let given_back = allocation_counter::measure(|| kept = other.take());
    assert!(given_back.bytes_current < 0, "control: the whole of it can be given back");
    assert!((8 << 10..40 << 10).contains(&each), "{each} octets");
}

#[test]
fn a_snapshot_tells_what_was_dropped() {
    let mut scene = Scene::connected();
    scene.arrives(CALLER_PORT, STRANGER, &rtp(1, 0x55));
    scene.arrives(CALLER_PORT, BROWSER, &rtp(1, 0x55));
    let snapshot = Command::Snapshot { call: CallId(1) };
    let Ok(Reply::Snapshot(snapshot)) = scene.switchboard.handle_command(scene.now, snapshot)
    else {
        panic!("a call that is open has a snapshot");
    };
    assert_eq!(snapshot.legs[0].drops.iter().sum::<u64>(), 2);
}

//! SRTP against `webrtc-srtp`: the same octets on the wire, the same packets accepted and refused,
//! over a network that loses, reorders, repeats and forges, through three rollovers.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use relay::wire::rtp::Header;
use relay::wire::srtp::{Inbound, MAX_OVERHEAD, MasterKey, Outbound, Suite, WINDOW};
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

const SSRC: u32 = 0x0bad_cafe;
const FIRST_SEQUENCE: u16 = 65_000;
/// Three rollovers and some.
const PACKETS: usize = 3 * 65_536 + 2_000;
/// How far a packet is delayed at most, in packets: beyond the window, so that both sides refuse.
const MAX_DELAY: usize = WINDOW as usize + 40;

fn key_and_salt(suite: Suite) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(u64::from(suite.dtls_profile()));
    (0..suite.master_len()).map(|_| rng.random()).collect()
}

fn our_key(suite: Suite) -> MasterKey {
    MasterKey::from_bytes(suite, &key_and_salt(suite)).expect("of the suite's length")
}

fn their_context(suite: Suite) -> Context {
    let profile = match suite {
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
    };
    let master = key_and_salt(suite);
    let (key, salt) = master.split_at(suite.key_len());
    Context::new(
        key,
        salt,
        profile,
        Some(srtp_replay_protection(WINDOW as usize)),
        Some(srtcp_replay_protection(WINDOW as usize)),
    )
    .expect("of the profile's length")
}

fn rtp_packet(rng: &mut StdRng, number: usize) -> Vec<u8> {
    let header = Header {
        marker: number == 0,
        payload_type: 8,
        sequence: FIRST_SEQUENCE.wrapping_add(number as u16),
        timestamp: 160 * number as u32,
        ssrc: SSRC,
    };
    let mut packet = vec![0; 12];
    header.write(packet.first_chunk_mut().expect("twelve octets"));
    let payload_len = rng.random_range(0..200);
    packet.extend((0..payload_len).map(|_| rng.random::<u8>()));
    packet
}

fn receiver_report(number: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(SSRC.to_be_bytes());
    packet.extend([0x80, 204, 0, 3]);
    packet.extend(SSRC.to_be_bytes());
    packet.extend(*b"test");
    packet.extend((number as u32).to_be_bytes());
    packet
}

type Protect = fn(&mut Outbound, &mut [u8], usize) -> Option<usize>;

fn protected(outbound: &mut Outbound, plain: &[u8], protect: Protect) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + MAX_OVERHEAD, 0);
    let len = protect(outbound, &mut buffer, plain.len()).expect("fresh index, room");
    buffer.truncate(len);
    buffer
}

/// What arrives, in order: losses, delays, repetitions, and here and there a forged bit.
fn deliver(rng: &mut StdRng, sent: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut arriving: Vec<(usize, Vec<u8>)> = Vec::new();
    for (time, packet) in sent.iter().enumerate() {
        let fate = rng.random_range(0..100);
        if fate < 3 {
            continue;
        }
        let delay = if fate < 20 { rng.random_range(0..MAX_DELAY) } else { 0 };
        arriving.push((time + delay, packet.clone()));
        if fate >= 97 {
            arriving.push((time + rng.random_range(0..MAX_DELAY), packet.clone()));
        }
        if fate == 50 {
            let mut forged = packet.clone();
            let bit = rng.random_range(0..8 * forged.len());
            forged[bit / 8] ^= 1 << (bit % 8);
            arriving.push((time, forged));
        }
    }
    arriving.sort_by_key(|(time, _)| *time);
    arriving.into_iter().map(|(_, packet)| packet).collect()
}

#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
}

impl Tally {
    /// Both sides' answers to one packet: plain octets, or nothing.
    fn compare(&mut self, ours: Option<&[u8]>, theirs: Option<&[u8]>) {
        assert!(ours == theirs, "after {} accepted, {} refused", self.accepted, self.refused);
        match ours {
            Some(_) => self.accepted += 1,
            None => self.refused += 1,
        }
    }
}

fn check_rtp(suite: Suite) {
    let mut rng = StdRng::seed_from_u64(3_711);
    let (mut ours, mut theirs) = (Outbound::new(&our_key(suite)), their_context(suite));
    let mut sent = Vec::with_capacity(PACKETS);
    for number in 0..PACKETS {
        let plain = rtp_packet(&mut rng, number);
        let packet = protected(&mut ours, &plain, |outbound, buffer, len| {
            outbound.protect(buffer, len).ok()
        });
        let expected = theirs.encrypt_rtp(&plain).expect("fresh index");
        assert!(packet == expected, "{suite:?}: packet {number}");
        sent.push(packet);
    }
    let (mut ours, mut theirs) = (Inbound::new(&our_key(suite)), their_context(suite));
    let mut tally = Tally::default();
    for packet in deliver(&mut rng, &sent) {
        let mut buffer = packet.clone();
        let plain_len = ours.unprotect(&mut buffer).ok();
        let plain = theirs.decrypt_rtp(&packet).ok();
        tally.compare(plain_len.map(|len| &buffer[..len]), plain.as_deref());
    }
    assert!(tally.accepted > PACKETS * 9 / 10, "{suite:?}: {} accepted", tally.accepted);
    assert!(tally.refused > PACKETS / 100, "{suite:?}: {} refused", tally.refused);
}

fn check_rtcp(suite: Suite) {
    const REPORTS: usize = 5_000;
    let mut rng = StdRng::seed_from_u64(3_711);
    let (mut ours, mut theirs) = (Outbound::new(&our_key(suite)), their_context(suite));
    let protect: Protect = |outbound, buffer, len| outbound.protect_rtcp(buffer, len).ok();
    // They begin with index 1, we with 0, as RFC 3711 section 3.2.1 says.
    let mut sent = vec![protected(&mut ours, &receiver_report(0), protect)];
    for number in 1..REPORTS {
        let plain = receiver_report(number);
        let packet = protected(&mut ours, &plain, protect);
        let expected = theirs.encrypt_rtcp(&plain).expect("fresh index");
        assert!(packet == expected, "{suite:?}: report {number}");
        sent.push(packet);
    }
    let (mut ours, mut theirs) = (Inbound::new(&our_key(suite)), their_context(suite));
    let mut tally = Tally::default();
    for packet in deliver(&mut rng, &sent) {
        let mut buffer = packet.clone();
        let plain_len = ours.unprotect_rtcp(&mut buffer).ok();
        let plain = theirs.decrypt_rtcp(&packet).ok();
        tally.compare(plain_len.map(|len| &buffer[..len]), plain.as_deref());
    }
    assert!(tally.accepted > REPORTS * 9 / 10, "{suite:?}: {} accepted", tally.accepted);
    assert!(tally.refused > REPORTS / 100, "{suite:?}: {} refused", tally.refused);
}

#[test]
fn rtp_with_aes_cm_80() {
    check_rtp(Suite::AesCm128HmacSha1_80);
}

#[test]
fn rtp_with_aes_cm_32() {
    check_rtp(Suite::AesCm128HmacSha1_32);
}

#[test]
fn rtp_with_gcm_128() {
    check_rtp(Suite::AeadAes128Gcm);
}

#[test]
fn rtp_with_gcm_256() {
    check_rtp(Suite::AeadAes256Gcm);
}

#[test]
fn rtcp_with_every_suite() {
    for suite in Suite::ALL {
        check_rtcp(suite);
    }
}

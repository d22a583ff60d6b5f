//! Offers as phones, exchanges and trunks write them, and what becomes of each.

use std::net::SocketAddr;

use dtmf::g711::Law;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::codec::Codec;
use relay::wire::sdp::{
    AddressRefusal, Agreement, Answer, LocalMedia, Offer, Policy, PreviousAnswer, SdpRefusal,
};
use relay::wire::srtp::MasterKey;

#[test]
fn an_automatic_caller() {
    check(
        include_bytes!("sdp/sipp.sdp"),
        "198.51.100.10:6000 198.51.100.10:6001 A=8 event=101 20ms send+receive plain",
    );
}

#[test]
fn a_softphone_that_multiplexes_rtcp() {
    check(
        include_bytes!("sdp/baresip.sdp"),
        "198.51.100.20:25040 198.51.100.20:25040 mux Mu=0 event=101 20ms send+receive plain",
    );
}

#[test]
fn a_softphone_with_keys_over_ipv6() {
    check(
        include_bytes!("sdp/baresip-sdes.sdp"),
        "[2001:db8::20]:25042 [2001:db8::20]:25043 A=8 event=101 20ms send+receive \
         AES_CM_128_HMAC_SHA1_80",
    );
}

#[test]
fn an_exchange() {
    check(
        include_bytes!("sdp/asterisk.sdp"),
        "203.0.113.40:17442 203.0.113.40:17443 Mu=0 event=101 20ms send+receive plain",
    );
    check(
        include_bytes!("sdp/asterisk-sdes.sdp"),
        "203.0.113.40:17444 203.0.113.40:17445 A=8 event=101 20ms send+receive \
         AES_CM_128_HMAC_SHA1_80",
    );
}

#[test]
fn a_softphone_behind_nat_with_three_event_clocks() {
    check(
        include_bytes!("sdp/linphone.sdp"),
        "198.51.100.30:7078 198.51.100.31:60123 Mu=0 event=100 20ms send+receive plain",
    );
    check(
        include_bytes!("sdp/linphone-srtp.sdp"),
        "198.51.100.30:7080 198.51.100.30:7081 A=8 event=101 20ms send+receive AEAD_AES_128_GCM",
    );
}

#[test]
fn a_switch_that_prefers_suites_we_lack() {
    check(
        include_bytes!("sdp/freeswitch.sdp"),
        "203.0.113.50:29114 203.0.113.50:29115 Mu=0 event=101 20ms send+receive plain",
    );
    check(
        include_bytes!("sdp/freeswitch-sdes.sdp"),
        "203.0.113.50:29116 203.0.113.50:29117 Mu=0 event=101 20ms send+receive \
         AES_CM_128_HMAC_SHA1_80",
    );
}

#[test]
fn a_trunk_with_a_key_lifetime() {
    check(
        include_bytes!("sdp/twilio.sdp"),
        "203.0.113.60:15066 203.0.113.60:15067 Mu=0 event=101 20ms send+receive \
         AES_CM_128_HMAC_SHA1_80",
    );
}

#[test]
fn a_fax_exchange_with_streams_we_refuse() {
    check(
        include_bytes!("sdp/pbx-fax.sdp"),
        "198.51.100.70:41020 198.51.100.70:41021 A=97 event=102 30ms receive plain",
    );
}

#[test]
fn a_browser_needs_a_relay_with_a_certificate() {
    let refusal = agree(include_bytes!("sdp/browser.sdp"), None).err();
    assert_eq!(refusal, Some(SdpRefusal::NoBrowsers));
}

#[test]
fn a_preferred_law_goes_before_the_order_of_the_offer() {
    let policy = Policy { preferred_law: Some(Law::A), ..Policy::default() };
    let offer = Offer::parse(include_bytes!("sdp/asterisk.sdp")).unwrap();
    let agreement = offer.agree(&policy, None, &mut rng(1)).unwrap();
    assert_eq!((agreement.payload_type, agreement.codec), (8, Codec::G711(Law::A)));
}

#[test]
fn the_answer_to_a_plain_offer() {
    let expected = "v=0\r\n\
        o=- ID 1 IN IP4 203.0.113.9\r\n\
        s=-\r\n\
        c=IN IP4 203.0.113.9\r\n\
        t=3034423619 3042462419\r\n\
        m=image 0 udptl t38\r\n\
        m=audio 0 RTP/AVP 8\r\n\
        m=application 0 UDP/BFCP *\r\n\
        m=audio 10000 RTP/AVP 97 102\r\n\
        a=rtpmap:97 PCMA/8000\r\n\
        a=rtpmap:102 telephone-event/8000\r\n\
        a=fmtp:102 0-15\r\n\
        a=ptime:30\r\n\
        a=sendonly\r\n\
        a=rtcp:10001 IN IP4 203.0.113.9\r\n\
        m=audio 0 RTP/AVP 0\r\n";
    let answer = answered(include_bytes!("sdp/pbx-fax.sdp"), None, 7);
    let id = session_id(answer.text());
    assert_eq!(answer.text(), expected.replace("ID", &id));
}

#[test]
fn the_answer_to_an_encrypted_offer() {
    let answer = answered(include_bytes!("sdp/freeswitch-sdes.sdp"), None, 7);
    let text = answer.text();
    let (head, key) = text.split_once("inline:").unwrap();
    let expected = format!(
        "v=0\r\n\
         o=- {} 1 IN IP4 203.0.113.9\r\n\
         s=-\r\n\
         c=IN IP4 203.0.113.9\r\n\
         t=0 0\r\n\
         m=audio 10000 RTP/SAVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-15\r\n\
         a=ptime:20\r\n\
         a=sendrecv\r\n\
         a=rtcp:10001 IN IP4 203.0.113.9\r\n\
         a=crypto:4 AES_CM_128_HMAC_SHA1_80 ",
        session_id(text)
    );
    assert_eq!(head, expected);
    let (key, rest) = key.split_once("\r\n").unwrap();
    assert_eq!(key.len(), 40, "sixteen octets of key and fourteen of salt in base64");
    assert_eq!(rest, "m=audio 0 RTP/AVP 0\r\n");
}

#[test]
fn the_answer_to_an_offer_that_multiplexes() {
    let text = String::from(answered(include_bytes!("sdp/baresip.sdp"), None, 7).text());
    assert!(text.ends_with("a=ptime:20\r\na=sendrecv\r\na=rtcp-mux\r\n"), "{text}");
    let local = LocalMedia {
        rtp: "[2001:db8::9]:10000".parse().unwrap(),
        rtcp: "[2001:db8::9]:10001".parse().unwrap(),
    };
    let agreement = agree(include_bytes!("sdp/baresip-sdes.sdp"), None).unwrap();
    let answer = agreement.answer(local);
    assert!(answer.text().contains("\r\nc=IN IP6 2001:db8::9\r\n"));
    assert!(answer.text().contains("\r\na=rtcp:10001 IN IP6 2001:db8::9\r\n"));
}

#[test]
fn an_answer_is_an_offer_that_leads_back() {
    for offer in [&include_bytes!("sdp/twilio.sdp")[..], include_bytes!("sdp/linphone-srtp.sdp")] {
        let answer = answered(offer, None, 3);
        let ours = agree(offer, None).unwrap();
        let theirs = agree(answer.text().as_bytes(), None).unwrap();
        assert_eq!(theirs.payload_type, ours.payload_type);
        assert_eq!(theirs.telephone_event, ours.telephone_event);
        let keys = theirs.srtp.unwrap();
        let own = ours.srtp.unwrap();
        assert!(keys.inbound.key.same_as(&own.outbound.key), "the same seed makes the same key");
        assert!(!keys.inbound.key.same_as(&own.inbound.key), "one key a direction");
    }
}

#[test]
fn every_answer_has_a_key_of_its_own() {
    let mut rng = rng(5);
    let mut seen: Vec<MasterKey> = Vec::new();
    for _ in 0..100 {
        let offer = Offer::parse(include_bytes!("sdp/twilio.sdp")).unwrap();
        let keys = offer.agree(&Policy::default(), None, &mut rng).unwrap().srtp.unwrap();
        assert!(!seen.iter().any(|key| key.same_as(&keys.outbound.key)));
        seen.push(keys.outbound.key);
    }
}

#[test]
fn a_re_offer_keeps_the_session_and_counts_changes() {
    let plain = include_bytes!("sdp/baresip.sdp");
    let first = answered(plain, None, 1);
    let id = session_id(first.text());
    let origin = |answer: &Answer| answer.text().lines().nth(1).map(str::to_owned).unwrap();
    let first_origin = origin(&first);
    assert_eq!(first_origin, format!("o=- {id} 1 IN IP4 203.0.113.9"));

    let same = answered(plain, Some(&first.into_previous()), 2);
    assert_eq!(origin(&same), first_origin, "nothing changed");

    let held = edited(plain, "a=sendrecv", "a=sendonly");
    let held = answered(&held, Some(&same.into_previous()), 3);
    assert_eq!(origin(&held), format!("o=- {id} 2 IN IP4 203.0.113.9"));
    assert!(held.text().contains("\r\na=recvonly\r\n"));

    let back = answered(plain, Some(&held.into_previous()), 4);
    assert_eq!(origin(&back), format!("o=- {id} 3 IN IP4 203.0.113.9"));
}

#[test]
fn a_re_offer_of_an_encrypted_call_gets_a_new_key() {
    let offer = include_bytes!("sdp/twilio.sdp");
    let first = answered(offer, None, 1);
    let line = |answer: &Answer| crypto_line(answer.text());
    let first_line = line(&first);
    let again = answered(offer, Some(&first.into_previous()), 2);
    assert_ne!(line(&again), first_line);
    assert!(again.text().lines().nth(1).unwrap().contains(" 2 IN IP4 "));
}

#[test]
fn our_own_key_is_not_taken_back() {
    let offer = include_bytes!("sdp/asterisk-sdes.sdp");
    let first = answered(offer, None, 1);
    let echoed = edited(
        offer,
        &crypto_line(std::str::from_utf8(offer).unwrap()),
        &crypto_line(first.text()),
    );
    // Without the previous answer nothing tells it from any other key: the control of this test.
    assert!(agree(&echoed, None).is_ok());
    let previous = first.into_previous();
    assert_eq!(agree(&echoed, Some(&previous)).err(), Some(SdpRefusal::KeyEchoed));
    // Nor behind a line that would have been chosen before it.
    let first_line = crypto_line(std::str::from_utf8(offer).unwrap());
    let second = crypto_line(std::str::from_utf8(&echoed).unwrap()).replace("crypto:1", "crypto:2");
    let both = edited(offer, &first_line, &format!("{first_line}\r\n{second}"));
    assert_eq!(agree(&both, Some(&previous)).err(), Some(SdpRefusal::KeyEchoed));
    assert!(agree(offer, Some(&previous)).is_ok());
}

#[test]
fn the_answer_does_without_the_keys_once_the_media_plane_has_them() {
    let offer = include_bytes!("sdp/twilio.sdp");
    let whole = answered(offer, None, 3);
    let mut agreement = agree(offer, None).unwrap();
    let keys = agreement.srtp.take().unwrap();
    let answer = agreement.answer(local());
    assert_eq!(answer.text(), whole.text());
    let theirs = agree(answer.text().as_bytes(), None).unwrap().srtp.unwrap();
    assert!(theirs.inbound.key.same_as(&keys.outbound.key));
    let echoed = answer.text().to_owned();
    let refusal = agree(echoed.as_bytes(), Some(&answer.into_previous())).err();
    assert_eq!(refusal, Some(SdpRefusal::KeyEchoed));
}

#[test]
fn hold_without_an_address_keeps_the_address() {
    let offer = include_bytes!("sdp/sipp.sdp");
    let held = edited(offer, "c=IN IP4 198.51.100.10", "c=IN IP4 0.0.0.0");
    let refusal = SdpRefusal::Address(AddressRefusal::Unspecified);
    assert_eq!(agree(&held, None).err(), Some(refusal), "no call in progress");

    let previous = answered(offer, None, 1).into_previous();
    let agreement = agree(&held, Some(&previous)).unwrap();
    assert_eq!(agreement.remote_rtp, address("198.51.100.10:6000"));
    assert_eq!(agreement.remote_rtcp, address("198.51.100.10:6001"));
    assert!(agreement.they_send && !agreement.they_receive);
    assert!(agreement.answer(local()).text().contains("\r\na=recvonly\r\n"));

    let six = edited(offer, "c=IN IP4 198.51.100.10", "c=IN IP6 ::");
    let agreement = agree(&six, Some(&previous)).unwrap();
    assert!(!agreement.they_receive);
}

#[test]
fn the_four_directions_are_mirrored() {
    let cases = [
        ("a=sendrecv", true, true, "a=sendrecv"),
        ("a=sendonly", true, false, "a=recvonly"),
        ("a=recvonly", false, true, "a=sendonly"),
        ("a=inactive", false, false, "a=inactive"),
    ];
    for (offered, sends, receives, mirrored) in cases {
        let media = edited(include_bytes!("sdp/asterisk.sdp"), "a=sendrecv", offered);
        let session =
            edited(include_bytes!("sdp/sipp.sdp"), "t=0 0", &format!("t=0 0\r\n{offered}"));
        for offer in [media, session] {
            let agreement = agree(&offer, None).unwrap();
            assert_eq!((agreement.they_send, agreement.they_receive), (sends, receives));
            let answer = agreement.answer(local());
            assert!(answer.text().contains(&format!("\r\n{mirrored}\r\n")), "{offered}");
        }
    }
}

#[test]
fn packet_times_that_we_grant() {
    let cases = [
        ("a=ptime:10", 10),
        ("a=ptime:20", 20),
        ("a=ptime:30", 30),
        ("a=ptime:40.0", 40),
        ("a=ptime:60", 60),
        ("a=ptime:50", 20),
        ("a=ptime:0", 20),
        ("a=ptime:99999999999999999999", 20),
        ("a=ptime:", 20),
        ("a=x-none", 20),
        ("a=ptime:60\r\na=maxptime:40", 40),
        ("a=ptime:60\r\na=maxptime:59", 40),
        ("a=maxptime:10", 10),
        ("a=maxptime:19.9", 10),
        ("a=maxptime:99999999999999999999", 20),
    ];
    for (wish, granted) in cases {
        let offer = edited(include_bytes!("sdp/sipp.sdp"), "a=fmtp:101 0-11,16", wish);
        let agreement = agree(&offer, None).unwrap();
        assert_eq!(agreement.ptime_ms, granted, "{wish}");
        let answer = agreement.answer(local());
        assert!(answer.text().contains(&format!("\r\na=ptime:{granted}\r\n")));
    }
}

#[test]
fn rtcp_has_its_own_port_when_a_payload_type_would_be_mistaken_for_it() {
    let offer = edited(include_bytes!("sdp/baresip.sdp"), "telephone-event/8000", "x/8000");
    let offer = edited(&offer, "a=rtpmap:96 opus/48000/2", "a=rtpmap:72 telephone-event/8000");
    let offer = edited(&offer, "RTP/AVP 96 ", "RTP/AVP 72 ");
    let agreement = agree(&offer, None).unwrap();
    assert_eq!(agreement.telephone_event, Some(72));
    assert!(!agreement.rtcp_mux);
    assert_eq!(agreement.remote_rtcp, address("198.51.100.20:25041"));
}

#[test]
fn maps_beat_static_meanings_and_the_first_of_two_counts() {
    let offer =
        edited(include_bytes!("sdp/asterisk.sdp"), "a=rtpmap:0 PCMU/8000", "a=rtpmap:0 L16/8000");
    assert_eq!(agree(&offer, None).unwrap().payload_type, 8);
    let twice = "a=rtpmap:101 telephone-event/8000\r\na=rtpmap:101 PCMU/8000";
    let offer = edited(include_bytes!("sdp/sipp.sdp"), "a=rtpmap:101 telephone-event/8000", twice);
    assert_eq!(agree(&offer, None).unwrap().telephone_event, Some(101));
    // Two payload types for one meaning: the answer names one.
    let offer = edited(include_bytes!("sdp/sipp.sdp"), "AVP 8 101", "AVP 8 101 101 110");
    let offer = edited(&offer, "a=fmtp:101", "a=rtpmap:110 telephone-event/8000\r\na=fmtp:101");
    let answer = answered(&offer, None, 1);
    assert_eq!(answer.text().matches("telephone-event").count(), 1);
    assert!(answer.text().contains("m=audio 10000 RTP/AVP 8 101\r\n"));
}

#[test]
fn an_offer_without_keys_events_gets_none() {
    let offer =
        edited(include_bytes!("sdp/sipp.sdp"), "telephone-event/8000", "telephone-event/16000");
    let agreement = agree(&offer, None).unwrap();
    assert_eq!(agreement.telephone_event, None);
    assert!(agreement.answer(local()).text().contains("m=audio 10000 RTP/AVP 8\r\n"));
}

#[test]
fn redundancy_is_answered_for_key_events_alone() {
    // Behind the map of telephone-event, whose payload type is 101; 8 is the audio.
    let cases = [
        ("a=rtpmap:121 red/8000\r\na=fmtp:121 101/101", Some(121)),
        ("a=rtpmap:121 red/8000/1\r\na=fmtp:121 101/101/101", Some(121)),
        ("a=rtpmap:121 RED/8000\r\na=fmtp:121 8/101", Some(121)),
        ("a=fmtp:121 101\r\na=rtpmap:121 red/8000", Some(121)),
        ("a=rtpmap:121 red/8000\r\na=fmtp:121 8/8", None),
        ("a=rtpmap:121 red/8000", None),
        ("a=rtpmap:121 red/8000\r\na=fmtp:122 101/101", None),
        ("a=rtpmap:121 red/8000\r\na=fmtp:121 1010/0101x", None),
        ("a=rtpmap:121 red/8000\r\na=fmtp:121 101,101", None),
        ("a=rtpmap:121 red/8000\r\na=fmtp:121", None),
        ("a=rtpmap:121 red/48000\r\na=fmtp:121 101/101", None),
        ("a=rtpmap:121 red/8000/2\r\na=fmtp:121 101/101", None),
    ];
    for (lines, redundancy) in cases {
        let offer = edited(include_bytes!("sdp/sipp.sdp"), "AVP 8 101", "AVP 8 121 101");
        let map = "a=rtpmap:101 telephone-event/8000";
        let offer = edited(&offer, map, &format!("{map}\r\n{lines}"));
        let agreement = agree(&offer, None).unwrap();
        assert_eq!(agreement.redundancy, redundancy, "{lines}");
        let answer = agreement.answer(local());
        let (formats, list) = match redundancy {
            Some(_) => ("AVP 8 101 121\r\n", 1),
            None => ("AVP 8 101\r\n", 0),
        };
        assert!(answer.text().contains(formats), "{lines}: {}", answer.text());
        let map = "a=rtpmap:121 red/8000\r\n";
        assert_eq!(answer.text().matches(map).count(), list, "{lines}");
        assert_eq!(answer.text().matches("a=fmtp:121 101/101\r\n").count(), list, "{lines}");
        assert_eq!(answer.text().matches("a=fmtp:121").count(), list, "{lines}");
    }
}

#[test]
fn redundancy_without_key_events_is_left_out() {
    let offer = edited(include_bytes!("sdp/sipp.sdp"), "AVP 8 101", "AVP 8 101 121");
    let offer = edited(
        &offer,
        "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:101 x/8000\r\na=rtpmap:121 red/8000\r\na=fmtp:121 101/101",
    );
    assert_eq!(agree(&offer, None).unwrap().redundancy, None);
}

fn check(offer: &[u8], expected: &str) {
    let crlf_to_lf: Vec<u8> = offer.iter().copied().filter(|octet| *octet != b'\r').collect();
    for text in [offer, &crlf_to_lf] {
        let agreement = agree(text, None).expect("agreed");
        assert_eq!(summary(&agreement), expected);
    }
}

fn summary(agreement: &Agreement) -> String {
    let suite = agreement.srtp.as_ref().map_or("plain", |keys| keys.inbound.key.suite().name());
    let event = agreement.telephone_event.map_or(String::from("none"), |event| event.to_string());
    let roles = match (agreement.they_send, agreement.they_receive) {
        (true, true) => "send+receive",
        (true, false) => "send",
        (false, true) => "receive",
        (false, false) => "inactive",
    };
    format!(
        "{} {}{} {:?}={} event={event} {}ms {roles} {suite}",
        agreement.remote_rtp,
        agreement.remote_rtcp,
        if agreement.rtcp_mux { " mux" } else { "" },
        agreement.codec.law().expect("telephones speak G.711 here"),
        agreement.payload_type,
        agreement.ptime_ms,
    )
}

fn agree(offer: &[u8], previous: Option<&PreviousAnswer>) -> Result<Agreement, SdpRefusal> {
    agree_seeded(offer, previous, 3)
}

fn agree_seeded(
    offer: &[u8],
    previous: Option<&PreviousAnswer>,
    seed: u64,
) -> Result<Agreement, SdpRefusal> {
    let offer = Offer::parse(offer).unwrap_or_else(|error| panic!("{error}"));
    offer.agree(&Policy::default(), previous, &mut rng(seed))
}

fn answered(offer: &[u8], previous: Option<&PreviousAnswer>, seed: u64) -> Answer {
    let agreement = agree_seeded(offer, previous, seed).expect("agreed");
    agreement.answer(local())
}

fn edited(offer: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(offer).expect("text");
    assert!(text.contains(from), "nothing to edit");
    text.replace(from, to).into_bytes()
}

fn crypto_line(text: &str) -> String {
    text.lines().find(|line| line.starts_with("a=crypto:")).expect("a key").to_owned()
}

fn session_id(text: &str) -> String {
    let origin = text.lines().nth(1).expect("a second line");
    origin.split(' ').nth(1).expect("a session id").to_owned()
}

fn local() -> LocalMedia {
    LocalMedia { rtp: address("203.0.113.9:10000"), rtcp: address("203.0.113.9:10001") }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

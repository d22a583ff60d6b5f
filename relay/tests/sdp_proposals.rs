//! Offers of our own, and what becomes of their answers.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::net::SocketAddr;

use dtmf::g711::Law;
use proptest::collection::vec;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::codec::{Codec, SampleRate};
use relay::wire::sdp::{
    AddressRefusal, Agreement, AnswerFault, DtlsRole, LocalMedia, Offer, Policy, PreviousAnswer,
    Proposal, RtcpMux, SdpRefusal, Settled, Transport, Wishes,
};
use relay::wire::srtp::Suite;

const CALLER: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\n\
    t=0 0\r\nm=audio 4000 RTP/AVP 8 0 9 107 18 101 102\r\na=rtpmap:107 opus/48000/2\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=rtpmap:102 telephone-event/48000\r\na=ptime:30\r\n";
const BROWSER: &str = include_str!("sdp/browser.sdp");

const TRANSPORTS: [Transport; 6] = [
    Transport::Avp,
    Transport::Avpf,
    Transport::Savp,
    Transport::Savpf,
    Transport::DtlsSavp,
    Transport::DtlsSavpf,
];

fn policy() -> Policy {
    Policy { certificate: Some([0xab; 32]), ..Policy::default() }
}

fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn local() -> LocalMedia {
    let at = |port| SocketAddr::from(([203, 0, 113, 9], port));
    LocalMedia { rtp: at(10_000), rtcp: at(10_001) }
}

/// The callee's.
fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 9], port))
}

fn wishes(transport: Transport, caller: &str) -> Wishes {
    let menu = Offer::parse(caller.as_bytes()).unwrap().menu().unwrap();
    let rtcp_mux = RtcpMux::Offered;
    Wishes { transport, ice: false, rtcp_mux, suites: Suite::ALL.to_vec(), menu }
}

fn proposal(wishes: Wishes) -> Proposal {
    Proposal::new(wishes, &policy(), None, &mut rng(1)).unwrap()
}

/// An answer of one audio stream.
fn answer(media: &str) -> String {
    format!(
        "v=0\r\no=- 5 5 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n\
         m=audio 6000 {media}\r\n"
    )
}

fn accept(proposal: &mut Proposal, text: &str) -> Result<Agreement<Settled>, AnswerFault> {
    proposal.accept(text.as_bytes(), &policy())
}

fn refusal(proposal: &mut Proposal, text: &str) -> Option<SdpRefusal> {
    match accept(proposal, text) {
        Ok(_) => None,
        Err(AnswerFault::Refused(refusal)) => Some(refusal),
        Err(AnswerFault::Malformed(error)) => panic!("{error}"),
    }
}

fn version(text: &str) -> (u64, u64) {
    let origin = text.lines().find_map(|line| line.strip_prefix("o=- ")).unwrap();
    let mut numbers = origin.split(' ').map(|word| word.parse().ok());
    (numbers.next().flatten().unwrap(), numbers.next().flatten().unwrap())
}

/// The key lines of a description.
fn keys(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("a=crypto:")).collect()
}

#[test]
fn what_the_caller_speaks_is_offered_in_its_order_under_its_numbers() {
    let text = proposal(wishes(Transport::Avp, CALLER)).offer(local());
    let (id, _) = version(&text);
    let expected = format!(
        "v=0\r\no=- {id} 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\n\
         m=audio 10000 RTP/AVP 8 0 9 107 101 102\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:9 G722/8000\r\n\
         a=rtpmap:107 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=rtpmap:102 telephone-event/48000\r\n\
         a=fmtp:107 minptime=10;useinbandfec=1;usedtx=0\r\na=maxptime:60\r\n\
         a=fmtp:101 0-15\r\na=fmtp:102 0-15\r\na=ptime:30\r\na=sendrecv\r\n\
         a=rtcp-mux\r\na=rtcp:10001 IN IP4 203.0.113.9\r\n"
    );
    assert_eq!(*text, expected);
}

#[test]
fn a_menu_can_be_cut_down_and_added_to() {
    let mut wishes = wishes(Transport::Avp, CALLER);
    wishes.menu.retain(|codec| codec == Codec::G722);
    let text = proposal(wishes.clone()).offer(local());
    assert!(text.contains("m=audio 10000 RTP/AVP 9 101\r\n"), "events of its clock: {}", *text);
    wishes.menu.add(Codec::G711(Law::Mu));
    wishes.menu.add(Codec::Opus);
    let text = proposal(wishes.clone()).offer(local());
    assert!(text.contains("m=audio 10000 RTP/AVP 9 0 127 101 102\r\n"), "{}", *text);
    wishes.menu.retain(|_| false);
    let refused = Proposal::new(wishes, &policy(), None, &mut rng(1)).err();
    assert_eq!(refused, Some(SdpRefusal::NoCodec));
}

#[test]
fn numbers_that_rtcp_would_be_taken_for_are_changed() {
    let caller = CALLER.replace("107", "77").replace("101", "96");
    let text = proposal(wishes(Transport::Avp, &caller)).offer(local());
    assert!(text.contains("RTP/AVP 8 0 9 127 96 102\r\n"), "{}", *text);
    assert!(!text.contains(":77 "), "{}", *text);
}

#[test]
fn an_answer_tells_codec_events_and_addresses() {
    let mut proposal = proposal(wishes(Transport::Avp, CALLER));
    let text = answer("RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20");
    let agreed = accept(&mut proposal, &text).unwrap();
    assert_eq!((agreed.codec, agreed.payload_type), (Codec::G711(Law::Mu), 0));
    assert_eq!((agreed.telephone_event, agreed.ptime_ms), (Some(101), 20));
    assert_eq!(agreed.remote_rtp, address(6000));
    assert_eq!(agreed.remote_rtcp, address(6001));
    assert!(agreed.they_send && agreed.they_receive && !agreed.rtcp_mux);
    let text = answer(
        "RTP/AVP 107 102\r\na=rtpmap:107 opus/48000/2\r\na=rtcp-mux\r\n\
                       a=rtpmap:102 telephone-event/48000",
    );
    let agreed = accept(&mut proposal, &text).unwrap();
    assert_eq!((agreed.codec, agreed.telephone_event), (Codec::Opus, Some(102)));
    assert_eq!((agreed.rtcp_mux, agreed.remote_rtcp), (true, agreed.remote_rtp));
}

#[test]
fn what_was_not_offered_is_refused() {
    let mut of = wishes(Transport::Avp, CALLER);
    of.rtcp_mux = RtcpMux::Never;
    let mut never = proposal(of.clone());
    assert_eq!(refusal(&mut never, &answer("RTP/AVP 8")), None, "control");
    let not_offered = Some(SdpRefusal::NotOffered);
    for text in [
        answer("RTP/SAVP 8"),
        answer("RTP/AVPF 8"),
        answer("RTP/AVP 97\r\na=rtpmap:97 PCMA/8000"),
        answer("RTP/AVP 107\r\na=rtpmap:107 PCMA/8000"),
        answer("RTP/AVP 8\r\na=rtcp-mux"),
        answer("RTP/AVP 8\r\nm=audio 6002 RTP/AVP 8"),
    ] {
        assert_eq!(refusal(&mut never, &text), not_offered, "{text}");
    }
    for (text, reason) in [
        (answer("RTP/AVP 8").replace("6000", "0"), SdpRefusal::AudioOff),
        (answer("RTP/AVP 18"), SdpRefusal::NoCodec),
        (answer("udptl t38"), SdpRefusal::Transport),
        (
            answer("RTP/AVP 8").replace("198.51.100.9", "224.0.0.1"),
            SdpRefusal::Address(AddressRefusal::Multicast),
        ),
        (
            answer("RTP/AVP 8").replace("198.51.100.9", "0.0.0.0"),
            SdpRefusal::Address(AddressRefusal::Unspecified),
        ),
    ] {
        assert_eq!(refusal(&mut never, &text), Some(reason), "{text}");
    }
    of.rtcp_mux = RtcpMux::Required;
    assert_eq!(refusal(&mut proposal(of), &answer("RTP/AVP 8")), Some(SdpRefusal::NoRtcpMux));
    let malformed = accept(&mut never, "v=1").err();
    assert!(matches!(malformed, Some(AnswerFault::Malformed(_))));
    let unsaid = accept(&mut never, &answer("RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000"));
    assert_eq!(unsaid.unwrap().telephone_event, Some(101));
    let event = answer("RTP/AVP 8 99\r\na=rtpmap:99 telephone-event/8000");
    assert_eq!(accept(&mut never, &event).unwrap().telephone_event, None, "of another number");
}

#[test]
fn the_policy_holds_for_offers_too() {
    let strict = Policy { srtp_only: true, ..policy() };
    let make = |transport, policy: &Policy| {
        Proposal::new(wishes(transport, CALLER), policy, None, &mut rng(1)).err()
    };
    assert_eq!(make(Transport::Avp, &strict), Some(SdpRefusal::PlainRtp));
    assert_eq!(make(Transport::Savp, &strict), None);
    assert_eq!(make(Transport::DtlsSavp, &Policy::default()), Some(SdpRefusal::NoBrowsers));
    let keyless = Wishes { suites: Vec::new(), ..wishes(Transport::Savp, CALLER) };
    let refused = Proposal::new(keyless, &policy(), None, &mut rng(1)).err();
    assert_eq!(refused, Some(SdpRefusal::NoUsableKey));
}

#[test]
fn of_the_offered_keys_the_answered_one_counts() {
    let suites = vec![Suite::AesCm128HmacSha1_80, Suite::AeadAes256Gcm];
    let mut proposal = proposal(Wishes { suites, ..wishes(Transport::Savp, CALLER) });
    let offer = proposal.offer(local());
    let [first, second] = keys(&offer)[..] else { panic!("{} keys", keys(&offer).len()) };
    assert!(first.starts_with("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"));
    assert!(second.starts_with("a=crypto:2 AEAD_AES_256_GCM inline:"));
    let theirs = |line: &str| answer(&format!("RTP/SAVP 8\r\n{line}"));
    let own = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
    let good = theirs(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{own}"));
    let agreed = accept(&mut proposal, &good).unwrap().srtp.unwrap();
    assert_eq!(agreed.outbound.key.suite(), Suite::AesCm128HmacSha1_80);
    let mut ours = String::from("a=crypto:");
    agreed.outbound.write(&mut ours);
    assert_eq!(ours, first, "we protect with what we have said");
    let mut told = String::new();
    agreed.inbound.write(&mut told);
    assert!(told.ends_with(own));
    for (line, reason) in [
        (format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{own}"), SdpRefusal::NotOffered),
        (format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{own}"), SdpRefusal::NotOffered),
        (format!("a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:{own}"), SdpRefusal::NotOffered),
        (format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{own}|1:4"), SdpRefusal::NoUsableKey),
        (String::from("a=x"), SdpRefusal::NoUsableKey),
        (first.to_owned(), SdpRefusal::KeyEchoed),
        (second.to_owned(), SdpRefusal::KeyEchoed),
    ] {
        assert_eq!(refusal(&mut proposal, &theirs(&line)), Some(reason), "{line}");
    }
}

#[test]
fn who_answers_a_handshake_chooses_who_begins() {
    let mut proposal = proposal(wishes(Transport::DtlsSavp, CALLER));
    let offer = proposal.offer(local());
    let certificate = ["AB"; 32].join(":");
    assert!(offer.contains(&format!("a=fingerprint:sha-256 {certificate}\r\na=setup:actpass\r\n")));
    assert!(offer.contains("m=audio 10000 UDP/TLS/RTP/SAVP 8"), "{}", *offer);
    assert!(!offer.contains("ice") && !offer.contains("crypto"));
    let print = ["01"; 32].join(":");
    let said = |setup: &str| {
        answer(&format!("UDP/TLS/RTP/SAVP 8\r\na=fingerprint:SHA-256 {print}\r\na=setup:{setup}"))
    };
    for (setup, role) in [("active", DtlsRole::Server), ("passive", DtlsRole::Client)] {
        let agreed = accept(&mut proposal, &said(setup)).unwrap();
        let handshake = agreed.handshake.as_ref().unwrap();
        assert_eq!((handshake.role, handshake.fingerprint), (role, [1; 32]), "{setup}");
        assert!(agreed.browser.is_none() && agreed.srtp.is_none());
        assert_eq!(agreed.remote_rtp, address(6000));
    }
    for (text, reason) in [
        (said("actpass"), SdpRefusal::NoSetup),
        (said("holdconn"), SdpRefusal::NoSetup),
        (said("active").replace("a=setup", "a=x"), SdpRefusal::NoSetup),
        (said("active").replace("SHA-256", "SHA-1"), SdpRefusal::NoFingerprint),
    ] {
        assert_eq!(refusal(&mut proposal, &text), Some(reason), "{text}");
    }
}

#[test]
fn a_browser_is_offered_ice_and_a_telephone_need_not_take_it() {
    let of = Wishes { ice: true, ..wishes(Transport::DtlsSavpf, CALLER) };
    let mut proposal = proposal(of);
    let offer = proposal.offer(local());
    for line in [
        "a=ice-lite",
        "a=rtcp-mux",
        "a=rtcp-mux-only",
        "a=mid:0",
        "a=group:BUNDLE 0",
        "a=candidate:1 1 udp 2130706431 203.0.113.9 10000 typ host",
    ] {
        assert_eq!(offer.matches(&format!("{line}\r\n")).count(), 1, "{line}");
    }
    let print = ["01"; 32].join(":");
    let plain = answer(&format!(
        "UDP/TLS/RTP/SAVPF 8\r\na=fingerprint:sha-256 {print}\r\na=setup:active\r\na=rtcp-mux"
    ));
    let with_ice = format!("{plain}a=ice-ufrag:Qz1k\r\na=ice-pwd:0123456789abcdefghijklmn\r\n");
    let browser = accept(&mut proposal, &with_ice).unwrap().browser.unwrap();
    assert!(offer.contains(&format!("a=ice-ufrag:{}\r\n", browser.ours.ufrag)));
    assert_eq!((browser.role, &*browser.theirs.ufrag), (DtlsRole::Server, "Qz1k"));
    let passive = with_ice.replace("active", "passive");
    assert_eq!(accept(&mut proposal, &passive).unwrap().browser.unwrap().role, DtlsRole::Client);
    let agreed = accept(&mut proposal, &plain).unwrap();
    assert!(agreed.browser.is_none() && agreed.handshake.is_some());
    let half = with_ice.replace("a=ice-pwd", "a=x");
    assert_eq!(refusal(&mut proposal, &half), Some(SdpRefusal::NoIce));
}

#[test]
fn hold_passes_and_an_answer_cannot_widen_it() {
    for (held, told, they_send, they_receive) in [
        ("a=sendrecv", "a=sendrecv", true, true),
        ("a=sendonly", "a=sendonly", false, true),
        ("a=recvonly", "a=recvonly", true, false),
        ("a=inactive", "a=inactive", false, false),
        ("c=IN IP4 0.0.0.0", "a=sendonly", false, true),
    ] {
        let mut proposal = proposal(wishes(Transport::Avp, &format!("{CALLER}{held}\r\n")));
        assert!(proposal.offer(local()).contains(&format!("\r\n{told}\r\n")), "{held}");
        let agreed = accept(&mut proposal, &answer("RTP/AVP 8\r\na=sendrecv")).unwrap();
        assert_eq!((agreed.they_send, agreed.they_receive), (they_send, they_receive), "{held}");
    }
    let mut open = proposal(wishes(Transport::Avp, CALLER));
    let agreed = accept(&mut open, &answer("RTP/AVP 8\r\na=recvonly")).unwrap();
    assert_eq!((agreed.they_send, agreed.they_receive), (false, true));
}

#[test]
fn another_offer_of_the_same_keeps_its_keys_and_rises_in_version() {
    for transport in TRANSPORTS {
        let ice = transport == Transport::DtlsSavpf;
        let of = Wishes { ice, ..wishes(transport, CALLER) };
        let mut proposal = proposal(of.clone());
        let first = proposal.offer(local());
        assert_eq!(*proposal.offer(local()), *first, "nothing has changed");
        let mut random = rng(2);
        proposal.renew(of.clone(), &policy(), None, &mut random).unwrap();
        assert_eq!(*proposal.offer(local()), *first, "nothing has changed here either");
        let held = Wishes { ice, ..wishes(transport, &format!("{CALLER}a=inactive\r\n")) };
        proposal.renew(held, &policy(), None, &mut random).unwrap();
        let second = proposal.offer(local());
        let (id, rise) = version(&first);
        assert_eq!(version(&second), (id, rise + 1), "{transport:?}");
        let tail = |text: &str| text.split_once("\r\ns=").unwrap().1.to_owned();
        assert_eq!(tail(&first).replace("a=sendrecv", "a=inactive"), tail(&second));
    }
}

#[test]
fn a_suite_that_stays_keeps_its_key_and_others_come_anew() {
    let of =
        |suites: &[Suite]| Wishes { suites: suites.to_vec(), ..wishes(Transport::Savp, CALLER) };
    let both = [Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80];
    let mut proposal = proposal(of(&both));
    let first = proposal.offer(local());
    proposal.renew(of(&both[1..]), &policy(), None, &mut rng(2)).unwrap();
    let second = proposal.offer(local());
    assert_eq!(keys(&second), [keys(&first)[1].replace("crypto:2", "crypto:1")]);
    proposal.renew(of(&both), &policy(), None, &mut rng(3)).unwrap();
    let third = proposal.offer(local());
    assert_ne!(keys(&third)[0], keys(&first)[0]);
    assert_eq!(keys(&third)[1], keys(&first)[1]);
    // What cannot be offered changes nothing.
    let refused = proposal.renew(of(&[]), &policy(), None, &mut rng(4)).err();
    assert_eq!(refused, Some(SdpRefusal::NoUsableKey));
    assert_eq!(*proposal.offer(local()), *third);
}

#[test]
fn a_key_that_was_in_use_and_is_no_longer_never_comes_again() {
    let suites = vec![Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80];
    let of = || Wishes { suites: suites.clone(), ..wishes(Transport::Savp, CALLER) };
    let mut proposal = proposal(of());
    let first = proposal.offer(local());
    let key = |octet: &str| format!("inline:{}", octet.repeat(40));
    let taking = |line: &str| answer(&format!("RTP/SAVP 8\r\na=crypto:{line}"));
    let second = taking(&format!("2 AES_CM_128_HMAC_SHA1_80 {}", key("A")));
    let other = taking(&format!("1 AEAD_AES_128_GCM inline:{}", "A".repeat(38)));
    let agreed = accept(&mut proposal, &second).unwrap();
    // Another branch of the call takes the same key, or is refused.
    assert!(accept(&mut proposal, &second.replace(&key("A"), &key("B"))).is_ok());
    assert_eq!(refusal(&mut proposal, &other), Some(SdpRefusal::NotOffered));
    let previous = proposal.agreed(&agreed);
    proposal.renew(of(), &policy(), Some(&previous), &mut rng(2)).unwrap();
    let again = proposal.offer(local());
    assert_eq!(keys(&again)[1], keys(&first)[1], "it is in use");
    assert_ne!(keys(&again)[0], keys(&first)[0], "nobody has taken it");
    let agreed = accept(&mut proposal, &second).unwrap();
    let previous = proposal.agreed(&agreed);
    // They offer, and get another key of ours.
    let offer = Offer::parse(second.as_bytes()).unwrap();
    let theirs = offer.agree(&policy(), Some(&previous), &mut rng(3)).unwrap();
    let previous = theirs.answer(local()).into_previous();
    proposal.renew(of(), &policy(), Some(&previous), &mut rng(4)).unwrap();
    let last = proposal.offer(local());
    assert!(keys(&last).iter().all(|line| !again.contains(line) && !first.contains(line)));
}

#[test]
fn a_refused_offer_was_said_all_the_same() {
    let mut proposal = proposal(wishes(Transport::Avp, CALLER));
    let (id, first) = version(&proposal.offer(local()));
    let agreed = accept(&mut proposal, &answer("RTP/AVP 8")).unwrap();
    let previous = proposal.agreed(&agreed);
    for (rise, direction) in [(1, "a=inactive"), (2, "a=sendonly"), (2, "a=sendonly")] {
        let of = wishes(Transport::Avp, &format!("{CALLER}{direction}\r\n"));
        proposal.renew(of, &policy(), Some(&previous), &mut rng(2)).unwrap();
        assert_eq!(version(&proposal.offer(local())), (id, first + rise));
    }
}

/// A leg's offers and answers are of one session, whoever offers.
#[test]
fn offers_and_answers_of_one_leg_follow_each_other() {
    let mut proposal = proposal(wishes(Transport::Avp, CALLER));
    let offer = proposal.offer(local());
    let agreed = accept(&mut proposal, &answer("RTP/AVP 8")).unwrap();
    let previous = proposal.agreed(&agreed);
    // The callee holds in the old way, which says not where it is.
    let held = answer("RTP/AVP 8").replace("198.51.100.9", "0.0.0.0");
    let agree = |previous: &PreviousAnswer| {
        let offer = Offer::parse(held.as_bytes()).unwrap();
        offer.agree(&policy(), Some(previous), &mut rng(2)).unwrap()
    };
    let theirs = agree(&previous);
    assert_eq!(theirs.remote_rtp, agreed.remote_rtp);
    let answered = theirs.answer(local());
    let (id, rise) = version(&offer);
    assert_eq!(version(answered.text()), (id, rise + 1));
    let previous = answered.into_previous();
    let of = wishes(Transport::Avp, CALLER);
    proposal.renew(of, &policy(), Some(&previous), &mut rng(3)).unwrap();
    assert_eq!(version(&proposal.offer(local())), (id, rise + 2));
    assert_eq!(accept(&mut proposal, &held).unwrap().remote_rtp, agreed.remote_rtp, "still held");
}

#[test]
fn a_handshake_keeps_its_sides_over_a_re_offer() {
    let print = ["01"; 32].join(":");
    let said = |setup: &str| {
        answer(&format!("UDP/TLS/RTP/SAVP 8\r\na=fingerprint:sha-256 {print}\r\na=setup:{setup}"))
    };
    let mut proposal = proposal(wishes(Transport::DtlsSavp, CALLER));
    let agreed = accept(&mut proposal, &said("passive")).unwrap();
    let previous = proposal.agreed(&agreed);
    let agree = |text: &str, previous: Option<&PreviousAnswer>| {
        Offer::parse(text.as_bytes()).unwrap().agree(&policy(), previous, &mut rng(2)).unwrap()
    };
    let role = |agreement: &Agreement| agreement.handshake.as_ref().unwrap().role;
    let again = agree(&said("actpass"), Some(&previous));
    assert_eq!(role(&again), DtlsRole::Client);
    assert!(again.answer(local()).text().contains("a=setup:active\r\n"));
    let other = said("actpass").replace("01:01", "02:02");
    assert_eq!(role(&agree(&other, Some(&previous))), DtlsRole::Server, "another peer");
    let first = agree(&said("actpass"), None);
    assert_eq!(role(&first), DtlsRole::Server, "we wait where we may choose");
    let text = first.answer(local());
    assert!(text.text().contains("a=setup:passive\r\n") && !text.text().contains("ice"));
    assert_eq!(role(&agree(&said("passive"), None)), DtlsRole::Client);
}

#[test]
fn a_menu_is_of_the_first_usable_stream() {
    let menu = |text: &str| Offer::parse(text.as_bytes()).unwrap().menu();
    let codecs: Vec<_> = menu(BROWSER).unwrap().codecs().collect();
    let [first, ..] = codecs[..] else { panic!("no codec") };
    assert_eq!(first, Codec::Opus);
    let late = CALLER.replace("m=audio", "m=image 9 udptl t38\r\nm=audio 0 RTP/AVP 0\r\nm=audio");
    assert!(menu(&late).is_ok());
    assert_eq!(menu(&answer("RTP/AVP 18")).err(), Some(SdpRefusal::NoCodec));
    assert_eq!(menu(&answer("RTP/AVP 0").replace("6000", "0")).err(), Some(SdpRefusal::AudioOff));
}

#[test]
fn a_caller_can_be_answered_in_the_codec_of_the_far_side() {
    let agree = |codec: Option<Codec>| {
        let mut offer = Offer::parse(CALLER.as_bytes()).unwrap();
        if let Some(codec) = codec {
            offer.prefer(codec);
        }
        offer.agree(&policy(), None, &mut rng(1)).unwrap().codec
    };
    assert_eq!(agree(None), Codec::G711(Law::A));
    for codec in [Codec::G711(Law::Mu), Codec::G722, Codec::Opus] {
        assert_eq!(agree(Some(codec)), codec);
    }
    assert_eq!(agree(Some(Codec::L16(SampleRate::Wide))), Codec::G711(Law::A), "it is not offered");
}

proptest! {
    #[test]
    fn any_octets_are_an_answer_or_none(octets in vec(any::<u8>(), 0..400)) {
        let _ = proposal(wishes(Transport::Avp, CALLER)).accept(&octets, &policy());
    }

    #[test]
    fn any_lines_are_an_answer_or_none(
        lines in vec(
            "a=(rtpmap|fmtp|rtcp|rtcp-mux|ptime|setup|fingerprint|crypto|inactive)(:[ -~]{0,60})?",
            0..20,
        ),
        which in 0..TRANSPORTS.len(),
    ) {
        let transport = TRANSPORTS[which];
        let text = answer(&format!("{} 0 8 101\r\n{}", transport.name(), lines.join("\r\n")));
        let _ = proposal(wishes(transport, CALLER)).accept(text.as_bytes(), &policy());
    }

    /// Two of us stand on both sides: whatever is offered is answered and accepted.
    #[test]
    fn we_answer_what_we_offer(
        which in 0..TRANSPORTS.len(),
        direction in "sendrecv|sendonly|recvonly|inactive",
        ice in any::<bool>(),
        mux in 0..3_usize,
        seed in any::<u64>(),
    ) {
        let transport = TRANSPORTS[which];
        let rtcp_mux = [RtcpMux::Never, RtcpMux::Offered, RtcpMux::Required][mux];
        let of = wishes(transport, &format!("{CALLER}a={direction}\r\n"));
        let mut proposal = proposal(Wishes { ice, rtcp_mux, ..of });
        let offer = Offer::parse(proposal.offer(local()).as_bytes()).unwrap();
        let there = offer.agree(&policy(), None, &mut rng(seed)).unwrap();
        let here = accept(&mut proposal, there.answer(local()).text()).unwrap();
        prop_assert_eq!((here.codec, here.payload_type), (there.codec, there.payload_type));
        prop_assert_eq!(here.telephone_event, there.telephone_event);
        prop_assert_eq!((here.they_send, here.they_receive), (there.they_receive, there.they_send));
        prop_assert_eq!(here.rtcp_mux, there.rtcp_mux);
        prop_assert_eq!(here.browser.is_some(), ice && transport.name().starts_with("UDP"));
        if let (Some(here), Some(there)) = (&here.srtp, &there.srtp) {
            prop_assert!(here.inbound.key.same_as(&there.outbound.key));
            prop_assert!(here.outbound.key.same_as(&there.inbound.key));
        }
        if let (Some(here), Some(there)) = (&here.handshake, &there.handshake) {
            prop_assert!(here.role == DtlsRole::Client && there.role == DtlsRole::Server);
        }
        let keys = |secure: bool, dtls: bool, ice: bool| (secure, dtls, ice);
        prop_assert_eq!(
            keys(here.srtp.is_some(), here.handshake.is_some(), here.browser.is_some()),
            keys(there.srtp.is_some(), there.handshake.is_some(), there.browser.is_some())
        );
    }
}

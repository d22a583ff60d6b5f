//! Browsers' offers: what is agreed, what is answered, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test may")]

use dtmf::g711::Law;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::codec::Codec;
use relay::wire::sdp::{
    AddressRefusal, Agreement, LocalMedia, Offer, Policy, PreviousAnswer, SdpRefusal,
};

const BROWSER: &str = include_str!("sdp/browser.sdp");

fn policy() -> Policy {
    Policy { certificate: Some([0xab; 32]), ..Policy::default() }
}

fn agree(
    offer: &str,
    previous: Option<&PreviousAnswer>,
    seed: u64,
) -> Result<Agreement, SdpRefusal> {
    let mut rng = StdRng::seed_from_u64(seed);
    Offer::parse(offer.as_bytes()).unwrap().agree(&policy(), previous, &mut rng)
}

fn local() -> LocalMedia {
    let rtp = "203.0.113.9:10000".parse().unwrap();
    LocalMedia { rtp, rtcp: rtp }
}

/// An offer of G.711 alone, and of both events.
fn g711() -> String {
    BROWSER.replace("SAVPF 111 63 9 0", "SAVPF 0")
}

#[test]
fn the_first_voice_and_the_one_event_of_its_clock_are_agreed() {
    // Two events would have Chromium send broken ones.
    let agreement = agree(BROWSER, None, 1).unwrap();
    assert_eq!((agreement.codec, agreement.payload_type), (Codec::Opus, 111));
    assert_eq!(agreement.telephone_event, Some(110));
    let agreement = agree(&g711(), None, 1).unwrap();
    assert_eq!((agreement.codec, agreement.payload_type), (Codec::G711(Law::Mu), 0));
    assert_eq!(agreement.telephone_event, Some(126));
}

#[test]
fn what_is_agreed_with_a_browser_is_proven_later() {
    let agreement = agree(BROWSER, None, 1).unwrap();
    assert!(agreement.rtcp_mux && agreement.srtp.is_none());
    assert!(agreement.remote_rtp.ip().is_unspecified(), "ICE finds where it is");
    let browser = agreement.browser.as_ref().unwrap();
    assert_eq!(browser.theirs.ufrag, "Qz1k");
    assert_eq!(*browser.theirs.password, "0123456789abcdefghijklmn");
    assert_eq!(browser.fingerprint, std::array::from_fn(|at| (7 * at) as u8));
    assert!(browser.ours.ufrag.len() >= 4 && browser.ours.password.len() >= 22);
}

#[test]
fn the_answer_is_all_that_a_browser_needs() {
    let agreement = agree(BROWSER, None, 1).unwrap();
    let answer = agreement.answer(local());
    let ours = &agreement.browser.as_ref().unwrap().ours;
    let certificate = ["AB"; 32].join(":");
    for line in [
        "a=ice-lite",
        "a=group:BUNDLE 0",
        "m=audio 10000 UDP/TLS/RTP/SAVPF 111 110",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=0",
        "a=rtpmap:110 telephone-event/48000",
        "a=rtcp-mux",
        "a=mid:0",
        &format!("a=ice-ufrag:{}", ours.ufrag),
        &format!("a=ice-pwd:{}", *ours.password),
        &format!("a=fingerprint:sha-256 {certificate}"),
        "a=setup:passive",
        "a=candidate:1 1 udp 2130706431 203.0.113.9 10000 typ host",
        "a=end-of-candidates",
    ] {
        assert_eq!(answer.text().matches(&format!("{line}\r\n")).count(), 1, "{line}");
    }
    for none in ["/8000", "PCMU", "a=crypto", "a=rtcp:"] {
        assert!(!answer.text().contains(none), "{none}");
    }
    assert!(answer.text().find("a=ice-lite") < answer.text().find("m="), "of the whole session");
}

#[test]
fn a_browser_that_is_the_same_keeps_what_it_knows_us_by() {
    let first = agree(BROWSER, None, 1).unwrap();
    let previous = first.answer(local()).into_previous();
    let ours = |agreement: &Agreement| agreement.browser.as_ref().unwrap().ours.ufrag.clone();
    let again = agree(&BROWSER.replace("sendrecv", "sendonly"), Some(&previous), 2).unwrap();
    assert_eq!(ours(&again), ours(&first));
    let restarted = agree(&BROWSER.replace("Qz1k", "Zz9z"), Some(&previous), 2).unwrap();
    assert_ne!(ours(&restarted), ours(&first));
    let other = BROWSER.replace("0123456789abcdef", "fedcba9876543210");
    assert_ne!(ours(&agree(&other, Some(&previous), 2).unwrap()), ours(&first), "its password");
}

#[test]
fn a_telephone_that_follows_a_browser_says_where_it_is() {
    let previous = agree(BROWSER, None, 1).unwrap().answer(local()).into_previous();
    let telephone = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nt=0 0\r\n\
                     m=audio 4000 RTP/AVP 0\r\nc=IN IP4 198.51.100.7\r\n";
    assert!(agree(telephone, Some(&previous), 2).is_ok(), "control");
    let held = telephone.replace("c=IN IP4 198.51.100.7", "c=IN IP4 0.0.0.0");
    let refused = agree(&held, Some(&previous), 2).err();
    assert_eq!(refused, Some(SdpRefusal::Address(AddressRefusal::Unspecified)));
}

#[test]
fn what_a_session_says_holds_for_its_streams() {
    let attributes = ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"];
    let is_moved = |line: &&str| attributes.iter().any(|name| line.starts_with(name));
    let (moved, left): (Vec<_>, Vec<_>) = BROWSER.lines().partition(is_moved);
    assert_eq!(moved.len(), attributes.len());
    let at = left.iter().position(|line| line.starts_with("m=")).unwrap();
    let text = [&left[..at], &moved, &left[at..]].concat().join("\r\n") + "\r\n";
    assert_eq!(agree(&text, None, 1).unwrap().browser.unwrap().theirs.ufrag, "Qz1k");
}

#[test]
fn what_cannot_be_proven_later_is_refused() {
    let pwd = "0123456789abcdefghijklmn";
    for (from, to, reason) in [
        ("a=ice-ufrag:Qz1k", "a=x", SdpRefusal::NoIce),
        ("Qz1k", "Qz1", SdpRefusal::NoIce),
        ("Qz1k", "Qz 1k", SdpRefusal::NoIce),
        ("Qz1k", &"q".repeat(257), SdpRefusal::NoIce),
        (pwd, &pwd[..21], SdpRefusal::NoIce),
        ("a=fingerprint:sha-256", "a=fingerprint:sha-1", SdpRefusal::NoFingerprint),
        ("sha-256 00:07", "sha-256 00:7", SdpRefusal::NoFingerprint),
        ("actpass", "passive", SdpRefusal::Setup),
        ("actpass", "holdconn", SdpRefusal::Setup),
        ("a=setup:actpass", "a=x", SdpRefusal::Setup),
        ("a=rtcp-mux", "a=x", SdpRefusal::NoRtcpMux),
        (
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8",
            "m=audio 9 UDP/TLS/RTP/SAVPF 63",
            SdpRefusal::NoCodec,
        ),
    ] {
        assert!(BROWSER.contains(from), "{from}");
        assert_eq!(agree(&BROWSER.replace(from, to), None, 1).err(), Some(reason), "{from}");
    }
}

//! Offers that cannot be read or cannot be accepted: one for every reason, and the hostile ones.

use dtmf::g711::Law;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::codec::Codec;
use relay::wire::sdp::{
    AddressPolicy, AddressRefusal, Agreement, MAX_FORMATS, MAX_KEYS, MAX_LINES, MAX_OFFER_LEN,
    MAX_STREAMS, Offer, OwnMedia, Policy, SdpError, SdpRefusal,
};

const KEY: &str = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
const PLAIN: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\n\
                     t=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
const SECURE: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\n\
                      t=0 0\r\nm=audio 4000 RTP/SAVP 0\r\na=sendrecv\r\n";

#[test]
fn what_cannot_be_read() {
    let cases: &[(&str, &str, SdpError)] = &[
        ("v=0\r\n", "", SdpError::NoVersion),
        ("v=0", "v=1", SdpError::NoVersion),
        ("v=0", "v=0\r\nv=0", SdpError::NoVersion),
        (
            "v=0\r\no=- 1 1 IN IP4 198.51.100.7",
            "o=- 1 1 IN IP4 198.51.100.7\r\nv=0",
            SdpError::NoVersion,
        ),
        ("s=-", "s", SdpError::NotALine { line: 3 }),
        ("s=-", "session=-", SdpError::NotALine { line: 3 }),
        ("s=-", "x=-", SdpError::UnknownLetter { line: 3 }),
        ("s=-", "s=\0", SdpError::ControlCharacter { line: 3 }),
        ("t=0 0", "t=0", SdpError::BadTiming { line: 5 }),
        ("t=0 0", "t=0 18446744073709551616", SdpError::BadTiming { line: 5 }),
        ("t=0 0", "t=-1 0", SdpError::BadTiming { line: 5 }),
        ("c=IN IP4 198.51.100.7", "c=IN IP4 198.51.100.777", SdpError::BadConnection { line: 4 }),
        ("c=IN IP4 198.51.100.7", "c=IN IP4 0x7f.0.0.1", SdpError::BadConnection { line: 4 }),
        ("c=IN IP4 198.51.100.7", "c=IN IP4 3325256711", SdpError::BadConnection { line: 4 }),
        ("c=IN IP4 198.51.100.7", "c=IN IP4 0306.063.0144.07", SdpError::BadConnection { line: 4 }),
        ("c=IN IP4 198.51.100.7\r\n", "", SdpError::NoConnection { line: 5 }),
        ("t=0 0", "c=IN IP4 198.51.100.8", SdpError::RepeatedConnection { line: 5 }),
        ("m=audio 4000 RTP/AVP 0 8 101\r\na", "b", SdpError::NoStream),
        ("audio 4000 RTP/AVP 0 8 101", "audio 4000 RTP/AVP", SdpError::BadStream { line: 6 }),
        ("audio 4000 RTP/AVP 0 8 101", "audio 4000", SdpError::BadStream { line: 6 }),
        ("audio 4000 RTP/AVP 0 8 101", "", SdpError::BadStream { line: 6 }),
        ("m=audio 4000 RTP/AVP", "m=\u{e4}udio 4000 RTP/AVP", SdpError::BadStream { line: 6 }),
        ("m=audio 4000 RTP/AVP", "m=a(b)<c> 4000 RTP/AVP", SdpError::BadStream { line: 6 }),
        ("4000", "65536", SdpError::BadPort { line: 6 }),
        ("4000", "-1", SdpError::BadPort { line: 6 }),
        ("4000", "+4000", SdpError::BadPort { line: 6 }),
        ("4000", "4000/2", SdpError::BadPort { line: 6 }),
        ("4000", "99999999999999999999999999", SdpError::BadPort { line: 6 }),
        ("0 8 101", "0 8 4294967296", SdpError::BadPayloadType { line: 6 }),
        ("0 8 101", "128", SdpError::BadPayloadType { line: 6 }),
        ("0 8 101", "-1", SdpError::BadPayloadType { line: 6 }),
        ("0 8 101", "0 t38", SdpError::BadPayloadType { line: 6 }),
        ("a=rtpmap:101", "a=rtpmap:128", SdpError::BadPayloadType { line: 7 }),
        ("a=rtpmap:101 telephone-event/8000", "a=rtpmap:", SdpError::BadPayloadType { line: 7 }),
        ("a=rtpmap:101 telephone-event/8000", "a=rtcp:65536", SdpError::BadPort { line: 7 }),
        ("a=rtpmap:101 telephone-event/8000", "a=rtcp:", SdpError::BadPort { line: 7 }),
        (
            "a=rtpmap:101 telephone-event/8000",
            "a=rtcp:1 IN IP4",
            SdpError::BadConnection { line: 7 },
        ),
    ];
    assert_eq!(parse_error(PLAIN), None, "the control: the offer itself is fine");
    for (from, to, error) in cases {
        assert!(PLAIN.contains(from));
        let offer = PLAIN.replacen(from, to, 1);
        assert_eq!(parse_error(&offer), Some(*error), "{from:?} to {to:?}");
    }
}

/// Offers that brought other parsers down.
#[test]
fn offers_with_a_history() {
    let cases = [
        (
            PLAIN.replace("m=audio 4000 RTP/AVP 0", "m=audio 17000 RTP/AVP 4294967296"),
            "payload type",
        ),
        (PLAIN.to_owned() + "a=fmtp:101 0\0-15\r\n", "control character"),
        (PLAIN.to_owned() + "a=\0\r\n", "control character"),
        (PLAIN.to_owned() + &"\r\n".repeat(8000), "lines"),
        (PLAIN.replace(" 0 8 101", ""), "form"),
        (String::from("\0"), "control character"),
        (String::from("="), "form"),
        (String::new(), "v=0"),
        (String::from("v=0\r\n"), "no m= line"),
    ];
    for (offer, word) in cases {
        let error = parse_error(&offer).expect("not readable").to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn every_list_has_a_bound() {
    let many = |text: &str, count: usize| text.repeat(count);
    let stream = "m=video 9 RTP/AVP 96\r\n";
    let at_bound = PLAIN.to_owned() + &many(stream, MAX_STREAMS - 1);
    assert_eq!(parse_error(&at_bound), None);
    assert_eq!(parse_error(&(at_bound + stream)), Some(SdpError::TooManyStreams));

    let formats = |count| PLAIN.replace(" 0 8 101", &many(" 0", count));
    assert_eq!(parse_error(&formats(MAX_FORMATS)), None);
    assert_eq!(parse_error(&formats(MAX_FORMATS + 1)), Some(SdpError::TooManyFormats { line: 6 }));

    let keys = |count: usize| {
        let line = |tag| format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 {KEY}\r\n");
        SECURE.to_owned() + &(1..=count).map(line).collect::<String>()
    };
    assert_eq!(parse_error(&keys(MAX_KEYS)), None);
    let line = 8 + MAX_KEYS;
    assert_eq!(parse_error(&keys(MAX_KEYS + 1)), Some(SdpError::TooManyKeys { line }));

    let lines = PLAIN.lines().count();
    let padded = |count: usize| PLAIN.to_owned() + &many("a=x\r\n", count);
    assert_eq!(parse_error(&padded(MAX_LINES - lines - 1)), None);
    assert_eq!(parse_error(&padded(MAX_LINES - lines)), Some(SdpError::TooManyLines));
    assert_eq!(parse_error(&padded(10_000)), Some(SdpError::TooLong));

    let wide = |len: usize| format!("{PLAIN}a=x:{}", many("y", len - PLAIN.len() - 4));
    assert_eq!(parse_error(&wide(MAX_OFFER_LEN)), None);
    assert_eq!(parse_error(&wide(MAX_OFFER_LEN + 1)), Some(SdpError::TooLong));
}

#[test]
fn a_word_too_long_to_repeat_is_not_a_stream() {
    let stream = |len: usize| format!("{PLAIN}m=video 9 {} 96\r\n", "x".repeat(len));
    assert_eq!(parse_error(&stream(32)), None);
    assert_eq!(parse_error(&stream(33)), Some(SdpError::BadStream { line: 8 }));
}

#[test]
fn one_tag_names_one_key() {
    let line = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n");
    let offer = format!("{SECURE}{line}{line}");
    assert_eq!(parse_error(&offer), Some(SdpError::RepeatedTag { line: 9 }));
}

#[test]
fn what_is_not_acceptable() {
    let cases: &[(&str, &str, SdpRefusal)] = &[
        ("m=audio", "m=video", SdpRefusal::NoAudio),
        ("4000", "0", SdpRefusal::AudioOff),
        ("RTP/AVP", "UDP/TLS/RTP/SAVPF", SdpRefusal::NoBrowsers),
        ("RTP/AVP", "udptl", SdpRefusal::Transport),
        ("RTP/AVP", "rtp/avp", SdpRefusal::Transport),
        ("0 8 101", "101 3 18", SdpRefusal::NoCodec),
        (
            "rtpmap:101 telephone-event",
            "rtpmap:0 PCMU/16000\r\na=rtpmap:8 G729",
            SdpRefusal::NoCodec,
        ),
        ("a=rtpmap", "a=maxptime:9\r\na=rtpmap", SdpRefusal::PacketTime),
        ("c=IN IP4 198.51.100.7", "c=IN IP4 media.example.com", SdpRefusal::HostName { line: 4 }),
        (
            "a=rtpmap",
            "a=rtcp:4001 IN IP4 media.example.com\r\na=rtpmap",
            SdpRefusal::HostName { line: 7 },
        ),
        ("4000", "65535", SdpRefusal::NoRtcpPort),
        ("a=rtpmap", "a=rtcp:0\r\na=rtpmap", SdpRefusal::Address(AddressRefusal::NoPort)),
        ("RTP/AVP", "RTP/SAVP", SdpRefusal::NoUsableKey),
        ("RTP/AVP", "RTP/SAVPF", SdpRefusal::NoUsableKey),
    ];
    assert_eq!(refusal(PLAIN, &Policy::default()), None, "the control: the offer itself is fine");
    for (from, to, reason) in cases {
        assert!(PLAIN.contains(from));
        let offer = PLAIN.replacen(from, to, 1);
        assert_eq!(refusal(&offer, &Policy::default()), Some(*reason), "{from:?} to {to:?}");
    }
    let multiplexed = PLAIN.replace("4000", "65535") + "a=rtcp-mux\r\n";
    assert_eq!(refusal(&multiplexed, &Policy::default()), None, "no second port is needed");
}

#[test]
fn addresses_are_checked_wherever_they_stand() {
    let own = OwnMedia { address: "203.0.113.9".parse().unwrap(), ports: 10000..=20000 };
    let addresses = AddressPolicy { loopback: false, own_media: vec![own] };
    let policy = Policy { addresses, ..Policy::default() };
    let cases = [
        ("IP4 0.0.0.0", 4000, AddressRefusal::Unspecified),
        ("IP6 ::", 4000, AddressRefusal::Unspecified),
        ("IP4 224.2.1.1/127", 4000, AddressRefusal::Multicast),
        ("IP6 ff15::1", 4000, AddressRefusal::Multicast),
        ("IP4 255.255.255.255", 4000, AddressRefusal::Broadcast),
        ("IP4 169.254.169.254", 80, AddressRefusal::LinkLocal),
        ("IP6 ::ffff:169.254.169.254", 80, AddressRefusal::LinkLocal),
        ("IP4 127.0.0.1", 4000, AddressRefusal::Loopback),
        ("IP6 ::1", 4000, AddressRefusal::Loopback),
        ("IP4 203.0.113.9", 12000, AddressRefusal::OwnMedia),
        ("IP6 ::ffff:203.0.113.9", 12000, AddressRefusal::OwnMedia),
    ];
    for (address, port, reason) in cases {
        let rtp = PLAIN.replacen("c=IN IP4 198.51.100.7", &format!("c=IN {address}"), 1);
        let rtp = rtp.replacen("4000", &port.to_string(), 1);
        let rtcp = format!("{PLAIN}a=rtcp:{port} IN {address}\r\n");
        for offer in [rtp, rtcp] {
            assert_eq!(refusal(&offer, &policy), Some(SdpRefusal::Address(reason)), "{address}");
        }
    }
    let just_below = PLAIN.replace("198.51.100.7", "203.0.113.9").replace("4000", "9999");
    let reason = SdpRefusal::Address(AddressRefusal::OwnMedia);
    assert_eq!(refusal(&just_below, &policy), Some(reason), "its RTCP port is ours");
}

#[test]
fn srtp_where_the_policy_asks_for_it() {
    let policy = Policy { srtp_only: true, ..Policy::default() };
    assert_eq!(refusal(PLAIN, &policy), Some(SdpRefusal::PlainRtp));
    let line = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n");
    assert_eq!(refusal(&format!("{SECURE}{line}"), &policy), None);
    // The plain stream offered first is passed over for the encrypted one behind it.
    let both = format!("{PLAIN}m=audio 4002 RTP/SAVP 8\r\n{line}");
    let agreement = agree(&both, &policy).unwrap();
    assert_eq!((agreement.codec, agreement.remote_rtp.port()), (Codec::G711(Law::A), 4002));
    assert!(agreement.srtp.is_some());
}

#[test]
fn keys_that_cannot_be_used_are_passed_over() {
    let unusable = [
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:****************************************",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80",
        "a=crypto:",
        "a=crypto",
        "a=crypto:99999999999999999999 AES_CM_128_HMAC_SHA1_80 KEY",
        "a=crypto:1 NULL_CIPHER KEY",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 KEY|2^20|1:4",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 KEY UNENCRYPTED_SRTP",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 KEY UNAUTHENTICATED_SRTP",
    ];
    for line in unusable.map(|line| line.replace("KEY", KEY)) {
        let offer = format!("{SECURE}{line}\r\n");
        let reason = Some(SdpRefusal::NoUsableKey);
        assert_eq!(refusal(&offer, &Policy::default()), reason, "{line}");
        let usable = format!("{offer}a=crypto:2 AES_CM_128_HMAC_SHA1_32 {KEY}\r\n");
        assert_eq!(refusal(&usable, &Policy::default()), None, "{line}");
        // A plain stream has no use for keys, good or bad.
        let plain = format!("{PLAIN}{line}\r\n");
        assert!(agree(&plain, &Policy::default()).unwrap().srtp.is_none());
    }
}

#[test]
fn bad_streams_beside_a_good_one_do_no_harm() {
    for stream in [
        "m=audio 0 RTP/AVP 4294967296",
        "m=video 9 RTP/AVP 4294967296\r\nc=IN IP4 nonsense!\r\na=rtpmap:999 x",
        "m=audio 4002 RTP/AVP 18\r\nc=IN IP4 host.example.com",
        "m=audio 4002 UDP/TLS/RTP/SAVP 0",
    ] {
        let (session, audio) = PLAIN.split_at(PLAIN.find("m=").unwrap());
        let before = format!("{session}{stream}\r\n{audio}");
        let after = format!("{PLAIN}{stream}\r\n");
        for offer in [before, after] {
            assert_eq!(refusal(&offer, &Policy::default()), None, "{stream}");
        }
    }
}

#[test]
fn no_error_repeats_the_offer() {
    let secret = "Zm9yLXRoZS1jYWxsZXItYW5kLXVzLWFsb25lISEhISEh";
    let lines = [
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{secret}"),
        format!("m={secret} {secret} {secret}"),
        format!("c={secret}"),
        format!("c=IN IP4 {secret}"),
        format!("a=rtpmap:{secret} x"),
        format!("a=rtcp:{secret}"),
        format!("x={secret}"),
        format!("t={secret}"),
        secret.to_owned(),
        format!("s={secret}\0"),
    ];
    let mut texts = Vec::new();
    for line in &lines {
        for offer in [SECURE.to_owned() + line, SECURE.replace("a=sendrecv", line)] {
            match Offer::parse(offer.as_bytes()) {
                Err(error) => texts.push(format!("{error} {error:?}")),
                Ok(offer) => {
                    let refusal = offer.agree(&Policy::default(), None, &mut rng()).err();
                    texts.push(
                        refusal.map(|reason| format!("{reason} {reason:?}")).unwrap_or_default(),
                    );
                }
            }
        }
    }
    assert!(texts.iter().filter(|text| !text.is_empty()).count() > lines.len());
    assert!(texts.iter().all(|text| !text.contains(secret)));
    // The control: a text that did repeat it would be seen.
    texts.push(lines[0].clone());
    assert!(texts.iter().any(|text| text.contains(secret)));
}

fn parse_error(offer: &str) -> Option<SdpError> {
    Offer::parse(offer.as_bytes()).err()
}

fn refusal(offer: &str, policy: &Policy) -> Option<SdpRefusal> {
    agree(offer, policy).err()
}

fn agree(offer: &str, policy: &Policy) -> Result<Agreement, SdpRefusal> {
    let offer = Offer::parse(offer.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    offer.agree(policy, None, &mut rng())
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(11)
}

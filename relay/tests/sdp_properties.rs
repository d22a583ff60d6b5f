//! What holds for every offer: no panic on any octets, and what was written is what is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dtmf::g711::Law;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::wire::sdp::{AddressPolicy, LocalMedia, MAX_OFFER_LEN, Offer, Policy};

const REAL: [&[u8]; 12] = [
    include_bytes!("sdp/asterisk-sdes.sdp"),
    include_bytes!("sdp/asterisk.sdp"),
    include_bytes!("sdp/baresip-sdes.sdp"),
    include_bytes!("sdp/baresip.sdp"),
    include_bytes!("sdp/browser.sdp"),
    include_bytes!("sdp/freeswitch-sdes.sdp"),
    include_bytes!("sdp/freeswitch.sdp"),
    include_bytes!("sdp/linphone-srtp.sdp"),
    include_bytes!("sdp/linphone.sdp"),
    include_bytes!("sdp/pbx-fax.sdp"),
    include_bytes!("sdp/sipp.sdp"),
    include_bytes!("sdp/twilio.sdp"),
];

proptest! {
    #[test]
    fn any_octets(octets in vec(any::<u8>(), 0..600)) {
        walk(&octets);
    }

    #[test]
    fn any_lines(lines in vec("[vmcta]=[ -~]{0,40}", 0..40)) {
        walk(lines.join("\r\n").as_bytes());
        walk(format!("v=0\n{}", lines.join("\n")).as_bytes());
    }

    #[test]
    fn any_attributes(
        lines in vec(
            "a=(rtpmap|fmtp|rtcp|rtcp-mux|ptime|maxptime|crypto|sendonly|inactive)(:[ -~]{0,60})?",
            0..20,
        ),
        transport in "RTP/S?AVPF?",
    ) {
        let head = format!("v=0\r\nc=IN IP4 198.51.100.7\r\nm=audio 4000 {transport} 0 8 101\r\n");
        walk((head + &lines.join("\r\n")).as_bytes());
    }

    #[test]
    fn real_offers_with_damage(
        which in 0..REAL.len(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..12),
    ) {
        let mut octets = REAL[which].to_vec();
        for (at, octet, kind) in damage {
            let at = at.index(octets.len());
            match kind {
                0 => octets[at] = octet,
                1 => octets.insert(at, octet),
                _ => drop(octets.remove(at)),
            }
        }
        walk(&octets);
    }

    #[test]
    fn what_was_offered_is_agreed(offer in offered()) {
        let text = offer.text();
        let agreement = Offer::parse(text.as_bytes())
            .unwrap()
            .agree(&Policy::default(), None, &mut rng())
            .unwrap_or_else(|refusal| panic!("{refusal}: {text}"));
        prop_assert_eq!(agreement.remote_rtp, SocketAddr::new(offer.ip, offer.port));
        let rtcp = if offer.mux { offer.port } else { offer.rtcp.unwrap_or(offer.port + 1) };
        prop_assert_eq!(agreement.remote_rtcp, SocketAddr::new(offer.ip, rtcp));
        prop_assert_eq!(agreement.rtcp_mux, offer.mux);
        let (payload_type, law) = offer.codec;
        prop_assert_eq!((agreement.payload_type, agreement.codec.law()), (payload_type, Some(law)));
        prop_assert_eq!(agreement.telephone_event, offer.event);
        prop_assert_eq!(agreement.redundancy, offer.redundancy.filter(|_| offer.event.is_some()));
        prop_assert_eq!(agreement.ptime_ms, offer.ptime);
        prop_assert_eq!((agreement.they_send, agreement.they_receive), offer.direction);
        let (mine, theirs) = (local(offer.ip), agreement.answer(local(offer.ip)));

        // Our answer read as an offer gives the same stream from the other side.
        let back = Offer::parse(theirs.text().as_bytes())
            .unwrap()
            .agree(&loopback(), None, &mut rng())
            .unwrap_or_else(|refusal| panic!("{refusal}: {}", theirs.text()));
        prop_assert_eq!(back.remote_rtp, mine.rtp);
        prop_assert_eq!(back.remote_rtcp, if offer.mux { mine.rtp } else { mine.rtcp });
        prop_assert_eq!(back.payload_type, agreement.payload_type);
        prop_assert_eq!(back.telephone_event, agreement.telephone_event);
        prop_assert_eq!(back.redundancy, agreement.redundancy);
        prop_assert_eq!(back.ptime_ms, agreement.ptime_ms);
        prop_assert_eq!((back.they_receive, back.they_send), offer.direction);
    }
}

#[test]
fn the_damaged_offers_were_sound() {
    for offer in REAL {
        assert!(Offer::parse(offer).is_ok());
    }
}

/// Reads, agrees and answers as far as it goes, and checks what must hold of every outcome.
fn walk(octets: &[u8]) {
    let Ok(offer) = Offer::parse(octets) else { return };
    let streams = octets.split(|octet| *octet == b'\n').filter(|line| line.starts_with(b"m="));
    let streams = streams.count();
    let Ok(agreement) = offer.agree(&Policy::default(), None, &mut rng()) else { return };
    assert!(agreement.payload_type < 128);
    assert!(agreement.telephone_event.is_none_or(|event| event < 128));
    assert!(agreement.redundancy.is_none() || agreement.telephone_event.is_some());
    assert!([10, 20, 30, 40, 60].contains(&agreement.ptime_ms));
    for remote in [agreement.remote_rtp, agreement.remote_rtcp] {
        assert_ne!(remote.port(), 0);
        assert!(!remote.ip().is_unspecified() && !remote.ip().is_loopback());
    }
    let answer = agreement.answer(local(agreement.remote_rtp.ip()));
    assert!(answer.text().len() <= MAX_OFFER_LEN);
    assert!(answer.text().is_ascii(), "nothing of the offer but tokens is repeated");
    assert_eq!(answer.text().matches("\r\nm=").count(), streams, "one m= line for each");
    assert_eq!(answer.text().matches("\na=crypto:").count(), usize::from(agreement.srtp.is_some()));
    assert!(Offer::parse(answer.text().as_bytes()).is_ok());
}

#[derive(Debug, Clone)]
struct Offered {
    ip: IpAddr,
    port: u16,
    rtcp: Option<u16>,
    mux: bool,
    codec: (u8, Law),
    event: Option<u8>,
    redundancy: Option<u8>,
    ptime: u8,
    direction: (bool, bool),
    newline: &'static str,
}

impl Offered {
    fn text(&self) -> String {
        let family = if self.ip.is_ipv4() { "IP4" } else { "IP6" };
        let direction = match self.direction {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        };
        let (payload_type, law) = self.codec;
        let name = if law == Law::Mu { "PCMU" } else { "PCMA" };
        let formats = [self.event, self.redundancy].into_iter().flatten();
        let formats: String = formats.map(|format| format!(" {format}")).collect();
        let mut lines = vec![
            String::from("v=0"),
            format!("o=- 1 1 IN {family} {}", self.ip),
            String::from("s=-"),
            format!("c=IN {family} {}", self.ip),
            String::from("t=0 0"),
            format!("m=audio {} RTP/AVP 9 {payload_type}{formats}", self.port),
            format!("a=rtpmap:{payload_type} {name}/8000"),
            format!("a=ptime:{}", self.ptime),
            format!("a={direction}"),
        ];
        lines.extend(self.event.map(|event| format!("a=rtpmap:{event} telephone-event/8000")));
        lines.extend(self.redundancy.iter().flat_map(|redundancy| {
            let event = self.event.unwrap_or(payload_type);
            [
                format!("a=rtpmap:{redundancy} red/8000"),
                format!("a=fmtp:{redundancy} {payload_type}/{event}"),
            ]
        }));
        lines.extend(self.rtcp.map(|port| format!("a=rtcp:{port}")));
        lines.extend(self.mux.then(|| String::from("a=rtcp-mux")));
        lines.push(String::new());
        lines.join(self.newline)
    }
}

fn offered() -> impl Strategy<Value = Offered> {
    let ip = prop_oneof![
        any::<u16>().prop_map(|low| IpAddr::V4(Ipv4Addr::from(0xC633_0000 | u32::from(low)))),
        any::<u32>()
            .prop_map(|low| IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(low)))),
    ];
    let codec = prop_oneof![
        Just((0, Law::Mu)),
        Just((8, Law::A)),
        (96..110_u8, prop_oneof![Just(Law::Mu), Just(Law::A)]),
    ];
    let address = (ip, 1..u16::MAX, option::of(1..=u16::MAX), any::<bool>());
    let ptime = prop::sample::select(vec![10, 20, 30, 40, 60]);
    let newline = prop::sample::select(vec!["\n", "\r\n"]);
    let events = (option::of(115..=127_u8), option::of(110..115_u8));
    (address, codec, events, ptime, any::<(bool, bool)>(), newline).prop_map(
        |((ip, port, rtcp, mux), codec, (event, redundancy), ptime, direction, newline)| Offered {
            ip,
            port,
            rtcp,
            mux,
            codec,
            event,
            redundancy,
            ptime,
            direction,
            newline,
        },
    )
}

fn local(peer: IpAddr) -> LocalMedia {
    let ip = match peer {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    LocalMedia { rtp: SocketAddr::new(ip, 10_000), rtcp: SocketAddr::new(ip, 10_001) }
}

fn loopback() -> Policy {
    let addresses = AddressPolicy { loopback: true, own_media: Vec::new() };
    Policy { addresses, ..Policy::default() }
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(11)
}

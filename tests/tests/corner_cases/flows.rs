//! Corner cases of the streams: new ones, forged ones, and all the ways out.

use std::net::SocketAddr;

use dtmf::g711::Law;
use loadtest::KeyMethod;
use relay::switchboard::limits::TAG_ROOM;
use relay::switchboard::{
    DropReason, EngineAudio, LegMedia, LocalPort, Media, Phase, Route, Side, SrtpKeys, route,
};
use relay::wire::srtp::{Inbound, MasterKey, Outbound, Suite};
use system_tests::line::{
    A, AFTER, CALLER_PORT, CUT, CUT_KEY, ENGINE_PORT, EVENT, Line, MS, MU, OPEN, SILENCE, Sent,
    Setup, Stream, address, leg, payload, rtp,
};
use system_tests::sim_net::Weather;
use system_tests::world::{World, WorldConfig, card_plan};

/// The cut belongs to the call: another source, another address, another codec of the caller and
/// another engine are all born into it.
#[test]
fn case_14_new_flows_are_born_cut() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 10);
    let mut second = Stream { sequence: 7, ..Stream::new(2) };
    line.talk(&mut second, CUT, 10);
    // The caller moves to another address and codec, the call to another engine.
    line.reoffer(Side::Caller, leg(address(40100), A, Some(EVENT), 30));
    line.reoffer(Side::Engine, leg(address(50100), MU, Some(EVENT), 20));
    let mut third = Stream { payload_type: A, ..Stream::of_30_ms(3) };
    let (mut cut, mut after) = ([CUT], [AFTER]);
    Law::Mu.transcode(Law::A, &mut cut);
    Law::Mu.transcode(Law::A, &mut after);
    line.talk(&mut third, cut[0], 30);
    line.press(&mut third, CUT_KEY);
    assert_eq!(line.progress(), 1, "the control: the new flow is the collector's");
    line.cancel();
    while line.cut {
        line.talk(&mut third, cut[0], 1);
    }
    assert!(!line.to_engine().any(|sent| sent.to == address(50100) && !is_silent(sent)));
    line.talk(&mut third, after[0], 30);
    // As the new engine hears it, in its own law.
    Law::A.transcode(Law::Mu, &mut after);
    let all = line.to_engine().filter(|sent| payload(sent).contains(&after[0]));
    let heard: Vec<SocketAddr> = all.map(|sent| sent.to).collect();
    assert!(heard.len() > 30 && heard.iter().all(|to| *to == address(50100)), "the control");
    line.assert_tight();
}

/// Comfort noise of the caller and its pauses are not passed on: the engine gets our own silence at
/// an even pace.
#[test]
fn case_20_comfort_noise_and_pauses_of_the_caller_do_not_show() {
    let silence_of = |is_talking: bool| {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        let open = line.to_engine().count();
        line.pass(100 * MS);
        assert_eq!(line.to_engine().count(), open, "the control: in the open a pause shows");
        line.enter(1);
        let entered = line.now;
        for n in 0..100_u32 {
            if is_talking {
                line.talk(&mut stream, CUT, 1);
                continue;
            }
            if n.is_multiple_of(10) {
                let noise = rtp(0x80, 13, &stream, &[CUT]);
                stream.sequence = stream.sequence.wrapping_add(1);
                line.caller_sends(&noise);
            }
            line.pass(20 * MS);
        }
        line.assert_tight();
        let cut = line.to_engine().filter(|sent| sent.cut);
        let cut: Vec<_> = cut.map(|sent| (sent.at - entered, payload(sent).to_vec())).collect();
        assert!(cut.len() >= 99 && cut.iter().all(|(_, it)| *it == [SILENCE; 160]));
        cut
    };
    assert!(silence_of(true) == silence_of(false));
}

/// Whatever else listens to a call hears the caller by one decision only, and that is no by
/// default: no way out of a cut holds anything of the caller.
#[test]
fn case_21_every_sink_but_the_collector_is_cut() {
    let cut = [EngineAudio::Drop, EngineAudio::Pass].into_iter().flat_map(|audio| {
        [Phase::Secure(audio), Phase::Draining(audio), Phase::Held(audio), Phase::Closed]
    });
    for phase in cut {
        for media in [Media::Audio, Media::TelephoneEvent, Media::Redundancy, Media::Unknown] {
            let route = route(phase, Side::Caller, media);
            assert!(matches!(route, Route::Collect | Route::Drop(_)), "{phase:?} {media:?}");
        }
    }
    let mut stream = Stream::new(1);
    let setup = Setup { engine_audio: EngineAudio::Pass, ..Setup::default() };
    let mut line = Line::talked(setup, &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 300);
    line.press(&mut stream, CUT_KEY);
    line.cancel_and_drain(&mut stream);
    // All that ever left, to whichever address and port, reports and the caller's side among it.
    let left = |line: &Line, code: u8| {
        let runs = |sent: &&Sent| sent.octets.windows(4).any(|run| run == [code; 4]);
        line.sent.iter().filter(runs).count()
    };
    assert!(line.sent.iter().any(|sent| sent.port == ENGINE_PORT + 1), "reports are among it");
    assert!(line.sent.iter().any(|sent| sent.port == CALLER_PORT + 1), "on both sides");
    assert_eq!(left(&line, CUT), 0);
    assert!(left(&line, OPEN) > 20 && line.is_recorded(OPEN), "the control");
    line.assert_tight();
}

/// Our own stream keeps its SRTP state over a cut, past the wrap of its sequence numbers, whatever
/// keys and numbers the caller begins anew with.
#[test]
fn case_22_srtp_state_is_our_own_over_the_cut() {
    let suite = Suite::from_name("AES_CM_128_HMAC_SHA1_80").unwrap();
    let key = |octet| MasterKey::from_bytes(suite, &[octet; 64][..suite.master_len()]).unwrap();
    let keyed = |port, inbound, outbound| LegMedia {
        srtp: Some(SrtpKeys { inbound: key(inbound), outbound: key(outbound) }),
        ..leg(address(port), MU, Some(EVENT), 20)
    };
    let setup = Setup {
        caller: keyed(40000, 1, 2),
        engine: keyed(50000, 3, 4),
        media_timeout: 100_000_000 * MS,
        ..Setup::default()
    };
    let mut line = Line::new(setup);
    let mut stream = Stream::new(1);
    let mut phone = Outbound::new(&key(1));
    (0..25).for_each(|_| say(&mut line, &mut phone, &mut stream, OPEN));
    line.enter(1);
    (0..25).for_each(|_| say(&mut line, &mut phone, &mut stream, CUT));
    // Another key and another stream of the caller: the old key is worth nothing any more.
    line.reoffer(Side::Caller, keyed(40000, 5, 6));
    let forged = || DropReason::Unauthenticated.index();
    let before = line.snapshot().legs[0].drops[forged()];
    say(&mut line, &mut phone, &mut stream, CUT);
    assert_eq!(line.snapshot().legs[0].drops[forged()], before + 1);
    let (mut phone, mut stream) = (Outbound::new(&key(5)), Stream::new(2));
    say(&mut line, &mut phone, &mut stream, CUT);
    assert_eq!(
        line.snapshot().legs[0].drops[forged()],
        before + 1,
        "the control: the new is heard"
    );
    // The caller falls silent, so the cut holds; our numbers wrap within it.
    line.cancel();
    line.pass(66_000 * 20 * MS);
    line.cancel();
    while line.cut {
        say(&mut line, &mut phone, &mut stream, CUT);
    }
    (0..25).for_each(|_| say(&mut line, &mut phone, &mut stream, AFTER));

    let mut far = Inbound::new(&key(4));
    let (mut wraps, mut last, mut heard) = (0, 0, [false; 2]);
    for sent in line.to_engine() {
        let sequence = u16::from_be_bytes([sent.octets[2], sent.octets[3]]);
        wraps += usize::from(sequence < last);
        last = sequence;
        let mut octets = sent.octets.clone();
        let len = far.unprotect(&mut octets).expect("one peer with one state can go on");
        let voice = &octets[12..len];
        assert!(!voice.contains(&CUT) && (!sent.cut || voice == [SILENCE; 160]));
        heard = [heard[0] || voice.contains(&OPEN), heard[1] || voice.contains(&AFTER)];
    }
    assert!(wraps >= 1, "the control: the numbers wrapped");
    assert_eq!(heard, [true, true], "the control: the open is heard");
}

/// Packets from an address that was not signalled are no keys, no audio, and nobody's.
#[test]
fn case_24_forged_packets_are_not_heard_recorded_or_counted() {
    let mut world = World::new(WorldConfig {
        seed: 1,
        weather: Weather::CALM,
        method: KeyMethod::Events,
        armed: false,
        law: Law::Mu,
    });
    let stranger = SocketAddr::from(([127, 0, 0, 2], 40000));
    let event = [0x80, 0xe5, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 4, 10, 0, 160];
    let voice: Vec<u8> =
        [0x80, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9].into_iter().chain([0x66; 160]).collect();
    world.run(200 * MS);
    world.enter(7, card_plan()).map(drop).unwrap();
    for port in 10000..10004 {
        world.inject(LocalPort(port), stranger, &event);
        world.inject(LocalPort(port), stranger, &voice);
    }
    world.run(500 * MS);
    // The control: the caller's own keys make a card number, which one more would not.
    world.pay();
    let end = world.now + 5_000 * MS;
    assert!(world.run_until(end, |world| world.reopened().is_some()));
    world.inject(LocalPort(10000), stranger, &voice);
    let holds = |codes: &[u8]| codes.windows(160).any(|window| window == [0x66; 160]);
    assert!(!holds(world.ear.audio()) && !world.blocks.iter().any(|block| holds(&block.caller)));
}

/// Says one protected packet.
fn say(line: &mut Line, phone: &mut Outbound, stream: &mut Stream, code: u8) {
    let mut packet = stream.say(code);
    let len = packet.len();
    packet.resize(len + TAG_ROOM, 0);
    let len = phone.protect(&mut packet, len).unwrap();
    line.caller_sends(&packet[..len]);
    line.pass(20 * MS);
}

fn is_silent(sent: &Sent) -> bool {
    payload(sent).iter().all(|&octet| octet == SILENCE)
}

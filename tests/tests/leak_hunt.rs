//! The leak hunt: every corner of a call by which something of the caller could pass the cut, tried
//! packet by packet on the real switchboard in virtual time.
//!
//! Every test ends in [`Line::assert_tight`]: while the call is cut the engine gets nothing but even
//! silence, and what was said in the cut reaches neither engine nor recording at any time. Each test
//! has a control in which the same thing is heard, outside of the cut.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use dtmf::Digit;
use dtmf::g711::Law;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use relay::switchboard::limits::{BUFFER, CUT_MEMORY, LOOK_AHEAD, MAX_DATAGRAM, TAG_ROOM};
use relay::switchboard::{
    Command, EngineAudio, EventKind, LegMedia, LookAhead, Phase, Side, SourceRule, SrtpKeys,
};
use relay::wire::srtp::{Inbound, MasterKey, Outbound, Suite};
use system_tests::line::{
    A, AFTER, CALL, CALLER_PORT, CUT, CUT_KEY, ENGINE, ENGINE_PORT, EVENT, Line, MS, MU, OPEN,
    OPEN_KEY, SILENCE, Sent, Setup, Stream, address, ended, enter_command, leg, payload, rtp, tone,
};
use system_tests::world::card_plan;

#[test]
fn what_the_engine_gets_in_the_cut_does_not_depend_on_the_caller() {
    /// What reaches the engine's side, RTCP and all, while the caller does something.
    fn transcript(act: impl Fn(&mut Line, &mut Stream)) -> Vec<(Duration, u16, Vec<u8>)> {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        line.enter(1);
        act(&mut line, &mut stream);
        line.pass(line.start + 9_000 * MS - line.now);
        line.assert_tight();
        let cut = line.sent.iter().filter(|sent| sent.cut && sent.port >= ENGINE_PORT);
        cut.map(|sent| (sent.at - line.start, sent.port, sent.octets.clone())).collect()
    }
    let quiet = transcript(|_, _| {});
    assert!(quiet.iter().any(|(_, port, _)| *port == ENGINE_PORT + 1), "RTCP is among it");
    assert!(quiet.len() > 400);
    let talking = transcript(|line, stream| line.talk(stream, CUT, 400));
    let keying = transcript(|line, stream| {
        for _ in 0..20 {
            line.press(stream, CUT_KEY);
            line.talk(stream, CUT, 7);
        }
    });
    let sounding = transcript(|line, stream| {
        for frame in tone(b'7', -10.0, 6).iter().chain(&tone(b'4', -10.0, 4)) {
            let packet = stream.play(frame);
            line.caller_sends(&packet);
            line.pass(20 * MS);
        }
    });
    let flooding = transcript(|line, stream| {
        for n in 0..2000_u16 {
            line.inject(CALLER_PORT + 1, line.caller_rtcp(), &[0x80, 201, 0, 1, 0, 0, 0, 1]);
            let packet = Stream { ssrc: n.into(), ..*stream }.say(CUT);
            line.caller_sends(&packet);
            line.pass(MS);
        }
    });
    for other in [talking, keying, sounding, flooding] {
        assert!(quiet == other, "the same octets at the same times");
    }
}

#[test]
fn outside_of_the_cut_the_engine_does_hear_the_caller() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.press(&mut stream, OPEN_KEY);
    line.pass(400 * MS);
    assert!(line.engine_heard(OPEN) && line.is_recorded(OPEN));
    assert_eq!(line.engine_events(OPEN_KEY), 5);
}

#[test]
#[should_panic(expected = "silence")]
fn a_caller_who_is_heard_in_the_cut_is_found() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    // The check believes in a cut that is not there.
    line.cut = true;
    line.talk(&mut stream, OPEN, 1);
    line.assert_tight();
}

#[test]
fn sources_that_change_in_the_cut_are_cut_and_so_are_their_late_packets() {
    let (mut old, mut new) = (Stream::new(1), Stream { sequence: 9, ..Stream::new(2) });
    let mut keys = Stream { sequence: 100, ..Stream::new(3) };
    let mut line = Line::talked(Setup::default(), &mut old);
    line.enter(1);
    line.talk(&mut old, CUT, 5);
    let late_old = old.say(CUT);
    line.talk(&mut old, CUT, 2);
    line.press(&mut keys, CUT_KEY);
    let late_end = keys.event(CUT_KEY, keys.timestamp - 800, 800, false, true);
    line.talk(&mut new, CUT, 5);
    let late_new = new.say(CUT);
    line.cancel_and_drain(&mut new);
    line.talk(&mut new, AFTER, 5);
    for late in [&late_old, &late_new, &late_end, &late_old] {
        line.caller_sends(late);
        line.pass(MS);
    }
    line.talk(&mut new, AFTER, 5);
    line.pass(500 * MS);
    assert!(line.engine_heard(AFTER) && line.is_recorded(AFTER), "the control");
    line.assert_tight();
}

#[test]
fn late_packets_of_more_sources_than_are_remembered_stay_cut() {
    let mut streams: Vec<Stream> = (1..=CUT_MEMORY as u32 + 2).map(Stream::new).collect();
    let mut line = Line::talked(Setup::default(), &mut streams[0]);
    line.enter(1);
    let mut late = Vec::new();
    for stream in &mut streams {
        line.talk(stream, CUT, 2);
        late.push(stream.say(CUT));
        line.talk(stream, CUT, 2);
    }
    let last = streams.last_mut().unwrap();
    line.cancel_and_drain(last);
    line.talk(last, AFTER, 5);
    for packet in &late {
        line.caller_sends(packet);
    }
    assert!(line.engine_heard(AFTER), "the control");
    line.assert_tight();
}

#[test]
fn a_reoffer_of_either_side_leaves_the_cut_as_it_is() {
    let held = || LegMedia { they_send: false, ..leg(address(40000), MU, Some(EVENT), 20) };
    let offers: [(Side, fn() -> LegMedia); 7] = [
        (Side::Caller, || leg(address(40000), A, Some(EVENT), 20)),
        (Side::Caller, || leg(address(40000), MU, None, 30)),
        (Side::Caller, || leg(address(41000), MU, Some(EVENT), 20)),
        (Side::Caller, || LegMedia {
            source: SourceRule::Latch,
            ..leg(address(41000), MU, Some(EVENT), 20)
        }),
        (Side::Engine, || leg(address(51000), MU, Some(EVENT), 20)),
        (Side::Engine, || leg(address(50000), MU, Some(EVENT), 20)),
        (Side::Caller, || leg(address(40000), MU, Some(EVENT), 20)),
    ];
    for (side, offer) in offers {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        line.enter(1);
        line.talk(&mut stream, CUT, 10);
        line.reoffer(Side::Caller, held());
        line.talk(&mut stream, CUT, 10);
        let media = offer();
        let law = media.codec.law().expect("a telephone speaks G.711");
        let frame = media.ptime.as_millis() as usize * 8;
        line.reoffer(side, media);
        if side == Side::Caller {
            (stream.payload_type, stream.frame) = (if law == Law::A { A } else { MU }, frame);
        }
        let mut code = [CUT];
        Law::Mu.transcode(law, &mut code);
        for _ in 0..20 {
            let packet = stream.say(code[0]);
            line.caller_sends(&packet);
            line.inject(CALLER_PORT, address(42000), &packet);
            line.pass(stream.frame_time());
        }
        assert!(line.cut, "a re-offer reopens nothing");
        line.cancel();
        while line.cut {
            line.talk(&mut stream, code[0], 1);
        }
        line.talk(&mut stream, AFTER, 50);
        line.assert_tight();
        let mut after = [AFTER];
        law.transcode(Law::Mu, &mut after);
        assert!(line.engine_heard(after[0]), "the control");
    }
}

#[test]
fn an_engine_that_asks_for_another_packet_time_in_the_cut_gets_silence_of_that_size() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 10);
    line.assert_tight();
    let before = line.sent.len();
    line.reoffer(Side::Engine, leg(address(50000), MU, Some(EVENT), 30));
    line.talk(&mut stream, CUT, 30);
    let sizes = line.sent[before..].iter().filter(|sent| sent.port == ENGINE_PORT);
    assert!(sizes.clone().count() > 15);
    assert!(sizes.clone().all(|sent| payload(sent) == [SILENCE; 240]));
    line.cancel_and_drain(&mut stream);
    assert!(!line.engine_heard(CUT));
}

#[test]
fn a_call_on_hold_never_drains_and_stays_cut() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 50);
    let held = LegMedia { they_send: false, ..leg(address(40000), MU, Some(EVENT), 20) };
    line.reoffer(Side::Caller, held);
    line.cancel();
    line.pass(10_000 * MS);
    assert!(line.cut && matches!(line.snapshot().phase, Phase::Held(_)));
    line.assert_tight();
}

#[test]
fn a_stall_of_the_network_does_not_pass_for_quiet() {
    // The stall begins with the verdict, or in the middle of the drain, and what was said in it
    // comes in one burst, or in one that itself takes longer than the drain is looked at.
    for (delivered, spacing) in [(0, 0), (10, 0), (15, 0), (20, 0), (13, 1), (13, 3), (20, 3)] {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        line.enter(1);
        line.talk(&mut stream, CUT, 50);
        line.cancel();
        line.talk(&mut stream, CUT, delivered);
        let mut stalled: Vec<Vec<u8>> = (0..15).map(|_| stream.say(CUT)).collect();
        stalled.extend(tone(b'7', -10.0, 15).iter().map(|frame| stream.play(frame)));
        line.pass(600 * MS);
        assert!(line.cut, "nothing was heard for 600 ms, {delivered} packets into the drain");
        for packet in &stalled {
            line.caller_sends(packet);
            line.pass(spacing * MS);
        }
        assert!(line.cut);
        line.drain_quietly(&mut stream);
        line.talk(&mut stream, AFTER, 5);
        assert!(line.engine_heard(AFTER), "the control");
        line.assert_only_marked();
        line.assert_tight();
    }
}

#[test]
fn payload_types_nobody_agreed_to_reach_nobody() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    // RFC 2198: one block of audio behind one of events.
    let mut redundant = vec![0x80 | EVENT, 0, 0, 4, MU, CUT_KEY, 0x0a, 0, 160];
    redundant.extend([CUT; 160]);
    let before = line.sent.len();
    let mut throw = |line: &mut Line| {
        for payload_type in (1..128).filter(|&it| it != EVENT) {
            for marker in [0, 0x80] {
                let rest: &[u8] = if payload_type == 13 { &[CUT] } else { &redundant };
                let packet = rtp(0x80, payload_type | marker, &stream, rest);
                stream.sequence = stream.sequence.wrapping_add(1);
                line.caller_sends(&packet);
                line.inject(CALLER_PORT + 1, line.caller_rtcp(), &packet);
            }
        }
    };
    throw(&mut line);
    assert_eq!(line.sent.len(), before, "not even in the open");
    line.enter(1);
    throw(&mut line);
    line.pass(100 * MS);
    throw(&mut line);
    assert_eq!(line.progress(), 0);
    line.cancel_and_drain(&mut stream);
    line.talk(&mut stream, AFTER, 5);
    assert!(line.engine_heard(OPEN) && line.engine_heard(AFTER), "the control");
    line.assert_tight();
}

#[test]
fn extensions_contributors_and_padding_never_reach_the_engine() {
    /// Two contributing sources, an extension (an audio level, RFC 6464) and padding.
    fn dressed(stream: &mut Stream, code: u8) -> Vec<u8> {
        let mut rest = vec![CUT; 8];
        rest.extend([0xbe, 0xde, 0, 1, 0x10, CUT, CUT, CUT]);
        rest.extend(vec![code; 160]);
        rest.extend([CUT, CUT, CUT, 4]);
        let packet = rtp(0xb2, MU, stream, &rest);
        stream.sequence = stream.sequence.wrapping_add(1);
        stream.timestamp = stream.timestamp.wrapping_add(160);
        packet
    }
    let mut stream = Stream::new(1);
    let mut line = Line::new(Setup::default());
    for _ in 0..10 {
        let packet = dressed(&mut stream, OPEN);
        line.caller_sends(&packet);
        line.pass(20 * MS);
    }
    assert!(line.to_engine().all(|sent| sent.octets.len() == 172 && sent.octets[0] == 0x80));
    assert!(line.engine_heard(OPEN), "the control");
    line.enter(1);
    for _ in 0..10 {
        let packet = dressed(&mut stream, CUT);
        line.caller_sends(&packet);
        line.pass(20 * MS);
    }
    line.cancel_and_drain(&mut stream);
    line.assert_tight();
}

#[test]
fn reports_of_the_caller_end_at_the_relay() {
    const NAME: &[u8; 8] = b"caller-1";
    let mut compound = vec![0x81, 200, 0, 12];
    compound.extend(0xca11_e401_u32.to_be_bytes());
    compound.extend([0x5a; 44]);
    compound.extend([0x81, 202, 0, 4, 0xca, 0x11, 0xe4, 0x01, 1, 8]);
    compound.extend(NAME);
    compound.extend([0, 0]);
    compound.extend([0x80, 204, 0, 3, 0xca, 0x11, 0xe4, 0x01]);
    compound.extend([CUT; 8]);
    compound.extend([0x80, 207, 0, 2, 0xca, 0x11, 0xe4, 0x01, CUT, CUT, CUT, CUT]);
    compound.extend([0x81, 203, 0, 1, 0xca, 0x11, 0xe4, 0x01]);
    for mux in [false, true] {
        let caller = LegMedia { rtcp_mux: mux, ..leg(address(40000), MU, Some(EVENT), 20) };
        let mut stream = Stream::new(0xca11_e401);
        let mut line = Line::talked(Setup { caller, ..Setup::default() }, &mut stream);
        for cut in [false, true] {
            if cut {
                line.enter(1);
            }
            let before = line.sent.len();
            for _ in 0..50 {
                line.inject(CALLER_PORT + 1, line.caller_rtcp(), &compound);
                line.inject(CALLER_PORT, line.caller, &compound);
            }
            assert_eq!(line.sent.len(), before, "nothing is sent because of a report");
            for _ in 0..300 {
                line.talk(&mut stream, if cut { CUT } else { OPEN }, 1);
                line.inject(CALLER_PORT + 1, line.caller_rtcp(), &compound);
            }
        }
        let holds = |sent: &Sent, part: &[u8]| sent.octets.windows(part.len()).any(|it| it == part);
        let ssrc = 0xca11_e401_u32.to_be_bytes();
        let engine_side = || line.sent.iter().filter(|sent| sent.port >= ENGINE_PORT);
        assert!(engine_side().any(|sent| sent.port == ENGINE_PORT + 1), "the engine gets reports");
        assert!(engine_side().all(|sent| !holds(sent, &ssrc) && !holds(sent, NAME)));
        assert!(
            line.sent.iter().any(|sent| sent.port < ENGINE_PORT && holds(sent, &ssrc)),
            "the control: the caller is told of its own stream"
        );
        line.assert_tight();
    }
}

#[test]
fn a_key_held_over_the_flip_is_neither_a_key_of_the_session_nor_forwarded_on() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    let start = stream.timestamp;
    let packet = stream.event(OPEN_KEY, start, 160, true, false);
    line.caller_sends(&packet);
    line.pass(20 * MS);
    line.enter(1);
    for n in 2..=6_u16 {
        let packet = stream.event(OPEN_KEY, start, 160 * n, false, n >= 4);
        line.caller_sends(&packet);
        line.pass(20 * MS);
    }
    assert_eq!(line.progress(), 0);
    assert_eq!(line.engine_events(OPEN_KEY), 1, "what came before the cut, and no more");
    line.press(&mut stream, CUT_KEY);
    assert_eq!(line.progress(), 1, "the control");
    line.assert_tight();
}

#[test]
fn the_end_of_a_key_of_the_cut_is_not_forwarded_after_it() {
    // A sender that says nothing between a key's start and its ends, while audio goes on.
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 10);
    let start = stream.timestamp;
    let packet = stream.event(CUT_KEY, start, 160, true, false);
    line.caller_sends(&packet);
    line.cancel_and_drain(&mut stream);
    line.talk(&mut stream, AFTER, 2);
    for _ in 0..3 {
        let packet = stream.event(CUT_KEY, start, 6400, false, true);
        line.caller_sends(&packet);
    }
    line.talk(&mut stream, AFTER, 2);
    line.press(&mut stream, OPEN_KEY);
    assert_eq!(line.engine_events(OPEN_KEY), 5, "the control");
    line.assert_tight();
}

#[test]
fn the_end_of_a_key_of_the_cut_is_not_forwarded_even_if_its_beginning_was_lost() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 10);
    let start = stream.timestamp;
    line.cancel_and_drain(&mut stream);
    line.talk(&mut stream, AFTER, 2);
    for _ in 0..3 {
        let packet = stream.event(CUT_KEY, start, 6400, false, true);
        line.caller_sends(&packet);
    }
    line.press(&mut stream, OPEN_KEY);
    assert_eq!(line.engine_events(OPEN_KEY), 5, "the control");
    line.assert_tight();
}

#[test]
fn three_ends_that_come_late_count_once_and_are_not_forwarded() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    let start = stream.timestamp;
    let packet = stream.event(CUT_KEY, start, 160, true, false);
    line.caller_sends(&packet);
    let ends: Vec<Vec<u8>> =
        (0..3).map(|_| stream.event(CUT_KEY, start, 800, false, true)).collect();
    line.caller_sends(&ends[0]);
    line.talk(&mut stream, CUT, 3);
    line.caller_sends(&ends[1]);
    assert_eq!(line.progress(), 1);
    for _ in 0..3 {
        line.talk(&mut stream, CUT, 5);
        line.press(&mut stream, CUT_KEY);
    }
    assert_eq!(line.progress(), 1, "four keys, not five");
    line.cancel_and_drain(&mut stream);
    line.caller_sends(&ends[2]);
    line.caller_sends(&ends[0]);
    line.press(&mut stream, OPEN_KEY);
    assert_eq!(line.engine_events(OPEN_KEY), 5, "the control");
    line.assert_tight();
}

#[test]
fn redundancy_that_is_malformed_or_holds_no_key_last_goes_nowhere() {
    for phase in ["open", "armed", "cut"] {
        let mut stream = Stream::new(1);
        let armed = phase == "armed";
        let mut line = Line::talked(Setup { armed, ..Setup::default() }, &mut stream);
        if phase == "cut" {
            line.enter(1);
        }
        let packet = stream.redundant(&[(EVENT, 160, &ended(CUT_KEY))], CUT_KEY);
        let before = line.to_engine().count();
        let mut dropped = 0;
        // Cut off within the headers, within the blocks, and with audio as the newest block.
        let voice = [&packet[..12], &[EVENT | 0x80, 2, 128, 4, MU], &ended(CUT_KEY), &[CUT; 160]];
        for packet in [&packet[..12], &packet[..14], &packet[..18], &voice.concat()] {
            let before = line.snapshot().legs[0].drops;
            line.caller_sends(packet);
            let after = line.snapshot().legs[0].drops;
            dropped += after.iter().sum::<u64>() - before.iter().sum::<u64>();
        }
        // In the cut the last one is heard: the key in it may be one that was lost.
        assert_eq!(dropped, if phase == "cut" { 3 } else { 4 }, "{phase}");
        assert_eq!(line.to_engine().count(), before, "{phase}");
        assert_eq!(line.engine_events(CUT_KEY), 0, "{phase}");
    }
}

#[test]
fn a_key_that_a_copy_alone_tells_counts_by_when_it_went_down() {
    for (age, groups) in [(1600, 2), (4000, 1)] {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        line.enter(1);
        // 300 ms into the session: a copy of 200 ms ago is of a key in it, one of 500 ms is not.
        line.talk(&mut stream, CUT, 15);
        let packet = stream.redundant(&[(EVENT, age, &ended(OPEN_KEY))], CUT_KEY);
        line.caller_sends(&packet);
        for _ in 0..3 {
            line.talk(&mut stream, CUT, 10);
            line.press(&mut stream, CUT_KEY);
        }
        assert_eq!(line.progress(), groups, "a copy of {age} ticks ago");
        line.assert_tight();
    }
}

#[test]
fn entering_an_armed_call_takes_back_the_whole_look_ahead_whatever_the_packet_time() {
    for (frame, engine_ptime) in [(160, 20), (240, 20), (80, 20), (480, 20), (240, 30), (160, 60)] {
        let engine = leg(address(50000), MU, Some(EVENT), engine_ptime);
        let mut stream = Stream { frame, ..Stream::new(1) };
        let setup = Setup { engine, armed: true, ..Setup::default() };
        let mut line = Line::talked(setup, &mut stream);
        let (since, flip) = (line.now, line.now + LOOK_AHEAD - MS);
        let mut next = since;
        while next < flip {
            line.pass(next - line.now);
            let packet = stream.say(CUT);
            line.caller_sends(&packet);
            next += stream.frame_time();
        }
        line.pass(flip - line.now);
        line.enter(1);
        line.talk(&mut stream, CUT, 20);
        assert!(line.engine_heard(OPEN), "the control, {frame} octets");
        line.cancel_and_drain(&mut stream);
        line.assert_tight();
    }
}

#[test]
fn without_arming_the_same_would_have_been_heard() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.talk(&mut stream, CUT, 3);
    line.enter(1);
    assert!(line.engine_heard(CUT));
}

#[test]
fn arming_disarming_and_entering_leave_nothing_of_a_delay_behind() {
    let mut stream = Stream::of_30_ms(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.command(Command::Arm { call: CALL, look_ahead: LookAhead::default() }).map(drop).unwrap();
    line.talk(&mut stream, OPEN, 10);
    // What the armed line holds when it is disarmed is lost rather than late.
    let packet = stream.say(CUT);
    line.caller_sends(&packet);
    line.command(Command::Disarm { call: CALL }).map(drop).unwrap();
    line.talk(&mut stream, OPEN, 10);
    // The odd packet time goes through a line as well, disarmed or not.
    let packet = stream.say(CUT);
    line.caller_sends(&packet);
    line.enter(1);
    line.talk(&mut stream, CUT, 10);
    line.cancel_and_drain(&mut stream);
    line.talk(&mut stream, AFTER, 10);
    assert!(line.engine_heard(AFTER), "the control");
    assert!(!line.engine_heard(CUT));
}

#[test]
fn packets_of_30_ms_leave_as_frames_of_one_size_over_two_flips() {
    let mut stream = Stream::of_30_ms(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 33);
    line.cancel_and_drain(&mut stream);
    line.talk(&mut stream, AFTER, 33);
    line.enter(2);
    line.talk(&mut stream, CUT, 33);
    line.cancel_and_drain(&mut stream);
    line.talk(&mut stream, AFTER, 33);
    assert!(line.engine_heard(OPEN) && line.engine_heard(AFTER), "the control");
    let packets: Vec<&Sent> = line.to_engine().collect();
    for pair in packets.windows(2) {
        assert_eq!(pair[1].octets.len(), 172);
        assert!(pair[1].at - pair[0].at <= 30 * MS, "no gap at a flip");
        let sequence = |sent: &Sent| u16::from_be_bytes([sent.octets[2], sent.octets[3]]);
        assert_eq!(sequence(pair[1]), sequence(pair[0]).wrapping_add(1));
    }
    line.assert_tight();
}

#[test]
fn an_engine_that_may_talk_still_hears_nothing() {
    for (engine_audio, heard) in [(EngineAudio::Pass, true), (EngineAudio::Drop, false)] {
        let mut stream = Stream::new(1);
        let mut engine = Stream::new(99);
        let setup = Setup { engine_audio, ..Setup::default() };
        let mut line = Line::talked(setup, &mut stream);
        line.enter(1);
        for _ in 0..50 {
            let packet = engine.say(ENGINE);
            line.inject(ENGINE_PORT, line.engine, &packet);
            line.talk(&mut stream, CUT, 1);
        }
        let start = engine.timestamp;
        let packet = engine.event(OPEN_KEY, start, 160, true, true);
        line.inject(ENGINE_PORT, line.engine, &packet);
        line.press(&mut stream, CUT_KEY);
        assert_eq!(line.progress(), 1, "the engine's keys are nobody's");
        line.cancel_and_drain(&mut stream);
        assert_eq!(line.caller_heard(ENGINE), heard);
        line.assert_tight();
    }
}

#[test]
fn a_call_that_ends_in_the_middle_ends_silent() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.press(&mut stream, CUT_KEY);
    line.talk(&mut stream, CUT, 5);
    line.command(Command::Close { call: CALL }).map(drop).unwrap();
    assert_eq!(line.verdict().unwrap().as_str(), "caller-hung-up");
    let before = line.sent.len();
    let packet = stream.say(CUT);
    line.caller_sends(&packet);
    line.pass(2_000 * MS);
    assert_eq!(line.sent.len(), before, "a call that is over sends nothing");
    assert!(line.is_recorded(OPEN), "the control: the recording ends with what came before");
    line.assert_tight();
}

#[test]
fn a_caller_who_falls_silent_in_the_cut_is_gone_and_the_call_stays_cut_until_then() {
    let mut stream = Stream::new(1);
    let setup = Setup { media_timeout: 3_000 * MS, ..Setup::default() };
    let mut line = Line::talked(setup, &mut stream);
    line.enter(1);
    line.press(&mut stream, CUT_KEY);
    line.pass(2_900 * MS);
    assert_eq!(line.verdict(), None);
    line.pass(200 * MS);
    assert!(line.events.contains(&EventKind::MediaTimeout { side: Side::Caller }));
    assert_eq!(line.verdict().unwrap().as_str(), "caller-hung-up");
    assert!(!line.events.iter().any(|kind| matches!(kind, EventKind::Reopened { .. })));
    line.assert_tight();
}

#[test]
fn a_second_session_right_behind_the_first_keeps_the_late_packets_of_both() {
    let (mut first, mut second) = (Stream::new(1), Stream { sequence: 7, ..Stream::new(2) });
    let mut line = Line::talked(Setup::default(), &mut first);
    line.enter(1);
    line.press(&mut first, CUT_KEY);
    let late_key = first.event(CUT_KEY, first.timestamp, 800, true, true);
    let late_first = first.say(CUT);
    line.cancel_and_drain(&mut first);
    line.enter(2);
    assert_eq!(line.progress(), 0);
    line.talk(&mut second, CUT, 10);
    line.caller_sends(&late_key);
    line.pass(20 * MS);
    assert_eq!(line.progress(), 0, "a key of the first session is none of the second");
    let late_second = second.say(CUT);
    line.press(&mut second, CUT_KEY);
    assert_eq!(line.progress(), 1, "the control");
    line.cancel_and_drain(&mut second);
    for late in [&late_first, &late_second, &late_key] {
        line.caller_sends(late);
    }
    line.talk(&mut second, AFTER, 5);
    assert!(line.engine_heard(AFTER), "the control");
    line.assert_tight();
}

#[test]
fn a_signalled_key_in_the_open_goes_nowhere_and_is_no_key_of_the_next_session() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    let before = line.sent.len();
    let key = || Command::Key { call: CALL, digit: Digit::Seven };
    line.command(key()).map(drop).unwrap();
    assert_eq!(line.sent.len(), before);
    line.enter(1);
    assert_eq!(line.progress(), 0);
    line.command(key()).map(drop).unwrap();
    assert_eq!(line.progress(), 1, "the control");
    line.talk(&mut stream, CUT, 10);
    line.assert_tight();
}

#[test]
fn media_on_the_wrong_port_or_from_the_wrong_address_is_nobodys() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 5);
    let sources = [line.caller, line.caller_rtcp(), line.engine, address(42000)];
    for from in sources {
        for port in [CALLER_PORT, CALLER_PORT + 1, ENGINE_PORT, ENGINE_PORT + 1] {
            if (port, from) == (CALLER_PORT, line.caller) {
                continue;
            }
            let start = stream.timestamp;
            let event = stream.event(CUT_KEY, start, 800, true, true);
            line.inject(port, from, &event);
            let voice = stream.say(CUT);
            line.inject(port, from, &voice);
            line.pass(20 * MS);
        }
    }
    assert_eq!(line.progress(), 0);
    line.press(&mut stream, CUT_KEY);
    assert_eq!(line.progress(), 1, "the control");
    line.cancel_and_drain(&mut stream);
    line.assert_tight();
}

#[test]
fn packets_of_every_length_stay_cut_and_leave_no_octet_in_the_buffer() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.buffer = [CUT; BUFFER];
    line.enter(1);
    assert!(line.buffer.contains(&CUT), "the control: what nobody wipes stays");
    for len in (0..=200).chain([480, 481, 960, MAX_DATAGRAM - 12]) {
        for payload_type in [MU, EVENT, 13] {
            let packet = rtp(0x80, payload_type, &stream, &vec![CUT; len]);
            stream.sequence = stream.sequence.wrapping_add(1);
            stream.timestamp = stream.timestamp.wrapping_add(len as u32);
            line.caller_sends(&packet);
            line.caller_sends(&packet[..packet.len().min(len)]);
            line.inject(CALLER_PORT, address(42000), &packet);
        }
        line.pass(20 * MS);
    }
    line.assert_tight();
}

#[test]
fn a_protected_call_is_as_tight_and_leaves_no_plain_octet_in_the_buffer() {
    let keys = || {
        let key = |octet| {
            let octets = [octet; 64];
            let suite = Suite::from_name("AES_CM_128_HMAC_SHA1_80").unwrap();
            MasterKey::from_bytes(suite, &octets[..suite.master_len()]).unwrap()
        };
        SrtpKeys { inbound: key(1), outbound: key(2) }
    };
    let caller = LegMedia { srtp: Some(keys()), ..leg(address(40000), MU, Some(EVENT), 20) };
    let mut line = Line::new(Setup { caller, ..Setup::default() });
    let mut phone = Outbound::new(&keys().inbound);
    let mut stream = Stream::new(1);
    let mut say = |line: &mut Line, code: u8| {
        let mut packet = stream.say(code);
        let len = packet.len();
        packet.resize(len + TAG_ROOM, 0);
        let len = phone.protect(&mut packet, len).unwrap();
        line.caller_sends(&packet[..len]);
        // A forged one beside each: it must change nothing and leave nothing.
        packet[40] ^= 1;
        line.caller_sends(&packet[..len]);
        line.pass(20 * MS);
    };
    (0..25).for_each(|_| say(&mut line, OPEN));
    line.enter(1);
    (0..25).for_each(|_| say(&mut line, CUT));
    line.cancel();
    while line.cut {
        say(&mut line, CUT);
    }
    (0..25).for_each(|_| say(&mut line, AFTER));
    assert!(line.engine_heard(OPEN) && line.engine_heard(AFTER), "the control");
    line.assert_tight();
}

#[test]
fn a_reoffer_with_the_same_keys_never_uses_an_index_twice() {
    for suite in ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"] {
        let suite = Suite::from_name(suite).unwrap();
        let key = |octet| MasterKey::from_bytes(suite, &[octet; 64][..suite.master_len()]).unwrap();
        let engine = || LegMedia {
            srtp: Some(SrtpKeys { inbound: key(1), outbound: key(2) }),
            ..leg(address(50000), MU, None, 20)
        };
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup { engine: engine(), ..Setup::default() }, &mut stream);
        line.enter(1);
        line.pass(6_000 * MS);
        line.reoffer(Side::Engine, engine());
        line.pass(6_000 * MS);
        let mut far = Inbound::new(&key(2));
        let mut reports = 0;
        for sent in line.sent.iter().filter(|sent| sent.port >= ENGINE_PORT) {
            let mut octets = sent.octets.clone();
            if sent.port == ENGINE_PORT {
                far.unprotect(&mut octets).expect("a peer that kept its state can go on");
            } else {
                // A repeated index is a replay to whoever keeps state, and two packets under one
                // key stream to whoever listens.
                far.unprotect_rtcp(&mut octets).expect("no index comes twice");
                reports += 1;
            }
        }
        assert!(reports >= 2, "the control");
    }
}

#[test]
fn a_call_over_ipv6_is_as_tight() {
    let at = |port| SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
    let caller = leg(at(40000), MU, Some(EVENT), 20);
    for engine in [at(50000), address(50000)] {
        let engine = leg(engine, MU, Some(EVENT), 20);
        let caller = LegMedia { srtp: None, ..leg(caller.remote_rtp, MU, Some(EVENT), 20) };
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup { caller, engine, ..Setup::default() }, &mut stream);
        line.enter(1);
        line.press(&mut stream, CUT_KEY);
        assert_eq!(line.progress(), 1, "the control");
        let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), 40000);
        for from in [mapped, address(40000)] {
            let packet = Stream { ssrc: 5, ..Stream::new(5) }.say(CUT);
            line.inject(CALLER_PORT, from, &packet);
        }
        line.cancel_and_drain(&mut stream);
        line.talk(&mut stream, AFTER, 5);
        assert!(line.engine_heard(AFTER), "the control");
        line.assert_tight();
    }
}

#[test]
fn a_caller_who_latched_cannot_be_replaced_in_the_cut() {
    let caller = LegMedia { source: SourceRule::Latch, ..leg(address(40000), MU, Some(EVENT), 20) };
    let mut stream = Stream::new(1);
    let mut line = Line::new(Setup { caller, ..Setup::default() });
    line.enter(1);
    for _ in 0..20 {
        let packet = stream.say(CUT);
        line.inject(CALLER_PORT, address(42000), &packet);
        line.pass(20 * MS);
    }
    let start = stream.timestamp;
    let event = stream.event(CUT_KEY, start, 800, true, true);
    line.inject(CALLER_PORT, address(42000), &event);
    assert_eq!(line.progress(), 0, "no new source in the cut");
    line.press(&mut stream, CUT_KEY);
    assert_eq!(line.progress(), 1, "the control");
    line.cancel_and_drain(&mut stream);
    line.assert_tight();
}

#[test]
fn whatever_is_done_to_a_call_in_whatever_order_the_cut_is_tight() {
    let (mut cuts, mut reopenings, mut lates) = (0, 0, 0);
    for seed in 0..200 {
        let mut walk = Walk::new(seed);
        for _ in 0..300 {
            walk.step();
        }
        walk.line.assert_tight();
        assert!(walk.line.engine_heard(OPEN), "the control, seed {seed}");
        let count =
            |is: fn(&EventKind) -> bool| walk.line.events.iter().filter(|it| is(it)).count();
        cuts += count(|kind| matches!(kind, EventKind::SecureStarted { .. }));
        reopenings += count(|kind| matches!(kind, EventKind::Reopened { .. }));
        lates += walk.lates;
    }
    println!("figure: {cuts} cuts, {reopenings} reopenings, {lates} late packets");
    assert!(cuts > 1000 && reopenings > 500 && lates > 500);
}

/// A call to which things happen at random.
struct Walk {
    line: Line,
    streams: [Stream; 3],
    talking: usize,
    engine: Stream,
    random: StdRng,
    session: u128,
    late: Vec<(usize, Instant, Vec<u8>)>,
    lates: usize,
}

impl Walk {
    fn new(seed: u64) -> Walk {
        let mut random = StdRng::seed_from_u64(seed);
        let frame = [80, 160, 240, 480][random.random_range(0..4)];
        let mut streams = [1, 2, 3].map(|ssrc| Stream { frame, ..Stream::new(ssrc) });
        let engine_audio =
            if random.random_bool(0.5) { EngineAudio::Pass } else { EngineAudio::Drop };
        let setup = Setup { engine_audio, armed: random.random_bool(0.3), ..Setup::default() };
        let line = Line::talked(setup, &mut streams[0]);
        let (engine, late) = (Stream::new(99), Vec::new());
        Walk { line, streams, talking: 0, engine, random, session: 0, late, lates: 0 }
    }

    fn step(&mut self) {
        let Walk { line, streams, random, .. } = self;
        let stream = &mut streams[self.talking];
        let key = if line.cut { CUT_KEY } else { OPEN_KEY };
        match random.random_range(0..20) {
            0 => {
                self.session += 1;
                let enter = enter_command(self.session, card_plan(), line.engine_audio);
                let _ = line.command(enter);
            }
            1 => drop(line.command(Command::Cancel { call: CALL })),
            2 => drop(line.command(Command::Arm { call: CALL, look_ahead: LookAhead::default() })),
            3 => drop(line.command(Command::Disarm { call: CALL })),
            4 => drop(line.command(Command::Key { call: CALL, digit: Digit::Pound })),
            5 => self.talking = random.random_range(0..3),
            6 => line.press(stream, key),
            7 => {
                let ptime = (stream.frame / 8) as u64;
                let port = random.random_range(40000..40010);
                let they_send = random.random_bool(0.9);
                let media = leg(address(port), MU, Some(EVENT), ptime);
                line.reoffer(Side::Caller, LegMedia { they_send, ..media });
            }
            8 => {
                let event = random.random_bool(0.5).then_some(EVENT);
                let port = random.random_range(50000..50010);
                line.reoffer(Side::Engine, leg(address(port), MU, event, 20));
            }
            9 => line.pass(Duration::from_millis(random.random_range(0..700))),
            10 if line.cut => {
                // Kept back, overtaken at once, and delivered at some other time.
                self.late.push((line.cuts(), line.now, stream.say(CUT)));
                line.talk(stream, CUT, 1);
            }
            11 | 12 => {
                // No packet takes longer than ten seconds, or over a whole session.
                let (cuts, recent) = (line.cuts(), line.now - 10_000 * MS);
                self.late.retain(|(cut, at, _)| cut + 1 >= cuts && *at > recent);
                if let Some((_, _, packet)) = self.late.pop() {
                    line.caller_sends(&packet);
                    self.lates += 1;
                }
            }
            13 => {
                let packet = self.engine.say(ENGINE);
                line.inject(ENGINE_PORT, line.engine, &packet);
            }
            other => {
                // Now and then long enough a quiet to reopen a call whose session was cut short.
                let packets =
                    if other == 14 { 20_000 / stream.frame } else { random.random_range(1..15) };
                for _ in 0..packets {
                    line.talk(stream, if line.cut { CUT } else { OPEN }, 1);
                }
            }
        }
    }
}

//! Corner cases of the switch itself, into the cut and out of it.

use std::time::Duration;

use dtmf::g711::Law;
use loadtest::KeyMethod;
use relay::switchboard::limits::{DRAIN_QUIET, LOOK_AHEAD};
use relay::switchboard::{Command, EventKind, LookAhead, Phase};
use system_tests::line::{
    AFTER, CALL, CUT, CUT_KEY, Line, MS, OPEN, OPEN_KEY, SILENCE, Sent, Setup, Stream, payload,
    tone,
};
use system_tests::sim_net::Weather;
use system_tests::world::{World, WorldConfig, card_plan, keys};

use crate::enter_aloud;

/// What a caller keys before the switch is taken back as far as the look-ahead and the tail of the
/// recording reach, and is no key of the session; the question comes after the receipt only.
#[test]
fn case_01_type_ahead_before_the_switch_is_discarded() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup { armed: true, ..Setup::default() }, &mut stream);
    for _ in 0..4 {
        line.press(&mut stream, OPEN_KEY);
    }
    // What was said last is still in the delay line.
    line.talk(&mut stream, CUT, 2);
    let receipt = line.enter_by(enter_aloud(1, false));
    line.talk(&mut stream, CUT, 25);
    assert_eq!(line.progress(), 0, "four keys of before are none of the session");
    assert_eq!(line.engine_events(OPEN_KEY), 0, "nor are they the engine's");

    let spoken = line.to_caller().filter(|sent| !is_silent(sent));
    let first = spoken.map(|sent| (sent.cut, sent.at)).next().expect("the caller is asked");
    assert!(first.0 && first.1 >= receipt.since(), "after the cut was acknowledged");

    for _ in 0..4 {
        line.press(&mut stream, CUT_KEY);
        line.talk(&mut stream, CUT, 5);
    }
    assert_eq!(line.progress(), 1, "the control: the same keys after the switch count");
    line.cancel_and_drain(&mut stream);
    line.assert_tight();
}

/// What has left before the switch cannot be called back: the receipt says from when on nothing
/// leaves, and what still waits to be read is read in the cut.
#[test]
fn case_02_the_receipt_says_since_when_nothing_leaves() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    let waiting: Vec<Vec<u8>> = (0..10).map(|_| stream.say(CUT)).collect();
    let receipt = line.enter_by(enter_aloud(1, false));
    assert_eq!(receipt.since(), line.now, "the receipt is made when the cut is");
    waiting.iter().for_each(|packet| line.caller_sends(packet));
    line.talk(&mut stream, CUT, 50);
    let (before, since): (Vec<&Sent>, Vec<&Sent>) = line.to_engine().partition(|it| !it.cut);
    assert!(before.iter().any(|sent| payload(sent).contains(&OPEN)), "the control");
    assert!(since.len() > 45 && since.iter().all(|sent| is_silent(sent)));
    assert!(since.iter().all(|sent| sent.at >= receipt.since()));
    line.assert_tight();
}

/// A tone that waits in the delay line at the switch is purged, and what came into the cut is not
/// flushed out of it behind the exit.
#[test]
fn case_03_a_tone_in_the_delay_line_is_purged_on_the_way_in_and_out() {
    for armed in [true, false] {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup { armed, ..Setup::default() }, &mut stream);
        play(&mut line, &mut stream, 2);
        line.pass(LOOK_AHEAD - 41 * MS);
        line.enter(1);
        let is_marked = |sent: &Sent| payload(sent).iter().all(|it| [OPEN, SILENCE].contains(it));
        if !armed {
            assert!(!line.to_engine().all(is_marked), "the control: undelayed, it had left");
            continue;
        }
        line.talk(&mut stream, CUT, 10);
        play(&mut line, &mut stream, 5);
        line.cancel_and_drain(&mut stream);
        line.talk(&mut stream, AFTER, 10);
        assert!(line.engine_heard(AFTER), "the control");
        line.assert_only_marked();
        line.assert_tight();
    }
}

/// The part of a recording that is not written yet is overwritten with silence at the switch; the
/// recording keeps its length.
#[test]
fn case_04_the_unwritten_tail_of_a_recording_is_overwritten() {
    for is_cut in [true, false] {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        line.talk(&mut stream, CUT, 12);
        if is_cut {
            line.enter(1);
        }
        line.talk(&mut stream, OPEN, 50);
        line.command(Command::Close { call: CALL }).map(drop).unwrap();
        assert!(line.is_recorded(OPEN));
        assert_eq!(line.is_recorded(CUT), !is_cut, "240 ms are taken back, in a cut alone");
        let length: usize = line.blocks.iter().map(|block| block.caller.len()).sum();
        let starts: Vec<u64> = line.blocks.iter().map(|block| block.start).collect();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 800), "no hole: {starts:?}");
        let talked = ((line.now - line.start).as_millis() * 8) as usize;
        assert!((talked..talked + 800).contains(&length), "{length} of {talked}");
    }
}

/// The order of processing decides, not the sender's timestamp: what was stamped before the switch
/// and comes after it is of the cut.
#[test]
fn case_05_a_packet_stamped_before_the_switch_is_cut_if_it_comes_after_it() {
    for is_late in [true, false] {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        let start = stream.timestamp;
        let key = stream.event(CUT_KEY, start, 160, true, false);
        let voice = stream.say(CUT);
        if !is_late {
            line.caller_sends(&key);
            line.caller_sends(&voice);
        }
        line.enter(1);
        if is_late {
            line.caller_sends(&key);
            line.caller_sends(&voice);
        }
        line.talk(&mut stream, CUT, 25);
        assert_eq!(line.engine_heard(CUT), !is_late, "the control is the one in time");
        assert_eq!(line.engine_events(CUT_KEY), usize::from(!is_late));
        if is_late {
            line.cancel_and_drain(&mut stream);
            line.caller_sends(&voice);
            line.assert_tight();
        }
    }
}

/// An exit while keys are typed does not open the call before they have ended for long enough.
#[test]
fn case_13_an_exit_while_keys_are_typed_waits_for_quiet() {
    for method in [KeyMethod::Events, KeyMethod::Tones] {
        let weather = Weather::CALM;
        let mut world =
            World::new(WorldConfig { seed: 1, weather, method, armed: false, law: Law::Mu });
        world.run(500 * MS);
        let cut = world.now;
        assert!(world.ear.not_silent_between(cut - 300 * MS, cut) > 10, "the control");
        world.enter(7, card_plan()).map(drop).unwrap();
        world.caller.press(keys("4242424242"));
        world.run(700 * MS);
        world.command(Command::Cancel { call: CALL }).map(drop).unwrap();
        assert_eq!(world.verdict().unwrap().as_str(), "cancelled");
        let end = world.now + 4_000 * MS;
        assert!(world.run_until(end, |world| world.caller.is_done()));
        let last_key = world.now;
        assert!(last_key > cut + 1_500 * MS, "the caller typed on");
        assert_eq!(world.reopened(), None);
        let end = world.now + 5_000 * MS;
        assert!(world.run_until(end, |world| world.reopened().is_some()));
        let pause = 250 * MS;
        assert!(world.now + pause >= last_key + DRAIN_QUIET, "{:?}", world.now - last_key);
        assert_eq!(world.ear.not_silent_between(cut + MS, world.now), 0);
        assert_eq!((world.leaked_to_engine, world.leaked_to_recording()), (0, 0));
        assert!(!world.events.iter().any(|(_, kind)| matches!(kind, EventKind::DrainHeld { .. })));
    }
}

/// Arming plays silence for as long as the delay is, disarming drops as much; the stream's numbers
/// and its pace are unbroken over both.
#[test]
fn case_26_the_delay_begins_with_silence_and_ends_with_a_jump() {
    for ms in [0, 20, 60, 200] {
        let delay = Duration::from_millis(ms);
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        let look_ahead = LookAhead::new(delay).unwrap();
        line.command(Command::Arm { call: CALL, look_ahead }).map(drop).unwrap();
        assert!(matches!(line.snapshot().phase, Phase::Armed));
        let armed = line.now;
        line.talk(&mut stream, AFTER, 25);
        let first = line.to_engine().find(|sent| payload(sent).contains(&AFTER)).unwrap().at;
        assert!((delay..=delay + 40 * MS).contains(&(first - armed)), "{ms}: {:?}", first - armed);
        let all = line.to_engine().filter(|sent| armed < sent.at && sent.at < first);
        let between: Vec<&Sent> = all.collect();
        assert!(between.iter().all(|sent| is_silent(sent)));
        assert!(between.len() as u64 + 1 >= ms / 20, "{ms} ms of silence");

        // What the line holds now is lost, not late.
        let held = stream.say(CUT);
        line.caller_sends(&held);
        line.command(Command::Disarm { call: CALL }).map(drop).unwrap();
        line.pass(20 * MS);
        let disarmed = line.now;
        line.talk(&mut stream, OPEN, 25);
        let first = line.to_engine().find(|sent| sent.at >= disarmed && !is_silent(sent)).unwrap();
        assert!(payload(first).contains(&OPEN) && first.at == disarmed, "at once again");
        assert!(!line.engine_heard(CUT));
        let packets: Vec<&Sent> = line.to_engine().collect();
        for pair in packets.windows(2) {
            let sequence = |sent: &Sent| u16::from_be_bytes([sent.octets[2], sent.octets[3]]);
            assert_eq!(sequence(pair[1]), sequence(pair[0]).wrapping_add(1), "{ms}");
            assert!(pair[1].at - pair[0].at <= 25 * MS, "{ms}: no gap");
        }
    }
    assert!(LookAhead::new(Duration::from_millis(201)).is_none());
}

fn play(line: &mut Line, stream: &mut Stream, packets: usize) {
    for frame in tone(b'7', -10.0, packets) {
        let packet = stream.play(&frame);
        line.caller_sends(&packet);
        line.pass(20 * MS);
    }
}

fn is_silent(sent: &Sent) -> bool {
    payload(sent).iter().all(|&octet| octet == SILENCE)
}

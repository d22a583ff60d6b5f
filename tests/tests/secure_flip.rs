//! The flip, step by step: what the engine's stream looks like, who may do what, what stays cut.

use std::net::SocketAddr;
use std::time::Duration;

use dtmf::g711::Law;
use loadtest::KeyMethod;
use relay::switchboard::{Command, EventKind, LocalPort, Phase, Refusal, Reply};
use system_tests::sim_net::Weather;
use system_tests::world::{CALL, World, WorldConfig, card_plan, keys};

const MS: Duration = Duration::from_millis(1);

fn world(method: KeyMethod, armed: bool) -> World {
    World::new(WorldConfig { seed: 1, weather: Weather::CALM, method, armed, law: Law::Mu })
}

fn phase(world: &mut World) -> Phase {
    match world.command(Command::Snapshot { call: CALL }) {
        Ok(Reply::Snapshot(snapshot)) => snapshot.phase,
        Ok(Reply::Done | Reply::Secured(_)) | Err(_) => panic!("a call can be looked at"),
    }
}

fn pay(world: &mut World) {
    // A tone that sounds from the first packet on might have begun before the cut.
    world.run(100 * MS);
    for entry in ["4242424242424242#", "1230", "123"] {
        world.caller.press(keys(entry));
        let end = world.now + 10_000 * MS;
        assert!(world.run_until(end, |world| world.caller.is_done()));
    }
    let end = world.now + 6_000 * MS;
    assert!(
        world.run_until(end, |world| world.verdict().is_some()),
        "a verdict comes: {:?}",
        world.events
    );
    assert_eq!(world.verdict().map(|verdict| verdict.as_str()), Some("success"));
}

#[test]
fn the_engines_stream_is_unbroken_over_two_flips() {
    for (method, armed) in [
        (KeyMethod::Events, false),
        (KeyMethod::Tones, false),
        (KeyMethod::Events, true),
        (KeyMethod::Tones, true),
    ] {
        let mut world = world(method, armed);
        world.run(1_003 * MS);
        let start = world.now - 900 * MS;
        world.enter(7, card_plan()).expect("an open call can be cut");
        pay(&mut world);
        let end = world.now + 6_000 * MS;
        assert!(world.run_until(end, |world| world.reopened().is_some()), "it reopens");
        world.run(1_000 * MS);
        let cadence = world.ear.cadence(start, world.now);
        println!("figure: {method:?} armed={armed}: {cadence:?}");
        assert!(cadence.packets > 300);
        assert!(cadence.longest_gap <= 25 * MS, "{cadence:?}");
        assert_eq!(
            (
                cadence.sequence_jumps,
                cadence.timestamp_jumps,
                cadence.other_sizes,
                cadence.source_changes
            ),
            (0, 0, 0, 0)
        );
        assert_eq!(world.leaked_to_engine, 0);
    }
}

#[test]
fn keys_of_the_last_60_ms_before_the_flip_are_taken_back_when_armed() {
    for lead in [20, 40, 59] {
        let mut armed = world(KeyMethod::Tones, true);
        armed.run(1_000 * MS);
        armed.caller.press(keys("5"));
        armed.run(lead * MS);
        let cut_at = armed.now;
        armed.enter(7, card_plan()).expect("an armed call can be cut");
        armed.run(300 * MS);
        assert_eq!(armed.ear.not_silent_between(cut_at + MS, armed.now), 0);
        assert_eq!(armed.ear.keys_heard(), 0, "not one tone of {lead} ms was heard");
    }
}

#[test]
fn without_arming_the_same_tone_would_have_been_heard() {
    let mut open = world(KeyMethod::Tones, false);
    open.run(1_000 * MS);
    open.caller.press(keys("5"));
    open.run(120 * MS);
    open.enter(7, card_plan()).expect("an open call can be cut");
    open.run(300 * MS);
    assert_eq!(open.ear.keys_heard(), 1);
}

#[test]
fn a_key_begun_before_the_cut_is_no_key_of_the_session() {
    for method in [KeyMethod::Events, KeyMethod::Tones] {
        let mut world = world(method, false);
        world.run(1_000 * MS);
        world.caller.press(keys("9"));
        world.run(50 * MS);
        world.enter(7, card_plan()).expect("an open call can be cut");
        world.run(400 * MS);
        pay(&mut world);
    }
}

#[test]
fn entering_twice_is_one_session_by_id_and_refused_by_another() {
    let mut world = world(KeyMethod::Events, false);
    world.run(200 * MS);
    let first = world.enter(7, card_plan()).expect("an open call can be cut");
    world.run(100 * MS);
    let again = world.enter(7, card_plan()).expect("the same session is the same session");
    assert_eq!(first, again);
    assert_eq!(world.enter(8, card_plan()).unwrap_err(), Refusal::SessionInProgress);
    pay(&mut world);
    assert_eq!(world.enter(8, card_plan()).unwrap_err(), Refusal::SessionInProgress);
}

#[test]
fn an_operator_can_cancel_and_the_cut_outlives_it() {
    let mut world = world(KeyMethod::Tones, false);
    world.run(200 * MS);
    world.enter(7, card_plan()).expect("an open call can be cut");
    world.caller.press(keys("4242"));
    world.run(500 * MS);
    world.command(Command::Cancel { call: CALL }).map(drop).expect("a session can be cancelled");
    assert_eq!(world.verdict().map(|verdict| verdict.as_str()), Some("cancelled"));
    assert!(matches!(phase(&mut world), Phase::Draining(_)));
    let still_keying = world.now;
    let end = world.now + 5_000 * MS;
    assert!(world.run_until(end, |world| world.reopened().is_some()));
    assert!(world.now > still_keying + 500 * MS, "the drain waits for quiet");
    assert_eq!(world.leaked_to_engine, 0);
}

#[test]
fn a_call_that_never_gets_quiet_stays_cut_until_an_operator_acts() {
    let mut world = world(KeyMethod::Events, false);
    world.run(200 * MS);
    world.enter(7, card_plan()).expect("an open call can be cut");
    world.run(100 * MS);
    world.command(Command::Cancel { call: CALL }).map(drop).expect("a session can be cancelled");
    world.caller.press(keys(&"1".repeat(60)));
    let end = world.now + 8_000 * MS;
    world.run_until(end, |world| {
        world.events.iter().any(|(_, kind)| matches!(kind, EventKind::DrainHeld { .. }))
    });
    assert!(matches!(phase(&mut world), Phase::Held(_)));
    world.run(30_000 * MS);
    assert!(matches!(phase(&mut world), Phase::Held(_)), "nothing but an operator reopens it");
    assert_eq!(world.leaked_to_engine, 0);
    world.command(Command::Cancel { call: CALL }).map(drop).expect("a held call can be drained");
    let end = world.now + 5_000 * MS;
    assert!(world.run_until(end, |world| world.reopened().is_some()));
}

#[test]
fn hanging_up_in_the_middle_ends_the_session_as_hung_up() {
    let mut world = world(KeyMethod::Events, false);
    world.run(200 * MS);
    world.enter(7, card_plan()).expect("an open call can be cut");
    world.caller.press(keys("4242"));
    world.run(700 * MS);
    world.command(Command::Close { call: CALL }).map(drop).expect("a call can be closed");
    assert_eq!(world.verdict().map(|verdict| verdict.as_str()), Some("caller-hung-up"));
    assert_eq!(world.switchboard.calls(), 0);
    assert_eq!(world.leaked_to_engine, 0);
}

#[test]
fn nothing_from_a_third_address_is_heard_recorded_or_counted() {
    let mut world = world(KeyMethod::Events, false);
    let stranger = SocketAddr::from(([127, 0, 0, 2], 40000));
    let event = [0x80, 0xe5, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 4, 10, 0, 160];
    let voice: Vec<u8> =
        [0x80, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9].into_iter().chain([0x66; 160]).collect();
    world.run(200 * MS);
    world.enter(7, card_plan()).expect("an open call can be cut");
    for port in 10000..10004 {
        world.inject(LocalPort(port), stranger, &event);
        world.inject(LocalPort(port), stranger, &voice);
    }
    world.run(500 * MS);
    pay(&mut world);
    let end = world.now + 5_000 * MS;
    assert!(world.run_until(end, |world| world.reopened().is_some()));
    world.inject(LocalPort(10000), stranger, &voice);
    assert!(!world.ear.audio().windows(160).any(|window| window == [0x66; 160]));
    assert!(
        !world
            .blocks
            .iter()
            .any(|block| block.caller.windows(160).any(|window| window == [0x66; 160]))
    );
}

//! The flip, step by step: what the engine's stream looks like, who may do what, what stays cut.

use std::time::Duration;

use dtmf::expiry::Date;
use dtmf::g711::Law;
use dtmf::{CardMode, Field, FieldKind, PlanRequest, SecurePlan};
use loadtest::KeyMethod;
use relay::switchboard::{Command, EventKind, Phase, Refusal, Reply};
use system_tests::sim_net::Weather;
use system_tests::world::{CALL, World, WorldConfig, card_plan, keys};

const MS: Duration = Duration::from_millis(1);

fn world(method: KeyMethod, armed: bool) -> World {
    World::new(WorldConfig { seed: 1, weather: Weather::CALM, method, armed, law: Law::Mu })
}

fn phase(world: &mut World) -> Phase {
    match world.command(Command::Snapshot { call: CALL }) {
        Ok(Reply::Snapshot(snapshot)) => snapshot.phase,
        Ok(
            Reply::Done
            | Reply::HeldBack
            | Reply::Secured(_)
            | Reply::Recorded(_)
            | Reply::Stopped(_),
        )
        | Err(_) => {
            panic!("a call can be looked at")
        }
    }
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
        world.pay();
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
        world.pay();
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
    world.pay();
    assert_eq!(world.enter(8, card_plan()).unwrap_err(), Refusal::SessionInProgress);
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

/// An entry of no fixed length is taken for whole when no key has come for a while. A caller who has
/// only paused goes on in the middle of it.
#[test]
fn who_goes_on_keying_after_a_pause_is_not_heard() {
    let mut world = world(KeyMethod::Tones, false);
    world.run(1_000 * MS);
    let field = Field {
        inter_key_timeout: 1_000 * MS,
        ..Field::new(FieldKind::PostalCode { min: 4, max: 10 })
    };
    let today = Date::new(2026, 11, 24).expect("a date");
    let plan = SecurePlan::new(PlanRequest::new(&[field], today, CardMode::Test)).expect("a plan");
    world.enter(7, plan).expect("an open call can be cut");
    world.run(100 * MS);
    world.caller.press(keys("1234"));
    let end = world.now + 5_000 * MS;
    assert!(world.run_until(end, |world| world.verdict().is_some()), "the control");
    assert_eq!(world.verdict().map(|verdict| verdict.as_str()), Some("success"));
    world.run(800 * MS);
    world.caller.press(keys("5678"));
    world.run(1_500 * MS);
    assert_eq!(world.ear.keys_heard(), 0, "nothing of the number was heard");
    assert_eq!(world.leaked_to_engine, 0);
    let end = world.now + 6_000 * MS;
    assert!(world.run_until(end, |world| world.reopened().is_some()), "and then it reopens");
}

//! Corner cases of a session's end, and of the engine that waits for it.

use dtmf::expiry::Date;
use dtmf::g711::Law;
use dtmf::{CardMode, Field, FieldKind, PlanRequest, SecurePlan};
use loadtest::KeyMethod;
use relay::switchboard::{Command, EventKind, Reply};
use system_tests::line::{AFTER, CALL, CUT, Line, MS, Setup, Stream};
use system_tests::sim_net::Weather;
use system_tests::world::{World, WorldConfig, card_plan, keys};

fn world() -> World {
    let (weather, method) = (Weather::CALM, KeyMethod::Events);
    World::new(WorldConfig { seed: 1, weather, method, armed: false, law: Law::Mu })
}

/// The deadline of a session ends the collection as timed out, and says so; the cut is drained
/// like any other.
#[test]
fn case_17_the_deadline_ends_a_session_but_not_the_cut() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    let field = Field { first_key_timeout: 60_000 * MS, ..Field::new(FieldKind::ExpirationDate) };
    let today = Date::new(2026, 11, 24).unwrap();
    let request = PlanRequest::new(std::slice::from_ref(&field), today, CardMode::Test);
    let request = PlanRequest { deadline: 5_000 * MS, ..request };
    line.enter_with(1, SecurePlan::new(request).unwrap());
    let entered = line.now;
    line.talk(&mut stream, CUT, 245);
    assert_eq!(line.verdict(), None, "the control: it is not over yet");
    line.talk(&mut stream, CUT, 10);
    assert_eq!(line.verdict().unwrap().as_str(), "session-timeout");
    assert!(line.cut);
    line.drain_quietly(&mut stream);
    assert!(line.now - entered >= 5_500 * MS, "quiet before the deadline does not count");
    let told = |wanted: fn(&EventKind) -> bool| line.events.iter().position(wanted);
    let concluded = told(|kind| matches!(kind, EventKind::SecureConcluded { .. }));
    assert!(concluded.is_some() && concluded < told(|it| matches!(it, EventKind::Reopened { .. })));
    line.talk(&mut stream, AFTER, 5);
    assert!(line.engine_heard(AFTER), "the control");
    line.assert_tight();
}

/// A caller who hangs up in the middle ends the session as hung up, and nothing leaves.
#[test]
fn case_18_a_hang_up_in_the_middle_ends_the_session() {
    let mut world = world();
    world.run(200 * MS);
    world.enter(7, card_plan()).map(drop).unwrap();
    world.caller.press(keys("4242"));
    world.run(700 * MS);
    assert_eq!(world.verdict(), None, "the control: it was in progress");
    world.command(Command::Close { call: CALL }).map(drop).unwrap();
    assert_eq!(world.verdict().map(|verdict| verdict.as_str()), Some("caller-hung-up"));
    assert_eq!(world.switchboard.calls(), 0);
    assert!(!world.events.iter().any(|(_, kind)| matches!(kind, EventKind::Reopened { .. })));
    assert_eq!((world.leaked_to_engine, world.leaked_to_recording()), (0, 0));
}

/// An engine that watches for silence sees an even stream for as long as a session takes, is told
/// when it begins and ends, and cannot end it by hanging up.
#[test]
fn case_19_engines_get_an_even_stream_are_told_and_cannot_end_a_session() {
    let mut world = world();
    world.run(1_003 * MS);
    world.enter(7, card_plan()).map(drop).unwrap();
    let cut = world.now;
    // Longer than the shortest watchdog known, 30 s, with a slow caller.
    for digit in keys("4242424242424242#") {
        world.caller.press([digit]);
        world.run(2_400 * MS);
    }
    let reply = world.command(Command::HangUp { call: CALL });
    assert!(
        matches!(reply, Ok(Reply::HeldBack)),
        "the collection is none of the engine's business"
    );
    assert_eq!(world.verdict(), None);
    for entry in ["1230", "123"] {
        world.caller.press(keys(entry));
        let end = world.now + 10_000 * MS;
        assert!(world.run_until(end, |world| world.caller.is_done()));
    }
    let end = world.now + 10_000 * MS;
    assert!(world.run_until(end, |world| world.switchboard.calls() == 0), "it ends then");
    assert_eq!(world.verdict().map(|verdict| verdict.as_str()), Some("success"));
    let span = world.now - cut;
    let cadence = world.ear.cadence(cut, world.now);
    println!("figure: {} ms of silence: {cadence:?}", span.as_millis());
    assert!(span > 38_000 * MS && cadence.packets as u128 + 2 >= span.as_millis() / 20);
    assert!(cadence.longest_gap <= 21 * MS);
    assert_eq!((cadence.sequence_jumps, cadence.timestamp_jumps, cadence.other_sizes), (0, 0, 0));
    assert_eq!(world.ear.not_silent_between(cut + MS, world.now), 0);
    let told: Vec<EventKind> = world.events.iter().map(|(_, kind)| *kind).collect();
    let at = |wanted: fn(&EventKind) -> bool| told.iter().position(wanted).unwrap();
    let started = at(|kind| matches!(kind, EventKind::SecureStarted { .. }));
    let reopened = at(|kind| matches!(kind, EventKind::Reopened { .. }));
    assert!(started < reopened && reopened < at(|kind| *kind == EventKind::Closed));

    // The control: out of a session the engine's hang-up ends the call at once.
    let mut open = self::world();
    open.run(200 * MS);
    assert!(matches!(open.command(Command::HangUp { call: CALL }), Ok(Reply::Done)));
    assert_eq!(open.switchboard.calls(), 0);
}

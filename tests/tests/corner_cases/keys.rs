//! Corner cases of what is keyed, hummed or said.

use dtmf::expiry::Date;
use dtmf::g711::Law;
use dtmf::{CardMode, Field, FieldKind, PlanRequest, SecurePlan};
use loadtest::{Ear, Speech, Voice};
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::switchboard::{DropReason, EventKind};
use relay::wire::sdp::{AddressPolicy, Offer, Policy};
use system_tests::line::{
    AFTER, CUT, CUT_KEY, EVENT, Line, MS, MU, OPEN, OPEN_KEY, SILENCE, Sent, Setup, Stream, ended,
    leg, payload, rtp, tone,
};

use crate::enter_aloud;

/// However torn an event comes, it is one key; what comes of it after the exit is dropped.
#[test]
fn case_06_an_event_counts_once_however_it_comes_and_not_after_the_exit() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter_with(1, patient_plan());
    line.talk(&mut stream, CUT, 10);
    // Duration and end of each packet of a key that is held for a while, in the order they come.
    let shapes: [&[(u16, bool)]; 4] = [
        &[(800, true), (800, true), (800, true)],
        &[(160, false), (320, false), (480, false)],
        &[(480, false), (160, false), (800, true), (320, false), (800, true)],
        &[(160, false), (0xff00, false), (0xffff, false)],
    ];
    for shape in shapes {
        let start = stream.timestamp;
        for (number, (duration, is_end)) in shape.iter().enumerate() {
            let packet = stream.event(CUT_KEY, start, *duration, number == 0, *is_end);
            line.caller_sends(&packet);
            line.pass(20 * MS);
        }
        if shape.last() == Some(&(0xffff, false)) {
            // The next segment of a press that lasts longer than one can say.
            for (duration, is_end) in [(160, false), (320, true), (320, true)] {
                let start = start.wrapping_add(0xffff);
                let packet = stream.event(CUT_KEY, start, duration, false, is_end);
                line.caller_sends(&packet);
            }
            stream.timestamp = stream.timestamp.wrapping_add(0xffff);
        }
        line.talk(&mut stream, CUT, 15);
    }
    assert_eq!(line.progress(), 1, "four keys, and no more");
    let last = stream.timestamp;
    line.press(&mut stream, CUT_KEY);
    assert_eq!(line.progress(), 2, "the control: and no fewer, for this is the fifth");
    line.cancel_and_drain(&mut stream);
    for _ in 0..3 {
        let packet = stream.event(CUT_KEY, last, 800, false, true);
        line.caller_sends(&packet);
    }
    line.press(&mut stream, OPEN_KEY);
    assert_eq!(line.engine_events(OPEN_KEY), 5, "the control: a key of after it is passed on");
    line.assert_tight();
}

/// A redundant packet is heard by the collector whole; nothing of it leaves but the newest key of
/// an open call, alone.
#[test]
fn case_07_a_redundant_packet_is_heard_and_never_forwarded() {
    let voice = [CUT; 160];
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 10);
    // Four keys, each but the first known from a copy as well.
    for _ in 0..4 {
        let older: [(u8, u32, &[u8]); 2] = [(MU, 160, &voice), (EVENT, 1600, &ended(CUT_KEY))];
        let packet = stream.redundant(&older, CUT_KEY);
        line.caller_sends(&packet);
        line.talk(&mut stream, CUT, 10);
    }
    // The first copy is older than the session.
    assert_eq!(line.progress(), 1, "the control: four keys");
    line.cancel_and_drain(&mut stream);
    line.talk(&mut stream, AFTER, 10);
    let older: [(u8, u32, &[u8]); 2] = [(MU, 3200, &voice), (EVENT, 8000, &ended(CUT_KEY))];
    let packet = stream.redundant(&older, OPEN_KEY);
    line.caller_sends(&packet);
    assert_eq!(line.engine_events(OPEN_KEY), 1, "the control: the newest goes on");
    let last = line.to_engine().last().unwrap();
    assert_eq!(last.octets.len(), 12 + 4, "and goes alone");
    assert_eq!(payload(last), ended(OPEN_KEY));
    let left = line.buffer.iter().filter(|&&octet| octet == CUT).count();
    assert_eq!(left, 0, "nor do the copies stay behind");
    line.assert_tight();
}

/// Of several offered clocks one is agreed on; events of the others are nobody's, cut or open.
#[test]
fn case_08_of_several_event_types_the_agreed_one_is_heard_and_the_others_are_dropped() {
    let text = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                m=audio 40000 RTP/AVP 0 110 100 101\r\na=rtpmap:110 telephone-event/48000\r\n\
                a=rtpmap:100 telephone-event/16000\r\na=rtpmap:101 telephone-event/8000\r\n";
    let addresses = AddressPolicy { loopback: true, own_media: Vec::new() };
    let policy = Policy { addresses, ..Policy::default() };
    let rng = &mut StdRng::seed_from_u64(8);
    let agreed = Offer::parse(text.as_bytes()).unwrap().agree(&policy, None, rng).unwrap();
    assert_eq!(agreed.telephone_event, Some(EVENT));
    let caller = leg(agreed.remote_rtp, agreed.payload_type, agreed.telephone_event, 20);
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup { caller, ..Setup::default() }, &mut stream);

    let other_types = |line: &mut Line, stream: &mut Stream, code: u8| {
        for payload_type in [110, 100] {
            let packet = rtp(0x80, 0x80 | payload_type, stream, &ended(code));
            stream.sequence = stream.sequence.wrapping_add(1);
            line.caller_sends(&packet);
            line.talk(stream, if line.cut { CUT } else { OPEN }, 10);
        }
    };
    other_types(&mut line, &mut stream, OPEN_KEY);
    assert_eq!(line.engine_events(OPEN_KEY), 0);
    line.press(&mut stream, OPEN_KEY);
    assert_eq!(line.engine_events(OPEN_KEY), 5, "the control");
    line.enter(1);
    for _ in 0..4 {
        line.talk(&mut stream, CUT, 10);
        line.press(&mut stream, CUT_KEY);
        other_types(&mut line, &mut stream, CUT_KEY);
    }
    assert_eq!(line.progress(), 1, "four keys, not twelve");
    let dropped = line.snapshot().legs[0].drops[DropReason::UnknownPayload.index()];
    assert_eq!(dropped, 2 + 8);
    line.cancel_and_drain(&mut stream);
    line.assert_tight();
}

/// One press that comes as an event and as a tone is one key, whichever is first; a caller who
/// sends events is not listened to for tones.
#[test]
fn case_09_a_key_that_comes_as_event_and_tone_is_one_key() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 10);
    // Packets by which the event is behind the tone, the tone behind the event.
    for (event_after, tone_after) in [(2, 0), (0, 0), (0, 2), (0, 3)] {
        let (start, frames) = (stream.timestamp, tone(b'7', -10.0, 5));
        for n in 0..8_u16 {
            if (event_after..event_after + 5).contains(&n) {
                let held = n - event_after + 1;
                let packet = stream.event(CUT_KEY, start, 160 * held, held == 1, held == 5);
                line.caller_sends(&packet);
            }
            let frame = n.checked_sub(tone_after).and_then(|n| frames.get(usize::from(n)));
            let packet = match frame {
                Some(frame) => stream.play(frame),
                None => stream.say(CUT),
            };
            line.caller_sends(&packet);
            line.pass(20 * MS);
        }
        line.talk(&mut stream, CUT, 15);
    }
    assert_eq!(line.progress(), 1, "four keys, not eight");
    for frame in tone(b'7', -10.0, 5) {
        let packet = stream.play(&frame);
        line.caller_sends(&packet);
        line.pass(20 * MS);
    }
    line.talk(&mut stream, CUT, 15);
    assert_eq!(line.progress(), 1, "a tone alone is an echo, from a caller who sends events");
    line.press(&mut stream, CUT_KEY);
    assert_eq!(line.progress(), 2, "the control: the fifth");
    line.cancel_and_drain(&mut stream);
    line.assert_only_marked();
    line.assert_tight();
}

/// A key is confirmed to the caller by one flat beep, whichever it was: what a phone's microphone
/// or a bridge may echo tells nothing.
#[test]
fn case_11_no_keypad_tone_is_played_back() {
    let after_key = |code: u8| {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        line.enter_by(enter_aloud(1, true));
        line.talk(&mut stream, CUT, 10);
        let pressed = line.now;
        line.press(&mut stream, code);
        line.talk(&mut stream, CUT, 25);
        assert_eq!(line.progress(), 1);
        let heard: Vec<Vec<u8>> = line
            .to_caller()
            .filter(|sent| sent.at >= pressed)
            .map(|sent| sent.octets.clone())
            .collect();
        let mut ear = Ear::new(Law::Mu, MU);
        heard.iter().for_each(|octets| ear.hear(line.now, octets));
        assert_eq!(ear.keys_heard(), 0);
        assert!(heard.iter().any(|octets| octets[12..].iter().any(|it| *it != SILENCE)));
        line.cancel_and_drain(&mut stream);
        line.assert_tight();
        heard.iter().map(|octets| octets[12..].to_vec()).collect::<Vec<_>>()
    };
    assert!(after_key(1) == after_key(CUT_KEY), "the same for every key");
    let mut ear = Ear::new(Law::Mu, MU);
    let mut stream = Stream::new(1);
    let now = Line::new(Setup::default()).now;
    tone(b'7', -10.0, 6).iter().for_each(|frame| ear.hear(now, &stream.play(frame)));
    assert_eq!(ear.keys_heard(), 1, "the control: a keypad tone would be recognised");
}

/// Digits said aloud reach nobody and are no keys; a caller who goes on talking is asked to use the
/// keypad, if the relay speaks at all.
#[test]
fn case_12_a_caller_who_speaks_is_muted_and_asked_to_use_the_keypad() {
    for is_aloud in [true, false] {
        let mut stream = Stream::new(1);
        let mut line = Line::talked(Setup::default(), &mut stream);
        let mut voice = Voice::shipped(Law::Mu);
        if is_aloud {
            line.enter_by(enter_aloud(1, false));
        } else {
            line.enter_with(1, patient_plan());
        }
        let is_marked = |octet: &u8| [OPEN, SILENCE].contains(octet);
        let is_spoken = |sent: &Sent| payload(sent).iter().any(|&octet| octet != SILENCE);
        // The question is heard out.
        line.talk(&mut stream, CUT, 300);
        let asked = line.now;
        assert_eq!(line.to_caller().any(is_spoken), is_aloud);
        line.talk(&mut stream, CUT, 10);
        assert!(!line.to_caller().filter(|sent| sent.at > asked).any(is_spoken), "it is over");
        speak(&mut line, &mut stream, &mut voice, 150);
        line.talk(&mut stream, CUT, 20);
        let told = line.to_caller().filter(|sent| sent.at > asked).any(is_spoken);
        assert_eq!(told, is_aloud, "use the keypad");
        let is_rejection = |kind: &EventKind| matches!(kind, EventKind::FieldRejected { .. });
        assert!(!line.events.iter().any(is_rejection), "nothing else is said by then");
        assert_eq!(line.progress(), 0, "what is said is no key");
        line.cancel_and_drain(&mut stream);
        line.assert_only_marked();
        line.assert_tight();
        assert!(line.blocks.iter().all(|block| block.caller.iter().all(is_marked)));
        // In the open the same is heard.
        speak(&mut line, &mut stream, &mut voice, 50);
        assert!(!line.to_engine().all(|it| payload(it).iter().all(is_marked)), "the control");
        assert!(!line.blocks.iter().all(|block| block.caller.iter().all(is_marked)));
    }
}

/// A tone too faint to be a key still holds the cut after the exit.
#[test]
fn case_23_a_tone_too_faint_for_a_key_still_holds_the_cut() {
    let mut stream = Stream::new(1);
    let mut line = Line::talked(Setup::default(), &mut stream);
    line.enter(1);
    line.talk(&mut stream, CUT, 20);
    line.cancel();
    for frame in (0..8).flat_map(|_| tone(b'7', -44.0, 25)).take(100) {
        let packet = stream.play(&frame);
        line.caller_sends(&packet);
        line.pass(20 * MS);
        assert!(line.cut);
    }
    let quiet_from = line.now;
    line.drain_quietly(&mut stream);
    assert!(line.now - quiet_from < 2_200 * MS, "the control: silence does not");
    line.assert_only_marked();
    line.assert_tight();
}

/// Speaks without a pause.
fn speak(line: &mut Line, stream: &mut Stream, voice: &mut Voice, packets: usize) {
    for _ in 0..packets {
        let mut frame = [0; 160];
        let is_pause = |frame: &[u8]| {
            let levels = frame.iter().map(|&code| i32::from(Law::Mu.decode(code)).abs());
            levels.sum::<i32>() < 600 * 160
        };
        while is_pause(&frame) || frame == [0; 160] {
            voice.fill(&mut frame);
        }
        let packet = stream.play(&frame);
        line.caller_sends(&packet);
        line.pass(20 * MS);
    }
}

/// A plan that waits for the next key as long as a plan may.
fn patient_plan() -> SecurePlan {
    let field = Field {
        first_key_timeout: 60_000 * MS,
        inter_key_timeout: 60_000 * MS,
        field_timeout: 120_000 * MS,
        ..Field::new(FieldKind::CardNumber { allowed: dtmf::brand::BrandSet::COMMON })
    };
    let fields = [field];
    let request = PlanRequest::new(&fields, Date::new(2026, 11, 24).unwrap(), CardMode::Test);
    SecurePlan::new(PlanRequest { deadline: 300_000 * MS, ..request }).unwrap()
}

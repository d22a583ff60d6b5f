//! Subscribers: what whoever is sent copies of a call hears, before, in and after a cut.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![cfg_attr(
    feature = "sabotage",
    allow(dead_code, unused_imports, reason = "with masking broken the control alone is run")
)]

use std::net::SocketAddr;
use std::time::Duration;

use relay::codec::Codec;
use relay::prompts::Prompts;
use relay::switchboard::limits::{LOOK_AHEAD, UNANSWERED_SUBSCRIPTION};
use relay::switchboard::{
    Announcer, Command, Copies, CopyMedia, EngineAudio, EventKind, PortPair, Refusal, Reply,
    SessionId, SessionRequest, Side, Subscribing, SubscriptionId,
};
use relay::wire::rtp::RtpPacket;
use relay::wire::srtp::{Inbound, MasterKey, Suite};
use system_tests::line::{
    A, AFTER, CALL, CALLER_PORT, CUT, CUT_KEY, ENGINE, ENGINE_PORT, EVENT, Line, MS, MU, OPEN,
    OPEN_KEY, SILENCE, Sent, Setup, Stream, address, enter_command, leg, payload, rtp,
};
use system_tests::world::card_plan;

/// Ports of the copies of caller and engine, in that order.
const COPY_PORTS: [u16; 2] = [10004, 10006];
/// Where they go.
const SUBSCRIBER: u16 = 60000;
/// A frame leaves at most so much later or sooner than a frame time after the one before: what keeps
/// it midway between the caller's packets.
const STEP: Duration = MS;

fn command(line: &mut Line, id: u64, ask: Subscribing) -> Result<(), Refusal> {
    let (id, ask) = (SubscriptionId(id), Box::new(ask));
    line.command(Command::Subscription { call: CALL, id, ask }).map(drop)
}

/// Subscribes to both parties and leaves that unanswered.
fn subscribe(line: &mut Line, id: u64, ports: [u16; 2]) -> Result<(), Refusal> {
    let pair = |at: usize| PortPair::new(ports[at]).expect("an even port");
    let copies = [(Side::Caller, pair(0)), (Side::Engine, pair(1))];
    command(line, id, Subscribing::Begin(copies.into()))
}

fn media(codec: Codec, payload_type: u8, key: Option<MasterKey>) -> CopyMedia {
    let (remote, ptime) = (address(SUBSCRIBER), 20 * MS);
    CopyMedia { remote, codec, payload_type, ptime, they_receive: true, key }
}

fn mu() -> CopyMedia {
    media(leg(address(1), MU, None, 20).codec, MU, None)
}

fn answer(line: &mut Line, id: u64, copies: [Option<CopyMedia>; 2]) -> Result<(), Refusal> {
    command(line, id, Subscribing::Answer(Copies::from(copies)))
}

/// A line with somebody who is sent copies of both parties in mu-law.
fn listened(setup: Setup) -> (Line, Stream) {
    let (mut line, mut stream) = (Line::new(setup), Stream::new(1));
    subscribe(&mut line, 1, COPY_PORTS).unwrap();
    answer(&mut line, 1, [Some(mu()), Some(mu())]).unwrap();
    both_talk(&mut line, &mut stream, OPEN, 25);
    (line, stream)
}

/// Both parties talk; the engine 7 ms behind the caller.
fn both_talk(line: &mut Line, stream: &mut Stream, code: u8, packets: usize) {
    for _ in 0..packets {
        let packet = stream.say(code);
        line.caller_sends(&packet);
        line.pass(7 * MS);
        let mut engine = Stream::new(2);
        (engine.sequence, engine.timestamp) = (stream.sequence, stream.timestamp);
        let (port, from) = (ENGINE_PORT, line.engine);
        line.inject(port, from, &engine.say(ENGINE));
        line.pass(13 * MS);
    }
}

fn copies(line: &Line, side: Side) -> Vec<&Sent> {
    let port = COPY_PORTS[side.index()];
    line.sent.iter().filter(|sent| sent.port == port).collect()
}

fn holds(sent: &[&Sent], code: u8) -> usize {
    sent.iter().flat_map(|sent| payload(sent)).filter(|&&octet| octet == code).count()
}

/// One stream from first to last: even numbers, even size, even pace. A cut's first frame may be
/// moved: sooner by half a frame time, or later by less than one.
fn assert_unbroken(sent: &[&Sent], octets: usize) {
    for pair in sent.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        let [first, second] =
            [before, after].map(|it| RtpPacket::parse(&it.octets).unwrap().header);
        assert_eq!(second.ssrc, first.ssrc);
        assert_eq!(second.sequence, first.sequence.wrapping_add(1));
        assert_eq!(second.timestamp, first.timestamp.wrapping_add(160));
        assert_eq!((before.octets.len(), after.octets.len()), (octets, octets));
        let pace = after.at - before.at;
        let [sooner, later] = if after.cut && !before.cut { [10 * MS, 19 * MS] } else { [STEP; 2] };
        assert!((20 * MS - sooner..=20 * MS + later).contains(&pace), "{pace:?}");
    }
}

/// In the cut silence of both, and nothing of the cut at any time.
fn assert_tight(line: &Line) {
    for side in Side::ALL {
        let sent = copies(line, side);
        let cut: Vec<&Sent> = sent.iter().copied().filter(|sent| sent.cut).collect();
        let is_silent = |sent: &&Sent| payload(sent).iter().all(|&octet| octet == SILENCE);
        assert!(!cut.is_empty() && cut.iter().all(is_silent), "{side:?}");
        assert_eq!(holds(&sent, CUT), 0, "{side:?}");
        assert!(sent.iter().all(|sent| sent.octets[1] == MU), "no key event, no report");
    }
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn copies_are_what_was_said_octet_for_octet_and_no_key_event() {
    let (mut line, mut stream) = listened(Setup::default());
    let mut said = Vec::new();
    for number in 0..100_u8 {
        let frame: Vec<u8> = (0..160).map(|at| number.wrapping_mul(7) ^ at).collect();
        let packet = stream.play(&frame);
        line.caller_sends(&packet);
        line.pass(20 * MS);
        said.push(frame);
    }
    line.press(&mut stream, OPEN_KEY);
    line.talk(&mut stream, OPEN, 10);
    assert!(line.engine_events(OPEN_KEY) > 0, "the control: the engine gets the key");
    let sent = copies(&line, Side::Caller);
    let frames: Vec<&[u8]> = sent.iter().map(|sent| payload(sent)).collect();
    let found = frames.windows(said.len()).any(|heard| heard == said);
    assert!(found, "a hundred frames, one after the other");
    assert!(holds(&copies(&line, Side::Engine), ENGINE) > 20 * 160);
    for side in Side::ALL {
        let sent = copies(&line, side);
        assert_unbroken(&sent, 172);
        assert!(sent.iter().all(|sent| sent.octets[1] == MU && sent.to == address(SUBSCRIBER)));
    }
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn in_a_cut_a_subscriber_hears_silence_of_both_without_a_gap() {
    for engine_audio in [EngineAudio::Drop, EngineAudio::Pass] {
        for armed in [false, true] {
            let setup = Setup { armed, engine_audio, ..Setup::default() };
            let (mut line, mut stream) = listened(setup);
            for session in 1..=2 {
                line.enter(session);
                both_talk(&mut line, &mut stream, CUT, 60);
                line.cancel();
                while line.cut {
                    both_talk(&mut line, &mut stream, CUT, 1);
                }
                both_talk(&mut line, &mut stream, AFTER, 25);
            }
            for side in Side::ALL {
                let sent = copies(&line, side);
                assert_unbroken(&sent, 172);
                let said = [[OPEN, AFTER], [ENGINE, ENGINE]][side.index()];
                assert!(said.iter().all(|code| holds(&sent, *code) > 20 * 160), "the control");
            }
            let passed = line.to_caller().filter(|sent| sent.cut);
            let passed = passed.filter(|sent| payload(sent).contains(&ENGINE)).count();
            assert_eq!(passed > 0, engine_audio == EngineAudio::Pass, "the caller may hear more");
            assert_tight(&line);
            line.assert_tight();
        }
    }
}

/// What the caller is told, its keys read back among it, is for the caller alone.
#[cfg(not(feature = "sabotage"))]
#[test]
fn nothing_that_the_relay_says_is_copied() {
    let (mut line, mut stream) = listened(Setup::default());
    let voice = Prompts::builtin().voice("en".parse().unwrap()).unwrap();
    let announcer = Announcer { voice, read_back: true, key_beep: true };
    let (session, engine_audio) = (SessionId(1), EngineAudio::Drop);
    let (plan, announcer) = (card_plan(), Some(announcer));
    let request = Box::new(SessionRequest { session, plan, engine_audio, announcer });
    line.enter_by(Command::Enter { call: CALL, request });
    both_talk(&mut line, &mut stream, CUT, 50);
    for _ in 0..4 {
        line.press(&mut stream, CUT_KEY);
        both_talk(&mut line, &mut stream, CUT, 5);
    }
    let is_voiced = |sent: &&Sent| payload(sent).iter().any(|&octet| octet != SILENCE);
    let spoken = line.to_caller().filter(|sent| sent.cut).filter(is_voiced).count();
    assert!(spoken > 20, "the control: {spoken} frames are said to the caller");
    assert_tight(&line);
    for side in Side::ALL {
        assert_unbroken(&copies(&line, side), 172);
    }
}

/// The control: with masking broken, the same look finds what was said in the cut.
#[cfg(feature = "sabotage")]
#[test]
fn without_masking_a_subscriber_hears_the_cut() {
    relay::sabotage::break_masking();
    let (mut line, mut stream) = listened(Setup::default());
    line.enter(1);
    both_talk(&mut line, &mut stream, CUT, 60);
    assert!(holds(&copies(&line, Side::Caller), CUT) > 20 * 160);
    let (mut line, mut stream) = (Line::new(Setup::default()), Stream::new(1));
    line.enter(1);
    subscribe(&mut line, 1, COPY_PORTS).unwrap();
    answer(&mut line, 1, [Some(mu()), Some(mu())]).unwrap();
    both_talk(&mut line, &mut stream, CUT, 60);
    assert!(holds(&copies(&line, Side::Caller), CUT) > 20 * 160, "born in the cut");
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn what_was_said_within_the_look_ahead_is_taken_back() {
    let heard_late = |armed: bool| {
        let (mut line, mut stream) = listened(Setup { armed, ..Setup::default() });
        let said = line.now;
        line.talk(&mut stream, AFTER, 2);
        line.pass(100 * MS);
        let first = copies(&line, Side::Caller);
        first.iter().find(|sent| payload(sent).contains(&AFTER)).map(|sent| sent.at - said)
    };
    assert!(heard_late(true).unwrap() >= LOOK_AHEAD, "as late as the engine");
    assert!(heard_late(false).unwrap() < LOOK_AHEAD, "the control");

    let (mut line, mut stream) = listened(Setup { armed: true, ..Setup::default() });
    line.talk(&mut stream, CUT, 2);
    line.pass(LOOK_AHEAD - 45 * MS);
    line.enter(1);
    line.talk(&mut stream, CUT, 25);
    line.cancel_and_drain(&mut stream);
    line.talk(&mut stream, AFTER, 25);
    assert_eq!(holds(&copies(&line, Side::Caller), CUT), 0);
    assert!(holds(&copies(&line, Side::Caller), AFTER) > 20 * 160);
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn a_subscription_of_a_cut_is_born_cut() {
    let (mut line, mut stream) = (Line::new(Setup::default()), Stream::new(1));
    line.talk(&mut stream, OPEN, 25);
    line.enter(1);
    line.talk(&mut stream, CUT, 10);
    subscribe(&mut line, 1, COPY_PORTS).unwrap();
    line.talk(&mut stream, CUT, 10);
    assert!(copies(&line, Side::Caller).is_empty(), "nothing before the answer");
    answer(&mut line, 1, [Some(mu()), Some(mu())]).unwrap();
    both_talk(&mut line, &mut stream, CUT, 25);
    assert!(copies(&line, Side::Caller).len() > 20, "silence flows");
    line.cancel();
    while line.cut {
        both_talk(&mut line, &mut stream, CUT, 1);
    }
    both_talk(&mut line, &mut stream, AFTER, 25);
    for (side, code) in Side::ALL.into_iter().zip([AFTER, ENGINE]) {
        assert_unbroken(&copies(&line, side), 172);
        assert!(holds(&copies(&line, side), code) > 20 * 160, "heard when it is over");
    }
    assert_tight(&line);
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn a_copy_has_its_own_codec_and_key() {
    let key = || MasterKey::from_bytes(Suite::AesCm128HmacSha1_80, &[9; 30]).unwrap();
    let a_law = leg(address(1), A, None, 20).codec;
    // The caller speaks mu-law, then G.722, which has to be decoded.
    for spoken in [None, Some((Codec::G722, 9))] {
        let mut setup = Setup::default();
        let mut stream = Stream::new(1);
        if let Some((codec, payload_type)) = spoken {
            (setup.caller.codec, setup.caller.payload_type) = (codec, payload_type);
            stream.payload_type = payload_type;
        }
        let mut line = Line::new(setup);
        subscribe(&mut line, 1, COPY_PORTS).unwrap();
        answer(&mut line, 1, [Some(media(a_law, A, Some(key()))), None]).unwrap();
        let voice = |number: u16| -> Vec<u8> {
            let code = |at: u16| (number.wrapping_mul(31) ^ at.wrapping_mul(77)) as u8;
            (0..160).map(code).collect()
        };
        let mut talk = |line: &mut Line, packets: u16| {
            for number in 0..packets {
                let packet = stream.play(&voice(number));
                line.caller_sends(&packet);
                line.pass(20 * MS);
            }
        };
        talk(&mut line, 50);
        line.enter(1);
        talk(&mut line, 50);
        line.cancel();
        let mut inbound = Inbound::new(&key());
        let mut heard = [0_usize; 2];
        for sent in line.sent.iter().filter(|sent| sent.port == COPY_PORTS[0]) {
            let mut packet = sent.octets.clone();
            assert_eq!((packet.len(), packet[1]), (182, A), "ten octets of tag behind each");
            let len = inbound.unprotect(&mut packet).expect("it is ours");
            let voiced = packet[12..len].iter().filter(|&&octet| octet != 0xd5).count();
            heard[usize::from(sent.cut)] += voiced;
        }
        assert!(heard[0] > 40 * 100, "the control: {} octets before the cut", heard[0]);
        assert_eq!(heard[1], 0, "silence of A-law in the cut");
        assert!(copies(&line, Side::Engine).is_empty(), "what was refused gets nothing");
    }
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn a_subscriber_may_hold_move_and_leave() {
    let (mut line, mut stream) = listened(Setup::default());
    let held = || Some(CopyMedia { they_receive: false, ..mu() });
    answer(&mut line, 1, [held(), Some(mu())]).unwrap();
    let [before, of_engine] = Side::ALL.map(|side| copies(&line, side).len());
    both_talk(&mut line, &mut stream, OPEN, 25);
    assert_eq!(copies(&line, Side::Caller).len(), before, "held");
    assert!(copies(&line, Side::Engine).len() > of_engine + 20, "the other one is not");
    let moved: SocketAddr = address(SUBSCRIBER + 10);
    answer(&mut line, 1, [Some(CopyMedia { remote: moved, ..mu() }), None]).unwrap();
    let of_engine = copies(&line, Side::Engine).len();
    both_talk(&mut line, &mut stream, OPEN, 25);
    let sent = copies(&line, Side::Caller);
    assert!(sent.len() > before + 20 && sent[before..].iter().all(|sent| sent.to == moved));
    assert_eq!(copies(&line, Side::Engine).len(), of_engine, "refused later");
    let ssrc = |sent: &Sent| RtpPacket::parse(&sent.octets).unwrap().header.ssrc;
    assert_eq!(ssrc(sent[0]), ssrc(sent[before]), "the stream is the same");

    command(&mut line, 1, Subscribing::End).unwrap();
    let all = line.sent.iter().filter(|sent| COPY_PORTS.contains(&sent.port)).count();
    both_talk(&mut line, &mut stream, OPEN, 25);
    let now = line.sent.iter().filter(|sent| COPY_PORTS.contains(&sent.port)).count();
    assert_eq!(now, all);
    assert_eq!(told(&line), [EventKind::Subscribed, EventKind::Unsubscribed], "once each");
    assert_eq!(freed(&mut line), COPY_PORTS, "its ports are given back");
    assert_eq!(command(&mut line, 1, Subscribing::End), Err(Refusal::NoSubscription));
    subscribe(&mut line, 1, COPY_PORTS).unwrap();
}

fn told(line: &Line) -> Vec<EventKind> {
    let is_told = |kind: &&EventKind| {
        matches!(kind, EventKind::Subscribed | EventKind::Unsubscribed | EventKind::Closed)
    };
    line.events.iter().filter(is_told).copied().collect()
}

fn freed(line: &mut Line) -> Vec<u16> {
    let pairs = std::iter::from_fn(|| line.switchboard.poll_released());
    let mut ports: Vec<u16> = pairs.map(|pair| pair.rtp().0).collect();
    ports.sort_unstable();
    ports
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn a_subscription_ends_unanswered_and_with_its_call() {
    let (mut line, mut stream) = (Line::new(Setup::default()), Stream::new(1));
    subscribe(&mut line, 1, COPY_PORTS).unwrap();
    assert_eq!(subscribe(&mut line, 1, [10008, 10008]), Err(Refusal::TooManySubscriptions), "id");
    for _ in 0..UNANSWERED_SUBSCRIPTION.as_millis() / 20 - 1 {
        line.talk(&mut stream, OPEN, 1);
    }
    assert_eq!(freed(&mut line), [0_u16; 0], "the control: not yet");
    line.talk(&mut stream, OPEN, 2);
    assert_eq!(freed(&mut line), COPY_PORTS);
    assert_eq!(answer(&mut line, 1, [Some(mu()), None]), Err(Refusal::NoSubscription));
    assert!(told(&line).is_empty() && copies(&line, Side::Caller).is_empty(), "nobody listened");

    subscribe(&mut line, 2, COPY_PORTS).unwrap();
    answer(&mut line, 2, [Some(mu()), Some(mu())]).unwrap();
    let one = Copies::from_iter([(Side::Engine, PortPair::new(10008).unwrap())]);
    command(&mut line, 3, Subscribing::Begin(one.clone())).unwrap();
    let more = command(&mut line, 4, Subscribing::Begin(one));
    assert_eq!(more, Err(Refusal::TooManySubscriptions));
    assert_eq!(line.snapshot().listeners, 1);
    line.talk(&mut stream, OPEN, 10);
    line.enter_by(enter_command(1, card_plan(), EngineAudio::Drop));
    line.talk(&mut stream, CUT, 10);
    line.command(Command::Close { call: CALL }).map(drop).unwrap();
    let count = line.sent.len();
    line.pass(1000 * MS);
    assert_eq!(line.sent.len(), count, "nothing is sent behind its end");
    let ended = [EventKind::Subscribed, EventKind::Unsubscribed, EventKind::Closed];
    assert_eq!(told(&line), ended);
    let all = [CALLER_PORT, ENGINE_PORT, COPY_PORTS[0], COPY_PORTS[1], 10008];
    assert_eq!(freed(&mut line), all);
    assert_tight(&line);
}

/// What comes to a subscriber's ports is read by nobody, be it the caller's.
#[cfg(not(feature = "sabotage"))]
#[test]
fn nothing_is_heard_at_the_ports_of_copies() {
    let (mut line, mut stream) = listened(Setup::default());
    let before = line.snapshot();
    for from in [address(SUBSCRIBER), line.caller, line.engine] {
        for port in [COPY_PORTS[0], COPY_PORTS[0] + 1, COPY_PORTS[1], COPY_PORTS[1] + 1] {
            let packet = stream.say(CUT);
            line.inject(port, from, &packet);
            line.inject(port, from, &rtp(0x80, EVENT, &stream, &[5, 10, 0, 160]));
            assert!(line.buffer.iter().all(|&octet| octet == 0), "it is wiped");
        }
    }
    line.pass(200 * MS);
    assert!(!line.engine_heard(CUT) && !line.caller_heard(CUT) && !line.is_recorded(CUT));
    assert_eq!(holds(&copies(&line, Side::Caller), CUT), 0);
    let after = line.snapshot();
    for (before, after) in before.legs.iter().zip(&after.legs) {
        assert_eq!(before.packets_received, after.packets_received);
        assert_eq!(before.drops, after.drops);
    }
    assert!(matches!(line.command(Command::Snapshot { call: CALL }), Ok(Reply::Snapshot(_))));
}

//! Playing: a proxy has parties hear sounds and keys, by NG over UDP, with real RTP at both ends.

use std::future::poll_fn;
use std::net::UdpSocket;
use std::task::Poll;
use std::time::Duration;

use control_api::keys::Role;
use control_api::{clock, ng};
use dtmf::Digit;
use dtmf::g711::Law;
use dtmf::telephone_event::TelephoneEvent;
use dtmf::tone::{ToneDetector, ToneEdge};
use ng_protocol::{Octets, Value};
use relay::wire::rtp::{Header, RtpPacket, is_rtcp};

use crate::rig::{Rig, answer_port, offer};
use crate::{Call, FRAME, IDS, Proxy, Told, VOICE, port_of, socket};

/// The engine's tag, of a call as they are all.
const TWO: (&str, &str) = ("from-tag", "two");
/// What a sound of these tests is made of.
const SOUND: u8 = 0x2a;

/// A WAV file of G.711 at 8 kHz that lasts so many milliseconds.
fn wav(milliseconds: usize) -> Vec<u8> {
    wav_of(&vec![SOUND; milliseconds * 8])
}

fn wav_of(codes: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x07\0\x01\0".to_vec();
    file.extend(8000_u32.to_le_bytes());
    file.extend([0; 6]);
    file.extend([8, 0]);
    file.extend(b"data");
    file.extend(u32::try_from(codes.len()).unwrap().to_le_bytes());
    file.extend(codes);
    file
}

fn blob(file: Vec<u8>) -> (&'static str, Value<'static>) {
    ("blob", Value::Text(Octets::from(file)))
}

fn all() -> (&'static str, Value<'static>) {
    ("flags", Value::List(vec![Value::of_text("all")]))
}

type Members<'t> = [(&'static str, &'t str)];

/// One command about the call.
fn ask(
    proxy: &Proxy,
    command: &str,
    members: &Members<'_>,
    more: &[(&'static str, Value)],
) -> Told {
    proxy.ask_with(&[&[("command", command), IDS[0]], members].concat(), more)
}

/// A packet that a party has heard.
struct Heard {
    header: Header,
    payload: Vec<u8>,
}

/// A party that talks, and what the other one hears.
struct Line<'c> {
    mouth: &'c UdpSocket,
    to: u16,
    ear: &'c UdpSocket,
    number: u16,
}

impl<'c> Line<'c> {
    fn to_engine(call: &'c Call) -> Line<'c> {
        Line { mouth: &call.caller, to: call.caller_port, ear: &call.engine, number: 0 }
    }

    fn to_caller(call: &'c Call) -> Line<'c> {
        Line { mouth: &call.engine, to: call.engine_port, ear: &call.caller, number: 0 }
    }

    /// Forgets what has come so far.
    fn drain(self) -> Line<'c> {
        self.ear.set_nonblocking(true).unwrap();
        while self.ear.recv(&mut [0; 2048]).is_ok() {}
        self
    }

    /// Talks for so many frames, and returns what is heard meanwhile.
    fn talk(&mut self, frames: usize) -> Vec<Heard> {
        self.ear.set_nonblocking(true).unwrap();
        let (begin, mut heard) = (clock::monotonic(), Vec::new());
        for frame in 1..=frames as u32 {
            self.number += 1;
            let mut packet = vec![0x80, 0];
            packet.extend(self.number.to_be_bytes());
            packet.extend((u32::from(self.number) * 160).to_be_bytes());
            packet.extend([1, 2, 3, 4]);
            packet.extend([VOICE; 160]);
            self.mouth.send_to(&packet, ("127.0.0.1", self.to)).unwrap();
            let rest = (begin + frame * FRAME).saturating_duration_since(clock::monotonic());
            tokio::task::block_in_place(|| std::thread::sleep(rest));
            let mut datagram = [0; 2048];
            while let Ok(len) = self.ear.recv(&mut datagram) {
                let datagram = &datagram[..len];
                if !is_rtcp(datagram[1]) {
                    let packet = RtpPacket::parse(datagram).unwrap();
                    let payload = datagram[packet.payload].to_vec();
                    heard.push(Heard { header: packet.header, payload });
                }
            }
        }
        self.ear.set_nonblocking(false).unwrap();
        heard
    }
}

fn count(heard: &[Heard], octet: u8) -> usize {
    heard.iter().flat_map(|it| &it.payload).filter(|&&it| it == octet).count()
}

/// Counts the octets of a party in what is heard while a sound plays: from its first octet to its last.
fn voice_within(heard: &[Heard]) -> usize {
    let has_sound = |it: &Heard| it.payload.contains(&SOUND);
    let first = heard.iter().position(has_sound).unwrap();
    let last = heard.iter().rposition(has_sound).unwrap();
    count(&heard[first..=last], VOICE)
}

#[track_caller]
fn assert_unbroken(heard: &[Heard]) {
    for pair in heard.windows(2) {
        let [before, after] = [pair[0].header, pair[1].header];
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_is_heard_in_place_of_the_other_party_until_it_is_over() {
    let rig = Rig::new("ng-play");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let mut line = Line::to_caller(&call);
    let mut heard = line.talk(15);
    assert!(count(&heard, VOICE) > 12 * 160, "the control: the engine is heard before");
    let told = ask(&proxy, "play media", &[IDS[1]], &[blob(wav(300))]).ok();
    assert_eq!(told.0.get("duration"), Some(&Value::Integer(300)));
    heard.extend(line.talk(35));
    assert_eq!(count(&heard, SOUND), 2400, "all of it, once");
    assert_eq!(voice_within(&heard), 0);
    assert!(count(&heard[heard.len() - 10..], VOICE) >= 9 * 160, "and heard again");
    assert_unbroken(&heard);
    let steps =
        heard.windows(2).map(|it| it[1].header.timestamp.wrapping_sub(it[0].header.timestamp));
    assert!(steps.into_iter().all(|step| step == 160));
    // To the engine, three times, a part of it, and no longer than is said.
    let mut line = Line::to_engine(&call);
    line.talk(3);
    let members = [TWO, ("repeat-times", "3"), ("start-pos", "50"), ("duration", "220")];
    ask(&proxy, "play media", &members, &[blob(wav(100))]).ok();
    let heard = line.talk(25);
    assert_eq!((count(&heard, SOUND), voice_within(&heard)), (1760, 0));
    assert!(count(&heard, VOICE) > 5 * 160);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_named_and_both_parties_may_hear_one_until_it_is_stopped() {
    let rig = Rig::new("ng-play-file");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let file = [IDS[1], ("file", "hello.wav")];
    ask(&proxy, "play media", &file, &[]).refused("ng.media_directory is not set");
    let folder = rig.directory.join("media");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("hello.wav"), wav(10_000)).unwrap();
    std::fs::write(rig.directory.join("secret.wav"), wav(100)).unwrap();
    std::os::unix::fs::symlink("../secret.wav", folder.join("link.wav")).unwrap();
    ng::play_from(&rig.control, folder);

    let told = ask(&proxy, "play media", &[IDS[1], ("file", "hello.wav")], &[all()]).ok();
    assert_eq!(told.0.get("duration"), Some(&Value::Integer(10_000)));
    for mut line in [Line::to_caller(&call), Line::to_engine(&call)] {
        let heard = line.talk(10);
        assert!(count(&heard, SOUND) > 8 * 160 && count(&heard[1..], VOICE) == 0);
    }
    // Another takes its place.
    ask(&proxy, "play media", &[IDS[1]], &[blob(wav_of(&[SOUND + 1; 40_000]))]).ok();
    let heard = Line::to_caller(&call).drain().talk(10);
    assert!(count(&heard, SOUND + 1) > 8 * 160 && count(&heard[1..], SOUND) == 0);
    let told = ask(&proxy, "stop media", &[TWO], &[]).ok();
    let Some(Value::Integer(place)) = told.0.get("last-frame-pos") else { panic!("{:?}", told.0) };
    assert!((300..3000).contains(place), "{place} ms");
    let mut line = Line::to_engine(&call);
    line.talk(3);
    assert!(count(&line.talk(10), VOICE) >= 9 * 160, "the caller is heard again");
    assert!(count(&Line::to_caller(&call).talk(5), SOUND + 1) > 3 * 160, "its own goes on");
    ask(&proxy, "stop media", &[IDS[1]], &[all()]).ok();
    let told = ask(&proxy, "stop media", &[IDS[1]], &[all()]).ok();
    assert!(told.0.get("last-frame-pos").is_none(), "nothing is played");

    for (name, words) in [
        ("none.wav", "no such file"),
        ("../secret.wav", "without a path"),
        ("/etc/hostname", "without a path"),
        ("link.wav", "leads out"),
        ("", "without a path"),
    ] {
        let members = [IDS[1], ("file", name)];
        ask(&proxy, "play media", &members, &[]).refused(words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_played_is_refused_for_its_reason() {
    let rig = Rig::new("ng-play-errors");
    let proxy = Proxy::of(&rig).await;
    let missing = [("command", "play media"), IDS[0], IDS[1]];
    proxy.ask(&missing).refused("no call of this call-id");
    // Before the answer nobody is there who could hear it.
    let (caller, engine) = (socket(), socket());
    let sdp = offer(port_of(&caller));
    proxy.ask(&[("command", "offer"), IDS[0], IDS[1], ("sdp", &sdp)]).ok();
    ask(&proxy, "play media", &[IDS[1]], &[blob(wav(100))]).refused("until it has answered");
    ask(&proxy, "play DTMF", &[IDS[1], ("code", "1")], &[]).refused("until it has answered");
    let sdp = offer(port_of(&engine));
    let answer = [("command", "answer"), IDS[0], IDS[1], ("to-tag", "two"), ("sdp", &*sdp)];
    proxy.ask(&answer).ok();

    let play = |members: &Members<'_>, more: &[(&'static str, Value)]| {
        ask(&proxy, "play media", &[&[IDS[1]], members].concat(), more)
    };
    play(&[], &[]).refused("file is missing");
    play(&[("db-id", "7")], &[]).refused("no database");
    play(&[("repeat-duration", "7")], &[blob(wav(100))]).refused("repeat-times");
    play(&[("file", "a.wav")], &[blob(wav(100))]).refused("send one");
    play(&[], &[("blob", Value::Integer(1))]).refused("octets of a WAV file");
    play(&[("blob", "ID3")], &[]).refused("not a WAV file");
    play(&[], &[blob(wav(0))]).refused("empty");
    for (name, wrong, words) in [
        ("repeat-times", "0", "1 to 10000"),
        ("repeat-times", "10001", "1 to 10000"),
        ("repeat-times", "-1", "1 to 10000"),
        ("repeat-times", "often", "1 to 10000"),
        ("start-pos", "100", "behind the end"),
        ("start-pos", "-1", "milliseconds"),
        ("duration", "0", "1 to 3600000"),
        ("duration", "3600001", "1 to 3600000"),
        ("duration", "long", "milliseconds"),
    ] {
        play(&[(name, wrong)], &[blob(wav(100))]).refused(words);
    }
    for command in ["play media", "stop media", "play DTMF"] {
        let more = [blob(wav(100)), ("code", Value::Integer(1))];
        ask(&proxy, command, &[], &more).refused("from-tag is missing");
        ask(&proxy, command, &[("from-tag", "nobody")], &more).refused("no party");
    }
    let press =
        |members: &Members<'_>| ask(&proxy, "play DTMF", &[&[IDS[1]], members].concat(), &[]);
    press(&[]).refused("code is missing");
    for wrong in ["", "16", "E", "12#", "-1"] {
        press(&[("code", wrong)]).refused("code must be");
    }
    press(&[("code", "1"), ("volume", "64")]).refused("0 to 63");
    press(&[("code", "1"), ("duration", "short")]).refused("milliseconds");
    let told = press(&[("code", "1"), ("duration", "20"), ("pause", "9000")]).ok();
    assert!(told.text("warning").contains("100 to 5000 ms"));
    let taken = (0..100).take_while(|_| press(&[("code", "1")]).text("result") == "ok").count();
    assert!((30..40).contains(&taken), "{taken} keys wait");
    press(&[("code", "1")]).refused("wait until those before");
}

/// The events among what was heard, one list a press.
fn presses(heard: &[Heard]) -> Vec<Vec<(bool, TelephoneEvent)>> {
    let events: Vec<&Heard> = heard.iter().filter(|it| it.header.payload_type == 101).collect();
    let one = |it: &&Heard| {
        let octets = it.payload[..].try_into().unwrap();
        (it.header.marker, TelephoneEvent::from_octets(octets))
    };
    let presses = events.chunk_by(|a, b| a.header.timestamp == b.header.timestamp);
    presses.map(|press| press.iter().map(one).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_selected_party_are_events_for_the_other_one() {
    let rig = Rig::new("ng-keys");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let mut line = Line::to_engine(&call);
    let mut heard = line.talk(5);
    let press = |members: &Members<'_>| ask(&proxy, "play DTMF", members, &[]).ok();
    press(&[IDS[1], ("code", "5")]);
    press(&[IDS[1], ("digit", "#"), ("duration", "100"), ("pause", "200"), ("volume", "-20")]);
    heard.extend(line.talk(60));
    assert_unbroken(&heard);
    let told = presses(&heard);
    assert_eq!(told.len(), 2);
    for (press, (code, volume, ticks)) in told.iter().zip([(5, 8, 2000), (11, 20, 800)]) {
        assert!(press.iter().all(|it| it.1.event == code && it.1.volume == volume));
        let ends = press.iter().filter(|it| it.1.end && it.1.duration == ticks).count();
        assert_eq!((ends, press.iter().filter(|it| it.0).count()), (3, 1));
        assert!(press[0].0 && press[0].1.duration == 160 && !press[0].1.end);
        assert_eq!(press.len(), usize::from(ticks).div_ceil(160) + 2);
    }
    let within = |it: &&Heard| it.header.payload_type == 101;
    let [first, last] =
        [heard.iter().position(|it| within(&it)), heard.iter().rposition(|it| within(&it))];
    let keyed = &heard[first.unwrap()..=last.unwrap()];
    assert_eq!(count(keyed, VOICE), 0, "no voice between the keys");
    assert!(count(&heard[..first.unwrap()], VOICE) > 0, "the control: there is before");
    assert!(count(&line.talk(5), VOICE) >= 4 * 160, "and after");

    // The engine's key is for the caller, and by its number.
    let code = [("code", Value::Integer(15))];
    ask(&proxy, "play DTMF", &[TWO], &code).ok();
    let told = presses(&Line::to_caller(&call).talk(20));
    assert!(told.len() == 1 && told[0].iter().all(|it| it.1.event == 15));
}

/// A client that is gone while its key is pressed, and one that asks for the same again.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_by_http_is_pressed_once_however_often_the_client_goes_away() {
    use axum::body::Body;
    use axum::http::Request;
    let rig = Rig::new("ng-keys-http");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let mut line = Line::to_engine(&call);
    line.talk(3);
    let body = proxy.written(&[("command", "play DTMF"), IDS[0], IDS[1], ("code", "5")]);
    let request = || {
        let bearer = format!("Bearer {}", rig.token(Role::Script));
        let request = Request::post("/ng").header("authorization", bearer);
        rig.send(request.body(Body::from(body.clone())).unwrap())
    };
    // One thread does all of it: what is asked for goes no further than it does at once.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asking = async {
        for _ in 0..3 {
            let mut asked = Box::pin(request());
            let polled = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await;
            assert!(polled.is_pending(), "the control: the client does not wait for it");
        }
        request().await.expect(200)
    };
    let told = tokio::task::block_in_place(|| {
        let told = runtime.block_on(asking);
        drop(runtime);
        told
    });
    assert!(String::from_utf8_lossy(&told.body).contains("6:result2:ok"));
    assert_eq!(presses(&line.talk(100)).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hear_it_or_nobody_does() {
    let rig = Rig::new("ng-play-all");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let key = || ("code", Value::of_text("5"));
    let listed = rig.get(Role::Operator, "/v1/calls").await.expect(200).json();
    let path = format!("/v1/calls/{}/arm", listed["data"][0]["id"].as_str().unwrap());
    rig.ask(Role::Script, axum::http::Method::PUT, &path, None).await.expect(204);
    ask(&proxy, "play media", &[IDS[1]], &[all(), blob(wav(2000))]).refused("armed");
    ask(&proxy, "play DTMF", &[IDS[1]], &[all(), key()]).refused("armed");
    let heard = Line::to_caller(&call).talk(15);
    assert_eq!((count(&heard, SOUND), presses(&heard).len()), (0, 0));
    assert!(count(&heard, VOICE) > 12 * 160, "the engine is heard");
    ask(&proxy, "play media", &[IDS[1]], &[blob(wav(2000))]).ok();
    let heard = Line::to_caller(&call).talk(15);
    assert!(count(&heard, SOUND) > 12 * 160, "the control: the caller alone hears it");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_no_events_hears_the_tone() {
    let rig = Rig::new("ng-tones");
    let proxy = Proxy::of(&rig).await;
    let (caller, engine) = (socket(), socket());
    let without = |sdp: String| {
        let lines = sdp.split_inclusive("\r\n").filter(|it| !it.contains("telephone-event"));
        lines.filter(|it| !it.contains(":101")).collect::<String>().replace(" 0 101", " 0")
    };
    let sdp = offer(port_of(&caller));
    let told = proxy.ask(&[("command", "offer"), IDS[0], IDS[1], ("sdp", &sdp)]).ok();
    let engine_port = answer_port(told.text("sdp"));
    let sdp = without(offer(port_of(&engine)));
    let answer = [("command", "answer"), IDS[0], IDS[1], ("to-tag", "two"), ("sdp", &*sdp)];
    let caller_port = answer_port(proxy.ask(&answer).ok().text("sdp"));
    let call = Call { caller, engine, caller_port, engine_port };
    let mut line = Line::to_engine(&call);
    line.talk(3);
    for key in ["7", "D"] {
        ask(&proxy, "play DTMF", &[IDS[1], ("code", key)], &[]).ok();
    }
    let heard = line.talk(50);
    assert_unbroken(&heard);
    assert!(heard.iter().all(|it| it.header.payload_type == 0));
    let codes = heard.iter().flat_map(|it| &it.payload);
    let pcm: Vec<i16> = codes.map(|&code| Law::Mu.decode(code)).collect();
    let mut keys = Vec::new();
    ToneDetector::new().hear(&pcm, &mut |report| {
        if let ToneEdge::Begin(key) = report.edge {
            keys.push(key);
        }
    });
    assert!(keys == [Digit::Seven, Digit::D], "two presses");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_what_is_played_and_nothing_is_played_in_it() {
    let rig = Rig::new("ng-play-cut");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    Line::to_engine(&call).talk(3);
    ask(&proxy, "play media", &[TWO], &[blob(wav(8000))]).ok();
    for key in ["1", "2", "3"] {
        ask(&proxy, "play DTMF", &[TWO, ("code", key)], &[]).ok();
        ask(&proxy, "play DTMF", &[IDS[1], ("code", key)], &[]).ok();
    }
    let mut line = Line::to_engine(&call);
    let before = line.talk(30);
    assert!(!presses(&before).is_empty(), "the control: keys are told");
    assert!(!presses(&Line::to_caller(&call).talk(1)).is_empty(), "to both parties");
    let entered = ask(&proxy, "secure session", &[("plan", "card-payment")], &[]);
    entered.ok();
    // What had left before is heard first.
    tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(30)));
    line.talk(2);
    let within = line.talk(30);
    assert!(within.len() > 25, "the engine's stream goes on: {}", within.len());
    assert_eq!(count(&within, SOUND) + count(&within, VOICE), 0);
    assert!(within.iter().all(|it| it.header.payload_type == 0), "and no key is told");
    assert!(presses(&Line::to_caller(&call).talk(20)[3..]).is_empty(), "to the caller neither");
    for (command, party) in [("play media", IDS[1]), ("play media", TWO), ("play DTMF", IDS[1])] {
        let more = [blob(wav(100)), ("code", Value::Integer(1))];
        ask(&proxy, command, &[party], &more).refused("the call is cut");
    }
    ask(&proxy, "stop media", &[IDS[1]], &[]).ok();
    assert_eq!(count(&line.talk(5), SOUND), 0);
}

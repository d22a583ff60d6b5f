//! NG: a SIP proxy drives the relay by rtpengine's control protocol, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod playing;
mod rig;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_api::clock;
use control_api::keys::{NewKey, Role};
use control_api::ng;
use control_api::ng::config::Peers;
use dtmf::g711::Law;
use ng_protocol::{Message, Syntax, Value};
use relay::wire::srtp::{Inbound, MasterKey, Suite};
use rig::{Rig, answer_port, offer};

const FRAME: Duration = Duration::from_millis(20);

/// A proxy that asks by UDP.
struct Proxy {
    socket: UdpSocket,
    relay: SocketAddr,
    syntax: Syntax,
    cookies: AtomicU32,
}

/// What a relay has replied.
struct Told(Value<'static>);

impl Told {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::text).unwrap_or_else(|| panic!("{name} in {:?}", self.0))
    }

    #[track_caller]
    fn ok(self) -> Told {
        assert_eq!(
            self.text("result"),
            "ok",
            "{:?}",
            self.0.get("error-reason").and_then(Value::text)
        );
        self
    }

    #[track_caller]
    fn refused(self, words: &str) {
        assert_eq!(self.text("result"), "error");
        let reason = self.text("error-reason");
        assert!(reason.contains(words), "{reason}");
    }
}

impl Proxy {
    async fn of(rig: &Rig) -> Proxy {
        let listener = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let relay = listener.local_addr().unwrap();
        let (control, stopping) = (Arc::clone(&rig.control), rig.control.stopping());
        tokio::spawn(ng::serve_udp(listener, Peers::default(), control, stopping));
        Proxy::at(relay, Syntax::Bencode)
    }

    fn at(relay: SocketAddr, syntax: Syntax) -> Proxy {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Proxy { socket, relay, syntax, cookies: AtomicU32::new(0) }
    }

    /// A request with a cookie of its own.
    fn written(&self, members: &[(&'static str, &str)]) -> Vec<u8> {
        let cookie = self.cookies.fetch_add(1, Ordering::Relaxed);
        let mut octets = format!("1_{cookie} ").into_bytes();
        let members = members.iter().map(|(name, text)| ((*name).into(), Value::of_text(*text)));
        Value::Dictionary(members.collect()).write(self.syntax, &mut octets);
        octets
    }

    fn send(&self, octets: &[u8]) -> Vec<u8> {
        self.socket.send_to(octets, self.relay).unwrap();
        let mut reply = vec![0; 65_536];
        let len = tokio::task::block_in_place(|| self.socket.recv(&mut reply).unwrap());
        reply.truncate(len);
        reply
    }

    fn ask(&self, members: &[(&'static str, &str)]) -> Told {
        self.told(&self.written(members))
    }

    /// A request with members that are no texts.
    fn ask_with(&self, members: &[(&'static str, &str)], more: &[(&'static str, Value)]) -> Told {
        let mut octets = self.written(members);
        // The dictionary is closed anew behind what it has more.
        octets.pop();
        let mut rest = Vec::new();
        let more = more.iter().map(|(name, value)| ((*name).into(), value.clone()));
        Value::Dictionary(more.collect()).write(self.syntax, &mut rest);
        if self.syntax == Syntax::Json {
            rest[0] = b',';
            octets.extend(rest);
        } else {
            octets.extend(&rest[1..]);
        }
        self.told(&octets)
    }

    fn told(&self, request: &[u8]) -> Told {
        let reply = self.send(request);
        let (asked, message) = (Message::split(request).unwrap(), Message::split(&reply).unwrap());
        assert_eq!((message.cookie, message.syntax), (asked.cookie, asked.syntax));
        Told(Value::read(message.syntax, message.body).unwrap().into_owned())
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(FRAME)).unwrap();
    socket
}

fn port_of(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

/// Sends ten packets from `mouth` and counts those that `ear` gets.
fn pass(from: u16, mouth: &UdpSocket, to: u16, ear: &UdpSocket) -> usize {
    let mut heard = 0;
    for number in from..from + 10 {
        let mut packet = vec![0x80, 0];
        packet.extend(number.to_be_bytes());
        packet.extend((u32::from(number) * 160).to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        packet.extend([0x55; 160]);
        mouth.send_to(&packet, ("127.0.0.1", to)).unwrap();
        let mut datagram = [0; 2048];
        // Reports are no media.
        while let Ok(len) = ear.recv(&mut datagram) {
            // Nor is silence of the relay's own.
            heard += usize::from(len == 172 && datagram[12] == 0x55);
            if len == 172 {
                break;
            }
        }
    }
    heard
}

/// A call of a proxy: both parties and where each is to send.
struct Call {
    caller: UdpSocket,
    engine: UdpSocket,
    caller_port: u16,
    engine_port: u16,
}

const IDS: [(&str, &str); 2] = [("call-id", "a@proxy"), ("from-tag", "one")];

impl Call {
    fn open(proxy: &Proxy) -> Call {
        let (caller, engine) = (socket(), socket());
        let offered = proxy.ask(&[
            ("command", "offer"),
            IDS[0],
            IDS[1],
            ("sdp", &offer(port_of(&caller))),
            ("ICE", "remove"),
            ("transport-protocol", "RTP/AVP"),
        ]);
        let engine_port = answer_port(offered.ok().text("sdp"));
        let answered = proxy.ask(&[
            ("command", "answer"),
            IDS[0],
            IDS[1],
            ("to-tag", "two"),
            ("sdp", &offer(port_of(&engine))),
        ]);
        let caller_port = answer_port(answered.ok().text("sdp"));
        Call { caller, engine, caller_port, engine_port }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_finds_the_relay_alive() {
    let rig = Rig::new("ng-ping");
    let proxy = Proxy::of(&rig).await;
    assert_eq!(proxy.send(b"0_1_2 d7:command4:pinge"), b"0_1_2 d6:result4:ponge");
    let json = Proxy::at(proxy.relay, Syntax::Json);
    assert_eq!(json.send(b"7 {\"command\":\"ping\"}"), b"7 {\"result\":\"pong\"}");
    json.ask(&[("command", "dance")]).refused("not known");
    json.ask(&[("sdp", "")]).refused("no command");
    json.ask(&[("command", "offer"), IDS[0]]).refused("from-tag");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_proxy_carries_media_both_ways_until_it_is_deleted() {
    let rig = Rig::new("ng-call");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    assert!(pass(1, &call.caller, call.caller_port, &call.engine) >= 9);
    assert!(pass(1, &call.engine, call.engine_port, &call.caller) >= 9);

    let listed = rig.get(Role::Operator, "/v1/calls").await.expect(200).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "REST knows it");
    let delete = [("command", "delete"), IDS[0], IDS[1]];
    let told = proxy.ask(&[("command", "delete"), IDS[0], ("from-tag", "nobody")]).ok();
    assert!(told.text("warning").contains("goes on"));
    assert!(pass(20, &call.caller, call.caller_port, &call.engine) >= 9);
    proxy.ask(&delete).ok();
    assert_eq!(pass(40, &call.caller, call.caller_port, &call.engine), 0);
    assert!(proxy.ask(&delete).ok().text("warning").contains("no call"));
    proxy.ask(&[("command", "query"), IDS[0]]).refused("no call");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_or_is_sent_to_before_the_answer() {
    let rig = Rig::new("ng-early");
    let proxy = Proxy::of(&rig).await;
    let (caller, engine) = (socket(), socket());
    let sdp = offer(port_of(&caller));
    let told = proxy.ask(&[("command", "offer"), IDS[0], IDS[1], ("sdp", &sdp)]).ok();
    let engine_port = answer_port(told.text("sdp"));
    assert_eq!(pass(1, &engine, engine_port, &caller), 0);
    proxy.ask(&[("command", "answer"), IDS[0], IDS[1], ("sdp", &sdp)]).refused("to-tag");
    proxy
        .ask(&[("command", "answer"), IDS[0], ("from-tag", "x"), ("to-tag", "y"), ("sdp", &sdp)])
        .refused("neither tag");
    proxy
        .ask(&[("command", "answer"), ("call-id", "other"), IDS[1], ("sdp", &sdp)])
        .refused("no call");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_has_no_second_effect() {
    let rig = Rig::new("ng-again");
    let proxy = Proxy::of(&rig).await;
    let (caller, engine) = (socket(), socket());
    let (sdp, answer) = (offer(port_of(&caller)), offer(port_of(&engine)));
    let members = [("command", "offer"), IDS[0], IDS[1], ("sdp", &*sdp)];
    let request = proxy.written(&members);
    // Both copies are there before the first is worked on.
    proxy.socket.send_to(&request, proxy.relay).unwrap();
    let first = proxy.send(&request);
    let mut copy = vec![0; 65_536];
    let len = proxy.socket.recv(&mut copy).unwrap();
    assert_eq!(first, copy[..len]);
    let told = proxy.ask(&members).ok();
    let body = Message::split(&first).unwrap();
    let sent = Value::read(body.syntax, body.body).unwrap();
    assert_eq!(sent.get("sdp").and_then(Value::text), Some(told.text("sdp")), "another cookie");

    let members = [("command", "answer"), IDS[0], IDS[1], ("to-tag", "two"), ("sdp", &*answer)];
    let told: Vec<Told> = (0..4).map(|_| proxy.ask(&members).ok()).collect();
    assert!(told.iter().all(|it| it.text("sdp") == told[0].text("sdp")), "four times 200 OK");
    let listed = proxy.ask(&[("command", "list")]).ok();
    assert_eq!(listed.0.get("calls").unwrap().texts().collect::<Vec<_>>(), ["a@proxy"]);
    assert_eq!(rig.control.gauges.calls(), 1);
}

/// What the engine hears of a caller that goes on talking, for half a second.
fn heard_by_engine(call: &Call, from: u16) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    for number in from..from + 25 {
        let mut packet = vec![0x80, 0];
        packet.extend(number.to_be_bytes());
        packet.extend((u32::from(number) * 160).to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        packet.extend([VOICE; 160]);
        call.caller.send_to(&packet, ("127.0.0.1", call.caller_port)).unwrap();
        let mut datagram = [0; 2048];
        if let Ok(len) = call.engine.recv(&mut datagram)
            && len == 172
        {
            heard.push(datagram[12..len].to_vec());
        }
    }
    heard
}

/// What the caller's voice is made of.
const VOICE: u8 = 0x55;

fn octets_of_the_caller(heard: &[Vec<u8>]) -> usize {
    heard.iter().flatten().filter(|&&octet| octet == VOICE).count()
}

/// Enters a session by NG and returns what the engine heard before and within.
async fn a_session_by_ng(rig: &Rig, proxy: &Proxy) -> [Vec<Vec<u8>>; 2] {
    let call = Call::open(proxy);
    let before = heard_by_engine(&call, 1);
    proxy.ask(&[("command", "secure session"), IDS[0]]).refused("plan is missing");
    let plan = r#"{ "fields": [{ "type": "payment-card-number", "max_attempts": 7 }] }"#;
    proxy.ask(&[("command", "secure session"), IDS[0], ("plan", plan)]).refused("max_attempts");
    proxy.ask(&[("command", "secure session query"), IDS[0]]).refused("No secure session");
    let told = proxy.ask(&[("command", "secure session"), IDS[0], ("plan", "card-payment")]).ok();
    assert_eq!(told.text("state"), "collecting");
    let within = heard_by_engine(&call, 100);
    let path = format!("/v1/calls/{}", proxy.ask(&[("command", "query"), IDS[0]]).text("call"));
    assert_eq!(rig.get(Role::Script, &path).await.json()["state"], "secure");
    let second = proxy.ask(&[("command", "secure session"), IDS[0], ("plan", "code")]);
    second.refused("in progress");
    // A proxy is no operator: it ends what it drives itself, and nothing else.
    proxy.ask(&[("command", "secure session cancel"), IDS[0]]).refused("");
    [before, within]
}

#[cfg(not(feature = "sabotage"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_by_ng_cuts_the_call_before_it_is_answered() {
    let rig = Rig::new("ng-secure");
    let proxy = Proxy::of(&rig).await;
    let [before, within] = a_session_by_ng(&rig, &proxy).await;
    assert!(octets_of_the_caller(&before) > 20 * 160, "the control: it is heard before");
    assert!(within.len() > 15, "the engine's stream goes on: {} frames", within.len());
    assert_eq!(octets_of_the_caller(&within), 0);
    let told = proxy.ask(&[("command", "secure session query"), IDS[0]]).ok();
    assert_eq!(told.text("state"), "collecting");
    // Nothing of what follows opens it.
    for command in ["unblock media", "unblock DTMF", "unsilence media"] {
        proxy.ask(&[("command", command), IDS[0], IDS[1]]).ok();
    }
    for command in ["start recording", "pause recording", "start recording", "stop recording"] {
        proxy.ask(&[("command", command), IDS[0], IDS[1]]).ok();
    }
    let told = proxy.ask(&[("command", "secure session query"), IDS[0]]).ok();
    assert_eq!(told.text("state"), "collecting");
}

/// The control: with masking broken, the same look at the engine's stream finds the caller in it.
#[cfg(feature = "sabotage")]
#[tokio::test(flavor = "multi_thread")]
async fn without_masking_a_session_by_ng_leaks() {
    relay::sabotage::break_masking();
    let rig = Rig::new("ng-broken");
    let proxy = Proxy::of(&rig).await;
    let [_, within] = a_session_by_ng(&rig, &proxy).await;
    assert!(octets_of_the_caller(&within) > 0);
}

/// A recorder that a proxy has asked in, and where the copies come from.
struct Recorder {
    ears: [UdpSocket; 2],
    tag: String,
}

const ALL: [(&str, &str); 2] = [IDS[0], ("rtpp-flags", "all siprec")];

/// An answer that takes copies at these ports.
fn recorder_answer(ports: [u16; 2], transport: &str, more: &str) -> String {
    let stream = |port| format!("m=audio {port} {transport} 0\r\na=recvonly\r\n{more}");
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    format!("{head}{}{}", stream(ports[0]), stream(ports[1]))
}

impl Recorder {
    fn of_both(proxy: &Proxy) -> Recorder {
        let told = proxy.ask(&[&[("command", "subscribe request")], &ALL[..]].concat()).ok();
        let tag = told.text("to-tag").to_owned();
        let ears = [socket(), socket()];
        let recorder = Recorder { ears, tag };
        recorder.answer(proxy, &recorder_answer(recorder.ports(), "RTP/AVP", "")).ok();
        recorder
    }

    fn ports(&self) -> [u16; 2] {
        [port_of(&self.ears[0]), port_of(&self.ears[1])]
    }

    fn answer(&self, proxy: &Proxy, sdp: &str) -> Told {
        let named = ("to-tag", &*self.tag);
        proxy.ask(&[("command", "subscribe answer"), IDS[0], named, ("sdp", sdp)])
    }

    #[cfg(not(feature = "sabotage"))]
    fn end(&self, proxy: &Proxy) -> Told {
        proxy.ask(&[("command", "unsubscribe"), IDS[0], ("to-tag", &*self.tag)])
    }

    /// All that has come so far, of each party.
    fn heard(&self) -> [Vec<Vec<u8>>; 2] {
        [0, 1].map(|at| {
            let mut datagram = [0; 2048];
            let ear = &self.ears[at];
            ear.set_nonblocking(true).unwrap();
            let all = std::iter::from_fn(|| {
                let len = ear.recv(&mut datagram).ok()?;
                Some(datagram[..len].to_vec())
            });
            all.collect()
        })
    }
}

/// Both parties talk for half a second.
fn both_talk(call: &Call, from: u16) {
    for number in from..from + 25 {
        for (mouth, to, code) in
            [(&call.caller, call.caller_port, VOICE), (&call.engine, call.engine_port, OTHER_VOICE)]
        {
            let mut packet = vec![0x80, 0];
            packet.extend(number.to_be_bytes());
            packet.extend((u32::from(number) * 160).to_be_bytes());
            packet.extend([1, 2, 3, 4]);
            packet.extend([code; 160]);
            mouth.send_to(&packet, ("127.0.0.1", to)).unwrap();
        }
        std::thread::sleep(FRAME);
    }
}

/// What the engine's voice is made of.
const OTHER_VOICE: u8 = 0x2a;

/// How many octets of a code packets hold behind their headers.
fn octets_of(packets: &[Vec<u8>], code: u8) -> usize {
    packets.iter().flat_map(|packet| &packet[12..]).filter(|&&octet| octet == code).count()
}

/// One stream without a gap, of one size.
#[cfg(not(feature = "sabotage"))]
fn assert_unbroken(packets: &[Vec<u8>]) {
    for pair in packets.windows(2) {
        let number = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        let time = |packet: &[u8]| u32::from_be_bytes(packet[4..8].try_into().unwrap());
        assert_eq!((pair[0].len(), pair[1].len()), (172, 172));
        assert_eq!(number(&pair[1]), number(&pair[0]).wrapping_add(1));
        assert_eq!(time(&pair[1]), time(&pair[0]).wrapping_add(160));
        assert_eq!(pair[0][8..12], pair[1][8..12]);
    }
}

/// Enters a session on a call that a recorder is sent, and returns what it got before and within.
fn a_recorded_session(proxy: &Proxy) -> (Recorder, Call, [[Vec<Vec<u8>>; 2]; 2]) {
    let call = Call::open(proxy);
    let recorder = Recorder::of_both(proxy);
    both_talk(&call, 1);
    let before = recorder.heard();
    proxy.ask(&[("command", "secure session"), IDS[0], ("plan", "card-payment")]).ok();
    // What left before the reply is from before the cut.
    let left = recorder.heard();
    let before = [0, 1].map(|at| [&before[at][..], &left[at]].concat());
    both_talk(&call, 100);
    let within = recorder.heard();
    (recorder, call, [before, within])
}

#[cfg(not(feature = "sabotage"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_is_sent_what_both_say_and_in_a_session_silence() {
    let rig = Rig::new("ng-recorder");
    let proxy = Proxy::of(&rig).await;
    let (recorder, call, [before, within]) = a_recorded_session(&proxy);
    for (at, code) in [VOICE, OTHER_VOICE].into_iter().enumerate() {
        assert!(octets_of(&before[at], code) > 20 * 160, "{}", octets_of(&before[at], code));
        assert!(within[at].len() > 20, "the stream goes on: {} frames", within[at].len());
        assert_eq!(octets_of(&within[at], 0xff), within[at].len() * 160, "it is silence");
        assert_unbroken(&[&before[at][..], &within[at]].concat());
    }
    let path = format!("/v1/calls/{}", proxy.ask(&[("command", "query"), IDS[0]]).text("call"));
    assert_eq!(rig.get(Role::Operator, &path).await.json()["listeners"], 1);
    assert!(rig.get(Role::Engine, &path).await.json().get("listeners").is_none());
    // One that comes now is cut as well.
    let late = Recorder::of_both(&proxy);
    both_talk(&call, 200);
    let heard = late.heard();
    for heard in &heard {
        assert!(heard.len() > 20);
        assert_eq!(octets_of(heard, 0xff), heard.len() * 160);
    }
    let full = [&[("command", "subscribe request")], &ALL[..]].concat();
    proxy.ask(&full).refused("as many subscriptions as it may");
    late.end(&proxy).ok();
    recorder.end(&proxy).ok();
    let _ = recorder.heard();
    both_talk(&call, 300);
    assert!(recorder.heard().iter().all(Vec::is_empty), "it has ended");
    assert!(recorder.end(&proxy).ok().text("warning").contains("no subscription"));
    // Who must see that somebody listens does, and the engine does not.
    proxy.ask(&[("command", "delete"), IDS[0], IDS[1]]).ok();
    let events = format!("{path}/events");
    for (role, count) in [(Role::Operator, 2), (Role::Script, 2), (Role::Engine, 0)] {
        let told = String::from_utf8(rig.get(role, &events).await.body).unwrap();
        for kind in ["event: media.subscribed", "event: media.unsubscribed"] {
            assert_eq!(told.matches(kind).count(), count, "{role:?}: {told}");
        }
    }
}

/// The control: with masking broken, the same look finds the caller at the recorder.
#[cfg(feature = "sabotage")]
#[tokio::test(flavor = "multi_thread")]
async fn without_masking_a_recorder_hears_the_session() {
    relay::sabotage::break_masking();
    let rig = Rig::new("ng-recorder-broken");
    let proxy = Proxy::of(&rig).await;
    let (_recorder, _call, [_, within]) = a_recorded_session(&proxy);
    assert!(octets_of(&within[0], VOICE) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_told_as_proxies_read_it() {
    let rig = Rig::new("ng-subscribed");
    let proxy = Proxy::of(&rig).await;
    let early = offer(9);
    let members = [("command", "offer"), ("call-id", "early"), IDS[1], ("sdp", &*early)];
    proxy.ask(&members).ok();
    let request = |more: &[(&'static str, &str)]| {
        proxy.ask(&[&[("command", "subscribe request")], more].concat())
    };
    request(&[("call-id", "early"), IDS[1]]).refused("not answered yet");
    request(&[("call-id", "none"), IDS[1]]).refused("no call");
    let call = Call::open(&proxy);
    request(&[IDS[0]]).refused("from-tag is missing");
    request(&[IDS[0], ("from-tag", "x")]).refused("no party");
    request(&[IDS[0], IDS[1], ("to-tag", "two")]).refused("of a party");
    request(&[IDS[0], IDS[1], ("rtpp-flags", "egress")]).refused("leave out egress");
    request(&[IDS[0], IDS[1], ("rtpp-flags", "UDP/TLS/RTP/SAVPF")]).refused("without DTLS");
    request(&[IDS[0], IDS[1], ("ICE", "force")]).refused("without DTLS and ICE");

    let told = request(&[IDS[0], ("from-tag", "two"), ("to-tag", "recorder")]).ok();
    assert_eq!((told.text("to-tag"), told.text("from-tag")), ("recorder", "two"));
    let tags: Vec<_> = told.0.get("from-tags").unwrap().texts().collect();
    assert_eq!(tags, ["two"]);
    let Some(Value::List(medias)) = told.0.get("tag-medias") else { panic!("{:?}", told.0) };
    assert_eq!(medias[0].get("tag").and_then(Value::text), Some("two"));
    let Some(Value::List(streams)) = medias[0].get("medias") else { panic!("{medias:?}") };
    let of_stream = |name| streams[0].get(name).and_then(Value::text);
    let said = ["type", "label", "mode"].map(of_stream);
    assert_eq!(said, [Some("audio"), Some("0"), Some("sendrecv")]);
    assert_eq!(streams[0].get("index"), Some(&Value::Integer(1)));
    let sdp = told.text("sdp");
    let (audio, rest) = stream(sdp);
    assert!(audio.ends_with(" RTP/AVP 0 8"), "{sdp}");
    for line in ["a=sendonly\r\n", "a=label:0\r\n", "a=ptime:20\r\n"] {
        assert!(rest.contains(line), "{line} in {sdp}");
    }
    assert!(!rest.contains("telephone-event") && !rest.contains("m="), "{sdp}");
    let again = request(&[IDS[0], ("from-tag", "two"), ("to-tag", "recorder")]).ok();
    assert_eq!(again.text("sdp"), sdp, "the same again");
    request(&[IDS[0], IDS[1], ("to-tag", "recorder")]).refused("unsubscribe first");
    let told = proxy.ask(&[("command", "query"), IDS[0]]).ok();
    assert_eq!(told.0.get("subscriptions").unwrap().texts().collect::<Vec<_>>(), ["recorder"]);

    proxy.ask(&[("command", "delete"), IDS[0], IDS[1]]).ok();
    let end = [("command", "unsubscribe"), IDS[0], ("to-tag", "recorder")];
    assert!(proxy.ask(&end).ok().text("warning").contains("no call"));
    drop(call);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorders_answer_is_held_against_its_offer_and_goes_where_media_may() {
    let rig = Rig::new("ng-recorder-answer");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let named = ("to-tag", "recorder");
    proxy.ask(&[("command", "subscribe request"), IDS[0], ("from-tag", "two"), named]).ok();
    let ear = socket();
    let answer = |sdp: &str| {
        proxy.ask(&[("command", "subscribe answer"), IDS[0], ("to-tag", "recorder"), ("sdp", sdp)])
    };
    let good = offer(port_of(&ear)).replace("0 101", "8");
    let own =
        good.replace(&format!("audio {}", port_of(&ear)), &format!("audio {}", call.caller_port));
    answer(&own).refused("own media ports");
    answer(&good.replace("audio ", "video ")).refused("");
    answer(&good.replace("RTP/AVP 8", "RTP/AVP 9")).refused("not offered");
    answer(&recorder_answer([port_of(&ear); 2], "RTP/AVP", "")).refused("not offered");
    answer(&good.replace("RTP/AVP", "RTP/SAVP")).refused("");
    both_talk(&call, 1);
    ear.set_nonblocking(true).unwrap();
    assert!(ear.recv(&mut [0; 64]).is_err(), "nothing goes anywhere before");
    answer(&good).ok();
    both_talk(&call, 50);
    let mut datagram = [0; 2048];
    let heard =
        std::iter::from_fn(|| ear.recv(&mut datagram).ok().map(|len| datagram[..len].to_vec()));
    let heard: Vec<Vec<u8>> = heard.collect();
    assert!(heard.iter().all(|packet| packet[1] == 8), "A-law, as was answered");
    let mut in_a_law = [OTHER_VOICE];
    Law::Mu.transcode(Law::A, &mut in_a_law);
    assert!(octets_of(&heard, in_a_law[0]) > 20 * 160, "{}", octets_of(&heard, in_a_law[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_with_keys_in_its_sdp_is_sent_srtp() {
    let rig = Rig::new("ng-recorder-srtp");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let flags = ("rtpp-flags", "all RTP/SAVP SDES-no-AEAD_AES_256_GCM SDES-no-AEAD_AES_128_GCM");
    let told = proxy.ask(&[("command", "subscribe request"), IDS[0], flags]).ok();
    let (tag, sdp) = (told.text("to-tag").to_owned(), told.text("sdp").to_owned());
    assert_eq!(sdp.matches("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:").count(), 2, "{sdp}");
    let recorder = Recorder { ears: [socket(), socket()], tag };
    let key =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let plain = recorder_answer(recorder.ports(), "RTP/AVP", "");
    recorder.answer(&proxy, &plain).refused("not offered");
    // Of the engine nothing is wanted.
    let wanted = recorder_answer([recorder.ports()[0], 0], "RTP/SAVP", key);
    recorder.answer(&proxy, &wanted).ok();
    both_talk(&call, 1);
    let [of_caller, of_engine] = recorder.heard();
    assert!(of_engine.is_empty() && of_caller.len() > 20);
    let ours = sdp.split("inline:").nth(1).unwrap().split(['|', '\r']).next().unwrap();
    let key =
        MasterKey::from_bytes(Suite::AesCm128HmacSha1_80, &STANDARD.decode(ours).unwrap()).unwrap();
    let mut inbound = Inbound::new(&key);
    let mut voice = 0;
    for mut packet in of_caller {
        assert_eq!(packet.len(), 182, "ten octets of tag");
        assert!(!packet[12..172].windows(8).any(|it| it == [VOICE; 8]), "it is encrypted");
        let len = inbound.unprotect(&mut packet).unwrap();
        voice += packet[12..len].iter().filter(|&&octet| octet == VOICE).count();
    }
    assert!(voice > 20 * 160, "{voice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_dictionaries_too() {
    let rig = Rig::new("ng-plan");
    for syntax in [Syntax::Bencode, Syntax::Json] {
        let proxy = Proxy::at(Proxy::of(&rig).await.relay, syntax);
        let call = Call::open(&proxy);
        let field = Value::dictionary([
            ("type", Value::of_text("postal-code")),
            ("min_digits", Value::Integer(4)),
            ("max_digits", Value::Integer(4)),
        ]);
        let plan = Value::dictionary([("fields", Value::List(vec![field]))]);
        let told = proxy.ask_with(&[("command", "secure session"), IDS[0]], &[("plan", plan)]).ok();
        assert!(told.text("session").starts_with("sec_"));
        proxy.ask(&[("command", "delete"), IDS[0], IDS[1]]).ok();
        drop(call);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_media_is_kept_back_and_nothing_is_claimed_that_is_not_done() {
    let rig = Rig::new("ng-block");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let heard = |from| pass(from, &call.caller, call.caller_port, &call.engine);
    assert!(heard(1) >= 9);
    proxy.ask(&[("command", "block media"), IDS[0], ("from-tag", "x")]).refused("no party");
    proxy.ask(&[("command", "block media"), IDS[0], ("from-tag", "two")]).ok();
    assert!(heard(20) >= 9, "the other party is blocked");
    proxy.ask(&[("command", "block media"), IDS[0], IDS[1]]).ok();
    assert_eq!(heard(40), 0);
    proxy
        .ask_with(
            &[("command", "unblock media"), IDS[0], IDS[1]],
            &[("flags", Value::List(vec![Value::of_text("all")]))],
        )
        .ok();
    assert!(heard(60) >= 9);
    proxy.ask(&[("command", "silence media"), IDS[0], IDS[1]]).ok();
    assert_eq!(heard(80), 0, "silence is no packet of the caller");
    proxy.ask(&[("command", "unsilence media"), IDS[0], IDS[1]]).ok();
    assert!(heard(100) >= 9);
    let told = proxy.ask(&[("command", "block DTMF"), IDS[0], IDS[1]]).ok();
    assert!(told.text("warning").contains("tones"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_asked_for_with_the_offer() {
    let rig = Rig::new("ng-record");
    let proxy = Proxy::of(&rig).await;
    let sdp = offer(9);
    let members = [("command", "offer"), IDS[0], IDS[1], ("sdp", &*sdp), ("record call", "yes")];
    proxy.ask(&members).ok();
    proxy.ask(&[("command", "start recording"), IDS[0]]).ok();
    let path = format!("/v1/calls/{}", proxy.ask(&[("command", "query"), IDS[0]]).text("call"));
    assert_eq!(rig.get(Role::Operator, &path).await.json()["recording"], true);
}

/// The caller says ten packets, each when it is due.
async fn say_in_time(from: u16, call: &Call) {
    for number in from..from + 10 {
        let mut packet = vec![0x80, 0];
        packet.extend(number.to_be_bytes());
        packet.extend((u32::from(number) * 160).to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        packet.extend([0x55; 160]);
        call.caller.send_to(&packet, ("127.0.0.1", call.caller_port)).unwrap();
        tokio::time::sleep(FRAME).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_begun_paused_and_ended_within_the_call() {
    // What comes in a pause is kept off the tape, and found there without one.
    for is_paused in [true, false] {
        let rig = Rig::new("ng-tape");
        let proxy = Proxy::of(&rig).await;
        let call = Call::open(&proxy);
        let said = |from| say_in_time(from, &call);
        let ask = |command| proxy.ask(&[("command", command), IDS[0], IDS[1]]);
        ask("pause recording").refused("start the recording first");
        ask("stop recording").refused("not recorded");
        said(1).await;
        ask("start recording").ok();
        ask("start recording").ok();
        said(11).await;
        if is_paused {
            ask("pause recording").ok();
            ask("pause recording").ok();
        }
        said(21).await;
        ask("start recording").ok();
        said(31).await;
        ask("stop recording").ok();
        ask("stop recording").ok();
        ask("start recording").refused("pause a recording that is to go on");
        ask("pause recording").refused("a call has one");
        let path = format!("/v1/calls/{}", proxy.ask(&[("command", "query"), IDS[0]]).text("call"));
        let view = rig.get(Role::Script, &path).await.expect(200).json();
        assert_eq!((&view["state"], &view["recording_state"]), (&"open".into(), &"stopped".into()));
        // Until then a secure session could take its last moments back.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        let wav = rig.get(Role::Operator, &format!("{path}/recording")).await.expect(200);
        assert_eq!(wav.header("sotto-recording"), "complete");
        let voice = dtmf::g711::Law::Mu.decode(0x55).to_le_bytes();
        let pairs = wav.body[44..].chunks_exact(4);
        let laid = pairs.filter(|pair| pair[..2] == voice).count() / 160;
        assert_eq!(laid, if is_paused { 20 } else { 30 }, "paused: {is_paused}");
        while call.engine.recv(&mut [0; 2048]).is_ok() {}
        assert!(pass(41, &call.caller, call.caller_port, &call.engine) >= 9, "the call goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_recordings_are_off_none_is_begun() {
    let rig = Rig::without_recordings("ng-off");
    let proxy = Proxy::of(&rig).await;
    let _call = Call::open(&proxy);
    for command in ["start recording", "pause recording", "stop recording"] {
        proxy.ask(&[("command", command), IDS[0]]).refused("recordings.enabled is false");
    }
}

/// The `m=` line of a description, and the rest of it.
fn stream(sdp: &str) -> (&str, &str) {
    let at = sdp.find("m=audio ").unwrap();
    sdp[at..].split_once("\r\n").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_party_has_a_transport_of_its_own() {
    let rig = Rig::new("ng-transports");
    let proxy = Proxy::of(&rig).await;
    let cases: [(&str, &str, &[&str]); 4] = [
        ("RTP/AVP", "RTP/AVP", &[]),
        (
            "ICE=remove RTP/SAVP SDES-no-AEAD_AES_256_GCM",
            "RTP/SAVP",
            &["a=crypto:1 AEAD_AES_128_GCM"],
        ),
        ("ICE=remove UDP/TLS/RTP/SAVP SDES-off", "UDP/TLS/RTP/SAVP", &["a=fingerprint:sha-256 "]),
        (
            "ICE=force rtcp-mux-offer SDES-off UDP/TLS/RTP/SAVPF",
            "UDP/TLS/RTP/SAVPF",
            &["a=ice-ufrag:", "a=rtcp-mux", "a=setup:actpass", "a=candidate:"],
        ),
    ];
    for (number, (flags, transport, lines)) in cases.into_iter().enumerate() {
        let call_id = format!("{number}@proxy");
        let told = proxy.ask(&[
            ("command", "offer"),
            ("call-id", &call_id),
            IDS[1],
            ("sdp", &offer(9)),
            ("rtpp-flags", flags),
        ]);
        let told = told.ok();
        let (stream, rest) = stream(told.text("sdp"));
        assert!(stream.contains(&format!(" {transport} 0 101")), "{stream}");
        assert!(!rest.contains("AEAD_AES_256_GCM") || number != 1, "{rest}");
        for line in lines {
            assert!(rest.contains(line), "{line} in {rest}");
        }
        proxy.ask(&[("command", "delete"), ("call-id", &call_id), IDS[1]]).ok();
    }
    let unknown = [("command", "offer"), IDS[0], IDS[1], ("transport-protocol", "RTP/XYZ")];
    let sdp = offer(9);
    proxy.ask(&[&unknown[..], &[("sdp", &*sdp)]].concat()).refused("transport-protocol");
    assert_eq!(rig.control.gauges.calls(), 0, "what is refused leaves nothing");
}

/// A caller in clear and an engine with keys in its SDP: the relay's key is what it has offered.
#[tokio::test(flavor = "multi_thread")]
async fn an_srtp_engine_is_answered_in_clear() {
    let rig = Rig::new("ng-srtp");
    let proxy = Proxy::of(&rig).await;
    let (caller, engine) = (socket(), socket());
    let sdp = offer(port_of(&caller));
    let members =
        [("command", "offer"), IDS[0], IDS[1], ("sdp", &*sdp), ("transport-protocol", "RTP/SAVP")];
    proxy.ask(&members).ok();
    let plain = offer(port_of(&engine));
    let answer = |sdp: &str| {
        proxy.ask(&[("command", "answer"), IDS[0], IDS[1], ("to-tag", "two"), ("sdp", sdp)])
    };
    answer(&plain).refused("not offered");
    let key =
        "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let secure = plain.replace("RTP/AVP", "RTP/SAVP") + key;
    let told = answer(&secure).ok();
    assert!(stream(told.text("sdp")).0.contains(" RTP/AVP 0 101"), "{}", told.text("sdp"));
    let caller_port = answer_port(told.text("sdp"));
    // Ten octets of tag behind each packet.
    engine.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    pass_one(&caller, caller_port);
    let mut datagram = [0; 2048];
    assert_eq!(engine.recv(&mut datagram).unwrap(), 182);
    assert!(!datagram[12..172].windows(8).any(|it| it == [VOICE; 8]), "it is encrypted");
}

fn pass_one(mouth: &UdpSocket, to: u16) {
    let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
    packet.extend([VOICE; 160]);
    mouth.send_to(&packet, ("127.0.0.1", to)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn either_party_offers_anew_and_keeps_its_ports() {
    let rig = Rig::new("ng-reoffer");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let ask = |command, from, to, sdp: &str| {
        let told = proxy.ask(&[
            ("command", command),
            IDS[0],
            ("from-tag", from),
            ("to-tag", to),
            ("sdp", sdp),
        ]);
        told.ok().text("sdp").to_owned()
    };
    let (caller, engine) = (offer(port_of(&call.caller)), offer(port_of(&call.engine)));
    // The caller holds the call.
    let held = ask("offer", "one", "two", &format!("{caller}a=sendonly\r\n"));
    assert!(held.contains("a=sendonly"), "{held}");
    assert_eq!(answer_port(&held), call.engine_port);
    let held = ask("answer", "one", "two", &format!("{engine}a=recvonly\r\n"));
    assert_eq!((answer_port(&held), held.contains("a=recvonly")), (call.caller_port, true));
    // The engine ends the hold, from another port.
    let moved = socket();
    let offered = ask("offer", "two", "one", &offer(port_of(&moved)));
    assert_eq!(answer_port(&offered), call.caller_port);
    assert!(offered.contains("a=sendrecv"), "{offered}");
    let answered = ask("answer", "two", "one", &caller);
    assert_eq!(answer_port(&answered), call.engine_port);
    assert!(pass(1, &call.caller, call.caller_port, &moved) >= 9);
    assert!(pass(1, &moved, call.engine_port, &call.caller) >= 9);
}

/// Asks for an offer or an answer with the tags of a party.
fn say(
    proxy: &Proxy,
    command: &str,
    tags: [&str; 2],
    sdp: &str,
    more: &[(&'static str, &str)],
) -> Told {
    let [from, to] = tags;
    let members = [("command", command), IDS[0], ("from-tag", from), ("to-tag", to), ("sdp", sdp)];
    proxy.ask(&[&members[..], more].concat())
}

/// The caller's tags can be written by the engine: in a session that moves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_session_the_caller_is_not_moved_by_whoever_writes_its_tag() {
    let rig = Rig::new("ng-claimed");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let thief = socket();
    let [caller, engine, stolen] =
        [&call.caller, &call.engine, &thief].map(|it| offer(port_of(it)));
    let as_caller = |sdp: &str| say(&proxy, "offer", ["one", "two"], sdp, &[]);
    let answer = |tags, sdp: &str| say(&proxy, "answer", tags, sdp, &[]);

    // The control: in the open it is taken, and the leg is at the thief's.
    as_caller(&stolen).ok();
    answer(["one", "two"], &engine).ok();
    assert!(pass(1, &call.engine, call.engine_port, &thief) >= 9);
    as_caller(&caller).ok();
    answer(["one", "two"], &engine).ok();
    assert!(pass(20, &call.engine, call.engine_port, &call.caller) >= 9);

    let plan = r#"{ "fields": [{ "type": "postal-code", "min_digits": 4, "max_digits": 4 }],
        "engine_audio": "pass" }"#;
    proxy.ask(&[("command", "secure session"), IDS[0], ("plan", plan)]).ok();
    as_caller(&stolen).refused("stays where it is");
    say(&proxy, "offer", ["anew", "two"], &stolen, &[]).refused("stays where it is");
    as_caller(&caller.replace("RTP/AVP", "RTP/SAVP")).refused("");
    as_caller(&caller).ok();
    as_caller(&stolen).refused("stays where it is");
    as_caller(&format!("{caller}a=sendonly\r\n")).ok();
    answer(["one", "two"], &format!("{engine}a=recvonly\r\n")).ok();
    as_caller(&caller).ok();
    answer(["one", "two"], &engine).ok();
    say(&proxy, "offer", ["two", "one"], &engine, &[]).ok();
    answer(["two", "one"], &stolen).refused("stays where it is");
    assert!(pass(40, &call.engine, call.engine_port, &call.caller) >= 9, "it stays");
    assert_eq!(pass(60, &call.engine, call.engine_port, &thief), 0);
}

/// The caller's key is its leg's as much as its address is.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_session_the_caller_keeps_its_key() {
    let rig = Rig::new("ng-claimed-key");
    let proxy = Proxy::of(&rig).await;
    let key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    let with_key = |key: &str| {
        let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n");
        offer(9).replace("RTP/AVP", "RTP/SAVP") + &crypto
    };
    let [caller, other, engine] = [with_key(key), with_key(&key.replace("WVN", "XVN")), offer(11)];
    let clear = ("transport-protocol", "RTP/AVP");
    let say_it = |command, sdp: &str| say(&proxy, command, ["one", "two"], sdp, &[clear]);
    let first = [("command", "offer"), IDS[0], IDS[1], ("sdp", &*caller), clear];
    proxy.ask(&first).ok();
    say_it("answer", &engine).ok();
    say_it("offer", &other).ok();
    say_it("answer", &engine).ok();
    say_it("offer", &caller).ok();
    say_it("answer", &engine).ok();
    proxy.ask(&[("command", "secure session"), IDS[0], ("plan", "code")]).ok();
    say_it("offer", &other).refused("stays where it is");
    say_it("offer", &offer(9)).refused("stays where it is");
    say_it("offer", &caller).ok();
    say_it("answer", &engine).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_does_not_speak_from_where_the_other_one_is() {
    let rig = Rig::new("ng-sources");
    let proxy = Proxy::of(&rig).await;
    let [theirs, others] = [("received-from", "192.0.2.1"), ("received-from", "192.0.2.2")];
    let sdp = offer(9);
    proxy.ask(&[("command", "offer"), IDS[0], IDS[1], ("sdp", &sdp), theirs]).ok();
    say(&proxy, "answer", ["one", "two"], &sdp, &[others]).ok();
    say(&proxy, "offer", ["one", "two"], &sdp, &[others]).refused("the other's");
    say(&proxy, "offer", ["one", "two"], &sdp, &[("received-from", "192.0.2.3")]).ok();
    say(&proxy, "answer", ["one", "two"], &sdp, &[others]).ok();
    say(&proxy, "offer", ["two", "one"], &sdp, &[("received-from", "192.0.2.3")])
        .refused("other's");
    say(&proxy, "offer", ["two", "one"], &sdp, &[others]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_has_changed_no_tag() {
    let rig = Rig::new("ng-tags");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    let sdp = offer(port_of(&call.caller));
    say(&proxy, "offer", ["one", "one"], &sdp, &[]).refused("the same");
    say(&proxy, "offer", ["thief", "two"], "v=0", &[]).refused("");
    say(&proxy, "offer", ["one", "thief"], "v=0", &[]).refused("");
    let tags = |proxy: &Proxy| {
        let told = proxy.ask(&[("command", "query"), IDS[0]]).ok();
        ["one", "two", "thief"].map(|tag| told.0.get("tags").unwrap().get(tag).is_some())
    };
    assert_eq!(tags(&proxy), [true, true, false]);
    say(&proxy, "offer", ["thief", "two"], &sdp, &[]).ok();
    assert_eq!(tags(&proxy), [false, true, true], "the control: what is taken changes them");
    say(&proxy, "answer", ["thief", "other"], "v=0", &[]).refused("");
    assert_eq!(tags(&proxy), [false, true, true]);
}

/// A Call-ID is the word of whoever calls: it names no other call.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_id_that_reads_as_an_id_of_ours_is_no_external_id() {
    let rig = Rig::new("ng-names");
    let proxy = Proxy::of(&rig).await;
    let sdp = offer(9);
    let named = async |call_id: &str| {
        let ids = [("command", "offer"), ("call-id", call_id), IDS[1], ("sdp", &*sdp)];
        proxy.ask(&ids).ok();
        let told = proxy.ask(&[("command", "query"), ("call-id", call_id)]).ok();
        let path = format!("/v1/calls/{}", told.text("call"));
        (told.text("call").to_owned(), rig.get(Role::Script, &path).await.expect(200).json())
    };
    let (victim, view) = named("victim").await;
    assert_eq!(view["external_id"], "victim", "the control");
    let (posing, view) = named(&victim).await;
    assert!(posing != victim && view.get("external_id").is_none(), "{view}");
    let (_, view) = named(&victim.replace("call_", "CA")).await;
    assert!(view.get("external_id").is_none(), "{view}");
    let body = serde_json::json!({ "call": victim, "plan": "code", "wait": "0" });
    rig.post(Role::Engine, "/v1/tools/collect_payment", body).await.expect(200);
    let path = |call: &str| format!("/v1/calls/{call}");
    assert_eq!(rig.get(Role::Script, &path(&victim)).await.json()["state"], "secure");
    assert_eq!(rig.get(Role::Script, &path(&posing)).await.json()["state"], "open");
}

/// Whoever is named as the sender of a datagram is not to be sent much more than was asked with.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_udp_is_short() {
    let rig = Rig::new("ng-list");
    let proxy = Proxy::of(&rig).await;
    for number in 0..8 {
        let call_id = format!("{number:0200}");
        let sdp = offer(9);
        let members = [("command", "offer"), ("call-id", &*call_id), IDS[1], ("sdp", &*sdp)];
        proxy.ask(&members).ok();
    }
    let reply = proxy.send(&proxy.written(&[("command", "list")]));
    assert!((800..1300).contains(&reply.len()), "{}", reply.len());
    let told = proxy.ask(&[("command", "list")]).ok();
    assert_eq!(told.0.get("calls").unwrap().texts().count(), 5);
    assert!(told.text("warning").contains("by TCP and HTTP"));
    let by_http = axum::http::Request::post("/ng")
        .header("authorization", format!("Bearer {}", rig.token(Role::Script)))
        .body(axum::body::Body::from("7 d7:command4:liste"))
        .unwrap();
    assert!(rig.send(by_http).await.expect(200).body.len() > 1600, "the control");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_may_be_the_one_that_calls() {
    let rig = Rig::new("ng-engine");
    let proxy = Proxy::of(&rig).await;
    let sdp = offer(9);
    let flags = Value::List(vec![Value::of_text("sotto-engine-offers")]);
    let members = [("command", "offer"), IDS[0], IDS[1], ("sdp", &*sdp)];
    proxy.ask_with(&members, &[("flags", flags)]).ok();
    let told = proxy.ask(&[("command", "query"), IDS[0]]).ok();
    let party = told.0.get("tags").unwrap().get("one").unwrap();
    assert_eq!(party.get("role").and_then(Value::text), Some("engine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_tells_what_a_proxy_asks_for_and_no_more() {
    let rig = Rig::new("ng-query");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    for round in 0..25 {
        pass(1 + round * 10, &call.caller, call.caller_port, &call.engine);
    }
    let told = proxy.ask(&[("command", "query"), IDS[0]]).ok();
    let totals = told.0.get("totals").unwrap().get("RTP").unwrap();
    // In steps of a hundred: exact ones would tell how many keys were pressed.
    assert_eq!(totals.get("packets"), Some(&Value::Integer(200)));
    let party = told.0.get("tags").unwrap().get("two").unwrap();
    assert_eq!(party.get("in dialogue with").and_then(Value::text), Some("one"));
    let told = proxy.ask(&[("command", "statistics")]).ok();
    let current = told.0.get("statistics").unwrap().get("currentstatistics").unwrap();
    assert_eq!(current.get("sessionsown"), Some(&Value::Integer(1)));
}

/// Strangers get nothing, not even an error: whoever is named as the sender would be sent it.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_no_reply() {
    let rig = Rig::new("ng-stranger");
    let listener = tokio::net::UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (control, stopping) = (Arc::clone(&rig.control), rig.control.stopping());
    let peers = Peers::parse(&["198.51.100.7".to_owned()]).unwrap();
    tokio::spawn(ng::serve_udp(listener, peers, control, stopping));
    let Some(address) = own_address() else { panic!("a machine with an address of its own") };
    let stranger = UdpSocket::bind((address, 0)).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stranger.send_to(b"1 d7:command4:pinge", (address, port)).unwrap();
    assert!(stranger.recv(&mut [0; 64]).is_err());
    let proxy = Proxy::at(([127, 0, 0, 1], port).into(), Syntax::Bencode);
    assert_eq!(proxy.send(b"1 d7:command4:pinge"), b"1 d6:result4:ponge", "the control");
    for nonsense in [&b"1"[..], b"", b"1 x"] {
        proxy.socket.send_to(nonsense, proxy.relay).unwrap();
    }
    let told = proxy.send(b"2 d");
    assert!(told.starts_with(b"2 d6:result5:error"), "a cookie and half a dictionary: an error");
}

/// An address of this machine that is not loopback. Nothing is sent to find it out.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|it| it.ip()).filter(|ip| !ip.is_loopback())
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_carries_one_message_behind_the_other() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::new("ng-tcp");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = listener.local_addr().unwrap();
    let (control, stopping) = (Arc::clone(&rig.control), rig.control.stopping());
    tokio::spawn(ng::serve_tcp(listener, Peers::default(), control, stopping));
    let mut stream = tokio::net::TcpStream::connect(relay).await.unwrap();
    let requests = b"1 d7:command4:pinge\n 2 {\"command\":\"ping\"}3 d7:command4:pi";
    stream.write_all(requests).await.unwrap();
    let expected = b"1 d6:result4:ponge2 {\"result\":\"pong\"}";
    let mut replies = vec![0; expected.len()];
    stream.read_exact(&mut replies).await.unwrap();
    assert_eq!(replies, expected);
    stream.write_all(b"nge").await.unwrap();
    let mut reply = [0; 18];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"3 d6:result4:ponge");
    stream.write_all(b"no message").await.unwrap();
    assert_eq!(stream.read(&mut reply).await.unwrap(), 0, "where the next begins is unknown");
}

/// A sound of a folder that hangs keeps a cut waiting on the same connection, but not for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_does_not_wait_for_a_folder_that_hangs() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::new("ng-hung");
    let proxy = Proxy::of(&rig).await;
    let call = Call::open(&proxy);
    // A pipe with nobody at its other end: who opens it to read waits.
    let folder = rig.directory.join("hung");
    mknodat(CWD, &folder, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    ng::play_from(&rig.control, folder.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = listener.local_addr().unwrap();
    let (control, stopping) = (Arc::clone(&rig.control), rig.control.stopping());
    tokio::spawn(ng::serve_tcp(listener, Peers::default(), control, stopping));
    let mut stream = tokio::net::TcpStream::connect(relay).await.unwrap();
    let play = proxy.written(&[("command", "play media"), IDS[0], IDS[1], ("file", "a.wav")]);
    let cut = proxy.written(&[("command", "secure session"), IDS[0], ("plan", "card-payment")]);
    stream.write_all(&[play, cut].concat()).await.unwrap();
    let mut replies = Vec::new();
    let both = async {
        while !String::from_utf8_lossy(&replies).contains("6:result2:ok") {
            assert!(stream.read_buf(&mut replies).await.unwrap() > 0);
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(3), both).await;
    // Whoever hangs is let go, lest this process wait for it.
    std::fs::OpenOptions::new().read(true).write(true).open(&folder).unwrap();
    told.expect("the call is cut in time");
    let replies = String::from_utf8_lossy(&replies);
    assert!(replies.contains("not read within a second"), "the control: it hangs: {replies}");
    drop(call);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_asks_for_a_key_of_scripts() {
    use axum::body::Body;
    use axum::http::Request;
    let rig = Rig::new("ng-http");
    let request = |token: Option<&str>, body: &'static str| {
        let mut request = Request::post("/ng");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(Body::from(body)).unwrap()
    };
    let ping = "7 {\"command\":\"ping\"}";
    let (script, engine) = (rig.token(Role::Script), rig.token(Role::Engine));
    let pong = rig.send(request(Some(script), ping)).await.expect(200);
    assert_eq!(pong.body, b"7 {\"result\":\"pong\"}");
    rig.send(request(None, ping)).await.expect(401);
    rig.send(request(Some(engine), ping)).await.expect(403);
    rig.send(request(Some(script), "ping")).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_asks_for_a_key_of_scripts_too() {
    use futures_util::SinkExt;
    use tokio_stream::StreamExt;
    use tokio_tungstenite::client_async;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    use tokio_tungstenite::tungstenite::{Error, Message as Frame};
    let rig = Rig::new("ng-websocket");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = listener.local_addr().unwrap();
    let stopping = rig.control.stopping();
    let front = control_api::server::Front::bare(control_api::server::API_BOUNDS);
    tokio::spawn(control_api::server::serve(listener, front, rig.app.clone(), stopping));
    let connect = async |role: Option<Role>, subprotocol: &'static str| {
        let mut request = format!("ws://{relay}/ng").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", subprotocol.parse().unwrap());
        if let Some(role) = role {
            let bearer = format!("Bearer {}", rig.token(role));
            headers.insert("authorization", bearer.parse().unwrap());
        }
        client_async(request, tokio::net::TcpStream::connect(relay).await.unwrap()).await
    };
    let refused = [
        (None, "ng.rtpengine.com", 401),
        (Some(Role::Engine), "ng.rtpengine.com", 403),
        (Some(Role::Script), "chat", 400),
    ];
    for (role, subprotocol, status) in refused {
        let Err(Error::Http(response)) = connect(role, subprotocol).await else { panic!("let in") };
        assert_eq!(response.status().as_u16(), status);
    }
    let (mut socket, _) = connect(Some(Role::Script), "ng.rtpengine.com").await.unwrap();
    socket.send(Frame::text("1 {\"command\":\"ping\"}")).await.unwrap();
    let reply = socket.next().await.unwrap().unwrap();
    assert_eq!(reply, Frame::text("1 {\"result\":\"pong\"}"));
    socket.send(Frame::binary(&b"2 d7:command4:pinge"[..])).await.unwrap();
    let reply = socket.next().await.unwrap().unwrap();
    assert_eq!(reply, Frame::binary(&b"2 d6:result4:ponge"[..]));
    // What is done with other keys does not end it.
    rig.add_key(NewKey::of(Role::Engine));
    socket.send(Frame::text("3 {\"command\":\"ping\"}")).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Frame::Text(_)))));
    let id = rig::id_of(rig.token(Role::Script));
    rig.control.key_store.edit().unwrap().revoke(id, clock::now()).unwrap();
    rig.control.reload_keys().unwrap();
    let ended =
        tokio::time::timeout(std::time::Duration::from_secs(1), socket.next()).await.unwrap();
    assert!(!matches!(ended, Some(Ok(Frame::Text(_) | Frame::Binary(_)))));
}

//! NG: a SIP proxy drives the relay by rtpengine's control protocol, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod rig;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use control_api::keys::Role;
use control_api::ng;
use control_api::ng::config::Peers;
use ng_protocol::{Message, Syntax, Value};
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
        let request = self.written(members);
        let reply = self.send(&request);
        let (asked, message) = (Message::split(&request).unwrap(), Message::split(&reply).unwrap());
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
            heard += usize::from(len == 172);
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

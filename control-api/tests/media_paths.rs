//! Media over real sockets: address families, NAT, codecs, and who is not let in.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod rig;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use control_api::keys::Role;
use dtmf::g711::Law;
use rig::{Rig, answer_port};
use serde_json::json;

const FRAME: Duration = Duration::from_millis(20);

/// Sends packets of one code each, `from` this number on, and returns what `ear` got of them.
fn pass(from: u16, law: Law, mouth: &UdpSocket, to: SocketAddr, ear: &UdpSocket) -> Vec<Vec<u8>> {
    ear.set_read_timeout(Some(FRAME)).unwrap();
    let mut heard = Vec::new();
    for number in from..from + 10 {
        let mut packet = vec![0x80, if law == Law::Mu { 0 } else { 8 }];
        packet.extend(number.to_be_bytes());
        packet.extend((u32::from(number) * 160).to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        packet.extend([law.encode(i16::try_from(number).unwrap() * 100); 160]);
        mouth.send_to(&packet, to).unwrap();
        let mut datagram = [0; 2048];
        if let Ok((len, _)) = ear.recv_from(&mut datagram) {
            heard.push(datagram[..len].to_vec());
        }
        std::thread::sleep(FRAME / 4);
    }
    heard
}

fn socket(address: &str) -> UdpSocket {
    UdpSocket::bind((address, 0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_caller_in_a_law_reaches_an_ipv4_engine_in_mu_law() {
    let rig = Rig::new("families");
    let (caller, engine) = (socket("::1"), socket("127.0.0.1"));
    let port = caller.local_addr().unwrap().port();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"
    );
    let engine_address = engine.local_addr().unwrap().to_string();
    let body =
        json!({ "caller": { "sdp": sdp }, "engine": { "type": "rtp", "address": engine_address } });
    let opened = rig.post(Role::Script, "/v1/calls", body).await.expect(201).json();
    let answer = opened["caller"]["sdp"].as_str().unwrap();
    assert!(answer.contains("c=IN IP6 ::1\r\n"), "{answer}");
    let ours = SocketAddr::new("::1".parse().unwrap(), answer_port(answer));
    let heard = pass(1, Law::A, &caller, ours, &engine);
    assert!(heard.len() >= 8, "{} of 10 packets came", heard.len());
    let expected = Law::Mu.encode(Law::A.decode(Law::A.encode(100)));
    assert_eq!((heard[0][1], heard[0][12]), (0, expected), "transcoded");

    let back: SocketAddr = opened["engine"]["address"].as_str().unwrap().parse().unwrap();
    let heard = pass(1, Law::Mu, &engine, back, &caller);
    assert!(heard.len() >= 8 && heard[0][1] == 8, "{} of 10 packets came back", heard.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_behind_nat_is_found_and_then_kept() {
    let rig = Rig::new("nat");
    let (behind_nat, engine, thief) =
        (socket("127.0.0.1"), socket("127.0.0.1"), socket("127.0.0.2"));
    // What the caller believes its address to be is not where its packets come from.
    let signalled = socket("127.0.0.1");
    let sdp = rig::offer(signalled.local_addr().unwrap().port());
    for nat in [false, true] {
        let engine_address = engine.local_addr().unwrap().to_string();
        let body = json!({
            "caller": { "sdp": sdp, "nat": nat },
            "engine": { "type": "rtp", "address": engine_address },
        });
        let opened = rig.post(Role::Script, "/v1/calls", body).await.expect(201).json();
        let port = answer_port(opened["caller"]["sdp"].as_str().unwrap());
        let ours = SocketAddr::from(([127, 0, 0, 1], port));
        let heard = pass(1, Law::Mu, &behind_nat, ours, &engine);
        if nat {
            assert!((5..=7).contains(&heard.len()), "found after a few packets: {}", heard.len());
            assert_eq!(pass(1, Law::Mu, &thief, ours, &engine).len(), 0, "and kept");
            assert!(pass(11, Law::Mu, &behind_nat, ours, &engine).len() >= 8);
        } else {
            assert_eq!(heard.len(), 0, "without the opt-in only the signalled address is heard");
        }
    }
}

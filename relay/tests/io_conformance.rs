//! The same behaviour of every way for media, between two network namespaces joined by a pair of
//! links. Needs root and iproute2, so it runs when asked for: `cargo test -- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod io_rig;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use io_rig::{FAR, NEAR, PORTS, Scene, apart, payload, port, rings_hold, spoof};
use relay::io::{IoMethod, MediaIo};
use relay::switchboard::limits::MAX_DATAGRAM;

/// Runs a test by every way, in a scene of its own.
macro_rules! by_every_way {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            #[ignore = "needs root"]
            fn sockets() {
                apart(IoMethod::Sockets, 1, |scene| super::$name(scene));
            }

            #[test]
            #[ignore = "needs root"]
            fn packet() {
                apart(IoMethod::Packet, 1, |scene| super::$name(scene));
            }

            #[test]
            #[ignore = "needs root"]
            fn xdp() {
                apart(IoMethod::Xdp, 1, |scene| super::$name(scene));
            }
        }
    )*};
}

by_every_way!(
    datagrams_come_whole_and_in_order,
    the_first_goes_by_the_kernel_and_the_rest_by_rings,
    what_is_too_long_is_told_as_empty,
    fragments_arrive,
    long_datagrams_are_sent,
    other_programs_keep_their_ports,
    a_released_port_is_free,
    a_bound_port_is_taken,
    a_waker_ends_a_wait,
    a_burst_arrives,
    a_forged_source_is_dropped,
    a_wrong_checksum_is_dropped,
    a_tagged_frame_is_not_taken,
    a_link_that_was_down_carries_again,
    a_neighbour_that_moved_is_followed,
    a_link_that_is_gone_harms_nobody,
);

fn datagrams_come_whole_and_in_order(scene: &mut Scene) {
    for v6 in [false, true] {
        let (far, ours) = (scene.far_socket(v6), scene.bind(v6, 0));
        for number in 0..50 {
            far.send_to(&payload(number, 172), ours).unwrap();
            let (from, octets) = scene.receive(ours.port()).unwrap();
            assert_eq!((from, octets), (far.local_addr().unwrap(), payload(number, 172)));
            assert!(scene.send(ours.port(), from, &payload(number, 60)));
        }
        for number in 0..50 {
            let (from, octets) = Scene::far_receive(&far).unwrap();
            assert_eq!((from, octets), (ours, payload(number, 60)));
        }
    }
}

fn the_first_goes_by_the_kernel_and_the_rest_by_rings(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    let peer = far.local_addr().unwrap();
    assert!(scene.send(ours.port(), peer, &payload(0, 172)));
    assert!(Scene::far_receive(&far).is_some());
    assert_eq!(scene.io.counts().sent_by_socket, 1);
    scene.meet(&far, ours);
    let before = scene.io.counts();
    for number in 0..50 {
        assert!(scene.send(ours.port(), peer, &payload(number, 172)));
        assert!(Scene::far_receive(&far).is_some());
        far.send_to(&payload(number, 172), ours).unwrap();
        assert!(scene.receive(ours.port()).is_some());
    }
    let after = scene.io.counts();
    let by_socket = after.received_by_socket - before.received_by_socket;
    let sent_by_socket = after.sent_by_socket - before.sent_by_socket;
    if scene.method == IoMethod::Sockets {
        assert_eq!((by_socket, sent_by_socket), (50, 50));
    } else {
        // One may go by the kernel so that it asks a neighbour whom it takes for stale.
        assert!(by_socket == 0 && sent_by_socket <= 2, "{after:?}");
        assert!(after.sent_by_ring - before.sent_by_ring >= 48, "{after:?}");
    }
}

fn what_is_too_long_is_told_as_empty(scene: &mut Scene) {
    for v6 in [false, true] {
        let (far, ours) = (scene.far_socket(v6), scene.bind(v6, 0));
        for length in [MAX_DATAGRAM + 1, 4000] {
            far.send_to(&payload(1, length), ours).unwrap();
            assert_eq!(scene.receive(ours.port()).map(|(_, octets)| octets), Some(Vec::new()));
        }
        far.send_to(&payload(2, 1400), ours).unwrap();
        assert_eq!(scene.receive(ours.port()).unwrap().1, payload(2, 1400));
        far.send_to(&[], ours).unwrap();
        assert_eq!(scene.receive(ours.port()).map(|(_, octets)| octets), Some(Vec::new()));
    }
}

fn fragments_arrive(scene: &mut Scene) {
    for v6 in [false, true] {
        let (far, ours) = (scene.far_socket(v6), scene.bind(v6, 0));
        // More than a frame of the link holds, and no longer than what is read.
        far.send_to(&payload(1, 1490), ours).unwrap();
        assert_eq!(scene.receive(ours.port()).unwrap().1, payload(1, 1490));
    }
}

fn long_datagrams_are_sent(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    assert!(scene.send(ours.port(), far.local_addr().unwrap(), &payload(1, 1490)));
    assert_eq!(Scene::far_receive(&far).unwrap().1, payload(1, 1490));
}

fn other_programs_keep_their_ports(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    let other = UdpSocket::bind((NEAR[0], port(7))).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    far.send_to(b"theirs", (NEAR[0], port(7))).unwrap();
    assert_eq!(Scene::far_receive(&other).unwrap().1, b"theirs");
    assert_eq!(scene.receive_for(Duration::from_millis(50)), None);
}

fn a_released_port_is_free(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    scene.release(0);
    let other = UdpSocket::bind(ours).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    far.send_to(b"theirs", ours).unwrap();
    assert_eq!(Scene::far_receive(&other).unwrap().1, b"theirs");
    drop(other);
    assert_eq!(scene.bind(false, 0), ours);
    scene.meet(&far, ours);
}

fn a_bound_port_is_taken(scene: &mut Scene) {
    let ours = scene.bind(false, 0);
    let rtcp = SocketAddr::new(ours.ip(), ours.port() + 1);
    assert!(UdpSocket::bind(ours).is_err() && UdpSocket::bind(rtcp).is_err());
    let again = scene.try_bind(false, 0);
    assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

fn a_waker_ends_a_wait(scene: &mut Scene) {
    let waker = scene.io.waker();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            waker.wake();
        });
        scene.io.wait(Some(Duration::from_secs(20))).unwrap();
    });
    assert_eq!(scene.receive_for(Duration::from_millis(10)), None);
}

fn a_burst_arrives(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    for round in 0..20 {
        for number in 0..100 {
            far.send_to(&payload(number, 172), ours).unwrap();
        }
        for number in 0..100 {
            let (from, octets) = scene.receive(ours.port()).unwrap();
            assert_eq!(octets, payload(number, 172), "round {round}");
            assert!(scene.send(ours.port(), from, &octets));
        }
        scene.io.flush();
        for number in 0..100 {
            assert_eq!(Scene::far_receive(&far).unwrap().1, payload(number, 172), "round {round}");
        }
    }
}

fn a_forged_source_is_dropped(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    let true_source = far.local_addr().unwrap();
    // What the same way of forging gets through with the true source, so that a drop means one.
    scene.spoof(true_source, ours, spoof::Fault::None);
    assert_eq!(scene.receive(ours.port()).map(|(from, _)| from), Some(true_source));
    for source in ["127.0.0.1", NEAR[0], "224.0.0.1", "0.0.0.0", "255.255.255.255"] {
        let source = SocketAddr::new(source.parse().unwrap(), 4000);
        scene.spoof(source, ours, spoof::Fault::None);
        assert_eq!(scene.receive_for(Duration::from_millis(30)), None, "{source}");
    }
}

fn a_wrong_checksum_is_dropped(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    let source = far.local_addr().unwrap();
    scene.spoof(source, ours, spoof::Fault::Checksum);
    assert_eq!(scene.receive_for(Duration::from_millis(30)), None);
}

fn a_tagged_frame_is_not_taken(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    scene.spoof(far.local_addr().unwrap(), ours, spoof::Fault::Tag);
    assert_eq!(scene.receive_for(Duration::from_millis(30)), None);
    scene.spoof(far.local_addr().unwrap(), ours, spoof::Fault::OtherMac);
    assert_eq!(scene.receive_for(Duration::from_millis(30)), None);
}

fn a_link_that_was_down_carries_again(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    scene.ip_near("link set near down");
    for number in 0..10 {
        // Whether it is taken or not, nothing comes of it.
        scene.send(ours.port(), far.local_addr().unwrap(), &payload(number, 172));
    }
    assert_eq!(scene.receive_for(Duration::from_millis(20)), None);
    scene.ip_near("link set near up");
    scene.meet(&far, ours);
}

fn a_link_that_is_gone_harms_nobody(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    scene.ip_near("link delete near");
    let before = scene.io.counts().wakes;
    for number in 0..10 {
        scene.send(ours.port(), far.local_addr().unwrap(), &payload(number, 172));
    }
    assert_eq!(scene.receive_for(Duration::from_millis(200)), None);
    let wakes = scene.io.counts().wakes - before;
    // Ten by hand, ten by the rig's own limit of 20 ms a wait.
    assert!(wakes < 60, "it sleeps, and is not woken by an error for ever: {wakes}");
    let again = scene.try_bind(false, 4);
    assert!(again.is_err(), "the address is gone too");
}

fn a_neighbour_that_moved_is_followed(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    scene.ip_far("link set far address 02:00:00:00:00:99");
    // The kernel learns of the new address as it would of any host's: by what it announces.
    scene.ip_near(&format!("neighbour replace {} lladdr 02:00:00:00:00:99 dev near", FAR[0]));
    std::thread::sleep(Duration::from_millis(50));
    for number in 0..10 {
        assert!(scene.send(ours.port(), far.local_addr().unwrap(), &payload(number, 172)));
        assert!(Scene::far_receive(&far).is_some(), "datagram {number}");
    }
}

#[test]
#[ignore = "needs root"]
fn two_workers_share_a_queue() {
    apart(IoMethod::Xdp, 2, two_workers);
}

#[test]
#[ignore = "needs root"]
fn two_workers_share_a_link() {
    apart(IoMethod::Packet, 2, two_workers);
}

fn two_workers(scene: &mut Scene) {
    let far = scene.far_socket(false);
    let ours: Vec<SocketAddr> = (0..2).map(|worker| scene.bind_at(worker, false, 0)).collect();
    for round in 0..200 {
        for (worker, ours) in ours.iter().enumerate() {
            far.send_to(&payload(round, 172), ours).unwrap();
            let (from, octets) = scene.receive_at(worker, ours.port()).unwrap();
            assert_eq!(octets, payload(round, 172));
            assert!(scene.send_at(worker, ours.port(), from, &octets));
            assert_eq!(Scene::far_receive(&far).unwrap().0, *ours);
        }
    }
    for worker in 0..2 {
        assert_eq!(scene.next(worker, Duration::from_millis(20)), None, "nothing comes twice");
    }
}

#[test]
#[ignore = "needs root"]
fn frames_of_xdp_are_wiped() {
    apart(IoMethod::Xdp, 1, frames_are_wiped);
}

#[test]
#[ignore = "needs root"]
fn frames_of_packet_are_wiped() {
    apart(IoMethod::Packet, 1, frames_are_wiped);
}

/// What was received and what was sent is in no ring afterwards; while it waits there it is found.
fn frames_are_wiped(scene: &mut Scene) {
    let (far, ours) = (scene.far_socket(false), scene.bind(false, 0));
    scene.meet(&far, ours);
    let heard: Vec<u8> = (0..172).map(|at| (at * 29 + 3) as u8).collect();
    far.send_to(&heard, ours).unwrap();
    assert!((0..100).any(|_| rings_hold(&heard)), "it waits in a ring");
    assert_eq!(scene.receive(ours.port()).unwrap().1, heard);
    assert!(!rings_hold(&heard));
    let said: Vec<u8> = (0..172).map(|at| (at * 31 + 5) as u8).collect();
    let before = scene.io.counts().sent_by_ring;
    assert!(scene.send(ours.port(), far.local_addr().unwrap(), &said));
    assert_eq!(scene.io.counts().sent_by_ring, before + 1);
    assert_eq!(Scene::far_receive(&far).unwrap().1, said);
    scene.io.flush();
    assert!(!rings_hold(&said));
}

/// What can't be had is an error that says why, and leaves nothing on the link.
#[test]
#[ignore = "needs root"]
fn a_second_relay_on_the_link_is_told() {
    apart(IoMethod::Xdp, 1, |scene| {
        let error = scene.open_again(IoMethod::Xdp).err().unwrap().to_string();
        assert!(error.starts_with("xdp: ") && !error.contains('\n'), "{error}");
        assert!(scene.open_again(IoMethod::Auto).is_ok(), "auto takes the next best");
    });
}

#[test]
#[ignore = "needs root"]
fn loopback_carries_frames_by_xdp() {
    apart(IoMethod::Xdp, 1, loopback_carries_frames);
}

#[test]
#[ignore = "needs root"]
fn loopback_carries_frames_by_packet() {
    apart(IoMethod::Packet, 1, loopback_carries_frames);
}

fn loopback_carries_frames(scene: &mut Scene) {
    for v6 in [false, true] {
        let ours = scene.bind(v6, 0);
        let own: IpAddr = NEAR[usize::from(v6)].parse().unwrap();
        let local = UdpSocket::bind((own, 0)).unwrap();
        local.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        if v6 {
            scene.meet(&local, ours);
        }
        let before = scene.io.counts();
        for number in 0..20 {
            local.send_to(&payload(number, 172), ours).unwrap();
            let (from, octets) = scene.receive(ours.port()).unwrap();
            assert_eq!(octets, payload(number, 172));
            assert!(scene.send(ours.port(), from, &octets));
            assert_eq!(Scene::far_receive(&local).unwrap(), (ours, octets));
        }
        let counts = scene.io.counts();
        assert_eq!(counts.received_by_ring - before.received_by_ring, 20, "{counts:?}");
        // IPv4 takes frames from itself for forged ones, so that these go by the kernel.
        let by_ring = counts.sent_by_ring - before.sent_by_ring;
        assert_eq!(by_ring > 10, v6, "{counts:?}");
    }
}

/// The ports of the tests lie where nothing else is bound.
#[test]
fn ports_are_a_slice() {
    assert!(PORTS.contains(&port(0)) && PORTS.contains(&port(7)));
}

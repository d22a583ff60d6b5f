//! Frames that no socket sends.

use std::net::SocketAddr;
use std::time::Duration;

use packet_ring::{XdpSizes, XdpSocket};
use relay::wire::udp::{Envelope, Macs};
use rustix::net::{AddressFamily, SocketType};

/// What is wrong with a frame, besides perhaps its source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The UDP checksum.
    Checksum,
    /// It belongs to a virtual network (IEEE 802.1Q, number 5).
    Tag,
    /// It is for another host on the link.
    OtherMac,
}

const SIZES: XdpSizes = XdpSizes { frames: 64, places: 64 };

/// Sends a frame by the link `far` of this namespace.
pub fn send([far, near]: [[u8; 6]; 2], from: SocketAddr, to: SocketAddr, fault: Fault) {
    let envelope = Envelope::new(&Macs { from: far, to: near }, from, to).unwrap();
    let mut frame = vec![0; envelope.frame_length(172)];
    envelope.write(&mut frame, &[0x80; 172]);
    match fault {
        Fault::None => {}
        Fault::Checksum => frame[40] ^= 0x55,
        Fault::Tag => drop(frame.splice(12..12, [0x81, 0x00, 0, 5])),
        Fault::OtherMac => frame[5] ^= 0x55,
    }
    let any = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    let index = rustix::net::netdevice::name_to_index(&any, "far").unwrap();
    // The kernel takes a moment to let go of the queue that the last one was on.
    let mut sockets = std::iter::repeat_with(|| {
        std::thread::sleep(Duration::from_millis(2));
        XdpSocket::open(index, 0, 1, SIZES)
    });
    let mut socket = sockets.find_map(Result::ok).unwrap().remove(0);
    assert!(socket.send(frame.len(), |room| room.copy_from_slice(&frame)));
    socket.flush();
}

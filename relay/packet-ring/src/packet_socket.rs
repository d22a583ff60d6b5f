//! PacketSocket: one worker's AF_PACKET ring on an interface (`Documentation/networking/
//! packet_mmap.rst`, version 2: a frame is there at once, where version 3 gathers blocks of them).
//!
//! Only receiving is by ring. A ring to send by hands the device its own pages, and between two
//! namespaces says that a frame has left while the receiver still reads it: frames are sent many by
//! one call instead, and copied by it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;
use libc::{
    ETH_P_ALL, PACKET_RX_RING, PACKET_VERSION, SOL_PACKET, sockaddr_ll, tpacket_req, tpacket2_hdr,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, sendmmsg,
    socket_with, sockopt,
};

use crate::mapping::Mapping;
use crate::packet_filter::{Wanted, attach_to_ring, set_option};
use crate::{FRAME_BYTES, LONGEST_FRAME};

/// `TPACKET_V2` of `linux/if_packet.h`.
const VERSION_2: i32 = 1;
/// Options that `libc` does not name.
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_IGNORE_OUTGOING: i32 = 23;
/// Octets that the kernel allocates in one piece.
const BLOCK_BYTES: usize = 64 << 10;
/// Frames that leave by one call.
const BATCH: usize = 64;

/// Status of a frame: whose it is, and what is known of its checksum.
const TO_KERNEL: u32 = 0;
const TO_USER: u32 = 1;
/// The checksum is left to a device that does not exist.
const CHECKSUM_UNFINISHED: u32 = 1 << 3;
const CHECKSUM_GOOD: u32 = 1 << 7;

/// One worker's ring on an interface.
pub struct PacketSocket {
    socket: OwnedFd,
    ring: Mapping,
    frames: usize,
    /// The frame to be read next.
    next: usize,
    outgoing: Box<[[u8; LONGEST_FRAME]; BATCH]>,
    lengths: Vec<usize>,
}

impl PacketSocket {
    /// A ring of `frames` frames on an interface, for what is wanted.
    ///
    /// # Errors
    /// Those of the kernel: `EPERM` without `CAP_NET_RAW`.
    pub fn open(interface: u32, frames: u32, wanted: &Wanted) -> io::Result<PacketSocket> {
        // Without a protocol nothing comes before the filter is in place.
        let socket =
            socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        set_option(&socket, SOL_PACKET, PACKET_VERSION, &VERSION_2)?;
        set_option(&socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
        set_option(&socket, SOL_PACKET, PACKET_QDISC_BYPASS, &1_i32)?;
        attach_to_ring(&socket, wanted)?;
        let length = frames as usize * FRAME_BYTES;
        let request = tpacket_req {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: length.div_ceil(BLOCK_BYTES) as u32,
            tp_frame_size: FRAME_BYTES as u32,
            tp_frame_nr: (length.div_ceil(BLOCK_BYTES) * BLOCK_BYTES / FRAME_BYTES) as u32,
        };
        set_option(&socket, SOL_PACKET, PACKET_RX_RING, &request)?;
        let frames = request.tp_frame_nr as usize;
        let ring = Mapping::of(socket.as_fd(), frames * FRAME_BYTES, 0)?;
        bind_to(&socket, interface)?;
        let outgoing = Box::new([[0; LONGEST_FRAME]; BATCH]);
        let lengths = Vec::with_capacity(BATCH);
        Ok(PacketSocket { socket, ring, frames, next: 0, outgoing, lengths })
    }

    fn status(&self) -> &AtomicU32 {
        let place = self.ring.place::<AtomicU32>(self.next * FRAME_BYTES, 1);
        // SAFETY: `place` has checked bounds and alignment, the ring lives as long as `self`, and
        // both sides touch a status by whole words.
        unsafe { &*place }
    }

    /// Whether a frame waits to be read.
    pub fn has_received(&self) -> bool {
        self.status().load(Ordering::Acquire) & TO_USER != 0
    }

    /// Hands the next frame to `read`, and whether its checksum needs no look; then wipes it.
    pub fn receive<R>(&mut self, read: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        let status = self.status().load(Ordering::Acquire);
        if status & TO_USER == 0 {
            return None;
        }
        let start = self.next * FRAME_BYTES;
        let header = self.ring.place::<tpacket2_hdr>(start, 1);
        // SAFETY: the status says that the frame is ours, and its header is plain numbers.
        let header = unsafe { header.read() };
        let (first, length) = (usize::from(header.tp_mac), header.tp_snaplen as usize);
        assert!(first + length <= FRAME_BYTES, "within one frame");
        let octets = self.ring.place::<u8>(start + first, length);
        // SAFETY: the octets lie in the ring, and are ours until the status is given back below.
        let octets = unsafe { std::slice::from_raw_parts_mut(octets, length) };
        let is_checked = status & (CHECKSUM_GOOD | CHECKSUM_UNFINISHED) != 0;
        let result = read(octets, is_checked);
        octets.fill(0);
        self.status().store(TO_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.frames;
        Some(result)
    }

    /// Has `write` make a frame of `length` octets, which leaves with the next flush or when there
    /// are many. False, and nothing written, if it is too long.
    pub fn send(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> bool {
        if length > LONGEST_FRAME {
            return false;
        }
        if self.lengths.len() == BATCH {
            self.flush();
        }
        write(&mut self.outgoing[self.lengths.len()][..length]);
        self.lengths.push(length);
        true
    }

    /// Sends what was written, and wipes it. What the device does not take is lost, as on a wire.
    pub fn flush(&mut self) {
        if self.lengths.is_empty() {
            return;
        }
        self.send_all();
        for (frame, length) in self.outgoing.iter_mut().zip(self.lengths.drain(..)) {
            frame[..length].fill(0);
        }
    }

    fn send_all(&self) {
        let frames = self.outgoing.iter().zip(&self.lengths);
        let slices: ArrayVec<[IoSlice<'_>; 1], BATCH> =
            frames.map(|(frame, length)| [IoSlice::new(&frame[..*length])]).collect();
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let messages = slices.iter().zip(&mut controls);
        let mut messages: ArrayVec<MMsgHdr<'_>, BATCH> =
            messages.map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
        let mut left = &mut messages[..];
        while !left.is_empty() {
            match sendmmsg(&self.socket, left, SendFlags::DONTWAIT) {
                Ok(sent) => left = &mut left[sent..],
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }

    /// Takes note of an error that would make every poll end at once: the interface went down.
    pub fn take_error(&self) {
        // There is none any more once it was read, whatever it was.
        let _ = sockopt::socket_error(&self.socket);
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind_to(socket: &OwnedFd, interface: u32) -> io::Result<()> {
    let address = sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (ETH_P_ALL as u16).to_be(),
        sll_ifindex: interface as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed, and the address is of the length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

//! XdpQueue: the frames of one receive queue of an interface, and the two rings by which they change
//! hands. All workers' sockets on the queue share it.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::net::sockopt;
use rustix::net::xdp::{
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpMmapOffsets, XdpUmemReg,
    XdpUmemRegFlags,
};

use crate::FRAME_BYTES;
use crate::mapping::Mapping;
use crate::ring::{Consumer, Producer};

/// Where the length of what is being sent is noted in a frame: behind all that is ever sent, and not
/// looked at by the kernel.
const LENGTH_AT: usize = FRAME_BYTES - size_of::<u16>();

/// One frame, and with it the sole right to touch it. It is with the kernel, in a list of free ones,
/// or in one socket's hands.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Frame(usize);

impl Frame {
    /// The frame that a descriptor's address lies in.
    pub(crate) fn around(address: u64) -> Frame {
        Frame(address as usize / FRAME_BYTES * FRAME_BYTES)
    }

    /// Its first octet, counted from the beginning of the memory, as descriptors do.
    pub(crate) fn address(&self) -> u64 {
        self.0 as u64
    }
}

/// The memory and its two rings.
pub(crate) struct XdpQueue {
    memory: Mapping,
    pool: Mutex<Pool>,
    /// Frames that were handed to the kernel to be sent and have not come back.
    sending: AtomicUsize,
}

/// What the sockets of a queue take turns with, once a batch.
pub(crate) struct Pool {
    /// Frames for the kernel to receive into.
    fill: Producer<u64>,
    /// Frames that the kernel has sent.
    sent: Consumer<u64>,
    /// Frames to send with.
    free: Vec<Frame>,
}

impl XdpQueue {
    /// Memory for `frames` frames to receive and as many to send, registered with `socket`.
    pub(crate) fn register(socket: BorrowedFd<'_>, frames: u32) -> io::Result<Unmapped> {
        let memory = Mapping::anonymous(2 * frames as usize * FRAME_BYTES)?;
        let region = XdpUmemReg {
            addr: memory.address(),
            len: memory.length() as u64,
            chunk_size: FRAME_BYTES as u32,
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        sockopt::set_xdp_umem_reg(socket, region)?;
        sockopt::set_xdp_umem_fill_ring_size(socket, frames)?;
        sockopt::set_xdp_umem_completion_ring_size(socket, frames)?;
        Ok(Unmapped { memory, frames })
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        // What a panic may have left half done are frames that are lost: no reason to stop too.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a frame is about to be sent.
    pub(crate) fn count_sending(&self) {
        self.sending.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether frames that were sent may have come back.
    pub(crate) fn is_sending(&self) -> bool {
        self.sending.load(Ordering::Relaxed) > 0
    }

    /// The octets of a frame in `range`.
    pub(crate) fn octets<'a>(&'a self, frame: &'a mut Frame, range: Range<usize>) -> &'a mut [u8] {
        assert!(range.start <= range.end && range.end <= FRAME_BYTES, "within one frame");
        let place = self.memory.place::<u8>(frame.0 + range.start, range.len());
        // SAFETY: `place` lies in the memory, which lives as long as `self`; `&mut Frame` is the one
        // right to touch these octets, which the kernel has handed over with the frame.
        unsafe { std::slice::from_raw_parts_mut(place, range.len()) }
    }

    /// Notes how much of a frame is about to be sent, for the one who wipes it afterwards.
    pub(crate) fn note_length(&self, frame: &mut Frame, length: u16) {
        self.octets(frame, LENGTH_AT..FRAME_BYTES).copy_from_slice(&length.to_ne_bytes());
    }

    fn wipe_sent(&self, frame: &mut Frame) {
        let note = self.octets(frame, LENGTH_AT..FRAME_BYTES);
        let length = usize::from(u16::from_ne_bytes([note[0], note[1]]));
        self.octets(frame, 0..length.min(LENGTH_AT)).fill(0);
    }
}

impl Pool {
    /// Gives frames that were read back to the kernel.
    pub(crate) fn refill(&mut self, spent: &mut Vec<Frame>) {
        for frame in spent.drain(..) {
            // There is a place for each frame that receives.
            self.fill.push(frame.address());
        }
        self.fill.publish();
    }

    /// Takes back what was sent, wiped.
    pub(crate) fn reap(&mut self, queue: &XdpQueue) {
        while let Some(address) = self.sent.pop() {
            let mut frame = Frame::around(address);
            queue.wipe_sent(&mut frame);
            queue.sending.fetch_sub(1, Ordering::Relaxed);
            self.free.push(frame);
        }
        self.sent.release();
    }

    /// Moves up to `most` free frames.
    pub(crate) fn take(&mut self, spare: &mut Vec<Frame>, most: usize) {
        let left = self.free.len().saturating_sub(most);
        spare.extend(self.free.drain(left..));
    }
}

/// Memory that is registered, but whose rings are not mapped yet.
pub(crate) struct Unmapped {
    memory: Mapping,
    frames: u32,
}

impl Unmapped {
    /// Maps the rings and hands the kernel all frames that receive.
    pub(crate) fn map(
        self,
        socket: BorrowedFd<'_>,
        offsets: &XdpMmapOffsets,
    ) -> io::Result<XdpQueue> {
        let Unmapped { memory, frames } = self;
        let fill = Producer::map(socket, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, frames)?;
        let sent = Consumer::map(socket, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, frames)?;
        let frame = |number: u32| Frame(number as usize * FRAME_BYTES);
        let mut pool = Pool { fill, sent, free: (frames..2 * frames).map(frame).collect() };
        pool.refill(&mut (0..frames).map(frame).collect());
        Ok(XdpQueue { memory, pool: Mutex::new(pool), sending: AtomicUsize::new(0) })
    }
}

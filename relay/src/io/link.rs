//! Link: the wire of a leg whose peer is not on the network but in this process, behind a socket of
//! another kind (WebSocket, AudioSocket).
//!
//! It carries RTP datagrams, as any leg's wire does: so such a leg is gated, routed, counted and cut
//! like all others, and there is one way for audio. Frames are allocated when the link is made and
//! then go round; each is wiped once it was read.
//!
//! What has left the relay may not have left the process. So a flip empties the link and is in force
//! only when the far end holds nothing from before ([`CutLine`]).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;
use zeroize::Zeroize;

use super::media_io::Received;
use super::waker::Waker;
use crate::switchboard::limits::{LINK_DATAGRAM, LINK_FRAMES, LINK_SETTLE};
use crate::switchboard::{LocalPort, PortPair, PortPool};

/// Where a link's peer is, for what needs an address: nowhere that a packet could come from.
pub const LINK_PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The epoch of a link whose far end is gone: nothing of any is left.
const GONE: u64 = u64::MAX;

/// One datagram, wiped when it goes back.
struct Frame {
    len: usize,
    octets: [u8; LINK_DATAGRAM],
}

impl Frame {
    fn datagram(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    fn wipe(&mut self) {
        self.octets[..self.len].zeroize();
        self.len = 0;
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// One direction: frames that wait, and frames that are free.
struct Lane {
    free: ArrayQueue<Box<Frame>>,
    full: ArrayQueue<Box<Frame>>,
}

impl Lane {
    fn new() -> Lane {
        let (free, full) = (ArrayQueue::new(LINK_FRAMES), ArrayQueue::new(LINK_FRAMES));
        for _ in 0..LINK_FRAMES {
            let _ = free.push(Box::new(Frame { len: 0, octets: [0; LINK_DATAGRAM] }));
        }
        Lane { free, full }
    }

    /// False if there is no room: voice is not queued for later.
    fn push(&self, datagram: &[u8]) -> bool {
        if datagram.len() > LINK_DATAGRAM {
            return false;
        }
        let Some(mut frame) = self.free.pop() else { return false };
        frame.octets[..datagram.len()].copy_from_slice(datagram);
        frame.len = datagram.len();
        self.full.push(frame).is_ok()
    }

    fn give_back(&self, mut frame: Box<Frame>) {
        frame.wipe();
        // There are as many places as frames.
        let _ = self.free.push(frame);
    }

    fn purge(&self) {
        // Bounded: the other end takes frames out too, and puts none in.
        for _ in 0..LINK_FRAMES {
            let Some(frame) = self.full.pop() else { return };
            self.give_back(frame);
        }
    }
}

struct Shared {
    outward: Lane,
    inward: Lane,
    /// How often the link was cut.
    epoch: AtomicU64,
    /// The epoch before which the far end holds nothing any more.
    settled: AtomicU64,
    /// The far end has to let go at once.
    broken: AtomicBool,
    /// The call is over.
    over: AtomicBool,
    far: Notify,
    settling: Notify,
}

/// The worker's end before a worker has it.
pub struct NearEnd {
    shared: Arc<Shared>,
    door: Arc<Door>,
}

/// How the far end reaches a worker that has the near end.
struct Door {
    place: std::sync::OnceLock<Place>,
    /// The worker knows that something waits.
    told: AtomicBool,
}

struct Place {
    port: LocalPort,
    ready: Arc<ArrayQueue<LocalPort>>,
    waker: Waker,
}

/// The end of whoever speaks to the peer.
pub struct Link {
    shared: Arc<Shared>,
    door: Arc<Door>,
    held: Option<Box<Frame>>,
}

/// A new link.
#[must_use]
pub fn link() -> (NearEnd, Link) {
    let shared = Arc::new(Shared {
        outward: Lane::new(),
        inward: Lane::new(),
        epoch: AtomicU64::new(0),
        settled: AtomicU64::new(0),
        broken: AtomicBool::new(false),
        over: AtomicBool::new(false),
        far: Notify::new(),
        settling: Notify::new(),
    });
    let door = Arc::new(Door { place: std::sync::OnceLock::new(), told: AtomicBool::new(false) });
    let near = NearEnd { shared: Arc::clone(&shared), door: Arc::clone(&door) };
    (near, Link { shared, door, held: None })
}

impl Link {
    /// The next datagram for the peer; `None` once the call is over, or the link has to be let go.
    ///
    /// To ask for the next is to say that the one before has wholly left the process, or never will.
    /// Nothing is lost if this is dropped while it waits.
    pub async fn receive(&mut self) -> Option<&[u8]> {
        self.let_go();
        loop {
            if self.is_broken() {
                return None;
            }
            self.settle();
            if let Some(frame) = self.shared.outward.full.pop() {
                return Some(self.held.insert(frame).datagram());
            }
            if self.shared.over.load(Ordering::SeqCst) {
                return None;
            }
            self.shared.far.notified().await;
        }
    }

    /// Waits until a flip can't wait any longer for what is being sent: the connection must be
    /// dropped then.
    pub async fn broken(&self) {
        while !self.is_broken() {
            self.shared.far.notified().await;
        }
        // Whoever receives is told as well.
        self.shared.far.notify_one();
    }

    /// Hands a datagram of the peer to the worker; false if it has no room, or no call any more.
    pub fn send(&self, datagram: &[u8]) -> bool {
        let Some(place) = self.door.place.get() else { return false };
        if self.shared.over.load(Ordering::SeqCst) || !self.shared.inward.push(datagram) {
            return false;
        }
        if !self.door.told.swap(true, Ordering::SeqCst) {
            // There is a place for each link; were there none, the next datagram would try again.
            if place.ready.push(place.port).is_err() {
                self.door.told.store(false, Ordering::SeqCst);
            }
            place.waker.wake();
        }
        true
    }

    /// Waits until the call is over, without a connection: what comes is lost, since there is nobody
    /// to have it, and a flip waits for nothing.
    pub async fn wait_for_end(&mut self) {
        self.let_go();
        while !self.is_over() {
            self.settle();
            self.shared.outward.purge();
            self.shared.far.notified().await;
        }
    }

    /// A new connection has nothing from before any flip: what the last one could not let go of is
    /// no business of it.
    pub fn renew(&mut self) {
        self.let_go();
        self.shared.broken.store(false, Ordering::SeqCst);
    }

    /// Whether the call is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::SeqCst)
    }

    fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::SeqCst)
    }

    fn let_go(&mut self) {
        if let Some(frame) = self.held.take() {
            self.shared.outward.give_back(frame);
        }
    }

    fn settle(&self) {
        let epoch = self.shared.epoch.load(Ordering::SeqCst);
        if self.shared.settled.swap(epoch, Ordering::SeqCst) != epoch {
            self.shared.settling.notify_one();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.let_go();
        self.shared.settled.store(GONE, Ordering::SeqCst);
        self.shared.settling.notify_one();
    }
}

/// A flip of a linked call that may not be in force yet.
pub(super) struct CutLine {
    shared: Arc<Shared>,
    epoch: u64,
}

impl CutLine {
    /// Waits until the far end holds nothing from before the flip. One that can't get rid of it in
    /// time loses its connection.
    ///
    /// # Errors
    /// If it does not even let go of that.
    pub(super) async fn in_force(self) -> Result<(), NotSettled> {
        if tokio::time::timeout(LINK_SETTLE, self.settled()).await.is_ok() {
            return Ok(());
        }
        if self.shared.settled.load(Ordering::SeqCst) >= self.epoch {
            return Ok(());
        }
        self.shared.broken.store(true, Ordering::SeqCst);
        // Both may wait: who sends, and who receives.
        self.shared.far.notify_waiters();
        self.shared.far.notify_one();
        tokio::time::timeout(LINK_SETTLE, self.settled()).await.map_err(|_| NotSettled)
    }

    async fn settled(&self) {
        while self.shared.settled.load(Ordering::SeqCst) < self.epoch {
            self.shared.settling.notified().await;
        }
    }
}

/// The far end of a link did not let go of what it had.
pub(super) struct NotSettled;

/// The near ends of one worker. They have port numbers as other legs have, outside the range of the
/// network's.
pub(super) struct Links {
    first: u16,
    pool: PortPool,
    ends: Vec<Option<NearEnd>>,
    ready: Arc<ArrayQueue<LocalPort>>,
    waker: Waker,
}

impl Links {
    pub(super) fn new(ports: RangeInclusive<u16>, waker: Waker) -> Links {
        let pairs = ports.clone().count() / 2;
        Links {
            first: *ports.start(),
            ends: (0..pairs).map(|_| None).collect(),
            ready: Arc::new(ArrayQueue::new(pairs.max(1))),
            pool: PortPool::new(ports, 0),
            waker,
        }
    }

    /// Takes a link in; its ports are numbers alone. `None` if there are as many as there may be.
    pub(super) fn bind(&mut self, now: Instant, end: NearEnd) -> Option<PortPair> {
        let pair = self.pool.take(now)?;
        let place =
            Place { port: pair.rtp(), ready: Arc::clone(&self.ready), waker: self.waker.clone() };
        let is_new = end.door.place.set(place).is_ok();
        assert!(is_new, "a link is bound once");
        let slot = self.slot(pair.rtp()).expect("the pool has ports of the range alone");
        self.ends[slot] = Some(end);
        Some(pair)
    }

    /// Ends a link, if the pair is one's.
    pub(super) fn release(&mut self, now: Instant, pair: PortPair) -> bool {
        let Some(slot) = self.slot(pair.rtp()) else { return false };
        if let Some(end) = self.ends[slot].take() {
            end.shared.over.store(true, Ordering::SeqCst);
            end.shared.far.notify_one();
        }
        self.pool.give_back(now, pair);
        true
    }

    /// Whether a port is a link's.
    pub(super) fn has(&self, port: LocalPort) -> bool {
        self.slot(port).is_some()
    }

    /// Sends a datagram; `None` if the port is no link's, false if it was not taken. Reports on
    /// reception end here: the other end has no use for them.
    pub(super) fn send(&self, port: LocalPort, datagram: &[u8]) -> Option<bool> {
        let slot = self.slot(port)?;
        let Some(NearEnd { shared, .. }) = &self.ends[slot] else { return Some(false) };
        if !port.0.is_multiple_of(2) {
            return Some(true);
        }
        let is_taken = shared.outward.push(datagram);
        shared.far.notify_one();
        Some(is_taken)
    }

    /// Reads the next datagram that a far end has handed in.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<Received> {
        while let Some(port) = self.ready.pop() {
            let Some(NearEnd { shared, door }) =
                self.slot(port).and_then(|slot| self.ends[slot].as_ref())
            else {
                continue;
            };
            door.told.store(false, Ordering::SeqCst);
            let Some(frame) = shared.inward.full.pop() else { continue };
            let len = frame.len;
            buffer[..len].copy_from_slice(frame.datagram());
            shared.inward.give_back(frame);
            if !shared.inward.full.is_empty() && !door.told.swap(true, Ordering::SeqCst) {
                // Behind the others: no link keeps them waiting.
                let _ = self.ready.push(port);
            }
            return Some(Received { port, from: LINK_PEER, len });
        }
        None
    }

    /// Whether something waits that no wake-up will tell of.
    pub(super) fn is_waiting(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Has the worker look again before it sleeps.
    pub(super) fn wake_again(&self) {
        self.waker.wake();
    }

    /// Empties the link of a leg that was cut; `None` if it has none.
    pub(super) fn cut(&self, pair: PortPair) -> Option<CutLine> {
        let NearEnd { shared, .. } = self.ends[self.slot(pair.rtp())?].as_ref()?;
        // In this order: whoever sees the new epoch finds nothing of the old one.
        shared.outward.purge();
        let epoch = shared.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        shared.far.notify_one();
        Some(CutLine { shared: Arc::clone(shared), epoch })
    }

    fn slot(&self, port: LocalPort) -> Option<usize> {
        let slot = usize::from(port.0.checked_sub(self.first)?) / 2;
        (slot < self.ends.len()).then_some(slot)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for end in self.ends.iter().flatten() {
            end.shared.over.store(true, Ordering::SeqCst);
            end.shared.far.notify_one();
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::time::{Duration, Instant};

    use super::{CutLine, LINK_PEER, Link, Links, link};
    use crate::io::waker::Waker;
    use crate::switchboard::PortPair;
    use crate::switchboard::limits::{LINK_DATAGRAM, LINK_FRAMES, LINK_SETTLE};

    /// A worker's end and the other one.
    fn linked() -> (Links, PortPair, Link) {
        let mut links = Links::new(0..=7, Waker::new().unwrap());
        let (near, far) = link();
        let pair = links.bind(Instant::now(), near).unwrap();
        (links, pair, far)
    }

    async fn is_in_force(line: &CutLine) -> bool {
        tokio::time::timeout(Duration::from_millis(20), line.settled()).await.is_ok()
    }

    #[tokio::test]
    async fn datagrams_go_both_ways_and_there_is_a_bound_to_them() {
        let (mut links, pair, mut far) = linked();
        assert_eq!(links.send(pair.rtp(), b"out"), Some(true));
        assert_eq!(links.send(pair.rtcp(), b"a report"), Some(true));
        assert_eq!(links.send(crate::switchboard::LocalPort(9), b"no link"), None);
        assert_eq!(far.receive().await.unwrap(), b"out");
        let mut buffer = [0; LINK_DATAGRAM];
        assert!(far.send(b"in") && links.is_waiting());
        let received = links.receive(&mut buffer).unwrap();
        assert_eq!((received.port, received.from, received.len), (pair.rtp(), LINK_PEER, 2));
        assert!(links.receive(&mut buffer).is_none() && !links.is_waiting());
        let room = (0..LINK_FRAMES + 3).filter(|_| far.send(b"flood")).count();
        assert_eq!(room, LINK_FRAMES);
        assert!(!far.send(&[0; LINK_DATAGRAM + 1]));
        let room = (0..LINK_FRAMES + 3).filter(|_| links.send(pair.rtp(), b"") == Some(true));
        // One is still in the far end's hand.
        assert_eq!(room.count(), LINK_FRAMES - 1);
    }

    #[tokio::test]
    async fn a_cut_takes_back_what_waits_and_waits_for_what_is_in_hand() {
        let (links, pair, mut far) = linked();
        for datagram in [b"1", b"2", b"3"] {
            links.send(pair.rtp(), datagram);
        }
        assert_eq!(far.receive().await.unwrap(), b"1");
        let line = links.cut(pair).unwrap();
        assert!(!is_in_force(&line).await, "the first is in hand");
        links.send(pair.rtp(), b"after");
        assert_eq!(far.receive().await.unwrap(), b"after");
        assert!(is_in_force(&line).await);
        // The control: without a cut what waits comes.
        links.send(pair.rtp(), b"2");
        assert_eq!(far.receive().await.unwrap(), b"2");
    }

    #[tokio::test]
    async fn who_holds_nothing_is_asked_and_answers_at_once() {
        let (links, pair, mut far) = linked();
        let asking = tokio::spawn(async move { far.receive().await.map(<[u8]>::to_owned) });
        tokio::task::yield_now().await;
        let line = links.cut(pair).unwrap();
        assert!(line.in_force().await.is_ok());
        links.send(pair.rtp(), b"after");
        assert_eq!(asking.await.unwrap().unwrap(), b"after");
    }

    #[tokio::test]
    async fn who_does_not_let_go_is_told_to_and_a_cut_without_that_is_not_in_force() {
        let (links, pair, mut far) = linked();
        links.send(pair.rtp(), b"before");
        assert_eq!(far.receive().await.unwrap(), b"before");
        let line = links.cut(pair).unwrap();
        let sending = tokio::spawn(async move {
            far.broken().await;
            drop(far);
        });
        assert!(line.in_force().await.is_ok(), "its connection is gone");
        sending.await.unwrap();

        let (links, pair, mut far) = linked();
        links.send(pair.rtp(), b"before");
        assert_eq!(far.receive().await.unwrap(), b"before");
        let line = links.cut(pair).unwrap();
        assert!(line.in_force().await.is_err(), "it still has it");
        assert!(far.receive().await.is_none(), "and gets nothing more");
    }

    #[tokio::test]
    async fn a_call_that_is_over_ends_both_ends() {
        let (mut links, pair, mut far) = linked();
        links.send(pair.rtp(), b"last");
        assert!(links.release(Instant::now(), pair));
        assert_eq!(far.receive().await.unwrap(), b"last");
        assert!(far.receive().await.is_none() && far.is_over() && !far.send(b"late"));
        assert!(links.cut(pair).is_none());
        assert!(LINK_SETTLE < Duration::from_secs(1));
    }
}

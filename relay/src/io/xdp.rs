//! Opening AF_XDP: rings on every link that carries media, and the program that steers to them.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use packet_ring::{MAX_QUEUES, Ours, Steer, XdpSizes, XdpSocket};

use super::clock::Clock;
use super::frame_socket::XdpSteering;
use super::media_links::find_links;
use super::rings::{LinkRings, Rings, assemble};
use super::ways::IoWish;
use crate::wire::netlink::Link;

/// Places in a worker's ring: 40 ms of 100,000 packets a second, which a stalled machine may take
/// to get back to it.
const PLACES: u32 = 4096;
/// Frames to receive into on all queues of a link together, where they are few.
const FRAMES: u32 = 8192;
/// Fewest frames of a queue.
const MIN_FRAMES: u32 = 1024;

/// Attempts, and the time between them, to open a queue that is in use: half a second in all, since
/// a restart may find the one before it still there.
const BUSY_ATTEMPTS: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Media by AF_XDP, of one worker.
pub type XdpRings = Rings<XdpSocket, XdpSteering>;

/// Why rings are not to be had, in one line.
pub(super) type Unavailable = String;

/// The rings of all workers, each for its slice of the ports, and the thread that finds peers.
pub(super) fn open(
    wish: &IoWish,
    slices: &[RangeInclusive<u16>],
    clock: &Clock,
) -> Result<(Vec<XdpRings>, JoinHandle<()>), Unavailable> {
    let links = find_links(wish)?;
    let mut programs = Vec::new();
    let mut rings: Vec<Vec<LinkRings<XdpSocket>>> = slices.iter().map(|_| Vec::new()).collect();
    for link in &links {
        let (program, by_worker) = open_link(link, wish, slices.len())
            .map_err(|reason| format!("{}: {reason}", link.name))?;
        programs.push(program);
        for (rings, sockets) in rings.iter_mut().zip(by_worker) {
            let (link, is_loopback) = (link.index, link.is_loopback);
            rings.push(LinkRings { link, is_loopback, sockets });
        }
    }
    let programs = Arc::new(Mutex::new(programs));
    assemble(rings, slices, clock, |worker| XdpSteering {
        programs: Arc::clone(&programs),
        worker: worker as u32,
    })
}

/// The program on a link, and for each worker a socket on each queue.
fn open_link(
    link: &Link,
    wish: &IoWish,
    workers: usize,
) -> Result<(Steer, Vec<Vec<XdpSocket>>), Unavailable> {
    let queues = open_queues(link, workers)?;
    let ours = Ours { mac: link.mac, v4: wish.v4, v6: wish.v6 };
    let mut program = Steer::load(ours, queues.len() as u32, workers as u32)
        .map_err(|error| error.to_string())?;
    let mut by_worker: Vec<Vec<XdpSocket>> = (0..workers).map(|_| Vec::new()).collect();
    for (queue, sockets) in queues.into_iter().enumerate() {
        for (worker, socket) in sockets.into_iter().enumerate() {
            program
                .set_socket(queue as u32, worker as u32, &socket)
                .map_err(|error| error.to_string())?;
            by_worker[worker].push(socket);
        }
    }
    program.attach(link.index).map_err(|error| error.to_string())?;
    Ok((program, by_worker))
}

fn open_queues(link: &Link, workers: usize) -> Result<Vec<Vec<XdpSocket>>, Unavailable> {
    let frames = (FRAMES / link.queues.max(1)).next_power_of_two().clamp(MIN_FRAMES, PLACES);
    let sizes = XdpSizes { frames, places: PLACES };
    let mut queues = Vec::new();
    for queue in 0..MAX_QUEUES {
        match open_queue(link, queue, workers, sizes) {
            Ok(sockets) => queues.push(sockets),
            // A link tells how many queues it may have, not how many it has: there is no such one.
            Err(error) if queue > 0 && error.kind() == std::io::ErrorKind::InvalidInput => break,
            Err(error) => return Err(format!("no AF_XDP socket on queue {queue}: {error}")),
        }
    }
    Ok(queues)
}

/// A queue that a process has just left is let go of a moment later.
fn open_queue(
    link: &Link,
    queue: u32,
    workers: usize,
    sizes: XdpSizes,
) -> std::io::Result<Vec<XdpSocket>> {
    for _ in 0..BUSY_ATTEMPTS {
        match XdpSocket::open(link.index, queue, workers, sizes) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(BUSY_PAUSE);
            }
            opened => return opened,
        }
    }
    XdpSocket::open(link.index, queue, workers, sizes)
}

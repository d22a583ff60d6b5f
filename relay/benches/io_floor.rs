//! The bare price of a packet by each way for media: look the port up, rewrite the header, send.
//! Then the same with the switchboard. Needs root and iproute2.
//!
//! usage: cargo bench -p relay --bench io_floor [-- ROUNDS SECONDS]

#![expect(clippy::unwrap_used, reason = "a bench may")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "../tests/io_rig/mod.rs"]
mod io_rig;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use io_rig::{Scene, apart_on};
use relay::io::{IoMethod, MediaIo};
use relay::switchboard::LocalPort;
use rustix::time::{ClockId, clock_gettime};

/// Ports for 1,000 calls of four.
const FIRST: u16 = 20_000;
/// An RTP packet of 20 ms of G.711.
const PACKET: usize = 172;
/// Packets a second of one stream.
const RATE: usize = 50;
/// Streams, each of which is heard and sent on: 20,000, 50,000 and 100,000 packets a second.
const STREAMS: [usize; 3] = [400, 1000, 2000];
/// Slices of a packet time in which a part of the streams is sent.
const SLICES: usize = 40;

/// What a round has measured.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Processor time of the relaying thread a packet, in microseconds.
    price: f64,
    /// Delay from the sender's call to the receiver's, in microseconds.
    median: f64,
    p99: f64,
    /// Waits that ended a packet.
    wakes: f64,
    /// Share of what was sent that never came.
    lost: f64,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let (rounds, seconds) = (numbers.next().unwrap_or(5), numbers.next().unwrap_or(3));
    println!(
        "{:8} {:>7} {:>8} {:>9} {:>9} {:>7} {:>6}",
        "way", "pps", "us/pkt", "p50 us", "p99 us", "wakes", "lost"
    );
    for streams in STREAMS {
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); WAYS.len()];
        for _ in 0..rounds {
            for (way, figures) in WAYS.iter().zip(&mut all) {
                figures.push(round(*way, streams, Duration::from_secs(seconds)));
            }
        }
        for (way, figures) in WAYS.iter().zip(&all) {
            let of = |pick: fn(&Figures) -> f64| median(figures.iter().map(pick).collect());
            println!(
                "{:8} {:7} {:8.2} {:9.0} {:9.0} {:7.2} {:6.3}",
                way.as_str(),
                streams * RATE,
                of(|f| f.price),
                of(|f| f.median),
                of(|f| f.p99),
                of(|f| f.wakes),
                of(|f| f.lost)
            );
        }
    }
}

const WAYS: [IoMethod; 2] = [IoMethod::Sockets, IoMethod::Xdp];

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One way under one load.
fn round(way: IoMethod, streams: usize, time: Duration) -> Figures {
    let (sender, figures) = std::sync::mpsc::channel();
    // Two ports of a pair, of which one is used, for each stream in and its way out.
    let ports = FIRST..=FIRST + 4 * streams as u16 - 1;
    apart_on(way, 1, ports, move |scene| sender.send(play(scene, streams, time)).unwrap());
    figures.recv().unwrap()
}

fn play(scene: &mut Scene, streams: usize, time: Duration) -> Figures {
    let (near_core, far_core) = (1, 0);
    pin(near_core);
    let (talking, hearing) = (scene.far_socket(false), scene.far_socket(false));
    let (to, hearer) = (talking.local_addr().unwrap(), hearing.local_addr().unwrap());
    let ins: Vec<SocketAddr> = (0..streams).map(|n| scene.bind(false, 4 * n as u16)).collect();
    let outs: Vec<SocketAddr> = (0..streams).map(|n| scene.bind(false, 4 * n as u16 + 2)).collect();
    scene.meet(&talking, ins[0]);
    scene.meet(&hearing, outs[0]);
    assert_eq!(to.ip(), hearer.ip());
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let talker = std::thread::spawn({
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        move || {
            pin(far_core);
            talk(&talking, &ins, begun, &stop, &sent);
        }
    });
    let listener = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            pin(far_core);
            listen(&hearing, begun, &stop)
        }
    });
    forward(scene, hearer, begun + Duration::from_millis(500));
    let (cpu, count, sent_before) =
        (thread_time(), scene.io.counts(), sent.load(Ordering::Relaxed));
    forward(scene, hearer, begun + Duration::from_millis(500) + time);
    let (cpu, after) = (thread_time() - cpu, scene.io.counts());
    let sent = sent.load(Ordering::Relaxed) - sent_before;
    stop.store(true, Ordering::Relaxed);
    talker.join().unwrap();
    let mut delays = listener.join().unwrap();
    delays.sort_unstable();
    let came = after.received_by_ring + after.received_by_socket
        - count.received_by_ring
        - count.received_by_socket;
    let at = |share: f64| {
        delays.get((delays.len() as f64 * share) as usize).map_or(0.0, |ns| *ns as f64 / 1e3)
    };
    Figures {
        price: cpu.as_secs_f64() * 1e6 / came as f64,
        median: at(0.5),
        p99: at(0.99),
        wakes: (after.wakes - count.wakes) as f64 / came as f64,
        lost: 1.0 - came as f64 / sent as f64,
    }
}

/// The worker's loop without a switchboard.
fn forward(scene: &mut Scene, to: SocketAddr, end: Instant) {
    let mut buffer = [0; 2048];
    while Instant::now() < end {
        scene.io.wait(Some(Duration::from_millis(5))).unwrap();
        for _ in 0..relay::switchboard::limits::PACKETS_PER_TURN {
            let Some(received) = scene.io.receive(&mut buffer) else { break };
            buffer[2..4].copy_from_slice(&received.port.0.to_be_bytes());
            scene.io.send(LocalPort(received.port.0 + 2), to, &buffer[..received.len]);
        }
        scene.io.flush();
    }
}

/// Sends each stream's packets, spread over a packet time.
fn talk(
    socket: &UdpSocket,
    to: &[SocketAddr],
    begun: Instant,
    stop: &AtomicBool,
    sent: &AtomicU64,
) {
    let slice = Duration::from_millis(20) / SLICES as u32;
    let (mut due, mut packet) = (Instant::now(), [0x80; PACKET]);
    while !stop.load(Ordering::Relaxed) {
        for part in to.chunks(to.len().div_ceil(SLICES)) {
            for address in part {
                let stamp = begun.elapsed().as_nanos() as u64;
                packet[12..20].copy_from_slice(&stamp.to_ne_bytes());
                if socket.send_to(&packet, address).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
            due += slice;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Delays of what comes, in nanoseconds.
fn listen(socket: &UdpSocket, begun: Instant, stop: &AtomicBool) -> Vec<u64> {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (mut delays, mut buffer) = (Vec::with_capacity(1 << 20), [0; 2048]);
    while !stop.load(Ordering::Relaxed) {
        if let Ok((PACKET, _)) = socket.recv_from(&mut buffer) {
            let sent = u64::from_ne_bytes(*buffer[12..].first_chunk().unwrap());
            delays.push(begun.elapsed().as_nanos() as u64 - sent);
        }
    }
    delays
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    // On a machine with one core all is on it.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

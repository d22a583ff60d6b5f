//! The price of a packet by each way for media: bare (look the port up, rewrite the header, send),
//! and with the whole relay, in turns. Needs root, iproute2 and about 10,000 open files.
//!
//! usage: cargo bench -p relay --bench io_floor [-- ROUNDS SECONDS [sockets|packet|xdp]]

#![expect(clippy::unwrap_used, reason = "a bench may")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "../tests/io_rig/mod.rs"]
mod io_rig;

use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dtmf::g711::Law;
use io_rig::{NEAR, Scene, apart_on, in_namespaces};
use relay::codec::Codec;
use relay::io::{IoMethod, MediaIo};
use relay::switchboard::limits::PACKETS_PER_TURN;
use relay::switchboard::{CallId, LegMedia, LocalPort, SourceRule};
use relay::wire::rtp::Header;
use relay::{CallRequest, RelayConfig, Started};

const FIRST: u16 = 20_000;
/// An RTP packet of 20 ms of G.711.
const PACKET: usize = 172;
const PACKET_TIME: Duration = Duration::from_millis(20);
/// Packets a second of one stream.
const RATE: usize = 50;
/// Calls of two streams: 20,000, 50,000 and 100,000 packets a second are heard, and as many sent.
const CALLS: [usize; 3] = [200, 500, 1000];
/// Slices of a packet time in which a part of the streams is sent.
const SLICES: usize = 40;
/// Time in which everybody gets to know everybody.
const WARM_UP: Duration = Duration::from_millis(1500);
const WAYS: [IoMethod; 3] = [IoMethod::Sockets, IoMethod::Packet, IoMethod::Xdp];
/// The relaying thread's core, and the peers'.
const NEAR_CORE: usize = 1;
const FAR_CORE: usize = 0;

/// What a round has measured.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Processor time of the relaying thread a packet heard, in microseconds.
    price: f64,
    /// Delay from the sender's call to the receiver's, in microseconds.
    median: f64,
    p99: f64,
    /// Share of what was sent on one side that never came to the other.
    lost: f64,
}

fn main() {
    // Cargo adds words of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |place: usize| words.get(place).and_then(|word| word.parse::<u64>().ok());
    let (rounds, seconds) = (number(0).unwrap_or(5), number(1).unwrap_or(3));
    let is_wanted = |way: &IoMethod| words.get(2).is_none_or(|word| word == way.as_str());
    println!("     pps  way      what    us/packet   p50 us   p99 us    lost");
    for calls in CALLS {
        for way in WAYS.into_iter().filter(is_wanted) {
            compare(way, calls, rounds, Duration::from_secs(seconds));
        }
    }
}

/// Bare and whole in turns, and what the whole costs of the bare: the median of the rounds' ratios.
fn compare(way: IoMethod, calls: usize, rounds: u64, time: Duration) {
    let both: Vec<[Figures; 2]> =
        (0..rounds).map(|_| [bare(way, calls, time), whole(way, calls, time)]).collect();
    for (place, what) in ["bare", "relay"].into_iter().enumerate() {
        let of = |pick: fn(&Figures) -> f64| median(both.iter().map(|round| pick(&round[place])));
        let (price, p50, p99) = (of(|one| one.price), of(|one| one.median), of(|one| one.p99));
        let (pps, name, lost) = (2 * calls * RATE, way.as_str(), of(|one| one.lost));
        println!("{pps:8}  {name:8} {what:6} {price:10.2} {p50:8.0} {p99:8.0} {lost:7.3}");
    }
    let ratio = median(both.iter().map(|[bare, whole]| whole.price / bare.price));
    println!("{:8}  {:8} ratio  {ratio:10.2}", 2 * calls * RATE, way.as_str());
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ports(calls: usize) -> RangeInclusive<u16> {
    FIRST..=FIRST + 4 * calls as u16 - 1
}

/// The worker's loop without a switchboard.
fn bare(way: IoMethod, calls: usize, time: Duration) -> Figures {
    let (sender, figures) = std::sync::mpsc::channel();
    apart_on(way, 1, ports(calls), move |scene| {
        pin_to(NEAR_CORE);
        let ends = [scene.far_socket(false), scene.far_socket(false)];
        let peers = ends.each_ref().map(|end| end.local_addr().unwrap());
        let streams = (0..2 * calls).map(|n| scene.bind(false, 2 * n as u16)).collect();
        let load = Load::start(ends, streams);
        forward(scene, peers, Instant::now() + WARM_UP);
        let (before, sent) = (thread_time(), load.count());
        forward(scene, peers, Instant::now() + time);
        sender.send(load.stop(thread_time() - before, sent)).unwrap();
    });
    figures.recv().unwrap()
}

fn forward(scene: &mut Scene, peers: [SocketAddr; 2], end: Instant) {
    let mut buffer = [0; 2048];
    while Instant::now() < end {
        scene.io.wait(Some(Duration::from_millis(5))).unwrap();
        for _ in 0..PACKETS_PER_TURN {
            let Some(received) = scene.io.receive(&mut buffer) else { break };
            // The other leg of the call.
            let other = ((received.port.0 - FIRST) ^ 2) + FIRST;
            buffer[2..4].copy_from_slice(&received.port.0.to_be_bytes());
            let to = peers[usize::from(other / 2 % 2)];
            scene.io.send(LocalPort(other), to, &buffer[..received.len]);
        }
        scene.io.flush();
    }
}

/// A relay with one worker.
fn whole(way: IoMethod, calls: usize, time: Duration) -> Figures {
    let (sender, figures) = std::sync::mpsc::channel();
    in_namespaces(move |names| {
        // The relay's threads stay where the thread that starts them was.
        pin_to(NEAR_CORE);
        let ends = [names.far_socket(false), names.far_socket(false)];
        let started = relay::start(&config(way, ports(calls))).unwrap();
        let streams =
            open_calls(&started, calls, ends.each_ref().map(|end| end.local_addr().unwrap()));
        let load = Load::start(ends, streams);
        std::thread::sleep(WARM_UP);
        let (before, sent) = (worker_time(), load.count());
        std::thread::sleep(time);
        sender.send(load.stop(worker_time() - before, sent)).unwrap();
        let Started { relay, threads, .. } = started;
        drop(relay);
        threads.join();
    });
    figures.recv().unwrap()
}

fn config(io: IoMethod, ports: RangeInclusive<u16>) -> RelayConfig {
    RelayConfig {
        media_v4: Some(NEAR[0].parse().unwrap()),
        media_v6: None,
        ports,
        workers: 1,
        pin: false,
        io,
        io_interfaces: Vec::new(),
        media_timeout: Duration::from_secs(60),
        recordings: None,
        seed: [7; 32],
        unix_time: Duration::from_secs(1_800_000_000),
    }
}

/// Opens calls; where their callers' and their engines' packets go to.
fn open_calls(started: &Started, calls: usize, peers: [SocketAddr; 2]) -> Vec<SocketAddr> {
    let opened = (0..calls).map(|number| {
        let [caller, engine] = peers.map(leg);
        let call = CallId(number as u128 + 1);
        let request =
            CallRequest { call, caller, engine, armed: None, record: false, links: [None, None] };
        wait_for(started.relay.open_call(request)).unwrap()
    });
    opened.flat_map(|call| [call.caller.rtp, call.engine.rtp]).collect()
}

fn leg(remote: SocketAddr) -> LegMedia {
    LegMedia {
        remote_rtp: remote,
        remote_rtcp: remote,
        rtcp_mux: true,
        codec: Codec::G711(Law::Mu),
        payload_type: 0,
        telephone_event: None,
        redundancy: None,
        wants_events: false,
        ptime: PACKET_TIME,
        they_send: true,
        they_receive: true,
        srtp: None,
        source: SourceRule::Signalled,
    }
}

fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Both peers of all calls: one socket sends to all callers' ports, one to all engines'.
struct Load {
    stopped: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    came: Arc<AtomicU64>,
    talker: JoinHandle<()>,
    listener: JoinHandle<Vec<u64>>,
}

impl Load {
    fn start(ends: [UdpSocket; 2], streams: Vec<SocketAddr>) -> Load {
        let (stopped, sent, came): (Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>) =
            Default::default();
        let hearing = ends[1].try_clone().unwrap();
        let begun = Instant::now();
        let talker = std::thread::spawn({
            let (stopped, sent) = (Arc::clone(&stopped), Arc::clone(&sent));
            move || talk(&ends, &streams, begun, &stopped, &sent)
        });
        let listener = std::thread::spawn({
            let (stopped, came) = (Arc::clone(&stopped), Arc::clone(&came));
            move || listen(&hearing, begun, &stopped, &came)
        });
        Load { stopped, sent, came, talker, listener }
    }

    /// Packets sent so far, and those that came to the one who listens.
    fn count(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.came.load(Ordering::Relaxed))
    }

    fn stop(self, cpu: Duration, (sent, came): (u64, u64)) -> Figures {
        let (all_sent, all_came) = self.count();
        let (sent, came) = ((all_sent - sent) as f64, (all_came - came) as f64);
        self.stopped.store(true, Ordering::Relaxed);
        self.talker.join().unwrap();
        let mut delays = self.listener.join().unwrap();
        // Those of the beginning, when the ways were not known, are left out.
        let mut delays = delays.split_off(delays.len() / 3);
        delays.sort_unstable();
        let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).copied();
        Figures {
            price: cpu.as_secs_f64() * 1e6 / sent,
            median: at(0.5).unwrap_or_default() as f64 / 1e3,
            p99: at(0.99).unwrap_or_default() as f64 / 1e3,
            lost: 1.0 - 2.0 * came / sent,
        }
    }
}

/// Sends each stream's packets, spread over a packet time: callers' and engines' in turn.
fn talk(
    ends: &[UdpSocket; 2],
    streams: &[SocketAddr],
    begun: Instant,
    stopped: &AtomicBool,
    sent: &AtomicU64,
) {
    pin_to(FAR_CORE);
    let (mut due, mut packet, mut sequence) = (Instant::now(), [0x80; PACKET], 0_u16);
    while !stopped.load(Ordering::Relaxed) {
        sequence = sequence.wrapping_add(1);
        let timestamp = u32::from(sequence) * 160;
        let header = Header { marker: false, payload_type: 0, sequence, timestamp, ssrc: 7 };
        header.write(packet.first_chunk_mut().unwrap());
        for part in streams.chunks((streams.len() / SLICES).next_multiple_of(2)) {
            for (place, address) in part.iter().enumerate() {
                let stamp = begun.elapsed().as_nanos() as u64;
                packet[12..20].copy_from_slice(&stamp.to_ne_bytes());
                ends[place % 2].send_to(&packet, address).unwrap();
            }
            sent.fetch_add(part.len() as u64, Ordering::Relaxed);
            due += PACKET_TIME / SLICES as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Delays of what comes, in nanoseconds.
fn listen(socket: &UdpSocket, begun: Instant, stopped: &AtomicBool, came: &AtomicU64) -> Vec<u64> {
    pin_to(FAR_CORE);
    socket.set_read_timeout(Some(PACKET_TIME)).unwrap();
    let (mut delays, mut buffer) = (Vec::with_capacity(1 << 20), [0; 2048]);
    while !stopped.load(Ordering::Relaxed) {
        if let Ok((PACKET, _)) = socket.recv_from(&mut buffer) {
            let sent = u64::from_ne_bytes(*buffer[12..].first_chunk().unwrap());
            delays.push((begun.elapsed().as_nanos() as u64).saturating_sub(sent));
            came.fetch_add(1, Ordering::Relaxed);
        }
    }
    delays
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Processor time of the thread `media-0`: the first figure of its `schedstat`, in nanoseconds.
fn worker_time() -> Duration {
    let threads =
        std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let is_worker = |thread: &std::path::PathBuf| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "media-0")
    };
    let worker = { threads }.find(is_worker).unwrap();
    let told = std::fs::read_to_string(worker.join("schedstat")).unwrap();
    Duration::from_nanos(told.split_whitespace().next().unwrap().parse().unwrap())
}

fn pin_to(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    // On a machine with one core all is on it.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

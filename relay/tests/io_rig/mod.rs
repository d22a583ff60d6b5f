//! Two network namespaces joined by a pair of links: the relay's, near, and its peers', far.

#![allow(dead_code, unreachable_pub, reason = "every item is of one test")]

pub mod spoof;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use relay::io::{Clock, IoCounts, IoMethod, IoWish, MediaIo, NoWay, Opened, Received, Waker};
use relay::switchboard::limits::BUFFER;
use relay::switchboard::{LocalPort, PortPair, PortPool};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The relay's addresses, IPv4 and IPv6.
pub const NEAR: [&str; 2] = ["10.77.0.1", "fd77::1"];
/// Its peers'.
pub const FAR: [&str; 2] = ["10.77.0.2", "fd77::2"];
/// The relay's ports.
pub const PORTS: RangeInclusive<u16> = 20_000..=20_039;
/// What a datagram may take that is on its way, with a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(3);

/// A port of the relay's.
pub fn port(number: u16) -> u16 {
    PORTS.start() + number
}

/// Octets that tell one datagram from another.
pub fn payload(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number * 7 + at) as u8).collect()
}

/// One worker's media, whichever way.
pub type Io = Box<dyn MediaIo>;

/// Two namespaces, and the relay's end open in one of them.
pub struct Scene {
    pub method: IoMethod,
    /// The first worker's.
    pub io: AnyIo,
    others: Vec<AnyIo>,
    ports: RangeInclusive<u16>,
    names: Namespaces,
    workers: usize,
    resolver: Option<JoinHandle<()>>,
    buffer: [u8; BUFFER],
}

/// A worker's media by any way.
pub struct AnyIo(Io);

impl MediaIo for AnyIo {
    fn bind(&mut self, address: IpAddr, pair: PortPair) -> io::Result<()> {
        self.0.bind(address, pair)
    }

    fn release(&mut self, pair: PortPair) {
        self.0.release(pair);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.wait(timeout)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<Received> {
        self.0.receive(buffer)
    }

    fn send(&mut self, port: LocalPort, to: SocketAddr, datagram: &[u8]) -> bool {
        self.0.send(port, to, datagram)
    }

    fn flush(&mut self) {
        self.0.flush();
    }

    fn counts(&self) -> IoCounts {
        self.0.counts()
    }

    fn waker(&self) -> Waker {
        self.0.waker()
    }
}

/// Runs `play` on a thread in the near namespace; both are gone afterwards.
pub fn apart(method: IoMethod, workers: usize, play: impl FnOnce(&mut Scene) + Send + 'static) {
    apart_on(method, workers, PORTS, play);
}

/// The same with other ports.
pub fn apart_on(
    method: IoMethod,
    workers: usize,
    ports: RangeInclusive<u16>,
    play: impl FnOnce(&mut Scene) + Send + 'static,
) {
    in_namespaces(move |names| {
        let mut scene = Scene::open(method, workers, ports, names);
        play(&mut scene);
        scene.close();
    });
}

/// Runs `play` on a thread in the near namespace.
pub fn in_namespaces(play: impl FnOnce(Namespaces) + Send + 'static) {
    let played = std::thread::spawn(move || {
        let names = Namespaces::make();
        enter(&names.near);
        play(names);
    });
    if let Err(panic) = played.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Scene {
    fn open(
        method: IoMethod,
        workers: usize,
        ports: RangeInclusive<u16>,
        names: Namespaces,
    ) -> Scene {
        let (mut ios, resolver) = open(method, &ports, workers).unwrap();
        let io = ios.remove(0);
        Scene { method, io, others: ios, ports, names, workers, resolver, buffer: [0; BUFFER] }
    }

    fn close(self) {
        let links = || ip(&format!("-n {} link show", self.names.near));
        assert_eq!(links().contains("xdp"), self.method == IoMethod::Xdp);
        drop((self.io, self.others));
        if let Some(resolver) = self.resolver {
            resolver.join().unwrap();
        }
        // A child of another test has all descriptors until it runs its program.
        let end = now() + PATIENCE;
        while links().contains("xdp") {
            assert!(now() < end, "no program is left behind");
        }
    }

    /// Another relay's attempt at the same link.
    pub fn open_again(&self, method: IoMethod) -> Result<(), NoWay> {
        open(method, &self.ports, self.workers).map(|_| ())
    }

    /// A peer's socket.
    pub fn far_socket(&self, v6: bool) -> UdpSocket {
        self.names.far_socket(v6)
    }

    /// Binds a pair of ports of the first worker.
    pub fn bind(&mut self, v6: bool, number: u16) -> SocketAddr {
        self.bind_at(0, v6, number)
    }

    /// Binds a pair of ports of a worker.
    pub fn bind_at(&mut self, worker: usize, v6: bool, number: u16) -> SocketAddr {
        let address: IpAddr = NEAR[usize::from(v6)].parse().unwrap();
        // A pair of its own for each family.
        let number = number + 2 * u16::from(v6);
        let slice = PortPool::slice(&self.ports, worker, self.workers);
        let pair = PortPair::new(slice.start() + number).unwrap();
        self.worker(worker).bind(address, pair).unwrap();
        SocketAddr::new(address, pair.rtp().0)
    }

    pub fn try_bind(&mut self, v6: bool, number: u16) -> io::Result<()> {
        let address = NEAR[usize::from(v6)].parse().unwrap();
        self.io.bind(address, PortPair::new(port(number)).unwrap())
    }

    pub fn release(&mut self, number: u16) {
        self.io.release(PortPair::new(port(number)).unwrap());
    }

    fn worker(&mut self, worker: usize) -> &mut AnyIo {
        if worker == 0 { &mut self.io } else { &mut self.others[worker - 1] }
    }

    /// The next datagram to a port of the first worker.
    pub fn receive(&mut self, port: u16) -> Option<(SocketAddr, Vec<u8>)> {
        self.receive_at(0, port)
    }

    /// The next datagram to a port of a worker.
    pub fn receive_at(&mut self, worker: usize, port: u16) -> Option<(SocketAddr, Vec<u8>)> {
        let (at, from, octets) = self.next(worker, PATIENCE)?;
        assert_eq!(at, port);
        Some((from, octets))
    }

    /// The next datagram of the first worker within a time.
    pub fn receive_for(&mut self, limit: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        self.next(0, limit).map(|(_, from, octets)| (from, octets))
    }

    /// The next datagram to any port of a worker within a time.
    pub fn next(&mut self, worker: usize, limit: Duration) -> Option<(u16, SocketAddr, Vec<u8>)> {
        let mut buffer = self.buffer;
        let end = now() + limit;
        loop {
            let io = self.worker(worker);
            if let Some(received) = io.receive(&mut buffer) {
                let octets = buffer[..received.len].to_vec();
                return Some((received.port.0, received.from, octets));
            }
            io.flush();
            let left = end.saturating_duration_since(now());
            if left.is_zero() {
                return None;
            }
            io.wait(Some(left.min(Duration::from_millis(20)))).unwrap();
        }
    }

    /// Sends from a port of the first worker, at once.
    pub fn send(&mut self, port: u16, to: SocketAddr, octets: &[u8]) -> bool {
        self.send_at(0, port, to, octets)
    }

    /// Sends from a port of a worker, at once.
    pub fn send_at(&mut self, worker: usize, port: u16, to: SocketAddr, octets: &[u8]) -> bool {
        let io = self.worker(worker);
        // As of now: ways are looked up with the time of the last wait.
        io.wait(Some(Duration::ZERO)).unwrap();
        let is_sent = io.send(LocalPort(port), to, octets);
        io.flush();
        is_sent
    }

    /// Exchanges datagrams until the rings, if there are any, carry both ways.
    pub fn meet(&mut self, far: &UdpSocket, ours: SocketAddr) {
        let peer = far.local_addr().unwrap();
        let end = now() + PATIENCE;
        far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut before = self.io.counts();
        loop {
            assert!(now() < end, "the two never met: {before:?}");
            let _ = far.send_to(b"hello", ours);
            let heard = self.receive_for(Duration::from_millis(50)).is_some();
            let told = self.send(ours.port(), peer, b"hello") && Scene::far_receive(far).is_some();
            let counts = self.io.counts();
            let by_ring = counts.sent_by_ring > before.sent_by_ring
                && counts.received_by_ring > before.received_by_ring;
            if heard && told && (by_ring || self.method == IoMethod::Sockets) {
                break;
            }
            before = counts;
        }
        // What was late is none of the test's.
        while self.receive_for(Duration::from_millis(10)).is_some() {}
        while Scene::far_receive(far).is_some() {}
        far.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// The next datagram to a peer.
    pub fn far_receive(far: &UdpSocket) -> Option<(SocketAddr, Vec<u8>)> {
        let mut buffer = [0; 2048];
        let (length, from) = far.recv_from(&mut buffer).ok()?;
        Some((from, buffer[..length].to_vec()))
    }

    /// Sends a frame to the relay that no socket would.
    pub fn spoof(&self, from: SocketAddr, to: SocketAddr, fault: spoof::Fault) {
        let macs = self.names.macs();
        self.names.in_far(move || spoof::send(macs, from, to, fault));
    }

    /// Runs `ip` in the near namespace.
    pub fn ip_near(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.names.near));
    }

    /// Runs `ip` in the far namespace.
    pub fn ip_far(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.names.far));
    }
}

/// Whether the memory that rings share with the kernel holds `octets` somewhere. Told from other
/// memory by its length, which no heap, stack or library has.
pub fn rings_hold(octets: &[u8]) -> bool {
    // Of one ring, or of several that lie side by side.
    const UNIT: u64 = 8 << 20;
    let maps = std::fs::read_to_string("/proc/thread-self/maps").unwrap();
    let memory = std::fs::File::open("/proc/thread-self/mem").unwrap();
    let ranges = maps.lines().filter(|line| line.contains(" rw")).map(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        [start, end].map(|text| u64::from_str_radix(text, 16).unwrap())
    });
    let rings: Vec<_> = ranges.filter(|[start, end]| (end - start).is_multiple_of(UNIT)).collect();
    assert!(!rings.is_empty(), "there are rings to be searched");
    rings.into_iter().any(|[start, end]| {
        let mut held = vec![0; (end - start) as usize];
        // Another test's may be gone meanwhile.
        memory.read_exact_at(&mut held, start).is_ok() && has(&held, octets)
    })
}

fn has(held: &[u8], octets: &[u8]) -> bool {
    held.windows(octets.len()).any(|window| window == octets)
}

/// Opens the relay's end in the namespace that this thread is in.
fn open(
    method: IoMethod,
    ports: &RangeInclusive<u16>,
    workers: usize,
) -> Result<(Vec<AnyIo>, Option<JoinHandle<()>>), NoWay> {
    let [v4, v6] = NEAR;
    let wish = IoWish {
        method,
        v4: Some(v4.parse().unwrap()),
        v6: Some(v6.parse().unwrap()),
        interfaces: vec!["lo".to_owned()],
    };
    let slices: Vec<_> = (0..workers).map(|n| PortPool::slice(ports, n, workers)).collect();
    let any = |io: Io| AnyIo(io);
    Ok(match relay::io::open(&wish, &slices, &Clock::new())? {
        Opened::Sockets(ios) => (ios.into_iter().map(|io| any(Box::new(io))).collect(), None),
        Opened::Packet(ios, thread) => {
            (ios.into_iter().map(|io| any(Box::new(io))).collect(), Some(thread))
        }
        Opened::Xdp(ios, thread) => {
            (ios.into_iter().map(|io| any(Box::new(io))).collect(), Some(thread))
        }
    })
}

/// Two namespaces, gone when dropped.
pub struct Namespaces {
    near: String,
    far: String,
}

impl Namespaces {
    fn make() -> Namespaces {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("sotto-{}-{number}-{side}", std::process::id());
        let names = Namespaces { near: name("near"), far: name("far") };
        let Namespaces { near, far } = &names;
        for name in [near, far] {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
        }
        ip(&format!("-n {near} link add near type veth peer name far netns {far}"));
        for (name, link, addresses) in [(near, "near", NEAR), (far, "far", FAR)] {
            ip(&format!("-n {name} address add {}/24 dev {link}", addresses[0]));
            ip(&format!("-n {name} address add {}/64 dev {link} nodad", addresses[1]));
            ip(&format!("-n {name} link set {link} up"));
        }
        names
    }

    /// A peer's socket.
    pub fn far_socket(&self, v6: bool) -> UdpSocket {
        let socket = self.in_far(move || UdpSocket::bind((FAR[usize::from(v6)], 0)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn in_far<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let acted = scope.spawn(|| {
                enter(&self.far);
                act()
            });
            acted.join().unwrap()
        })
    }

    /// The far link's hardware address and the near one's.
    fn macs(&self) -> [[u8; 6]; 2] {
        [(&self.far, "far"), (&self.near, "near")].map(|(name, link)| {
            let said = ip(&format!("-n {name} -brief link show {link}"));
            let mac = said.split_whitespace().find(|word| word.matches(':').count() == 5).unwrap();
            let mut octets = mac.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap());
            std::array::from_fn(|_| octets.next().unwrap())
        })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

/// Moves this thread into a namespace.
fn enter(name: &str) {
    let file = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn ip(arguments: &str) -> String {
    let done = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {arguments}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test waits for the real kernel")]
    Instant::now()
}

//! Load: callers who talk through a relay and engines that give each packet back.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use relay::switchboard::SrtpKeys;
use relay::wire::rtp::{FIXED_HEADER_LEN, Header, is_rtcp};
use relay::wire::srtp::{Inbound, Outbound};
use relay::wire::stun::IcePassword;

use crate::handshake;
use crate::signal::{Answer, Ice};

const PACKET_TIME: Duration = Duration::from_millis(20);
/// Octets of voice in a packet.
const VOICE: usize = 160;
/// Packets from one check of a caller's consent to the next: 2.5 s, as browsers have it.
const CONSENT: usize = 125;
/// Octets that are room for a tag.
const ROOM: usize = 64;
/// So that a thread which waits sees that it is over.
const GLANCE: Duration = Duration::from_millis(20);

/// How many packets went where.
#[derive(Default)]
pub struct Counts {
    /// Of callers, to the relay.
    pub sent: AtomicU64,
    /// From the relay to engines, and back.
    pub echoed: AtomicU64,
    /// From the relay to callers, and rightly protected.
    pub came: AtomicU64,
    stopped: AtomicBool,
}

/// Threads of all callers and engines.
pub struct Load {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

/// What a caller speaks with.
struct Mouth {
    relay: SocketAddr,
    check: Option<Vec<u8>>,
    outbound: Outbound,
}

/// Who calls: callers' socket, engines' socket, and the callers' name in ICE if they have one.
pub struct Ends {
    /// All callers'.
    pub callers: UdpSocket,
    /// All engines'.
    pub engines: UdpSocket,
}

impl Load {
    /// Begins; keys are as the relay has them. In each slice of a packet time a part of the callers
    /// speak.
    pub fn start(
        ends: &Ends,
        ice: Option<&Ice>,
        calls: Vec<(Answer, SrtpKeys)>,
        slices: usize,
    ) -> Load {
        let counts: Arc<Counts> = Arc::default();
        let (mut mouths, mut ears) = (Vec::new(), HashMap::new());
        for (answer, keys) in calls {
            let check = ice.map(|ours| handshake::check(ours, &answer));
            let outbound = Outbound::new(&keys.inbound);
            mouths.push(Mouth { relay: answer.relay, check, outbound });
            ears.insert(answer.relay, Inbound::new(&keys.outbound));
        }
        let password = ice.map(|ours| IcePassword::new(&ours.password));
        let [mouth, ear] = [(); 2].map(|()| ends.callers.try_clone().unwrap());
        let engines = ends.engines.try_clone().unwrap();
        let shared = [(); 3].map(|()| Arc::clone(&counts));
        let [talking, hearing, echoing] = shared;
        let threads = vec![
            std::thread::spawn(move || talk(&mouth, mouths, slices, &talking)),
            std::thread::spawn(move || listen(&ear, ears, password.as_ref(), &hearing)),
            std::thread::spawn(move || echo(&engines, &echoing)),
        ];
        Load { counts, threads }
    }

    /// Packets so far: of callers, of engines, and come back to callers.
    pub fn count(&self) -> [u64; 3] {
        let Counts { sent, echoed, came, .. } = &*self.counts;
        [sent, echoed, came].map(|count| count.load(Ordering::Relaxed))
    }

    /// Ends.
    pub fn stop(self) {
        self.counts.stopped.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

impl Counts {
    fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Each caller's packets, the callers spread over the slices of a packet time.
fn talk(socket: &UdpSocket, mut mouths: Vec<Mouth>, slices: usize, counts: &Counts) {
    let (mut due, mut sequence) = (Instant::now(), 0_u16);
    let each = mouths.len().div_ceil(slices);
    let step = PACKET_TIME / mouths.len().div_ceil(each) as u32;
    while !counts.is_over() {
        sequence = sequence.wrapping_add(1);
        for (slice, part) in mouths.chunks_mut(each).enumerate() {
            for (place, mouth) in part.iter_mut().enumerate() {
                mouth.speak(socket, sequence);
                if (usize::from(sequence) + each * slice + place).is_multiple_of(CONSENT) {
                    mouth.ask(socket);
                }
            }
            counts.sent.fetch_add(part.len() as u64, Ordering::Relaxed);
            due += step;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

impl Mouth {
    fn speak(&mut self, socket: &UdpSocket, sequence: u16) {
        let timestamp = u32::from(sequence) * VOICE as u32;
        let header = Header { marker: false, payload_type: 0, sequence, timestamp, ssrc: 7 };
        let mut packet = [0x55; FIXED_HEADER_LEN + VOICE + ROOM];
        header.write(packet.first_chunk_mut().unwrap());
        let length = self.outbound.protect(&mut packet, FIXED_HEADER_LEN + VOICE).unwrap();
        socket.send_to(&packet[..length], self.relay).unwrap();
    }

    fn ask(&self, socket: &UdpSocket) {
        if let Some(check) = &self.check {
            socket.send_to(check, self.relay).unwrap();
        }
    }
}

/// What comes back to callers, and the relay's checks.
fn listen(
    socket: &UdpSocket,
    mut ears: HashMap<SocketAddr, Inbound>,
    password: Option<&IcePassword>,
    counts: &Counts,
) {
    socket.set_read_timeout(Some(GLANCE)).unwrap();
    let mut buffer = [0; 2048];
    while !counts.is_over() {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        match (buffer[0], password) {
            (0..=3, Some(password)) => {
                if let Some(reply) = handshake::reply(&buffer[..length], from, password) {
                    socket.send_to(&reply, from).unwrap();
                }
            }
            (128..=191, _) if !is_rtcp(buffer[1]) => {
                let inbound = ears.get_mut(&from).unwrap();
                if inbound.unprotect(&mut buffer[..length]) == Ok(FIXED_HEADER_LEN + VOICE) {
                    counts.came.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }
}

/// Engines: each packet back to whom it came from, as a stream of their own.
fn echo(socket: &UdpSocket, counts: &Counts) {
    socket.set_read_timeout(Some(GLANCE)).unwrap();
    let mut buffer = [0; 2048];
    while !counts.is_over() {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        if length == FIXED_HEADER_LEN + VOICE && !is_rtcp(buffer[1]) {
            buffer[8..12].copy_from_slice(&9_u32.to_be_bytes());
            socket.send_to(&buffer[..length], from).unwrap();
            counts.echoed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

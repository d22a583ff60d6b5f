//! Party: a synthetic caller or engine on a UDP socket of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dtmf::g711::Law;
use loadtest::caller::FRAME;
use loadtest::sdp::PCMU;
use loadtest::{Caller, CallerConfig, Ear, KeyMethod, Voice};
use relay::io::Clock;

/// A party that talks every 20 ms and hears whatever comes.
pub(super) struct Party {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    mouth: Mutex<Caller>,
    ear: Mutex<Ear>,
    remote: OnceLock<SocketAddr>,
    is_over: AtomicBool,
}

impl Party {
    /// A party that listens, and talks once it knows whom to.
    pub(super) fn start(ssrc: u32, method: KeyMethod, clock: Clock) -> std::io::Result<Party> {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        let address = socket.local_addr()?;
        let config = CallerConfig::pcmu(ssrc, method);
        let shared = Arc::new(Shared {
            mouth: Mutex::new(Caller::new(config, Voice::shipped(Law::Mu))),
            ear: Mutex::new(Ear::new(Law::Mu, PCMU)),
            remote: OnceLock::new(),
            is_over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || own.live(&socket, &clock));
        Ok(Party { shared, address, thread: Some(thread) })
    }

    /// Where the party sends from and listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to talk to `remote`.
    pub(super) fn talk_to(&self, remote: SocketAddr) {
        // A party is told once whom to talk to.
        let _ = self.shared.remote.set(remote);
    }

    /// What the party says and keys.
    pub(super) fn mouth(&self) -> MutexGuard<'_, Caller> {
        locked(&self.shared.mouth)
    }

    /// What the party has heard.
    pub(super) fn ear(&self) -> MutexGuard<'_, Ear> {
        locked(&self.shared.ear)
    }

    /// Hangs up, and returns what was heard.
    pub(super) fn stop(mut self) -> Ear {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        std::mem::replace(&mut *self.ear(), Ear::new(Law::Mu, PCMU))
    }
}

impl Shared {
    fn live(&self, socket: &UdpSocket, clock: &Clock) {
        let mut next = clock.now();
        let mut datagram = [0; 2048];
        while !self.is_over.load(Ordering::Relaxed) {
            let now = clock.now();
            if next <= now {
                self.talk(socket);
                next += FRAME;
                continue;
            }
            // Never zero, which would mean to wait for ever.
            let wait = (next - now).max(Duration::from_micros(100));
            if socket.set_read_timeout(Some(wait)).is_ok()
                && let Ok((len, _)) = socket.recv_from(&mut datagram)
            {
                locked(&self.ear).hear(clock.now(), &datagram[..len]);
            }
        }
    }

    fn talk(&self, socket: &UdpSocket) {
        let Some(&remote) = self.remote.get() else { return };
        locked(&self.mouth).tick(&mut |packet| drop(socket.send_to(packet, remote)));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Neighbourhood: how frames reach peers, as the kernel's tables say. Found out on a thread of its
//! own, read by the media workers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

use super::waker::Waker;
use crate::wire::udp::Macs;

/// How long an answer is not asked for again.
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// How long an answer is used while a newer one is awaited: the thread that finds out may have to
/// wait for the kernel's lock on its tables.
const USABLE: Duration = Duration::from_secs(3);
/// Most peers that are remembered: two for each of 5,000 calls. Others are sent to by their sockets.
const MAX_PEERS: usize = 10_000;
/// Questions that wait; beyond it one is asked again with the next packet.
pub(super) const QUESTIONS: usize = 1024;

/// From which of our addresses to which peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Path {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
}

/// How a peer is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// By frames on a link.
    Frames(Hop),
    /// By the kernel's stack: the neighbour is not known, or the way is none for frames.
    Kernel,
}

/// The next station of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hop {
    /// The index of the link they leave by.
    pub(super) link: u32,
    pub(super) macs: Macs,
    /// The longest IP packet.
    pub(super) mtu: usize,
}

/// An answer of the kernel's.
pub(super) struct Answer {
    pub(super) way: Way,
    pub(super) found: Instant,
    /// The kernel has not heard of the neighbour for long: one packet by its stack makes it ask.
    pub(super) is_stale: AtomicBool,
}

/// What is known of peers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Neighbourhood {
    shared: Arc<Shared>,
}

struct Shared {
    answers: RwLock<HashMap<Path, Answer>>,
    /// Changes whenever something that was answered may no longer hold.
    age: AtomicU64,
    questions: SyncSender<Path>,
    waker: Waker,
}

impl Neighbourhood {
    pub(super) fn new(questions: SyncSender<Path>, waker: Waker) -> Neighbourhood {
        let (answers, age) = (RwLock::default(), AtomicU64::new(0));
        Neighbourhood { shared: Arc::new(Shared { answers, age, questions, waker }) }
    }

    /// A number that changes when ways have to be looked up again.
    pub(super) fn age(&self) -> u64 {
        self.shared.age.load(Ordering::Acquire)
    }

    /// The way to a peer, as far as known; never waits. What is not known, or not lately, is found
    /// out meanwhile.
    pub(super) fn way(&self, now: Instant, path: Path) -> Way {
        let answers = match self.shared.answers.try_read() {
            Ok(answers) => answers,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Way::Kernel,
        };
        let answer = answers.get(&path);
        let age =
            answer.map_or(Duration::MAX, |answer| now.saturating_duration_since(answer.found));
        if age >= FRESH {
            self.ask(path);
        }
        match answer {
            Some(answer) if answer.is_stale.swap(false, Ordering::Relaxed) => Way::Kernel,
            Some(answer) if age < USABLE => answer.way,
            Some(_) | None => Way::Kernel,
        }
    }

    fn ask(&self, path: Path) {
        match self.shared.questions.try_send(path) {
            Ok(()) => self.shared.waker.wake(),
            // Too many at once, or an end: the next packet asks again.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// The end at which answers are given.
pub(super) struct Answers {
    shared: std::sync::Weak<Shared>,
}

impl Answers {
    pub(super) fn new(neighbourhood: &Neighbourhood) -> Answers {
        Answers { shared: Arc::downgrade(&neighbourhood.shared) }
    }

    /// False once nobody asks any more.
    pub(super) fn are_wanted(&self) -> bool {
        self.shared.strong_count() > 0
    }

    /// Notes an answer; those who had another learn of it.
    pub(super) fn give(&self, now: Instant, path: Path, answer: Answer) {
        self.change(|answers| {
            if answers.len() >= MAX_PEERS && !answers.contains_key(&path) {
                answers.retain(|_, answer| now.saturating_duration_since(answer.found) < USABLE);
            }
            if answers.len() < MAX_PEERS || answers.contains_key(&path) {
                let way = answer.way;
                let before = answers.insert(path, answer);
                return before.is_none_or(|before| before.way != way);
            }
            false
        });
    }

    /// Forgets the answers that no longer hold.
    pub(super) fn forget(&self, is_void: impl Fn(&Way) -> bool) {
        self.change(|answers| {
            let before = answers.len();
            answers.retain(|_, answer| !is_void(&answer.way));
            answers.len() < before
        });
    }

    /// Changes the answers; true from `change` has the workers look again.
    fn change(&self, change: impl FnOnce(&mut HashMap<Path, Answer>) -> bool) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut answers: RwLockWriteGuard<'_, _> =
            shared.answers.write().unwrap_or_else(PoisonError::into_inner);
        if change(&mut answers) {
            shared.age.fetch_add(1, Ordering::Release);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.waker.wake();
    }
}

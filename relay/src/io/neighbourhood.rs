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

/// What a worker is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) way: Way,
    /// The next packet is to go by the kernel all the same, so that it asks after the neighbour.
    /// Said once for each answer.
    pub(super) is_stale: bool,
}

/// An answer of the kernel's.
pub(super) struct Answer {
    pub(super) way: Way,
    pub(super) found: Instant,
    /// The kernel has not heard of the neighbour for long, and nobody was told yet.
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
    /// out meanwhile. `None` while an answer is being written.
    pub(super) fn way(&self, now: Instant, path: Path) -> Option<Known> {
        let answers = match self.shared.answers.try_read() {
            Ok(answers) => answers,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let answer = answers.get(&path);
        let age =
            answer.map_or(Duration::MAX, |answer| now.saturating_duration_since(answer.found));
        if age >= FRESH {
            self.ask(path);
        }
        Some(match answer {
            Some(Answer { way, is_stale, .. }) if age < USABLE => {
                Known { way: *way, is_stale: is_stale.swap(false, Ordering::Relaxed) }
            }
            Some(_) | None => Known { way: Way::Kernel, is_stale: false },
        })
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

    /// Has all answers asked for anew, and used meanwhile.
    pub(super) fn doubt(&self, now: Instant) {
        let Some(before) = now.checked_sub(FRESH) else { return };
        self.change(|answers| {
            for answer in answers.values_mut() {
                answer.found = answer.found.min(before);
            }
            !answers.is_empty()
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, sync_channel};

    const PATH: Path = Path {
        from: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        to: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
    };
    const WAY: Way =
        Way::Frames(Hop { link: 2, macs: Macs { from: [2; 6], to: [4; 6] }, mtu: 1500 });

    fn scene() -> (Neighbourhood, Answers, Receiver<Path>, Instant) {
        let (sender, questions) = sync_channel(QUESTIONS);
        let neighbourhood = Neighbourhood::new(sender, Waker::new().unwrap());
        let answers = Answers::new(&neighbourhood);
        (neighbourhood, answers, questions, Instant::now())
    }

    fn answer(found: Instant, is_stale: bool) -> Answer {
        Answer { way: WAY, found, is_stale: AtomicBool::new(is_stale) }
    }

    #[test]
    fn what_is_not_known_is_asked_and_goes_by_the_kernel_meanwhile() {
        let (neighbourhood, answers, questions, now) = scene();
        let way = || neighbourhood.way(now, PATH).unwrap().way;
        assert_eq!((way(), questions.try_recv()), (Way::Kernel, Ok(PATH)));
        let age = neighbourhood.age();
        answers.give(now, PATH, answer(now, false));
        assert_ne!(neighbourhood.age(), age, "those who were told otherwise look again");
        assert_eq!((way(), questions.try_recv().ok()), (WAY, None));
    }

    #[test]
    fn an_old_answer_is_asked_for_anew_and_a_very_old_one_is_none() {
        let (neighbourhood, answers, questions, now) = scene();
        answers.give(now, PATH, answer(now, false));
        let way = |after| neighbourhood.way(now + after, PATH).unwrap().way;
        assert_eq!((way(FRESH), questions.try_recv()), (WAY, Ok(PATH)));
        assert_eq!((way(USABLE), questions.try_recv()), (Way::Kernel, Ok(PATH)));
    }

    #[test]
    fn one_packet_goes_by_the_kernel_for_a_stale_neighbour() {
        let (neighbourhood, answers, _questions, now) = scene();
        answers.give(now, PATH, answer(now, true));
        let known = || neighbourhood.way(now, PATH).unwrap();
        assert_eq!(known(), Known { way: WAY, is_stale: true });
        assert_eq!(known(), Known { way: WAY, is_stale: false });
    }

    #[test]
    fn what_no_longer_holds_is_forgotten() {
        let (neighbourhood, answers, _questions, now) = scene();
        answers.give(now, PATH, answer(now, false));
        let age = neighbourhood.age();
        answers.forget(|way| *way == Way::Kernel);
        assert_eq!(neighbourhood.age(), age);
        answers.forget(|way| *way == WAY);
        assert_eq!(neighbourhood.way(now, PATH).unwrap().way, Way::Kernel);
        assert_ne!(neighbourhood.age(), age);
    }

    #[test]
    fn what_is_doubted_is_asked_for_anew_and_used_meanwhile() {
        let (neighbourhood, answers, questions, start) = scene();
        let now = start + FRESH;
        answers.give(now, PATH, answer(now, false));
        let age = neighbourhood.age();
        answers.doubt(now);
        assert_ne!(neighbourhood.age(), age);
        let way = neighbourhood.way(now, PATH).unwrap().way;
        assert_eq!((way, questions.try_recv()), (WAY, Ok(PATH)));
    }

    #[test]
    fn no_more_peers_than_the_bound_are_remembered() {
        let (neighbourhood, answers, _questions, now) = scene();
        let path =
            |number: usize| Path { to: std::net::Ipv4Addr::from(number as u32).into(), ..PATH };
        for number in 0..=MAX_PEERS {
            answers.give(now, path(number), answer(now, false));
        }
        let way = |number, after| neighbourhood.way(now + after, path(number)).unwrap().way;
        assert_eq!((way(0, FRESH), way(MAX_PEERS, FRESH)), (WAY, Way::Kernel));
        let later = now + USABLE;
        answers.give(later, path(MAX_PEERS), answer(later, false));
        assert_eq!((way(0, USABLE), way(MAX_PEERS, USABLE)), (Way::Kernel, WAY));
    }
}

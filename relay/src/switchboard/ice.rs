//! IceLite: proves where a browser is, and that it still wants to be sent to (RFC 8445 as a lite
//! agent, RFC 7675).
//!
//! ```text
//! Waiting ── the peer nominates an address ──► Proving ── it answers our check ──► Proven
//!    ▲                                            │ no answer for 30 s               │
//!    └────────────────────────────────────────────┴── no consent for 30 s ───────────┘
//! ```
//!
//! A lite agent need not check. This one does, since a request alone proves that its sender knows the
//! password, not that it is where the packet says: without an answer of that address's own, a peer
//! could point our media at anybody.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use crate::wire::stun::{self, Class, IcePassword, Message, Refusal, Role, TransactionId, Written};

/// Between two checks of an address that has not answered yet (RFC 8489 section 6.2.1).
const RETRY: Duration = Duration::from_millis(500);
/// How long an address may take to answer, and how long an answer holds (RFC 7675 section 5.1).
pub const CONSENT: Duration = Duration::from_secs(30);
/// Between two checks of the consent: 5 s, a fifth more or less at random (the same).
const CONSENT_CHECK: Duration = Duration::from_secs(5);

/// Who a party is in ICE, as SDP says it.
#[derive(Clone)]
pub struct IceCredentials {
    /// The user fragment.
    pub ufrag: String,
    /// The password.
    pub password: IcePassword,
}

/// One leg's agent.
pub struct IceLite {
    ours: IceCredentials,
    theirs: IceCredentials,
    tie_breaker: u64,
    state: State,
}

enum State {
    /// No address has been nominated.
    Waiting,
    /// One has been, and is asked to answer.
    Proving(Check),
    /// One has answered.
    Proven {
        peer: SocketAddr,
        /// Until when its last answer holds.
        until: Instant,
        /// Asks it whether it still wants to.
        consent: Check,
        /// Another address that was nominated since.
        rival: Option<Check>,
    },
}

/// A check that is sent until it is answered.
struct Check {
    to: SocketAddr,
    transaction: TransactionId,
    /// When it is sent next.
    due: Instant,
    /// When nobody waits for the answer any more.
    end: Instant,
}

impl Check {
    fn new(now: Instant, to: SocketAddr, random: &mut impl Rng) -> Check {
        Check { to, transaction: TransactionId::random(random), due: now, end: now + CONSENT }
    }

    /// The next check of the consent: each has its own transaction, and is sent once.
    fn later(now: Instant, to: SocketAddr, random: &mut impl Rng) -> Check {
        let wait = CONSENT_CHECK.mul_f64(random.random_range(0.8..1.2));
        Check { due: now + wait, ..Check::new(now, to, random) }
    }

    fn is_answered_by(&self, from: SocketAddr, transaction: TransactionId) -> bool {
        self.to == from && self.transaction == transaction
    }
}

impl IceLite {
    /// An agent whose peer knows `ours`, as it is known by `theirs`.
    pub fn new(ours: IceCredentials, theirs: IceCredentials, random: &mut impl Rng) -> IceLite {
        IceLite { ours, theirs, tie_breaker: random.random(), state: State::Waiting }
    }

    /// Whether it was made for these two.
    pub fn is_between(&self, ours: &IceCredentials, theirs: &IceCredentials) -> bool {
        self.ours.ufrag == ours.ufrag && self.theirs.ufrag == theirs.ufrag
    }

    /// Where media may be sent now: the address that the peer nominated, that has answered, and that
    /// wants to be sent to.
    pub fn peer(&self, now: Instant) -> Option<SocketAddr> {
        match &self.state {
            State::Proven { peer, until, .. } if now < *until => Some(*peer),
            State::Proven { .. } | State::Proving(_) | State::Waiting => None,
        }
    }

    /// Handles a datagram that is STUN by its first octet; what it is answered, at once and to where
    /// it came from. Whoever does not know the password gets no answer and changes nothing.
    pub fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        random: &mut impl Rng,
    ) -> Option<Written> {
        let message = Message::parse(datagram).ok()?;
        match message.class {
            Class::Request => self.handle_request(now, from, &message, random),
            Class::Success => {
                if message.is_from(&self.theirs.password) {
                    self.handle_answer(now, from, message.transaction, random);
                }
                None
            }
            // Consent ends by itself when no answer comes.
            Class::Error | Class::Indication => None,
        }
    }

    /// The next check that is due, and where it goes.
    pub fn poll(&mut self, now: Instant, random: &mut impl Rng) -> Option<(SocketAddr, Written)> {
        self.expire(now);
        let (to, transaction) = match &mut self.state {
            State::Waiting => return None,
            State::Proving(check) => retry(now, check)?,
            State::Proven { consent, rival, .. } => {
                let again = rival.as_mut().and_then(|check| retry(now, check));
                again.or_else(|| ask_again(now, consent, random))?
            }
        };
        let check = stun::Check {
            theirs: &self.theirs.ufrag,
            ours: &self.ours.ufrag,
            role: Role::Controlled,
            tie_breaker: self.tie_breaker,
            use_candidate: false,
        };
        Some((to, stun::check(transaction, &check, &self.theirs.password)))
    }

    /// When [`IceLite::poll`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting => None,
            State::Proving(check) => Some(check.due.min(check.end)),
            State::Proven { consent, rival, until, .. } => {
                let rival = rival.as_ref().map_or(*until, |check| check.due.min(check.end));
                Some(consent.due.min(*until).min(rival))
            }
        }
    }

    fn handle_request(
        &mut self,
        now: Instant,
        from: SocketAddr,
        request: &Message<'_>,
        random: &mut impl Rng,
    ) -> Option<Written> {
        if !self.is_for_us(request.username?) || !request.is_from(&self.ours.password) {
            return None;
        }
        let refused = match request.role {
            _ if !request.unknown.is_empty() => Some(Refusal::UnknownAttribute),
            // A lite agent never decides (RFC 8445 section 6.1.1), so the other one has to.
            Some(Role::Controlled) => Some(Refusal::RoleConflict),
            None => Some(Refusal::BadRequest),
            Some(Role::Controlling) => None,
        };
        if let Some(refused) = refused {
            return Some(stun::refusal(request, refused, &self.ours.password));
        }
        if request.use_candidate {
            self.nominate(now, from, random);
        }
        Some(stun::success(request.transaction, from, &self.ours.password))
    }

    /// Whether a user name is `ours:theirs`.
    fn is_for_us(&self, username: &[u8]) -> bool {
        let rest = username.strip_prefix(self.ours.ufrag.as_bytes());
        rest.and_then(|rest| rest.strip_prefix(b":")) == Some(self.theirs.ufrag.as_bytes())
    }

    fn nominate(&mut self, now: Instant, to: SocketAddr, random: &mut impl Rng) {
        match &mut self.state {
            State::Proving(check) if check.to == to => {}
            State::Waiting | State::Proving(_) => {
                self.state = State::Proving(Check::new(now, to, random));
            }
            State::Proven { peer, rival, .. } if *peer == to => *rival = None,
            State::Proven { rival: Some(check), .. } if check.to == to => {}
            State::Proven { rival, .. } => *rival = Some(Check::new(now, to, random)),
        }
    }

    fn handle_answer(
        &mut self,
        now: Instant,
        from: SocketAddr,
        transaction: TransactionId,
        random: &mut impl Rng,
    ) {
        match &mut self.state {
            State::Proving(check) if check.is_answered_by(from, transaction) => {}
            State::Proven { rival: Some(check), .. } if check.is_answered_by(from, transaction) => {
            }
            State::Proven { consent, until, .. } if consent.is_answered_by(from, transaction) => {
                *until = now + CONSENT;
                *consent = Check::later(now, from, random);
                return;
            }
            State::Waiting | State::Proving(_) | State::Proven { .. } => return,
        }
        let consent = Check::later(now, from, random);
        self.state = State::Proven { peer: from, until: now + CONSENT, consent, rival: None };
    }

    fn expire(&mut self, now: Instant) {
        match &mut self.state {
            State::Proving(check) if now >= check.end => self.state = State::Waiting,
            State::Proven { until, .. } if now >= *until => self.state = State::Waiting,
            State::Proven { rival, .. } if rival.as_ref().is_some_and(|it| now >= it.end) => {
                *rival = None;
            }
            State::Waiting | State::Proving(_) | State::Proven { .. } => {}
        }
    }
}

/// Sends a check once more if it is due.
fn retry(now: Instant, check: &mut Check) -> Option<(SocketAddr, TransactionId)> {
    if now < check.due {
        return None;
    }
    check.due = now + RETRY;
    Some((check.to, check.transaction))
}

/// Asks for consent if that is due. The answer may come until the next time.
fn ask_again(
    now: Instant,
    consent: &mut Check,
    random: &mut impl Rng,
) -> Option<(SocketAddr, TransactionId)> {
    if now < consent.due {
        return None;
    }
    *consent = Check::later(now, consent.to, random);
    Some((consent.to, consent.transaction))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn credentials(name: &str) -> IceCredentials {
        IceCredentials { ufrag: name.to_owned(), password: IcePassword::new(&name.repeat(6)) }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    struct Scene {
        agent: IceLite,
        now: Instant,
        random: StdRng,
    }

    impl Scene {
        fn new() -> Scene {
            let mut random = StdRng::seed_from_u64(1);
            let agent = IceLite::new(credentials("ours"), credentials("them"), &mut random);
            Scene { agent, now: Instant::now(), random }
        }

        fn hears(&mut self, from: u16, datagram: &[u8]) -> Option<Written> {
            self.agent.handle(self.now, address(from), datagram, &mut self.random)
        }

        /// A browser's check from a port, under these credentials of ours.
        fn is_asked(
            &mut self,
            from: u16,
            nominates: bool,
            ours: &str,
            role: Role,
        ) -> Option<Class> {
            let check = stun::Check {
                theirs: ours,
                ours: "them",
                role,
                tie_breaker: 1,
                use_candidate: nominates,
            };
            let transaction = TransactionId::random(&mut self.random);
            let request = stun::check(transaction, &check, &credentials(ours).password);
            let answer = self.hears(from, &request)?;
            let answer = Message::parse(&answer).unwrap();
            assert!(answer.is_from(&credentials("ours").password));
            assert_eq!(answer.transaction, transaction);
            Some(answer.class)
        }

        fn is_nominated(&mut self, from: u16) {
            let answer = self.is_asked(from, true, "ours", Role::Controlling);
            assert_eq!(answer, Some(Class::Success));
        }

        /// What it sends now, and where to.
        fn asks(&mut self) -> Option<(u16, TransactionId)> {
            let (to, check) = self.agent.poll(self.now, &mut self.random)?;
            let check = Message::parse(&check).unwrap();
            assert!(check.is_from(&credentials("them").password));
            assert_eq!(check.username, Some(&b"them:ours"[..]));
            Some((to.port(), check.transaction))
        }

        fn is_answered(&mut self, from: u16, transaction: TransactionId, password: &str) {
            let seen_at = address(10_000);
            let answer = stun::success(transaction, seen_at, &credentials(password).password);
            assert!(self.hears(from, &answer).is_none());
        }

        fn proven_at(port: u16) -> Scene {
            let mut scene = Scene::new();
            scene.is_nominated(port);
            let (to, transaction) = scene.asks().unwrap();
            scene.is_answered(to, transaction, "them");
            assert_eq!(scene.peer(), Some(port));
            scene
        }

        fn peer(&self) -> Option<u16> {
            self.agent.peer(self.now).map(|peer| peer.port())
        }
    }

    #[test]
    fn an_address_is_used_once_it_was_nominated_and_has_answered() {
        let mut scene = Scene::new();
        assert_eq!(scene.agent.due(), None);
        assert_eq!(scene.is_asked(7, false, "ours", Role::Controlling), Some(Class::Success));
        assert_eq!((scene.asks(), scene.peer()), (None, None));
        scene.is_nominated(7);
        let (to, transaction) = scene.asks().unwrap();
        assert_eq!((to, scene.peer()), (7, None));
        // The same question, until it is answered.
        scene.now += RETRY;
        assert_eq!(scene.asks(), Some((7, transaction)));
        scene.is_answered(8, transaction, "them");
        scene.is_answered(7, transaction, "else");
        let other = TransactionId::random(&mut scene.random);
        scene.is_answered(7, other, "them");
        assert_eq!(scene.peer(), None);
        scene.is_answered(7, transaction, "them");
        assert_eq!(scene.peer(), Some(7));
    }

    #[test]
    fn whoever_does_not_know_the_password_gets_no_answer_and_changes_nothing() {
        let mut scene = Scene::new();
        let good = |use_candidate| stun::Check {
            theirs: "ours",
            ours: "them",
            role: Role::Controlling,
            tie_breaker: 1,
            use_candidate,
        };
        let transaction = TransactionId::random(&mut scene.random);
        let wrong = IcePassword::new("guessed");
        let forged = [
            stun::check(transaction, &good(true), &wrong),
            stun::check(transaction, &stun::Check { ours: "they", ..good(true) }, &wrong),
            stun::success(transaction, address(1), &wrong),
        ];
        for datagram in forged {
            assert!(scene.hears(7, &datagram).is_none());
        }
        assert_eq!(scene.is_asked(7, true, "else", Role::Controlling), None);
        assert_eq!((scene.asks(), scene.agent.due(), scene.peer()), (None, None, None));
    }

    #[test]
    fn a_wrong_role_is_told_and_nominates_nobody() {
        let mut scene = Scene::new();
        assert_eq!(scene.is_asked(7, true, "ours", Role::Controlled), Some(Class::Error));
        assert_eq!(scene.asks(), None);
    }

    #[test]
    fn an_address_that_never_answers_is_given_up() {
        let mut scene = Scene::new();
        scene.is_nominated(7);
        let end = scene.now + CONSENT;
        let mut asked = 0;
        while let Some(due) = scene.agent.due() {
            scene.now = due;
            asked += usize::from(scene.asks().is_some());
        }
        assert_eq!((scene.now, asked), (end, 60));
        scene.is_nominated(7);
        assert!(scene.asks().is_some());
    }

    #[test]
    fn media_ends_30_s_after_the_last_consent() {
        let mut scene = Scene::proven_at(7);
        let end = scene.now + CONSENT;
        let mut asked = Vec::new();
        while let Some(due) = scene.agent.due().filter(|due| *due < end) {
            scene.now = due;
            asked.extend(scene.asks());
        }
        assert!((4..=8).contains(&asked.len()), "{} checks in 30 s", asked.len());
        assert!(asked.windows(2).all(|two| two[0].1 != two[1].1), "each has its own transaction");
        assert_eq!(scene.peer(), Some(7));
        scene.now = end;
        assert_eq!(scene.peer(), None);
        assert_eq!((scene.asks(), scene.agent.due()), (None, None));
    }

    #[test]
    fn media_goes_on_while_consent_is_given() {
        let mut scene = Scene::proven_at(7);
        let end = scene.now + 20 * CONSENT;
        while let Some(due) = scene.agent.due().filter(|due| *due < end) {
            assert!(due > scene.now);
            scene.now = due;
            let (to, transaction) = scene.asks().unwrap();
            scene.is_answered(to, transaction, "them");
            assert_eq!(scene.peer(), Some(7));
        }
    }

    #[test]
    fn another_address_takes_over_once_it_has_answered() {
        let mut scene = Scene::proven_at(7);
        scene.is_nominated(8);
        let (to, transaction) = scene.asks().unwrap();
        assert_eq!((to, scene.peer()), (8, Some(7)));
        scene.is_answered(8, transaction, "them");
        assert_eq!(scene.peer(), Some(8));
        // One that never answers changes nothing.
        scene.is_nominated(9);
        let end = scene.now + Duration::from_secs(25);
        while let Some(due) = scene.agent.due().filter(|due| *due < end) {
            scene.now = due;
            if let Some((8, transaction)) = scene.asks() {
                scene.is_answered(8, transaction, "them");
            }
        }
        assert_eq!(scene.peer(), Some(8));
        // Nor does one that is given up for the one that is used.
        scene.is_nominated(8);
        scene.now += RETRY;
        assert!(scene.asks().is_none_or(|(to, _)| to == 8));
    }
}

//! Agent: the user agent server. What comes in finds its transaction or its dialog, or is refused.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::access::{Access, Doors, Standing};
use crate::digest::{Challenger, Verdict};
use crate::fields::{self, Basics};
use crate::flow::Flow;
use crate::leg::{BRANCH, Leg};
use crate::message::{AUTHORIZATION, Message, Method, Start};
use crate::pressed_key::PressedKey;
use crate::rate::Rate;
use crate::reply::{ALLOW, Asker, Header, SDP, SUPPORTS, always};
use crate::transaction::{Due, Key, Phase, Resent, Transaction};

/// Requests of one source that are looked at: far above a trunk's busy hour, far below what a core
/// can read.
const PER_SOURCE: (u32, u32) = (1000, 2000);
/// Answers a second to one source that has proven nothing, and at once. Who is asked for a secret
/// asks twice; who guesses is slow.
const UNPROVEN: (u32, u32) = (20, 40);
/// Transactions at a time. A finished one stays for 32 s, so this is 128 requests a second.
const MAX_TRANSACTIONS: usize = 8192;
/// Seconds after which a call refused for lack of room is worth another try.
const RETRY_AFTER_S: u32 = 5;

/// One caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LegId(u64);

/// How an agent is set up.
pub struct Settings {
    /// Who may call.
    pub access: Access,
    /// Calls at a time.
    pub max_calls: usize,
    /// What nobody else can guess.
    pub seed: [u8; 32],
}

/// Octets to be sent.
pub struct Transmit {
    /// Where to.
    pub flow: Flow,
    /// They may hold keys of SRTP.
    pub octets: Zeroizing<Vec<u8>>,
}

/// What has happened. It has no `Debug`: numbers are somebody's, and keys a secret.
pub enum Event {
    /// Somebody calls.
    Invited(Invitation),
    /// A caller offers anew: it holds, resumes or moves. An answer or a refusal is awaited.
    Offered {
        /// Whose offer.
        leg: LegId,
        /// The offer.
        sdp: Zeroizing<Vec<u8>>,
    },
    /// A caller has pressed a key.
    Keyed {
        /// Which caller.
        leg: LegId,
        /// The key.
        key: PressedKey,
    },
    /// A caller is gone; nothing more is to be said to it.
    Ended {
        /// Which caller.
        leg: LegId,
    },
}

/// A call that awaits an answer or a refusal.
pub struct Invitation {
    /// The caller.
    pub leg: LegId,
    /// Who is called: a number or a name; empty if the address names nobody.
    pub callee: String,
    /// The offer.
    pub sdp: Zeroizing<Vec<u8>>,
    /// The dialog's `Call-ID`.
    pub call_id: String,
    /// `From`, as the caller has written it.
    pub from: String,
    /// `To`, as the caller has written it.
    pub to: String,
}

/// Why a call or an offer is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status, 400 to 699.
    pub status: u16,
    /// Seconds after which another try may help.
    pub retry_after: Option<u32>,
    /// What to do about it, in words that repeat nothing of the offer.
    pub advice: Option<String>,
}

impl Refusal {
    pub(crate) fn headers(&self) -> Vec<Header> {
        let mut headers = Vec::new();
        if let Some(seconds) = self.retry_after {
            headers.push(("Retry-After", seconds.to_string()));
        }
        if let Some(advice) = &self.advice {
            // One line, and no quote within the quotes (RFC 3261 section 20.43).
            let text: String =
                advice.chars().map(|c| if c == '"' || c.is_control() { '\'' } else { c }).collect();
            headers.push(("Warning", format!("399 sotto \"{}\"", text.replace('\\', "/"))));
        }
        headers
    }
}

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Transaction(Key),
    Leg(LegId),
}

/// The user agent server.
pub struct Agent {
    doors: Doors,
    challenger: Option<Challenger>,
    max_calls: usize,
    pub(crate) secret: [u8; 32],
    random: StdRng,
    heard: Rate,
    unproven: Rate,
    pub(crate) transactions: HashMap<Key, Transaction>,
    pub(crate) legs: HashMap<LegId, Leg>,
    pub(crate) tags: HashMap<String, LegId>,
    next_leg: u64,
    timers: BTreeSet<(Instant, Subject)>,
    transmits: VecDeque<Transmit>,
    pub(crate) events: VecDeque<Event>,
}

impl Agent {
    /// An agent that has no calls yet.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Agent {
        let mut random = StdRng::from_seed(settings.seed);
        let mut secret = || {
            let mut octets = [0; 32];
            random.fill_bytes(&mut octets);
            octets
        };
        let (doors, users) = settings.access.split();
        let challenger = users.map(|users| Challenger::new(users, secret(), now));
        let rate = |key, (per_second, at_once)| Rate::new(key, per_second, at_once, now);
        Agent {
            doors,
            challenger,
            max_calls: settings.max_calls,
            secret: secret(),
            heard: rate(secret(), PER_SOURCE),
            unproven: rate(secret(), UNPROVEN),
            random,
            transactions: HashMap::new(),
            legs: HashMap::new(),
            tags: HashMap::new(),
            next_leg: 0,
            timers: BTreeSet::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes in one message. What can't be read is passed over.
    pub fn handle(&mut self, now: Instant, flow: Flow, octets: &[u8]) {
        if !self.heard.admits(now, flow.remote.ip()) {
            return;
        }
        let Ok(message) = Message::parse(octets) else { return };
        match message.start {
            Start::Request { method, word, uri } => {
                let Ok(basics) = Basics::of(&message) else { return };
                if basics.cseq_method == word {
                    self.take_request(now, &Request { message, basics, method, word, uri, flow });
                }
            }
            Start::Response { status } => self.take_response(&message, status),
        }
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What has happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Agent::handle_time`] is wanted, unless something comes in before.
    #[must_use]
    pub fn poll_time(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Does what is due.
    pub fn handle_time(&mut self, now: Instant) {
        while let Some((due, subject)) = self.timers.first().copied().filter(|(due, _)| *due <= now)
        {
            self.timers.remove(&(due, subject));
            match subject {
                Subject::Transaction(key) => self.transaction_is_due(now, key),
                Subject::Leg(leg) => self.leg_is_due(now, leg),
            }
        }
    }

    /// Whether a call goes by this connection.
    #[must_use]
    pub fn is_used(&self, connection: u64) -> bool {
        self.legs.values().any(|leg| leg.flow.connection == connection)
    }

    /// Calls that are not over.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.legs.len()
    }

    fn take_request(&mut self, now: Instant, request: &Request<'_>) {
        let Request { basics, method, word, .. } = request;
        if *method == Method::Ack {
            return self.acknowledge(now, basics, Key::of(basics, "INVITE"));
        }
        if *method == Method::Cancel {
            return self.cancel(now, request, Key::of(basics, "INVITE"));
        }
        let key = Key::of(basics, word);
        if let Some(known) = self.transactions.get(&key) {
            if let Some(response) = known.response.clone() {
                self.transmits.push_back(Transmit { flow: known.flow, octets: response });
            }
            return;
        }
        if let Some(tag) = basics.to_tag {
            let leg = self.tags.get(tag).copied();
            let leg = leg.filter(|leg| self.legs.get(leg).is_some_and(|leg| leg.has(basics)));
            return match leg {
                Some(leg) => self.take_within(now, leg, key, request),
                None => self.refuse_unproven(now, request, 481, &[]),
            };
        }
        if self.is_admitted(now, request) {
            self.take_outside(key, request);
        }
    }

    /// Whether a request that begins something may; if not, it was refused.
    fn is_admitted(&mut self, now: Instant, request: &Request<'_>) -> bool {
        let challenger = match self.doors.standing(request.flow.remote.ip()) {
            Standing::Trusted => return true,
            Standing::Unwelcome => None,
            Standing::Unproven => self.challenger.as_mut(),
        };
        let Some(challenger) = challenger else {
            self.refuse_unproven(now, request, 403, &[]);
            return false;
        };
        // Beyond its rate nobody guesses; who is right pays nothing.
        if !self.unproven.has_room(now, request.flow.remote.ip()) {
            return false;
        }
        let credentials = request.message.all(AUTHORIZATION);
        match challenger.check(now, request.word, credentials) {
            Verdict::Proven => return true,
            Verdict::Unproven { stale } => {
                let challenges = challenger.challenges(now, stale, &mut self.random);
                let challenges = challenges.into_iter().map(|value| ("WWW-Authenticate", value));
                self.refuse_unproven(now, request, 401, &challenges.collect::<Vec<_>>());
            }
            Verdict::Busy => self.refuse_for_room(request),
        }
        false
    }

    fn take_outside(&mut self, key: Key, request: &Request<'_>) {
        match request.method {
            Method::Invite => self.take_invite(key, request),
            Method::Options => {
                let accept = ("Accept", SDP.to_owned());
                self.reply_once(request, 200, &[always(ALLOW), always(SUPPORTS), accept]);
            }
            Method::Bye | Method::Info | Method::Update => self.reply_once(request, 481, &[]),
            Method::Ack | Method::Cancel => {}
            Method::Other => self.reply_once(request, 405, &[always(ALLOW)]),
        }
    }

    fn take_response(&mut self, message: &Message<'_>, status: u16) {
        let via = message.first(crate::message::VIA).and_then(|value| fields::list(value).next());
        let Some(Ok(via)) = via.map(fields::Via::parse) else { return };
        let tag = via.branch().and_then(|branch| branch.strip_prefix(BRANCH));
        let leg = tag.and_then(|tag| self.tags.get(tag)).copied();
        let is_leaving = |leg: &LegId| self.legs.get(leg).is_some_and(|leg| leg.farewell.is_some());
        if let Some(leg) = leg.filter(is_leaving)
            && status >= 200
        {
            self.forget(leg);
        }
    }

    /// An answer that nothing is kept of: the same whenever the request is.
    pub(crate) fn reply_once(&mut self, request: &Request<'_>, status: u16, headers: &[Header]) {
        let asker = request.asker();
        let tag = Key::of(&request.basics, request.word).tag(&self.secret);
        let octets = asker.reply(status, Some(&tag), headers, None);
        self.send(asker.flow, octets);
    }

    /// The same to a source that has proven nothing, within its rate.
    pub(crate) fn refuse_unproven(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        status: u16,
        headers: &[Header],
    ) {
        if self.unproven.admits(now, request.flow.remote.ip()) {
            self.reply_once(request, status, headers);
        }
    }

    pub(crate) fn refuse_for_room(&mut self, request: &Request<'_>) {
        self.reply_once(request, 503, &[("Retry-After", RETRY_AFTER_S.to_string())]);
    }

    pub(crate) fn send(&mut self, flow: Flow, octets: Zeroizing<Vec<u8>>) {
        self.transmits.push_back(Transmit { flow, octets });
    }

    /// Whether there is room for one more call.
    pub(crate) fn has_room(&self) -> bool {
        self.legs.len() < self.max_calls && self.has_room_for_requests()
    }

    /// Whether there is room for one more transaction.
    pub(crate) fn has_room_for_requests(&self) -> bool {
        self.transactions.len() < MAX_TRANSACTIONS
    }

    /// A tag that nobody can guess: who knows it has been in the call.
    pub(crate) fn new_leg(&mut self) -> (LegId, String) {
        self.next_leg += 1;
        let tag = format!("{:016x}{:016x}", self.random.next_u64(), self.random.next_u64());
        (LegId(self.next_leg), tag)
    }

    fn transaction_is_due(&mut self, now: Instant, key: Key) {
        let Some(transaction) = self.transactions.get_mut(&key) else { return };
        transaction.scheduled = None;
        let Phase::Done(resent) = &mut transaction.phase else { return };
        match resent.handle_time(now) {
            Due::Send => {
                if let Some(octets) = transaction.response.clone() {
                    let flow = transaction.flow;
                    self.send(flow, octets);
                }
            }
            Due::Nothing => {}
            Due::GiveUp => {
                let leg = transaction.leg;
                self.transactions.remove(&key);
                if let Some(leg) = leg {
                    self.never_acknowledged(now, leg, key);
                }
                return;
            }
        }
        self.schedule_transaction(key);
    }

    pub(crate) fn schedule_transaction(&mut self, key: Key) {
        let Some(transaction) = self.transactions.get_mut(&key) else { return };
        let due = transaction.due();
        if let Some(before) = std::mem::replace(&mut transaction.scheduled, due) {
            self.timers.remove(&(before, Subject::Transaction(key)));
        }
        self.timers.extend(due.map(|due| (due, Subject::Transaction(key))));
    }

    pub(crate) fn schedule_leg(&mut self, leg: LegId) {
        let Some(known) = self.legs.get_mut(&leg) else { return };
        let due = known.due();
        if let Some(before) = std::mem::replace(&mut known.scheduled, due) {
            self.timers.remove(&(before, Subject::Leg(leg)));
        }
        self.timers.extend(due.map(|due| (due, Subject::Leg(leg))));
    }

    pub(crate) fn forget(&mut self, leg: LegId) {
        if let Some(known) = self.legs.remove(&leg) {
            self.tags.remove(&known.tag);
            if let Some(due) = known.scheduled {
                self.timers.remove(&(due, Subject::Leg(leg)));
            }
            // The last is that of its BYE, or of its refusal. Whatever comes late of the others is
            // of no call any more.
            let before = known.transactions.len().saturating_sub(1);
            for key in known.transactions.into_iter().take(before) {
                self.drop_transaction(key);
            }
        }
    }

    /// A transaction of a dialog is kept, and the dialog's oldest makes room.
    pub(crate) fn keep_transaction(&mut self, leg: LegId, key: Key, transaction: Transaction) {
        self.transactions.insert(key, transaction);
        self.schedule_transaction(key);
        let oldest = self.legs.get_mut(&leg).and_then(|leg| leg.keep(key));
        if let Some(oldest) = oldest {
            self.drop_transaction(oldest);
        }
    }

    fn drop_transaction(&mut self, key: Key) {
        let scheduled = self.transactions.remove(&key).and_then(|it| it.scheduled);
        if let Some(due) = scheduled {
            self.timers.remove(&(due, Subject::Transaction(key)));
        }
    }

    /// A dialog's transaction whose response is final from the beginning.
    pub(crate) fn finish_at_once(
        &mut self,
        now: Instant,
        (leg, key): (LegId, Key),
        request: &Request<'_>,
        (status, headers): (u16, &[Header]),
    ) {
        let asker = request.asker();
        let octets = asker.reply(status, None, headers, None);
        self.send(asker.flow, octets.clone());
        if !self.has_room_for_requests() {
            return;
        }
        let is_invite = request.method == Method::Invite;
        let is_repeated = is_invite && !asker.flow.transport.is_reliable();
        let transaction = Transaction {
            is_invite,
            phase: Phase::Done(Resent::begin(now, is_repeated)),
            response: Some(octets),
            leg: None,
            is_accepted: false,
            flow: asker.flow,
            scheduled: None,
        };
        self.keep_transaction(leg, key, transaction);
    }
}

/// One request and the way it came.
pub(crate) struct Request<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) basics: Basics<'a>,
    pub(crate) method: Method,
    pub(crate) word: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) flow: Flow,
}

impl Request<'_> {
    pub(crate) fn asker(&self) -> Asker {
        Asker::of(&self.message, &self.basics, self.flow)
    }
}

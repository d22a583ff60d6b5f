//! CallIndex: every call the control plane knows, by id.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use relay::CallAt;
use relay::switchboard::{CallId, CallSnapshot, DropReason, Event, SessionId, Side};
use relay::wire::sdp::PreviousAnswer;

use crate::clock::Timestamp;
use crate::dto::leg::TransportName;
use crate::echo::hearing::Hearing;
use crate::engines::EngineProfile;
use crate::external_id::ExternalId;
use crate::model_tokens::ModelTokens;
use crate::recorded::Recorded;
use crate::sinks::SinkOrder;
use crate::story::Story;
use crate::tools::Run;
use crate::wait::WaitRoom;

/// Calls that are over and still answered for, so that their outcome can be read.
pub const MAX_ENDED: usize = 4096;

/// Orders kept for one call. There is one session at a time; the others are of sessions that failed,
/// or were refused after their script had gone away, and the oldest makes room.
const MAX_ORDERS: usize = 8;

/// One call, as the control plane knows it.
pub struct CallEntry {
    /// The call.
    pub id: CallId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// What its integrator calls it.
    pub external_id: Option<ExternalId>,
    /// Its recording.
    pub recorded: Recorded,
    /// The caller is behind NAT: its address is learned from its packets.
    pub nat: bool,
    /// What is known of its engine.
    profile: Mutex<EngineProfile>,
    /// What has happened.
    pub story: Story,
    /// What the caller was last answered; re-offers build on it, one at a time.
    pub answered: tokio::sync::Mutex<Option<PreviousAnswer>>,
    /// Room for requests that wait for its secure session's end.
    pub waits: WaitRoom,
    /// The last session that a platform's tool started; held while one is being started.
    pub tool: tokio::sync::Mutex<Option<Run>>,
    /// What lets the call's model in.
    pub models: ModelTokens,
    /// What becomes of what its secure sessions accept: the one in progress, and those that are
    /// being asked for.
    orders: Mutex<VecDeque<(SessionId, SinkOrder)>>,
    /// What its engine hears, where that is an echo.
    hearing: Mutex<Option<Arc<Hearing>>>,
    /// How its legs are connected to that are not RTP, by [`Side::index`].
    links: [OnceLock<TransportName>; 2],
    /// Secure sessions that let the engine be heard: the one in progress, those before it, and those
    /// that are being asked for.
    audible: Mutex<VecDeque<SessionId>>,
    at: OnceLock<CallAt>,
    seen: Mutex<Option<CallSnapshot>>,
}

impl CallEntry {
    /// A call that is about to be opened.
    #[must_use]
    pub fn new(
        id: CallId,
        created_at: Timestamp,
        recorded: bool,
        nat: bool,
        profile: EngineProfile,
    ) -> CallEntry {
        CallEntry {
            id,
            created_at,
            external_id: None,
            recorded: Recorded::since(recorded.then_some(created_at)),
            nat,
            profile: Mutex::new(profile),
            story: Story::default(),
            answered: tokio::sync::Mutex::new(None),
            waits: WaitRoom::default(),
            tool: tokio::sync::Mutex::new(None),
            models: ModelTokens::default(),
            orders: Mutex::default(),
            hearing: Mutex::default(),
            links: [OnceLock::new(), OnceLock::new()],
            audible: Mutex::default(),
            at: OnceLock::new(),
            seen: Mutex::new(None),
        }
    }

    /// The same call, named by its integrator.
    #[must_use]
    pub fn called(self, external_id: Option<ExternalId>) -> CallEntry {
        CallEntry { external_id, ..self }
    }

    /// What is to become of what a session will accept, if anything is. Each session has its own: one
    /// that is refused changes nothing for the one in progress.
    pub fn order(&self, session: SessionId, sink: SinkOrder) {
        if !sink.delivers() {
            return;
        }
        let mut orders = self.lock_orders();
        if orders.len() == MAX_ORDERS {
            orders.pop_front();
        }
        orders.push_back((session, sink));
    }

    /// The order of a session, once.
    pub fn take_order(&self, session: SessionId) -> Option<SinkOrder> {
        let mut orders = self.lock_orders();
        let place = orders.iter().position(|(ordered, _)| *ordered == session)?;
        orders.remove(place).map(|(_, sink)| sink)
    }

    fn lock_orders(&self) -> MutexGuard<'_, VecDeque<(SessionId, SinkOrder)>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the call's engine.
    #[must_use]
    pub fn profile(&self) -> EngineProfile {
        *self.profile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call has another engine.
    pub fn is_now(&self, profile: EngineProfile) {
        *self.profile.lock().unwrap_or_else(PoisonError::into_inner) = profile;
    }

    /// How the call's legs are connected to that are not RTP, by [`Side::index`].
    #[must_use]
    pub fn links(&self) -> [Option<TransportName>; 2] {
        [0, 1].map(|side| self.links[side].get().copied())
    }

    /// A leg of the call is behind a connection of this kind.
    pub fn is_linked_by(&self, side: Side, transport: TransportName) {
        // A leg is of this kind from the call's opening, or never.
        let _ = self.links[side.index()].set(transport);
    }

    /// Whether the secure session that was entered last lets the engine be heard.
    #[must_use]
    pub fn lets_engine_through(&self) -> bool {
        let last = self.story.session();
        last.is_some_and(|last| self.lock_audible().contains(&last.id))
    }

    /// A secure session is about to be entered that lets the engine be heard. Each session is asked
    /// for by itself: one that is refused changes nothing for the one in progress.
    pub fn let_engine_through(&self, session: SessionId) {
        let mut audible = self.lock_audible();
        if audible.len() == MAX_ORDERS {
            audible.pop_front();
        }
        audible.push_back(session);
    }

    /// It was not entered.
    pub fn was_refused(&self, session: SessionId) {
        self.lock_audible().retain(|audible| *audible != session);
        drop(self.take_order(session));
    }

    fn lock_audible(&self) -> MutexGuard<'_, VecDeque<SessionId>> {
        self.audible.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the call's engine hears, where that is an echo.
    #[must_use]
    pub fn hearing(&self) -> Option<Arc<Hearing>> {
        self.lock_hearing().clone()
    }

    /// The call has an echo for an engine, which writes down what it hears.
    pub fn hears_by(&self, hearing: Arc<Hearing>) {
        *self.lock_hearing() = Some(hearing);
    }

    /// The call has another engine than its echo, which ends.
    pub fn dismiss_echo(&self) {
        if let Some(hearing) = self.lock_hearing().take() {
            hearing.end();
        }
    }

    fn lock_hearing(&self) -> MutexGuard<'_, Option<Arc<Hearing>>> {
        self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call's worker, once it is open.
    #[must_use]
    pub fn at(&self) -> Option<CallAt> {
        self.at.get().copied()
    }

    /// The call is open. Only now can it be found.
    pub fn opened(&self, at: CallAt) {
        assert_eq!(at.call, self.id, "a call is opened under its own id");
        assert!(self.at.set(at).is_ok(), "a call is opened once");
    }

    /// The call as it was last seen, for when it is over.
    #[must_use]
    pub fn last_seen(&self) -> Option<CallSnapshot> {
        self.lock_seen().clone()
    }

    fn lock_seen(&self) -> MutexGuard<'_, Option<CallSnapshot>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A live call has this external id already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExternalIdInUse;

/// Every call the control plane knows: those that live, and the last [`MAX_ENDED`] that don't.
#[derive(Default)]
pub struct CallIndex {
    calls: DashMap<CallId, Arc<CallEntry>>,
    /// The last call of each external id. It holds no id that `calls` does not; of the two locks
    /// this one is taken first.
    named: DashMap<ExternalId, CallId>,
    ended: Mutex<VecDeque<CallId>>,
    drops: [AtomicU64; DropReason::ALL.len()],
}

impl CallIndex {
    /// Makes room for a call that is about to be opened: its first events may come before the
    /// answer to its opening. Of two calls that are to be opened under one external id the first
    /// has it.
    ///
    /// # Errors
    /// If a live call has its external id.
    pub fn expect(&self, entry: CallEntry) -> Result<Arc<CallEntry>, ExternalIdInUse> {
        let entry = Arc::new(entry);
        let Some(external_id) = entry.external_id.clone() else {
            self.insert(&entry);
            return Ok(entry);
        };
        match self.named.entry(external_id) {
            Entry::Occupied(named) if self.lives(*named.get()) => return Err(ExternalIdInUse),
            Entry::Occupied(mut named) => {
                self.insert(&entry);
                named.insert(entry.id);
            }
            Entry::Vacant(named) => {
                self.insert(&entry);
                named.insert(entry.id);
            }
        }
        Ok(entry)
    }

    fn insert(&self, entry: &Arc<CallEntry>) {
        let before = self.calls.insert(entry.id, Arc::clone(entry));
        assert!(before.is_none(), "call ids are used once");
    }

    fn lives(&self, id: CallId) -> bool {
        self.calls.get(&id).is_some_and(|entry| !entry.story.is_closed())
    }

    /// Forgets a call that could not be opened, or is long over.
    pub fn forget(&self, id: CallId) {
        let Some((_, entry)) = self.calls.remove(&id) else { return };
        if let Some(external_id) = &entry.external_id {
            // A later call may have the name by now.
            self.named.remove_if(external_id, |_, named| *named == id);
        }
    }

    /// The last call of that external id: the one that lives, or else one that is remembered.
    #[must_use]
    pub fn id_of(&self, external_id: &ExternalId) -> Option<CallId> {
        self.named.get(external_id).map(|named| *named)
    }

    /// The call of that id, if it was ever open and is still remembered.
    #[must_use]
    pub fn find(&self, id: CallId) -> Option<Arc<CallEntry>> {
        let entry = self.calls.get(&id).map(|entry| Arc::clone(&entry));
        entry.filter(|entry| entry.at().is_some())
    }

    /// Up to `limit` calls older than `before`, newest first; of one external id if that is asked
    /// for.
    #[must_use]
    pub fn page(
        &self,
        before: Option<CallId>,
        external_id: Option<&ExternalId>,
        limit: usize,
    ) -> Vec<Arc<CallEntry>> {
        let mut calls: Vec<Arc<CallEntry>> = self
            .calls
            .iter()
            .filter(|entry| before.is_none_or(|before| entry.id < before) && entry.at().is_some())
            .filter(|entry| external_id.is_none() || entry.external_id.as_ref() == external_id)
            .map(|entry| Arc::clone(&entry))
            .collect();
        calls.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
        calls.truncate(limit);
        calls
    }

    /// The calls that are open.
    #[must_use]
    pub fn live(&self) -> Vec<Arc<CallEntry>> {
        let entries = self.calls.iter().filter(|entry| !entry.story.is_closed());
        entries.map(|entry| Arc::clone(&entry)).collect()
    }

    /// Takes in an event of the relay.
    pub fn handle_event(&self, now: Timestamp, event: Event) {
        // The guard of the map is not held while the story is told.
        let entry = self.calls.get(&event.call).map(|entry| Arc::clone(&entry));
        let Some(entry) = entry else { return };
        entry.recorded.handle_event(now, event.kind);
        let was_closed = entry.story.is_closed();
        entry.story.handle_event(now, event.kind);
        if entry.story.is_closed() && !was_closed {
            self.remember_ended(entry.id);
        }
    }

    /// Takes in a snapshot: what was dropped since the last one is counted.
    pub fn see(&self, entry: &CallEntry, snapshot: CallSnapshot) {
        let mut seen = entry.lock_seen();
        for reason in DropReason::ALL {
            let before = seen.as_ref().map_or(0, |seen| drops_of(seen, reason));
            let more = drops_of(&snapshot, reason).saturating_sub(before);
            if let Some(total) = self.drops.get(reason.index()) {
                total.fetch_add(more, Ordering::Relaxed);
            }
        }
        *seen = Some(snapshot);
    }

    /// Packets dropped for `reason`, as far as snapshots have shown.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.index()).map_or(0, |total| total.load(Ordering::Relaxed))
    }

    fn remember_ended(&self, id: CallId) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push_back(id);
        if ended.len() > MAX_ENDED
            && let Some(oldest) = ended.pop_front()
        {
            self.forget(oldest);
        }
    }
}

fn drops_of(snapshot: &CallSnapshot, reason: DropReason) -> u64 {
    snapshot.legs.iter().filter_map(|leg| leg.drops.get(reason.index())).sum()
}

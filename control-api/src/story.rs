//! Story: what has happened on one call, in the words of those who may hear it.
//!
//! There are two tellings of the same call, each numbered without gaps: a gap in the engine's
//! numbers would tell how many fields were tried. Times are whole seconds, so that none of them
//! is the time of a key press.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dtmf::{FieldError, Step, Verdict};
use relay::switchboard::{EventKind, SessionId, Side};
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::keys::Role;
use crate::telling::{self, Telling};

/// Who is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// The AI engine: that a session is on, and then pass or fail.
    Engine,
    /// Scripts and operators.
    Staff,
}

impl Audience {
    /// The audience that a role belongs to.
    #[must_use]
    pub const fn of(role: Role) -> Audience {
        match role {
            // A payment key is let at no story; were it, it would be told the least.
            Role::Engine | Role::Payment => Audience::Engine,
            Role::Script | Role::Operator => Audience::Staff,
        }
    }
}

/// One thing that is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tale {
    /// The call can carry media.
    CallOpened,
    /// The caller reaches the engine with a delay.
    CallArmed,
    /// The delay is over.
    CallDisarmed,
    /// A peer was silent too long.
    CallMediaTimeout(Side),
    /// The call is over.
    CallClosed,
    /// A recording has begun within the call.
    RecordingStarted,
    /// From now on it holds silence.
    RecordingPaused,
    /// It goes on.
    RecordingResumed,
    /// It is over, and the call goes on.
    RecordingStopped,
    /// Audio is missing in the recording.
    RecordingGap,
    /// Somebody else is sent copies of the call's media.
    MediaSubscribed,
    /// One who was is no longer.
    MediaUnsubscribed,
    /// The cut is in force.
    SessionStarted(SessionId),
    /// The collector waits for a field.
    FieldStarted(SessionId, Step, u8),
    /// An attempt failed.
    FieldRejected(SessionId, Step, u8, FieldError),
    /// The caller is to key a field once more, to be sure.
    FieldRepeated(SessionId, Step, u8),
    /// A field is complete.
    FieldAccepted(SessionId, Step),
    /// Every field is accepted, and on its way to whoever may have it.
    SessionProcessing(SessionId),
    /// The collection is over, the cut is not.
    SessionConcluded(SessionId, Verdict),
    /// No quiet was found; the cut holds until an operator acts.
    SessionHeld(SessionId),
    /// The session is over. Without a verdict it was lost with its call.
    SessionEnded(SessionId, Option<Verdict>),
}

impl Tale {
    /// Whether the engine may be told.
    const fn is_for_engine(self) -> bool {
        match self {
            Tale::SessionStarted(_) | Tale::SessionEnded(_, _) => true,
            Tale::CallOpened
            | Tale::CallArmed
            | Tale::CallDisarmed
            | Tale::CallMediaTimeout(_)
            | Tale::CallClosed
            | Tale::RecordingStarted
            | Tale::RecordingPaused
            | Tale::RecordingResumed
            | Tale::RecordingStopped
            | Tale::RecordingGap
            | Tale::MediaSubscribed
            | Tale::MediaUnsubscribed
            | Tale::FieldStarted(_, _, _)
            | Tale::FieldRejected(_, _, _, _)
            | Tale::FieldRepeated(_, _, _)
            | Tale::FieldAccepted(_, _)
            | Tale::SessionProcessing(_)
            | Tale::SessionConcluded(_, _)
            | Tale::SessionHeld(_) => false,
        }
    }
}

/// A tale with its place in a telling, and when it happened in whole seconds.
pub type Told = telling::Told<Tale>;
/// What comes after a place in a telling.
pub type Next = telling::Next<Tale>;

/// Where a secure session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionState {
    /// Keys are collected.
    Collecting,
    /// The verdict stands; quiet is awaited.
    Draining,
    /// No quiet was found: an operator must act.
    Held,
    /// The parties hear each other again, or the call is over.
    Ended,
}

/// The last secure session, as its events tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionRecord {
    /// Which.
    pub id: SessionId,
    /// When the cut came into force.
    pub cut_at: Timestamp,
    /// Where it stands.
    pub state: SessionState,
    /// The field in progress, or the last one, and its attempt.
    pub field: Option<(Step, u8)>,
    /// Why the last attempt failed.
    pub rejected: Option<FieldError>,
    /// How the collection ended.
    pub verdict: Option<Verdict>,
    /// When the session ended, in whole seconds.
    pub ended_at: Option<Timestamp>,
}

impl SessionRecord {
    fn started(id: SessionId, cut_at: Timestamp) -> SessionRecord {
        let state = SessionState::Collecting;
        let (field, rejected) = (None, None);
        SessionRecord { id, cut_at, state, field, rejected, verdict: None, ended_at: None }
    }
}

#[derive(Default)]
struct Chapters {
    engine: Telling<Tale>,
    staff: Telling<Tale>,
    session: Option<SessionRecord>,
    armed: bool,
    closed: bool,
}

/// What has happened on one call.
pub struct Story {
    chapters: Mutex<Chapters>,
    changed: watch::Sender<()>,
    /// The number of the engine's last tale, and whether there will be more.
    engine_changed: watch::Sender<(u64, bool)>,
}

impl Default for Story {
    fn default() -> Story {
        Story {
            chapters: Mutex::default(),
            changed: watch::Sender::new(()),
            engine_changed: watch::Sender::new((0, false)),
        }
    }
}

impl Story {
    /// Takes in an event of the relay.
    pub fn handle_event(&self, at: Timestamp, kind: EventKind) {
        let mut chapters = self.lock();
        if !chapters.closed {
            chapters.handle_event(at, kind);
        }
        self.wake(chapters);
    }

    /// Takes in a receipt, which may come before the event of the same cut, or after it.
    pub fn session_started(&self, at: Timestamp, id: SessionId) {
        let mut chapters = self.lock();
        if !chapters.closed {
            chapters.start_session(at, id);
            // The receipt knows the instant, the event only when it was heard.
            chapters.with_session(|session| session.cut_at = at);
        }
        self.wake(chapters);
    }

    /// What comes after the tale numbered `after`.
    #[must_use]
    pub fn next(&self, audience: Audience, after: u64) -> Next {
        let chapters = self.lock();
        let telling = match audience {
            Audience::Engine => &chapters.engine,
            Audience::Staff => &chapters.staff,
        };
        match telling.next(after) {
            Next::Wait if chapters.closed => Next::End,
            next @ (Next::Told(_) | Next::Lost(_) | Next::Wait | Next::End) => next,
        }
    }

    /// Tells of every change, in order to look with [`Story::next`] again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Tells of what engines may know alone: whose work it is to send an engine its frames is not
    /// disturbed by what a caller keys.
    #[must_use]
    pub fn engine_changes(&self) -> watch::Receiver<(u64, bool)> {
        self.engine_changed.subscribe()
    }

    fn wake(&self, chapters: MutexGuard<'_, Chapters>) {
        let told = (chapters.engine.told(), chapters.closed);
        drop(chapters);
        self.changed.send_replace(());
        self.engine_changed.send_if_modified(|last| std::mem::replace(last, told) != told);
    }

    /// The last secure session.
    #[must_use]
    pub fn session(&self) -> Option<SessionRecord> {
        self.lock().session
    }

    /// Returns when `session` is over, or, without one, whichever is in progress.
    pub async fn session_over(&self, session: Option<SessionId>) {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            let is_over = self.session().is_none_or(|last| {
                last.state == SessionState::Ended || session.is_some_and(|id| id != last.id)
            });
            if is_over || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The call's state as its events tell it: `open`, `armed`, `secure`, `draining`, `held` or
    /// `closed`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        let chapters = self.lock();
        let session = chapters.session.map(|session| session.state);
        match session {
            _ if chapters.closed => "closed",
            Some(SessionState::Collecting) => "secure",
            Some(SessionState::Draining) => "draining",
            Some(SessionState::Held) => "held",
            Some(SessionState::Ended) | None if chapters.armed => "armed",
            Some(SessionState::Ended) | None => "open",
        }
    }

    /// Whether the call is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Chapters> {
        self.chapters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chapters {
    fn handle_event(&mut self, at: Timestamp, kind: EventKind) {
        match kind {
            EventKind::Opened => self.tell(at, Tale::CallOpened),
            EventKind::Armed => {
                self.armed = true;
                self.tell(at, Tale::CallArmed);
            }
            EventKind::Disarmed => {
                self.armed = false;
                self.tell(at, Tale::CallDisarmed);
            }
            EventKind::SecureStarted { session } => self.start_session(at, session),
            EventKind::FieldStarted { step, attempt } => {
                self.with_session(|session| session.field = Some((step, attempt)));
                self.tell_of_session(at, |id| Tale::FieldStarted(id, step, attempt));
            }
            EventKind::FieldRejected { step, attempt, error } => {
                self.with_session(|session| session.rejected = Some(error));
                self.tell_of_session(at, |id| Tale::FieldRejected(id, step, attempt, error));
            }
            EventKind::FieldAccepted { step } => {
                self.with_session(|session| session.rejected = None);
                self.tell_of_session(at, |id| Tale::FieldAccepted(id, step));
            }
            EventKind::FieldRepeated { step, attempt } => {
                self.tell_of_session(at, |id| Tale::FieldRepeated(id, step, attempt));
            }
            EventKind::Processing => {
                self.with_session(|session| session.field = Some((Step::PaymentProcessing, 1)));
                self.tell_of_session(at, Tale::SessionProcessing);
            }
            EventKind::SecureConcluded { session, verdict } => {
                self.with_session(|record| {
                    (record.state, record.verdict) = (SessionState::Draining, Some(verdict));
                });
                self.tell(at, Tale::SessionConcluded(session, verdict));
            }
            EventKind::DrainHeld { session } => {
                self.with_session(|record| record.state = SessionState::Held);
                self.tell(at, Tale::SessionHeld(session));
            }
            EventKind::Reopened { session: _ } => self.end_session(at),
            EventKind::Subscribed => self.tell(at, Tale::MediaSubscribed),
            EventKind::Unsubscribed => self.tell(at, Tale::MediaUnsubscribed),
            EventKind::RecordingStarted => self.tell(at, Tale::RecordingStarted),
            EventKind::RecordingPaused => self.tell(at, Tale::RecordingPaused),
            EventKind::RecordingResumed => self.tell(at, Tale::RecordingResumed),
            EventKind::RecordingStopped => self.tell(at, Tale::RecordingStopped),
            // It is the control plane's alone.
            EventKind::RecordingHandedOver => {}
            EventKind::RecordingGap => self.tell(at, Tale::RecordingGap),
            EventKind::MediaTimeout { side } => self.tell(at, Tale::CallMediaTimeout(side)),
            EventKind::Closed => {
                self.end_session(at);
                self.tell(at, Tale::CallClosed);
                self.closed = true;
            }
        }
    }

    fn start_session(&mut self, at: Timestamp, id: SessionId) {
        if self.session.is_some_and(|session| session.id == id) {
            return;
        }
        self.armed = false;
        self.session = Some(SessionRecord::started(id, at));
        self.tell(at, Tale::SessionStarted(id));
    }

    fn end_session(&mut self, at: Timestamp) {
        let Some(session) = &mut self.session else { return };
        if session.state != SessionState::Ended {
            session.state = SessionState::Ended;
            session.ended_at = Some(at.whole_seconds());
            let (id, verdict) = (session.id, session.verdict);
            self.tell(at, Tale::SessionEnded(id, verdict));
        }
    }

    fn with_session(&mut self, change: impl FnOnce(&mut SessionRecord)) {
        if let Some(session) = &mut self.session {
            change(session);
        }
    }

    fn tell_of_session(&mut self, at: Timestamp, tale: impl FnOnce(SessionId) -> Tale) {
        if let Some(session) = self.session {
            self.tell(at, tale(session.id));
        }
    }

    fn tell(&mut self, at: Timestamp, tale: Tale) {
        let at = at.whole_seconds();
        self.staff.push(at, tale);
        if tale.is_for_engine() {
            self.engine.push(at, tale);
        }
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Verdict;
    use relay::switchboard::{EventKind, SessionId};

    use super::{Audience, Next, SessionState, Story, Tale, Told};
    use crate::clock;
    use crate::telling::KEPT;

    const SESSION: SessionId = SessionId(7);

    fn all(story: &Story, audience: Audience) -> Vec<Told> {
        let mut told = Vec::new();
        let mut after = 0;
        while let Next::Told(next) = story.next(audience, after) {
            after = next.sequence;
            told.push(next);
        }
        told
    }

    #[test]
    fn the_engine_hears_of_the_start_and_the_end_and_misses_no_number() {
        let story = Story::default();
        let events = [
            EventKind::Opened,
            EventKind::SecureStarted { session: SESSION },
            EventKind::Armed,
            EventKind::SecureConcluded { session: SESSION, verdict: Verdict::Passed },
            EventKind::DrainHeld { session: SESSION },
            EventKind::Reopened { session: SESSION },
            EventKind::Closed,
        ];
        for kind in events {
            story.handle_event(clock::now(), kind);
        }
        let engine = all(&story, Audience::Engine);
        let tales: Vec<Tale> = engine.iter().map(|told| told.tale).collect();
        let passed = Some(Verdict::Passed);
        assert_eq!(tales, [Tale::SessionStarted(SESSION), Tale::SessionEnded(SESSION, passed)]);
        assert_eq!(engine.iter().map(|told| told.sequence).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(all(&story, Audience::Staff).len(), 7);
        assert_eq!(story.next(Audience::Engine, 2), Next::End);
    }

    #[test]
    fn a_session_lost_with_its_call_ends_before_the_call_does() {
        let story = Story::default();
        story.handle_event(clock::now(), EventKind::Opened);
        story.session_started(clock::now(), SESSION);
        story.handle_event(clock::now(), EventKind::SecureStarted { session: SESSION });
        story.handle_event(clock::now(), EventKind::Closed);
        story.handle_event(clock::now(), EventKind::Opened);
        let tales: Vec<Tale> = all(&story, Audience::Staff).iter().map(|told| told.tale).collect();
        let ended = Tale::SessionEnded(SESSION, None);
        let expected = [Tale::CallOpened, Tale::SessionStarted(SESSION), ended, Tale::CallClosed];
        assert_eq!(tales, expected);
        assert_eq!(story.session().unwrap().state, SessionState::Ended);
        assert_eq!(story.state(), "closed");
    }

    #[test]
    fn what_is_forgotten_is_said_to_be_lost() {
        let story = Story::default();
        for _ in 0..KEPT + 3 {
            story.handle_event(clock::now(), EventKind::RecordingGap);
        }
        assert_eq!(story.next(Audience::Staff, 0), Next::Lost(4));
        assert_eq!(story.next(Audience::Staff, 2), Next::Lost(4));
        assert!(matches!(story.next(Audience::Staff, 3), Next::Told(told) if told.sequence == 4));
        assert_eq!(story.next(Audience::Staff, KEPT as u64 + 3), Next::Wait);
        assert_eq!(story.next(Audience::Staff, u64::MAX), Next::Wait);
    }
}

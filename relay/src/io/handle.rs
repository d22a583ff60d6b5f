//! Relay: the cloneable front door to the worker threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use dtmf::{Digit, FailReason, Step};
use tokio::sync::oneshot;
use zeroize::Zeroize;

use super::clock::Clock;
use super::link::{CutLine, NearEnd, NotSettled};
use super::waker::Waker;
use crate::switchboard::{
    CallId, CallSnapshot, Command, Copies, CopyMedia, CutReceipt, LegMedia, LocalMedia, LookAhead,
    Part, Parties, PlayRequest, Press, RecordingAction, RecordingState, Refusal, Reply, SessionId,
    SessionRequest, Side, Subscribing, SubscriptionId, WorkerIndex,
};

/// The relay's workers, as the control plane sees them. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    doors: Vec<Door>,
    next: AtomicUsize,
    clock: Clock,
}

impl Drop for Shared {
    /// Tells the workers that nobody will ask again: an asleep worker has to be woken to see it.
    fn drop(&mut self) {
        for Door { requests, waker } in self.doors.drain(..) {
            drop(requests);
            waker.wake();
        }
    }
}

/// A [`Relay`] that does not keep the workers running.
pub struct WeakRelay {
    shared: Weak<Shared>,
}

impl WeakRelay {
    /// The relay, while it runs.
    #[must_use]
    pub fn upgrade(&self) -> Option<Relay> {
        self.shared.upgrade().map(|shared| Relay { shared })
    }
}

/// One worker's command queue and the way to wake it.
pub(super) struct Door {
    pub(super) requests: SyncSender<Request>,
    pub(super) waker: Waker,
}

/// A command on its way to a worker.
pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) asked: Instant,
    pub(super) reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// What a worker is asked: opening and subscribing need ports, all else goes straight to its switchboard.
pub(super) enum Ask {
    Open(Box<CallRequest>),
    Local { call: CallId },
    Subscribe(CopyRequest),
    Key { call: CallId, key: PostedKey },
    Obey(Command),
}

/// A key on its way to a worker, beside the queue and wiped behind it: what has passed through a
/// place of the queue stays there until the place is used again, so one caller's keys would lie
/// there in their order.
pub(super) struct PostedKey(Box<u8>);

impl PostedKey {
    fn new(digit: Digit) -> PostedKey {
        PostedKey(Box::new(digit.event_code()))
    }

    pub(super) fn digit(&self) -> Digit {
        Digit::from_event_code(*self.0).expect("a digit's own code")
    }
}

impl Drop for PostedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What a worker answers.
pub(super) enum Answer {
    Opened(OpenedCall),
    Local([LocalMedia; 2]),
    Subscribed(Copies<LocalMedia>),
    Obeyed(Reply),
    /// The cut is in force on the worker; where the engine is behind a link, it is not yet in force
    /// there.
    Cut(CutReceipt, CutLine),
}

/// A call to be opened; the relay finds the ports.
pub struct CallRequest {
    /// The call's id, unused so far.
    pub call: CallId,
    /// What was agreed with the caller.
    pub caller: LegMedia,
    /// What the engine speaks.
    pub engine: LegMedia,
    /// Begin armed, by this much.
    pub armed: Option<LookAhead>,
    /// Keep a recording.
    pub record: bool,
    /// Of legs whose peers are in this process, by [`Side::index`]; each is then at [`LINK_PEER`].
    ///
    /// [`LINK_PEER`]: super::link::LINK_PEER
    pub links: [Option<NearEnd>; 2],
}

/// Copies of a call's media that somebody is to be offered.
pub(super) struct CopyRequest {
    pub(super) call: CallId,
    /// Unused so far on this call.
    pub(super) id: SubscriptionId,
    /// Whose media.
    pub(super) sides: Copies<Side>,
    pub(super) is_ipv6: bool,
}

/// A call that can carry media: all its ports are bound.
#[derive(Clone, Copy, Debug)]
pub struct OpenedCall {
    /// Where the call lives.
    pub at: CallAt,
    /// Our side of the caller's leg.
    pub caller: LocalMedia,
    /// Our side of the engine's leg.
    pub engine: LocalMedia,
}

/// What became of an engine's hang-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HangUp {
    /// The call is over.
    Ended,
    /// It will be over when its secure session is.
    HeldBack,
}

/// A call and the worker that owns it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CallAt {
    /// The call.
    pub call: CallId,
    /// Its worker.
    pub worker: WorkerIndex,
}

impl Relay {
    pub(super) fn new(doors: Vec<Door>, clock: Clock) -> Relay {
        assert!(!doors.is_empty(), "a relay has at least one worker");
        Relay { shared: Arc::new(Shared { doors, next: AtomicUsize::new(0), clock }) }
    }

    /// The same relay, without keeping it running.
    #[must_use]
    pub fn downgrade(&self) -> WeakRelay {
        WeakRelay { shared: Arc::downgrade(&self.shared) }
    }

    /// Opens a call on the next worker in turn. Answers when every port is bound.
    pub async fn open_call(&self, request: CallRequest) -> Result<OpenedCall, Refusal> {
        let turn = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let worker = WorkerIndex(turn % self.shared.doors.len());
        match self.ask(worker, Ask::Open(Box::new(request))).await? {
            Answer::Opened(opened) => Ok(opened),
            Answer::Local(_) | Answer::Subscribed(_) | Answer::Obeyed(_) | Answer::Cut(..) => {
                unreachable!("open is answered with opened")
            }
        }
    }

    /// Replaces what was agreed for one leg.
    pub async fn reoffer(&self, at: CallAt, side: Side, media: LegMedia) -> Result<(), Refusal> {
        let media = Box::new(media);
        self.obey(at, Command::Reoffer { call: at.call, side, media }).await.map(|_| ())
    }

    /// The same on the word of somebody who may be the other party: in a cut the caller's leg stays
    /// where it is.
    pub async fn reoffer_claimed(
        &self,
        at: CallAt,
        side: Side,
        media: LegMedia,
    ) -> Result<(), Refusal> {
        let media = Box::new(media);
        self.obey(at, Command::ReofferClaimed { call: at.call, side, media }).await.map(|_| ())
    }

    /// Asks whether such a re-offer would be obeyed.
    pub async fn check_claim(
        &self,
        at: CallAt,
        side: Side,
        media: LegMedia,
    ) -> Result<(), Refusal> {
        let media = Box::new(media);
        self.obey(at, Command::CheckClaim { call: at.call, side, media }).await.map(|_| ())
    }

    /// Our addresses of both legs, by [`Side::index`].
    pub async fn local_media(&self, at: CallAt) -> Result<[LocalMedia; 2], Refusal> {
        match self.ask(at.worker, Ask::Local { call: at.call }).await? {
            Answer::Local(local) => Ok(local),
            Answer::Opened(_) | Answer::Subscribed(_) | Answer::Obeyed(_) | Answer::Cut(..) => {
                unreachable!("local is answered with local")
            }
        }
    }

    /// Delays the caller towards the engine (look-ahead), ready for a flip.
    pub async fn arm(&self, at: CallAt, look_ahead: LookAhead) -> Result<(), Refusal> {
        self.obey(at, Command::Arm { call: at.call, look_ahead }).await.map(|_| ())
    }

    /// Ends the delay.
    pub async fn disarm(&self, at: CallAt) -> Result<(), Refusal> {
        self.obey(at, Command::Disarm { call: at.call }).await.map(|_| ())
    }

    /// Keeps a part of what a party sends from the other one and from the tape, or no longer.
    pub async fn block(
        &self,
        at: CallAt,
        side: Side,
        part: Part,
        blocked: bool,
    ) -> Result<(), Refusal> {
        self.obey(at, Command::Block { call: at.call, side, part, blocked }).await.map(|_| ())
    }

    /// Takes ports for copies of a call's media, and answers with them in the order of the parties.
    /// Nothing is sent before [`Relay::listen`].
    pub async fn subscribe(
        &self,
        at: CallAt,
        id: SubscriptionId,
        sides: Copies<Side>,
        is_ipv6: bool,
    ) -> Result<Copies<LocalMedia>, Refusal> {
        let request = CopyRequest { call: at.call, id, sides, is_ipv6 };
        match self.ask(at.worker, Ask::Subscribe(request)).await? {
            Answer::Subscribed(local) => Ok(local),
            Answer::Opened(_) | Answer::Local(_) | Answer::Obeyed(_) | Answer::Cut(..) => {
                unreachable!("subscribe is answered with ports")
            }
        }
    }

    /// Begins, pauses or ends a call's recording. Answers how it stands when that has its effect.
    ///
    /// # Errors
    /// [`Refusal::NoRecording`] where nothing can be kept, [`Refusal::NotRecorded`] for a pause or a
    /// stop without a start, [`Refusal::RecordingOver`] for a start or a pause after a stop.
    pub async fn record(
        &self,
        at: CallAt,
        action: RecordingAction,
    ) -> Result<RecordingState, Refusal> {
        match self.obey(at, Command::Record { call: at.call, action }).await? {
            Reply::Recorded(state) => Ok(state),
            Reply::Done
            | Reply::HeldBack
            | Reply::Secured(_)
            | Reply::Stopped(_)
            | Reply::Snapshot(_) => {
                unreachable!("record is answered with a state")
            }
        }
    }

    /// Has parties hear a sound, each in place of the other one and of what it hears of the relay so
    /// far: all of them, or none.
    pub async fn play(&self, at: CallAt, to: Parties, request: PlayRequest) -> Result<(), Refusal> {
        self.obey(at, Command::Play { call: at.call, to, request }).await.map(|_| ())
    }

    /// Ends the sound that a party hears; answers where in it that was, if there was one.
    pub async fn stop_playing(&self, at: CallAt, to: Side) -> Result<Option<Duration>, Refusal> {
        match self.obey(at, Command::StopPlaying { call: at.call, to }).await? {
            Reply::Stopped(place) => Ok(place),
            Reply::Done
            | Reply::HeldBack
            | Reply::Secured(_)
            | Reply::Recorded(_)
            | Reply::Snapshot(_) => {
                unreachable!("what is stopped is answered with where that was")
            }
        }
    }

    /// Sends copies to where they are wanted, in the order of the parties.
    pub async fn listen(
        &self,
        at: CallAt,
        id: SubscriptionId,
        copies: Copies<Option<CopyMedia>>,
    ) -> Result<(), Refusal> {
        let ask = Box::new(Subscribing::Answer(copies));
        self.obey(at, Command::Subscription { call: at.call, id, ask }).await.map(|_| ())
    }

    /// Ends a subscription and gives its ports back.
    pub async fn unsubscribe(&self, at: CallAt, id: SubscriptionId) -> Result<(), Refusal> {
        let ask = Box::new(Subscribing::End);
        self.obey(at, Command::Subscription { call: at.call, id, ask }).await.map(|_| ())
    }

    /// Has parties press a key, all of them or none: each other one is told of it after those before.
    pub async fn press(&self, at: CallAt, from: Parties, press: Press) -> Result<(), Refusal> {
        let presses = press.by(from);
        self.obey(at, Command::Press { call: at.call, presses }).await.map(|_| ())
    }

    /// Cuts the call and starts to collect. The receipt exists only once the cut is in force.
    pub async fn enter_secure(
        &self,
        at: CallAt,
        request: SessionRequest,
    ) -> Result<CutReceipt, Refusal> {
        let request = Box::new(request);
        let enter = Ask::Obey(Command::Enter { call: at.call, request });
        match self.ask(at.worker, enter).await? {
            Answer::Obeyed(Reply::Secured(receipt)) => Ok(receipt),
            Answer::Cut(receipt, line) => {
                line.in_force().await.map_err(|NotSettled| Refusal::NotSettled)?;
                Ok(receipt)
            }
            Answer::Obeyed(
                Reply::Done
                | Reply::HeldBack
                | Reply::Recorded(_)
                | Reply::Stopped(_)
                | Reply::Snapshot(_),
            )
            | Answer::Opened(_)
            | Answer::Subscribed(_)
            | Answer::Local(_) => unreachable!("enter is answered with a receipt"),
        }
    }

    /// Has the caller key one field of a plan that is driven field by field.
    pub async fn capture(&self, at: CallAt, step: Step) -> Result<(), Refusal> {
        self.obey(at, Command::Capture { call: at.call, step }).await.map(|_| ())
    }

    /// Ends a collection that is driven field by field.
    pub async fn complete(&self, at: CallAt) -> Result<(), Refusal> {
        self.obey(at, Command::Complete { call: at.call }).await.map(|_| ())
    }

    /// Tells how the delivery of what was accepted went.
    pub async fn delivered(
        &self,
        at: CallAt,
        session: SessionId,
        outcome: Result<(), FailReason>,
    ) -> Result<(), Refusal> {
        self.obey(at, Command::Delivered { call: at.call, session, outcome }).await.map(|_| ())
    }

    /// Ends a collection that is driven field by field, between two fields.
    pub async fn abandon_secure(&self, at: CallAt) -> Result<(), Refusal> {
        self.obey(at, Command::Abandon { call: at.call }).await.map(|_| ())
    }

    /// Ends a collection, or drains a held call once more.
    pub async fn cancel_secure(&self, at: CallAt) -> Result<(), Refusal> {
        self.obey(at, Command::Cancel { call: at.call }).await.map(|_| ())
    }

    /// Hands in a key that came by signalling.
    pub async fn key(&self, at: CallAt, digit: Digit) -> Result<(), Refusal> {
        let ask = Ask::Key { call: at.call, key: PostedKey::new(digit) };
        self.ask(at.worker, ask).await.map(|_| ())
    }

    /// The engine hangs up: the call ends, or will when its secure session is over.
    pub async fn hang_up(&self, at: CallAt) -> Result<HangUp, Refusal> {
        match self.obey(at, Command::HangUp { call: at.call }).await? {
            Reply::Done => Ok(HangUp::Ended),
            Reply::HeldBack => Ok(HangUp::HeldBack),
            Reply::Secured(_) | Reply::Recorded(_) | Reply::Snapshot(_) | Reply::Stopped(_) => {
                unreachable!("a hang-up has two outcomes")
            }
        }
    }

    /// Ends a call and gives its ports back.
    pub async fn end_call(&self, at: CallAt) -> Result<(), Refusal> {
        self.obey(at, Command::Close { call: at.call }).await.map(|_| ())
    }

    /// Copies a call's state out.
    pub async fn snapshot(&self, at: CallAt) -> Result<CallSnapshot, Refusal> {
        match self.obey(at, Command::Snapshot { call: at.call }).await? {
            Reply::Snapshot(snapshot) => Ok(*snapshot),
            Reply::Done
            | Reply::HeldBack
            | Reply::Secured(_)
            | Reply::Recorded(_)
            | Reply::Stopped(_) => {
                unreachable!("snapshot is answered with one")
            }
        }
    }

    async fn obey(&self, at: CallAt, command: Command) -> Result<Reply, Refusal> {
        match self.ask(at.worker, Ask::Obey(command)).await? {
            Answer::Obeyed(reply) => Ok(reply),
            Answer::Opened(_) | Answer::Local(_) | Answer::Subscribed(_) | Answer::Cut(..) => {
                unreachable!("a command is answered as one")
            }
        }
    }

    async fn ask(&self, worker: WorkerIndex, ask: Ask) -> Result<Answer, Refusal> {
        let door = self.shared.doors.get(worker.0).ok_or(Refusal::UnknownCall)?;
        let (reply, answer) = oneshot::channel();
        let request = Request { ask, asked: self.shared.clock.now(), reply };
        door.requests.try_send(request).map_err(|refused| match refused {
            TrySendError::Full(_) => Refusal::Busy,
            TrySendError::Disconnected(_) => Refusal::Stopping,
        })?;
        // A worker asleep in its poll sees the queue only when woken.
        door.waker.wake();
        answer.await.map_err(|_| Refusal::Stopping)?
    }
}

//! Conversation: one connection to an engine, from its first message to its last.
//!
//! One task owns all of it, so that nothing is sent while something else is being sent, and the link
//! is asked for the next frame only when the one before has wholly left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dialects::{Act, Dialect, Effects, Message, Notice, Reached, Verdict};
use relay::Link;
use relay::switchboard::Side;
use relay::switchboard::limits::LINK_DATAGRAM;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use zeroize::{Zeroize, Zeroizing};

use super::allowance::Allowance;
use super::packets::{Format, Heard, Packetizer, Unpacker};
use super::playout::{Playout, Told};
use super::wire::{Came, Wire};
use crate::index::CallEntry;
use crate::story::{Audience, Next, Tale};
use crate::{Control, chance, clock, secure_sessions};

/// Time for one message to be taken: an engine that is behind by so much is not coming back.
const SEND_TIME: Duration = Duration::from_secs(5);
/// Time for what is said last.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Between two looks at whether the engine lives.
const PULSE: Duration = Duration::from_secs(10);
/// Looks without a sign of life that end a connection.
const MISSED_PULSES: u32 = 3;
/// Acts of one message: none asks for as many, and an endless one must end.
const MAX_ACTS: usize = 4096;
/// Length of a frame.
const FRAME_MS: u32 = 20;
/// Refusals that wait to be told: a model waits for one before it asks again.
const MAX_REFUSALS: usize = 4;

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// The call is over, or the process stops.
    CallOver,
    /// The engine has ended it as it should.
    Closed,
    /// It broke, or the engine was too slow or said what has no meaning.
    Lost,
}

/// What becomes of acts that are not about sound.
pub(super) trait Errands: Send {
    /// The engine hangs up.
    fn hang_up(&mut self) -> impl Future<Output = ()> + Send;
    /// The engine's model wants a payment collected; `refused` is told if that can't be. It is not
    /// waited for: a cut is in force only when this conversation has let go of what was before it.
    fn collect(&mut self, plan: Option<String>, refused: mpsc::Sender<()>);
    /// The party has pressed a key: of a connection that is a caller's.
    fn pressed(&mut self, key: dtmf::Digit) -> impl Future<Output = ()> + Send;
}

/// One connection.
pub(super) struct Conversation<'a, E> {
    /// Who is at its other end.
    side: Side,
    entry: &'a CallEntry,
    wire: &'a mut Wire,
    link: &'a mut Link,
    errands: &'a mut E,
    dialect: Box<dyn Dialect>,
    packets: Packetizer,
    unpacker: Unpacker,
    playout: Playout,
    allowance: Allowance,
    effects: Effects,
    frame: Vec<u8>,
    /// Of a caller's sound, what is no whole frame yet.
    rest: Zeroizing<Vec<u8>>,
    told: Vec<Told>,
    /// The last tale that the engine was told.
    heard_of: u64,
    is_cut: bool,
    missed: u32,
    /// Told of what a model asked for in vain.
    refusals: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

/// Why a step ends the connection.
type Step = Result<(), Ending>;

impl<'a, E: Errands> Conversation<'a, E> {
    /// A connection that has just been made.
    pub(super) fn new(
        entry: &'a CallEntry,
        wire: &'a mut Wire,
        link: &'a mut Link,
        errands: &'a mut E,
        dialect: Box<dyn Dialect>,
        (side, format): (Side, Format),
    ) -> Option<Conversation<'a, E>> {
        let mut random = chance::generator().ok()?;
        Some(Conversation {
            side,
            entry,
            wire,
            link,
            errands,
            packets: Packetizer::new(format, &mut random),
            unpacker: Unpacker::new(format),
            playout: Playout::new(clock::monotonic(), dialect.encoding()),
            allowance: Allowance::new(clock::monotonic()),
            effects: Effects::default(),
            frame: Vec::new(),
            rest: Zeroizing::new(Vec::new()),
            told: Vec::new(),
            heard_of: 0,
            is_cut: false,
            missed: 0,
            refusals: mpsc::channel(MAX_REFUSALS),
            dialect,
        })
    }

    /// Speaks until the connection ends.
    pub(super) async fn hold(&mut self, mut stopping: watch::Receiver<bool>) -> Ending {
        let ending = self.speak(&mut stopping).await.err().unwrap_or(Ending::CallOver);
        if ending == Ending::CallOver {
            self.dialect.end(&mut self.effects);
            let last = async {
                let _ = self.deliver().await;
                self.wire.close().await;
            };
            let _ = tokio::time::timeout(CLOSE_TIME, last).await;
        }
        ending
    }

    async fn speak(&mut self, stopping: &mut watch::Receiver<bool>) -> Step {
        self.dialect.open(&mut self.effects);
        let mut story = self.entry.story.engine_changes();
        self.begin_story();
        self.deliver().await?;
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pulse.reset();
        let mut refill = tokio::time::interval(Duration::from_millis(100));
        refill.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = tokio::time::Instant::from_std(self.playout.due());
            let is_open = self.allowance.is_open();
            tokio::select! {
                datagram = self.link.receive() => match datagram {
                    None => return Err(self.ending()),
                    Some(datagram) => match self.unpacker.read(datagram) {
                        Heard::Sound(frame) => self.dialect.audio(frame, &mut self.effects),
                        Heard::Key(key) => self.dialect.key(key, &mut self.effects),
                        Heard::Nothing => {}
                    },
                },
                came = self.wire.next(), if is_open => self.hear(came).await?,
                () = tokio::time::sleep_until(due), if self.side == Side::Engine => {
                    self.play(clock::monotonic());
                }
                _ = story.changed() => self.catch_up_with_story(),
                Some(()) = self.refusals.1.recv() => {
                    self.dialect.notice(Notice::NotCollected, &mut self.effects);
                }
                _ = refill.tick(), if !is_open => self.allowance.grow(clock::monotonic()),
                _ = pulse.tick() => self.look_for_life().await?,
                () = stop(stopping) => return Err(Ending::CallOver),
            }
            self.deliver().await?;
        }
    }

    /// Why nothing comes by the link any more: a flip may not have been able to wait any longer.
    fn ending(&self) -> Ending {
        if self.link.is_over() { Ending::CallOver } else { Ending::Lost }
    }

    /// Sends what the dialect has to say. A frame that is not taken before a flip can't wait any
    /// longer ends the connection.
    async fn deliver(&mut self) -> Step {
        let mut messages = std::mem::take(&mut self.effects.send);
        for message in messages.drain(..) {
            let sending = tokio::time::timeout(SEND_TIME, self.wire.send(message));
            tokio::select! {
                biased;
                () = self.link.broken() => return Err(Ending::Lost),
                sent = sending => match sent {
                    Ok(Ok(())) => self.missed = if self.wire.pings() { self.missed } else { 0 },
                    Ok(Err(())) | Err(_) => return Err(Ending::Lost),
                },
            }
        }
        self.effects.send = messages;
        Ok(())
    }

    async fn hear(&mut self, came: Came) -> Step {
        self.missed = 0;
        let message = match came {
            Came::Message(message) => message,
            Came::Pong => {
                self.allowance.spend(0);
                return Ok(());
            }
            Came::Closed => return Err(Ending::Closed),
            Came::Broken => return Err(Ending::Lost),
        };
        self.allowance.grow(clock::monotonic());
        self.allowance.spend(match &message {
            Message::Text(text) => text.len(),
            Message::Binary(octets) => octets.len(),
        });
        let heard = self.dialect.hear(&message, &mut self.effects);
        wipe(message);
        if let Err(fault) = heard {
            tracing::warn!(call = self.id(), %fault, "an engine's connection can't go on");
            return Err(Ending::Lost);
        }
        self.act().await
    }

    async fn act(&mut self) -> Step {
        for _ in 0..MAX_ACTS {
            if self.effects.acts.is_empty() {
                self.dialect.backlog(self.playout.queued(), &mut self.effects);
                return Ok(());
            }
            let act = self.effects.acts.remove(0);
            self.carry_out(act).await?;
        }
        tracing::warn!(call = self.id(), "an engine asks for too much at once");
        Err(Ending::Lost)
    }

    async fn carry_out(&mut self, act: Act) -> Step {
        match act {
            Act::Play(octets) if self.side == Side::Caller => self.pass(octets),
            // What it says in a cut is not played, and must not be played afterwards.
            Act::Play(_) if self.is_deaf() => {}
            Act::Play(octets) => {
                if self.playout.play(octets) > 0 {
                    tracing::debug!(call = self.id(), "an engine sends more than may wait");
                }
            }
            Act::Mark(name) if self.is_deaf() => {
                self.dialect.marked(&name, Reached::Played, &mut self.effects);
            }
            Act::Mark(name) => {
                if self.playout.mark(name).is_err() {
                    tracing::warn!(call = self.id(), "an engine sends more marks than may wait");
                    return Err(Ending::Lost);
                }
            }
            Act::Clear => self.clear(),
            Act::Pause => self.playout.pause(),
            Act::Resume => self.playout.resume(),
            Act::HangUp => self.errands.hang_up().await,
            Act::SendKey(key) => {
                let link = &self.link;
                self.packets.key(key, |datagram| {
                    let _ = link.send(datagram);
                });
            }
            Act::Pressed(key) => self.errands.pressed(key).await,
            Act::Identify(_) => {}
            Act::Collect { plan } => self.errands.collect(plan, self.refusals.0.clone()),
        }
        Ok(())
    }

    /// The call is cut, and the engine is not heard meanwhile.
    fn is_deaf(&self) -> bool {
        self.side == Side::Engine && self.is_cut && !self.entry.lets_engine_through()
    }

    /// Hands a caller's sound on as it comes: it has a clock of its own, and waits for nobody. What
    /// is behind it is wiped, since it may be the sound of a key.
    fn pass(&mut self, octets: Vec<u8>) {
        // Of one piece: what grows leaves a copy behind.
        let sound = Zeroizing::new([&self.rest[..], &octets].concat());
        wipe(Message::Binary(octets));
        let length = self.dialect.encoding().octets(FRAME_MS);
        let mut packet = Zeroizing::new([0; LINK_DATAGRAM]);
        let now = clock::monotonic();
        let mut frames = sound.chunks_exact(length);
        for frame in &mut frames {
            if let Some(datagram) = self.packets.sound(now, frame, &mut packet) {
                // What the relay has no room for is lost, as on any line.
                let _ = self.link.send(datagram);
            }
        }
        self.rest = Zeroizing::new(frames.remainder().to_owned());
    }

    fn clear(&mut self) {
        for (name, reached) in self.playout.clear() {
            self.dialect.marked(&name, reached, &mut self.effects);
        }
        self.dialect.cleared(self.playout.played(), &mut self.effects);
    }

    /// Plays what is due.
    fn play(&mut self, now: Instant) {
        while self.playout.due() <= now {
            self.playout.step(now, &mut self.frame, &mut self.told);
            for (name, reached) in self.told.drain(..) {
                self.dialect.marked(&name, reached, &mut self.effects);
            }
            let mut packet = [0; LINK_DATAGRAM];
            if let Some(datagram) = self.packets.sound(now, &self.frame, &mut packet) {
                // What the relay has no room for is lost, as on any line.
                self.link.send(datagram);
            }
        }
        self.dialect.backlog(self.playout.queued(), &mut self.effects);
    }

    /// What was before the connection is not told, but for a session that goes on.
    fn begin_story(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        self.catch_up_with_story();
        std::mem::swap(&mut self.effects, &mut effects);
        if self.is_cut {
            self.dialect.notice(Notice::SecureStarted, &mut self.effects);
        }
    }

    /// Tells the engine what it may know of secure sessions.
    fn catch_up_with_story(&mut self) {
        loop {
            match self.entry.story.next(Audience::Engine, self.heard_of) {
                Next::Told(told) => {
                    self.heard_of = told.sequence;
                    self.tell(told.tale);
                }
                Next::Lost(next) => self.heard_of = next.saturating_sub(1),
                Next::Wait | Next::End => return,
            }
        }
    }

    fn tell(&mut self, tale: Tale) {
        let notice = match tale {
            Tale::SessionStarted(_) => {
                self.is_cut = true;
                if self.is_deaf() {
                    self.clear();
                }
                Notice::SecureStarted
            }
            Tale::SessionEnded(_, verdict) => {
                // What it said meanwhile was let in by nobody: a dialect that counts learns of it.
                if self.is_deaf() {
                    self.clear();
                }
                self.is_cut = false;
                Notice::SecureEnded(match verdict {
                    Some(dtmf::Verdict::Passed) => Verdict::Pass,
                    Some(dtmf::Verdict::Failed(_)) | None => Verdict::Fail,
                })
            }
            // The engine is told of none of these.
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
            | Tale::FieldStarted(..)
            | Tale::FieldRejected(..)
            | Tale::FieldRepeated(..)
            | Tale::FieldAccepted(..)
            | Tale::SessionProcessing(_)
            | Tale::SessionConcluded(..)
            | Tale::SessionHeld(_) => return,
        };
        self.dialect.notice(notice, &mut self.effects);
    }

    async fn look_for_life(&mut self) -> Step {
        self.missed += 1;
        if self.missed > MISSED_PULSES {
            tracing::warn!(call = self.id(), "an engine shows no sign of life");
            return Err(Ending::Lost);
        }
        let pinging = tokio::time::timeout(SEND_TIME, self.wire.ping());
        tokio::select! {
            biased;
            () = self.link.broken() => Err(Ending::Lost),
            sent = pinging => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(())) | Err(_) => Err(Ending::Lost),
            },
        }
    }

    fn id(&self) -> String {
        crate::dto::id::call(self.entry.id)
    }
}

impl<E> Drop for Conversation<'_, E> {
    /// What was not carried out may be a caller's sound or key.
    fn drop(&mut self) {
        for act in self.effects.acts.drain(..) {
            if let Act::Play(octets) = act {
                wipe(Message::Binary(octets));
            }
        }
        self.effects.send.drain(..).for_each(wipe);
    }
}

/// Wipes a message of a party whose sound or keys may be in it.
fn wipe(message: Message) {
    match message {
        Message::Text(mut text) => text.zeroize(),
        Message::Binary(mut octets) => octets.zeroize(),
    }
}

async fn stop(stopping: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could ask for it.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// What an engine's connection asks for, done by the control plane.
pub(super) struct EngineErrands {
    pub(super) control: Arc<Control>,
    pub(super) entry: Arc<CallEntry>,
}

impl Errands for EngineErrands {
    async fn hang_up(&mut self) {
        if self.control.hang_up(&self.entry).await.is_ok() {
            tracing::info!(call = crate::dto::id::call(self.entry.id), "its engine hangs up");
        }
    }

    fn collect(&mut self, plan: Option<String>, refused: mpsc::Sender<()>) {
        let (control, entry) = (Arc::clone(&self.control), Arc::clone(&self.entry));
        tokio::spawn(async move {
            let call = crate::dto::id::call(entry.id);
            if let Err(problem) =
                secure_sessions::enter_named(&control, entry, plan.as_deref()).await
            {
                let code = problem.code;
                tracing::warn!(call, ?code, "a model asked for a session that can't be entered");
                // A conversation that is over needs no answer.
                let _ = refused.send(()).await;
            }
        });
    }

    async fn pressed(&mut self, _: dtmf::Digit) {
        // An engine has no keys.
    }
}

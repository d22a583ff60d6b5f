//! Recorded: what becomes of a call's recording, from the command that begins it to its last block.

use std::time::Instant;

use super::Call;
use super::packet_path::sabotaged;
use crate::recording::{Job, Tape};
use crate::switchboard::command::{RecordingAction, Refusal};
use crate::switchboard::cut_memory::CutMemory;
use crate::switchboard::egress::Position;
use crate::switchboard::event::EventKind;
use crate::switchboard::grid::Grid;
use crate::switchboard::id::{CallId, Side};
use crate::switchboard::limits::TAPE_TICK;
use crate::switchboard::outbox::Outbox;
use crate::switchboard::routing::{Media, Phase};
use crate::switchboard::snapshot::RecordingState;

/// The one recording that a call may have: it is named by its call.
pub(super) struct Recorded {
    reel: Option<Box<Reel>>,
    /// When the tape is looked at next.
    look: Instant,
    /// All of it was handed over.
    is_over: bool,
}

/// What a recorded call has, made by the command that begins the recording. Apart, since most of
/// a call's packets need none of the rest.
struct Reel {
    tape: Tape,
    /// The recorder was told to begin.
    is_told: bool,
    is_paused: bool,
    /// How far each party's streams came while the recording was paused, so that a packet that was
    /// overtaken on its way is not laid after it. By [`Side::index`].
    pauses: [CutMemory; 2],
}

impl Recorded {
    /// Nothing is recorded yet.
    pub(super) fn not(now: Instant) -> Recorded {
        Recorded { reel: None, look: now, is_over: false }
    }

    /// Begins now. What is cut begins as silence, marked as such.
    pub(super) fn begin(&mut self, now: Instant, grid: Grid, is_cut: bool) {
        let mut tape = Tape::new(now);
        if is_cut && !sabotaged() {
            tape.cut(now);
        }
        self.look = grid.at_or_after(now + TAPE_TICK);
        let pauses = Default::default();
        self.reel = Some(Box::new(Reel { tape, is_told: false, is_paused: false, pauses }));
    }

    /// How it stands.
    pub(super) fn state(&self) -> RecordingState {
        match &self.reel {
            None if self.is_over => RecordingState::Ended,
            None => RecordingState::Never,
            Some(reel) if reel.tape.length().is_some() => RecordingState::Ended,
            Some(reel) if reel.is_paused => RecordingState::Paused,
            Some(_) => RecordingState::Running,
        }
    }

    /// When the tape has to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.reel.as_ref().map(|_| self.look)
    }

    /// The tape was looked at, if it was time to.
    pub(super) fn looked_at(&mut self, now: Instant, grid: Grid) {
        if self.look <= now {
            self.look = grid.at_or_after(now + TAPE_TICK);
        }
    }

    /// The call is cut.
    pub(super) fn cut(&mut self, now: Instant) {
        if let Some(reel) = &mut self.reel {
            reel.tape.cut(now);
        }
    }

    /// The call is cut no longer.
    pub(super) fn uncut(&mut self, now: Instant) {
        if let Some(reel) = &mut self.reel {
            reel.tape.uncut(now);
        }
    }

    /// The recording ends while its call goes on. A cut can still take its last moments back.
    fn stop(&mut self, now: Instant) {
        if let Some(reel) = &mut self.reel {
            reel.tape.stop(now);
        }
    }

    /// The call ends, and its recording with it, or it has ended already.
    pub(super) fn end(&mut self, now: Instant) {
        if let Some(reel) = &mut self.reel {
            reel.tape.finish(now);
        }
    }

    /// The tape, if a party's packet that is forwarded may be laid: not in a pause, nor if it was
    /// sent in one.
    pub(super) fn open_tape(
        &mut self,
        now: Instant,
        side: Side,
        at: Position,
    ) -> Option<&mut Tape> {
        let Reel { tape, is_paused, pauses, .. } = &mut **self.reel.as_mut()?;
        let pauses = &mut pauses[side.index()];
        if *is_paused {
            pauses.note(Media::Audio, at);
        }
        let is_withheld = *is_paused || pauses.is_straggler(now, false, Media::Audio, at);
        (!is_withheld || sabotaged()).then_some(tape)
    }

    fn pause(&mut self, now: Instant) {
        let Some(reel) = &mut self.reel else { return };
        reel.is_paused = true;
        reel.pauses.iter_mut().for_each(CutMemory::begin);
        if !sabotaged() {
            reel.tape.pause(now);
        }
    }

    fn resume(&mut self, now: Instant) {
        let Some(reel) = &mut self.reel else { return };
        reel.is_paused = false;
        reel.pauses.iter_mut().for_each(|memory| memory.reopen(now));
        reel.tape.resume(now);
    }

    /// What the recorder is to do next: begin, then each block that can no longer be taken back,
    /// then end.
    fn poll_job(&mut self, now: Instant, call: CallId) -> Option<Job> {
        let reel = self.reel.as_mut()?;
        if !std::mem::replace(&mut reel.is_told, true) {
            return Some(Job::Start { call });
        }
        if let Some(block) = reel.tape.poll_block(now) {
            return Some(Job::Block { call, block });
        }
        let samples = reel.tape.polled_length()?;
        (self.reel, self.is_over) = (None, true);
        Some(Job::Finish { call, samples })
    }
}

impl Call {
    /// Begins, pauses or ends the recording, and tells how it stands then. What stands so already
    /// stays so.
    pub(in crate::switchboard) fn record(
        &mut self,
        now: Instant,
        action: RecordingAction,
        outbox: &mut Outbox,
    ) -> Result<RecordingState, Refusal> {
        let phase = self.phase();
        if phase == Phase::Closed {
            return Err(Refusal::UnknownCall);
        }
        let told = match (action, self.recorded.state()) {
            (RecordingAction::Start, RecordingState::Never) => {
                self.recorded.begin(now, self.grid, phase.is_cut());
                EventKind::RecordingStarted
            }
            (RecordingAction::Start, RecordingState::Paused) => {
                self.recorded.resume(now);
                EventKind::RecordingResumed
            }
            (RecordingAction::Pause, RecordingState::Running) => {
                self.recorded.pause(now);
                EventKind::RecordingPaused
            }
            (RecordingAction::Stop, RecordingState::Running | RecordingState::Paused) => {
                self.recorded.stop(now);
                EventKind::RecordingStopped
            }
            (RecordingAction::Start, RecordingState::Running)
            | (RecordingAction::Pause, RecordingState::Paused)
            | (RecordingAction::Stop, RecordingState::Ended) => return Ok(self.recorded.state()),
            (RecordingAction::Start | RecordingAction::Pause, RecordingState::Ended) => {
                return Err(Refusal::RecordingOver);
            }
            (RecordingAction::Pause | RecordingAction::Stop, RecordingState::Never) => {
                return Err(Refusal::NotRecorded);
            }
        };
        self.tell(outbox, told);
        Ok(self.recorded.state())
    }

    /// The next job for the recorder.
    pub(in crate::switchboard) fn poll_record(&mut self, now: Instant) -> Option<Job> {
        self.recorded.poll_job(now, self.id)
    }
}

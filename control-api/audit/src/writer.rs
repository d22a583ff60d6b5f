//! Writer: the thread that writes entries, all that wait at once, and answers once they are synced.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::anchor::Anchoring;
use crate::disk::Disk;
use crate::entry::{Detail, Entry};
use crate::event::{Event, Outcome};
use crate::limits::BATCH;
use crate::line;
use crate::note::SigningKey;
use crate::receipt::{Answer, AppendError, Appended};
use crate::time::Time;
use crate::verify::Chain;

/// What the writer is asked.
pub(crate) enum Job {
    Append(Box<Entry>, Answer),
    Tick(Time),
    Close(Time, Answer),
}

/// What the writer and its callers share.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) failed: AtomicBool,
    pub(crate) closed: AtomicBool,
    pub(crate) entries: AtomicU64,
    pub(crate) attested: AtomicU64,
}

/// When something new is begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    /// Octets of a segment.
    pub(crate) segment_octets: u64,
    /// Entries between two checkpoints.
    pub(crate) checkpoint_entries: u64,
    /// Time between two checkpoints.
    pub(crate) checkpoint_after: Duration,
    /// What a thread of the log does first.
    pub(crate) on_thread_start: fn(),
}

/// Everything that the writing thread owns.
pub(crate) struct Writer {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) chain: Chain,
    pub(crate) key: SigningKey,
    pub(crate) anchoring: Option<Anchoring>,
    pub(crate) turns: Turns,
    pub(crate) state: Arc<State>,
    /// Octets of the segment that are on the disk.
    pub(crate) segment_octets: u64,
    /// Entries that a checkpoint attests to, and when the last was made.
    pub(crate) attested: u64,
    pub(crate) attested_at: Time,
    /// The newest time that was told.
    pub(crate) now: Time,
    pub(crate) is_anchor_failing: bool,
    /// Lines that are not with the kernel yet, and who waits for them.
    pub(crate) lines: Vec<u8>,
    pub(crate) waiting: Vec<(u64, Answer)>,
}

/// Writes until the log is closed, or nobody can ask for more.
pub(crate) fn run(mut writer: Writer, inbox: &Receiver<Job>) {
    let _end = End(Arc::clone(&writer.state));
    let mut closing = None;
    while closing.is_none() {
        let Ok(first) = inbox.recv() else { break };
        for job in std::iter::once(first).chain(inbox.try_iter().take(BATCH - 1)) {
            match job {
                Job::Append(entry, answer) => writer.add(&entry, Some(answer)),
                Job::Tick(now) => writer.now = now,
                Job::Close(now, answer) => closing = Some((now, answer)),
            }
        }
        writer.flush();
        if writer.is_checkpoint_due() {
            writer.checkpoint();
        }
    }
    if let Some((now, answer)) = closing {
        writer.close(now, answer);
    }
}

/// Tells those who ask later that nobody writes any more, however the thread ends.
struct End(Arc<State>);

impl Drop for End {
    fn drop(&mut self) {
        let is_panic = std::thread::panicking();
        let flag = if is_panic { &self.0.failed } else { &self.0.closed };
        flag.store(true, Ordering::Release);
    }
}

impl Writer {
    fn has_failed(&self) -> bool {
        self.state.failed.load(Ordering::Acquire)
    }

    /// Puts an entry behind the others.
    fn add(&mut self, entry: &Entry, answer: Option<Answer>) {
        self.now = entry.at;
        self.tell_of_anchor();
        self.put(entry, answer);
    }

    fn put(&mut self, entry: &Entry, answer: Option<Answer>) {
        let seq = self.chain.tree.size();
        let line = line::write(entry, seq, self.chain.prev);
        let before = self.segment_octets + self.lines.len() as u64;
        if before > 0 && before + line.len() as u64 + 1 > self.turns.segment_octets {
            self.begin_segment();
        }
        if self.has_failed() {
            if let Some(answer) = answer {
                answer.give(Err(AppendError::Failed));
            }
            return;
        }
        self.chain.push(&line, entry.event, entry.at);
        self.lines.extend_from_slice(&line);
        self.lines.push(b'\n');
        self.waiting.extend(answer.map(|answer| (seq, answer)));
    }

    /// Begins a segment, with a checkpoint that attests to all before it.
    fn begin_segment(&mut self) {
        self.flush();
        self.checkpoint();
        if self.has_failed() {
            return;
        }
        match self.disk.begin_segment(&self.chain.tree) {
            Ok(()) => self.segment_octets = 0,
            Err(error) => self.fail(&error),
        }
    }

    /// Writes and syncs what waits, then answers.
    fn flush(&mut self) {
        if self.lines.is_empty() || self.has_failed() {
            return;
        }
        if let Err(error) = self.disk.append(&self.lines).and_then(|()| self.disk.sync()) {
            self.fail(&error);
            return;
        }
        self.segment_octets += self.lines.len() as u64;
        self.lines.clear();
        self.state.entries.store(self.chain.tree.size(), Ordering::Release);
        for (seq, answer) in self.waiting.drain(..) {
            answer.give(Ok(Appended { seq }));
        }
    }

    /// Nothing is written any more, and nothing tried again: after a failed sync the kernel may
    /// have dropped lines and would say that all is well.
    fn fail(&mut self, error: &io::Error) {
        if !self.state.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the audit log can't be written: restart once its disk is well");
        }
        self.lines.clear();
        for (_, answer) in self.waiting.drain(..) {
            answer.give(Err(AppendError::Failed));
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        let new = self.chain.tree.size() - self.attested;
        let is_late = self.now.apart(self.attested_at) >= self.turns.checkpoint_after;
        new >= self.turns.checkpoint_entries || (new > 0 && is_late)
    }

    /// Signs what is on the disk.
    fn checkpoint(&mut self) {
        if self.has_failed() || self.chain.tree.size() == self.attested {
            return;
        }
        let checkpoint = self.chain.checkpoint();
        let note = checkpoint.sign(&self.key);
        if let Err(error) = self.disk.checkpoint(&note) {
            self.fail(&error);
            return;
        }
        (self.attested, self.attested_at) = (checkpoint.size, self.now);
        self.state.attested.store(checkpoint.size, Ordering::Release);
        if let Some(anchoring) = &self.anchoring {
            anchoring.send(note);
        }
    }

    /// Says in the log itself when the anchor begins to fail, and when it is back.
    fn tell_of_anchor(&mut self) {
        let is_failing = self.anchoring.as_ref().is_some_and(|it| it.state().is_failing());
        if is_failing == self.is_anchor_failing {
            return;
        }
        self.is_anchor_failing = is_failing;
        let (event, outcome) = if is_failing {
            (Event::LogAnchorFailed, Outcome::Failure)
        } else {
            (Event::LogAnchorRecovered, Outcome::Success)
        };
        self.put(&Entry::own(self.now, event, outcome, Detail::default()), None);
    }

    fn close(mut self, now: Time, answer: Answer) {
        let entry = Entry::own(now, Event::LogClosed, Outcome::Success, Detail::default());
        self.add(&entry, None);
        let seq = self.chain.tree.size().saturating_sub(1);
        self.flush();
        self.checkpoint();
        let is_closed = !self.has_failed();
        // The anchor gets what it was sent before the answer.
        self.anchoring = None;
        answer.give(if is_closed { Ok(Appended { seq }) } else { Err(AppendError::Failed) });
    }
}

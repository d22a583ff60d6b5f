//! Recorder: the front of the threads that write recordings to the disk.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::archive::Archive;
use super::disk::{Directory, Disk};
use super::tape::Block;
use super::writer::{self, Writer};
use crate::privileges;
use crate::switchboard::CallId;
use crate::switchboard::limits::RECORD_QUEUE;

/// How long a stopping program waits for the disk.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What a media thread hands over. Blocks of one call come in order; one that is missing becomes
/// a gap.
#[expect(clippy::large_enum_variant, reason = "a box would allocate on the packet path")]
pub enum Job {
    /// Creates the call's file.
    Start {
        /// The call, without a recording so far.
        call: CallId,
    },
    /// Appends audio.
    Block {
        /// The call.
        call: CallId,
        /// The audio.
        block: Block,
    },
    /// Makes the recording complete. Whoever is refused this one offers it again.
    Finish {
        /// The call.
        call: CallId,
        /// The recording's length, from [`super::Tape::finish`].
        samples: u64,
    },
}

/// The writer has no room, or is gone; a refused block is counted as lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the recorder takes nothing more at present")]
pub struct Full;

/// The threads that write recordings. Dropping it writes what was accepted and waits 10 s at most.
pub struct Recorder {
    queue: RecordQueue,
    stopped: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// The way to the writer; one for each media thread, and for control.
#[derive(Clone)]
pub struct RecordQueue {
    messages: SyncSender<Message>,
    state: Arc<State>,
}

/// A job, or a word between the recorder's own parts.
#[expect(clippy::large_enum_variant, reason = "a box would allocate on the packet path")]
pub(super) enum Message {
    Job(Job, Room),
    Flush(oneshot::Sender<()>, Room),
    Wake,
}

/// Room in the queue for one job: nobody else can take it until it is used or dropped.
pub struct Room {
    state: Arc<State>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.state.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What the recorder's threads and their callers share.
#[derive(Default)]
pub(super) struct State {
    /// Rooms that are kept or used: [`RECORD_QUEUE`] at most.
    pub(super) taken: AtomicUsize,
    pub(super) stopping: AtomicBool,
    pub(super) disk_failed: AtomicBool,
    pub(super) started: AtomicU64,
    pub(super) completed: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) lost_blocks: AtomicU64,
}

/// The recorder's counters, copied out.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RecorderCounts {
    /// Recordings begun.
    pub started: u64,
    /// Recordings that are whole on the disk.
    pub completed: u64,
    /// Recordings that the disk refused, at any point; none of them is complete.
    pub failed: u64,
    /// Stretches missing in recordings.
    pub gaps: u64,
    /// Blocks refused because the queue was full.
    pub lost_blocks: u64,
}

impl Recorder {
    /// Begins to write into an archive; the files have mode 0600.
    pub fn spawn(archive: Arc<Archive>) -> io::Result<Recorder> {
        let directory = Directory::open(archive)?;
        Recorder::spawn_on(Box::new(directory))
    }

    pub(super) fn spawn_on(disk: Box<dyn Disk>) -> io::Result<Recorder> {
        // And one that wakes the writer when it is to stop.
        let (messages, inbox) = sync_channel(RECORD_QUEUE + 1);
        let state = Arc::new(State::default());
        let writer = Writer::spawn_syncer(disk, Arc::clone(&state))?;
        let (stopping, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || {
            privileges::keep_only(privileges::NONE);
            // Dropped, and so told, when the thread ends in whatever way.
            let _stopping: SyncSender<()> = stopping;
            writer::run(writer, &inbox);
        })?;
        let queue = RecordQueue { messages, state };
        Ok(Recorder { queue, stopped, thread: Some(thread) })
    }

    /// A new way to the writer.
    #[must_use]
    pub fn queue(&self) -> RecordQueue {
        self.queue.clone()
    }

    /// The counters.
    #[must_use]
    pub fn counts(&self) -> RecorderCounts {
        self.queue.counts()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.queue.state.stopping.store(true, Ordering::Release);
        // Whoever was first has woken it as well.
        let _ = self.queue.messages.try_send(Message::Wake);
        match self.stopped.recv_timeout(STOP_LIMIT) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
                    tracing::error!("the recorder has panicked");
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                tracing::error!("the disk did not take the recordings in time");
            }
        }
    }
}

impl RecordQueue {
    /// Hands a job over, or not: it never waits.
    pub fn try_send(&self, job: Job) -> Result<(), Full> {
        let is_block = matches!(job, Job::Block { .. });
        self.reserve().and_then(|room| self.send(room, job)).inspect_err(|Full| {
            if is_block {
                self.state.lost_blocks.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Keeps room for one job, so that what depends on its being taken can be refused before it is
    /// done.
    pub fn reserve(&self) -> Result<Room, Full> {
        let next = |taken| (taken < RECORD_QUEUE).then_some(taken + 1);
        let is_kept = self.state.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        is_kept.map_err(|_| Full)?;
        Ok(Room { state: Arc::clone(&self.state) })
    }

    /// Hands over a job that room was kept for. Only a recorder that is gone refuses it.
    pub fn send(&self, room: Room, job: Job) -> Result<(), Full> {
        self.messages.try_send(Message::Job(job, room)).map_err(|_| Full)
    }

    /// Answers when everything accepted before is written and, where it was a finish, synced. So
    /// an export after the end of a call sees all of it. A receiver that fails means the recorder
    /// has stopped.
    pub fn flush(&self) -> Result<oneshot::Receiver<()>, Full> {
        let (done, receiver) = oneshot::channel();
        let room = self.reserve()?;
        self.messages.try_send(Message::Flush(done, room)).map_err(|_| Full)?;
        Ok(receiver)
    }

    /// Whether the disk has ever failed to sync. What the kernel then dropped is unknown, so no
    /// new recording is begun until the program has been started anew.
    #[must_use]
    pub fn has_disk_failed(&self) -> bool {
        self.state.disk_failed.load(Ordering::Relaxed)
    }

    /// The counters.
    #[must_use]
    pub fn counts(&self) -> RecorderCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecorderCounts {
            started: read(&self.state.started),
            completed: read(&self.state.completed),
            failed: read(&self.state.failed),
            gaps: read(&self.state.gaps),
            lost_blocks: read(&self.state.lost_blocks),
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::{Condvar, Mutex};

    use super::super::Summary;
    use super::super::disk::Storage;
    use super::super::key_file::DataKey;
    use super::super::scratch::{Scratch, archive_in, some_instant};
    use super::super::tape::{BLOCK_SAMPLES, Tape};
    use super::*;
    use crate::switchboard::Side;
    use dtmf::g711::Law;

    const CALL: CallId = CallId(1);
    const OTHER: CallId = CallId(2);
    const CHILD_DIR: &str = "SOTTO_TEST_RECORDING_DIR";

    #[test]
    fn a_finished_call_is_complete_private_and_whole() {
        let scratch = Scratch::new();
        let dir = scratch.path().join("recordings");
        let recorder = Recorder::spawn(archive_in(&dir, &[1])).unwrap();
        let queue = recorder.queue();
        send_call(&queue, CALL, 0..13);
        queue.try_send(Job::Finish { call: CALL, samples: 13 * 800 - 5 }).unwrap();
        wait(&queue);
        let summary = summary(&dir, CALL);
        assert!(summary.is_complete());
        assert_eq!((summary.samples, summary.gaps), (13 * 800 - 5, 0));
        assert_eq!(wav_pairs(&dir), 13 * 800 - 5);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let archive = archive_in(&dir, &[1]);
        let modes = [archive.path_of(CALL), archive.key_path_of(CALL)].map(|path| mode(&path));
        assert_eq!((mode(&dir), modes), (0o700, [0o600, 0o600]));
        let expected = RecorderCounts { started: 1, completed: 1, ..RecorderCounts::default() };
        assert_eq!(recorder.counts(), expected);
    }

    #[test]
    fn a_growing_recording_can_be_exported() {
        let scratch = Scratch::new();
        let recorder = Recorder::spawn(scratch.archive()).unwrap();
        recorder.queue().try_send(Job::Start { call: CALL }).unwrap();
        for n in 0..40 {
            recorder.queue().try_send(block(CALL, n)).unwrap();
            wait(&recorder.queue());
            let whole_chunks = (n + 1) / 5 * 5;
            assert_eq!(wav_pairs(scratch.path()), whole_chunks * BLOCK_SAMPLES as u64);
            assert!(!summary(scratch.path(), CALL).is_complete());
        }
    }

    #[test]
    fn dropping_the_recorder_writes_what_it_accepted() {
        let scratch = Scratch::new();
        let recorder = Recorder::spawn(scratch.archive()).unwrap();
        let queue = recorder.queue();
        send_call(&queue, CALL, 0..7);
        send_call(&queue, OTHER, 0..3);
        queue.try_send(Job::Finish { call: OTHER, samples: 2400 }).unwrap();
        drop(recorder);
        let open = summary(scratch.path(), CALL);
        assert_eq!((open.samples, open.is_complete()), (5600, false));
        assert!(summary(scratch.path(), OTHER).is_complete());
        assert_eq!(queue.try_send(Job::Start { call: CALL }), Err(Full));
    }

    #[test]
    fn an_existing_recording_is_never_touched() {
        let scratch = Scratch::new();
        let path = scratch.archive().path_of(CALL);
        std::fs::write(&path, b"kept").unwrap();
        let recorder = Recorder::spawn(scratch.archive()).unwrap();
        send_call(&recorder.queue(), CALL, 0..9);
        recorder.queue().try_send(Job::Finish { call: CALL, samples: 7200 }).unwrap();
        wait(&recorder.queue());
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
        let expected = RecorderCounts { started: 1, failed: 1, ..RecorderCounts::default() };
        assert_eq!(recorder.counts(), expected);
    }

    #[test]
    fn without_a_key_no_recording_begins() {
        let scratch = Scratch::new();
        let archive = scratch.archive();
        // Where the key file is written first.
        std::fs::create_dir(archive.key_path_of(CALL).with_extension("key.new")).unwrap();
        let recorder = Recorder::spawn(Arc::clone(&archive)).unwrap();
        let queue = recorder.queue();
        for call in [CALL, OTHER] {
            send_call(&queue, call, 0..9);
            queue.try_send(Job::Finish { call, samples: 7200 }).unwrap();
        }
        wait(&queue);
        assert!(!archive.has(CALL));
        assert!(summary(scratch.path(), OTHER).is_complete());
        let expected =
            RecorderCounts { started: 2, failed: 1, completed: 1, ..RecorderCounts::default() };
        assert_eq!(recorder.counts(), expected);
    }

    #[test]
    fn a_full_queue_refuses_counts_and_leaves_a_gap() {
        let scratch = Scratch::new();
        let faults = Arc::new(Faults::default());
        let recorder = recorder_with(&faults, scratch.path());
        let queue = recorder.queue();
        send_call(&queue, CALL, 0..5);
        wait(&queue);
        faults.shut(true);
        (5..10).for_each(|n| queue.try_send(block(CALL, n)).unwrap());
        faults.wait_until_stuck();
        let mut n = 10;
        while queue.try_send(block(CALL, n)).is_ok() {
            n += 1;
        }
        assert_eq!(n, 10 + RECORD_QUEUE as u64);
        assert_eq!(queue.try_send(block(CALL, n + 1)), Err(Full));
        assert_eq!(recorder.counts().lost_blocks, 2);
        assert!(queue.reserve().is_err() && queue.flush().is_err());
        faults.shut(false);
        wait_with_patience(&queue);

        queue.try_send(block(CALL, n + 2)).unwrap();
        queue.try_send(Job::Finish { call: CALL, samples: (n + 3) * 800 }).unwrap();
        wait(&queue);
        let summary = summary(scratch.path(), CALL);
        assert_eq!((summary.samples, summary.gaps), ((n + 3) * 800, 1));
        assert_eq!((recorder.counts().gaps, recorder.counts().completed), (1, 1));
    }

    #[test]
    fn room_that_is_kept_is_there_when_the_queue_is_full() {
        let scratch = Scratch::new();
        let recorder = Recorder::spawn(scratch.archive()).unwrap();
        let queue = recorder.queue();
        let kept = queue.reserve().unwrap();
        let rooms: Vec<Room> = std::iter::from_fn(|| queue.reserve().ok()).collect();
        assert_eq!(rooms.len() + 1, RECORD_QUEUE);
        assert_eq!(queue.try_send(Job::Start { call: OTHER }), Err(Full));
        queue.send(kept, Job::Start { call: CALL }).unwrap();
        drop(rooms);
        queue.try_send(Job::Finish { call: CALL, samples: 0 }).unwrap();
        wait(&queue);
        assert!(summary(scratch.path(), CALL).is_complete());
        assert!(!scratch.archive().has(OTHER));
        assert_eq!(queue.state.taken.load(Ordering::Acquire), 0, "all of it is given back");
    }

    #[test]
    fn a_sync_that_fails_at_any_time_leaves_no_complete_recording() {
        // 24 chunks: two periodic syncs, one before the end, one behind it.
        for failing in 1..=4 {
            let scratch = Scratch::new();
            let faults = Arc::new(Faults { sync: AtomicU64::new(failing), ..Faults::default() });
            let recorder = recorder_with(&faults, scratch.path());
            let queue = recorder.queue();
            send_twelve_seconds(&queue);
            let kept = summary(scratch.path(), CALL);
            assert!(!kept.is_complete(), "sync {failing}");
            assert!(queue.has_disk_failed());
            let counts = recorder.counts();
            assert_eq!((counts.failed, counts.completed), (1, 0), "sync {failing}");

            send_call(&queue, OTHER, 0..5);
            wait(&queue);
            assert_eq!(recorder.counts().failed, 2);
            assert!(!scratch.archive().has(OTHER));
        }
    }

    #[test]
    fn without_a_fault_the_same_call_is_complete() {
        let scratch = Scratch::new();
        let faults = Arc::new(Faults { sync: AtomicU64::new(5), ..Faults::default() });
        let recorder = recorder_with(&faults, scratch.path());
        let queue = recorder.queue();
        send_twelve_seconds(&queue);
        assert!(summary(scratch.path(), CALL).is_complete());
        assert_eq!(faults.sync.load(Ordering::Relaxed), 1, "four syncs");
    }

    #[test]
    fn a_full_disk_ends_one_recording_and_spares_the_next() {
        let scratch = Scratch::new();
        // The header and one chunk get through.
        let faults = Arc::new(Faults { append: AtomicU64::new(3), ..Faults::default() });
        let recorder = recorder_with(&faults, scratch.path());
        let queue = recorder.queue();
        send_call(&queue, CALL, 0..20);
        queue.try_send(Job::Finish { call: CALL, samples: 16_000 }).unwrap();
        send_call(&queue, OTHER, 0..20);
        queue.try_send(Job::Finish { call: OTHER, samples: 16_000 }).unwrap();
        wait(&queue);
        let failed = summary(scratch.path(), CALL);
        assert_eq!((failed.samples, failed.is_complete()), (4000, false));
        assert!(summary(scratch.path(), OTHER).is_complete());
        assert!(!queue.has_disk_failed());
        assert_eq!((recorder.counts().failed, recorder.counts().completed), (1, 1));
    }

    #[test]
    fn a_killed_process_loses_a_second_at_most() {
        let scratch = Scratch::new();
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::child_that_is_killed")])
            .args(["--ignored", "--nocapture"])
            .env(CHILD_DIR, scratch.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut laid = 0;
        while laid < 2730 {
            let line = lines.next().expect("the child lives").unwrap();
            laid = line.strip_prefix("laid ").map_or(laid, |ms| ms.parse().unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said between our last look and its death.
        for line in lines.map_while(Result::ok) {
            laid = line.strip_prefix("laid ").and_then(|ms| ms.parse().ok()).unwrap_or(laid);
        }
        let kept = summary(scratch.path(), CALL);
        let lost = laid - kept.samples / 8;
        assert!((250..=1000).contains(&lost), "lost {lost} ms of {laid} ms");
        assert!(!kept.is_complete());
        assert_eq!(wav_pairs(scratch.path()), kept.samples);
    }

    /// Not a test: the process that `a_killed_process_loses_a_second_at_most` kills.
    #[test]
    #[ignore = "runs only as a child of another test"]
    fn child_that_is_killed() {
        let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
        let recorder = Recorder::spawn(archive_in(Path::new(&dir), &[1])).unwrap();
        let queue = recorder.queue();
        queue.try_send(Job::Start { call: CALL }).unwrap();
        let opened = some_instant();
        let mut tape = Tape::new(opened);
        for ms in (0..10_000).step_by(20) {
            let now = opened + Duration::from_millis(ms);
            for side in Side::ALL {
                tape.lay(now, side, ms as u32 * 8, Law::Mu, &[0x42; 160]);
            }
            println!("laid {ms}");
            while let Some(block) = tape.poll_block(now) {
                queue.try_send(Job::Block { call: CALL, block }).unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn block(call: CallId, n: u64) -> Job {
        let (caller, engine) = ([0x10; BLOCK_SAMPLES], [0x90; BLOCK_SAMPLES]);
        let start = n * BLOCK_SAMPLES as u64;
        Job::Block { call, block: Block { start, caller, engine, secure: 0, paused: false } }
    }

    fn send_call(queue: &RecordQueue, call: CallId, blocks: std::ops::Range<u64>) {
        queue.try_send(Job::Start { call }).unwrap();
        for n in blocks {
            queue.try_send(block(call, n)).unwrap();
        }
    }

    /// A whole call of 24 chunks, slow enough that every sync is done when the next is due.
    fn send_twelve_seconds(queue: &RecordQueue) {
        queue.try_send(Job::Start { call: CALL }).unwrap();
        for n in 0..120 {
            queue.try_send(block(CALL, n)).unwrap();
            wait(queue);
        }
        queue.try_send(Job::Finish { call: CALL, samples: 120 * 800 }).unwrap();
        wait(queue);
    }

    fn wait(queue: &RecordQueue) {
        queue.flush().unwrap().blocking_recv().unwrap();
    }

    /// Waits although the queue is full at first.
    fn wait_with_patience(queue: &RecordQueue) {
        for _ in 0..1000 {
            match queue.flush() {
                Ok(done) => return done.blocking_recv().unwrap(),
                Err(Full) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        panic!("the queue stays full");
    }

    fn summary(dir: &Path, call: CallId) -> Summary {
        archive_in(dir, &[1]).summary(call).unwrap()
    }

    fn wav_pairs(dir: &Path) -> u64 {
        let mut wav = Vec::new();
        archive_in(dir, &[1]).export_wav(CALL, &mut wav, |_, _| ()).unwrap();
        u64::from(hound::WavReader::new(&wav[..]).unwrap().duration())
    }

    /// What goes wrong on a disk: the n-th sync, the n-th append (0: never), or all that waits.
    #[derive(Default)]
    struct Faults {
        sync: AtomicU64,
        append: AtomicU64,
        gate: Mutex<Gate>,
        moved: Condvar,
    }

    #[derive(Default)]
    struct Gate {
        is_shut: bool,
        is_waited_at: bool,
    }

    struct FaultyDisk {
        disk: Directory,
        faults: Arc<Faults>,
    }

    struct FaultyStorage {
        storage: Box<dyn Storage>,
        faults: Arc<Faults>,
    }

    fn recorder_with(faults: &Arc<Faults>, dir: &Path) -> Recorder {
        let disk = Directory::open(archive_in(dir, &[1])).unwrap();
        let faults = Arc::clone(faults);
        Recorder::spawn_on(Box::new(FaultyDisk { disk, faults })).unwrap()
    }

    impl Faults {
        fn shut(&self, is_shut: bool) {
            self.gate.lock().unwrap().is_shut = is_shut;
            self.moved.notify_all();
        }

        fn wait_until_stuck(&self) {
            let gate = self.gate.lock().unwrap();
            drop(self.moved.wait_while(gate, |gate| !gate.is_waited_at).unwrap());
        }

        fn pass(&self) {
            let mut gate = self.gate.lock().unwrap();
            gate.is_waited_at = gate.is_shut;
            self.moved.notify_all();
            drop(self.moved.wait_while(gate, |gate| gate.is_shut).unwrap());
        }

        /// Counts down to the fault.
        fn strike(countdown: &AtomicU64) -> io::Result<()> {
            let take = |left: u64| left.checked_sub(1);
            match countdown.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                Ok(1) => Err(io::Error::other("the disk is worn out")),
                Ok(_) | Err(_) => Ok(()),
            }
        }
    }

    impl Disk for FaultyDisk {
        fn create(&self, call: CallId) -> io::Result<(Box<dyn Storage>, DataKey)> {
            let (storage, key) = self.disk.create(call)?;
            Ok((Box::new(FaultyStorage { storage, faults: Arc::clone(&self.faults) }), key))
        }
    }

    impl Storage for FaultyStorage {
        fn append(&self, octets: &[u8]) -> io::Result<()> {
            self.faults.pass();
            Faults::strike(&self.faults.append)?;
            self.storage.append(octets)
        }

        fn sync(&self) -> io::Result<()> {
            Faults::strike(&self.faults.sync)?;
            self.storage.sync()
        }

        fn truncate(&self, length: u64) -> io::Result<()> {
            self.storage.truncate(length)
        }
    }
}

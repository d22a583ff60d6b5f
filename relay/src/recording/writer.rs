//! Writer: the two threads behind a recorder, one that writes and one that waits for the disk.
//!
//! Syncing takes milliseconds and would hold up every call, so it has a thread of its own.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::chunk::{Chunks, NotSealed, header};
use super::disk::{Disk, Storage};
use super::key_file::DataKey;
use super::recorder::{Job, Message, State};
use super::tape::{BLOCK_SAMPLES, Block};
use crate::privileges;
use crate::switchboard::CallId;
use crate::switchboard::limits::RECORD_QUEUE;

/// Chunks between two syncs of one file: 5 s, what a power cut may cost.
const CHUNKS_PER_SYNC: u32 = 10;

/// Files waiting to be synced. A file waits once at most beside its finish; beyond the bound the
/// periodic ones are left out, and a finish waits.
const SYNC_QUEUE: usize = 1024;

/// How long the writer rests once it has nothing left to write. A thread that waits for the next
/// block has to be woken for it, by a system call of the media thread for each block of each call;
/// one that rests finds a hundred at once. The queue holds what comes meanwhile many times over.
const REST: Duration = Duration::from_millis(10);

/// Everything the writing thread owns.
pub(super) struct Writer {
    disk: Box<dyn Disk>,
    recordings: HashMap<CallId, Recording>,
    syncs: SyncSender<SyncJob>,
    syncer: JoinHandle<()>,
    state: Arc<State>,
}

/// One recording in the making.
struct Recording {
    file: Arc<Spool>,
    chunks: Chunks,
    /// Where the next block begins, if none is missing.
    next: u64,
    /// Octets given to the kernel.
    written: u64,
    unsynced_chunks: u32,
}

/// A recording's file, shared by both threads.
struct Spool {
    call: CallId,
    storage: Box<dyn Storage>,
    failed: AtomicBool,
    sync_waits: AtomicBool,
}

/// What the syncing thread is asked.
enum SyncJob {
    Periodic(Arc<Spool>),
    Finish { file: Arc<Spool>, written: u64, end: Vec<u8> },
    Flush(oneshot::Sender<()>),
}

/// Writes until the recorder is dropped, then what is still queued.
pub(super) fn run(mut writer: Writer, inbox: &Receiver<Message>) {
    while !writer.state.stopping.load(Ordering::Acquire) {
        match inbox.recv() {
            Ok(message) => writer.handle(message),
            Err(_) => break,
        }
        for message in inbox.try_iter().take(RECORD_QUEUE) {
            writer.handle(message);
        }
        std::thread::sleep(REST);
    }
    // Senders may still be there, so the queue's own bound ends this.
    for message in inbox.try_iter().take(RECORD_QUEUE) {
        writer.handle(message);
    }
    writer.stop();
}

impl Writer {
    /// A writer with its syncing thread.
    pub(super) fn spawn_syncer(disk: Box<dyn Disk>, state: Arc<State>) -> io::Result<Writer> {
        let (syncs, inbox): (_, Receiver<SyncJob>) = sync_channel(SYNC_QUEUE);
        let shared = Arc::clone(&state);
        let builder = std::thread::Builder::new().name("recorder-sync".into());
        let syncer = builder.spawn(move || {
            privileges::keep_only(privileges::NONE);
            inbox.iter().for_each(|job| job.carry_out(&shared));
        })?;
        Ok(Writer { disk, recordings: HashMap::new(), syncs, syncer, state })
    }

    fn handle(&mut self, message: Message) {
        // What has come out leaves its room to others, before the disk is waited for.
        match message {
            Message::Job(job, room) => {
                drop(room);
                self.carry_out(job);
            }
            Message::Flush(done, room) => {
                drop(room);
                self.sync(SyncJob::Flush(done));
            }
            Message::Wake => {}
        }
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Start { call } => self.start(call),
            Job::Block { call, mut block } => {
                self.write(call, &block);
                block.wipe();
            }
            Job::Finish { call, samples } => self.finish(call, samples),
        }
    }

    fn start(&mut self, call: CallId) {
        self.state.started.fetch_add(1, Ordering::Relaxed);
        if self.recordings.contains_key(&call) || self.state.disk_failed.load(Ordering::Relaxed) {
            self.state.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.disk.create(call) {
            Ok((storage, key)) => {
                let mut recording = Recording::new(call, storage, key);
                recording.append(&header(call), &self.state);
                self.recordings.insert(call, recording);
            }
            Err(error) => {
                self.state.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(call = call.0, %error, "a recording could not be created");
            }
        }
    }

    fn write(&mut self, call: CallId, block: &Block) {
        // One that could not be started is counted already.
        let Some(recording) = self.recordings.get_mut(&call) else { return };
        recording.write(block, &self.state);
        if recording.is_sync_due() {
            let file = Arc::clone(&recording.file);
            file.sync_waits.store(true, Ordering::Relaxed);
            if self.syncs.try_send(SyncJob::Periodic(Arc::clone(&file))).is_err() {
                file.sync_waits.store(false, Ordering::Relaxed);
            }
        }
    }

    fn finish(&mut self, call: CallId, samples: u64) {
        let Some(mut recording) = self.recordings.remove(&call) else { return };
        recording.close_chunk(&self.state);
        if samples > recording.next {
            self.state.gaps.fetch_add(1, Ordering::Relaxed);
        }
        match recording.chunks.end(samples).map(<[u8]>::to_vec) {
            Ok(end) => {
                let Recording { file, written, .. } = recording;
                self.sync(SyncJob::Finish { file, written, end });
            }
            Err(NotSealed) => recording.file.fail(&NotSealed, &self.state),
        }
    }

    /// Writes what is open without an end: those calls are not over, or were not said to be.
    fn stop(mut self) {
        for (_, mut recording) in self.recordings.drain() {
            recording.close_chunk(&self.state);
            let _ = self.syncs.send(SyncJob::Periodic(recording.file));
        }
        drop(self.syncs);
        if self.syncer.join().is_err() {
            tracing::error!("the recorder's syncing thread has panicked");
        }
    }

    fn sync(&self, job: SyncJob) {
        if self.syncs.send(job).is_err() {
            tracing::error!("the recorder's syncing thread is gone");
        }
    }
}

impl Recording {
    fn new(call: CallId, storage: Box<dyn Storage>, key: DataKey) -> Recording {
        let (failed, sync_waits) = (AtomicBool::new(false), AtomicBool::new(false));
        let file = Arc::new(Spool { call, storage, failed, sync_waits });
        let chunks = Chunks::new(call, key);
        Recording { file, chunks, next: 0, written: 0, unsynced_chunks: 0 }
    }

    fn write(&mut self, block: &Block, state: &State) {
        debug_assert!(block.start >= self.next, "blocks of one call come in order");
        if block.start < self.next {
            return;
        }
        if block.start > self.next {
            state.gaps.fetch_add(1, Ordering::Relaxed);
            self.close_chunk(state);
        }
        self.chunks.push(block);
        self.next = block.start + BLOCK_SAMPLES as u64;
        if self.chunks.is_full() {
            self.close_chunk(state);
        }
    }

    fn close_chunk(&mut self, state: &State) {
        if self.chunks.is_empty() {
            return;
        }
        match self.chunks.close() {
            Ok(chunk) => self.written += self.file.append(chunk, state),
            Err(NotSealed) => self.file.fail(&NotSealed, state),
        }
        self.unsynced_chunks += 1;
    }

    fn append(&mut self, octets: &[u8], state: &State) {
        self.written += self.file.append(octets, state);
    }

    fn is_sync_due(&mut self) -> bool {
        let is_due = self.unsynced_chunks >= CHUNKS_PER_SYNC
            && !self.file.sync_waits.load(Ordering::Relaxed);
        if is_due {
            self.unsynced_chunks = 0;
        }
        is_due
    }
}

impl Spool {
    /// Octets written: all or, once failed, none.
    fn append(&self, octets: &[u8], state: &State) -> u64 {
        if self.has_failed() {
            return 0;
        }
        match self.storage.append(octets) {
            Ok(()) => octets.len() as u64,
            Err(error) => {
                self.fail(&error, state);
                0
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn sync(&self, state: &State) -> Result<(), ()> {
        self.storage.sync().map_err(|error| {
            // The kernel may have dropped what it could not write, and a second try would succeed.
            state.disk_failed.store(true, Ordering::Relaxed);
            self.fail(&error, state);
        })
    }

    fn fail(&self, error: &dyn fmt::Display, state: &State) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            state.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(call = self.call.0, %error, "a recording has failed");
        }
    }

    /// Adds the end once all before it is on the disk, and takes it back if it does not get there.
    fn finish(&self, written: u64, end: &[u8], state: &State) {
        if self.has_failed() || self.sync(state).is_err() {
            return;
        }
        let is_complete = self.append(end, state) > 0 && self.sync(state).is_ok();
        if is_complete {
            state.completed.fetch_add(1, Ordering::Relaxed);
        } else if let Err(error) = self.storage.truncate(written) {
            tracing::error!(call = self.call.0, %error, "a failed recording may look complete");
        }
    }
}

impl SyncJob {
    fn carry_out(self, state: &State) {
        match self {
            SyncJob::Periodic(file) => {
                file.sync_waits.store(false, Ordering::Relaxed);
                if !file.has_failed() {
                    let _ = file.sync(state);
                }
            }
            SyncJob::Finish { file, written, end } => file.finish(written, &end, state),
            // Whoever asked may have stopped waiting.
            SyncJob::Flush(done) => drop(done.send(())),
        }
    }
}

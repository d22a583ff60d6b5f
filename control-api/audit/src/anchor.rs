//! Anchor: another place that gets each checkpoint, so that who can rewrite the log can't rewrite
//! all that attests to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use crate::limits::{ANCHOR_QUEUE, ANCHOR_STOP_LIMIT, MAX_ANCHOR};

/// Takes checkpoints. It is called on a thread of its own, so that it may be slow.
pub trait Anchor: Send {
    /// Keeps a checkpoint: five lines.
    ///
    /// # Errors
    /// If it can't. That is told, and the log goes on.
    fn keep(&mut self, checkpoint: &str) -> io::Result<()>;

    /// The checkpoints that it has, one behind the other, or the last one; `None` if it can't tell.
    /// A log that contradicts them is not opened.
    ///
    /// # Errors
    /// If it can't be asked. That is told, and the log is opened.
    fn kept(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// A file with the last checkpoint, replaced in one step: on another disk, or another host's.
#[derive(Debug)]
pub struct AnchorFile {
    path: PathBuf,
}

impl AnchorFile {
    /// One at `path`, whose directory is there.
    #[must_use]
    pub const fn new(path: PathBuf) -> AnchorFile {
        AnchorFile { path }
    }
}

impl Anchor for AnchorFile {
    fn keep(&mut self, checkpoint: &str) -> io::Result<()> {
        let next = self.path.with_added_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(checkpoint.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    fn kept(&mut self) -> io::Result<Option<Vec<u8>>> {
        match File::open(&self.path) {
            Ok(file) => {
                let mut octets = Vec::new();
                file.take(MAX_ANCHOR).read_to_end(&mut octets)?;
                Ok(Some(octets))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What has become of the checkpoints that the anchor got.
#[derive(Debug, Default)]
pub(crate) struct AnchorState {
    is_failing: AtomicBool,
    kept: AtomicU64,
    failed: AtomicU64,
}

/// The way to the anchor's thread.
pub(crate) struct Anchoring {
    queue: Option<SyncSender<String>>,
    stopped: Receiver<()>,
    state: Arc<AnchorState>,
}

impl Anchoring {
    pub(crate) fn begin(
        mut anchor: Box<dyn Anchor>,
        on_thread_start: fn(),
    ) -> io::Result<Anchoring> {
        let (queue, inbox): (_, Receiver<String>) = sync_channel(ANCHOR_QUEUE);
        let state = Arc::new(AnchorState::default());
        let shared = Arc::clone(&state);
        let (stopping, stopped) = sync_channel(1);
        std::thread::Builder::new().name("audit-anchor".into()).spawn(move || {
            // Dropped, and so told, when the thread ends in whatever way.
            let _stopping: SyncSender<()> = stopping;
            on_thread_start();
            inbox.iter().for_each(|checkpoint| shared.note(anchor.keep(&checkpoint)));
        })?;
        Ok(Anchoring { queue: Some(queue), stopped, state })
    }

    /// Hands a checkpoint over, and never waits.
    pub(crate) fn send(&self, checkpoint: String) {
        let is_taken = self.queue.as_ref().is_some_and(|it| it.try_send(checkpoint).is_ok());
        if !is_taken {
            self.state.note(Err(io::Error::other("it does not keep up")));
        }
    }

    pub(crate) const fn state(&self) -> &Arc<AnchorState> {
        &self.state
    }
}

impl Drop for Anchoring {
    /// Waits for what was sent, but not for long: who stops can't wait for another disk.
    fn drop(&mut self) {
        self.queue = None;
        if self.stopped.recv_timeout(ANCHOR_STOP_LIMIT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the audit log's anchor did not take the last checkpoints in time");
        }
    }
}

impl AnchorState {
    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Checkpoints kept, and those that were not.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.kept.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    pub(crate) fn note(&self, result: io::Result<()>) {
        let counter = if result.is_ok() { &self.kept } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "the audit log's anchor takes no checkpoints");
            }
            Ok(()) if was_failing => tracing::info!("the audit log's anchor is back"),
            Ok(()) | Err(_) => {}
        }
    }
}

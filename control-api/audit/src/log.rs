//! AuditLog: the front of the thread that writes the log.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::anchor::{Anchor, AnchorState, Anchoring};
use crate::disk::{self, Directory, DirectoryError, Disk};
use crate::entry::{Detail, Entry};
use crate::event::{Event, Outcome};
use crate::key_file::{self, KeyFileError};
use crate::limits::{
    CHECKPOINT_AFTER, CHECKPOINT_ENTRIES, MIN_SEGMENT_OCTETS, QUEUE, SEGMENT_OCTETS, STOP_LIMIT,
};
use crate::lines::{Bad, VerifyError};
use crate::note::{LogName, SigningKey, VerifierKey};
use crate::receipt::{AppendError, Receipt, receipt};
use crate::resume;
use crate::time::Time;
use crate::verify::{self, Chain, Ending, Scanned, Verified};
use crate::writer::{self, Job, State, Turns, Writer};

/// How long a closing log waits before it tries its full queue again.
const CLOSE_RETRY: Duration = Duration::from_millis(10);

/// How a log is kept.
pub struct Options {
    /// The log's name: it stands in each checkpoint, and is never changed.
    pub name: LogName,
    /// The signing key; made at the first start. Who has it can forge checkpoints, so keep it
    /// apart from the log's backups.
    pub key_file: PathBuf,
    /// Octets of a segment; [`SEGMENT_OCTETS`] unless it is set, [`MIN_SEGMENT_OCTETS`] at least.
    pub segment_octets: u64,
    /// Entries between two checkpoints; [`CHECKPOINT_ENTRIES`] unless it is set, 1 at least.
    pub checkpoint_entries: u64,
    /// Time between two checkpoints if there are new entries; [`CHECKPOINT_AFTER`] unless it is
    /// set. It passes by the times of entries and of [`AuditLog::tick`].
    pub checkpoint_after: Duration,
    /// How much is read when the log is opened; [`Check::Whole`] unless it is set.
    pub check: Check,
    /// What gets each checkpoint besides.
    pub anchor: Option<Box<dyn Anchor>>,
    /// What each of the log's threads does first, such as to give up privileges.
    pub on_thread_start: fn(),
}

/// How much of a log is read and verified when it is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// All of it. That takes a while where there are millions of entries.
    Whole,
    /// The last segment, behind a signed checkpoint that attests to all before it; all of it where
    /// that does not fit. What was altered in other segments is then left to [`verify_directory`].
    LastSegment,
}

/// A log that this process writes, alone. Dropped without [`AuditLog::close`], it writes what was
/// accepted and waits 10 s at most.
#[derive(Debug)]
pub struct AuditLog {
    queue: Option<SyncSender<Job>>,
    state: Arc<State>,
    anchor: Option<Arc<AnchorState>>,
    verifier: VerifierKey,
    stopped: Mutex<Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What was found when a log was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The log as it was.
    pub found: Verified,
    /// The first entry that was read: 0 if all were.
    pub checked_from: u64,
    /// Octets of a line without an end that were cut off.
    pub torn_octets: u64,
    /// A checkpoint without an end was cut off.
    pub is_checkpoint_torn: bool,
    /// The log was closed by its last writer, or there was none.
    pub was_closed: bool,
}

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its directory can't be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its key can't be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// It is not as it was written.
    #[error(
        "the audit log {path} is not as it was written: {bad}. It is left as it is: keep it as \
         evidence, move it away together with its key and anchor, and begin another one"
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and where.
        bad: Bad,
    },
    /// It can't be read, or its threads can't be begun.
    #[error("the audit log {path} can't be opened: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// That it was opened can't be written.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Figures of a log, copied out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Entries on the disk.
    pub entries: u64,
    /// Those of them that a checkpoint attests to.
    pub attested: u64,
    /// Checkpoints that the anchor has kept since the start.
    pub anchored: u64,
    /// Checkpoints that it has not.
    pub anchor_failures: u64,
    /// The last one was not kept.
    pub is_anchor_failing: bool,
}

impl Options {
    /// The usual ones.
    #[must_use]
    pub fn new(name: LogName, key_file: PathBuf) -> Options {
        Options {
            name,
            key_file,
            segment_octets: SEGMENT_OCTETS,
            checkpoint_entries: CHECKPOINT_ENTRIES,
            checkpoint_after: CHECKPOINT_AFTER,
            check: Check::Whole,
            anchor: None,
            on_thread_start: || {},
        }
    }

    fn turns(&self) -> Turns {
        Turns {
            segment_octets: self.segment_octets.max(MIN_SEGMENT_OCTETS),
            checkpoint_entries: self.checkpoint_entries.max(1),
            checkpoint_after: self.checkpoint_after,
            on_thread_start: self.on_thread_start,
        }
    }
}

impl AuditLog {
    /// Opens a log, or begins one. All of it is read and verified; what a crash has left without
    /// an end is cut off and told by an entry; then `log.opened` is written.
    ///
    /// # Errors
    /// If anything else in it is not as it was written, or it can't be written.
    pub fn open(
        directory: &Path,
        mut options: Options,
        now: Time,
    ) -> Result<(AuditLog, Opened), OpenError> {
        let failed = |source| OpenError::Io { path: directory.to_owned(), source };
        let locked = Directory::lock(directory)?;
        let key = key_of(&locked, &options)?;
        locked.settle()?;
        let scanned = scan(directory, &mut options, key.verifier())?;
        let open = locked.open(&scanned)?;
        let turns = options.turns();
        let anchor = options.anchor.take();
        let anchoring = anchor.map(|it| Anchoring::begin(it, turns.on_thread_start)).transpose();
        let anchoring = anchoring.map_err(failed)?;
        let log = AuditLog::begin(Box::new(open), &scanned, key, anchoring, turns, now);
        let log = log.map_err(failed)?;
        let opened = Opened {
            torn_octets: scanned.verified.torn_octets,
            is_checkpoint_torn: scanned.is_checkpoint_torn,
            was_closed: scanned.chain.is_closed(),
            checked_from: scanned.start,
            found: scanned.verified,
        };
        log.tell_opened(&opened, now)?;
        Ok((log, opened))
    }

    fn begin(
        disk: Box<dyn Disk>,
        scanned: &Scanned,
        key: SigningKey,
        anchoring: Option<Anchoring>,
        turns: Turns,
        now: Time,
    ) -> io::Result<AuditLog> {
        let on_thread_start = turns.on_thread_start;
        let state = Arc::new(State::default());
        state.entries.store(scanned.verified.entries, Ordering::Relaxed);
        state.attested.store(scanned.verified.attested, Ordering::Relaxed);
        let verifier = key.verifier().clone();
        let anchor = anchoring.as_ref().map(|it| Arc::clone(it.state()));
        let writer = Writer {
            disk,
            chain: scanned.chain.clone(),
            key,
            anchoring,
            turns,
            state: Arc::clone(&state),
            segment_octets: scanned.last_segment.map_or(0, |(_, octets)| octets),
            attested: scanned.verified.attested,
            attested_at: now,
            now,
            is_anchor_failing: false,
            lines: Vec::new(),
            waiting: Vec::new(),
        };
        let (queue, inbox) = sync_channel(QUEUE);
        let (stopping, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || {
            // Dropped, and so told, when the thread ends in whatever way.
            let _stopping: SyncSender<()> = stopping;
            on_thread_start();
            writer::run(writer, &inbox);
        })?;
        let (queue, thread, stopped) = (Some(queue), Some(thread), Mutex::new(stopped));
        Ok(AuditLog { queue, state, anchor, verifier, stopped, thread })
    }

    fn tell_opened(&self, opened: &Opened, now: Time) -> Result<(), AppendError> {
        let count = u32::try_from(opened.torn_octets).unwrap_or(u32::MAX);
        let torn_line = Detail { count: Some(count), ..Detail::default() };
        let entries = [
            Some((Event::LogOpened, Outcome::Success, Detail::default())),
            (opened.torn_octets > 0).then_some((
                Event::LogTornLineCut,
                Outcome::Failure,
                torn_line,
            )),
            opened.is_checkpoint_torn.then_some((
                Event::LogTornCheckpointCut,
                Outcome::Failure,
                Detail::default(),
            )),
        ];
        let told = entries.into_iter().flatten();
        let receipts: Vec<Receipt> = told
            .map(|(event, outcome, detail)| self.append(Entry::own(now, event, outcome, detail)))
            .collect();
        receipts.into_iter().try_for_each(|receipt| receipt.wait().map(drop))
    }

    /// Hands an entry over, and never waits: the receipt tells when it is on the disk, or why it
    /// never will be.
    pub fn append(&self, entry: Entry) -> Receipt {
        let (answer, receipt) = receipt();
        if self.state.failed.load(Ordering::Acquire) {
            answer.give(Err(AppendError::Failed));
        } else if self.state.closed.load(Ordering::Acquire) {
            answer.give(Err(AppendError::Closed));
        } else if let Some(queue) = &self.queue {
            match queue.try_send(Job::Append(Box::new(entry), answer)) {
                Err(TrySendError::Full(Job::Append(_, answer))) => {
                    answer.give(Err(AppendError::Full));
                }
                // The answer to what is dropped with its job is that the log is closed.
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
        receipt
    }

    /// Tells the time, so that a checkpoint is made when it is due though no entry comes.
    pub fn tick(&self, now: Time) {
        if let Some(queue) = &self.queue {
            // Where there is no room, entries tell it.
            let _ = queue.try_send(Job::Tick(now));
        }
    }

    /// Whether entries can be written: false for good once the disk has refused a write or a sync.
    /// A full queue does not count: it may have room when the entry comes.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        !self.state.failed.load(Ordering::Acquire) && !self.state.closed.load(Ordering::Acquire)
    }

    /// The public half of the signing key, as `audit verify` takes it.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The figures.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (anchored, anchor_failures) = self.anchor.as_ref().map_or((0, 0), |it| it.counts());
        Counts {
            entries: self.state.entries.load(Ordering::Acquire),
            attested: self.state.attested.load(Ordering::Acquire),
            anchored,
            anchor_failures,
            is_anchor_failing: self.anchor.as_ref().is_some_and(|it| it.is_failing()),
        }
    }

    /// Writes what was accepted, `log.closed` and a last checkpoint. Appends fail from now on.
    ///
    /// # Errors
    /// If the disk does not take them, within 20 s.
    pub fn close(&self, now: Time) -> Result<(), AppendError> {
        if self.state.failed.load(Ordering::Acquire) {
            return Err(AppendError::Failed);
        }
        if self.state.closed.swap(true, Ordering::AcqRel) {
            return Err(AppendError::Closed);
        }
        let (answer, receipt) = receipt();
        let mut job = Job::Close(now, answer);
        for _ in 0..STOP_LIMIT.as_millis() / CLOSE_RETRY.as_millis() {
            let Some(queue) = &self.queue else { return Err(AppendError::Closed) };
            match queue.try_send(job) {
                Ok(()) => {
                    let answer = receipt.wait_for(STOP_LIMIT);
                    return answer.map_or(Err(AppendError::Failed), |answer| answer.map(drop));
                }
                Err(TrySendError::Disconnected(_)) => return Err(AppendError::Failed),
                Err(TrySendError::Full(again)) => job = again,
            }
            std::thread::sleep(CLOSE_RETRY);
        }
        Err(AppendError::Full)
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.queue = None;
        let stopped = self.stopped.get_mut().unwrap_or_else(PoisonError::into_inner);
        if stopped.recv_timeout(STOP_LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("the disk did not take the audit log in time");
        } else if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit log's writer has panicked");
        }
    }
}

/// Verifies a log in a directory, which may be one that is being written if `ending` says so.
///
/// # Errors
/// The first thing that is bad, and where; or that it can't be read.
pub fn verify_directory(
    directory: &Path,
    anchor: Option<&Path>,
    key: &VerifierKey,
    ending: Ending,
) -> Result<Verified, VerifyError> {
    // In this order: while a log is written, lines come before their checkpoint, and that comes
    // before it is anchored. So there is no more in what is read first than in what is read later.
    let mut anchor = anchor.map(File::open).transpose()?.map(BufReader::new);
    let checkpoints = disk::checkpoints(directory).map_err(io::Error::other)?;
    let anchor = anchor.as_mut().map(|it| it as &mut dyn BufRead);
    let segments = disk::segments(directory, 0).map_err(io::Error::other)?;
    verify::verify(segments, checkpoints, anchor, key, ending)
}

/// The segments of a log in a directory, in their order, each opened when it is due.
///
/// # Errors
/// If the directory can't be read.
pub fn open_segments(
    directory: &Path,
) -> io::Result<impl Iterator<Item = io::Result<crate::Segment<BufReader<File>>>> + use<>> {
    disk::segments(directory, 0).map_err(io::Error::other)
}

fn key_of(directory: &Directory, options: &Options) -> Result<SigningKey, OpenError> {
    let (path, name) = (&options.key_file, options.name.clone());
    if path.try_exists().unwrap_or(true) {
        return Ok(key_file::read(path, name)?);
    }
    if !directory.is_new()? {
        return Err(KeyFileError::Lost { path: path.clone() }.into());
    }
    Ok(key_file::make(path, name)?)
}

/// Reads all there is. An anchor that can't be asked is told; one that contradicts is an error.
fn scan(directory: &Path, options: &mut Options, key: &VerifierKey) -> Result<Scanned, OpenError> {
    let kept = options.anchor.as_mut().map_or(Ok(None), |it| it.kept());
    let kept = kept.unwrap_or_else(|error| {
        tracing::warn!(%error, "the audit log's anchor can't be asked what it has");
        None
    });
    let last = match options.check {
        Check::Whole => None,
        Check::LastSegment => resume::read(directory, &disk::segment_numbers(directory)?),
    };
    // Whatever is wrong behind it, it is the whole log that tells.
    let last = last.and_then(|chain| scan_from(chain, directory, kept.as_deref(), key).ok());
    last.map_or_else(|| scan_from(Chain::new(), directory, kept.as_deref(), key), Ok)
}

fn scan_from(
    chain: Chain,
    directory: &Path,
    mut kept: Option<&[u8]>,
    key: &VerifierKey,
) -> Result<Scanned, OpenError> {
    let checkpoints = disk::checkpoints(directory)?;
    let segments = disk::segments(directory, chain.tree.size())?;
    let anchor = kept.as_mut().map(|it| it as &mut dyn BufRead);
    let scanned = verify::scan(chain, segments, checkpoints, anchor, key, Ending::MayBeTorn);
    scanned.map_err(|error| match error {
        VerifyError::Bad(bad) => OpenError::Damaged { path: directory.to_owned(), bad },
        VerifyError::Io(source) => OpenError::Io { path: directory.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Condvar, MutexGuard};

    use super::*;
    use crate::anchor::AnchorFile;
    use crate::hash::Sha256;
    use crate::lines::{Place, Why, segment_name};
    use crate::receipt::Appended;
    use crate::scratch::{Scratch, at, entry, name, signing_key};
    use crate::tree::Tree;
    use crate::verify::CHECKPOINTS;

    /// Entries of one line each that a smallest segment holds, about.
    const SOME: u32 = 40;

    #[test]
    fn what_was_appended_is_there_chained_and_attested() {
        let scratch = Scratch::new();
        let log = open(&scratch).0;
        let receipts: Vec<Receipt> = (1..=SOME).map(|n| log.append(entry(n))).collect();
        for (n, receipt) in (1..).zip(receipts) {
            assert_eq!(receipt.wait(), Ok(Appended { seq: n }));
        }
        assert!(log.is_writable());
        log.close(at(100)).unwrap();
        assert!(!log.is_writable());
        assert_eq!(log.append(entry(1)).wait(), Err(AppendError::Closed));
        let verified = verify(&scratch, log.verifier()).unwrap();
        assert_eq!((verified.entries, verified.attested), (u64::from(SOME) + 2, verified.entries));
        assert_eq!(verified.anchored, verified.entries);
        assert_eq!(verified.last_at, Some(at(100)));
        assert!(segment_numbers(&scratch).len() > 2, "it was begun anew");
        assert_eq!(log.counts().entries, verified.entries);
    }

    #[test]
    fn a_log_that_is_being_written_can_be_verified() {
        let scratch = Scratch::new();
        let log = Arc::new(open(&scratch).0);
        let writing = std::thread::spawn({
            let log = Arc::clone(&log);
            move || (0..300).all(|n| log.append(entry(n)).wait().is_ok())
        });
        let mut entries = 0;
        while !writing.is_finished() {
            let anchor = scratch.path().join("anchor");
            let anchor = anchor.exists().then_some(anchor);
            let (path, key) = (folder(&scratch), log.verifier());
            let now = verify_directory(&path, anchor.as_deref(), key, Ending::MayBeTorn).unwrap();
            assert!(now.entries >= entries && now.attested >= now.anchored);
            entries = now.entries;
        }
        assert!(writing.join().unwrap());
    }

    #[test]
    fn a_log_goes_on_where_it_was_closed_or_dropped() {
        let scratch = Scratch::new();
        for round in 0..6 {
            let (log, opened) = open(&scratch);
            assert_eq!(opened.was_closed, round % 2 == 0, "round {round}");
            assert_eq!((opened.torn_octets, opened.is_checkpoint_torn), (0, false));
            let seq = log.append(entry(7)).wait().unwrap().seq;
            assert_eq!(seq, opened.found.entries + 1, "behind `log.opened`");
            if round % 2 == 1 {
                log.close(at(8)).unwrap();
            }
        }
    }

    #[test]
    fn files_are_private_and_nobody_else_may_write_them() {
        let scratch = Scratch::new();
        let (log, _) = open(&scratch);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder(&scratch)), 0o700);
        for file in [&segment_name(0), CHECKPOINTS] {
            assert_eq!(mode(&folder(&scratch).join(file)), 0o600, "{file}");
        }
        let second = AuditLog::open(&folder(&scratch), options(&scratch), at(0)).unwrap_err();
        assert!(matches!(second, OpenError::Directory(DirectoryError::Locked { .. })), "{second}");
        drop(log);
        let wider = fs::Permissions::from_mode(0o750);
        fs::set_permissions(folder(&scratch), wider).unwrap();
        let error = AuditLog::open(&folder(&scratch), options(&scratch), at(0)).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_line_torn_anywhere_is_cut_off_and_told() {
        let scratch = Scratch::new();
        let log = open(&scratch).0;
        log.append(entry(1)).wait().unwrap();
        drop(log);
        let whole = fs::read(folder(&scratch).join(segment_name(0))).unwrap();
        let line = whole.split_inclusive(|octet| *octet == b'\n').next_back().unwrap().to_vec();
        for length in (0..line.len()).step_by(7) {
            let (scratch, expected) = (Scratch::new(), length as u64);
            let path = folder(&scratch).join(segment_name(0));
            copy(&scratch, &whole);
            append(&path, &line[..length]);
            let (log, opened) = open(&scratch);
            assert_eq!(opened.torn_octets, expected);
            assert_eq!(log.append(entry(2)).wait().unwrap().seq, 3 + u64::from(length > 0));
            drop(log);
            let text = fs::read_to_string(&path).unwrap();
            let told = format!("\"detail\":{{\"count\":{length}}},\"event\":\"log.torn_line_cut\"");
            assert_eq!(text.contains(&told), length > 0, "{length}");
            assert!(text.as_bytes().starts_with(&whole), "nothing whole was touched");
        }
    }

    #[test]
    fn a_checkpoint_torn_anywhere_is_cut_off_and_told() {
        let scratch = Scratch::new();
        open(&scratch).0.close(at(1)).unwrap();
        let path = folder(&scratch).join(CHECKPOINTS);
        let whole = fs::read(&path).unwrap();
        for length in (1..whole.len()).step_by(13) {
            append(&path, &whole[..length]);
            let (log, opened) = open(&scratch);
            assert!(opened.is_checkpoint_torn, "{length}");
            log.close(at(2)).unwrap();
            verify(&scratch, log.verifier()).unwrap();
        }
    }

    #[test]
    fn whatever_else_is_damaged_is_not_opened() {
        let scratch = Scratch::new();
        let log = open(&scratch).0;
        (1..=SOME).for_each(|n| assert!(log.append(entry(n)).wait().is_ok()));
        log.close(at(99)).unwrap();
        drop(log);
        let last = *segment_numbers(&scratch).last().unwrap();
        let path = folder(&scratch).join(segment_name(last));
        let whole = fs::read(&path).unwrap();
        let lines = whole.iter().filter(|octet| **octet == b'\n').count();

        let cut = whole.len() - whole.split_inclusive(|o| *o == b'\n').next_back().unwrap().len();
        fs::write(&path, &whole[..cut]).unwrap();
        let Place { seq, .. } = damage(&scratch).place;
        assert_eq!(seq, u64::from(SOME) + 1, "the last line is attested to");

        let mut flipped = whole.clone();
        flipped[60] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert_eq!(damage(&scratch).place.seq, last);

        fs::write(&path, [&whole[..], b"{}\n"].concat()).unwrap();
        assert_eq!(damage(&scratch).why, Why::NotCanonical);
        assert_eq!(damage(&scratch).place.line, lines as u64 + 1);

        fs::write(&path, [&whole[..], &[b'x'; 4096]].concat()).unwrap();
        assert_eq!(damage(&scratch).why, Why::NotCanonical, "no crash leaves so much");

        fs::write(&path, &whole).unwrap();
        open(&scratch);
    }

    #[test]
    fn a_log_is_opened_by_its_last_segment_alone_and_goes_on() {
        let scratch = Scratch::new();
        for round in 0..5 {
            let quickly = Options { check: Check::LastSegment, ..options(&scratch) };
            let before = last_segment(&scratch);
            let (log, opened) = AuditLog::open(&folder(&scratch), quickly, at(0)).unwrap();
            assert_eq!(opened.checked_from, before, "round {round}");
            assert_eq!(opened.found.attested, opened.found.entries);
            (0..SOME).for_each(|n| assert!(log.append(entry(n)).wait().is_ok()));
            log.close(at(99)).unwrap();
            let found = verify(&scratch, log.verifier()).unwrap();
            assert_eq!(found.entries, (round + 1) * (u64::from(SOME) + 2));
        }
    }

    #[test]
    fn what_is_kept_to_open_quickly_is_believed_only_with_a_checkpoint() {
        let scratch = Scratch::new();
        let log = open(&scratch).0;
        (0..SOME).for_each(|n| assert!(log.append(entry(n)).wait().is_ok()));
        log.close(at(99)).unwrap();
        drop(log);
        let quickly = || {
            let options = Options { check: Check::LastSegment, ..options(&scratch) };
            AuditLog::open(&folder(&scratch), options, at(0))
        };
        let is_quick = || {
            let last = last_segment(&scratch);
            let (log, opened) = quickly().unwrap();
            log.close(at(99)).unwrap();
            assert!([0, last].contains(&opened.checked_from));
            opened.checked_from == last
        };
        let other = Sha256::of(b"another").to_string() + "\n";
        for fault in 0..6 {
            assert!(is_quick(), "control, before fault {fault}");
            let segment = folder(&scratch).join(segment_name(last_segment(&scratch)));
            let path = segment.with_extension("tree");
            let whole = fs::read_to_string(&path).unwrap();
            let altered = match fault {
                0 => String::new(),
                1 => whole[1..].to_owned(),
                2 => other.repeat(whole.lines().count()),
                3 => whole.clone() + &other,
                4 => whole.replacen(&whole[..64], &whole[..64].to_uppercase(), 1),
                _ => whole[..whole.len() - 1].to_owned(),
            };
            fs::write(&path, altered).unwrap();
            assert!(!is_quick(), "the whole log is read instead, fault {fault}");
            fs::write(&path, &whole).unwrap();
        }
        // What is bad in the last segment is found either way.
        let segment = folder(&scratch).join(segment_name(last_segment(&scratch)));
        let mut octets = fs::read(&segment).unwrap();
        octets[60] ^= 1;
        fs::write(&segment, octets).unwrap();
        let error = quickly().unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }

    #[test]
    fn without_its_key_or_by_another_name_a_log_is_not_opened() {
        let scratch = Scratch::new();
        open(&scratch).0.close(at(1)).unwrap();
        let other = LogName::read("relay-2.example/audit").unwrap();
        let other = Options { name: other, ..options(&scratch) };
        let error = AuditLog::open(&folder(&scratch), other, at(2)).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        fs::remove_file(scratch.path().join("key")).unwrap();
        let error = AuditLog::open(&folder(&scratch), options(&scratch), at(2)).unwrap_err();
        assert!(matches!(error, OpenError::Key(KeyFileError::Lost { .. })), "{error}");
    }

    #[test]
    fn a_log_that_its_anchor_contradicts_is_not_opened() {
        let scratch = Scratch::new();
        open(&scratch).0.close(at(1)).unwrap();
        let earlier = [segment_name(0), CHECKPOINTS.to_owned()].map(|file| {
            let path = folder(&scratch).join(file);
            (path.clone(), fs::read(path).unwrap())
        });
        open(&scratch).0.close(at(2)).unwrap();
        for (path, octets) in earlier {
            fs::write(path, octets).unwrap();
        }
        // As it once was, whole and signed: but the anchor has seen more.
        assert!(matches!(damage(&scratch).why, Why::Truncated { size: 4, source_name: "anchor" }));
        let unanchored = Options { anchor: None, ..options(&scratch) };
        assert!(AuditLog::open(&folder(&scratch), unanchored, at(3)).is_ok(), "which it needs");
    }

    #[test]
    fn a_checkpoint_comes_after_entries_and_after_time() {
        let scratch = Scratch::new();
        let after = Duration::from_secs(60);
        let segment_octets = SEGMENT_OCTETS;
        let options = Options { checkpoint_after: after, segment_octets, ..options(&scratch) };
        let options = Options { checkpoint_entries: 10, anchor: None, ..options };
        let (log, _) = AuditLog::open(&folder(&scratch), options, at(0)).unwrap();
        // What is due behind an entry is done before the next one is.
        let append = |n| assert!(log.append(entry(n)).wait().is_ok());
        let attested = |expected: u64| {
            let is_so = || {
                std::thread::sleep(Duration::from_millis(1));
                log.counts().attested == expected
            };
            (0..2000).any(|_| is_so())
        };
        (1..=9).for_each(append);
        assert_eq!(log.counts().attested, 0, "9 entries, 8 s");
        assert!(attested(10), "10 entries, 9 s");
        (60..=61).for_each(append);
        assert_eq!(log.counts().attested, 10, "51 s");
        log.tick(at(69));
        assert!(attested(12), "60 s");
        // Now the clock is set back, by more than the time.
        append(8);
        assert!(attested(13), "61 s back");
        log.close(at(8)).unwrap();
    }

    #[test]
    fn an_anchor_that_fails_is_told_and_holds_nothing_up() {
        struct Broken(Arc<Mutex<bool>>);
        impl Anchor for Broken {
            fn keep(&mut self, _: &str) -> io::Result<()> {
                if *self.0.lock().unwrap() { Err(io::Error::other("gone")) } else { Ok(()) }
            }
            fn kept(&mut self) -> io::Result<Option<Vec<u8>>> {
                Err(io::Error::other("gone"))
            }
        }
        let scratch = Scratch::new();
        let is_broken = Arc::new(Mutex::new(true));
        let anchor: Box<dyn Anchor> = Box::new(Broken(Arc::clone(&is_broken)));
        let options = Options { anchor: Some(anchor), checkpoint_entries: 1, ..options(&scratch) };
        let (log, _) = AuditLog::open(&folder(&scratch), options, at(0)).unwrap();
        let until = |is_failing: bool| {
            let mut n = 0;
            while log.counts().is_anchor_failing != is_failing {
                n += 1;
                assert!(n < 1000, "the anchor's state is told");
                log.append(entry(n)).wait().unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            log.append(entry(n)).wait().unwrap();
        };
        until(true);
        *is_broken.lock().unwrap() = false;
        until(false);
        log.close(at(9)).unwrap();
        let mut text = String::new();
        for first in segment_numbers(&scratch) {
            text += &fs::read_to_string(folder(&scratch).join(segment_name(first))).unwrap();
        }
        assert_eq!(text.matches("\"event\":\"log.anchor_failed\"").count(), 1);
        assert_eq!(text.matches("\"event\":\"log.anchor_recovered\"").count(), 1);
    }

    #[test]
    fn after_any_failed_write_or_sync_nothing_is_accepted_again() {
        // Append, sync, append, sync, checkpoint; each of them fails once.
        for failing in 1..=8 {
            let disk = Faulty::failing_at(failing);
            let log = begin(&disk);
            let mut accepted = 0;
            let mut refused = 0;
            for n in 0..20 {
                match log.append(entry(n)).wait() {
                    Ok(Appended { seq }) => {
                        assert_eq!((seq, refused), (accepted, 0), "none behind a failure");
                        assert!(disk.synced_lines() > seq, "acknowledged is synced");
                        accepted += 1;
                    }
                    Err(AppendError::Failed) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(refused > 0 && !log.is_writable(), "fault {failing}");
            assert_eq!(disk.calls_after_fault(), 0, "nothing is tried again");
            assert_eq!(log.close(at(1)), Err(AppendError::Failed));
        }
    }

    #[test]
    fn without_a_fault_the_same_entries_are_accepted() {
        let disk = Faulty::failing_at(u64::MAX);
        let log = begin(&disk);
        (0..20).for_each(|n| assert!(log.append(entry(n)).wait().is_ok()));
        log.close(at(1)).unwrap();
        assert_eq!(disk.synced_lines(), 21);
    }

    #[test]
    fn a_full_queue_refuses_and_a_slow_disk_gets_batches() {
        let disk = Faulty::failing_at(u64::MAX);
        let log = begin(&disk);
        disk.shut(true);
        let first = log.append(entry(0));
        disk.wait_until_stuck();
        let waiting: Vec<Receipt> = (0..QUEUE as u32).map(|n| log.append(entry(n))).collect();
        assert_eq!(log.append(entry(1)).wait(), Err(AppendError::Full));
        let first = first.wait_for(Duration::from_millis(5)).unwrap_err();
        assert!(log.is_writable());
        disk.shut(false);
        assert_eq!(first.wait(), Ok(Appended { seq: 0 }));
        for (seq, receipt) in (1..).zip(waiting) {
            assert_eq!(receipt.wait(), Ok(Appended { seq }));
        }
        let syncs = disk.lock().syncs;
        assert!(syncs <= 4, "{syncs} syncs of {} entries", QUEUE + 1);
        assert!(log.append(entry(1)).wait().is_ok());
    }

    #[test]
    fn a_writer_that_panics_is_no_writable_log() {
        let disk = Faulty::failing_at(u64::MAX);
        disk.lock().panics = true;
        let log = begin(&disk);
        assert!(log.append(entry(0)).wait().is_err());
        while log.is_writable() {
            std::thread::yield_now();
        }
        assert!(log.append(entry(0)).wait().is_err());
    }

    /// A disk in memory: it fails once, at the call of that number, or is slow.
    #[derive(Clone, Default)]
    struct Faulty(Arc<(Mutex<Calls>, Condvar)>);

    #[derive(Default)]
    struct Calls {
        countdown: u64,
        after_fault: u64,
        lines: u64,
        synced: u64,
        syncs: u64,
        is_shut: bool,
        is_waited_at: bool,
        panics: bool,
    }

    impl Faulty {
        fn failing_at(call: u64) -> Faulty {
            let disk = Faulty::default();
            disk.lock().countdown = call;
            disk
        }

        fn lock(&self) -> MutexGuard<'_, Calls> {
            self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn synced_lines(&self) -> u64 {
            self.lock().synced
        }

        fn calls_after_fault(&self) -> u64 {
            self.lock().after_fault
        }

        fn shut(&self, is_shut: bool) {
            self.lock().is_shut = is_shut;
            self.0.1.notify_all();
        }

        fn wait_until_stuck(&self) {
            drop(self.0.1.wait_while(self.lock(), |calls| !calls.is_waited_at).unwrap());
        }

        /// Waits at a gate that is shut, then counts down to the fault.
        fn call(&self) -> io::Result<MutexGuard<'_, Calls>> {
            let mut calls = self.lock();
            calls.is_waited_at = calls.is_shut;
            self.0.1.notify_all();
            let mut calls = self.0.1.wait_while(calls, |calls| calls.is_shut).unwrap();
            assert!(!calls.panics, "on purpose");
            match calls.countdown {
                0 => calls.after_fault += 1,
                1 => {
                    calls.countdown = 0;
                    return Err(io::Error::other("the disk is worn out"));
                }
                _ => calls.countdown -= 1,
            }
            Ok(calls)
        }
    }

    impl Disk for Faulty {
        fn append(&mut self, lines: &[u8]) -> io::Result<()> {
            self.call()?.lines += lines.iter().filter(|octet| **octet == b'\n').count() as u64;
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            let mut calls = self.call()?;
            calls.synced = calls.lines;
            calls.syncs += 1;
            Ok(())
        }

        fn begin_segment(&mut self, _before: &Tree) -> io::Result<()> {
            self.call().map(drop)
        }

        fn checkpoint(&mut self, _checkpoint: &str) -> io::Result<()> {
            self.call().map(drop)
        }
    }

    /// A log on a faulty disk, that has three entries to a checkpoint.
    fn begin(disk: &Faulty) -> AuditLog {
        let key = signing_key(1);
        let empty = io::empty();
        let none = std::iter::empty::<io::Result<crate::Segment<io::Empty>>>();
        let (chain, verifier) = (Chain::new(), key.verifier());
        let scanned = verify::scan(chain, none, empty, None, verifier, Ending::Whole).unwrap();
        let turns = Turns {
            segment_octets: MIN_SEGMENT_OCTETS * 1000,
            checkpoint_entries: 3,
            checkpoint_after: Duration::from_secs(3600),
            on_thread_start: || {},
        };
        AuditLog::begin(Box::new(disk.clone()), &scanned, key, None, turns, at(0)).unwrap()
    }

    fn folder(scratch: &Scratch) -> PathBuf {
        scratch.path().join("audit")
    }

    fn options(scratch: &Scratch) -> Options {
        Options {
            segment_octets: MIN_SEGMENT_OCTETS,
            checkpoint_entries: 7,
            anchor: Some(Box::new(AnchorFile::new(scratch.path().join("anchor")))),
            ..Options::new(name(), scratch.path().join("key"))
        }
    }

    fn open(scratch: &Scratch) -> (AuditLog, Opened) {
        AuditLog::open(&folder(scratch), options(scratch), at(0)).unwrap()
    }

    fn damage(scratch: &Scratch) -> Bad {
        match AuditLog::open(&folder(scratch), options(scratch), at(0)).unwrap_err() {
            OpenError::Damaged { path: _, bad } => bad,
            other @ (OpenError::Directory(_)
            | OpenError::Key(_)
            | OpenError::Io { .. }
            | OpenError::Append(_)) => panic!("{other}"),
        }
    }

    fn verify(scratch: &Scratch, key: &VerifierKey) -> Result<Verified, VerifyError> {
        let anchor = scratch.path().join("anchor");
        verify_directory(&folder(scratch), Some(&anchor), key, Ending::Whole)
    }

    fn segment_numbers(scratch: &Scratch) -> Vec<u64> {
        let segments = open_segments(&folder(scratch)).unwrap();
        segments.map(|segment| segment.unwrap().first).collect()
    }

    /// The first entry of the last segment; 0 if there is none.
    fn last_segment(scratch: &Scratch) -> u64 {
        let is_begun = folder(scratch).exists();
        if is_begun { segment_numbers(scratch).last().copied().unwrap_or(0) } else { 0 }
    }

    /// A log whose first segment is this, that no checkpoint attests to.
    fn copy(scratch: &Scratch, segment: &[u8]) {
        key_file::make(&scratch.path().join("key"), name()).ok().unwrap();
        fs::create_dir(folder(scratch)).unwrap();
        fs::set_permissions(folder(scratch), fs::Permissions::from_mode(0o700)).unwrap();
        let path = folder(scratch).join(segment_name(0));
        fs::write(&path, segment).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn append(path: &Path, octets: &[u8]) {
        let whole = fs::read(path).unwrap();
        fs::write(path, [&whole[..], octets].concat()).unwrap();
    }
}

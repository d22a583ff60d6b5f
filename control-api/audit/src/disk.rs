//! Disk: the log's directory: its lock, its segments and its checkpoints.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags};

use crate::lines::{Segment, segment_name, segment_number};
use crate::resume;
use crate::tree::Tree;
use crate::verify::{CHECKPOINTS, Scanned};

/// What a writer needs of a disk.
pub(crate) trait Disk: Send {
    /// Gives lines to the kernel, behind those that it has.
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;
    /// Waits until they would survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
    /// Begins a segment behind the lines of a tree; its name would survive a power cut.
    fn begin_segment(&mut self, before: &Tree) -> io::Result<()>;
    /// Appends a checkpoint and waits until it would survive a power cut.
    fn checkpoint(&mut self, checkpoint: &str) -> io::Result<()>;
}

/// The directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system refuses something.
    #[error("the audit log {path} can't be used: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("others may use the audit log's {path}: chmod {mode:o} {path}")]
    Mode {
        /// The file or directory.
        path: PathBuf,
        /// What it should have.
        mode: u32,
    },
    /// Another process has it.
    #[error("another process writes the audit log {path}: one log is for one process")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

/// A directory that this process alone writes.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Locked as long as it is open.
    handle: File,
}

/// A directory with what is open in it to be written.
#[derive(Debug)]
pub(crate) struct Open {
    directory: Directory,
    segment: File,
    checkpoints: File,
}

impl Directory {
    /// Makes the directory if there is none, and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Directory, DirectoryError> {
        let failed = failure(path);
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => sync_directory(path.parent().unwrap_or(path)).map_err(&failed)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let handle = File::open(path).map_err(&failed)?;
        check_mode(&handle, path, 0o700)?;
        match handle.try_lock() {
            Ok(()) => Ok(Directory { path: path.to_owned(), handle }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Whether nothing was ever logged here.
    pub(crate) fn is_new(&self) -> Result<bool, DirectoryError> {
        let has_checkpoints = self.path.join(CHECKPOINTS).try_exists();
        let has_checkpoints = has_checkpoints.map_err(failure(&self.path))?;
        Ok(!has_checkpoints && segment_numbers(&self.path)?.is_empty())
    }

    /// Has the kernel write what it still holds of the last segment and the checkpoints, and forget
    /// it, so that what is read next is what the disk has. After a write-back that failed the two
    /// differ, and the kernel tells nobody twice.
    pub(crate) fn settle(&self) -> Result<(), DirectoryError> {
        let last = segment_numbers(&self.path)?.last().map(|first| segment_name(*first));
        for name in last.into_iter().chain([CHECKPOINTS.to_owned()]) {
            let path = self.path.join(name);
            let settled = match File::open(&path) {
                Ok(file) => file
                    .sync_all()
                    .and_then(|()| Ok(rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            settled.map_err(failure(&path))?;
        }
        Ok(())
    }

    /// Cuts off what a crash has left without an end, makes the rest last, and opens it all to be
    /// written.
    pub(crate) fn open(self, scanned: &Scanned) -> Result<Open, DirectoryError> {
        let first = scanned.last_segment.map_or(0, |(first, _)| first);
        let octets = scanned.last_segment.map_or(0, |(_, octets)| octets);
        let segment = self.open_file(&segment_name(first), octets)?;
        let checkpoints = self.open_file(CHECKPOINTS, scanned.checkpoint_octets)?;
        self.handle.sync_all().map_err(failure(&self.path))?;
        Ok(Open { directory: self, segment, checkpoints })
    }

    fn open_file(&self, name: &str, octets: u64) -> Result<File, DirectoryError> {
        let path = self.path.join(name);
        let failed = failure(&path);
        let file = appending().create(true).open(&path).map_err(&failed)?;
        check_mode(&file, &path, 0o600)?;
        if file.metadata().map_err(&failed)?.len() > octets {
            file.set_len(octets).map_err(&failed)?;
        }
        file.sync_all().map_err(&failed)?;
        Ok(file)
    }
}

impl Disk for Open {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.segment.write_all(lines)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.segment.sync_data()
    }

    fn begin_segment(&mut self, before: &Tree) -> io::Result<()> {
        resume::write(&self.directory.path, before)?;
        let path = self.directory.path.join(segment_name(before.size()));
        self.segment = appending().create_new(true).open(&path)?;
        self.directory.handle.sync_all()
    }

    fn checkpoint(&mut self, checkpoint: &str) -> io::Result<()> {
        self.checkpoints.write_all(checkpoint.as_bytes())?;
        self.checkpoints.sync_data()
    }
}

/// The segments in a directory from the one with that entry first, in the order of their numbers,
/// each opened when it is due.
pub(crate) fn segments(
    directory: &Path,
    from: u64,
) -> Result<impl Iterator<Item = io::Result<Segment<BufReader<File>>>> + use<>, DirectoryError> {
    let mut numbers = segment_numbers(directory)?;
    numbers.retain(|first| *first >= from);
    let directory = directory.to_owned();
    Ok(numbers.into_iter().map(move |first| {
        let file = File::open(directory.join(segment_name(first)))?;
        Ok(Segment { first, reader: BufReader::new(file) })
    }))
}

/// The checkpoints in a directory; none, if there is no file of them.
pub(crate) fn checkpoints(directory: &Path) -> Result<Box<dyn io::BufRead>, DirectoryError> {
    let path = directory.join(CHECKPOINTS);
    match File::open(&path) {
        Ok(file) => {
            // What a running writer adds from now on attests to lines that may not be read.
            let octets = file.metadata().map_err(failure(&path))?.len();
            Ok(Box::new(BufReader::new(io::Read::take(file, octets))))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Box::new(io::empty())),
        Err(error) => Err(failure(&path)(error)),
    }
}

/// The numbers of the segments in a directory, in their order.
pub(crate) fn segment_numbers(directory: &Path) -> Result<Vec<u64>, DirectoryError> {
    let failed = failure(directory);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(&failed)? {
        let name = entry.map_err(&failed)?.file_name();
        numbers.extend(name.to_str().and_then(segment_number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Only at the end, only for us, and never by way of a link.
fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn check_mode(file: &File, path: &Path, mode: u32) -> Result<(), DirectoryError> {
    let found = file.metadata().map_err(failure(path))?.permissions().mode();
    if found & 0o077 == 0 {
        Ok(())
    } else {
        Err(DirectoryError::Mode { path: path.to_owned(), mode })
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

fn failure(path: &Path) -> impl Fn(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::Io { path: path.clone(), source }
}

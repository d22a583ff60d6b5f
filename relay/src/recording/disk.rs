//! Disk: a recording's file as the two recorder threads need it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::export::path_of;
use crate::switchboard::CallId;

/// Where recordings are created.
pub(super) trait Disk: Send + Sync + 'static {
    /// A new, empty file for a call that has none.
    fn create(&self, call: CallId) -> io::Result<Box<dyn Storage>>;
}

/// One recording's file, written by one thread and synced by another.
pub(super) trait Storage: Send + Sync {
    /// Gives octets to the kernel, behind what it has already.
    fn append(&self, octets: &[u8]) -> io::Result<()>;
    /// Waits until the file and its name would survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Takes back everything behind the first `length` octets.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// A directory that only we may read.
pub(super) struct Directory {
    path: PathBuf,
    handle: Arc<File>,
}

impl Directory {
    /// Opens the directory, creating it (mode 0700) where it is missing.
    pub(super) fn open(path: PathBuf) -> io::Result<Directory> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let handle = Arc::new(File::open(&path)?);
        Ok(Directory { path, handle })
    }
}

impl Disk for Directory {
    fn create(&self, call: CallId) -> io::Result<Box<dyn Storage>> {
        let path = path_of(&self.path, call);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        let directory = Arc::clone(&self.handle);
        Ok(Box::new(InDirectory { file, directory, is_named: AtomicBool::new(false) }))
    }
}

struct InDirectory {
    file: File,
    directory: Arc<File>,
    /// The directory's entry is on the disk.
    is_named: AtomicBool,
}

impl Storage for InDirectory {
    fn append(&self, octets: &[u8]) -> io::Result<()> {
        (&self.file).write_all(octets)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if !self.is_named.load(Ordering::Relaxed) {
            self.directory.sync_all()?;
            self.is_named.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_data()
    }
}

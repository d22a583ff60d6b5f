//! Disk: a recording's file as the two recorder threads need it.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::archive::{Archive, Created};
use super::key_file::DataKey;
use crate::switchboard::CallId;

/// Where recordings are created.
pub(super) trait Disk: Send + Sync + 'static {
    /// A new, empty file for a call that has none, and the key that seals it.
    fn create(&self, call: CallId) -> io::Result<(Box<dyn Storage>, DataKey)>;
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

/// The archive's directory, which only we may read.
pub(super) struct Directory {
    archive: Arc<Archive>,
    handle: Arc<File>,
}

impl Directory {
    /// The disk under an archive.
    pub(super) fn open(archive: Arc<Archive>) -> io::Result<Directory> {
        let handle = Arc::new(File::open(archive.directory())?);
        Ok(Directory { archive, handle })
    }
}

impl Disk for Directory {
    fn create(&self, call: CallId) -> io::Result<(Box<dyn Storage>, DataKey)> {
        let Created { file, key_file, key } = self.archive.create(call)?;
        let directory = Arc::clone(&self.handle);
        let storage = InDirectory { file, key_file, directory, is_named: AtomicBool::new(false) };
        Ok((Box::new(storage), key))
    }
}

struct InDirectory {
    file: File,
    key_file: File,
    directory: Arc<File>,
    /// The key and both names are on the disk.
    is_named: AtomicBool,
}

impl Storage for InDirectory {
    fn append(&self, octets: &[u8]) -> io::Result<()> {
        (&self.file).write_all(octets)
    }

    fn sync(&self) -> io::Result<()> {
        // The key first: nothing counts as kept that could not be opened. It is synced here and not
        // where it is made, since the thread that makes it writes for every call.
        let is_named = self.is_named.load(Ordering::Relaxed);
        if !is_named {
            self.key_file.sync_all()?;
        }
        self.file.sync_data()?;
        if !is_named {
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

//! Watch: takes over a changed key file by itself.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::file::KeyStore;
use crate::Control;

/// How often the file is looked at: what is done with keys holds within a second.
const LOOK: Duration = Duration::from_millis(400);

/// What tells one state of a file from another. A file that is replaced has another inode; one that
/// is written in place has another time, or another length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    mode: u32,
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let it = fs::metadata(path).ok()?;
    Some(Stamp {
        device: it.dev(),
        inode: it.ino(),
        length: it.len(),
        mode: it.mode(),
        // When the inode changed, not what it says of itself: `touch` can set that one.
        changed: (it.ctime(), it.ctime_nsec()),
    })
}

/// Takes over the key file whenever it changes, until the process stops. One that can't be read is
/// told once, and the old keys stay valid.
///
/// The first look takes it over in any case: it may have changed since it was read at the start.
pub async fn watch(control: Arc<Control>, store: KeyStore) {
    let mut stopping = control.stopping();
    let mut seen = None;
    let stopped = |stopping: &bool| *stopping;
    while tokio::time::timeout(LOOK, stopping.wait_for(stopped)).await.is_err() {
        let now = stamp(&store.path);
        if seen == Some(now) {
            continue;
        }
        // Taken before the file is read: what changes while it is read is seen at the next look.
        let is_first = seen.replace(now).is_none();
        match control.reload_keys() {
            Ok(()) if is_first => {}
            Ok(()) => tracing::info!("the key file was read again"),
            Err(error) => tracing::error!(%error, "the old keys stay valid"),
        }
    }
}

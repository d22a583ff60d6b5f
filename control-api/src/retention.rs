//! Retention: erases recordings that have become as old as they may.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use relay::recording::Archive;
use relay::switchboard::CallId;

use crate::clock;
use crate::dto::id;
use crate::health::Erasure;
use crate::{Control, audit, recordings};

/// How often recordings are looked through: they are kept for days.
const INTERVAL: Duration = Duration::from_hours(1);

/// Erases what has expired, now and from time to time, until the process stops.
pub async fn keep(control: Arc<Control>, retain: Duration) {
    let mut stopping = control.stopping();
    loop {
        let looking = Arc::clone(&control);
        let pass = move || erase_expired(&looking, clock::unix_time(), retain);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(pass).await {
            tracing::error!(%error, "recordings can't be looked through for expired ones");
        }
        if tokio::time::timeout(INTERVAL, stopping.wait_for(|it| *it)).await.is_ok() {
            return;
        }
    }
}

/// Erases every recording that has expired and is no longer being made. One that cannot be erased
/// is told and tried again with the next pass.
fn erase_expired(control: &Control, now: Duration, retain: Duration) -> io::Result<()> {
    let Some(recordings) = &control.recordings else { return Ok(()) };
    for call in expired(&recordings.archive, now, retain)? {
        if recordings::is_live(control, call) {
            continue;
        }
        match recordings.archive.erase(call) {
            Ok(_) => {
                control.metrics.erased(Erasure::ByAge);
                control.audit.note(audit::expired(call, true));
                tracing::info!(call = id::call(call), "recording erased: it has expired");
            }
            Err(error) => {
                control.metrics.erased(Erasure::Failed);
                control.audit.note(audit::expired(call, false));
                tracing::error!(call = id::call(call), %error, "an expired recording stays");
            }
        }
    }
    Ok(())
}

/// The recordings of calls that began longer ago than `retain`.
fn expired(archive: &Archive, now: Duration, retain: Duration) -> io::Result<Vec<CallId>> {
    let mut calls = archive.calls()?;
    calls.retain(|call| {
        let began = began(archive, *call);
        began.is_some_and(|began| now.saturating_sub(began) > retain)
    });
    Ok(calls)
}

/// When a call began, since 1970: what its id says, which copying and restoring files does not
/// change; else when its file was last written.
#[must_use]
pub fn began(archive: &Archive, call: CallId) -> Option<Duration> {
    id::time_of(call).or_else(|| {
        let modified = fs::metadata(archive.path_of(call)).ok()?.modified().ok()?;
        modified.duration_since(UNIX_EPOCH).ok()
    })
}

#[cfg(test)]
mod tests {
    use relay::recording::{KeyEncryptionKey, Keyring};

    use super::*;
    use crate::chance;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn the_age_is_that_of_the_call_and_the_border_is_kept() {
        let name = format!("sotto-retention-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        let mut key: [u8; 32] = chance::octets().unwrap();
        let keys = Keyring::new(vec![KeyEncryptionKey::new(&mut key)]).ok().unwrap();
        let archive = Archive::open(directory.clone(), keys, chance::fill).unwrap();
        let began = Duration::from_millis(1_800_000_000_000);
        let call = CallId(began.as_millis() << 80 | 7 << 76 | 1);
        fs::write(archive.path_of(call), b"").unwrap();
        assert_eq!(expired(&archive, began + 2 * DAY, 2 * DAY).unwrap(), []);
        let later = began + 2 * DAY + Duration::from_millis(1);
        assert_eq!(expired(&archive, later, 2 * DAY).unwrap(), [call]);
        // A clock that was set back makes nothing old.
        assert_eq!(expired(&archive, Duration::ZERO, DAY).unwrap(), []);

        // An id without a time: that of its file counts.
        let other = CallId(1);
        let file = fs::File::create(archive.path_of(other)).unwrap();
        file.set_modified(UNIX_EPOCH + began + DAY).unwrap();
        assert_eq!(expired(&archive, later, 2 * DAY).unwrap(), [call]);
        assert_eq!(expired(&archive, later + DAY, 2 * DAY).unwrap(), [other, call]);
        fs::remove_dir_all(&directory).unwrap();
    }
}

//! Sabotage: breaks a protection on purpose, so that the checks that guard it can be seen to fail.
//! Compiled only with the feature `sabotage`, which no normal build has.

use std::sync::atomic::{AtomicBool, Ordering};

static MASKING_IS_BROKEN: AtomicBool = AtomicBool::new(false);
static SEALING_IS_BROKEN: AtomicBool = AtomicBool::new(false);

/// From now on, in this process, a secure session no longer withholds the caller.
pub fn break_masking() {
    MASKING_IS_BROKEN.store(true, Ordering::Relaxed);
}

/// Makes masking work again.
pub fn mend_masking() {
    MASKING_IS_BROKEN.store(false, Ordering::Relaxed);
}

pub(crate) fn masking_is_broken() -> bool {
    MASKING_IS_BROKEN.load(Ordering::Relaxed)
}

/// From now on, in this process, recordings are written in clear.
pub fn break_sealing() {
    SEALING_IS_BROKEN.store(true, Ordering::Relaxed);
}

pub(crate) fn sealing_is_broken() -> bool {
    SEALING_IS_BROKEN.load(Ordering::Relaxed)
}

//! Wall clock: the time that kernel timestamps of received packets are in.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The time now, in ns since 1970.
pub(crate) fn now() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}

fn nanos(time: Timespec) -> u64 {
    join(time.tv_sec, time.tv_nsec)
}

/// Seconds and ns as one number of ns; 0 for times before 1970.
pub(crate) fn join(seconds: i64, nanos: i64) -> u64 {
    u64::try_from(seconds * 1_000_000_000 + nanos).unwrap_or(0)
}

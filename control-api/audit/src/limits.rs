//! Limits: every bound of the log, with its reason.

use std::time::Duration;

/// Longest line, in octets with its newline. The longest entry that can be made has some 900
/// (a test makes it); a reader refuses what is longer without holding more of it.
pub const MAX_LINE: usize = 1024;

/// Longest name of a key, in octets: those of the control plane have 12.
pub const MAX_KEY_NAME: usize = 32;
/// Decimal digits that the name of a key may have. Those of the control plane are 12 hexadecimal
/// ones, which one time in 280 are all decimal; card numbers have 13 to 19, but for few.
pub const MAX_NAME_DIGITS: usize = 12;

/// Longest word, in octets: the longest pattern of a path has half of that.
pub const MAX_WORD: usize = 96;
/// Digits that may follow one another in a word: a version, a status, never a card's or a code's.
pub const MAX_WORD_DIGITS: usize = 4;

/// Longest name of a log, in octets: a host's name of ordinary length and a path.
pub const MAX_LOG_NAME: usize = 128;

/// Octets of a segment when the next one is begun: what tools still open in one piece.
pub const SEGMENT_OCTETS: u64 = 64 << 20;
/// Smallest segment that may be asked for: a few lines, for tests.
pub const MIN_SEGMENT_OCTETS: u64 = 4 * MAX_LINE as u64;

/// Entries that may wait to be written: some seconds of a busy relay on a slow disk. What finds no
/// room is refused at once, so that whoever asked can refuse too.
pub const QUEUE: usize = 1024;
/// Entries written together: half of the queue, so that it has room while a batch is synced.
pub const BATCH: usize = 512;

/// Entries after which a checkpoint is due.
pub const CHECKPOINT_ENTRIES: u64 = 1000;
/// Time after which a checkpoint is due, if there are new entries.
pub const CHECKPOINT_AFTER: Duration = Duration::from_secs(60);

/// Octets of a checkpoint: two names, a size, a root, a signature and what is between them.
pub const MAX_CHECKPOINT: usize = 2 * MAX_LOG_NAME + 256;
/// Checkpoints that may wait for the anchor. One that finds no room counts as not anchored; the
/// next one attests to all that it did.
pub const ANCHOR_QUEUE: usize = 16;
/// Octets read of an anchor: two years of a checkpoint a minute.
pub const MAX_ANCHOR: u64 = 512 << 20;
/// Octets read of a key file: PKCS#8 of an Ed25519 key has 83.
pub const MAX_KEY_FILE: u64 = 1024;

/// How long a stopping program waits for the disk.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long it waits for the anchor: less, since the log is whole without it.
pub const ANCHOR_STOP_LIMIT: Duration = Duration::from_secs(2);

/// Longest line of syslog, in octets: what every receiver should take (RFC 5425 section 4.3.1).
pub const MAX_SYSLOG: usize = 8192;
/// Longest name of a host in syslog, RFC 5424 section 6.
pub const MAX_HOSTNAME: usize = 255;

const _: () = assert!(BATCH <= QUEUE);
const _: () = assert!(ANCHOR_STOP_LIMIT.as_millis() < STOP_LIMIT.as_millis());
const _: () = assert!(MAX_NAME_DIGITS < 13 && MAX_WORD_DIGITS < MAX_NAME_DIGITS);
const _: () = assert!(MAX_SYSLOG > 4 * MAX_LINE);

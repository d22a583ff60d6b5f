//! Recording: both sides of a call on one time line, from the media thread to a WAV.
//!
//! ```text
//!  media thread          writer thread          sync thread         control
//!  Tape -- Block --> RecordQueue --> Chunks --> file, fdatasync --> Archive::export_wav
//!  (250 ms behind)    (bounded)      (500 ms, sealed)
//! ```
//!
//! A secure span is cut at the tape, before anything has left the media thread: what the caller
//! sent in the 250 ms before the cut is still there and is overwritten, and what comes during the
//! cut is never laid. Everything behind the tape only ever sees silence for such a span.
//!
//! A recording begins with its call or within it, may be paused, when both sides are silence and
//! its time goes on, and ends before its call or with it. A call has one at most: it is named by it.
//!
//! Nothing of it lies on the disk in clear. Each recording has a key of its own, which lies beside
//! it wrapped under a key of the [`Keyring`]: see [`chunk`] and [`key_file`].

pub mod archive;
pub mod chunk;
mod disk;
pub mod export;
pub mod key_file;
pub mod keyring;
pub mod recorder;
mod spans;
pub mod tape;
mod writer;

pub use archive::{Archive, Recovered};
pub use chunk::Ending;
pub use export::{ExportError, Span, Summary};
pub use key_file::{KeyFileError, Random};
pub use keyring::{KekId, KeyEncryptionKey, Keyring, KeyringError};
pub use recorder::{Full, Job, RecordQueue, Recorder, RecorderCounts, Room};
pub use tape::{Block, Tape};

#[cfg(test)]
mod scratch;

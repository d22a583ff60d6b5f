//! Recording: both sides of a call on one time line, from the media thread to a WAV.
//!
//! ```text
//!  media thread          writer thread          sync thread         control
//!  Tape -- Block --> RecordQueue --> Chunks --> file, fdatasync --> export_wav
//!  (250 ms behind)    (bounded)      (500 ms)
//! ```
//!
//! A secure span is cut at the tape, before anything has left the media thread: what the caller
//! sent in the 250 ms before the cut is still there and is overwritten, and what comes during the
//! cut is never laid. Everything behind the tape only ever sees silence for such a span.

pub mod chunk;
mod disk;
pub mod export;
pub mod recorder;
pub mod tape;
mod writer;

pub use export::{ExportError, SecureSpan, Summary, export_wav, markers, path_of, summary};
pub use recorder::{Full, Job, RecordQueue, Recorder, RecorderCounts};
pub use tape::{Block, Tape};

#[cfg(test)]
mod scratch;

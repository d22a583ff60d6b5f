//! Lines: those of all segments, one behind the other, each with its place.

use std::fmt;
use std::io::{self, BufRead, Read};

use crate::limits::MAX_LINE;

/// What the names of segments begin and end with.
const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
/// Digits of the number in a segment's name: those of the largest, so that names sort.
const DIGITS: usize = 20;

/// One file of lines.
#[derive(Debug)]
pub struct Segment<R> {
    /// The number of its first entry, as its name says.
    pub first: u64,
    /// Its octets.
    pub reader: R,
}

/// Where an entry stands, or should stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// The line in it, from 1.
    pub line: u64,
    /// The entry's number.
    pub seq: u64,
}

/// Something that is not as it was written, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Bad {
    /// The first place that is bad.
    pub place: Place,
    /// What is wrong there.
    pub why: Why,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Why {
    /// Not a line that this program writes.
    #[error("not an entry in canonical form")]
    NotCanonical,
    /// Another number than the one that is due: something is missing, doubled or moved.
    #[error("this is entry {found}: one is missing, doubled or moved")]
    Sequence {
        /// The entry's own number.
        found: u64,
    },
    /// The next entry was made behind another one than this.
    #[error("the entry behind it does not have its hash: it was altered")]
    Altered,
    /// It was made behind another entry than the one before it.
    #[error("it does not have the hash of the entry before it: it was altered")]
    Unchained,
    /// A segment begins elsewhere than the one before it ended.
    #[error("the segment begins with entry {first}: one is missing or too many")]
    Segment {
        /// Its first entry, as its name says.
        first: u64,
    },
    /// A segment has no line, and is not the last.
    #[error("the segment is empty")]
    Empty,
    /// The last line has no newline.
    #[error("the line has no end: a crash left it so, or something cut it")]
    Torn,
    /// Only an opened log goes on.
    #[error("the log was not opened before it")]
    NotOpened,
    /// Lines were replaced together with all hashes behind them.
    #[error(
        "entries from here to {to} are not those that a checkpoint of {source_name} attests to"
    )]
    Rewritten {
        /// The last of them.
        to: u64,
        /// Where the checkpoint is.
        source_name: &'static str,
    },
    /// Lines are missing at the end.
    #[error("the log ends before it, but a checkpoint of {source_name} attests to {size} entries")]
    Truncated {
        /// Entries that there should be.
        size: u64,
        /// Where the checkpoint is.
        source_name: &'static str,
    },
    /// A checkpoint is none, or not one of this key.
    #[error("not a checkpoint of this log: {0}")]
    Checkpoint(#[from] crate::note::NoteError),
    /// A checkpoint attests to fewer entries than the one before.
    #[error("a checkpoint behind one that attests to more")]
    Order,
    /// The last checkpoint has no end.
    #[error("the checkpoint has no end: a crash left it so, or something cut it")]
    TornCheckpoint,
    /// The anchor has a checkpoint that is behind all of the log's own.
    #[error("the anchor attests to {anchored} entries, the log's own checkpoints to fewer")]
    CheckpointsCut {
        /// Entries that the anchor attests to.
        anchored: u64,
    },
}

/// Why a log could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something is not as it was written.
    #[error("{0}")]
    Bad(#[from] Bad),
    /// It can't be read.
    #[error("the audit log can't be read: {0}")]
    Io(#[from] io::Error),
}

/// A segment's name.
#[must_use]
pub fn segment_name(first: u64) -> String {
    format!("{PREFIX}{first:0DIGITS$}{SUFFIX}")
}

/// The number in a segment's name; `None` if it is the name of something else.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let first = digits.parse().ok()?;
    (segment_name(first) == name).then_some(first)
}

/// Reads lines.
pub(crate) struct Lines<I, R> {
    segments: I,
    current: Option<Segment<R>>,
    /// The number of the next entry.
    due: u64,
    /// Whole lines of the current segment, and their octets.
    lines: u64,
    pub(crate) octets: u64,
    /// The first entry of the segment that was read last.
    pub(crate) last: Option<u64>,
}

/// What comes next.
pub(crate) enum Step {
    /// A whole line, without its newline.
    Line(Place),
    /// A line without an end, the last one, of so many octets.
    Torn(Place, u64),
    /// Nothing.
    End,
}

impl<R: BufRead, I: Iterator<Item = io::Result<Segment<R>>>> Lines<I, R> {
    /// Segments from the one that begins with entry `due`.
    pub(crate) const fn new(segments: I, due: u64) -> Lines<I, R> {
        Lines { segments, current: None, due, lines: 0, octets: 0, last: None }
    }

    /// Reads the next line into `line`.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<Step, VerifyError> {
        loop {
            let Some(segment) = &mut self.current else {
                if !self.begin_segment()? {
                    return Ok(Step::End);
                }
                continue;
            };
            line.clear();
            segment.reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', line)?;
            match line.last() {
                None => self.current = None,
                Some(b'\n') => {
                    let place = self.place();
                    self.octets += line.len() as u64;
                    line.pop();
                    self.lines += 1;
                    self.due += 1;
                    return Ok(Step::Line(place));
                }
                Some(_) if line.len() == MAX_LINE => return Err(self.bad(Why::NotCanonical)),
                Some(_) => {
                    let place = self.place();
                    if self.segments.next().transpose()?.is_some() {
                        return Err(self.bad(Why::Torn));
                    }
                    self.current = None;
                    return Ok(Step::Torn(place, line.len() as u64));
                }
            }
        }
    }

    /// Where the next line is.
    pub(crate) fn place(&self) -> Place {
        let file = segment_name(self.last.unwrap_or_default());
        Place { file, line: self.lines + 1, seq: self.due }
    }

    fn begin_segment(&mut self) -> Result<bool, VerifyError> {
        let Some(segment) = self.segments.next().transpose()? else { return Ok(false) };
        if self.last.is_some() && self.lines == 0 {
            return Err(self.bad(Why::Empty));
        }
        let first = segment.first;
        (self.last, self.lines, self.octets) = (Some(first), 0, 0);
        if first != self.due {
            return Err(self.bad(Why::Segment { first }));
        }
        self.current = Some(segment);
        Ok(true)
    }

    fn bad(&self, why: Why) -> VerifyError {
        Bad { place: self.place(), why }.into()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}, entry {}", self.file, self.line, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::{segment_name, segment_number};

    #[test]
    fn segments_are_told_by_their_names() {
        for first in [0, 1, 1000, u64::MAX] {
            assert_eq!(segment_number(&segment_name(first)), Some(first));
        }
        assert_eq!(segment_name(42), "audit-00000000000000000042.jsonl");
        for other in
            ["audit-42.jsonl", "checkpoints", "audit-.jsonl", "audit-+0000000000000000042.jsonl"]
        {
            assert_eq!(segment_number(other), None, "{other}");
        }
    }
}

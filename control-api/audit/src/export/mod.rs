//! Export: entries of a verified log, one by one, in the words of those who collect them.

pub mod ocsf;
pub mod syslog;

use std::io::{self, BufRead};

use crate::hash::Sha256;
use crate::line::Record;
use crate::lines::{Bad, Lines, Segment, Step, VerifyError, Why};
use crate::verify::Verified;

/// An entry that is as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// The entry in its place.
    pub record: Record,
    /// Its line, without a newline: as JSON lines have it, and as its hash was made.
    pub line: String,
    /// The SHA-256 of the line.
    pub hash: Sha256,
}

/// The entries of a log that was verified, read once more. Each is given out only when the one
/// behind it has been read, and has its hash; the last one only if it is the one that was verified.
/// What was altered since is an error, and ends it.
pub struct Entries<I, R> {
    lines: Lines<I, R>,
    before: Option<Exported>,
    left: u64,
    head: Sha256,
}

/// The entries of a log.
pub fn entries<R: BufRead, I: Iterator<Item = io::Result<Segment<R>>>>(
    verified: &Verified,
    segments: I,
) -> Entries<I, R> {
    let lines = Lines::new(segments, 0);
    Entries { lines, before: None, left: verified.entries, head: verified.head }
}

impl<R: BufRead, I: Iterator<Item = io::Result<Segment<R>>>> Entries<I, R> {
    fn step(&mut self) -> Result<Option<Exported>, VerifyError> {
        while self.left > 0 {
            let read = self.read()?;
            self.left -= 1;
            if let Some(before) = self.before.replace(read) {
                return Ok(Some(before));
            }
        }
        let last = self.before.take();
        match last {
            Some(last) if last.hash != self.head => Err(self.bad(Why::Altered)),
            Some(_) | None => Ok(last),
        }
    }

    fn read(&mut self) -> Result<Exported, VerifyError> {
        let mut octets = Vec::new();
        let place = match self.lines.next(&mut octets)? {
            Step::Line(place) => place,
            Step::Torn(..) | Step::End => return Err(self.bad(Why::Torn)),
        };
        let bad = |why| VerifyError::from(Bad { place: place.clone(), why });
        let record = Record::read(&octets).map_err(|_| bad(Why::NotCanonical))?;
        let prev = self.before.as_ref().map_or(Sha256::ZERO, |before| before.hash);
        if record.seq != place.seq {
            return Err(bad(Why::Sequence { found: record.seq }));
        }
        if record.prev != prev {
            return Err(bad(Why::Unchained));
        }
        let hash = Sha256::of(&octets);
        let line = String::from_utf8(octets).map_err(|_| bad(Why::NotCanonical))?;
        Ok(Exported { record, line, hash })
    }

    fn bad(&self, why: Why) -> VerifyError {
        Bad { place: self.lines.place(), why }.into()
    }
}

impl<R: BufRead, I: Iterator<Item = io::Result<Segment<R>>>> Iterator for Entries<I, R> {
    type Item = Result<Exported, VerifyError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            (self.left, self.before) = (0, None);
        }
        step
    }
}

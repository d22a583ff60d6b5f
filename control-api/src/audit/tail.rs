//! Tail: the lines of a log as they are written, from an entry on.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use audit_log::export::Exported;
use audit_log::limits::MAX_LINE;
use audit_log::{Record, Sha256, segment_name, segment_number};

/// What reads a log behind its writer.
pub(super) struct Tail {
    directory: PathBuf,
    /// The entry that is due.
    next: u64,
    segment: Option<BufReader<File>>,
    /// Lines of it that come before.
    skip: u64,
    /// A line whose end is not there yet.
    part: Vec<u8>,
}

impl Tail {
    /// One whose first entry is `next`.
    pub(super) const fn new(directory: PathBuf, next: u64) -> Tail {
        Tail { directory, next, segment: None, skip: 0, part: Vec::new() }
    }

    /// The entry that is due.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Goes back, or on, to an entry.
    pub(super) fn seek(&mut self, next: u64) {
        *self = Tail::new(std::mem::take(&mut self.directory), next);
    }

    /// The entries before `end` that are there, `most` at most.
    ///
    /// # Errors
    /// If the log can't be read, or something in it is no entry.
    pub(super) fn read(&mut self, end: u64, most: usize) -> io::Result<Vec<Exported>> {
        let mut entries = Vec::new();
        while self.next < end && entries.len() < most {
            let Some(line) = self.line()? else { break };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let not = |what| io::Error::new(io::ErrorKind::InvalidData, what);
            let record = Record::read(&line).map_err(|_| not("a line is no entry"))?;
            if record.seq != self.next {
                return Err(not("an entry is missing or doubled"));
            }
            self.next += 1;
            let hash = Sha256::of(&line);
            let line = String::from_utf8(line).map_err(|_| not("a line is no text"))?;
            entries.push(Exported { record, line, hash });
        }
        Ok(entries)
    }

    /// The next whole line, without its newline.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(segment) = &mut self.segment else {
                let Some(first) = self.segment_of_next()? else { return Ok(None) };
                let file = File::open(self.directory.join(segment_name(first)))?;
                self.segment = Some(BufReader::new(file));
                self.skip = self.next - first;
                continue;
            };
            let room = (MAX_LINE - self.part.len()) as u64;
            let read = segment.take(room).read_until(b'\n', &mut self.part)?;
            if self.part.last() == Some(&b'\n') {
                self.part.pop();
                return Ok(Some(std::mem::take(&mut self.part)));
            }
            if self.part.len() >= MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            // Its end: another segment goes on, or the writer will.
            let is_turned = self.directory.join(segment_name(self.next)).exists();
            if read > 0 || !self.part.is_empty() || !is_turned {
                return Ok(None);
            }
            self.segment = None;
        }
    }

    /// The last segment that begins with the entry that is due, or before.
    fn segment_of_next(&self) -> io::Result<Option<u64>> {
        let mut found = None;
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let first = name.to_str().and_then(segment_number);
            found = found.max(first.filter(|first| *first <= self.next));
        }
        Ok(found)
    }
}

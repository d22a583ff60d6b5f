//! Verify: reads a whole log and finds the first entry that is not as it was written.
//!
//! What is found is: any change of a line, a line that is missing, doubled, moved or put in between,
//! a log that ends before its last checkpoint, and a log that was rewritten with all its hashes,
//! unless whoever did it has the signing key and the anchor too. What is not: entries behind the
//! last checkpoint ([`Verified::attested`]) that were cut off or written by somebody else.

use std::io::{self, BufRead};

use crate::checkpoint::{self, Checkpoint, Checkpoints, LINES, Next};
use crate::event::Event;
use crate::hash::Sha256;
use crate::line::Record;
use crate::lines::{Bad, Lines, Place, Segment, Step, VerifyError, Why};
use crate::note::VerifierKey;
use crate::time::Time;
use crate::tree::Tree;

/// The file of checkpoints, as places name it.
pub const CHECKPOINTS: &str = "checkpoints";
/// The anchor, as places name it.
pub const ANCHOR: &str = "anchor";

/// How a log may end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// With a newline.
    Whole,
    /// In the middle of a line or a checkpoint, as a crash or a running writer leaves it.
    MayBeTorn,
}

/// A log that is as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Its entries.
    pub entries: u64,
    /// Those of them that a checkpoint attests to. The others are chained, no more.
    pub attested: u64,
    /// Those of them that the anchor attests to.
    pub anchored: u64,
    /// Checkpoints of the log's own.
    pub checkpoints: u64,
    /// The SHA-256 of the last line.
    pub head: Sha256,
    /// The root of the tree over all lines.
    pub root: Sha256,
    /// The time of the last entry.
    pub last_at: Option<Time>,
    /// Octets of a line without an end.
    pub torn_octets: u64,
}

/// Verifies a log: its segments in the order of their numbers, its checkpoints, and what an anchor
/// has of them, against the public half of its key.
///
/// # Errors
/// The first thing that is bad, and where.
pub fn verify<R: BufRead>(
    segments: impl Iterator<Item = io::Result<Segment<R>>>,
    checkpoints: impl BufRead,
    anchor: Option<&mut dyn BufRead>,
    key: &VerifierKey,
    ending: Ending,
) -> Result<Verified, VerifyError> {
    Ok(scan(Chain::new(), segments, checkpoints, anchor, key, ending)?.verified)
}

/// Where a log goes on.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) prev: Sha256,
    pub(crate) tree: Tree,
    last: Option<(Event, Time)>,
}

/// What was found by reading a whole log.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) verified: Verified,
    /// The first entry that was read.
    pub(crate) start: u64,
    pub(crate) chain: Chain,
    /// The last segment's first entry, and octets of its whole lines.
    pub(crate) last_segment: Option<(u64, u64)>,
    /// Octets of whole checkpoints.
    pub(crate) checkpoint_octets: u64,
    /// A part of a checkpoint is behind them.
    pub(crate) is_checkpoint_torn: bool,
}

impl Chain {
    pub(crate) fn new() -> Chain {
        Chain { prev: Sha256::ZERO, tree: Tree::default(), last: None }
    }

    /// One that goes on behind an entry.
    pub(crate) const fn resumed(prev: Sha256, tree: Tree, event: Event, at: Time) -> Chain {
        Chain { prev, tree, last: Some((event, at)) }
    }

    /// Adds a line.
    pub(crate) fn push(&mut self, line: &[u8], event: Event, at: Time) {
        self.prev = Sha256::of(line);
        self.tree.push(line);
        self.last = Some((event, at));
    }

    /// What the log attests to now.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { size: self.tree.size(), root: self.tree.root() }
    }

    /// Whether an entry may come next: a log that was closed, or has none, has to be opened.
    fn takes(&self, event: Event) -> bool {
        !self.is_closed() || event == Event::LogOpened
    }

    /// Whether nobody writes the log, as far as it says itself.
    pub(crate) fn is_closed(&self) -> bool {
        self.last.is_none_or(|(last, _)| last == Event::LogClosed)
    }
}

/// Reads the lines behind those of a chain. Where there are some of these, a checkpoint has to attest
/// to just them, and those to fewer are passed over.
pub(crate) fn scan<R: BufRead>(
    mut chain: Chain,
    segments: impl Iterator<Item = io::Result<Segment<R>>>,
    checkpoints: impl BufRead,
    anchor: Option<&mut dyn BufRead>,
    key: &VerifierKey,
    ending: Ending,
) -> Result<Scanned, VerifyError> {
    let start = chain.tree.size();
    let mut own = Attestations::begin(CHECKPOINTS, checkpoints, key, start)?;
    let mut anchor = anchor.map(|it| Attestations::begin(ANCHOR, it, key, start)).transpose()?;
    let mut lines = Lines::new(segments, start);
    if start > 0 {
        own.attest_start(&chain)?;
    }
    let torn = read_lines(&mut lines, &mut chain, |chain| {
        own.check(chain)?;
        anchor.as_mut().map_or(Ok(()), |it| it.check(chain))
    })?;
    own.finish(&lines.place())?;
    let (anchored, torn_anchor) = match anchor {
        Some(mut it) => (it.finish(&lines.place())?, it.is_torn.then(|| it.place())),
        None => (0, None),
    };
    if anchored > own.attested {
        let (place, why) = (own.place(), Why::CheckpointsCut { anchored });
        return Err(Bad { place, why }.into());
    }
    if ending == Ending::Whole {
        if let Some((place, _)) = torn {
            return Err(Bad { place, why: Why::Torn }.into());
        }
        if let Some(place) = own.is_torn.then(|| own.place()).or(torn_anchor) {
            return Err(Bad { place, why: Why::TornCheckpoint }.into());
        }
    }
    let verified = Verified {
        entries: chain.tree.size(),
        attested: own.attested,
        anchored,
        checkpoints: own.notes.lines / LINES,
        head: chain.prev,
        root: chain.tree.root(),
        last_at: chain.last.map(|(_, at)| at),
        torn_octets: torn.map_or(0, |(_, octets)| octets),
    };
    Ok(Scanned {
        verified,
        start,
        chain,
        last_segment: lines.last.map(|first| (first, lines.octets)),
        checkpoint_octets: own.notes.octets,
        is_checkpoint_torn: own.is_torn,
    })
}

/// Reads lines to the end; where and how long one without an end is. Checkpoints are held against
/// the lines before one only once that one was found right: what is wrong with it tells better
/// where the log was altered than a root can.
fn read_lines<R: BufRead, I: Iterator<Item = io::Result<Segment<R>>>>(
    lines: &mut Lines<I, R>,
    chain: &mut Chain,
    mut check: impl FnMut(&Chain) -> Result<(), VerifyError>,
) -> Result<Option<(Place, u64)>, VerifyError> {
    let mut line = Vec::new();
    let mut before: Option<Place> = None;
    loop {
        let place = match lines.next(&mut line)? {
            Step::Line(place) => place,
            Step::Torn(place, octets) => {
                check(chain)?;
                return Ok(Some((place, octets)));
            }
            Step::End => {
                check(chain)?;
                return Ok(None);
            }
        };
        let bad = |place, why| VerifyError::from(Bad { place, why });
        let Ok(record) = Record::read(&line) else { return Err(bad(place, Why::NotCanonical)) };
        if record.seq != place.seq {
            return Err(bad(place, Why::Sequence { found: record.seq }));
        }
        if record.prev != chain.prev {
            let hash = Sha256::of(&line);
            return Err(blame(lines, before, place, hash).into());
        }
        if !chain.takes(record.entry.event) {
            return Err(bad(place, Why::NotOpened));
        }
        check(chain)?;
        chain.push(&line, record.entry.event, record.entry.at);
        before = Some(place);
    }
}

/// Tells which of two entries was altered, when the second does not have the first one's hash. If
/// the third has the second one's, it was the first. If there is no third, it may be either, and the
/// first is named.
fn blame<R: BufRead, I: Iterator<Item = io::Result<Segment<R>>>>(
    lines: &mut Lines<I, R>,
    before: Option<Place>,
    place: Place,
    hash: Sha256,
) -> Bad {
    let mut line = Vec::new();
    let is_second_whole = match lines.next(&mut line) {
        Ok(Step::Line(_)) => Record::read(&line).is_ok_and(|third| third.prev == hash),
        Ok(Step::Torn(..) | Step::End) => true,
        Err(_) => false,
    };
    match before {
        Some(before) if is_second_whole => Bad { place: before, why: Why::Altered },
        Some(_) | None => Bad { place, why: Why::Unchained },
    }
}

/// Checkpoints from one place, held against the lines as these are read.
struct Attestations<'a, R> {
    source_name: &'static str,
    notes: Checkpoints<R>,
    key: &'a VerifierKey,
    pending: Option<Checkpoint>,
    /// Entries that were there before the first line that is read.
    start: u64,
    /// Entries up to the last checkpoint that was found right.
    attested: u64,
    is_torn: bool,
}

impl<'a, R: BufRead> Attestations<'a, R> {
    fn begin(
        source_name: &'static str,
        reader: R,
        key: &'a VerifierKey,
        start: u64,
    ) -> Result<Attestations<'a, R>, VerifyError> {
        let notes = Checkpoints::new(reader);
        let (pending, attested, is_torn) = (None, 0, false);
        let mut attestations =
            Attestations { source_name, notes, key, pending, start, attested, is_torn };
        attestations.advance()?;
        Ok(attestations)
    }

    /// Sees that a checkpoint attests to the lines that are not read.
    fn attest_start(&mut self, chain: &Chain) -> Result<(), VerifyError> {
        self.check(chain)?;
        if self.attested == self.start {
            return Ok(());
        }
        let (size, source_name) = (self.start, self.source_name);
        Err(Bad { place: self.place(), why: Why::Truncated { size, source_name } }.into())
    }

    /// Holds the checkpoints of this size against the tree.
    fn check(&mut self, chain: &Chain) -> Result<(), VerifyError> {
        let size = chain.tree.size();
        while let Some(pending) = self.pending
            && pending.size == size
        {
            if pending.root != chain.tree.root() {
                let why = Why::Rewritten { to: size - 1, source_name: self.source_name };
                return Err(Bad { place: Place { seq: self.attested, ..self.place() }, why }.into());
            }
            self.attested = size;
            self.advance()?;
        }
        Ok(())
    }

    /// Sees that no checkpoint is left, and how many entries they attest to.
    fn finish(&mut self, end: &Place) -> Result<u64, VerifyError> {
        match self.pending {
            None => Ok(self.attested),
            Some(Checkpoint { size, root: _ }) => {
                let why = Why::Truncated { size, source_name: self.source_name };
                Err(Bad { place: end.clone(), why }.into())
            }
        }
    }

    fn advance(&mut self) -> Result<(), VerifyError> {
        let mut next = self.notes.next()?;
        // Those to fewer lines than are passed over say nothing that a later one does not.
        while let Next::Note(note) = &next
            && checkpoint::size_of(note).is_some_and(|size| size < self.start)
        {
            next = self.notes.next()?;
        }
        let note = match next {
            Next::Note(note) => note,
            Next::Torn => {
                self.is_torn = true;
                self.pending = None;
                return Ok(());
            }
            Next::End => {
                self.pending = None;
                return Ok(());
            }
        };
        let checkpoint = Checkpoint::read(&note, self.key)
            .map_err(|error| Bad { place: self.place(), why: error.into() })?;
        if checkpoint.size == 0 || checkpoint.size < self.attested {
            return Err(Bad { place: self.place(), why: Why::Order }.into());
        }
        self.pending = Some(checkpoint);
        Ok(())
    }

    /// The checkpoint that was read last, or the part of one behind it.
    fn place(&self) -> Place {
        let behind = self.notes.lines + 1;
        let line = if self.is_torn { behind } else { behind.saturating_sub(LINES).max(1) };
        Place { file: self.source_name.to_owned(), line, seq: self.attested }
    }
}

//! Mutations: a log that is altered in any way is found out, and where.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::OnceLock;

use audit_log::{
    Actor, Bad, Checkpoint, Detail, Ending, Entry, Event, Id, Kind, Listener, LogName, Object,
    Origin, Outcome, Peer, Record, Segment, Sha256, SigningKey, Time, Tree, Verified, VerifyError,
    Why, verify,
};
use ring::signature::Ed25519KeyPair;

/// Entries of the log that is altered, those of a segment, and those between two checkpoints.
const ENTRIES: u64 = 120;
const SEGMENT: usize = 25;
const CHECKPOINT: u64 = 15;

/// A log as its files have it, lines with their newlines.
#[derive(Clone)]
struct Log {
    segments: Vec<(u64, Vec<Vec<u8>>)>,
    checkpoints: String,
    anchor: String,
}

#[test]
fn the_log_that_is_altered_below_is_right_as_it_is() {
    let verified = check(&written()).unwrap();
    assert_eq!((verified.entries, verified.attested, verified.anchored), (ENTRIES, ENTRIES, 105));
    assert_eq!(verified.checkpoints, ENTRIES / CHECKPOINT);
}

/// Each line is flipped at several octets: no line is left out, and no region of one.
#[test]
fn each_flipped_bit_is_found_where_it_is() {
    let log = written();
    let mut mutations = 0;
    for seq in 0..ENTRIES {
        let length = log.line(seq).len();
        for step in 0..5 {
            let at = (seq as usize * 31 + step * length / 5) % length;
            let bit = 1 << ((seq as usize + step) % 8);
            let mut altered = log.clone();
            altered.line_mut(seq)[at] ^= bit;
            located(&altered, seq, &format!("octet {at} of entry {seq}, bit {bit}"));
            mutations += 1;
        }
    }
    println!("figure: {mutations} flipped bits found, each at its entry");
}

/// Changes that leave a line in canonical form, so that hashes alone can tell.
#[test]
fn each_entry_that_says_otherwise_is_found_where_it_is() {
    let log = written();
    for seq in 0..ENTRIES {
        let mut record = Record::read(log.line(seq).strip_suffix(b"\n").unwrap()).unwrap();
        record.entry.at = Time::from_unix_ms(record.entry.at.unix_ms() + 1);
        let mut altered = log.clone();
        *altered.line_mut(seq) = with_newline(&record);
        located(&altered, seq, &format!("the time of entry {seq}"));
        record.prev = Sha256::of(b"another");
        *altered.line_mut(seq) = with_newline(&record);
        located(&altered, seq, &format!("the hash in entry {seq}"));
    }
    println!("figure: {} entries in canonical form that say otherwise found", 2 * ENTRIES);
}

#[test]
fn each_missing_doubled_moved_or_added_line_is_found_where_it_is() {
    let log = written();
    let mut mutations = 0;
    for seq in 0..ENTRIES {
        let mut altered = log.clone();
        altered.remove(seq);
        // Without its first line a segment's name is wrong; the next line is the one that is there.
        located(&altered, seq, &format!("entry {seq} is missing"));

        let mut altered = log.clone();
        let line = altered.line(seq).to_vec();
        altered.insert(seq, line);
        located(&altered, seq + 1, &format!("entry {seq} is there twice"));

        let mut altered = log.clone();
        let record = Record { seq, prev: log.hash_before(seq), entry: entry(7000) };
        altered.insert(seq, with_newline(&record));
        let bad = fault(&altered, &format!("an entry in front of {seq}"));
        assert!((seq..=seq + 1).contains(&bad.place.seq), "in front of {seq}: {bad}");
        mutations += 3;

        if seq + 1 < ENTRIES {
            let mut altered = log.clone();
            let line = altered.line(seq).to_vec();
            *altered.line_mut(seq) = log.line(seq + 1).to_vec();
            *altered.line_mut(seq + 1) = line;
            located(&altered, seq, &format!("entries {seq} and the next have changed places"));
            mutations += 1;
        }
    }
    println!("figure: {mutations} lines missing, doubled, added or moved found");
}

#[test]
fn each_earlier_end_is_found_where_it_is() {
    let log = written();
    for length in 0..ENTRIES {
        let mut altered = log.clone();
        altered.truncate(length);
        located(&altered, length, &format!("{length} entries are left"));
        // Together with the log's own checkpoints: the anchor knows.
        let whole = length / CHECKPOINT;
        altered.checkpoints = notes(&log.checkpoints)[..whole as usize].concat();
        if length < 105 {
            located(&altered, length, &format!("{length} entries and checkpoints are left"));
        }
    }
    for octets in (1..log.line(ENTRIES - 1).len()).step_by(7) {
        let mut altered = log.clone();
        altered.line_mut(ENTRIES - 1).truncate(octets);
        located(&altered, ENTRIES - 1, &format!("{octets} octets of the last line are left"));
    }
}

#[test]
fn a_rewritten_end_is_found_by_the_checkpoint_behind_it_and_not_without_one() {
    let log = written();
    for seq in 0..ENTRIES {
        let mut altered = log.clone();
        altered.rewrite_from(seq);
        let bad = fault(&altered, &format!("all from {seq} on is rewritten"));
        let Why::Rewritten { to, .. } = bad.why else { panic!("{seq}: {bad}") };
        assert!((bad.place.seq..=to).contains(&seq), "{seq}: {bad}");
        assert!(to - bad.place.seq < CHECKPOINT, "{seq}: {bad}");
        // With the key as well: then only the anchor knows, of what it has seen.
        altered.checkpoints = altered.sign(CHECKPOINT..=ENTRIES);
        match check(&altered) {
            Err(VerifyError::Bad(bad)) => assert!(seq < 105, "{seq}: {bad}"),
            Ok(_) => assert!(seq >= 105, "{seq}"),
            Err(VerifyError::Io(error)) => panic!("{error}"),
        }
        altered.anchor.clear();
        assert!(check(&altered).is_ok(), "control: nothing is left that knows");
    }
}

#[test]
fn what_is_added_behind_the_last_checkpoint_counts_as_not_attested() {
    let mut log = written();
    let record = Record { seq: ENTRIES, prev: log.hash_before(ENTRIES), entry: entry(7000) };
    log.insert(ENTRIES, with_newline(&record));
    let verified = check(&log).unwrap();
    assert_eq!((verified.entries, verified.attested), (ENTRIES + 1, ENTRIES));
    // Unless the log was closed, by its last entry.
    let mut log = written();
    let closed = Entry { event: Event::LogClosed, ..entry(0) };
    let record = Record { seq: ENTRIES, prev: log.hash_before(ENTRIES), entry: closed };
    log.insert(ENTRIES, with_newline(&record));
    assert!(check(&log).is_ok());
    let record =
        Record { seq: ENTRIES + 1, prev: log.hash_before(ENTRIES + 1), entry: entry(7000) };
    log.insert(ENTRIES + 1, with_newline(&record));
    assert_eq!(fault(&log, "behind a closed log").why, Why::NotOpened);
}

#[test]
fn each_altered_checkpoint_is_found_where_it_is() {
    let log = written();
    for at in (0..log.checkpoints.len()).step_by(3) {
        let mut octets = log.checkpoints.clone().into_bytes();
        octets[at] ^= 1 << (at % 7);
        let Ok(checkpoints) = String::from_utf8(octets) else { continue };
        let before = &log.checkpoints.as_bytes()[..at];
        let note = before.iter().filter(|octet| **octet == b'\n').count() as u64 / 5;
        let altered = Log { checkpoints, ..log.clone() };
        let bad = fault(&altered, &format!("octet {at} of the checkpoints"));
        assert_eq!(
            (bad.place.file.as_str(), bad.place.line),
            ("checkpoints", note * 5 + 1),
            "{at}"
        );
    }
    let mut moved = notes(&log.checkpoints);
    moved.swap(2, 3);
    let moved = Log { checkpoints: moved.concat(), ..log.clone() };
    assert_eq!(fault(&moved, "checkpoints that changed places").why, Why::Order);
    let torn = log.checkpoints[..log.checkpoints.len() - 1].to_owned();
    let torn = Log { checkpoints: torn, ..log.clone() };
    assert_eq!(fault(&torn, "a torn checkpoint").why, Why::TornCheckpoint);
    let torn = log.anchor[..log.anchor.len() - 1].to_owned();
    let torn = Log { anchor: torn, ..log.clone() };
    let bad = fault(&torn, "a torn anchor");
    assert_eq!((bad.place.file.as_str(), bad.why), ("anchor", Why::TornCheckpoint));
    let cut = Log { checkpoints: notes(&log.checkpoints)[..3].concat(), ..log };
    assert_eq!(fault(&cut, "fewer than the anchor has").why, Why::CheckpointsCut { anchored: 105 });
}

#[test]
fn each_missing_doubled_or_renamed_segment_is_found_where_it_is() {
    let log = written();
    for index in 0..log.segments.len() {
        let first = log.segments[index].0;
        let mut altered = log.clone();
        altered.segments.remove(index);
        let bad = fault(&altered, &format!("segment {index} is missing"));
        assert_eq!(bad.place.seq, first, "{bad}");
        let mut altered = log.clone();
        altered.segments[index].0 += 1;
        assert_eq!(fault(&altered, "another name").why, Why::Segment { first: first + 1 });
        let mut altered = log.clone();
        altered.segments.insert(index, (first, Vec::new()));
        assert_eq!(fault(&altered, "an empty one").why, Why::Empty);
    }
}

/// Whatever is in the files, they are read without a panic, and nothing is taken for what it is not.
#[test]
fn any_octets_are_read_and_none_are_believed() {
    let mut state = 0x5EED_u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let log = written();
    let lines: Vec<Vec<u8>> = (0..4).map(|seq| log.line(seq).to_vec()).collect();
    let checkpoints = log.checkpoints.clone().into_bytes();
    let mut canonical = 0;
    for _ in 0..20_000 {
        let mut line = lines[random(4)].strip_suffix(b"\n").unwrap().to_vec();
        for _ in 0..=random(3) {
            let at = random(line.len().max(1));
            match random(4) {
                _ if line.is_empty() => {}
                0 => line[at] = random(256) as u8,
                1 => drop(line.remove(at)),
                2 => line.insert(at, b"0123456789\"{}[],:-. "[random(20)]),
                _ => line.truncate(at.max(1)),
            }
        }
        if let Ok(record) = Record::read(&line) {
            assert_eq!(record.write(), line, "what is read has one form");
            canonical += 1;
        }
    }
    assert!(canonical > 100, "some still say something: {canonical}");
    for _ in 0..500 {
        let (from, to) = (random(checkpoints.len()), random(checkpoints.len()));
        let mut octets = checkpoints.clone();
        let cut: Vec<u8> = octets.drain(from.min(to)..from.max(to)).collect();
        let at = random(octets.len().max(1)).min(octets.len());
        octets.splice(at..at, cut.into_iter().take(random(400)));
        let altered = Log { checkpoints: String::from_utf8_lossy(&octets).into(), ..log.clone() };
        if let Ok(verified) = check(&altered) {
            assert!(
                checkpoints.starts_with(&octets) || verified.checkpoints < ENTRIES / CHECKPOINT
            );
        }
    }
}

// The log, and what is done to it.

fn written() -> Log {
    let mut log = Log { segments: Vec::new(), checkpoints: String::new(), anchor: String::new() };
    let mut prev = Sha256::ZERO;
    for seq in 0..ENTRIES {
        if (seq as usize).is_multiple_of(SEGMENT) {
            log.segments.push((seq, Vec::new()));
        }
        let entry = if seq == 0 { opened() } else { entry(seq) };
        let record = Record { seq, prev, entry };
        prev = Sha256::of(&record.write());
        log.segments.last_mut().unwrap().1.push(with_newline(&record));
    }
    log.checkpoints = log.sign(CHECKPOINT..=ENTRIES);
    log.anchor = log.sign(105..=105);
    log
}

fn check(log: &Log) -> Result<Verified, VerifyError> {
    let segments = log.segments.iter().map(|(first, lines)| {
        Ok::<_, io::Error>(Segment { first: *first, reader: io::Cursor::new(lines.concat()) })
    });
    let mut anchor = log.anchor.as_bytes();
    verify(segments, log.checkpoints.as_bytes(), Some(&mut anchor), key().verifier(), Ending::Whole)
}

fn fault(log: &Log, what: &str) -> Bad {
    match check(log) {
        Err(VerifyError::Bad(bad)) => bad,
        Err(VerifyError::Io(error)) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what}: not found"),
    }
}

fn located(log: &Log, seq: u64, what: &str) {
    let bad = fault(log, what);
    // Of the last two entries it can't be told which was altered, and the first is named. What
    // leaves all that a line says of others as it was, in the last one, only a checkpoint tells.
    let named = match bad.why {
        Why::Rewritten { to, .. } if seq == ENTRIES - 1 => to == seq,
        Why::Altered if seq == ENTRIES - 1 => bad.place.seq == seq - 1,
        Why::NotCanonical
        | Why::Sequence { .. }
        | Why::Altered
        | Why::Unchained
        | Why::Segment { .. }
        | Why::Empty
        | Why::Torn
        | Why::NotOpened
        | Why::Rewritten { .. }
        | Why::Truncated { .. }
        | Why::Checkpoint(_)
        | Why::Order
        | Why::TornCheckpoint
        | Why::CheckpointsCut { .. } => bad.place.seq == seq,
    };
    assert!(named, "{what}, expected at {seq}: {bad}");
}

impl Log {
    /// Where a line is: its segment, and its place there. One behind the end is in the last.
    fn find(&self, seq: u64) -> (usize, usize) {
        let mut left = seq as usize;
        let last = self.segments.len() - 1;
        for (index, (_, lines)) in self.segments.iter().enumerate() {
            if left < lines.len() || index == last {
                return (index, left);
            }
            left -= lines.len();
        }
        unreachable!("the last segment takes all")
    }

    fn line(&self, seq: u64) -> &[u8] {
        let (segment, line) = self.find(seq);
        &self.segments[segment].1[line]
    }

    fn line_mut(&mut self, seq: u64) -> &mut Vec<u8> {
        let (segment, line) = self.find(seq);
        &mut self.segments[segment].1[line]
    }

    fn remove(&mut self, seq: u64) {
        let (segment, line) = self.find(seq);
        self.segments[segment].1.remove(line);
    }

    fn insert(&mut self, seq: u64, octets: Vec<u8>) {
        let (segment, line) = self.find(seq);
        self.segments[segment].1.insert(line, octets);
    }

    /// The hash that the entry of this number has to have.
    fn hash_before(&self, seq: u64) -> Sha256 {
        let before = seq.checked_sub(1).map(|before| self.line(before));
        before.map_or(Sha256::ZERO, |line| Sha256::of(line.strip_suffix(b"\n").unwrap()))
    }

    fn truncate(&mut self, length: u64) {
        self.segments.retain(|(first, _)| *first < length);
        if let Some((first, lines)) = self.segments.last_mut() {
            lines.truncate((length - *first) as usize);
        }
    }

    /// What somebody does who has the files and not the key: each hash is right again.
    fn rewrite_from(&mut self, seq: u64) {
        for at in seq..ENTRIES {
            let mut record = Record::read(self.line(at).strip_suffix(b"\n").unwrap()).unwrap();
            record.prev = self.hash_before(at);
            if at == seq {
                record.entry.at = Time::from_unix_ms(record.entry.at.unix_ms() + 1);
            }
            *self.line_mut(at) = with_newline(&record);
        }
    }

    /// Checkpoints of these sizes, as far as they are due.
    fn sign(&self, sizes: std::ops::RangeInclusive<u64>) -> String {
        let mut tree = Tree::default();
        let mut signed = String::new();
        for seq in 0..*sizes.end() {
            tree.push(self.line(seq).strip_suffix(b"\n").unwrap());
            if tree.size() % CHECKPOINT == 0 && sizes.contains(&tree.size()) {
                let checkpoint = Checkpoint { size: tree.size(), root: tree.root() };
                signed += &checkpoint.sign(key());
            }
        }
        signed
    }
}

fn notes(checkpoints: &str) -> Vec<String> {
    let lines: Vec<&str> = checkpoints.split_inclusive('\n').collect();
    lines.chunks(5).map(<[&str]>::concat).collect()
}

fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let name = LogName::read("relay-1.example/audit").unwrap();
        SigningKey::new(name, Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
    })
}

fn with_newline(record: &Record) -> Vec<u8> {
    [&record.write()[..], b"\n"].concat()
}

fn opened() -> Entry {
    Entry {
        event: Event::LogOpened,
        actor: Actor::Relay,
        object: Object::of(Kind::AuditLog),
        ..entry(0)
    }
}

fn entry(number: u64) -> Entry {
    Entry {
        at: Time::from_unix_ms(1_796_063_640_000 + number * 977),
        event: Event::SessionEntered,
        outcome: Outcome::Success,
        actor: Actor::Nobody,
        origin: Origin { listener: Listener::Sip, peer: Peer::read("192.0.2.7:5060") },
        object: Object::session(Id(number.into()), Id(u128::from(number) << 64)),
        detail: Detail { status: Some(201), ..Detail::default() },
    }
}

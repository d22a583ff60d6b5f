//! Chunk: the recording's file format, sealed and opened.
//!
//! A file only ever grows. All integers are big-endian.
//!
//! ```text
//! header   magic "SOTTOREC" | version u16 | call id u128
//! chunk    length u32 | sequence u32 | kind u8 | ciphertext (length octets) | tag 16
//!
//! kind 1   audio:  start u64 | 1 to 5 times ( marks u8 | caller 800 | engine 800 )
//! kind 2   end:    length u64 | chunks of audio u32
//! ```
//!
//! `start` and `length` count samples at 8 kHz since the recording began; audio is G.711 mu-law;
//! bit `n` of `marks`, 0 to 4, marks the block's frame `n` of 20 ms as part of a secure span, bit 5
//! a block in which the recording was paused for a part at least. Files from before there were
//! pauses have no bit 5, and readers of that time take no notice of it. A gap needs no mark of its
//! own: the next chunk's start lies further on.
//!
//! # The seal
//!
//! Each chunk is sealed with AES-256-GCM (NIST SP 800-38D) under the recording's own key. The
//! nonce is the sequence number, which counts the file's chunks and never repeats under one key;
//! the associated data are the header and the chunk's first nine octets. So no chunk can be moved
//! to another place or recording, altered, repeated or left out without its neighbours telling.
//! A recording is complete if and only if it has its end, which is sealed as well and closes the
//! file: nothing may follow it.
//!
//! A writer that is killed leaves a torn chunk at most, and no end. A reader takes all that
//! precedes the first chunk that is not what was written there, and tells which of three it was:
//! [`Ending`].

use std::io::{self, Read, Seek, SeekFrom};

use zeroize::{Zeroize, Zeroizing};

use super::key_file::{DataKey, TAG};
use super::tape::{BLOCK_FRAMES, BLOCK_SAMPLES, Block};
use crate::switchboard::CallId;

/// Blocks of one chunk: 500 ms, so that the tape's delay, a block and a chunk stay under a second.
pub const CHUNK_BLOCKS: usize = 5;

const MAGIC: [u8; 8] = *b"SOTTOREC";
/// 1 was clear text; it is no longer written or read.
const VERSION: u16 = 2;

/// Octets of a header.
pub const HEADER: usize = 8 + 2 + 16;
const PREFIX: usize = 4 + 4 + 1;
const ASSOCIATED: usize = HEADER + PREFIX;

const AUDIO: u8 = 1;
const END: u8 = 2;

/// The bits of a block's marks that belong to frames.
const SECURE: u8 = (1 << BLOCK_FRAMES) - 1;
/// The bit of a block in which the recording was paused.
const PAUSED: u8 = 1 << 5;
const _: () = assert!(SECURE & PAUSED == 0);

const START: usize = 8;
const BLOCK: usize = 1 + 2 * BLOCK_SAMPLES;
const MAX_PAYLOAD: usize = START + CHUNK_BLOCKS * BLOCK;
const END_PAYLOAD: usize = 8 + 4;
const END_CHUNK: usize = PREFIX + END_PAYLOAD + TAG;

/// The first octets of a recording's file.
#[must_use]
pub fn header(call: CallId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_be_bytes());
    header[10..].copy_from_slice(&call.0.to_be_bytes());
    header
}

/// What a chunk is bound to beside its content.
fn associated(header: &[u8; HEADER], prefix: &[u8]) -> [u8; ASSOCIATED] {
    let mut associated = [0; ASSOCIATED];
    associated[..HEADER].copy_from_slice(header);
    associated[HEADER..].copy_from_slice(prefix);
    associated
}

/// A chunk could not be sealed, and nothing of it may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a chunk of a recording cannot be sealed")]
pub struct NotSealed;

/// Gathers blocks into chunks and seals them, in one buffer that is used over and over.
///
/// The buffer is the only place that holds audio in clear here: a chunk's worth at most, sealed in
/// place, and wiped with the value.
pub struct Chunks {
    key: DataKey,
    header: [u8; HEADER],
    sequence: u32,
    blocks: usize,
    buffer: Zeroizing<Vec<u8>>,
}

impl Chunks {
    /// The chunks of a call's new file, under a key that has sealed nothing yet.
    #[must_use]
    pub fn new(call: CallId, key: DataKey) -> Chunks {
        let buffer = Zeroizing::new(Vec::with_capacity(PREFIX + MAX_PAYLOAD + TAG));
        Chunks { key, header: header(call), sequence: 0, blocks: 0, buffer }
    }

    /// Whether no block waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// Whether the blocks that wait make a whole chunk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.blocks == CHUNK_BLOCKS
    }

    /// Adds a block that follows the last one without a gap; the chunk is not full.
    pub fn push(&mut self, block: &Block) {
        assert!(!self.is_full(), "a full chunk is closed before the next block");
        if self.is_empty() {
            self.begin(AUDIO);
            self.buffer.extend(block.start.to_be_bytes());
        }
        let paused = if block.paused { PAUSED } else { 0 };
        self.buffer.push(block.secure & SECURE | paused);
        self.buffer.extend(block.caller);
        self.buffer.extend(block.engine);
        self.blocks += 1;
    }

    /// The chunk of all blocks that wait; at least one does.
    ///
    /// # Errors
    /// If it cannot be sealed; its audio is wiped then.
    pub fn close(&mut self) -> Result<&[u8], NotSealed> {
        assert!(!self.is_empty(), "an audio chunk has audio");
        self.blocks = 0;
        self.seal()
    }

    /// The chunk that makes the recording complete; no block waits.
    ///
    /// # Errors
    /// If it cannot be sealed.
    pub fn end(&mut self, samples: u64) -> Result<&[u8], NotSealed> {
        assert!(self.is_empty(), "the end comes after all audio");
        self.begin(END);
        self.buffer.extend(samples.to_be_bytes());
        self.buffer.extend(self.sequence.to_be_bytes());
        self.seal()
    }

    fn begin(&mut self, kind: u8) {
        self.buffer.clear();
        self.buffer.extend([0; 4]);
        self.buffer.extend(self.sequence.to_be_bytes());
        self.buffer.push(kind);
    }

    fn seal(&mut self) -> Result<&[u8], NotSealed> {
        let length = (self.buffer.len() - PREFIX) as u32;
        assert!(length as usize <= MAX_PAYLOAD);
        self.buffer[..4].copy_from_slice(&length.to_be_bytes());
        let (prefix, payload) = self.buffer.split_at_mut(PREFIX);
        let tag =
            seal_payload(&self.key, self.sequence, &associated(&self.header, prefix), payload);
        // 2^32 chunks are 68 years; a number is never used twice.
        let next = self.sequence.checked_add(1);
        let (Some(tag), Some(next)) = (tag, next) else {
            self.buffer.zeroize();
            return Err(NotSealed);
        };
        self.sequence = next;
        self.buffer.extend(tag);
        debug_assert!(self.buffer.len() <= PREFIX + MAX_PAYLOAD + TAG, "the buffer never grows");
        Ok(&self.buffer)
    }
}

fn seal_payload(
    key: &DataKey,
    sequence: u32,
    associated: &[u8; ASSOCIATED],
    payload: &mut [u8],
) -> Option<[u8; TAG]> {
    #[cfg(feature = "sabotage")]
    if crate::sabotage::sealing_is_broken() {
        return Some([0; TAG]);
    }
    key.seal(sequence, associated, payload)
}

/// Why a file is not read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The header is damaged, or another call's.
    #[error("the file has no header of this call's recording")]
    NoHeader,
    /// Written by another program version; the first of them wrote clear text.
    #[error("the recording's format has version {0}; known is {VERSION}")]
    UnknownVersion(u16),
    /// The file cannot be read.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What a recording's file came to, once it has been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It has its end, and every chunk before it.
    Complete,
    /// It stops without an end, after a number of whole chunks: the call lasts, or a crash or
    /// somebody cut it there. All before is what was written.
    Interrupted {
        /// Whole chunks.
        chunks: u32,
    },
    /// It was ended, and is no longer what was written then: a chunk was altered, exchanged,
    /// repeated or left out, or something follows the end.
    Damaged {
        /// The first chunk that is wrong, from 0.
        chunk: u32,
    },
}

/// One chunk that was read.
pub enum Chunk<'a> {
    /// Audio of consecutive blocks.
    Audio(Audio<'a>),
    /// The recording is complete.
    End {
        /// The recording's length in samples.
        samples: u64,
    },
}

/// A chunk of audio.
pub struct Audio<'a> {
    /// Place of the first sample, in samples since the recording began.
    pub start: u64,
    blocks: &'a [u8],
}

/// One block of a chunk of audio.
pub struct BlockView<'a> {
    /// Place of the first sample, in samples since the recording began.
    pub start: u64,
    /// The caller, G.711 mu-law.
    pub caller: &'a [u8],
    /// The engine, G.711 mu-law.
    pub engine: &'a [u8],
    /// Bit `n` is set where frame `n` belongs to a secure span.
    pub secure: u8,
    /// Whether the recording was paused in a part of it.
    pub paused: bool,
}

impl<'a> Audio<'a> {
    /// The blocks, in order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockView<'a>> {
        let starts = (self.start..).step_by(BLOCK_SAMPLES);
        starts.zip(self.blocks.chunks_exact(BLOCK)).filter_map(|(start, block)| {
            let (marks, sides) = block.split_first()?;
            let (caller, engine) = sides.split_at(BLOCK_SAMPLES);
            let (secure, paused) = (marks & SECURE, marks & PAUSED != 0);
            Some(BlockView { start, caller, engine, secure, paused })
        })
    }
}

/// Reads a recording, also one that still grows. Hands out nothing that is not authentic.
pub struct Reader<R> {
    input: R,
    key: DataKey,
    header: [u8; HEADER],
    /// The next chunk's number.
    sequence: u32,
    ending: Option<Ending>,
    chunk: Zeroizing<Vec<u8>>,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the header of a call's recording.
    pub fn new(mut input: R, call: CallId, key: DataKey) -> Result<Reader<R>, ReadError> {
        let (mut found, header) = ([0; HEADER], header(call));
        let length = fill(&mut input, &mut found)?;
        if found[..length] != header[..length] {
            let is_ours = found[..8] == MAGIC && found[8..10] != header[8..10];
            let version = u16::from_be_bytes([found[8], found[9]]);
            let unknown = ReadError::UnknownVersion(version);
            return Err(if is_ours { unknown } else { ReadError::NoHeader });
        }
        // A writer that was killed before its first chunk may have torn even the header.
        let is_torn = length < HEADER;
        let ending = is_torn.then_some(Ending::Interrupted { chunks: 0 });
        let chunk = Zeroizing::new(Vec::with_capacity(PREFIX + MAX_PAYLOAD + TAG));
        Ok(Reader { input, key, header, sequence: 0, ending, chunk })
    }

    /// The next chunk; `None` once nothing more is authentic.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk<'_>>> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let number = self.sequence;
        if !self.read_chunk()? || !self.open_chunk(number) {
            self.ending = Some(self.judge_fault(number)?);
            return Ok(None);
        }
        self.sequence = number.saturating_add(1);
        if self.chunk[PREFIX - 1] == END && fill(&mut self.input, &mut [0])? != 0 {
            self.ending = Some(Ending::Damaged { chunk: self.sequence });
            return Ok(None);
        }
        let chunk = parse(&self.chunk, number);
        if matches!(chunk, Some(Chunk::End { .. })) {
            self.ending = Some(Ending::Complete);
        }
        Ok(chunk)
    }

    /// What the file came to; `None` while [`Reader::next_chunk`] still returns chunks.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The recording's length in samples, if the file closes with an end. Reads nothing but that, so it
    /// says nothing about what comes before.
    pub fn read_end(&mut self) -> io::Result<Option<u64>> {
        let length = self.input.seek(SeekFrom::End(0))?;
        let Some(at) = length.checked_sub(END_CHUNK as u64) else { return Ok(None) };
        self.input.seek(SeekFrom::Start(at))?;
        if at < HEADER as u64 || !self.read_chunk()? {
            return Ok(None);
        }
        let number = sequence_of(&self.chunk);
        match self.open_chunk(number).then(|| parse(&self.chunk, number)) {
            Some(Some(Chunk::End { samples })) => Ok(Some(samples)),
            Some(Some(Chunk::Audio(_)) | None) | None => Ok(None),
        }
    }

    /// Why a chunk is not what was written there. Where the file has no end either, it was torn by
    /// a crash, which after a power cut may be some chunks before the last octet, or cut by hand,
    /// and what precedes is whole. Where it has one, nothing explains the fault but an alteration.
    fn judge_fault(&mut self, chunk: u32) -> io::Result<Ending> {
        Ok(match self.read_end()? {
            Some(_) => Ending::Damaged { chunk },
            None => Ending::Interrupted { chunks: chunk },
        })
    }

    /// Reads one chunk of any content; false where the file does not hold it whole.
    fn read_chunk(&mut self) -> io::Result<bool> {
        let mut prefix = [0; PREFIX];
        if fill(&mut self.input, &mut prefix)? != PREFIX {
            return Ok(false);
        }
        let [a, b, c, d, ..] = prefix;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_PAYLOAD {
            return Ok(false);
        }
        self.chunk.clear();
        self.chunk.extend(prefix);
        self.chunk.resize(PREFIX + length + TAG, 0);
        let rest = &mut self.chunk[PREFIX..];
        Ok(fill(&mut self.input, rest)? == rest.len())
    }

    /// Opens the chunk that was read in place; false unless it is the chunk of that number.
    fn open_chunk(&mut self, number: u32) -> bool {
        let (prefix, sealed) = self.chunk.split_at_mut(PREFIX);
        let associated = associated(&self.header, prefix);
        sequence_of(prefix) == number
            && self.key.open(number, &associated, sealed).is_some()
            && parse(&self.chunk, number).is_some()
    }
}

fn sequence_of(chunk: &[u8]) -> u32 {
    chunk[4..].first_chunk().map_or(0, |sequence| u32::from_be_bytes(*sequence))
}

/// An opened chunk's meaning; `None` if its payload has not the shape of its kind.
fn parse(chunk: &[u8], number: u32) -> Option<Chunk<'_>> {
    let (content, _tag) = chunk.split_last_chunk::<TAG>()?;
    let (prefix, payload) = content.split_first_chunk::<PREFIX>()?;
    let (first, rest) = payload.split_first_chunk::<START>()?;
    let first = u64::from_be_bytes(*first);
    match prefix[PREFIX - 1] {
        AUDIO if !rest.is_empty() && rest.len().is_multiple_of(BLOCK) => {
            first.checked_add((rest.len() / BLOCK * BLOCK_SAMPLES) as u64)?;
            Some(Chunk::Audio(Audio { start: first, blocks: rest }))
        }
        END if *rest == number.to_be_bytes() => Some(Chunk::End { samples: first }),
        _ => None,
    }
}

/// Reads until the buffer is full or the input ends; how much came.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use proptest::prelude::*;

    const CALL: CallId = CallId(0x0198_c0de);
    const WHOLE: usize = PREFIX + MAX_PAYLOAD + TAG;

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read_all(&file_of(CALL, 12)), (12, Some(12 * 800 - 3), Ending::Complete));
        assert_eq!(read_all(&file_of(CALL, 0)), (0, Some(0), Ending::Complete));
        let mut reader = reader_of(&file_of(CALL, 12), key(1)).unwrap();
        assert_eq!(reader.read_end().unwrap(), Some(12 * 800 - 3));
    }

    #[test]
    fn no_octet_of_audio_is_in_the_file() {
        let file = file_of(CALL, 15);
        // Zeros are in the header.
        for n in 1..15_u8 {
            let run = [n; 8];
            assert!(!file.windows(8).any(|octets| octets == run), "block {n} is in clear");
        }
    }

    #[test]
    fn a_file_torn_anywhere_loses_the_torn_chunk_alone() {
        let file = file_of(CALL, 15);
        let end_at = file.len() - END_CHUNK;
        for torn_at in HEADER..file.len() {
            // Every octet around the borders of chunks, and some between.
            let in_chunk = (torn_at - HEADER) % WHOLE;
            if in_chunk > 40 && in_chunk < WHOLE - 40 && !torn_at.is_multiple_of(97) {
                continue;
            }
            let chunks = if torn_at < end_at { (torn_at - HEADER) / WHOLE } else { 3 };
            let expected = (chunks as u64 * 5, None, Ending::Interrupted { chunks: chunks as u32 });
            assert_eq!(read_all(&file[..torn_at]), expected, "torn at {torn_at}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_named() {
        let file = file_of(CALL, 12);
        let end_at = file.len() - END_CHUNK;
        for at in HEADER..file.len() {
            let mut file = file.clone();
            file[at] ^= 1 << (at % 8);
            let is_in_end = at >= end_at;
            let chunk = if is_in_end { 3 } else { ((at - HEADER) / WHOLE) as u32 };
            let ending = match is_in_end {
                true => Ending::Interrupted { chunks: 3 },
                false => Ending::Damaged { chunk },
            };
            let blocks = [0, 5, 10, 12][chunk as usize];
            assert_eq!(read_all(&file), (blocks, None, ending), "flipped at {at}");
        }
        for at in 0..HEADER {
            let mut file = file.clone();
            file[at] ^= 1 << (at % 8);
            assert!(reader_of(&file, key(1)).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn chunks_keep_their_places() {
        let file = file_of(CALL, 20);
        let chunk = |n: usize| file[HEADER + n * WHOLE..][..WHOLE].to_vec();
        let end = file[HEADER + 4 * WHOLE..].to_vec();
        let built = |parts: &[Vec<u8>]| {
            let mut built = header(CALL).to_vec();
            parts.iter().for_each(|part| built.extend(part));
            read_all(&built)
        };
        let [a, b, c, d] = [0, 1, 2, 3].map(chunk);
        let whole = built(&[a.clone(), b.clone(), c.clone(), d.clone(), end.clone()]);
        assert_eq!(whole.2, Ending::Complete, "the control: all in place");

        let swapped = built(&[a.clone(), c.clone(), b.clone(), d.clone(), end.clone()]);
        assert_eq!(swapped, (5, None, Ending::Damaged { chunk: 1 }));
        let cut_out = built(&[a.clone(), b.clone(), d.clone(), end.clone()]);
        assert_eq!(cut_out, (10, None, Ending::Damaged { chunk: 2 }));
        let head_cut = built(&[b.clone(), c.clone(), d.clone(), end.clone()]);
        assert_eq!(head_cut, (0, None, Ending::Damaged { chunk: 0 }));
        let tail_cut = built(&[a.clone(), b.clone(), c.clone(), end.clone()]);
        assert_eq!(tail_cut, (15, None, Ending::Damaged { chunk: 3 }));
        let repeated = built(&[a.clone(), a.clone(), b.clone(), c.clone(), d.clone(), end.clone()]);
        assert_eq!(repeated, (5, None, Ending::Damaged { chunk: 1 }));
        let cut_with_its_end = built(&[a.clone(), b.clone()]);
        assert_eq!(cut_with_its_end, (10, None, Ending::Interrupted { chunks: 2 }));
        // What follows the end is found although all before it is whole.
        for more in [vec![0], a.clone(), end.clone()] {
            let extended = built(&[a.clone(), b.clone(), c.clone(), d.clone(), end.clone(), more]);
            assert_eq!((extended.0, extended.2), (20, Ending::Damaged { chunk: 5 }));
        }
    }

    #[test]
    fn no_chunk_serves_another_recording() {
        let other = file_of(CallId(CALL.0 + 1), 15);
        let mut mixed = file_of(CALL, 15);
        mixed[HEADER + WHOLE..HEADER + 2 * WHOLE]
            .copy_from_slice(&other[HEADER + WHOLE..HEADER + 2 * WHOLE]);
        assert_eq!(read_all(&mixed), (5, None, Ending::Damaged { chunk: 1 }));
        // Not even one whose header was exchanged, nor under another key.
        let mut renamed = other.clone();
        renamed[..HEADER].copy_from_slice(&header(CALL));
        assert_eq!(read_all(&renamed).0, 0);
        assert!(matches!(reader_of(&other, key(1)), Err(ReadError::NoHeader)));
        assert_eq!(read_with(&file_of(CALL, 15), key(2)).0, 0);
    }

    #[test]
    fn unknown_formats_are_refused() {
        let file = file_of(CALL, 1);
        let refusal = |at: usize, octet: u8| {
            let mut file = file.clone();
            file[at] = octet;
            reader_of(&file, key(1)).err().unwrap()
        };
        assert!(matches!(refusal(0, b'X'), ReadError::NoHeader));
        assert!(matches!(refusal(9, 1), ReadError::UnknownVersion(1)), "clear text");
        assert!(matches!(refusal(9, 3), ReadError::UnknownVersion(3)));
        assert!(matches!(refusal(20, 0xEE), ReadError::NoHeader));
        for torn_at in 0..HEADER {
            let empty = (0, None, Ending::Interrupted { chunks: 0 });
            assert_eq!(read_all(&file[..torn_at]), empty, "torn at {torn_at}");
        }
    }

    proptest! {
        #[test]
        fn any_file_ends_without_a_panic(garbage in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut file = header(CALL).to_vec();
            file.extend(garbage);
            prop_assert_eq!(read_all(&file), (0, None, Ending::Interrupted { chunks: 0 }));
        }

        /// Whatever is done to the chunks of two recordings, no block comes out but in its place.
        #[test]
        fn no_arrangement_of_chunks_passes_for_another(
            order in prop::collection::vec((0_usize..5, any::<bool>()), 0..8),
        ) {
            let (ours, theirs) = (file_of(CALL, 20), file_of(CallId(1), 20));
            let part = |file: &[u8], n: usize| {
                let from = HEADER + n * WHOLE;
                file[from..file.len().min(from + WHOLE)].to_vec()
            };
            let mut file = header(CALL).to_vec();
            for (n, is_ours) in &order {
                file.extend(part(if *is_ours { &ours } else { &theirs }, *n));
            }
            let in_place = order.iter().enumerate().take_while(|(at, part)| (*at, true) == **part);
            let kept = in_place.count();
            let (blocks, _, ending) = read_all(&file);
            prop_assert_eq!(blocks, kept.min(4) as u64 * 5);
            prop_assert_eq!(ending == Ending::Complete, kept == 5 && order.len() == 5);
        }
    }

    fn key(number: u8) -> DataKey {
        DataKey::new(&[number; 32])
    }

    fn file_of(call: CallId, blocks: u64) -> Vec<u8> {
        let mut file = header(call).to_vec();
        // Each recording has a key of its own, except for what these tests compare.
        let mut chunks = Chunks::new(call, key(1));
        for n in 0..blocks {
            let octet = n as u8;
            let (caller, engine) = ([octet; BLOCK_SAMPLES], [!octet; BLOCK_SAMPLES]);
            let start = n * BLOCK_SAMPLES as u64;
            let paused = n.is_multiple_of(3);
            chunks.push(&Block { start, caller, engine, secure: octet, paused });
            if chunks.is_full() {
                file.extend(chunks.close().unwrap());
            }
        }
        if !chunks.is_empty() {
            file.extend(chunks.close().unwrap());
        }
        file.extend(chunks.end((blocks * BLOCK_SAMPLES as u64).saturating_sub(3)).unwrap());
        file
    }

    fn reader_of(file: &[u8], key: DataKey) -> Result<Reader<Cursor<Vec<u8>>>, ReadError> {
        Reader::new(Cursor::new(file.to_vec()), CALL, key)
    }

    fn read_all(file: &[u8]) -> (u64, Option<u64>, Ending) {
        read_with(file, key(1))
    }

    /// Blocks read, each checked to be the one that `file_of` wrote there; the end; the ending.
    fn read_with(file: &[u8], key: DataKey) -> (u64, Option<u64>, Ending) {
        let mut reader = reader_of(file, key).unwrap();
        let (mut blocks, mut end) = (0, None);
        while let Some(chunk) = reader.next_chunk().unwrap() {
            match chunk {
                Chunk::Audio(audio) => audio.blocks().for_each(|block| {
                    let octet = blocks as u8;
                    assert_eq!(block.start, blocks * BLOCK_SAMPLES as u64);
                    assert!(block.caller.iter().all(|sample| *sample == octet));
                    assert!(block.engine.iter().all(|sample| *sample == !octet));
                    let paused = blocks.is_multiple_of(3);
                    assert_eq!((block.secure, block.paused), (octet, paused));
                    blocks += 1;
                }),
                Chunk::End { samples } => end = Some(samples),
            }
        }
        assert!(reader.next_chunk().unwrap().is_none());
        (blocks, end, reader.ending().unwrap())
    }
}

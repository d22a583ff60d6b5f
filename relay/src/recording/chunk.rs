//! Chunk: the recording's file format, written and read back.
//!
//! A file only ever grows. All integers are big-endian.
//!
//! ```text
//! header   magic "SOTTOREC" | version u16 | seal u16 | call id u128 | key length u16 | key | crc32
//! chunk    length u32 | sequence u32 | kind u8 | payload (length octets) | crc32
//!
//! kind 1   audio:  start u64 | 1 to 5 times ( secure u8 | caller 800 | engine 800 )
//! kind 2   end:    length of the call u64
//! ```
//!
//! `start` and `length of the call` count samples at 8 kHz since the call was opened; audio is
//! G.711 mu-law; bit `n` of `secure` marks the block's frame `n` of 20 ms as part of a secure
//! span. A gap needs no mark of its own: the next chunk's start lies further on. Each CRC-32
//! (ISO-HDLC) covers everything before it in its header or chunk. A recording is complete if and
//! only if it has an end.
//!
//! A writer that is killed leaves a torn chunk at most; a reader takes all that precedes it, and
//! leaves out a whole chunk whose CRC is wrong, which then reads as a gap.
//!
//! # Room for a seal
//!
//! `seal` 0 is clear text and the only one known here; others are refused. AES-256-GCM would be
//! seal 1: `key` holds the recording's wrapped data key; a chunk's payload becomes ciphertext and
//! tag (`length` counts both); the nonce is 8 zero octets and the sequence, which never repeats
//! under one data key; the associated data are the header and the chunk's first nine octets, so
//! that no chunk moves to another place or recording. The CRC stays outermost: a torn tail is
//! found without the key.

use std::io::{self, Read};

use super::tape::{BLOCK_SAMPLES, Block};
use crate::switchboard::CallId;

/// Blocks of one chunk: 500 ms, so that the tape's delay, a block and a chunk stay under a second.
pub const CHUNK_BLOCKS: usize = 5;

const MAGIC: [u8; 8] = *b"SOTTOREC";
const VERSION: u16 = 1;
const SEAL_NONE: u16 = 0;

const HEADER: usize = 8 + 2 + 2 + 16 + 2;
const PREFIX: usize = 4 + 4 + 1;
const CRC: usize = 4;

const AUDIO: u8 = 1;
const END: u8 = 2;

const START: usize = 8;
const BLOCK: usize = 1 + 2 * BLOCK_SAMPLES;
const MAX_PAYLOAD: usize = START + CHUNK_BLOCKS * BLOCK;

/// The first octets of a recording's file.
#[must_use]
pub fn header(call: CallId) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER + CRC);
    header.extend(MAGIC);
    header.extend(VERSION.to_be_bytes());
    header.extend(SEAL_NONE.to_be_bytes());
    header.extend(call.0.to_be_bytes());
    header.extend(0_u16.to_be_bytes());
    header.extend(crc32fast::hash(&header).to_be_bytes());
    assert_eq!(header.len(), HEADER + CRC);
    header
}

/// Gathers blocks into chunks, in one buffer that is used over and over.
pub struct Chunks {
    sequence: u32,
    blocks: usize,
    buffer: Vec<u8>,
}

impl Chunks {
    /// The chunks of a new file.
    #[must_use]
    pub fn new() -> Chunks {
        let buffer = Vec::with_capacity(PREFIX + MAX_PAYLOAD + CRC);
        Chunks { sequence: 0, blocks: 0, buffer }
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
        self.buffer.push(block.secure);
        self.buffer.extend(block.caller);
        self.buffer.extend(block.engine);
        self.blocks += 1;
    }

    /// The chunk of all blocks that wait; at least one does.
    pub fn close(&mut self) -> &[u8] {
        assert!(!self.is_empty(), "an audio chunk has audio");
        self.blocks = 0;
        self.seal()
    }

    /// The chunk that makes the recording complete; no block waits.
    pub fn end(&mut self, samples: u64) -> &[u8] {
        assert!(self.is_empty(), "the end comes after all audio");
        self.begin(END);
        self.buffer.extend(samples.to_be_bytes());
        self.seal()
    }

    fn begin(&mut self, kind: u8) {
        self.buffer.clear();
        self.buffer.extend([0; 4]);
        self.buffer.extend(self.sequence.to_be_bytes());
        self.buffer.push(kind);
    }

    fn seal(&mut self) -> &[u8] {
        let length = (self.buffer.len() - PREFIX) as u32;
        assert!(length as usize <= MAX_PAYLOAD);
        self.buffer[..4].copy_from_slice(&length.to_be_bytes());
        self.buffer.extend(crc32fast::hash(&self.buffer).to_be_bytes());
        // 2^32 chunks are 68 years.
        self.sequence += 1;
        &self.buffer
    }
}

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks::new()
    }
}

/// Why a file is not read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The header is missing, torn or damaged.
    #[error("the file has no header of a recording")]
    NoHeader,
    /// Written by a later program.
    #[error("the recording's format has version {0}; known is {VERSION}")]
    UnknownVersion(u16),
    /// Sealed by a later program.
    #[error("the recording is sealed in the unknown way {0}")]
    UnknownSeal(u16),
    /// The file cannot be read.
    #[error("the recording cannot be read")]
    Io(#[from] io::Error),
}

/// One chunk that was read.
pub enum Chunk<'a> {
    /// Audio of consecutive blocks.
    Audio(Audio<'a>),
    /// The recording is complete.
    End {
        /// The call's length in samples.
        samples: u64,
    },
}

/// A chunk of audio.
pub struct Audio<'a> {
    /// Place of the first sample, in samples since the call was opened.
    pub start: u64,
    blocks: &'a [u8],
}

/// One block of a chunk of audio.
pub struct BlockView<'a> {
    /// Place of the first sample, in samples since the call was opened.
    pub start: u64,
    /// The caller, G.711 mu-law.
    pub caller: &'a [u8],
    /// The engine, G.711 mu-law.
    pub engine: &'a [u8],
    /// Bit `n` is set where frame `n` belongs to a secure span.
    pub secure: u8,
}

impl<'a> Audio<'a> {
    /// The blocks, in order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockView<'a>> {
        let starts = (self.start..).step_by(BLOCK_SAMPLES);
        starts.zip(self.blocks.chunks_exact(BLOCK)).filter_map(|(start, block)| {
            let (secure, sides) = block.split_first()?;
            let (caller, engine) = sides.split_at(BLOCK_SAMPLES);
            Some(BlockView { start, caller, engine, secure: *secure })
        })
    }
}

/// Reads a recording, also one that still grows.
pub struct Reader<R> {
    input: R,
    call: CallId,
    /// The next sequence number that can be true.
    sequence: u32,
    damaged: u64,
    chunk: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(mut input: R) -> Result<Reader<R>, ReadError> {
        let mut header = [0; HEADER];
        if fill(&mut input, &mut header)? != HEADER || header[..8] != MAGIC {
            return Err(ReadError::NoHeader);
        }
        // Before the CRC: another version may place it elsewhere.
        match u16::from_be_bytes([header[8], header[9]]) {
            VERSION => {}
            other => return Err(ReadError::UnknownVersion(other)),
        }
        match u16::from_be_bytes([header[10], header[11]]) {
            SEAL_NONE => {}
            other => return Err(ReadError::UnknownSeal(other)),
        }
        let mut crc = [0; CRC];
        let is_whole = fill(&mut input, &mut crc)? == CRC;
        if !is_whole || u32::from_be_bytes(crc) != crc32fast::hash(&header) {
            return Err(ReadError::NoHeader);
        }
        let mut call = [0; 16];
        call.copy_from_slice(&header[12..28]);
        let call = CallId(u128::from_be_bytes(call));
        Ok(Reader { input, call, sequence: 0, damaged: 0, chunk: Vec::new() })
    }

    /// Whose recording this is.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// Whole chunks left out so far because they were damaged.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The next chunk; `None` at the end of the file or at a torn chunk.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk<'_>>> {
        // Each turn reads at least a prefix, so the file's length bounds the loop.
        while self.read_chunk()? {
            if self.is_sound() {
                self.sequence = self.sequence_read().saturating_add(1);
                return Ok(parse(&self.chunk));
            }
            self.damaged += 1;
        }
        Ok(None)
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
        self.chunk.resize(PREFIX + length + CRC, 0);
        let rest = &mut self.chunk[PREFIX..];
        Ok(fill(&mut self.input, rest)? == rest.len())
    }

    fn is_sound(&self) -> bool {
        let Some((content, crc)) = self.chunk.split_last_chunk::<CRC>() else { return false };
        u32::from_be_bytes(*crc) == crc32fast::hash(content)
            && self.sequence_read() >= self.sequence
            && parse(&self.chunk).is_some()
    }

    fn sequence_read(&self) -> u32 {
        self.chunk[4..].first_chunk().map_or(0, |sequence| u32::from_be_bytes(*sequence))
    }
}

/// A whole chunk's meaning; `None` if its payload has not the shape of its kind.
fn parse(chunk: &[u8]) -> Option<Chunk<'_>> {
    let (content, _crc) = chunk.split_last_chunk::<CRC>()?;
    let (prefix, payload) = content.split_first_chunk::<PREFIX>()?;
    let (first, rest) = payload.split_first_chunk::<START>()?;
    let first = u64::from_be_bytes(*first);
    match prefix[PREFIX - 1] {
        AUDIO if !rest.is_empty() && rest.len().is_multiple_of(BLOCK) => {
            first.checked_add((rest.len() / BLOCK * BLOCK_SAMPLES) as u64)?;
            Some(Chunk::Audio(Audio { start: first, blocks: rest }))
        }
        END if rest.is_empty() => Some(Chunk::End { samples: first }),
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
    use super::*;
    use proptest::prelude::*;

    const CALL: CallId = CallId(0x0198_c0de);

    #[test]
    fn what_is_written_is_read() {
        let file = file_of(12);
        let mut reader = Reader::new(&file[..]).unwrap();
        assert_eq!(reader.call(), CALL);
        let (starts, end) = read_all(&mut reader);
        let expected: Vec<u64> = (0..12).map(|n| n * BLOCK_SAMPLES as u64).collect();
        assert_eq!((starts, end, reader.damaged()), (expected, Some(12 * 800 - 3), 0));
    }

    #[test]
    fn a_file_torn_anywhere_loses_the_torn_chunk_alone() {
        let file = file_of(15);
        let last_two = MAX_PAYLOAD + PREFIX + CRC + PREFIX + 8 + CRC;
        let end_at = file.len() - (PREFIX + 8 + CRC);
        for torn_at in file.len() - last_two..file.len() {
            let mut reader = Reader::new(&file[..torn_at]).unwrap();
            let (starts, end) = read_all(&mut reader);
            let kept = if torn_at < end_at { 10 } else { 15 };
            assert_eq!((starts.len(), end), (kept, None), "torn at {torn_at}");
        }
    }

    #[test]
    fn a_damaged_octet_costs_its_own_chunk_alone() {
        let file = file_of(15);
        let chunk = PREFIX + MAX_PAYLOAD + CRC;
        let second = HEADER + CRC + chunk;
        // Its length is left alone: where the next chunk begins cannot be known without it.
        for at in second + 4..second + chunk {
            let mut file = file.clone();
            file[at] ^= 0x10;
            let mut reader = Reader::new(&file[..]).unwrap();
            let (starts, end) = read_all(&mut reader);
            assert_eq!((starts.len(), reader.damaged()), (10, 1), "damaged at {at}");
            assert_eq!(end, Some(15 * 800 - 3));
        }
    }

    #[test]
    fn a_repeated_chunk_is_left_out() {
        let mut file = file_of(5);
        let chunk = file[HEADER + CRC..HEADER + CRC + PREFIX + MAX_PAYLOAD + CRC].to_vec();
        file.extend(chunk);
        let mut reader = Reader::new(&file[..]).unwrap();
        assert_eq!(read_all(&mut reader).0.len(), 5);
        assert_eq!(reader.damaged(), 1);
    }

    #[test]
    fn unknown_formats_are_refused() {
        let file = file_of(1);
        let refusal = |at: usize, octet: u8| {
            let mut file = file.clone();
            file[at] = octet;
            Reader::new(&file[..]).err().unwrap()
        };
        assert!(matches!(refusal(0, b'X'), ReadError::NoHeader));
        assert!(matches!(refusal(9, 2), ReadError::UnknownVersion(2)));
        assert!(matches!(refusal(11, 1), ReadError::UnknownSeal(1)));
        assert!(matches!(refusal(20, 0xEE), ReadError::NoHeader));
        for torn_at in 0..HEADER + CRC {
            let refused = Reader::new(&file[..torn_at]).err().unwrap();
            assert!(matches!(refused, ReadError::NoHeader), "torn at {torn_at}");
        }
    }

    proptest! {
        #[test]
        fn any_file_ends_without_a_panic(garbage in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut file = header(CALL);
            file.extend(garbage);
            let (starts, end) = read_all(&mut Reader::new(&file[..]).unwrap());
            prop_assert_eq!((starts.len(), end), (0, None));
        }
    }

    fn file_of(blocks: u64) -> Vec<u8> {
        let mut file = header(CALL);
        let mut chunks = Chunks::new();
        for n in 0..blocks {
            let octet = n as u8;
            let (caller, engine) = ([octet; BLOCK_SAMPLES], [!octet; BLOCK_SAMPLES]);
            chunks.push(&Block { start: n * BLOCK_SAMPLES as u64, caller, engine, secure: octet });
            if chunks.is_full() {
                file.extend(chunks.close());
            }
        }
        if !chunks.is_empty() {
            file.extend(chunks.close());
        }
        file.extend(chunks.end(blocks * BLOCK_SAMPLES as u64 - 3));
        file
    }

    /// Places of all blocks, each checked to hold what `file_of` wrote there, and the end.
    fn read_all(reader: &mut Reader<&[u8]>) -> (Vec<u64>, Option<u64>) {
        let (mut starts, mut end) = (Vec::new(), None);
        while let Some(chunk) = reader.next_chunk().unwrap() {
            match chunk {
                Chunk::Audio(audio) => starts.extend(audio.blocks().map(|block| {
                    let octet = (block.start / BLOCK_SAMPLES as u64) as u8;
                    assert!(block.caller.iter().all(|sample| *sample == octet));
                    assert!(block.engine.iter().all(|sample| *sample == !octet));
                    assert_eq!(block.secure, octet);
                    block.start
                })),
                Chunk::End { samples } => end = Some(samples),
            }
        }
        (starts, end)
    }
}

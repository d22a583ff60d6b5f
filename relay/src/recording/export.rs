//! Export: a recording's file as a stereo WAV and as a list of its secure spans.

use std::fs::File;
use std::io::{self, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use dtmf::g711::Law;

use super::chunk::{BlockView, Chunk, ReadError, Reader};
use super::tape::{BLOCK_FRAMES, BLOCK_SAMPLES, FRAME_SAMPLES};
use crate::switchboard::CallId;

const SAMPLES_PER_MS: u64 = 8;
const CHANNELS: u16 = 2;
const SAMPLE_RATE: u32 = 8000;
/// Octets of one sample of both sides in 16-bit PCM.
const SAMPLE_PAIR: usize = 4;
/// Octets of a WAV's header when it has nothing but a format and data.
const WAV_HEADER: usize = 44;

/// Longest call a WAV's 32-bit sizes can tell: 37 hours.
const MAX_SAMPLES: u64 = (u32::MAX as u64 - WAV_HEADER as u64) / SAMPLE_PAIR as u64;

/// Secure spans told of one recording; a call with more of them is no call.
const MAX_SPANS: usize = 10_000;

/// Where a call's recording is kept.
#[must_use]
pub fn path_of(dir: &Path, call: CallId) -> PathBuf {
    dir.join(format!("{:032x}.sotto-recording", call.0))
}

/// A stretch of the recording in which the caller was withheld.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecureSpan {
    /// First millisecond, since the call was opened.
    pub start_ms: u64,
    /// The millisecond after the last.
    pub end_ms: u64,
}

/// What a recording's file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Whose recording it is.
    pub call: CallId,
    /// Length in samples at 8 kHz: the call's if the recording is complete, else what is there.
    pub samples: u64,
    /// It has an end. False while the call lasts, and for good after a crash or a disk error.
    pub is_complete: bool,
    /// Stretches that were lost on the way to the disk; they read as silence.
    pub gaps: u64,
    /// The secure spans, in order.
    pub secure: Vec<SecureSpan>,
}

/// Why a recording cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such recording, or it cannot be opened.
    #[error("the recording cannot be opened")]
    Open(#[source] io::Error),
    /// It is not a recording that can be read here.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Whoever receives the WAV is gone.
    #[error("the WAV cannot be written")]
    Write(#[source] io::Error),
    /// The 32-bit sizes of a WAV do not suffice.
    #[error("the recording is too long for a WAV")]
    TooLong,
}

/// Reads the whole file once and tells what it holds.
pub fn summary(path: &Path) -> Result<Summary, ExportError> {
    summarise(&open(path)?)
}

/// The secure spans of a recording, in order.
pub fn markers(path: &Path) -> Result<Vec<SecureSpan>, ExportError> {
    Ok(summary(path)?.secure)
}

/// Writes a recording as WAV: 8 kHz, 16-bit PCM, the caller left, the engine right.
///
/// Works on a recording that still grows: the WAV then holds what was there at the start. Gaps are
/// silence, so its length is the call's.
pub fn export_wav(path: &Path, out: &mut impl Write) -> Result<(), ExportError> {
    let file = open(path)?;
    let samples = summarise(&file)?.samples;
    out.write_all(&wav_header(samples)?).map_err(ExportError::Write)?;

    (&file).rewind().map_err(ReadError::Io)?;
    let mut reader = Reader::new(BufReader::new(&file))?;
    let mut wav = Wav { out, written: 0, samples };
    while let Some(chunk) = reader.next_chunk().map_err(ReadError::Io)? {
        match chunk {
            Chunk::Audio(audio) => {
                for block in audio.blocks() {
                    wav.write_block(&block).map_err(ExportError::Write)?;
                }
            }
            Chunk::End { .. } => break,
        }
    }
    wav.write_silence_until(samples).and_then(|()| wav.out.flush()).map_err(ExportError::Write)
}

fn open(path: &Path) -> Result<File, ExportError> {
    File::open(path).map_err(ExportError::Open)
}

fn summarise(file: &File) -> Result<Summary, ExportError> {
    let mut reader = Reader::new(BufReader::new(file))?;
    let call = reader.call();
    let mut summary = Summary { call, samples: 0, is_complete: false, gaps: 0, secure: Vec::new() };
    while let Some(chunk) = reader.next_chunk().map_err(ReadError::Io)? {
        match chunk {
            Chunk::Audio(audio) => {
                for block in audio.blocks() {
                    summary.add_block(&block);
                }
            }
            Chunk::End { samples } => {
                summary.end(samples);
                break;
            }
        }
    }
    Ok(summary)
}

impl Summary {
    fn add_block(&mut self, block: &BlockView<'_>) {
        if block.start < self.samples {
            return;
        }
        self.gaps += u64::from(block.start > self.samples);
        self.samples = block.start + BLOCK_SAMPLES as u64;
        let frames = (block.start..).step_by(FRAME_SAMPLES).take(BLOCK_FRAMES);
        for (n, frame) in frames.enumerate() {
            if block.secure & 1 << n != 0 {
                self.add_secure_frame(frame);
            }
        }
    }

    fn add_secure_frame(&mut self, frame: u64) {
        let start_ms = frame / SAMPLES_PER_MS;
        let end_ms = start_ms + FRAME_SAMPLES as u64 / SAMPLES_PER_MS;
        let is_full = self.secure.len() == MAX_SPANS;
        match self.secure.last_mut() {
            Some(span) if span.end_ms == start_ms || is_full => span.end_ms = end_ms,
            Some(_) | None => self.secure.push(SecureSpan { start_ms, end_ms }),
        }
    }

    /// The last block is filled up with silence behind the call's end, or blocks are missing there.
    fn end(&mut self, samples: u64) {
        let end_ms = samples.div_ceil(SAMPLES_PER_MS);
        self.secure.retain(|span| span.start_ms < end_ms);
        if let Some(span) = self.secure.last_mut() {
            span.end_ms = span.end_ms.min(end_ms);
        }
        self.gaps += u64::from(samples > self.samples);
        self.samples = samples;
        self.is_complete = true;
    }
}

fn wav_header(samples: u64) -> Result<Vec<u8>, ExportError> {
    if samples > MAX_SAMPLES {
        return Err(ExportError::TooLong);
    }
    let data = samples as u32 * SAMPLE_PAIR as u32;
    let mut header = Vec::with_capacity(WAV_HEADER);
    header.extend(b"RIFF");
    header.extend((data + WAV_HEADER as u32 - 8).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    // WAVE_FORMAT_PCM
    header.extend(1_u16.to_le_bytes());
    header.extend(CHANNELS.to_le_bytes());
    header.extend(SAMPLE_RATE.to_le_bytes());
    header.extend((SAMPLE_RATE * SAMPLE_PAIR as u32).to_le_bytes());
    header.extend((SAMPLE_PAIR as u16).to_le_bytes());
    header.extend(16_u16.to_le_bytes());
    header.extend(b"data");
    header.extend(data.to_le_bytes());
    assert_eq!(header.len(), WAV_HEADER);
    Ok(header)
}

/// The body of a WAV, written up to the length its header tells.
struct Wav<'a, W> {
    out: &'a mut W,
    written: u64,
    samples: u64,
}

impl<W: Write> Wav<'_, W> {
    fn write_block(&mut self, block: &BlockView<'_>) -> io::Result<()> {
        if block.start < self.written || block.start >= self.samples {
            return Ok(());
        }
        self.write_silence_until(block.start)?;
        let pairs = block.caller.iter().zip(block.engine);
        let mut pcm = [0; BLOCK_SAMPLES * SAMPLE_PAIR];
        for (slot, (caller, engine)) in pcm.chunks_exact_mut(SAMPLE_PAIR).zip(pairs) {
            let (left, right) = slot.split_at_mut(SAMPLE_PAIR / 2);
            left.copy_from_slice(&Law::Mu.decode(*caller).to_le_bytes());
            right.copy_from_slice(&Law::Mu.decode(*engine).to_le_bytes());
        }
        self.write(&pcm)
    }

    fn write_silence_until(&mut self, samples: u64) -> io::Result<()> {
        while self.written < samples.min(self.samples) {
            let missing = usize::try_from(samples - self.written).unwrap_or(usize::MAX);
            let silence = [0; BLOCK_SAMPLES * SAMPLE_PAIR];
            self.write(&silence[..missing.min(BLOCK_SAMPLES) * SAMPLE_PAIR])?;
        }
        Ok(())
    }

    fn write(&mut self, pcm: &[u8]) -> io::Result<()> {
        let room = usize::try_from(self.samples - self.written).unwrap_or(usize::MAX);
        let pairs = (pcm.len() / SAMPLE_PAIR).min(room);
        self.out.write_all(&pcm[..pairs * SAMPLE_PAIR])?;
        self.written += pairs as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::{Chunks, header};
    use super::super::scratch::Scratch;
    use super::super::tape::{Block, SILENCE};
    use super::*;

    const CALL: CallId = CallId(0xABC);

    #[test]
    fn the_wav_has_the_calls_length_and_both_sides_in_place() {
        let scratch = Scratch::new();
        // Block 2 is lost, and the call ends inside block 4.
        write_file(scratch.path(), &[(0, 0), (1, 0b11000), (3, 0), (4, 0)], Some(4 * 800 + 321));
        let samples = wav_of(scratch.path());
        assert_eq!(samples.len(), 2 * (4 * 800 + 321));
        for (at, pair) in samples.chunks_exact(2).enumerate() {
            let n = (at / BLOCK_SAMPLES) as u8;
            let expected = if n == 2 { [0, 0] } else { [n, 0x80 | n].map(|c| Law::Mu.decode(c)) };
            assert_eq!(pair, expected, "sample {at}");
        }
        let summary = summary(&path_of(scratch.path(), CALL)).unwrap();
        assert_eq!((summary.call, summary.gaps), (CALL, 1));
        assert!(summary.is_complete);
        assert_eq!(summary.secure, [SecureSpan { start_ms: 160, end_ms: 200 }]);
    }

    #[test]
    fn lost_blocks_at_the_end_are_a_gap() {
        let scratch = Scratch::new();
        write_file(scratch.path(), &[(0, 0)], Some(2000));
        assert_eq!(wav_of(scratch.path()).len(), 2 * 2000);
        assert_eq!(summary(&path_of(scratch.path(), CALL)).unwrap().gaps, 1);
    }

    #[test]
    fn a_recording_without_an_end_is_exported_but_not_complete() {
        let scratch = Scratch::new();
        write_file(scratch.path(), &[(0, 0), (1, 0)], None);
        assert_eq!(wav_of(scratch.path()).len(), 2 * 1600);
        assert!(!summary(&path_of(scratch.path(), CALL)).unwrap().is_complete);
    }

    #[test]
    fn spans_are_joined_over_blocks_and_end_with_the_call() {
        let scratch = Scratch::new();
        let blocks = [(0, 0b10000), (1, 0b11111), (2, 0b00001), (3, 0b10000), (4, 0b11111)];
        write_file(scratch.path(), &blocks, Some(4 * 800 + 160));
        let spans = markers(&path_of(scratch.path(), CALL)).unwrap();
        let expected = [(80, 220), (380, 420)];
        assert_eq!(spans, expected.map(|(start_ms, end_ms)| SecureSpan { start_ms, end_ms }));
    }

    #[test]
    fn a_length_beyond_a_wav_is_refused_before_anything_is_written() {
        let scratch = Scratch::new();
        write_file(scratch.path(), &[(0, 0)], Some(MAX_SAMPLES + 1));
        let mut out = Vec::new();
        let refused = export_wav(&path_of(scratch.path(), CALL), &mut out);
        assert!(matches!(refused, Err(ExportError::TooLong)));
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_missing_is_told() {
        let scratch = Scratch::new();
        let missing = export_wav(&path_of(scratch.path(), CALL), &mut Vec::new());
        assert!(matches!(missing, Err(ExportError::Open(_))));
    }

    #[test]
    fn names_are_the_call_ids() {
        let path = path_of(Path::new("/r"), CALL);
        assert_eq!(path, Path::new("/r/00000000000000000000000000000abc.sotto-recording"));
    }

    /// Writes blocks given by number and secure bits; block `n` holds octets `n` and `0x80 | n`.
    fn write_file(dir: &Path, blocks: &[(u8, u8)], end: Option<u64>) {
        let mut file = header(CALL);
        let mut chunks = Chunks::new();
        for (n, secure) in blocks {
            let start = u64::from(*n) * BLOCK_SAMPLES as u64;
            let (caller, engine) = ([*n; BLOCK_SAMPLES], [0x80 | *n; BLOCK_SAMPLES]);
            assert_ne!(caller[0], SILENCE);
            chunks.push(&Block { start, caller, engine, secure: *secure });
            file.extend(chunks.close());
        }
        if let Some(samples) = end {
            file.extend(chunks.end(samples));
        }
        std::fs::write(path_of(dir, CALL), file).unwrap();
    }

    fn wav_of(dir: &Path) -> Vec<i16> {
        let mut wav = Vec::new();
        export_wav(&path_of(dir, CALL), &mut wav).unwrap();
        let reader = hound::WavReader::new(&wav[..]).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 8000, 16));
        assert_eq!(reader.len() as usize * 2 + WAV_HEADER, wav.len());
        reader.into_samples().collect::<Result<_, _>>().unwrap()
    }
}

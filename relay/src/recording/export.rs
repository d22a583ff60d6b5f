//! Export: a recording's file as a stereo WAV and as a list of its secure spans and pauses.

use std::fs::File;
use std::io::{self, BufReader, Write};

use dtmf::g711::Law;
use zeroize::Zeroizing;

use super::archive::Archive;
use super::chunk::{BlockView, Chunk, Ending, ReadError, Reader};
use super::key_file::KeyFileError;
use super::tape::{BLOCK_FRAMES, BLOCK_SAMPLES, FRAME_SAMPLES};
use crate::switchboard::CallId;

const SAMPLES_PER_MS: u64 = 8;
const CHANNELS: u16 = 2;
const SAMPLE_RATE: u32 = 8000;
/// Octets of one sample of both sides in 16-bit PCM.
const SAMPLE_PAIR: usize = 4;
/// Octets of a WAV's header when it has nothing but a format and data.
const WAV_HEADER: usize = 44;

/// Longest recording a WAV's 32-bit sizes can tell: 37 hours.
const MAX_SAMPLES: u64 = (u32::MAX as u64 - WAV_HEADER as u64) / SAMPLE_PAIR as u64;

/// Spans of a kind told of one recording; a call with more of them is no call.
const MAX_SPANS: usize = 10_000;

/// A stretch of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First millisecond, since the recording began.
    pub start_ms: u64,
    /// The millisecond after the last.
    pub end_ms: u64,
}

/// What a recording's file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Whose recording it is.
    pub call: CallId,
    /// Length in samples at 8 kHz: from its beginning to its end if it is complete, else what is
    /// there.
    pub samples: u64,
    /// Whether it is whole, and where not.
    pub ending: Ending,
    /// Stretches that were lost on the way to the disk; they read as silence.
    pub gaps: u64,
    /// The secure spans, in order, to 20 ms: the caller was withheld.
    pub secure: Vec<Span>,
    /// The pauses, in order, to 100 ms: in all but the first and the last of these both sides are
    /// silent.
    pub paused: Vec<Span>,
}

/// Why a recording cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such recording.
    #[error("there is no such recording")]
    None,
    /// Its key cannot be had.
    #[error(transparent)]
    Key(KeyFileError),
    /// It is no longer what was written, from a chunk on. Nothing of it is handed out.
    #[error("the recording was altered or damaged after it was made: chunk {chunk} is wrong")]
    Damaged {
        /// The first chunk that is wrong, from 0.
        chunk: u32,
    },
    /// It is not a recording that can be read here.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Whoever receives the WAV is gone.
    #[error("the WAV cannot be written: {0}")]
    Write(#[source] io::Error),
    /// The 32-bit sizes of a WAV do not suffice.
    #[error("the recording is too long for a WAV")]
    TooLong,
}

impl Archive {
    /// Reads a whole recording once, checks every chunk, and tells what it holds.
    ///
    /// # Errors
    /// If there is none, or it cannot be opened. One that is damaged is told as such.
    pub fn summary(&self, call: CallId) -> Result<Summary, ExportError> {
        summarise(call, &mut self.reader(call)?)
    }

    /// A recording's length in samples if it has been ended, `None` if not. Reads its end alone.
    ///
    /// # Errors
    /// If there is none, or it cannot be opened.
    pub fn length(&self, call: CallId) -> Result<Option<u64>, ExportError> {
        Ok(self.reader(call)?.read_end().map_err(ReadError::Io)?)
    }

    /// Writes a recording as WAV: 8 kHz, 16-bit PCM, the caller left, the engine right.
    ///
    /// Works on a recording that still grows, or that a crash has interrupted: the WAV then holds
    /// what was there at the start. Gaps are silence, so its length is the recording's. `begin` is told
    /// what there is before anything is written.
    ///
    /// # Errors
    /// If the recording cannot be opened, or is damaged: every chunk was checked before the first
    /// octet is written. If it changes meanwhile, the WAV breaks off.
    pub fn export_wav<W: Write>(
        &self,
        call: CallId,
        out: &mut W,
        begin: impl FnOnce(&mut W, &Summary),
    ) -> Result<(), ExportError> {
        let mut reader = self.reader(call)?;
        let summary = summarise(call, &mut reader)?;
        if let Ending::Damaged { chunk } = summary.ending {
            return Err(ExportError::Damaged { chunk });
        }
        let samples = summary.samples;
        let header = wav_header(samples)?;
        begin(out, &summary);
        out.write_all(&header).map_err(ExportError::Write)?;

        let mut reader = self.reader(call)?;
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
        match reader.ending() {
            Some(Ending::Damaged { chunk }) => return Err(ExportError::Damaged { chunk }),
            Some(Ending::Complete | Ending::Interrupted { .. }) | None => {}
        }
        wav.write_silence_until(samples).and_then(|()| wav.out.flush()).map_err(ExportError::Write)
    }

    fn reader(&self, call: CallId) -> Result<Reader<BufReader<File>>, ExportError> {
        let file = File::open(self.path_of(call)).map_err(|error| {
            let is_none = error.kind() == io::ErrorKind::NotFound;
            if is_none { ExportError::None } else { ReadError::Io(error).into() }
        })?;
        let key = self.key_of(call).map_err(ExportError::Key)?;
        Ok(Reader::new(BufReader::new(file), call, key)?)
    }
}

fn summarise(call: CallId, reader: &mut Reader<BufReader<File>>) -> Result<Summary, ExportError> {
    let ending = Ending::Interrupted { chunks: 0 };
    let (secure, paused) = (Vec::new(), Vec::new());
    let mut summary = Summary { call, samples: 0, ending, gaps: 0, secure, paused };
    while let Some(chunk) = reader.next_chunk().map_err(ReadError::Io)? {
        match chunk {
            Chunk::Audio(audio) => {
                for block in audio.blocks() {
                    summary.add_block(&block);
                }
            }
            Chunk::End { samples } => summary.end(samples),
        }
    }
    summary.ending = reader.ending().unwrap_or(ending);
    Ok(summary)
}

impl Summary {
    /// It has its end, and every chunk before it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.ending == Ending::Complete
    }

    fn add_block(&mut self, block: &BlockView<'_>) {
        if block.start < self.samples {
            return;
        }
        self.gaps += u64::from(block.start > self.samples);
        self.samples = block.start + BLOCK_SAMPLES as u64;
        let frames = (block.start..).step_by(FRAME_SAMPLES).take(BLOCK_FRAMES);
        for (n, frame) in frames.enumerate() {
            if block.secure & 1 << n != 0 {
                mark(&mut self.secure, frame, FRAME_SAMPLES);
            }
        }
        if block.paused {
            mark(&mut self.paused, block.start, BLOCK_SAMPLES);
        }
    }

    /// The last block is filled up with silence behind the end, or blocks are missing there.
    fn end(&mut self, samples: u64) {
        let end_ms = samples.div_ceil(SAMPLES_PER_MS);
        for spans in [&mut self.secure, &mut self.paused] {
            spans.retain(|span| span.start_ms < end_ms);
            if let Some(span) = spans.last_mut() {
                span.end_ms = span.end_ms.min(end_ms);
            }
        }
        self.gaps += u64::from(samples > self.samples);
        self.samples = samples;
    }
}

/// Adds what is marked to spans, or to the last of them.
fn mark(spans: &mut Vec<Span>, start: u64, samples: usize) {
    let start_ms = start / SAMPLES_PER_MS;
    let end_ms = start_ms + samples as u64 / SAMPLES_PER_MS;
    let is_full = spans.len() == MAX_SPANS;
    match spans.last_mut() {
        Some(span) if span.end_ms == start_ms || is_full => span.end_ms = end_ms,
        Some(_) | None => spans.push(Span { start_ms, end_ms }),
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
        let mut pcm = Zeroizing::new([0; BLOCK_SAMPLES * SAMPLE_PAIR]);
        for (slot, (caller, engine)) in pcm.chunks_exact_mut(SAMPLE_PAIR).zip(pairs) {
            let (left, right) = slot.split_at_mut(SAMPLE_PAIR / 2);
            left.copy_from_slice(&Law::Mu.decode(*caller).to_le_bytes());
            right.copy_from_slice(&Law::Mu.decode(*engine).to_le_bytes());
        }
        self.write(&pcm[..])
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
    use std::os::unix::fs::FileExt;

    use super::super::chunk::{Chunks, HEADER, header};
    use super::super::scratch::{Scratch, archive_in};
    use super::super::tape::{Block, SILENCE};
    use super::*;

    const CALL: CallId = CallId(0xABC);

    #[test]
    fn the_wav_has_the_calls_length_and_both_sides_in_place() {
        let scratch = Scratch::new();
        // Block 2 is lost, and the call ends inside block 4.
        write_file(&scratch, &[(0, 0), (1, 0b11000), (3, 0), (4, 0)], Some(4 * 800 + 321));
        let samples = wav_of(&scratch);
        assert_eq!(samples.len(), 2 * (4 * 800 + 321));
        for (at, pair) in samples.chunks_exact(2).enumerate() {
            let n = (at / BLOCK_SAMPLES) as u8;
            let expected = if n == 2 { [0, 0] } else { [n, 0x80 | n].map(|c| Law::Mu.decode(c)) };
            assert_eq!(pair, expected, "sample {at}");
        }
        let summary = scratch.archive().summary(CALL).unwrap();
        assert_eq!((summary.call, summary.gaps), (CALL, 1));
        assert!(summary.is_complete());
        assert_eq!(summary.secure, [Span { start_ms: 160, end_ms: 200 }]);
    }

    #[test]
    fn lost_blocks_at_the_end_are_a_gap() {
        let scratch = Scratch::new();
        write_file(&scratch, &[(0, 0)], Some(2000));
        assert_eq!(wav_of(&scratch).len(), 2 * 2000);
        assert_eq!(scratch.archive().summary(CALL).unwrap().gaps, 1);
    }

    #[test]
    fn a_recording_without_an_end_is_exported_but_not_complete() {
        let scratch = Scratch::new();
        write_file(&scratch, &[(0, 0), (1, 0)], None);
        assert_eq!(wav_of(&scratch).len(), 2 * 1600);
        let ending = scratch.archive().summary(CALL).unwrap().ending;
        assert_eq!(ending, Ending::Interrupted { chunks: 2 });
        assert_eq!(scratch.archive().length(CALL).unwrap(), None);
    }

    #[test]
    fn spans_are_joined_over_blocks_and_end_with_the_call() {
        let scratch = Scratch::new();
        let blocks = [(0, 0b10000), (1, 0b11111), (2, 0b00001), (3, 0b10000), (4, 0b11111)];
        write_file(&scratch, &blocks, Some(4 * 800 + 160));
        let spans = scratch.archive().summary(CALL).unwrap().secure;
        let expected = [(80, 220), (380, 420)];
        assert_eq!(spans, expected.map(|(start_ms, end_ms)| Span { start_ms, end_ms }));
    }

    #[test]
    fn pauses_are_told_apart_from_secure_spans_and_end_with_the_recording() {
        let scratch = Scratch::new();
        let blocks = [(0, 0), (1, 0x80), (2, 0x80 | 0b00011), (3, 0), (4, 0x80)];
        write_file(&scratch, &blocks, Some(4 * 800 + 400));
        let summary = scratch.archive().summary(CALL).unwrap();
        let span = |(start_ms, end_ms)| Span { start_ms, end_ms };
        assert_eq!(summary.paused, [(100, 300), (400, 450)].map(span));
        assert_eq!(summary.secure, [(200, 240)].map(span));
    }

    #[test]
    fn a_length_beyond_a_wav_is_refused_before_anything_is_written() {
        let scratch = Scratch::new();
        write_file(&scratch, &[(0, 0)], Some(MAX_SAMPLES + 1));
        let mut out = Vec::new();
        let refused = scratch.archive().export_wav(CALL, &mut out, |_, _| ());
        assert!(matches!(refused, Err(ExportError::TooLong)));
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_missing_is_told() {
        let scratch = Scratch::new();
        let export = |archive: &Archive| {
            let mut out = Vec::new();
            let error = archive.export_wav(CALL, &mut out, |_, _| ()).unwrap_err();
            assert!(out.is_empty());
            error
        };
        assert!(matches!(export(&scratch.archive()), ExportError::None));
        write_file(&scratch, &[(0, 0)], Some(800));
        let stranger = export(&archive_in(scratch.path(), &[2]));
        assert!(matches!(stranger, ExportError::Key(KeyFileError::UnknownKek(_))));
        std::fs::remove_file(scratch.archive().key_path_of(CALL)).unwrap();
        assert!(matches!(export(&scratch.archive()), ExportError::Key(KeyFileError::Erased)));
    }

    #[test]
    fn of_a_damaged_recording_nothing_is_handed_out() {
        let scratch = Scratch::new();
        write_file(&scratch, &[(0, 0), (1, 0), (2, 0)], Some(2400));
        let archive = scratch.archive();
        assert_eq!(archive.length(CALL).unwrap(), Some(2400));
        let path = archive.path_of(CALL);
        let length = path.metadata().unwrap().len();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"?", HEADER as u64 + (length - HEADER as u64) / 2).unwrap();
        let mut out = Vec::new();
        let refused = archive.export_wav(CALL, &mut out, |_, _| panic!("it has not begun"));
        assert!(matches!(refused, Err(ExportError::Damaged { chunk: 1 })));
        assert!(out.is_empty());
        assert_eq!(archive.summary(CALL).unwrap().ending, Ending::Damaged { chunk: 1 });
    }

    /// Writes blocks given by number and secure bits, the highest bit for a pause; block `n` holds octets `n` and `0x80 | n`.
    fn write_file(scratch: &Scratch, blocks: &[(u8, u8)], end: Option<u64>) {
        let created = scratch.archive().create(CALL).ok().unwrap();
        let mut file = header(CALL).to_vec();
        let mut chunks = Chunks::new(CALL, created.key);
        for (n, secure) in blocks {
            let start = u64::from(*n) * BLOCK_SAMPLES as u64;
            let (caller, engine) = ([*n; BLOCK_SAMPLES], [0x80 | *n; BLOCK_SAMPLES]);
            assert_ne!(caller[0], SILENCE);
            let paused = *secure & 0x80 != 0;
            chunks.push(&Block { start, caller, engine, secure: *secure, paused });
            file.extend(chunks.close().unwrap());
        }
        if let Some(samples) = end {
            file.extend(chunks.end(samples).unwrap());
        }
        (&created.file).write_all(&file).unwrap();
    }

    fn wav_of(scratch: &Scratch) -> Vec<i16> {
        let mut wav = Vec::new();
        scratch.archive().export_wav(CALL, &mut wav, |_, _| ()).unwrap();
        let reader = hound::WavReader::new(&wav[..]).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 8000, 16));
        assert_eq!(reader.len() as usize * 2 + WAV_HEADER, wav.len());
        reader.into_samples().collect::<Result<_, _>>().unwrap()
    }
}

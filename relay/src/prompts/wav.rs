//! WAV files: one channel of 16-bit PCM, mu-law or A-law to mu-law at 8 kHz.

use std::borrow::Cow;

use dtmf::g711::Law;

use super::resample::resample;
use super::voice::Voice;

/// The longest clip: a caller who has to listen for longer hangs up.
pub(super) const MAX_SECONDS: usize = 20;
/// The largest file: [`MAX_SECONDS`] at the highest rate with two octets a sample, and 64 KiB for
/// what else programs write into a WAV file.
pub(super) const MAX_BYTES: usize = MAX_SECONDS * 48_000 * 2 + 65_536;
/// The rates that are read.
const RATES: [u32; 6] = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];
/// The rate of all clips.
const RATE: u32 = 8_000;

/// Format tags (Microsoft, mmreg.h; registered in RFC 2361 annex A).
const PCM: u16 = 0x0001;
const A_LAW: u16 = 0x0006;
const MU_LAW: u16 = 0x0007;
/// The tag proper comes later in the format chunk.
const EXTENSIBLE: u16 = 0xFFFE;
/// The length of a chunk of unknown length, as programs write it into a pipe.
const UNKNOWN_LENGTH: u32 = u32::MAX;

/// Why a file can't be a clip, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// It does not begin like a WAV file, or lacks a format or samples.
    #[error("is not a WAV file, or is cut short; make it again")]
    NotWav,
    /// Neither 16-bit PCM nor G.711.
    #[error(
        "is not 16-bit PCM, A-law or mu-law; convert it: ffmpeg -i OLD -ac 1 -c:a pcm_s16le NEW"
    )]
    Encoding,
    /// More channels than one, or none.
    #[error("has more than one channel; convert it: ffmpeg -i OLD -ac 1 -c:a pcm_s16le NEW")]
    Channels,
    /// Another sampling rate.
    #[error(
        "has none of the rates 8000, 16000, 22050, 24000, 44100 and 48000 Hz; convert it: \
         ffmpeg -i OLD -ar 8000 -ac 1 -c:a pcm_s16le NEW"
    )]
    Rate,
    /// No sample.
    #[error("holds no sound; leave it out to keep the prompt it would replace")]
    Empty,
    /// Longer than [`MAX_SECONDS`] seconds, or a larger file than that needs.
    #[error("is longer than {MAX_SECONDS} seconds; say less, or cut it")]
    TooLong,
}

/// What a format chunk says.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Format {
    encoding: Encoding,
    rate: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Pcm,
    Companded(Law),
}

/// The samples of a WAV file, mu-law at 8 kHz; borrowed if that is what the file holds.
pub(super) fn read(file: &[u8]) -> Result<Cow<'_, [u8]>, WavError> {
    if file.len() > MAX_BYTES {
        return Err(WavError::TooLong);
    }
    let (format, data) = parts(file)?;
    let octets = if format.encoding == Encoding::Pcm { 2 } else { 1 };
    match data.len() / octets {
        0 => return Err(WavError::Empty),
        samples if samples > MAX_SECONDS * format.rate as usize => return Err(WavError::TooLong),
        _ => {}
    }
    if format == (Format { encoding: Encoding::Companded(Voice::LAW), rate: RATE }) {
        return Ok(Cow::Borrowed(data));
    }
    let linear: Vec<i16> = match format.encoding {
        Encoding::Pcm => data.as_chunks().0.iter().copied().map(i16::from_le_bytes).collect(),
        Encoding::Companded(law) => data.iter().map(|code| law.decode(*code)).collect(),
    };
    let linear = resample(&linear, format.rate, RATE);
    Ok(linear.into_iter().map(|sample| Voice::LAW.encode(sample)).collect())
}

/// The format and the samples as they lie in the file.
fn parts(file: &[u8]) -> Result<(Format, &[u8]), WavError> {
    let mut rest = file.strip_prefix(b"RIFF").and_then(|rest| rest.get(4..));
    rest = rest.and_then(|rest| rest.strip_prefix(b"WAVE"));
    let mut rest = rest.ok_or(WavError::NotWav)?;
    let mut format = None;
    // Each turn takes eight octets at least.
    while let Some((head, body)) = rest.split_first_chunk::<8>() {
        let [id @ .., a, b, c, d] = head;
        let length = match u32::from_le_bytes([*a, *b, *c, *d]) {
            UNKNOWN_LENGTH => body.len(),
            length => length as usize,
        };
        let chunk = body.get(..length).ok_or(WavError::NotWav)?;
        match id {
            b"fmt " => format = Some(Format::read(chunk)?),
            b"data" => return Ok((format.ok_or(WavError::NotWav)?, chunk)),
            _ => {}
        }
        // Chunks begin on even offsets.
        rest = body.get(length.next_multiple_of(2)..).unwrap_or_default();
    }
    Err(WavError::NotWav)
}

impl Format {
    fn read(chunk: &[u8]) -> Result<Self, WavError> {
        let u16_at = |at: usize| {
            let octets = chunk.get(at..at + 2).and_then(|octets| octets.first_chunk());
            octets.copied().map(u16::from_le_bytes).ok_or(WavError::NotWav)
        };
        let rate = u32::from(u16_at(4)?) | u32::from(u16_at(6)?) << 16;
        let bits = u16_at(14)?;
        let encoding = match (u16_at(0)?, bits) {
            (EXTENSIBLE, _) => encoding(u16_at(24)?, bits)?,
            (tag, _) => encoding(tag, bits)?,
        };
        if u16_at(2)? != 1 {
            return Err(WavError::Channels);
        }
        if !RATES.contains(&rate) {
            return Err(WavError::Rate);
        }
        Ok(Self { encoding, rate })
    }
}

fn encoding(tag: u16, bits: u16) -> Result<Encoding, WavError> {
    match (tag, bits) {
        (PCM, 16) => Ok(Encoding::Pcm),
        (A_LAW, 8) => Ok(Encoding::Companded(Law::A)),
        (MU_LAW, 8) => Ok(Encoding::Companded(Law::Mu)),
        _ => Err(WavError::Encoding),
    }
}

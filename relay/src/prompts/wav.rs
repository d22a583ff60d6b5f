//! WAV files: one channel of 16-bit PCM, mu-law or A-law to mu-law at 8 kHz.

use std::borrow::Cow;

use dtmf::g711::Law;

use super::resample::resample;
use super::voice::Voice;

/// The largest file of so many seconds: at the highest rate with two octets a sample, and 64 KiB for
/// what else programs write into a WAV file.
pub(super) const fn max_bytes(seconds: usize) -> usize {
    seconds * 48_000 * 2 + 65_536
}
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
    /// Longer than so many seconds, or a larger file than they need.
    #[error("is longer than {0} seconds; say less, or cut it")]
    TooLong(usize),
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

/// The samples of a WAV file of so many `seconds` at most, mu-law at 8 kHz; borrowed if that is what
/// the file holds.
pub(super) fn read(file: &[u8], seconds: usize) -> Result<Cow<'_, [u8]>, WavError> {
    if file.len() > max_bytes(seconds) {
        return Err(WavError::TooLong(seconds));
    }
    let (format, data) = parts(file)?;
    let octets = if format.encoding == Encoding::Pcm { 2 } else { 1 };
    match data.len() / octets {
        0 => return Err(WavError::Empty),
        samples if samples > seconds * format.rate as usize => {
            return Err(WavError::TooLong(seconds));
        }
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use dtmf::g711::Law;
    use proptest::prelude::{Strategy, any, prop_assert, proptest};

    use super::super::voice::MAX_SECONDS;
    use super::{A_LAW, EXTENSIBLE, MU_LAW, PCM, RATES, WavError, max_bytes};

    fn read(file: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, WavError> {
        super::read(file, MAX_SECONDS)
    }

    #[test]
    fn each_encoding_and_rate_becomes_mu_law_at_eight_kilohertz() {
        for rate in RATES {
            let level = 8000_i16;
            let pcm: Vec<u8> = vec![level.to_le_bytes(); rate as usize].concat();
            let mu = vec![Law::Mu.encode(level); rate as usize];
            let a = vec![Law::A.encode(level); rate as usize];
            for (tag, bits, data) in [(PCM, 16, pcm), (MU_LAW, 8, mu), (A_LAW, 8, a)] {
                for file in [wav(tag, 1, rate, bits, &data), extensible(tag, rate, bits, &data)] {
                    let codes = read(&file).unwrap();
                    assert_eq!(codes.len(), 8000, "one second at {rate}");
                    let off = (Law::Mu.decode(codes[4000]) - level).abs();
                    // Half a step of either law at this level.
                    assert!(off <= 512, "{rate} {tag}: off by {off}");
                }
            }
        }
    }

    #[test]
    fn what_needs_no_change_is_not_copied() {
        let file = wav(MU_LAW, 1, 8000, 8, &[0x80; 7]);
        assert!(matches!(read(&file), Ok(std::borrow::Cow::Borrowed([0x80, ..]))));
    }

    #[test]
    fn what_another_program_writes_is_read() {
        let mut file = Cursor::new(Vec::new());
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
        for sample in [0_i16, 8, -8, 32_124, -32_124] {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        let codes = read(file.get_ref()).unwrap().into_owned();
        let linear: Vec<i16> = codes.into_iter().map(|code| Law::Mu.decode(code)).collect();
        assert_eq!(linear, [0, 8, -8, 32_124, -32_124]);
    }

    #[test]
    fn other_chunks_and_an_unknown_length_are_no_matter() {
        let mut file = wav(MU_LAW, 1, 8000, 8, &[1, 2, 3]);
        let at = file.len() - 3 - 8;
        file.splice(at..at, *b"LIST\x03\x00\x00\x00abc\0");
        assert_eq!(&*read(&file).unwrap(), [1, 2, 3]);
        let length = file.len() - 3 - 4;
        file[length..length + 4].fill(0xFF);
        assert_eq!(&*read(&file).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn what_can_be_no_clip_is_refused_for_its_reason() {
        let second = vec![0; 16_000];
        let long = vec![0; (MAX_SECONDS * 8000 + 1) * 2];
        for (file, reason) in [
            (Vec::new(), WavError::NotWav),
            (b"ID3 an mp3 file".to_vec(), WavError::NotWav),
            (b"RIFF\0\0\0\0WAVE".to_vec(), WavError::NotWav),
            (b"RIFF\0\0\0\0WAVEdata\x01\0\0\0a".to_vec(), WavError::NotWav),
            (wav(PCM, 1, 8000, 16, &second)[..60].to_vec(), WavError::NotWav),
            (wav(PCM, 1, 8000, 8, &second), WavError::Encoding),
            (wav(PCM, 1, 8000, 24, &second), WavError::Encoding),
            (wav(3, 1, 8000, 32, &second), WavError::Encoding),
            (wav(PCM, 2, 8000, 16, &second), WavError::Channels),
            (wav(PCM, 0, 8000, 16, &second), WavError::Channels),
            (wav(PCM, 1, 11_025, 16, &second), WavError::Rate),
            (wav(PCM, 1, 0, 16, &second), WavError::Rate),
            (wav(PCM, 1, u32::MAX, 16, &second), WavError::Rate),
            (wav(PCM, 1, 8000, 16, &[]), WavError::Empty),
            (wav(PCM, 1, 8000, 16, &[0]), WavError::Empty),
            (wav(PCM, 1, 8000, 16, &long), WavError::TooLong(MAX_SECONDS)),
            (vec![0; max_bytes(MAX_SECONDS) + 1], WavError::TooLong(MAX_SECONDS)),
        ] {
            assert_eq!(read(&file).err(), Some(reason));
            assert!(!reason.to_string().contains('\n'));
        }
    }

    proptest! {
        /// A hostile file is refused or read, and what is read is never too long.
        #[test]
        fn any_octets_are_refused_or_read(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            bounded(&octets)?;
        }

        #[test]
        fn a_file_with_some_octets_changed_is_refused_or_read(
            changes in proptest::collection::vec((0_usize..120, odd_octet()), 1..6),
            cut in 0_usize..160,
        ) {
            let mut file = wav(PCM, 1, 16_000, 16, &[7; 100]);
            for (at, octet) in changes {
                file[at] = octet;
            }
            bounded(&file)?;
            bounded(&file[..cut.min(file.len())])?;
        }
    }

    fn bounded(file: &[u8]) -> Result<(), proptest::test_runner::TestCaseError> {
        if let Ok(codes) = read(file) {
            prop_assert!((1..=MAX_SECONDS * 8000).contains(&codes.len()));
        }
        Ok(())
    }

    /// Mostly the octets at which lengths and numbers overflow.
    fn odd_octet() -> impl Strategy<Value = u8> {
        proptest::prop_oneof![
            proptest::prelude::Just(0_u8),
            proptest::prelude::Just(0xFF),
            proptest::prelude::Just(0x80),
            any::<u8>(),
        ]
    }

    fn wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut format = Vec::new();
        format.extend(tag.to_le_bytes());
        format.extend(channels.to_le_bytes());
        format.extend(rate.to_le_bytes());
        format.extend([0; 6]);
        format.extend(bits.to_le_bytes());
        file(&format, data)
    }

    fn extensible(tag: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let plain = wav(EXTENSIBLE, 1, rate, bits, &[]);
        let mut format = plain[20..36].to_vec();
        format.extend([22, 0, 16, 0, 0, 0, 0, 0]);
        format.extend(tag.to_le_bytes());
        format.extend([0; 14]);
        file(&format, data)
    }

    fn file(format: &[u8], data: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
        for (id, body) in [(b"fmt ", format), (b"data", data)] {
            file.extend(id);
            file.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
            file.extend(body);
        }
        file
    }
}

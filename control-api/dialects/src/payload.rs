//! Payload: sound and JSON within a message, and what of it is refused.

use std::io::Cursor;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;

use crate::{Act, Effects, Encoding, Fault, Message};

/// A text of an engine, as this dialect has it.
pub(crate) fn json<T: DeserializeOwned>(message: &Message) -> Result<T, Fault> {
    match message {
        Message::Text(text) => serde_json::from_str(text).map_err(|_| Fault::Malformed),
        Message::Binary(_) => Err(Fault::WrongKind),
    }
}

/// Sound in base64.
pub(crate) fn encode(octets: &[u8]) -> String {
    BASE64_STANDARD.encode(octets)
}

/// Sound out of base64.
pub(crate) fn decode(payload: &str, encoding: Encoding) -> Result<Vec<u8>, Fault> {
    let octets = BASE64_STANDARD.decode(payload).map_err(|_| Fault::BadAudio)?;
    whole(octets, encoding)
}

/// Sound that came as it is, to be played.
pub(crate) fn play(octets: &[u8], encoding: Encoding, effects: &mut Effects) -> Result<(), Fault> {
    effects.acts.push(Act::Play(whole(octets.to_owned(), encoding)?));
    Ok(())
}

/// Sound of whole samples.
pub(crate) fn whole(octets: Vec<u8>, encoding: Encoding) -> Result<Vec<u8>, Fault> {
    if octets.len().is_multiple_of(encoding.sample()) { Ok(octets) } else { Err(Fault::BadAudio) }
}

/// A piece of sound in base64 that says what it is: samples alone, or a WAV file. Nothing is
/// resampled: a piece of another rate than the connection's would be played at the wrong speed.
pub(crate) fn piece(
    kind: &str,
    rate: u32,
    text: &str,
    encoding: Encoding,
) -> Result<Vec<u8>, Fault> {
    match kind {
        "raw" if rate != encoding.rate() => Err(Fault::WrongRate),
        "raw" => decode(text, encoding),
        "wav" | "wave" => {
            wav(&BASE64_STANDARD.decode(text).map_err(|_| Fault::BadAudio)?, encoding)
        }
        _ => Err(Fault::BadAudio),
    }
}

/// The samples of a WAV file of one channel and 16 bits. A length that is longer than the file is
/// what those write who don't know it yet.
fn wav(file: &[u8], encoding: Encoding) -> Result<Vec<u8>, Fault> {
    let reader = hound::WavReader::new(Cursor::new(file)).map_err(|_| Fault::BadAudio)?;
    let spec = reader.spec();
    let is_whole = spec.sample_format == hound::SampleFormat::Int && spec.bits_per_sample == 16;
    if spec.channels != 1 || !is_whole {
        return Err(Fault::BadAudio);
    }
    if spec.sample_rate != encoding.rate() {
        return Err(Fault::WrongRate);
    }
    let samples = reader.into_samples::<i16>().map_while(Result::ok);
    Ok(samples.flat_map(i16::to_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::{encode, piece};
    use crate::{Encoding, Fault};

    const L16: Encoding = Encoding::L16(8000);

    /// A WAV file of two samples, by the format's description.
    fn wav(rate: u32, channels: u8, length: u32) -> Vec<u8> {
        let mut file = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0".to_vec();
        file.extend([channels, 0]);
        file.extend(rate.to_le_bytes());
        file.extend((rate * 2 * u32::from(channels)).to_le_bytes());
        file.extend([2 * channels, 0, 16, 0]);
        file.extend(b"data");
        file.extend(length.to_le_bytes());
        file.extend([1, 2, 3, 4]);
        file
    }

    #[test]
    fn samples_are_taken_out_of_a_file() {
        for kind in ["wav", "wave"] {
            let file = encode(&wav(8000, 1, 4));
            assert_eq!(piece(kind, 8000, &file, L16), Ok(vec![1, 2, 3, 4]));
        }
        assert_eq!(piece("raw", 8000, &encode(&[1, 2]), L16), Ok(vec![1, 2]));
        let unknown_length = encode(&wav(8000, 1, 0x7fff_fffe));
        assert_eq!(piece("wav", 8000, &unknown_length, L16), Ok(vec![1, 2, 3, 4]));
    }

    #[test]
    fn what_cannot_be_played_as_it_is_is_refused() {
        let wav = |rate, channels| encode(&wav(rate, channels, 4));
        assert_eq!(piece("wav", 8000, &wav(16_000, 1), L16), Err(Fault::WrongRate));
        assert_eq!(piece("raw", 16_000, &encode(&[1, 2]), L16), Err(Fault::WrongRate));
        assert_eq!(piece("wav", 8000, &wav(8000, 2), L16), Err(Fault::BadAudio));
        assert_eq!(piece("wav", 8000, &encode(b"RIFF"), L16), Err(Fault::BadAudio));
        assert_eq!(piece("raw", 8000, &encode(&[1]), L16), Err(Fault::BadAudio));
        assert_eq!(piece("mp3", 8000, &encode(&[1, 2]), L16), Err(Fault::BadAudio));
        assert_eq!(piece("raw", 8000, "?", L16), Err(Fault::BadAudio));
    }
}

//! Voices for tests, whose clips can be told apart by their samples.

use dtmf::g711::Law;

use super::name::{ClipName, Subject};
use super::voice::{Clip, Codes, Voice};

/// A voice with nothing but plain clips, each of one value and of a length of its own.
pub(super) fn plain_voice() -> Voice {
    voice(&[])
}

/// The same with clips of these names besides.
pub(super) fn voice(others: &[&str]) -> Voice {
    let plain = Subject::all().filter(|subject| subject.stand_in().is_none()).map(Subject::plain);
    let others = others.iter().map(|name| ClipName::parse(name).unwrap());
    let clips = (0..).zip(plain.chain(others)).map(|(id, name)| {
        let codes = vec![Law::Mu.encode(sample_of(id)); 1000 + usize::from(id)];
        Clip { name, codes: Codes::Loaded(codes.into()) }
    });
    Voice::new(clips.collect()).map_err(|missing| missing.len()).unwrap()
}

/// The value of all samples of one clip of these voices.
pub(super) fn sample_of(id: u16) -> i16 {
    Law::Mu.decode(0xEF - u8::try_from(id).unwrap())
}

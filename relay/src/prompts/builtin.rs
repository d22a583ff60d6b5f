//! The prompts that are built in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use include_dir::{Dir, DirEntry, include_dir};

use super::folder::PromptError;
use super::name::{ClipName, EXTENSION};
use super::voice::{Clip, Codes, MAX_SECONDS, Voice};
use super::{LanguageTag, Prompts, wav};

static ASSETS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/assets/prompts");
/// What tells about the folder, for whoever replaces a prompt.
const README: &str = "README.md";
/// What each clip of a language says.
const TEXTS: &str = "texts.tsv";

/// The voices of all languages built in; their samples stay where they are in the program.
pub(super) fn prompts() -> Prompts {
    let voices: BTreeMap<LanguageTag, Arc<Voice>> = ASSETS
        .dirs()
        .map(|folder| {
            let name = folder.path().to_string_lossy();
            let language = name.parse().expect("built-in folders are called by a language");
            let voice = Voice::new(clips(folder)).map_err(|missing| missing.len());
            (language, Arc::new(voice.expect("built-in voices are whole")))
        })
        .collect();
    Prompts { voices }
}

/// What one built-in prompt says, in words and as the caller hears it.
pub struct Spoken {
    /// The name of its file below the language's folder, without `.wav`.
    pub name: String,
    /// Its words.
    pub text: &'static str,
    /// Its samples: mu-law at 8 kHz.
    pub codes: Cow<'static, [u8]>,
}

/// All that the built-in prompts of a language can say, for whoever listens as a caller does.
#[must_use]
pub fn spoken(language: LanguageTag) -> Vec<Spoken> {
    let Some(folder) = ASSETS.get_dir(language.to_string()) else { return Vec::new() };
    let texts = folder.get_file(folder.path().join(TEXTS)).and_then(|file| file.contents_utf8());
    let lines = texts.unwrap_or_default().lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(name, text)| {
            let file = folder.get_file(folder.path().join(format!("{name}{EXTENSION}")))?;
            let codes = wav::read(file.contents(), MAX_SECONDS).ok()?;
            Some(Spoken { name: name.to_owned(), text, codes })
        })
        .collect()
}

/// Writes the built-in prompts into a folder, with their texts and what the names mean, and
/// returns how many files that were.
///
/// # Errors
/// If a file can't be written, or is there already: nothing is replaced.
pub fn export(folder: &Path) -> Result<usize, PromptError> {
    let languages = ASSETS.dirs().flat_map(files);
    let mut count = 0;
    for file in languages.chain(ASSETS.get_file(README)) {
        let path = folder.join(file.path());
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| File::create_new(&path))
            .and_then(|mut new| new.write_all(file.contents()))
            .map_err(|source| PromptError::Unwritable { path, source })?;
        count += 1;
    }
    Ok(count)
}

fn clips(folder: &'static Dir<'static>) -> Vec<Clip> {
    let files = files(folder).into_iter();
    let wavs = files.filter(|file| file.path().to_string_lossy().ends_with(EXTENSION));
    wavs.map(|file| {
        let path = file.path().strip_prefix(folder.path()).unwrap_or(file.path());
        let name = ClipName::parse(&path.to_string_lossy());
        let codes = match wav::read(file.contents(), MAX_SECONDS) {
            Ok(Cow::Borrowed(codes)) => Codes::Builtin(codes),
            Ok(Cow::Owned(codes)) => Codes::Loaded(codes.into()),
            Err(error) => panic!("{}: {error}", file.path().display()),
        };
        Clip { name: name.expect("built-in clips have names of clips"), codes }
    })
    .collect()
}

/// All files of a folder and of the folders in it.
fn files(folder: &'static Dir<'static>) -> Vec<&'static include_dir::File<'static>> {
    let mut files = Vec::new();
    for entry in folder.entries() {
        match entry {
            DirEntry::File(file) => files.push(file),
            DirEntry::Dir(inner) => files.extend(self::files(inner)),
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dtmf::brand::Brand;
    use dtmf::expiry::DateOrder;
    use dtmf::g711::Law;
    use dtmf::{FailReason, FieldError, Step};
    use ring::digest::{SHA256, digest};

    use super::{ASSETS, files};
    use crate::prompts::folder::{is_heard_as_a_key, survey};
    use crate::prompts::name::ClipName;
    use crate::prompts::{Cue, LanguageTag, Player, PromptError, Prompts, Voice};
    use crate::scratch::Scratch;

    const LANGUAGES: [&str; 5] = ["ar", "de", "en", "es", "fr"];

    #[test]
    fn every_cue_of_every_language_says_something() {
        let prompts = Prompts::builtin();
        let languages: Vec<String> = prompts.languages().map(|tag| tag.to_string()).collect();
        assert_eq!(languages, LANGUAGES);
        let mut count = 0;
        for language in prompts.languages() {
            let voice = prompts.voice(language).unwrap();
            let mut said = |cue: Cue, at_least: usize| {
                let phrase = voice.phrase(cue);
                assert!(phrase.clips().len() >= at_least, "{language}");
                assert!(phrase.clips().iter().all(|id| voice.codes(*id).len() > 1000));
                count += 1;
            };
            for step in Step::ALL {
                said(Cue::Repeat { step }, 1);
                for attempt in 1..=3 {
                    let brands = Brand::ALL.map(Some).into_iter().chain([None]);
                    for brand in brands {
                        let date_order = None;
                        said(Cue::Ask { step, attempt, error: None, brand, date_order }, 1);
                        for error in FieldError::ALL.map(Some) {
                            said(Cue::Ask { step, attempt, error, brand, date_order }, 2);
                        }
                    }
                }
            }
            FailReason::ALL.into_iter().for_each(|reason| said(Cue::Failed(reason), 1));
            [Cue::Processing, Cue::Passed, Cue::UseKeypad].into_iter().for_each(|cue| said(cue, 1));
        }
        println!(
            "figure: {count} cues in {} languages, each with something to say",
            LANGUAGES.len()
        );
    }

    #[test]
    fn american_express_and_dates_of_birth_are_asked_for_as_they_are() {
        let prompts = Prompts::builtin();
        for language in prompts.languages() {
            let voice = prompts.voice(language).unwrap();
            let length = |step, attempt, brand, date_order| {
                let cue = Cue::Ask { step, attempt, error: None, brand, date_order };
                let mut player = Player::new();
                player.play(&voice.phrase(cue));
                player.remaining(&voice)
            };
            let code = |brand| length(Step::SecurityCode, 1, brand, None);
            assert_ne!(code(Some(Brand::Amex)), code(Some(Brand::Visa)), "{language}");
            let card = |attempt| length(Step::PaymentCardNumber, attempt, None, None);
            assert_ne!(card(1), card(2), "{language}");
            assert_eq!(card(2), card(3), "{language}");
            let birth = |order| length(Step::DateOfBirth, 1, None, order);
            assert!(birth(Some(DateOrder::YearMonthDay)) > birth(None), "{language}");
        }
    }

    #[test]
    fn languages_and_clips_differ_from_one_another() {
        let prompts = Prompts::builtin();
        let mut sounds = BTreeSet::new();
        for language in prompts.languages() {
            for clip in prompts.voice(language).unwrap().clips() {
                assert!(sounds.insert(clip.codes.as_slice().to_vec()), "{language} {}", clip.name);
            }
        }
    }

    #[test]
    fn a_region_falls_back_to_its_language() {
        let prompts = Prompts::builtin();
        let voice = |tag: &str| prompts.voice(tag.parse::<LanguageTag>().unwrap());
        let spanish = voice("es").unwrap();
        for tag in ["es-MX", "ES-419"] {
            assert!(std::sync::Arc::ptr_eq(&voice(tag).unwrap(), &spanish), "{tag}");
        }
        assert!(voice("it").is_none() && voice("it-IT").is_none());
    }

    #[test]
    fn no_clip_holds_a_key() {
        let prompts = Prompts::builtin();
        let mut seconds = 0;
        for language in prompts.languages() {
            for clip in prompts.voice(language).unwrap().clips() {
                let codes = clip.codes.as_slice();
                assert!(!is_heard_as_a_key(codes), "{language} {}", clip.name);
                // As a leg of the other law has it.
                let mut codes = codes.to_vec();
                Law::Mu.transcode(Law::A, &mut codes);
                Law::A.transcode(Law::Mu, &mut codes);
                assert!(!is_heard_as_a_key(&codes), "{language} {}", clip.name);
                seconds += codes.len();
            }
        }
        println!("figure: 0 keys heard in {} s of prompts", seconds / 8000);
    }

    #[test]
    fn clips_are_as_loud_as_each_other_and_end_in_silence() {
        let prompts = Prompts::builtin();
        for language in prompts.languages() {
            for clip in prompts.voice(language).unwrap().clips() {
                let linear: Vec<f64> = clip
                    .codes
                    .as_slice()
                    .iter()
                    .map(|code| f64::from(Voice::LAW.decode(*code)) / 32768.0)
                    .collect();
                let power = |samples: &[f64]| {
                    samples.iter().map(|it| it * it).sum::<f64>() / samples.len() as f64
                };
                let powers: Vec<f64> = linear.chunks(80).map(power).collect();
                let loudest = powers.iter().copied().fold(0.0, f64::max);
                let loud: Vec<f64> =
                    powers.into_iter().filter(|it| *it > loudest / 316.0).collect();
                let level = 10.0 * (loud.iter().sum::<f64>() / loud.len() as f64).log10();
                assert!((-22.0..-19.0).contains(&level), "{language} {}: {level} dB", clip.name);
                for edge in [&linear[..390], &linear[linear.len() - 390..]] {
                    assert!(edge.iter().all(|it| it.abs() < 0.001), "{language} {}", clip.name);
                }
                assert!(linear.len() < 6 * 8000, "{language} {} is long", clip.name);
            }
        }
    }

    /// What `made.sha256` says of the texts and of the sounds is so: none of them has changed
    /// without the other.
    #[test]
    fn every_sound_is_of_its_text() {
        let mut wanted = Vec::new();
        for language in LANGUAGES {
            let folder = ASSETS.get_dir(language).unwrap();
            let texts = folder.get_file(format!("{language}/texts.tsv")).unwrap();
            let texts = texts.contents_utf8().unwrap().lines();
            for line in texts.filter(|line| !line.starts_with('#')) {
                let (name, text) = line.split_once('\t').unwrap();
                let path = format!("{language}/{name}.wav");
                assert!(ClipName::parse(&format!("{name}.wav")).is_some(), "{path}");
                let wav = folder.get_file(&path).unwrap_or_else(|| panic!("{path} is missing"));
                let hashes = [text.as_bytes(), wav.contents()].map(sha256);
                wanted.push(format!("{}  {}  {path}", hashes[0], hashes[1]));
            }
            let wavs = files(folder).len() - 1;
            let texts =
                wanted.iter().filter(|line| line.contains(&format!("  {language}/"))).count();
            assert_eq!(wavs, texts, "{language}: a sound without text");
        }
        let made = ASSETS.get_file("made.sha256").unwrap().contents_utf8().unwrap();
        let made: Vec<&str> = made.lines().collect();
        assert_eq!(made, wanted, "run make.py and commit what it writes");
        assert!(made.iter().all(|line| !line.contains(&sha256(b"another text"))), "the control");
    }

    #[test]
    fn what_is_exported_can_be_loaded_again() {
        let scratch = Scratch::new();
        let count = super::export(scratch.path()).unwrap();
        assert!(scratch.path().join("README.md").is_file());
        assert!(scratch.path().join("en/texts.tsv").is_file());
        let found = survey(scratch.path());
        assert!(found.errors.is_empty(), "{:?}", found.errors);
        let own: usize = found.languages.iter().map(|language| language.own).sum();
        assert_eq!(count, own + LANGUAGES.len() + 1, "and a text for each language, and a README");
        assert!(found.languages.iter().all(|language| language.inherited.is_empty()));
        let again = super::export(scratch.path());
        assert!(matches!(again, Err(PromptError::Unwritable { .. })), "nothing is replaced");
    }

    fn sha256(octets: &[u8]) -> String {
        digest(&SHA256, octets).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

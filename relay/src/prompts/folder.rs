//! A folder of prompts that the user may put in place of those built in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dtmf::tone::{ToneDetector, ToneEdge};

use super::name::{ClipName, EXTENSION};
use super::voice::{Clip, Codes, MAX_SECONDS, Voice};
use super::wav::{self, WavError};
use super::{LanguageTag, Prompts};

/// The most entries of a folder: far more than there are names of clips.
const MAX_ENTRIES: usize = 1024;
/// The most memory that all clips of a folder take: more than an hour and a half.
const MAX_TOTAL: usize = 48 << 20;

/// What is wrong with a folder of prompts.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A file or folder can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file can't be written.
    #[error("{path}: {source}; export writes new files only: name an empty folder")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder has more than 1024 entries, or all clips together are too long.
    #[error(
        "{path}: too many or too long prompts; {MAX_ENTRIES} files in a folder and 100 minutes in all are enough"
    )]
    TooMuch {
        /// The folder or file.
        path: PathBuf,
    },
    /// A folder is not called by a language.
    #[error("{path}: is not called by a language; call it en, es-MX or the like")]
    NotALanguage {
        /// The folder.
        path: PathBuf,
    },
    /// A file is called by no prompt's name.
    #[error("{path}: no prompt is called that; `sotto prompts --help` tells the names")]
    NotAName {
        /// The file.
        path: PathBuf,
    },
    /// A file can't be a clip.
    #[error("{path}: {reason}")]
    Wav {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: WavError,
    },
    /// A clip would be taken for a key if it came back as an echo.
    #[error(
        "{path}: holds the tone of a key, which could be taken for one of the caller's; record it without"
    )]
    SoundsLikeAKey {
        /// The file.
        path: PathBuf,
    },
    /// A language that is not built in lacks clips.
    #[error("{language}: is not built in, so it needs all prompts; missing: {}", names.join(", "))]
    Missing {
        /// The language.
        language: LanguageTag,
        /// The files that are missing.
        names: Vec<String>,
    },
}

/// What is in a folder of prompts.
pub struct Survey {
    /// The voices built in with the folder's clips in place of theirs.
    pub prompts: Prompts,
    /// The folder's languages.
    pub languages: Vec<LanguageSurvey>,
    /// All that is wrong with it.
    pub errors: Vec<PromptError>,
}

/// What is in the folder of one language.
pub struct LanguageSurvey {
    /// The language.
    pub language: LanguageTag,
    /// How many clips the folder has.
    pub own: usize,
    /// The clips that come from the language without region, or from those built in.
    pub inherited: Vec<String>,
}

/// Reads a folder of prompts and tells all that is in it and all that is wrong with it.
#[must_use]
pub fn survey(folder: &Path) -> Survey {
    let mut reader = Reader { total: 0, errors: Vec::new() };
    let own = reader.languages(folder);
    let mut survey =
        Survey { prompts: Prompts::builtin(), languages: Vec::new(), errors: reader.errors };
    // A language comes before its regions, which fall back to it.
    for (language, clips) in own {
        survey.add(language, clips);
    }
    survey
}

impl Survey {
    fn add(&mut self, language: LanguageTag, mut clips: Vec<Clip>) {
        let own = clips.len();
        if let Some(base) = self.prompts.voice(language) {
            let is_own = |name: &ClipName| clips.iter().any(|clip| clip.name == *name);
            let inherited = base.clips().iter().filter(|clip| !is_own(&clip.name)).cloned();
            clips.extend(inherited.collect::<Vec<Clip>>());
        }
        let inherited = clips[own..].iter().map(|clip| clip.name.to_string()).collect();
        match Voice::new(clips) {
            Ok(voice) => {
                self.prompts.voices.insert(language, Arc::new(voice));
                self.languages.push(LanguageSurvey { language, own, inherited });
            }
            Err(missing) => {
                let names = missing.iter().map(ClipName::to_string).collect();
                self.errors.push(PromptError::Missing { language, names });
            }
        }
    }
}

/// What reads a folder and notes all that is wrong.
struct Reader {
    /// Octets of all clips so far.
    total: usize,
    errors: Vec<PromptError>,
}

impl Reader {
    fn languages(&mut self, folder: &Path) -> BTreeMap<LanguageTag, Vec<Clip>> {
        let mut languages = BTreeMap::new();
        for (path, name) in self.entries(folder) {
            if !path.is_dir() {
                continue;
            }
            match name.parse() {
                Ok(language) => {
                    let clips = self.clips(&path);
                    if languages.insert(language, clips).is_some() {
                        // The same in other letters, such as en and EN.
                        self.errors.push(PromptError::NotALanguage { path });
                    }
                }
                Err(_) => self.errors.push(PromptError::NotALanguage { path }),
            }
        }
        languages
    }

    fn clips(&mut self, folder: &Path) -> Vec<Clip> {
        let mut clips = Vec::new();
        for (path, name) in self.entries(folder) {
            if path.is_dir() {
                for (path, inner) in self.entries(&path) {
                    clips.extend(self.clip(path, &format!("{name}/{inner}")));
                }
            } else {
                clips.extend(self.clip(path, &name));
            }
        }
        clips
    }

    fn clip(&mut self, path: PathBuf, name: &str) -> Option<Clip> {
        if !name.ends_with(EXTENSION) {
            return None;
        }
        match read_clip(&path, name) {
            Ok((_, codes)) if self.total + codes.len() > MAX_TOTAL => {
                self.errors.push(PromptError::TooMuch { path });
                None
            }
            Ok((name, codes)) => {
                self.total += codes.len();
                Some(Clip { name, codes: Codes::Loaded(codes.into()) })
            }
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// The paths and names in a folder, sorted; hidden ones are left out.
    fn entries(&mut self, folder: &Path) -> Vec<(PathBuf, String)> {
        let unreadable = |source| PromptError::Unreadable { path: folder.to_owned(), source };
        let mut entries = Vec::new();
        let listed = match fs::read_dir(folder) {
            Ok(listed) => listed,
            Err(error) => {
                self.errors.push(unreadable(error));
                return entries;
            }
        };
        for entry in listed {
            match entry {
                Ok(_) if entries.len() == MAX_ENTRIES => {
                    self.errors.push(PromptError::TooMuch { path: folder.to_owned() });
                    break;
                }
                Ok(entry) => {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if !name.starts_with('.') {
                        entries.push((entry.path(), name));
                    }
                }
                Err(error) => {
                    self.errors.push(unreadable(error));
                    break;
                }
            }
        }
        entries.sort();
        entries
    }
}

fn read_clip(path: &Path, name: &str) -> Result<(ClipName, Vec<u8>), PromptError> {
    let path = || path.to_owned();
    let name = ClipName::parse(name).ok_or_else(|| PromptError::NotAName { path: path() })?;
    let file =
        read_file(&path()).map_err(|source| PromptError::Unreadable { path: path(), source })?;
    let codes = wav::read(&file, MAX_SECONDS)
        .map_err(|reason| PromptError::Wav { path: path(), reason })?;
    if is_heard_as_a_key(&codes) {
        return Err(PromptError::SoundsLikeAKey { path: path() });
    }
    Ok((name, codes.into_owned()))
}

/// A file's octets, one more than allowed at most; opening what is no file could block.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file"));
    }
    let mut octets = Vec::new();
    File::open(path)?.take(wav::max_bytes(MAX_SECONDS) as u64 + 1).read_to_end(&mut octets)?;
    Ok(octets)
}

/// A key could be heard in these samples.
pub(super) fn is_heard_as_a_key(codes: &[u8]) -> bool {
    let mut detector = ToneDetector::new();
    let mut is_heard = false;
    for code in codes {
        detector.hear(&[Voice::LAW.decode(*code)], &mut |report| match report.edge {
            ToneEdge::Begin(_) => is_heard = true,
            ToneEdge::Hint | ToneEdge::End(_) => {}
        });
    }
    is_heard
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use dtmf::Digit;
    use dtmf::g711::Law;
    use dtmf::synth::tone::dial;

    use super::{PromptError, Survey, survey};
    use crate::prompts::{Cue, LanguageTag, Player, Prompts, WavError, export};
    use crate::scratch::Scratch;

    /// Mu-law at 8 kHz.
    fn wav(codes: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        file.extend([7, 0, 1, 0, 0x40, 0x1F, 0, 0, 0x40, 0x1F, 0, 0, 1, 0, 8, 0]);
        file.extend(b"data");
        file.extend(u32::try_from(codes.len()).unwrap().to_le_bytes());
        file.extend(codes);
        file
    }

    fn put(folder: &Path, name: &str, octets: &[u8]) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, octets).unwrap();
    }

    fn first_sample(prompts: &Prompts, language: &str, cue: Cue) -> i16 {
        let voice = prompts.voice(language.parse().unwrap()).unwrap();
        let mut player = Player::new();
        player.play(&voice.phrase(cue));
        let mut frame = [0];
        player.fill(&voice, &mut frame);
        frame[0]
    }

    #[test]
    fn a_folder_replaces_what_it_has_and_keeps_the_rest() {
        let scratch = Scratch::new();
        put(scratch.path(), "es/passed.wav", &wav(&[0x90; 100]));
        put(scratch.path(), "es-MX/processing.wav", &wav(&[0xA0; 100]));
        put(scratch.path(), "es/notes.txt", b"no prompt");
        put(scratch.path(), ".git/anything", b"not looked at");
        let Survey { prompts, languages, errors } = survey(scratch.path());
        assert!(errors.is_empty(), "{errors:?}");
        let [spanish, mexican] = &languages[..] else { panic!("two languages") };
        assert_eq!((spanish.own, mexican.own), (1, 1));
        assert!(spanish.inherited.contains(&"processing.wav".to_owned()));
        assert!(!spanish.inherited.contains(&"passed.wav".to_owned()));
        assert!(mexican.inherited.contains(&"passed.wav".to_owned()));

        let sample = |code| Law::Mu.decode(code);
        // Clips that are built in begin with silence.
        for (language, cue, wanted) in [
            ("es", Cue::Passed, sample(0x90)),
            ("es", Cue::Processing, 0),
            ("es-MX", Cue::Passed, sample(0x90)),
            ("es-MX", Cue::Processing, sample(0xA0)),
            ("es-AR", Cue::Passed, sample(0x90)),
            ("en", Cue::Passed, 0),
        ] {
            assert_eq!(first_sample(&prompts, language, cue), wanted, "{language}");
        }
    }

    #[test]
    fn a_language_of_ones_own_has_to_be_complete() {
        let scratch = Scratch::new();
        export(scratch.path()).unwrap();
        fs::rename(scratch.path().join("fr"), scratch.path().join("it")).unwrap();
        let prompts = Prompts::load(scratch.path()).map_err(|error| error.to_string()).unwrap();
        assert!(prompts.languages().any(|tag| tag.to_string() == "it"));
        for name in ["passed.wav", "digit/4.wav", "error/invalid-date.wav"] {
            fs::remove_file(scratch.path().join("it").join(name)).unwrap();
        }
        let Err(PromptError::Missing { language, names }) = Prompts::load(scratch.path()) else {
            panic!("two prompts are missing; that of a date has a stand-in")
        };
        assert_eq!(language, "it".parse::<LanguageTag>().unwrap());
        assert_eq!(names, ["passed.wav", "digit/4.wav"]);
    }

    #[test]
    fn everything_wrong_is_told_with_its_file_in_one_line_each() {
        let scratch = Scratch::new();
        let tones: Vec<u8> =
            dial(&[Digit::Five], 0.1, 8000).into_iter().map(|it| Law::Mu.encode(it)).collect();
        put(scratch.path(), "de/passed.wav", &wav(&tones));
        put(scratch.path(), "de/ask/card.wav", &wav(&[0x90; 100]));
        put(scratch.path(), "de/processing.wav", b"not a WAV file");
        put(scratch.path(), "english/passed.wav", &wav(&[0x90; 100]));
        fs::create_dir_all(scratch.path().join("en/passed.wav")).unwrap();
        let errors = survey(scratch.path()).errors;
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let told_of = |file: &str, what: fn(&PromptError) -> bool| {
            let found = errors.iter().zip(&told).filter(|(_, text)| text.contains(file));
            assert_eq!(found.filter(|(error, _)| what(error)).count(), 1, "{file}: {told:?}");
        };
        told_of("de/passed.wav", |it| matches!(it, PromptError::SoundsLikeAKey { .. }));
        told_of("de/ask/card.wav", |it| matches!(it, PromptError::NotAName { .. }));
        told_of("de/processing.wav", |it| {
            matches!(it, PromptError::Wav { reason: WavError::NotWav, .. })
        });
        told_of("english", |it| matches!(it, PromptError::NotALanguage { .. }));
        assert_eq!(told.len(), 4, "an empty folder is no clip: {told:?}");
        assert!(told.iter().all(|text| !text.contains('\n')));
        assert!(Prompts::load(scratch.path()).is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let scratch = Scratch::new();
        let errors = survey(&scratch.path().join("nowhere")).errors;
        assert!(matches!(errors[..], [PromptError::Unreadable { .. }]));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_opened() {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("en")).unwrap();
        // Reading it would never end.
        std::os::unix::fs::symlink("/dev/zero", scratch.path().join("en/passed.wav")).unwrap();
        assert!(matches!(survey(scratch.path()).errors[..], [PromptError::Unreadable { .. }]));
    }
}

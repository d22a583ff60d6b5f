//! A folder of prompts that the user may put in place of those built in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dtmf::tone::{ToneDetector, ToneEdge};

use super::name::{ClipName, EXTENSION};
use super::voice::{Clip, Codes, Voice};
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
    let codes = wav::read(&file).map_err(|reason| PromptError::Wav { path: path(), reason })?;
    if sounds_like_a_key(&codes) {
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
    File::open(path)?.take(wav::MAX_BYTES as u64 + 1).read_to_end(&mut octets)?;
    Ok(octets)
}

fn sounds_like_a_key(codes: &[u8]) -> bool {
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

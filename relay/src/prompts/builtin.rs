//! The prompts that are built in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use include_dir::{Dir, DirEntry, include_dir};

use super::folder::PromptError;
use super::name::{ClipName, EXTENSION};
use super::voice::{Clip, Codes, Voice};
use super::{LanguageTag, Prompts, wav};

static ASSETS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/assets/prompts");
/// What tells about the folder, for whoever replaces a prompt.
const README: &str = "README.md";

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
    wavs.filter_map(|file| {
        let path = file.path().strip_prefix(folder.path()).unwrap_or(file.path());
        let name = ClipName::parse(&path.to_string_lossy())?;
        let codes = match wav::read(file.contents()) {
            Ok(std::borrow::Cow::Borrowed(codes)) => Codes::Builtin(codes),
            Ok(std::borrow::Cow::Owned(codes)) => Codes::Loaded(codes.into()),
            Err(error) => panic!("{}: {error}", file.path().display()),
        };
        Some(Clip { name, codes })
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

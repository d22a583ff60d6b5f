//! RecordingsCommand: `sotto recordings`, which works on the files, with a running relay or without.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use relay::recording::{
    Archive, Ending, ExportError, KeyEncryptionKey, KeyFileError, Keyring, Summary,
};
use relay::switchboard::CallId;

use crate::clock::Timestamp;
use crate::config::{ConfigError, RawConfig, RecordingKeyFiles};
use crate::dto::id;
use crate::recording_keys::{self, RecordingKeyError};
use crate::serve::EXIT_CONFIG;
use crate::{chance, retention};

/// Recordings between two words on how far the work has come.
const PROGRESS_EVERY: usize = 100;
const SAMPLES_PER_SECOND: u64 = 8000;

const HELP: &str = "\
Recordings are sealed: each under a key of its own, which lies wrapped beside it. The keys that
wrap are the files of recordings.key_files. Say where both are as for `sotto serve`: --config FILE,
or --recordings and --key-file.

To change the key that wraps (nothing else is touched, so it takes about 1 s for 1,000 recordings):
  1. (umask 077; openssl rand -base64 32 > /etc/sotto/recordings-2.kek)
  2. name the new file first in recordings.key_files, the old one behind it
  3. kill -HUP the running sotto: new recordings use the new key
  4. sotto recordings rewrap --config /etc/sotto.toml
  5. take the old file out of recordings.key_files, reload again, and destroy it

Examples:
  sotto recordings list --config /etc/sotto.toml
  sotto recordings verify --config /etc/sotto.toml
  sotto recordings erase call_0198c0f3a1b27c3e8d4f5a6b7c8d9e0f --config /etc/sotto.toml

Exit codes: 0 all is well; 1 a recording is damaged, missing or can't be read; 2 the command line
is wrong; 78 the configuration or a key file is.";

/// What `sotto recordings` is asked.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct RecordingsArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Show each recording: call, beginning, length, state, and the key that wraps its own.
    ///
    /// States: complete; no end (the call goes on, or was interrupted by a crash); erased (its
    /// key is gone); unreadable, with the reason.
    List,
    /// Check every part of every recording, and name the first that is wrong.
    ///
    /// A recording without an end is told but is no fault: its call may go on. Exit code 1 if any
    /// was altered or can't be read.
    Verify {
        /// Only this call's.
        #[arg(value_name = "CALL", value_parser = parse_call)]
        call: Option<CallId>,
    },
    /// Wrap the keys of all recordings under the current key, the first of recordings.key_files.
    ///
    /// May be interrupted at any time and run again; each recording has its old wrapping or its
    /// new one. The recordings themselves are not touched.
    Rewrap,
    /// Erase a call's recording for good, by destroying its key.
    ///
    /// No copy or backup of the recording can be read afterwards, unless its key file was copied
    /// too. Needs none of the keys that wrap. A call that goes on does so without its recording.
    Erase {
        /// The call.
        #[arg(value_name = "CALL", value_parser = parse_call)]
        call: CallId,
    },
}

#[derive(Args)]
struct PlaceArgs {
    /// Settings, as for `sotto serve`; flags win over them.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where recordings are kept [default: recordings in the state directory].
    #[arg(long, value_name = "DIR", global = true)]
    recordings: Option<PathBuf>,
    /// A key that wraps, the current one first; may be given several times
    /// [default: recordings.kek in the state directory].
    #[arg(long, value_name = "FILE", global = true)]
    key_file: Vec<PathBuf>,
    /// Where keys and recordings are kept
    /// [default: $STATE_DIRECTORY, $XDG_STATE_HOME/sotto, ~/.local/state/sotto or /var/lib/sotto].
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Keys(#[from] RecordingKeyError),
    #[error("there are no recordings at {0}: say where with --config, --state-dir or --recordings")]
    NoDirectory(PathBuf),
    #[error("recordings: {0}")]
    Io(#[from] io::Error),
}

/// Does what is asked; the exit code is as its help says.
#[must_use]
pub fn run(args: RecordingsArgs, default_state_dir: &Path) -> ExitCode {
    match obey(args, default_state_dir) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sotto: {error}");
            match error {
                CommandError::Io(_) => ExitCode::FAILURE,
                CommandError::Config(_) | CommandError::Keys(_) | CommandError::NoDirectory(_) => {
                    ExitCode::from(EXIT_CONFIG)
                }
            }
        }
    }
}

/// Whether all is well.
fn obey(args: RecordingsArgs, default_state_dir: &Path) -> Result<bool, CommandError> {
    let (directory, files) = args.place.resolve(default_state_dir)?;
    if !directory.is_dir() {
        return Err(CommandError::NoDirectory(directory));
    }
    let open = |keys| Archive::open(directory.clone(), keys, chance::fill);
    Ok(match args.action {
        Action::List => list(&open(keys_if_any(&files)?)?)?,
        Action::Erase { call } => erase(&open(keys_if_any(&files)?)?, call)?,
        Action::Verify { call } => verify(&open(recording_keys::read(&files)?)?, call)?,
        Action::Rewrap => rewrap(&open(recording_keys::read(&files)?)?)?,
    })
}

impl PlaceArgs {
    fn resolve(
        self,
        default_state_dir: &Path,
    ) -> Result<(PathBuf, RecordingKeyFiles), ConfigError> {
        let mut raw = match &self.config {
            Some(path) => RawConfig::read(path)?,
            None => RawConfig::default(),
        };
        let given = (!self.key_file.is_empty()).then_some(self.key_file);
        raw.state_dir = self.state_dir.or(raw.state_dir);
        raw.recordings.directory = self.recordings.or(raw.recordings.directory);
        raw.recordings.key_files = given.or(raw.recordings.key_files);
        let state = raw.state_dir.clone().unwrap_or_else(|| default_state_dir.to_owned());
        let resolved = raw.recordings.resolve(&state)?;
        Ok((resolved.directory, resolved.keys))
    }
}

/// The keys, or, where they can't be read, one that opens nothing: what is asked goes without.
fn keys_if_any(files: &RecordingKeyFiles) -> Result<Keyring, CommandError> {
    match recording_keys::read(files) {
        Ok(keys) => Ok(keys),
        Err(error) => {
            eprintln!("sotto: no recording can be opened: {error}");
            let mut octets = [0; relay::recording::keyring::KEY_OCTETS];
            chance::fill(&mut octets)?;
            let keys = Keyring::new(vec![KeyEncryptionKey::new(&mut octets)]);
            Ok(keys.map_err(RecordingKeyError::from)?)
        }
    }
}

fn list(archive: &Archive) -> io::Result<bool> {
    let mut all_readable = true;
    for call in archive.calls()? {
        let began = retention::began(archive, call).map(Timestamp::from_unix);
        let began = began.map_or_else(|| "-".to_owned(), |time| time.to_string());
        let kek = archive.kek_of(call).map_or_else(|_| "-".to_owned(), |kek| kek.to_string());
        let (length, state) = match archive.length(call) {
            Ok(Some(samples)) => (length_of(samples), "complete".to_owned()),
            Ok(None) => ("-".to_owned(), "no end".to_owned()),
            Err(ExportError::Key(KeyFileError::Erased)) => ("-".to_owned(), "erased".to_owned()),
            Err(error) => {
                all_readable = false;
                ("-".to_owned(), format!("unreadable: {error}"))
            }
        };
        println!("{}  {began:24}  {length:>9}  {kek:16}  {state}", id::call(call));
    }
    Ok(all_readable)
}

fn verify(archive: &Archive, only: Option<CallId>) -> io::Result<bool> {
    let calls = only.map_or_else(|| archive.calls(), |call| Ok(vec![call]))?;
    let (mut complete, mut open, mut erased, mut bad) = (0, 0, 0, 0);
    for (at, call) in calls.iter().enumerate() {
        let verdict = match archive.summary(*call) {
            Ok(Summary { ending: Ending::Complete, .. }) => {
                complete += 1;
                None
            }
            Ok(Summary { ending: Ending::Interrupted { chunks }, .. }) => {
                open += 1;
                Some(format!(
                    "no end: {chunks} whole chunks; its call goes on, or it was cut there"
                ))
            }
            Ok(Summary { ending: Ending::Damaged { chunk }, .. }) => {
                bad += 1;
                Some(format!("DAMAGED: chunk {chunk} is the first that is wrong"))
            }
            Err(ExportError::Key(KeyFileError::Erased)) => {
                erased += 1;
                Some("erased: its key is gone".to_owned())
            }
            Err(error) => {
                bad += 1;
                Some(format!("UNREADABLE: {error}"))
            }
        };
        if let Some(verdict) = verdict {
            println!("{}  {verdict}", id::call(*call));
        }
        tell_progress("verified", at + 1, calls.len());
    }
    println!("{complete} complete, {open} without an end, {erased} erased, {bad} bad");
    Ok(bad == 0)
}

fn rewrap(archive: &Archive) -> io::Result<bool> {
    let calls = archive.calls()?;
    let (mut rewrapped, mut current, mut failed) = (0, 0, 0);
    for (at, call) in calls.iter().enumerate() {
        match archive.rewrap(*call) {
            Ok(true) => rewrapped += 1,
            Ok(false) => current += 1,
            // Nobody can read it, under whatever key.
            Err(KeyFileError::Erased) => {}
            Err(error) => {
                failed += 1;
                println!("{}  not rewrapped: {error}", id::call(*call));
            }
        }
        tell_progress("rewrapped", at + 1, calls.len());
    }
    let kek = archive.keys().current().id();
    println!("key {kek}: {rewrapped} rewrapped, {current} were so already, {failed} failed");
    Ok(failed == 0)
}

fn erase(archive: &Archive, call: CallId) -> io::Result<bool> {
    let erased = archive.erase(call)?;
    match erased {
        true => println!("{} erased", id::call(call)),
        false => eprintln!("sotto: {} has no recording", id::call(call)),
    }
    Ok(erased)
}

/// On standard error, so that standard output holds the results alone.
fn tell_progress(what: &str, done: usize, all: usize) {
    if done.is_multiple_of(PROGRESS_EVERY) && done < all {
        eprintln!("{what} {done} of {all}");
    }
}

/// Hours, minutes and seconds.
fn length_of(samples: u64) -> String {
    let seconds = samples / SAMPLES_PER_SECOND;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn parse_call(text: &str) -> Result<CallId, &'static str> {
    id::parse_call(text).ok_or("a call's id is call_ and 32 hexadecimal digits")
}

//! Sounds: files and blobs that parties are to hear, read beside the runtime, and how many at a time.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use relay::prompts::{MAX_SOUND_BYTES, Sound, WavError};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::refused::Refused;

/// Files that are read at a time: each takes some 25 MB while it is, and a core for up to a second.
const READERS: usize = 2;
/// Octets of all sounds that play at a time: more than two hours of them. A file that plays in many
/// calls counts once.
const MAX_HELD: usize = 64 << 20;
/// Sounds that play at a time, however short: one a call that a relay may hold, or so.
const MAX_SOUNDS: usize = 8192;
/// Longest name of a file that any file system has, in octets.
const MAX_NAME: usize = 255;

/// The sounds that parties are to hear or hear.
pub(super) struct Sounds {
    folder: OnceLock<PathBuf>,
    readers: Semaphore,
    held: Mutex<Vec<Held>>,
}

/// A sound that plays, or has until just now.
struct Held {
    /// The file that it was read from, if it was.
    origin: Option<Origin>,
    octets: usize,
    sound: Weak<Sound>,
}

/// A file as it was when it was read: another of the same name has another number or time.
#[derive(PartialEq, Eq)]
struct Origin {
    device: u64,
    number: u64,
    changed: (i64, i64),
    octets: i64,
}

impl Default for Sounds {
    fn default() -> Sounds {
        let (folder, held) = (OnceLock::new(), Mutex::default());
        Sounds { folder, readers: Semaphore::new(READERS), held }
    }
}

impl Sounds {
    /// Files are of this folder. It is said once, before any is asked for.
    pub(super) fn are_in(&self, folder: PathBuf) {
        let is_first = self.folder.set(folder).is_ok();
        debug_assert!(is_first, "the folder is said once");
    }

    /// The sound of a file of the folder; one that plays already is not read again.
    pub(super) async fn of_file(&self, name: &str) -> Result<Arc<Sound>, Refused> {
        let folder = self.folder.get().cloned().ok_or_else(|| {
            Refused::because(
                "Sotto plays no files: ng.media_directory is not set; set it, or send a blob",
            )
        })?;
        check_name(name)?;
        let name = name.to_owned();
        let _turn = self.readers.acquire().await;
        let (file, origin) = beside(move || open(&folder, &name)).await??;
        if let Some(sound) = self.find(&origin) {
            return Ok(sound);
        }
        let sound = beside(move || read(file)).await??;
        self.keep(Some(origin), sound)
    }

    /// The sound of these octets.
    pub(super) async fn of_blob(&self, octets: &[u8]) -> Result<Arc<Sound>, Refused> {
        let octets = octets.to_owned();
        let _turn = self.readers.acquire().await;
        let sound = beside(move || Sound::read(&octets)).await?.map_err(no_sound)?;
        self.keep(None, sound)
    }

    fn find(&self, origin: &Origin) -> Option<Arc<Sound>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut same = held.iter().filter(|it| it.origin.as_ref() == Some(origin));
        same.find_map(|it| it.sound.upgrade())
    }

    /// Counts a sound for as long as anybody has it.
    fn keep(&self, origin: Option<Origin>, sound: Sound) -> Result<Arc<Sound>, Refused> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|it| it.sound.strong_count() > 0);
        let octets = sound.octets();
        let all: usize = held.iter().map(|it| it.octets).sum();
        if held.len() >= MAX_SOUNDS || all + octets > MAX_HELD {
            return Err(Refused::because(
                "as many sounds play as may: try again later, or play the same file",
            ));
        }
        let sound = Arc::new(sound);
        held.push(Held { origin, octets, sound: Arc::downgrade(&sound) });
        Ok(sound)
    }
}

/// Runs what may wait for a disk or take long beside the runtime.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refused::because("the relay failed to read the sound"))
}

/// A name is of a file in the folder itself.
fn check_name(name: &str) -> Result<(), Refused> {
    let is_name = (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\0']);
    match is_name {
        true => Ok(()),
        false => Err(Refused::because(
            "file must be the name of a WAV file in ng.media_directory, without a path before it",
        )),
    }
}

/// Opens a file of the folder. The kernel follows no link that leads out of it.
fn open(folder: &Path, name: &str) -> Result<(File, Origin), Refused> {
    let at = File::open(folder)
        .map_err(|_| Refused::because("ng.media_directory can't be opened by the relay"))?;
    // Not waiting: what is opened may be no file, and have nobody at its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = match openat2(&at, name, flags, Mode::empty(), within) {
        // Where the kernel is older, or a sandbox is, no link is followed at all.
        Err(Errno::NOSYS | Errno::PERM) => {
            openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty())
        }
        opened => opened,
    };
    let file = File::from(opened.map_err(not_opened)?);
    let stat = rustix::fs::fstat(&file).map_err(not_opened)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(Refused::because("file is no file, but something else by that name"));
    }
    let origin = Origin {
        device: stat.st_dev,
        number: stat.st_ino,
        changed: (stat.st_mtime, stat.st_mtime_nsec as i64),
        octets: stat.st_size,
    };
    Ok((file, origin))
}

fn not_opened(errno: Errno) -> Refused {
    Refused::because(match errno {
        Errno::NOENT => "there is no such file in ng.media_directory",
        Errno::XDEV | Errno::LOOP => "file is a link that leads out of ng.media_directory",
        Errno::ACCESS | Errno::PERM => "file may not be read by the relay: see its permissions",
        _ => "file can't be opened by the relay",
    })
}

fn read(file: File) -> Result<Sound, Refused> {
    let mut octets = Vec::new();
    let count = file.take(MAX_SOUND_BYTES as u64 + 1).read_to_end(&mut octets);
    count.map_err(|_| Refused::because("file can't be read by the relay"))?;
    Sound::read(&octets).map_err(no_sound)
}

fn no_sound(error: WavError) -> Refused {
    match error {
        WavError::Empty => Refused::because("the sound is empty: there is no sample in it"),
        WavError::NotWav
        | WavError::Encoding
        | WavError::Channels
        | WavError::Rate
        | WavError::TooLong(_) => Refused::because(format!("the sound {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        for name in ["hello.wav", "a b.wav", "\u{fc}.wav", &"a".repeat(255)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let paths = ["", ".", "..", ".hidden", "../a.wav", "a/b.wav", "/a.wav", "a\\b", "a\0"];
        for name in paths.into_iter().chain([&*"a".repeat(256)]) {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    fn wav(samples: usize) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x07\0\x01\0".to_vec();
        file.extend(8000_u32.to_le_bytes());
        file.extend([0; 6]);
        file.extend([8, 0]);
        file.extend(b"data");
        file.extend(u32::try_from(samples).unwrap().to_le_bytes());
        file.extend(vec![0x55; samples]);
        file
    }

    #[tokio::test]
    async fn as_much_is_held_as_plays_and_no_more() {
        let sounds = Sounds::default();
        let longest = wav(120 * 8000);
        let mut playing = Vec::new();
        for _ in 0..MAX_HELD / (120 * 8000) {
            playing.push(sounds.of_blob(&longest).await.unwrap());
        }
        assert!(sounds.of_blob(&longest).await.is_err());
        playing.pop();
        playing.push(sounds.of_blob(&longest).await.unwrap());
        assert!(sounds.of_blob(&longest).await.is_err(), "the last took the place");
    }

    #[tokio::test]
    async fn a_file_that_plays_is_not_read_again_and_one_that_has_changed_is() {
        let folder = std::env::temp_dir().join(format!("sotto-sounds-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.wav"), wav(80)).unwrap();
        let sounds = Sounds::default();
        assert!(sounds.of_file("a.wav").await.is_err(), "no folder is said");
        sounds.are_in(folder.clone());
        let [first, second] =
            [sounds.of_file("a.wav").await.unwrap(), sounds.of_file("a.wav").await.unwrap()];
        assert!(Arc::ptr_eq(&first, &second));
        std::fs::write(folder.join("a.wav"), wav(160)).unwrap();
        assert_eq!(sounds.of_file("a.wav").await.unwrap().octets(), 160);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn nothing_outside_of_the_folder_is_opened() {
        use std::os::unix::fs::symlink;
        let root = std::env::temp_dir().join(format!("sotto-outside-{}", std::process::id()));
        let folder = root.join("media");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        for name in ["a.wav", "../secret.wav"] {
            std::fs::write(folder.join(name), wav(80)).unwrap();
        }
        symlink("a.wav", folder.join("within.wav")).unwrap();
        symlink("../secret.wav", folder.join("beside.wav")).unwrap();
        symlink(root.join("secret.wav"), folder.join("absolute.wav")).unwrap();
        let sounds = Sounds::default();
        sounds.are_in(folder.clone());
        assert!(sounds.of_file("within.wav").await.is_ok(), "the control: a link within");
        for name in ["beside.wav", "absolute.wav", "sub", "none.wav"] {
            assert!(sounds.of_file(name).await.is_err(), "{name}");
        }
        // The control: what keeps it back is not that it can't be read.
        std::fs::copy(root.join("secret.wav"), folder.join("copy.wav")).unwrap();
        assert!(sounds.of_file("copy.wav").await.is_ok());
        std::fs::remove_dir_all(root).unwrap();
    }
}

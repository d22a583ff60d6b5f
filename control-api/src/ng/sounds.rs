//! Sounds: files and blobs that parties are to hear, read beside the runtime, and how many at a time.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use relay::prompts::{MAX_SOUND_BYTES, Sound, WavError};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::refused::Refused;

/// Files that are read at a time, and blobs: each takes some 25 MB while it is, and a core for up to
/// a second.
const READERS: usize = 2;
/// Requests that wait for such a place: each holds up to a message's octets, and more than these
/// would hardly be read in time.
const MAX_WAITING: usize = 16;
/// Longest time for which a request waits until its sound is read, its turn included. Behind it on
/// the same connection there may be a cut.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
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
    files: Readers,
    /// Those of blobs: they are read where a folder that hangs does not matter.
    blobs: Readers,
    held: Arc<HeldSounds>,
}

/// Places for reading, and for who waits for one.
struct Readers {
    places: Arc<Semaphore>,
    waiting: Semaphore,
}

/// All sounds that play.
#[derive(Default)]
struct HeldSounds(Mutex<Vec<Held>>);

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
        let [files, blobs] = [Readers::new(), Readers::new()];
        Sounds { folder: OnceLock::new(), files, blobs, held: Arc::default() }
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
        let (name, held) = (name.to_owned(), Arc::clone(&self.held));
        let read = move || {
            let (file, origin) = open(&folder, &name)?;
            match held.find(&origin) {
                Some(sound) => Ok(sound),
                None => held.keep(Some(origin), read(file)?),
            }
        };
        self.files.run(read).await
    }

    /// The sound of these octets.
    pub(super) async fn of_blob(&self, octets: &[u8]) -> Result<Arc<Sound>, Refused> {
        let (octets, held) = (octets.to_owned(), Arc::clone(&self.held));
        self.blobs.run(move || held.keep(None, Sound::read(&octets).map_err(no_sound)?)).await
    }
}

impl Readers {
    fn new() -> Readers {
        let places = Arc::new(Semaphore::new(READERS));
        Readers { places, waiting: Semaphore::new(MAX_WAITING) }
    }

    /// Reads beside the runtime, where it may wait for a disk or take long, and waits for that within
    /// bounds. Who hangs keeps its place until it hangs no longer, and not whoever has asked.
    async fn run(
        &self,
        read: impl FnOnce() -> Result<Arc<Sound>, Refused> + Send + 'static,
    ) -> Result<Arc<Sound>, Refused> {
        let done = async {
            let waits = self.waiting.try_acquire().map_err(|_| {
                Refused::because("as many sounds wait to be read as may: try again later")
            })?;
            let failed = |_| Refused::because("the relay failed to read the sound");
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| failed(()))?;
            drop(waits);
            let reading = tokio::task::spawn_blocking(move || {
                let read = read();
                drop(place);
                read
            });
            reading.await.map_err(|_| failed(()))?
        };
        tokio::time::timeout(READ_TIMEOUT, done).await.map_err(|_| {
            Refused::because(
                "the sound was not read within a second: try again later, and if that does not \
                 help, see whether ng.media_directory answers",
            )
        })?
    }
}

impl HeldSounds {
    fn find(&self, origin: &Origin) -> Option<Arc<Sound>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut same = held.iter().filter(|it| it.origin.as_ref() == Some(origin));
        same.find_map(|it| it.sound.upgrade())
    }

    /// Counts a sound for as long as anybody has it.
    fn keep(&self, origin: Option<Origin>, sound: Sound) -> Result<Arc<Sound>, Refused> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// A folder that hangs whoever opens it: a pipe with nobody at its other end.
    struct HungFolder(PathBuf);

    impl HungFolder {
        fn new(name: &str) -> HungFolder {
            use rustix::fs::{CWD, FileType, mknodat};
            let path = std::env::temp_dir().join(format!("sotto-{name}-{}", std::process::id()));
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            HungFolder(path)
        }

        /// Hangs nobody any longer, and is a folder from now on.
        fn answers(self) -> PathBuf {
            let end = std::fs::OpenOptions::new().read(true).write(true).open(&self.0).unwrap();
            std::fs::remove_file(&self.0).unwrap();
            std::fs::create_dir(&self.0).unwrap();
            drop(end);
            self.0
        }
    }

    async fn within(
        time: Duration,
        read: impl Future<Output = Result<Arc<Sound>, Refused>>,
    ) -> String {
        match tokio::time::timeout(time, read).await.expect("it is answered in time") {
            Ok(_) => String::new(),
            Err(refused) => format!("{refused:?}"),
        }
    }

    #[tokio::test]
    async fn a_folder_that_hangs_keeps_nobody_for_longer_than_a_second() {
        let (sounds, hung) = (Arc::new(Sounds::default()), HungFolder::new("hung"));
        sounds.are_in(hung.0.clone());
        let ask = || {
            let sounds = Arc::clone(&sounds);
            async move { within(2 * READ_TIMEOUT, sounds.of_file("a.wav")).await }
        };
        let asked: Vec<_> = (0..READERS + MAX_WAITING).map(|_| tokio::spawn(ask())).collect();
        while sounds.files.waiting.available_permits() > 0 {
            tokio::time::sleep(READ_TIMEOUT / 100).await;
        }
        let more = within(READ_TIMEOUT / 4, sounds.of_file("a.wav")).await;
        assert!(more.contains("as many sounds wait"), "{more}");
        assert_eq!(within(READ_TIMEOUT, sounds.of_blob(&wav(80))).await, "", "blobs are read");
        for asked in asked {
            let told = asked.await.unwrap();
            assert!(told.contains("not read within a second"), "{told}");
        }
        assert_eq!(sounds.files.places.available_permits(), 0, "who hangs keeps its place");
        assert_eq!(sounds.files.waiting.available_permits(), MAX_WAITING, "and nobody waits");
        let told = ask().await;
        assert!(told.contains("not read within a second"), "{told}");
        let folder = hung.answers();
        std::fs::write(folder.join("a.wav"), wav(80)).unwrap();
        assert_eq!(ask().await, "", "and all is well when it answers again");
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

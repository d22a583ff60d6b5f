//! Checkpoint: a signed statement that the log has so many lines, and which root their tree has
//! (c2sp.org/tlog-checkpoint).

use std::io::{self, BufRead, Read};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::hash::Sha256;
use crate::limits::MAX_CHECKPOINT;
use crate::note::{NoteError, SigningKey, VerifierKey};

/// Lines of a checkpoint as this crate writes it: name, size, root, an empty one, a signature.
pub(crate) const LINES: u64 = 5;

/// What a checkpoint attests to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Lines in the log.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Sha256,
}

impl Checkpoint {
    /// Signs it: five lines.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let name = key.verifier().name().as_str();
        key.sign(&format!("{name}\n{}\n{}\n", self.size, BASE64_STANDARD.encode(self.root.0)))
    }

    /// Reads one that `key` has signed.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(note: &str, key: &VerifierKey) -> Result<Checkpoint, NoteError> {
        let text = key.open(note)?;
        let mut lines = text.strip_suffix('\n').ok_or(NoteError::Malformed)?.split('\n');
        let mut line = || lines.next().ok_or(NoteError::Malformed);
        let (name, size_text, root) = (line()?, line()?, line()?);
        let size: u64 = size_text.parse().map_err(|_| NoteError::Malformed)?;
        let root = BASE64_STANDARD.decode(root).map_err(|_| NoteError::Malformed)?;
        let root = Sha256(root.try_into().map_err(|_| NoteError::Malformed)?);
        let is_ours = name == key.name().as_str() && size.to_string() == size_text;
        if is_ours && line().is_err() {
            Ok(Checkpoint { size, root })
        } else {
            Err(NoteError::Malformed)
        }
    }
}

/// The size that a note gives, whoever has signed it.
pub(crate) fn size_of(note: &str) -> Option<u64> {
    note.split('\n').nth(1)?.parse().ok()
}

/// A file of checkpoints, one behind the other.
pub(crate) struct Checkpoints<R> {
    reader: R,
    /// Octets of whole ones so far.
    pub(crate) octets: u64,
    /// Lines before the next one.
    pub(crate) lines: u64,
}

/// What comes next in a file of checkpoints.
pub(crate) enum Next {
    /// Five lines.
    Note(String),
    /// A part of them, and that is the end of the file.
    Torn,
    /// The end of the file.
    End,
}

impl<R: BufRead> Checkpoints<R> {
    pub(crate) const fn new(reader: R) -> Checkpoints<R> {
        Checkpoints { reader, octets: 0, lines: 0 }
    }

    /// The next five lines. What is too long for them, or is no text, is a note that nobody signed.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let mut note = Vec::with_capacity(MAX_CHECKPOINT);
        for _ in 0..LINES {
            let room = (MAX_CHECKPOINT - note.len()) as u64;
            let before = note.len();
            self.reader.by_ref().take(room).read_until(b'\n', &mut note)?;
            if note.len() == before || note.last() != Some(&b'\n') {
                return Ok(match note.len() {
                    0 => Next::End,
                    MAX_CHECKPOINT => Next::Note(String::new()),
                    _ => Next::Torn,
                });
            }
        }
        self.octets += note.len() as u64;
        self.lines += LINES;
        Ok(Next::Note(String::from_utf8(note).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::signing_key;

    #[test]
    fn a_checkpoint_is_read_as_it_was_signed() {
        let key = signing_key(1);
        let checkpoint = Checkpoint { size: 20_852_163, root: Sha256::of(b"root") };
        let note = checkpoint.sign(&key);
        assert_eq!(Checkpoint::read(&note, key.verifier()), Ok(checkpoint));
        assert_eq!(note.lines().count() as u64, LINES);
        let other = Checkpoint::read(&note, signing_key(2).verifier());
        assert_eq!(other, Err(NoteError::OtherKey));
    }

    #[test]
    fn other_texts_that_are_signed_are_no_checkpoints() {
        let key = signing_key(1);
        let name = key.verifier().name().as_str();
        let root = BASE64_STANDARD.encode([7; 32]);
        let good = format!("{name}\n7\n{root}\n");
        assert!(Checkpoint::read(&key.sign(&good), key.verifier()).is_ok());
        let bad = [
            format!("{name}x\n7\n{root}\n"),
            format!("{name}\n07\n{root}\n"),
            format!("{name}\n+7\n{root}\n"),
            format!("{name}\n-7\n{root}\n"),
            format!("{name}\n7\n{}\n", &root[4..]),
            format!("{name}\n7\n{root}\nmore\n"),
            format!("{name}\n7\n"),
            "\n".to_owned(),
        ];
        for text in bad {
            assert!(Checkpoint::read(&key.sign(&text), key.verifier()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_of_them_is_read_to_its_torn_end() {
        let key = signing_key(1);
        let note = |size| Checkpoint { size, root: Sha256::ZERO }.sign(&key);
        let whole = note(1) + &note(2);
        for torn in 0..note(3).len() {
            let file = whole.clone().into_bytes();
            let file = [&file[..], &note(3).as_bytes()[..torn]].concat();
            let mut checkpoints = Checkpoints::new(&file[..]);
            for size in 1..=2 {
                let Next::Note(read) = checkpoints.next().unwrap() else { panic!("{size}") };
                assert_eq!(read, note(size));
            }
            assert_eq!((checkpoints.octets, checkpoints.lines), (whole.len() as u64, 10));
            let is_torn = matches!(checkpoints.next().unwrap(), Next::Torn);
            assert_eq!(is_torn, torn > 0, "{torn}");
        }
        let endless = vec![b'x'; 1 << 20];
        let mut endless = Checkpoints::new(&endless[..]);
        assert!(matches!(endless.next(), Ok(Next::Note(note)) if note.is_empty()));
    }
}

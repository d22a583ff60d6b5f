//! Resume: the tree at the beginning of a segment, kept beside it, so that a long log can be opened
//! without being read whole.
//!
//! The file is no evidence by itself: it counts only if its tree has the root that a signed
//! checkpoint of just that size has. Whatever is wrong with it, the log is read whole instead.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::hash::Sha256;
use crate::limits::MAX_LINE;
use crate::line::Record;
use crate::lines::segment_name;
use crate::tree::Tree;
use crate::verify::Chain;

/// What the name of a segment's file ends with, for its tree.
const EXTENSION: &str = "tree";
/// Octets of the largest: 64 hashes, a line each.
const MAX_OCTETS: u64 = 64 * 65;

/// Writes the tree that a segment begins with: its peaks, a line each, largest first. The file gets
/// its name in one step; the directory is synced with the segment.
pub(crate) fn write(directory: &Path, tree: &Tree) -> io::Result<()> {
    let path = path(directory, tree.size());
    let next = path.with_added_extension("new");
    let text: String = tree.peaks().iter().map(|peak| format!("{peak}\n")).collect();
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, &path)
}

/// The chain at the beginning of the last of some segments: the tree from its file, the rest from
/// the last line of the segment before. `None` if anything is missing or does not fit.
pub(crate) fn read(directory: &Path, segments: &[u64]) -> Option<Chain> {
    let [.., before, last] = *segments else { return None };
    let tree = Tree::from_peaks(last, read_peaks(&path(directory, last))?)?;
    let line = last_line(&directory.join(segment_name(before))).ok()??;
    let record = Record::read(&line).ok()?;
    let follows = record.seq.checked_add(1) == Some(last);
    follows.then(|| Chain::resumed(Sha256::of(&line), tree, record.entry.event, record.entry.at))
}

fn path(directory: &Path, first: u64) -> PathBuf {
    directory.join(segment_name(first)).with_extension(EXTENSION)
}

fn read_peaks(path: &Path) -> Option<Vec<Sha256>> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_OCTETS).read_to_string(&mut text).ok()?;
    text.strip_suffix('\n')?.split('\n').map(Sha256::read).collect()
}

/// The last line of a file that ends with a newline, without it.
fn last_line(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LINE as u64)))?;
    let mut octets = Vec::with_capacity(MAX_LINE);
    file.take(MAX_LINE as u64).read_to_end(&mut octets)?;
    let Some(b'\n') = octets.pop() else { return Ok(None) };
    let start = octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    Ok(Some(octets.split_off(start)))
}

//! RecordingDriver: makes, rewraps, erases and checks recordings of marked audio, to be killed while
//! it does. `tests/recording_kills.py` runs it.
//!
//! ```text
//! recording_driver record DIRECTORY KEY...     makes three recordings, tells what it handed over
//! recording_driver record-when-told ...        the same, once a line comes on standard input
//! recording_driver rewrap DIRECTORY KEY...     wraps all keys under the first one
//! recording_driver erase  DIRECTORY KEY...     erases the second recording
//! recording_driver check  DIRECTORY KEY...     recovers, and tells what each recording holds
//! ```

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use dtmf::g711::Law;
use relay::recording::chunk::ReadError;
use relay::recording::tape::BLOCK_SAMPLES;
use relay::recording::{
    Archive, Block, Ending, ExportError, Job, KeyFileError, Keyring, RecordQueue, Recorder,
};
use relay::switchboard::CallId;
use ring::rand::{SecureRandom, SystemRandom};

const CALLS: u64 = 3;
/// Two chunks and a part of one.
const BLOCKS: u64 = 12;
/// What each side says over and over; the script looks for it on the disk.
const CALLER: &[u8] = b"CLEAR-CALLER-VOICE;";
const ENGINE: &[u8] = b"CLEAR-ENGINE-VOICE;";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (action, directory) = (arguments.next().unwrap(), arguments.next().unwrap());
    let files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let keys = Keyring::read(&files).unwrap();
    let random = |octets: &mut [u8]| SystemRandom::new().fill(octets).map_err(|_| no_random());
    let archive = Arc::new(Archive::open(directory.into(), keys, random).unwrap());
    match action.as_str() {
        "record" => record(&archive, || ()),
        "record-when-told" => record(&archive, || {
            println!("ready");
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }),
        #[cfg(feature = "sabotage")]
        "record-in-clear" => {
            relay::sabotage::break_sealing();
            record(&archive, || ());
        }
        "rewrap" => rewrap(&archive),
        "erase" => println!("erased {}", archive.erase(CallId(2)).unwrap()),
        "check" => check(&archive),
        _ => panic!("unknown action"),
    }
    println!("done");
}

fn no_random() -> std::io::Error {
    std::io::ErrorKind::Other.into()
}

/// Every block is known to be with the writer before it is told and the next one follows.
fn record(archive: &Arc<Archive>, begin: impl FnOnce()) {
    let recorder = Recorder::spawn(Arc::clone(archive)).unwrap();
    begin();
    let queue = recorder.queue();
    for number in 1..=CALLS {
        let call = CallId(number.into());
        queue.try_send(Job::Start { call }).unwrap();
        for n in 0..BLOCKS {
            queue.try_send(Job::Block { call, block: block(n) }).unwrap();
            flush(&queue);
            println!("handed {number} {}", n + 1);
        }
        queue.try_send(Job::Finish { call, samples: BLOCKS * BLOCK_SAMPLES as u64 }).unwrap();
        flush(&queue);
        assert_eq!(recorder.counts().completed, number);
        println!("completed {number}");
    }
}

fn rewrap(archive: &Archive) {
    for call in archive.calls().unwrap() {
        archive.rewrap(call).unwrap();
    }
}

fn check(archive: &Archive) {
    archive.recover().unwrap();
    for number in 1..=CALLS {
        let call = CallId(number.into());
        let mut wav = Vec::new();
        let state = match archive.export_wav(call, &mut wav, |_, _| ()) {
            Ok(()) if !is_as_recorded(&wav[44..]) => "altered",
            Ok(()) if archive.summary(call).unwrap().ending == Ending::Complete => "complete",
            Ok(()) => "interrupted",
            Err(ExportError::None) => "none",
            Err(ExportError::Key(KeyFileError::Erased)) => "erased",
            Err(ExportError::Damaged { .. }) => "damaged",
            Err(ExportError::Read(ReadError::NoHeader)) => "headless",
            Err(error) => panic!("{error}"),
        };
        let blocks = wav.len().saturating_sub(44) / 4 / BLOCK_SAMPLES;
        println!("call {number} {state} {blocks}");
    }
}

fn block(n: u64) -> Block {
    let start = n * BLOCK_SAMPLES as u64;
    let side = |mark: &[u8]| std::array::from_fn(|at| mark[(start as usize + at) % mark.len()]);
    Block { start, caller: side(CALLER), engine: side(ENGINE), secure: 0, paused: false }
}

fn is_as_recorded(pcm: &[u8]) -> bool {
    pcm.chunks_exact(4).enumerate().all(|(at, pair)| {
        let of = |mark: &[u8]| Law::Mu.decode(mark[at % mark.len()]).to_le_bytes();
        pair == [of(CALLER), of(ENGINE)].concat()
    })
}

fn flush(queue: &RecordQueue) {
    queue.flush().unwrap().blocking_recv().unwrap();
}

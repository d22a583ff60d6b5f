//! Prints the keys heard in raw audio on standard input: 16-bit little-endian mono samples.
//!
//! `+ KEY SAMPLE` when a key is certain, `- KEY SAMPLE` when it is up again, `? SAMPLE` at an early
//! hint. SAMPLE counts the input samples taken in by then. `--rate 16000` or `48000` for other
//! rates; `DTMF_ERASURES` may name a file with one character for each 20 ms, `1` meaning lost.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use dtmf::decimate::Decimator;
use dtmf::tone::{ToneDetector, ToneEdge, ToneReport};

fn main() -> ExitCode {
    let Some(rate) = rate() else {
        eprintln!("usage: detect [--rate 8000|16000|24000|48000] < audio.s16le");
        return ExitCode::FAILURE;
    };
    match run(rate) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("detect: {error}");
            ExitCode::FAILURE
        }
    }
}

fn rate() -> Option<u32> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, None) => Some(8000),
        (Some("--rate"), Some(rate)) => rate.parse().ok(),
        (Some(_) | None, Some(_) | None) => None,
    }
}

fn run(rate: u32) -> std::io::Result<()> {
    let Some(mut decimator) = Decimator::new(rate) else {
        return Err(std::io::Error::other("this rate is not supported"));
    };
    let lost = match std::env::var_os("DTMF_ERASURES") {
        Some(path) => std::fs::read(path)?.into_iter().map(|mark| mark == b'1').collect(),
        None => Vec::new(),
    };
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    let audio: Vec<i16> =
        bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();

    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut detector = ToneDetector::new();
    let factor = decimator.factor() as u64;
    let mut print = |report: ToneReport| {
        let at = report.at * factor;
        let _ = match report.edge {
            ToneEdge::Hint => writeln!(out, "? {at}"),
            ToneEdge::Begin(digit) => writeln!(out, "+ {} {at}", char::from(digit.to_ascii())),
            ToneEdge::End(digit) => writeln!(out, "- {} {at}", char::from(digit.to_ascii())),
        };
    };
    for (nth, packet) in audio.chunks(rate as usize / 50).enumerate() {
        if lost.get(nth).copied().unwrap_or(false) {
            decimator.reset();
            detector.erase(packet.len() / factor as usize, &mut print);
            continue;
        }
        let mut narrow = Vec::with_capacity(160);
        decimator.push(packet, &mut |sample| narrow.push(sample));
        for block in narrow.chunks(20) {
            detector.hear(block, &mut print);
        }
    }
    out.flush()
}

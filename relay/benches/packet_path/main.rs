//! What a packet costs in the switchboard alone, without I/O: 1,000 calls at 50 packets a second
//! and a side, in virtual time.
//!
//! `cargo bench -p relay --bench packet_path` prints medians of five turns, each kind of call taken
//! in turn, and what a secure call costs of an open one once the kernel's part is counted. It fails
//! where that is more than the bar. With the name of a kind behind `--` it runs that one alone.

#[path = "../../tests/peer_leg/mod.rs"]
mod peer_leg;
mod scene;

use std::process::ExitCode;

use scene::{Kind, Scene};

/// Turns of each kind: the machine's noise hits all alike, and the median leaves it out.
const TURNS: usize = 5;

/// Rounds of packets in one turn: half a second of every call.
const ROUNDS: usize = 25;

/// What the kernel takes for one packet in and out through a socket, in nanoseconds: measured for
/// the same pattern without any switchboard, 7.0 to 7.4 us.
const KERNEL_NS: f64 = 7_000.0;

/// What a call in a secure session may cost of the same call open.
const MOST_OF_OPEN: f64 = 1.2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match Kind::ALL.into_iter().find(|kind| arguments.iter().any(|word| word == kind.name())) {
        Some(kind) => run_for_a_profiler(kind),
        None => compare(),
    }
}

/// Long enough for a profiler to see where the time goes, but not for a caller to be given up.
fn run_for_a_profiler(kind: Kind) -> ExitCode {
    println!("{:<28} {:>12.0} ns a packet", kind.name(), Scene::new(kind).run(16 * ROUNDS));
    ExitCode::SUCCESS
}

fn compare() -> ExitCode {
    let mut scenes = Kind::ALL.map(Scene::new);
    let mut turns = Kind::ALL.map(|_| Vec::new());
    for scene in &mut scenes {
        scene.run(ROUNDS);
    }
    for _ in 0..TURNS {
        for (scene, turns) in scenes.iter_mut().zip(&mut turns) {
            turns.push(scene.run(ROUNDS));
        }
    }
    println!("{:<28} {:>12}", "switchboard alone", "ns a packet");
    let medians = turns.map(median);
    for (kind, median) in Kind::ALL.into_iter().zip(medians) {
        println!("{:<28} {median:>12.0}", kind.name());
    }
    let of = |kind: Kind| medians[kind as usize];
    let secure = of(Kind::Secure);
    let mut is_cleared = true;
    for open in [Kind::Recorded, Kind::Plain] {
        let alone = secure / of(open);
        let whole = (secure + KERNEL_NS) / (of(open) + KERNEL_NS);
        is_cleared &= whole <= MOST_OF_OPEN;
        println!("secure / {:<19} {alone:>12.2}, with I/O {whole:.3}", open.name());
    }
    if is_cleared { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(mut turns: Vec<f64>) -> f64 {
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 2]
}

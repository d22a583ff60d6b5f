//! Comparison: ours and another program in turns, and the bars that ours has to clear.

use std::process::{Command, ExitCode};

use relay::wire::srtp::Suite;

use super::measurement::Measurement;

/// Turns of each: the machine's noise hits both alike, and the median leaves it out.
const TURNS: usize = 5;

/// What ours may cost of what the other costs.
const MOST_OF_THEIRS: f64 = 0.25;

/// The suites compared and what a packet may cost in nanoseconds, either way. SRTP is then less
/// than a twentieth of what the kernel takes for a packet, about 7 us.
const BARS: [(Suite, u64); 2] = [(Suite::AesCm128HmacSha1_80, 300), (Suite::AeadAes128Gcm, 150)];

/// Measures in turns, prints medians and ratios, and fails where a bar is missed.
pub(crate) fn run(peer: &str) -> ExitCode {
    let turns: Vec<(Vec<Measurement>, String)> = (0..TURNS)
        .map(|_| (BARS.map(|(suite, _)| Measurement::of(suite)).into(), output_of(peer)))
        .collect();
    println!(
        "{:<24} {:<10} {:>5} {:>7} {:>6}  ns a packet, medians of {TURNS}",
        "suite", "", "ours", "theirs", "ratio"
    );
    let mut is_cleared = true;
    for (place, (suite, bar)) in BARS.into_iter().enumerate() {
        let ours: Vec<&Measurement> = turns.iter().map(|(ours, _)| &ours[place]).collect();
        assert_same_work(suite, ours[0], &turns[0].1);
        let protect = ours.iter().map(|ours| ours.protect).collect();
        let unprotect = ours.iter().map(|ours| ours.unprotect).collect();
        for (direction, ours) in [("protect", protect), ("unprotect", unprotect)] {
            let theirs = turns.iter().map(|(_, theirs)| figure(theirs, suite, direction)).collect();
            is_cleared &= judge(suite, direction, bar, median(ours), median(theirs));
        }
        let allocations = ours.iter().map(|ours| ours.allocations).max();
        println!("{:<24} {} allocations", suite.name(), allocations.unwrap_or_default());
        is_cleared &= allocations == Some(0);
    }
    if is_cleared { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn judge(suite: Suite, direction: &str, bar: u64, ours: u64, theirs: u64) -> bool {
    let ratio = ours as f64 / theirs as f64;
    let is_cleared = ours <= bar && ratio <= MOST_OF_THEIRS;
    let verdict = if is_cleared { "" } else { "  MISSED" };
    let bars = format!("at most {bar} and {MOST_OF_THEIRS}");
    println!(
        "{:<24} {direction:<10} {ours:>5} {theirs:>7} {ratio:>6.3}  {bars}{verdict}",
        suite.name()
    );
    is_cleared
}

/// Both programs have one key and one packet, so they must put the same octets on the wire.
fn assert_same_work(suite: Suite, ours: &Measurement, theirs: &str) {
    assert_eq!(ours.wire, field(theirs, suite, "wire"), "{} on the wire", suite.name());
}

fn output_of(peer: &str) -> String {
    let output = Command::new(peer).output().expect("the other program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the other program prints ASCII")
}

fn figure(output: &str, suite: Suite, what: &str) -> u64 {
    field(output, suite, what).parse().expect("nanoseconds in whole digits")
}

/// The third word of the line that begins with the suite and `what`.
fn field<'a>(output: &'a str, suite: Suite, what: &str) -> &'a str {
    let lines = output.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = lines.into_iter().find(|words| words[..2] == [suite.name(), what]);
    found.expect("the other program measures each suite")[2]
}

fn median(mut figures: Vec<u64>) -> u64 {
    figures.sort_unstable();
    figures[TURNS / 2]
}

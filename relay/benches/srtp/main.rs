//! Nanoseconds a packet for each SRTP suite, on 20 ms of G.711 (172 octets).
//!
//! `cargo bench -p relay --bench srtp` measures ours alone; `relay/benches/peer/run` measures it in
//! turns with Debian's libsrtp2, and fails where a bar is missed.

mod comparison;
mod measurement;

use std::process::ExitCode;

use relay::wire::srtp::Suite;

use measurement::Measurement;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--peer") {
        Some(place) => {
            comparison::run(arguments.get(place + 1).expect("--peer takes the path of a program"))
        }
        None => {
            println!("{:<26} {:>8} {:>10}", "ns a packet, medians", "protect", "unprotect");
            for suite in Suite::ALL {
                let Measurement { protect, unprotect, .. } = Measurement::of(suite);
                println!("{:<26} {protect:>8} {unprotect:>10}", suite.name());
            }
            ExitCode::SUCCESS
        }
    }
}

//! Fuzz target: any datagram read as STUN; it is from nobody who does not know the password, and an
//! agent that reads it has no peer.
#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::switchboard::ice::{IceCredentials, IceLite};
use relay::wire::stun::{IcePassword, Message, mapped_address};

static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

fuzz_target!(|datagram: &[u8]| {
    let password = IcePassword::new("nobody guesses this one");
    if let Ok(message) = Message::parse(datagram) {
        assert!(!message.is_from(&password));
        let _ = mapped_address(&message);
    }
    let mut random = StdRng::seed_from_u64(1);
    let credentials = || IceCredentials { ufrag: "evtj".to_owned(), password: password.clone() };
    let mut agent = IceLite::new(credentials(), credentials(), &mut random);
    let from = SocketAddr::from(([192, 0, 2, 1], 9));
    assert!(agent.handle(*NOW, from, datagram, &mut random).is_none());
    assert!(agent.peer(*NOW).is_none() && agent.due().is_none());
});

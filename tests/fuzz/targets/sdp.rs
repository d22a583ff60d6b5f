//! Fuzz target: any octets as an SDP offer; whatever is agreed on can be answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::wire::sdp::{LocalMedia, MAX_OFFER_LEN, Offer, Policy};

fuzz_target!(|octets: &[u8]| {
    let Ok(offer) = Offer::parse(octets) else { return };
    let mut rng = StdRng::seed_from_u64(0);
    let Ok(agreement) = offer.agree(&Policy::default(), None, &mut rng) else { return };
    let port = |port| ([192, 0, 2, 1], port).into();
    let answer = agreement.answer(LocalMedia { rtp: port(10_000), rtcp: port(10_001) });
    assert!(answer.text().starts_with("v=0\r\n") && answer.text().len() <= MAX_OFFER_LEN);
    // The answer is an offer too, so it must be readable.
    assert!(Offer::parse(answer.text().as_bytes()).is_ok());
});

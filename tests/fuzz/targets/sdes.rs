//! Fuzz target: any text as the value of `a=crypto`; a key that is accepted is written as read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::wire::sdes::CryptoAttribute;

fuzz_target!(|value: &str| {
    let Ok(attribute) = CryptoAttribute::parse(value) else { return };
    let mut written = String::new();
    attribute.write(&mut written);
    let Ok(again) = CryptoAttribute::parse(&written) else { panic!("own text is refused") };
    assert!(again.tag == attribute.tag && again.key.same_as(&attribute.key));
});

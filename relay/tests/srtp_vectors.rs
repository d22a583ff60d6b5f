//! SRTP packets known from elsewhere: master key in, wire octets out (RFC 3711, RFC 7714).
//!
//! The vectors of the RFCs' appendices start from session keys; they stand beside the functions
//! that take those. Here are whole packets from the master key of RFC 3711 appendix B.3.

use relay::wire::srtp::{Inbound, MAX_OVERHEAD, MasterKey, Outbound, SrtpError, Suite};

const MASTER_KEY: &str = "e1f97a0d3e018be0d64fa32c06de4139";
const MASTER_SALT: &str = "0ec675ad498afeebb6960b3aabe6";

fn unhex(text: &str) -> Vec<u8> {
    let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(octet).collect()
}

fn key() -> MasterKey {
    let master = unhex(&[MASTER_KEY, MASTER_SALT].concat());
    MasterKey::from_bytes(Suite::AesCm128HmacSha1_80, &master).expect("30 octets")
}

/// The reference packet of libsrtp's own test driver.
#[test]
fn packet_of_the_reference_implementation() {
    let plain = unhex("800f1234decafbadcafebabeabababababababababababababababab");
    let protected =
        unhex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    let mut buffer = plain.clone();
    buffer.resize(plain.len() + MAX_OVERHEAD, 0);
    let len = Outbound::new(&key()).protect(&mut buffer, plain.len()).unwrap();
    assert_eq!(buffer[..len], protected);
    let mut inbound = Inbound::new(&key());
    let len = inbound.unprotect(&mut buffer[..len]).unwrap();
    assert_eq!(buffer[..len], plain);
    assert_eq!(inbound.unprotect(&mut protected.clone()), Err(SrtpError::Replayed));
}

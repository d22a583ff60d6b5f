//! Ids as REST writes them: a prefix and a UUIDv7 in hexadecimal, so that they sort by time.

use std::time::Duration;

use relay::switchboard::{CallId, SessionId};
use uuid::Uuid;

const CALL_PREFIX: &str = "call_";
const SESSION_PREFIX: &str = "sec_";
/// Hexadecimal digits of 128 bits.
const HEX_LEN: usize = 32;

/// A new call's id.
#[must_use]
pub fn new_call() -> CallId {
    CallId(Uuid::now_v7().as_u128())
}

/// A new secure session's id.
#[must_use]
pub fn new_session() -> SessionId {
    SessionId(Uuid::now_v7().as_u128())
}

/// A call's id as REST writes it.
#[must_use]
pub fn call(id: CallId) -> String {
    format!("{CALL_PREFIX}{:032x}", id.0)
}

/// When the id was made, since 1970; `None` if it holds no time (RFC 9562 section 5.7).
#[must_use]
pub fn time_of(id: CallId) -> Option<Duration> {
    let uuid = Uuid::from_u128(id.0);
    let is_timed = uuid.get_version_num() == 7;
    is_timed.then(|| Duration::from_millis((id.0 >> 80) as u64))
}

/// A secure session's id as REST writes it.
#[must_use]
pub fn session(id: SessionId) -> String {
    format!("{SESSION_PREFIX}{:032x}", id.0)
}

/// The call that `text` names, if it has the one form that ids have.
#[must_use]
pub fn parse_call(text: &str) -> Option<CallId> {
    parse_hex(text.strip_prefix(CALL_PREFIX)?).map(CallId)
}

/// 128 bits as every id writes them: 32 digits, letters in lower case.
#[must_use]
pub fn parse_hex(hex: &str) -> Option<u128> {
    let lower = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex.len() != HEX_LEN || !lower {
        return None;
    }
    u128::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{call, new_call, parse_call};

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = new_call();
        assert_eq!(parse_call(&call(id)), Some(id));
    }

    #[test]
    fn nothing_else_is_an_id() {
        let good = call(new_call());
        let upper = good.to_uppercase();
        let longer = format!("{good}0");
        let plus = good.replacen(|c: char| c.is_ascii_digit(), "+", 1);
        for bad in ["", "call_", "call_1", &good[5..], &upper, &longer, &plus] {
            assert_eq!(parse_call(bad), None, "{bad}");
        }
    }
}

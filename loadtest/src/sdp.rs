//! SDP: what a synthetic party offers, and what it needs of an answer (RFC 8866).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use relay::wire::sdes::{self, CryptoAttribute};

/// Payload type of PCMU (RFC 3551 table 4).
pub const PCMU: u8 = 0;
/// Payload type that the parties give to telephone-event.
pub const TELEPHONE_EVENT: u8 = 101;

/// A description of one party that receives at `address`: PCMU and telephone-event, over SRTP if
/// it has a key (RFC 4568).
#[must_use]
pub fn offer(address: SocketAddr, key: Option<&CryptoAttribute>) -> String {
    let (ip, port) = (address.ip(), address.port());
    let family = match ip {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    };
    let profile = if key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} {profile} {PCMU} {TELEPHONE_EVENT}\r\na=rtpmap:{PCMU} PCMU/8000\r\n\
         a=rtpmap:{TELEPHONE_EVENT} telephone-event/8000\r\na=fmtp:{TELEPHONE_EVENT} 0-15\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    );
    if let Some(key) = key {
        sdp.push_str("a=crypto:");
        key.write(&mut sdp);
        let _ = write!(sdp, "\r\n");
    }
    sdp
}

/// Where the first audio stream of a description is to be sent.
#[must_use]
pub fn media_address(sdp: &str) -> Option<SocketAddr> {
    let line = |start: &str| sdp.lines().find_map(|line| line.strip_prefix(start));
    let ip = line("c=IN IP4 ").or_else(|| line("c=IN IP6 "))?.trim().parse().ok()?;
    let port = line("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// The key of a description's sender, if it has one that is spoken here.
#[must_use]
pub fn key(sdp: &str) -> Option<CryptoAttribute> {
    let lines = sdp.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    lines.take(sdes::MAX_LINES).find_map(|line| CryptoAttribute::parse(line).ok())
}

#[cfg(test)]
mod tests {
    use relay::wire::srtp::{MasterKey, Suite};

    use super::*;

    #[test]
    fn an_offer_is_read_back() {
        let address = "192.0.2.1:40000".parse().unwrap();
        assert_eq!(media_address(&offer(address, None)), Some(address));
        assert!(key(&offer(address, None)).is_none());
    }

    #[test]
    fn an_offer_with_a_key_is_of_srtp() {
        let suite = Suite::AesCm128HmacSha1_80;
        let octets = vec![7; suite.master_len()];
        let crypto =
            CryptoAttribute { tag: 1, key: MasterKey::from_bytes(suite, &octets).unwrap() };
        let sdp = offer("[2001:db8::1]:40000".parse().unwrap(), Some(&crypto));
        assert!(sdp.contains("RTP/SAVP"));
        assert_eq!(media_address(&sdp), Some("[2001:db8::1]:40000".parse().unwrap()));
        assert!(key(&sdp).unwrap().key.same_as(&crypto.key));
    }
}

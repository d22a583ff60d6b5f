//! SRTP context: one direction of a session, its keys and the indices they have served.

use super::SrtpError;
use super::cipher::{Cipher, PacketId};
use super::key::MasterKey;
use super::replay::{ReplayWindow, Sources};
use super::suite::E_BIT;
use crate::wire::rtp::Header;

/// Protects what we send.
pub struct Outbound {
    rtp: Cipher,
    rtcp: Cipher,
    sources: Sources,
    /// The index the next RTCP packet gets, whoever sends it: 2^31 is one past the last.
    next_rtcp_index: u32,
}

impl Outbound {
    /// A session's start: derives the session keys; nothing has been sent yet.
    #[must_use]
    pub fn new(key: &MasterKey) -> Self {
        Self {
            rtp: Cipher::rtp(key),
            rtcp: Cipher::rtcp(key),
            sources: Sources::default(),
            next_rtcp_index: 0,
        }
    }

    /// Protects the RTP packet in `buffer[..len]` in place and gives its new length.
    ///
    /// The room needed is [`Suite::rtp_overhead`](super::Suite::rtp_overhead). An index is used
    /// once: a sequence number sent before is [`SrtpError::Replayed`], since two packets under one
    /// index would give both away (RFC 3711 section 9.1).
    pub fn protect(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buffer.get(..len).ok_or(SrtpError::TooShort)?;
        let (header, header_len) = Header::parse(packet).map_err(|_| SrtpError::Malformed)?;
        let id = identify(&header, &self.sources.window(header.ssrc)?)?;
        let protected_len = self.rtp.seal_rtp(buffer, header_len, len, id)?;
        self.sources.mark(id.ssrc, id.index);
        Ok(protected_len)
    }

    /// Protects the compound RTCP packet in `buffer[..len]` in place and gives its new length.
    ///
    /// The room needed is [`Suite::rtcp_overhead`](super::Suite::rtcp_overhead).
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buffer.get(..len).ok_or(SrtpError::TooShort)?;
        let ssrc = rtcp_sender(packet)?;
        if self.next_rtcp_index >= E_BIT {
            return Err(SrtpError::Exhausted);
        }
        let id = PacketId { ssrc, index: u64::from(self.next_rtcp_index) };
        let protected_len = self.rtcp.seal_rtcp(buffer, len, id)?;
        self.next_rtcp_index += 1;
        Ok(protected_len)
    }
}

/// Unprotects what the peer sends.
///
/// An error says something about one packet, which anyone may have sent: count it, and go on.
/// After an error the packet's octets are not to be used.
pub struct Inbound {
    rtp: Cipher,
    rtcp: Cipher,
    sources: Sources,
    rtcp_sources: Sources,
}

impl Inbound {
    /// A session's start: derives the session keys; nothing has been heard yet.
    #[must_use]
    pub fn new(key: &MasterKey) -> Self {
        Self {
            rtp: Cipher::rtp(key),
            rtcp: Cipher::rtcp(key),
            sources: Sources::default(),
            rtcp_sources: Sources::default(),
        }
    }

    /// Unprotects an RTP packet in place and gives the length of what is then in clear.
    pub fn unprotect(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let (header, header_len) = Header::parse(packet).map_err(|_| SrtpError::Malformed)?;
        let id = identify(&header, &self.sources.window(header.ssrc)?)?;
        let len = self.rtp.open_rtp(packet, header_len, id)?;
        self.sources.mark(id.ssrc, id.index);
        Ok(len)
    }

    /// Unprotects a compound RTCP packet in place and gives the length of what is then in clear.
    ///
    /// The first SSRC stands for the compound; a packet not encrypted is refused.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_sender(packet)?;
        let index = self.rtcp.rtcp_index(packet)?;
        self.rtcp_sources.window(ssrc)?.check(index)?;
        let len = self.rtcp.open_rtcp(packet, PacketId { ssrc, index })?;
        self.rtcp_sources.mark(ssrc, index);
        Ok(len)
    }
}

/// The index of an RTP packet, if it is still free.
fn identify(header: &Header, window: &ReplayWindow) -> Result<PacketId, SrtpError> {
    let index = window.estimate(header.sequence)?;
    window.check(index)?;
    Ok(PacketId { ssrc: header.ssrc, index })
}

/// The SSRC of the first packet of a compound.
fn rtcp_sender(packet: &[u8]) -> Result<u32, SrtpError> {
    let [first, _, _, _, s0, s1, s2, s3] = *packet.first_chunk().ok_or(SrtpError::TooShort)?;
    if first >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    Ok(u32::from_be_bytes([s0, s1, s2, s3]))
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_OVERHEAD, MAX_SOURCES, Suite};
    use super::*;

    const SSRC: u32 = 0xcafe_babe;

    fn key(suite: Suite) -> MasterKey {
        let octets: Vec<u8> = (1..).take(suite.master_len()).collect();
        MasterKey::from_bytes(suite, &octets).unwrap()
    }

    fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
        let mut packet = vec![0; 12];
        let header = Header { marker: false, payload_type: 0, sequence, timestamp: 160, ssrc };
        header.write((&mut packet[..]).try_into().unwrap());
        packet.extend([0xd5; 20]);
        packet
    }

    fn rtcp(ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 201, 0, 1];
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0x81, 203, 0, 1]);
        packet.extend(ssrc.to_be_bytes());
        packet
    }

    fn protected(outbound: &mut Outbound, plain: &[u8]) -> Vec<u8> {
        let mut buffer = plain.to_vec();
        buffer.resize(plain.len() + MAX_OVERHEAD, 0);
        let len = outbound.protect(&mut buffer, plain.len()).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn protected_rtcp(outbound: &mut Outbound, plain: &[u8]) -> Vec<u8> {
        let mut buffer = plain.to_vec();
        buffer.resize(plain.len() + MAX_OVERHEAD, 0);
        let len = outbound.protect_rtcp(&mut buffer, plain.len()).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn state(inbound: &Inbound) -> (Sources, Sources) {
        (inbound.sources.clone(), inbound.rtcp_sources.clone())
    }

    #[test]
    fn every_flipped_bit_and_cut_leaves_the_state_alone() {
        for suite in Suite::ALL {
            let mut outbound = Outbound::new(&key(suite));
            let mut inbound = Inbound::new(&key(suite));
            let mut first = protected(&mut outbound, &rtp(SSRC, 100));
            inbound.unprotect(&mut first).unwrap();
            let packet = protected(&mut outbound, &rtp(SSRC, 101));
            let before = state(&inbound);
            for bit in 0..8 * packet.len() {
                let mut forged = packet.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(inbound.unprotect(&mut forged).is_err(), "{suite:?} bit {bit}");
                assert!(state(&inbound) == before, "{suite:?} bit {bit}");
            }
            for len in 0..packet.len() {
                assert!(inbound.unprotect(&mut packet.clone()[..len]).is_err());
                assert!(state(&inbound) == before, "{suite:?} {len} octets");
            }
            let len = inbound.unprotect(&mut packet.clone()).unwrap();
            assert_eq!(len, rtp(SSRC, 101).len(), "control: the packet itself is good");
            assert!(state(&inbound) != before, "control: and changes the state");
        }
    }

    #[test]
    fn every_flipped_bit_and_cut_of_rtcp_leaves_the_state_alone() {
        for suite in Suite::ALL {
            let mut outbound = Outbound::new(&key(suite));
            let mut inbound = Inbound::new(&key(suite));
            let packet = protected_rtcp(&mut outbound, &rtcp(SSRC));
            let before = state(&inbound);
            for bit in 0..8 * packet.len() {
                let mut forged = packet.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(inbound.unprotect_rtcp(&mut forged).is_err(), "{suite:?} bit {bit}");
                assert!(state(&inbound) == before, "{suite:?} bit {bit}");
            }
            for len in 0..packet.len() {
                assert!(inbound.unprotect_rtcp(&mut packet.clone()[..len]).is_err());
                assert!(state(&inbound) == before, "{suite:?} {len} octets");
            }
            assert_eq!(inbound.unprotect_rtcp(&mut packet.clone()), Ok(rtcp(SSRC).len()));
            assert!(state(&inbound) != before);
        }
    }

    /// The answer comes before the tag is looked at, so no tag can make such a packet welcome.
    #[test]
    fn rtcp_that_is_not_encrypted_is_refused() {
        for suite in Suite::ALL {
            let mut outbound = Outbound::new(&key(suite));
            let mut inbound = Inbound::new(&key(suite));
            let mut packet = protected_rtcp(&mut outbound, &rtcp(SSRC));
            let word_at = rtcp(SSRC).len()
                + match suite {
                    Suite::AeadAes256Gcm | Suite::AeadAes128Gcm => 16,
                    Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 0,
                };
            packet[word_at] &= 0x7f;
            assert_eq!(inbound.unprotect_rtcp(&mut packet), Err(SrtpError::Unencrypted));
        }
    }

    #[test]
    fn replays_are_refused() {
        for suite in Suite::ALL {
            let mut outbound = Outbound::new(&key(suite));
            let mut inbound = Inbound::new(&key(suite));
            let packet = protected(&mut outbound, &rtp(SSRC, 65_535));
            let report = protected_rtcp(&mut outbound, &rtcp(SSRC));
            assert!(inbound.unprotect(&mut packet.clone()).is_ok());
            assert!(inbound.unprotect_rtcp(&mut report.clone()).is_ok());
            for _ in 0..5 {
                assert_eq!(inbound.unprotect(&mut packet.clone()), Err(SrtpError::Replayed));
                assert_eq!(inbound.unprotect_rtcp(&mut report.clone()), Err(SrtpError::Replayed));
            }
        }
    }

    #[test]
    fn an_index_is_sent_once() {
        let mut outbound = Outbound::new(&key(Suite::AeadAes128Gcm));
        protected(&mut outbound, &rtp(SSRC, 9));
        let mut buffer = rtp(SSRC, 9);
        let len = buffer.len();
        buffer.resize(len + MAX_OVERHEAD, 0);
        assert_eq!(outbound.protect(&mut buffer, len), Err(SrtpError::Replayed));
        assert_eq!(buffer[..len], rtp(SSRC, 9), "a refused packet is left in clear");
    }

    #[test]
    fn room_is_asked_for_before_anything_changes() {
        for suite in Suite::ALL {
            let mut outbound = Outbound::new(&key(suite));
            for (plain, overhead, is_rtcp) in [
                (rtp(SSRC, 1), suite.rtp_overhead(), false),
                (rtcp(SSRC), suite.rtcp_overhead(), true),
            ] {
                for room in 0..=overhead {
                    let mut buffer = plain.clone();
                    buffer.resize(plain.len() + room, 0);
                    let result = if is_rtcp {
                        outbound.protect_rtcp(&mut buffer, plain.len())
                    } else {
                        outbound.protect(&mut buffer, plain.len())
                    };
                    if room < overhead {
                        assert_eq!(result, Err(SrtpError::TooShort), "{suite:?} {room}");
                        assert_eq!(buffer[..plain.len()], plain);
                    } else {
                        assert_eq!(result, Ok(plain.len() + overhead), "{suite:?}");
                    }
                }
                assert_eq!(
                    outbound.protect(&mut plain.clone(), plain.len() + 1),
                    Err(SrtpError::TooShort)
                );
            }
        }
    }

    #[test]
    fn sources_are_bounded_both_ways() {
        let suite = Suite::AesCm128HmacSha1_80;
        let mut inbound = Inbound::new(&key(suite));
        let mut outbound = Outbound::new(&key(suite));
        for ssrc in 0..MAX_SOURCES as u32 {
            let mut packet = protected(&mut outbound, &rtp(ssrc, 1));
            assert!(inbound.unprotect(&mut packet).is_ok());
        }
        let mut buffer = [rtp(99, 1), vec![0; MAX_OVERHEAD]].concat();
        assert_eq!(outbound.protect(&mut buffer, 32), Err(SrtpError::TooManySources));
        let mut other = Outbound::new(&key(suite));
        let mut packet = protected(&mut other, &rtp(99, 1));
        assert_eq!(inbound.unprotect(&mut packet), Err(SrtpError::TooManySources));
        let mut packet = protected(&mut outbound, &rtp(0, 2));
        assert!(inbound.unprotect(&mut packet).is_ok(), "known sources go on");
    }

    #[test]
    fn indices_end_where_the_key_does() {
        let suite = Suite::AeadAes256Gcm;
        let mut outbound = Outbound::new(&key(suite));
        let mut inbound = Inbound::new(&key(suite));
        outbound.sources.mark(SSRC, (1 << 48) - 2);
        inbound.sources.mark(SSRC, (1 << 48) - 2);
        let mut last = protected(&mut outbound, &rtp(SSRC, 65_535));
        let mut buffer = [rtp(SSRC, 0), vec![0; MAX_OVERHEAD]].concat();
        assert_eq!(outbound.protect(&mut buffer, 32), Err(SrtpError::Exhausted));
        assert!(inbound.unprotect(&mut last).is_ok());
        assert_eq!(inbound.unprotect(&mut buffer), Err(SrtpError::Exhausted));

        outbound.next_rtcp_index = E_BIT - 1;
        let mut last = protected_rtcp(&mut outbound, &rtcp(SSRC));
        let mut buffer = [rtcp(SSRC), vec![0; MAX_OVERHEAD]].concat();
        assert_eq!(outbound.protect_rtcp(&mut buffer, 16), Err(SrtpError::Exhausted));
        assert!(inbound.unprotect_rtcp(&mut last).is_ok());
        let mut fresh = Outbound::new(&key(suite));
        let mut early = protected_rtcp(&mut fresh, &rtcp(SSRC));
        assert_eq!(inbound.unprotect_rtcp(&mut early), Err(SrtpError::Replayed));
    }

    /// One key, four sources, rollovers: the payload is constant, so equal ciphertexts would be
    /// equal key streams.
    #[test]
    fn no_two_packets_share_a_key_stream() {
        for suite in Suite::ALL {
            let mut outbound = Outbound::new(&key(suite));
            let mut seen = std::collections::BTreeSet::new();
            for ssrc in 0..4 {
                for step in 0..12_u16 {
                    let sequence = step.wrapping_mul(0x4000);
                    let packet = protected(&mut outbound, &rtp(ssrc, sequence));
                    assert!(seen.insert(packet[12..32].to_vec()), "{suite:?} {ssrc} {step}");
                }
                let report = protected_rtcp(&mut outbound, &rtcp(7));
                assert!(seen.insert(report[8..16].to_vec()), "{suite:?} report {ssrc}");
            }
        }
    }

    #[test]
    fn headers_that_are_not_rtp_are_refused() {
        let mut inbound = Inbound::new(&key(Suite::AesCm128HmacSha1_80));
        let mut outbound = Outbound::new(&key(Suite::AesCm128HmacSha1_80));
        let flood = [0x80, 0, 0x70, 0x28, 9, 0xcd, 0x2d, 0x15, 0xfd, 0x3e, 0x5c, 0x86, 0x41];
        assert_eq!(inbound.unprotect(&mut flood.clone()), Err(SrtpError::TooShort));
        assert_eq!(inbound.unprotect(&mut [0; 64]), Err(SrtpError::Malformed));
        assert_eq!(inbound.unprotect(&mut []), Err(SrtpError::Malformed));
        assert_eq!(inbound.unprotect_rtcp(&mut [0; 64]), Err(SrtpError::Malformed));
        assert_eq!(inbound.unprotect_rtcp(&mut [0x80; 7]), Err(SrtpError::TooShort));
        assert_eq!(outbound.protect(&mut [0; 64], 32), Err(SrtpError::Malformed));
        assert_eq!(outbound.protect_rtcp(&mut [0x80; 64], 4), Err(SrtpError::TooShort));
    }
}

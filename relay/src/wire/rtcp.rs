//! RTCP compound packet: read without allocation, our own reports written (RFC 3550 section 6).
//!
//! ```text
//! |V=2|P| count   |  packet type  |  length of what follows, words |
//! ```
//!
//! [`Compound::parse`] checks every packet of a datagram; what it hands out afterwards is known to
//! be whole. Extended reports and feedback are given as [`RtcpPacket::Unknown`]: their inner
//! blocks are never walked.

use thiserror::Error;

use super::ntp::{NtpShort, NtpTime};

/// Most packets taken from one datagram: a report, a description, a goodbye and some room.
pub const MAX_PACKETS: usize = 16;

/// Most report blocks one report carries: its count has five bits.
pub const MAX_REPORTS: usize = 31;

/// Longest canonical name: its length has eight bits (RFC 3550 section 6.5.1).
pub const MAX_CNAME: usize = 255;

const COMMON_HEADER_LEN: usize = 4;
const SENDER_INFO_LEN: usize = 20;
const REPORT_BLOCK_LEN: usize = 24;

/// Packet types of RFC 3550 section 12.1.
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const GOODBYE: u8 = 203;
    pub(super) const APPLICATION: u8 = 204;
}

/// Item types of a source description (RFC 3550 section 12.2).
mod item_type {
    pub(super) const END: u8 = 0;
    pub(super) const CNAME: u8 = 1;
}

/// Why a datagram is not a compound RTCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MalformedRtcp {
    /// A packet is cut short, or its length runs past the datagram.
    #[error("RTCP packet runs past the datagram")]
    Length,
    /// A version field is not 2.
    #[error("not RTCP version 2")]
    Version,
    /// Padding elsewhere than in the last packet, or of an impossible size.
    #[error("RTCP padding does not fit")]
    Padding,
    /// A count or an inner length says more than the packet holds.
    #[error("RTCP packet holds less than it says")]
    Body,
    /// More than [`MAX_PACKETS`] packets.
    #[error("too many RTCP packets in one datagram")]
    TooMany,
}

/// The caller's buffer is too small, or there are too many blocks or too long a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no room for the RTCP report")]
pub struct NoRoom;

/// A datagram whose every packet has been checked; iterates over the packets.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks a whole datagram. Reduced-size RTCP (RFC 5506) is accepted: any packet may be first.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, MalformedRtcp> {
        let mut rest = datagram;
        for _ in 0..MAX_PACKETS {
            (_, rest) = split_packet(rest)?;
            if rest.is_empty() {
                return Ok(Self { rest: datagram });
            }
        }
        Err(MalformedRtcp::TooMany)
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (packet, rest) = split_packet(self.rest).ok()?;
        self.rest = rest;
        Some(packet)
    }
}

/// One RTCP packet.
#[derive(Clone, Debug)]
pub enum RtcpPacket<'a> {
    /// SR: what its sender has sent, and how it hears others.
    SenderReport {
        /// Who reports, and how much it sent.
        sender: SenderReport,
        /// How it hears each of its sources.
        reports: ReportBlocks<'a>,
    },
    /// RR: how a mere receiver hears others.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// How it hears each of its sources.
        reports: ReportBlocks<'a>,
    },
    /// SDES: names of sources.
    SourceDescription(Descriptions<'a>),
    /// BYE: sources that leave. Advice only; on plain RTP anyone can say it.
    Goodbye {
        /// Who leaves.
        sources: Sources<'a>,
        /// Why, in the peer's words: not to be shown or logged unescaped. Empty if not given.
        reason: &'a [u8],
    },
    /// APP: application-defined.
    Application {
        /// Who sends it.
        ssrc: u32,
        /// Meaning left to the application.
        subtype: u8,
        /// Four ASCII characters.
        name: [u8; 4],
        /// Meaning left to the application.
        data: &'a [u8],
    },
    /// Any other type: extended reports, feedback, whatever comes next.
    Unknown {
        /// The type as sent.
        packet_type: u8,
        /// What follows the common header, unchecked.
        body: &'a [u8],
    },
}

/// The sender information of an SR (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Who reports.
    pub ssrc: u32,
    /// Wall-clock instant of this report.
    pub ntp_time: NtpTime,
    /// The same instant in ticks of the media clock.
    pub rtp_timestamp: u32,
    /// RTP packets sent since the start, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent since the start, modulo 2^32.
    pub octets: u32,
}

/// How one source is heard (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: u32,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start; negative when duplicates arrive. 24 bits on the wire.
    pub cumulative_lost: i32,
    /// Highest sequence number heard, with the count of its wraps above it.
    pub highest_sequence: u32,
    /// Interarrival jitter in ticks of the media clock.
    pub jitter: u32,
    /// Middle of the NTP time of the last SR heard from that source; zero if none.
    pub last_sender_report: NtpShort,
    /// Time since that SR was heard; zero if none.
    pub delay: NtpShort,
}

impl ReportBlock {
    fn read(block: &[u8; REPORT_BLOCK_LEN]) -> Self {
        let [s0, s1, s2, s3, fraction_lost, l0, l1, l2, rest @ ..] = *block;
        let [h0, h1, h2, h3, j0, j1, j2, j3, r0, r1, r2, r3, d0, d1, d2, d3] = rest;
        Self {
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
            fraction_lost,
            // Shifting the 24 bits up and down again carries their sign.
            cumulative_lost: i32::from_be_bytes([l0, l1, l2, 0]) >> 8,
            highest_sequence: u32::from_be_bytes([h0, h1, h2, h3]),
            jitter: u32::from_be_bytes([j0, j1, j2, j3]),
            last_sender_report: NtpShort(u32::from_be_bytes([r0, r1, r2, r3])),
            delay: NtpShort(u32::from_be_bytes([d0, d1, d2, d3])),
        }
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff);
        let [_, l0, l1, l2] = lost.to_be_bytes();
        writer.put_word(self.ssrc)?;
        writer.put(&[self.fraction_lost, l0, l1, l2])?;
        writer.put_word(self.highest_sequence)?;
        writer.put_word(self.jitter)?;
        writer.put_word(self.last_sender_report.0)?;
        writer.put_word(self.delay.0)
    }
}

/// The report blocks of one report.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a>(std::slice::Iter<'a, [u8; REPORT_BLOCK_LEN]>);

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(ReportBlock::read)
    }
}

/// The sources named by a goodbye.
#[derive(Clone, Debug)]
pub struct Sources<'a>(std::slice::Iter<'a, [u8; 4]>);

impl Iterator for Sources<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|ssrc| u32::from_be_bytes(*ssrc))
    }
}

/// One source and the name it goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description<'a> {
    /// The source.
    pub ssrc: u32,
    /// Its canonical name, if the chunk has one: the peer's words, not to be logged unescaped.
    pub cname: Option<&'a [u8]>,
}

/// The chunks of a source description.
#[derive(Clone, Debug)]
pub struct Descriptions<'a> {
    left: u8,
    rest: &'a [u8],
}

impl<'a> Iterator for Descriptions<'a> {
    type Item = Description<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (description, rest) = split_chunk(self.rest)?;
        self.rest = rest;
        Some(description)
    }
}

/// Writes SR and SDES into `buffer` and returns their length.
pub fn write_sender_report(
    buffer: &mut [u8],
    sender: &SenderReport,
    reports: &[ReportBlock],
    cname: &[u8],
) -> Result<usize, NoRoom> {
    let mut writer = Writer { buffer, len: 0 };
    let words = 6 + report_words(reports)?;
    writer.put_common_header(reports.len(), packet_type::SENDER_REPORT, words)?;
    writer.put_word(sender.ssrc)?;
    writer.put(&sender.ntp_time.0.to_be_bytes())?;
    writer.put_word(sender.rtp_timestamp)?;
    writer.put_word(sender.packets)?;
    writer.put_word(sender.octets)?;
    reports.iter().try_for_each(|report| report.write(&mut writer))?;
    write_cname(&mut writer, sender.ssrc, cname)
}

/// Writes RR and SDES into `buffer` and returns their length.
pub fn write_receiver_report(
    buffer: &mut [u8],
    ssrc: u32,
    reports: &[ReportBlock],
    cname: &[u8],
) -> Result<usize, NoRoom> {
    let mut writer = Writer { buffer, len: 0 };
    let words = 1 + report_words(reports)?;
    writer.put_common_header(reports.len(), packet_type::RECEIVER_REPORT, words)?;
    writer.put_word(ssrc)?;
    reports.iter().try_for_each(|report| report.write(&mut writer))?;
    write_cname(&mut writer, ssrc, cname)
}

/// Takes one checked packet off the front of a datagram.
fn split_packet(datagram: &[u8]) -> Result<(RtcpPacket<'_>, &[u8]), MalformedRtcp> {
    let [first, packet_type, w0, w1] = *datagram.first_chunk().ok_or(MalformedRtcp::Length)?;
    if first >> 6 != 2 {
        return Err(MalformedRtcp::Version);
    }
    let len = COMMON_HEADER_LEN + 4 * usize::from(u16::from_be_bytes([w0, w1]));
    let (packet, rest) = datagram.split_at_checked(len).ok_or(MalformedRtcp::Length)?;
    let mut body = packet.get(COMMON_HEADER_LEN..).ok_or(MalformedRtcp::Length)?;
    if first & 0x20 != 0 {
        body = without_padding(body, rest)?;
    }
    let packet = read_body(first & 0x1f, packet_type, body).ok_or(MalformedRtcp::Body)?;
    Ok((packet, rest))
}

/// Only the last packet may be padded, by a whole number of words (RFC 3550 section 6.4.1).
fn without_padding<'a>(body: &'a [u8], rest: &[u8]) -> Result<&'a [u8], MalformedRtcp> {
    let count = usize::from(*body.last().ok_or(MalformedRtcp::Padding)?);
    if !rest.is_empty() || count == 0 || count % 4 != 0 {
        return Err(MalformedRtcp::Padding);
    }
    let len = body.len().checked_sub(count).ok_or(MalformedRtcp::Padding)?;
    body.get(..len).ok_or(MalformedRtcp::Padding)
}

/// `None` where the body holds less than the count or an inner length says.
fn read_body(count: u8, packet_type: u8, body: &[u8]) -> Option<RtcpPacket<'_>> {
    Some(match packet_type {
        packet_type::SENDER_REPORT => {
            let (ssrc, body) = split_word(body)?;
            let (info, body): (&[u8; SENDER_INFO_LEN], _) = body.split_first_chunk()?;
            let sender = read_sender_info(ssrc, info);
            RtcpPacket::SenderReport { sender, reports: read_reports(count, body)? }
        }
        packet_type::RECEIVER_REPORT => {
            let (ssrc, body) = split_word(body)?;
            RtcpPacket::ReceiverReport { ssrc, reports: read_reports(count, body)? }
        }
        packet_type::SOURCE_DESCRIPTION => {
            let mut rest = body;
            for _ in 0..count {
                (_, rest) = split_chunk(rest)?;
            }
            RtcpPacket::SourceDescription(Descriptions { left: count, rest: body })
        }
        packet_type::GOODBYE => {
            let (sources, reason) = body.split_at_checked(4 * usize::from(count))?;
            let reason = match reason.split_first() {
                Some((&len, text)) => text.get(..usize::from(len))?,
                None => &[],
            };
            RtcpPacket::Goodbye { sources: Sources(sources.as_chunks().0.iter()), reason }
        }
        packet_type::APPLICATION => {
            let (ssrc, body) = split_word(body)?;
            let (name, data) = body.split_first_chunk()?;
            RtcpPacket::Application { ssrc, subtype: count, name: *name, data }
        }
        _ => RtcpPacket::Unknown { packet_type, body },
    })
}

fn read_sender_info(ssrc: u32, info: &[u8; SENDER_INFO_LEN]) -> SenderReport {
    let [n0, n1, n2, n3, n4, n5, n6, n7, t0, t1, t2, t3, p0, p1, p2, p3, o0, o1, o2, o3] = *info;
    SenderReport {
        ssrc,
        ntp_time: NtpTime(u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7])),
        rtp_timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        packets: u32::from_be_bytes([p0, p1, p2, p3]),
        octets: u32::from_be_bytes([o0, o1, o2, o3]),
    }
}

/// What follows the counted blocks is a profile's extension and is left alone.
fn read_reports(count: u8, body: &[u8]) -> Option<ReportBlocks<'_>> {
    let blocks = body.as_chunks().0.get(..usize::from(count))?;
    Some(ReportBlocks(blocks.iter()))
}

/// Takes one chunk of a source description off the front: an SSRC, items, a null, and nulls up to
/// the next word. Each turn of the loop consumes an item, so it ends with the chunk.
fn split_chunk(chunks: &[u8]) -> Option<(Description<'_>, &[u8])> {
    let (ssrc, mut items) = split_word(chunks)?;
    let items_len = items.len();
    let mut cname = None;
    loop {
        let (&item, rest) = items.split_first()?;
        if item == item_type::END {
            // The null just taken is part of the padding to a word.
            let taken = (items_len - rest.len()).next_multiple_of(4);
            let (_, items) = split_word(chunks)?;
            return Some((Description { ssrc, cname }, items.get(taken..)?));
        }
        let (&len, rest) = rest.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(len))?;
        if item == item_type::CNAME {
            cname = cname.or(Some(text));
        }
        items = rest;
    }
}

fn split_word(body: &[u8]) -> Option<(u32, &[u8])> {
    body.split_first_chunk().map(|(word, rest)| (u32::from_be_bytes(*word), rest))
}

fn report_words(reports: &[ReportBlock]) -> Result<usize, NoRoom> {
    if reports.len() > MAX_REPORTS {
        return Err(NoRoom);
    }
    Ok(reports.len() * REPORT_BLOCK_LEN / 4)
}

/// Adds an SDES with one chunk and its canonical name, and returns the length of it all.
fn write_cname(writer: &mut Writer<'_>, ssrc: u32, cname: &[u8]) -> Result<usize, NoRoom> {
    let cname_len = u8::try_from(cname.len()).map_err(|_| NoRoom)?;
    // SSRC, item type, item length, the name, and at least one null.
    let chunk_len = (4 + 2 + cname.len() + 1).next_multiple_of(4);
    writer.put_common_header(1, packet_type::SOURCE_DESCRIPTION, chunk_len / 4)?;
    let chunk_end = writer.len + chunk_len;
    writer.put_word(ssrc)?;
    writer.put(&[item_type::CNAME, cname_len])?;
    writer.put(cname)?;
    writer.put([0; 4].get(..chunk_end - writer.len).ok_or(NoRoom)?)?;
    debug_assert_eq!(writer.len % 4, 0, "RTCP is made of words");
    Ok(writer.len)
}

/// A cursor over the caller's buffer.
struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put_common_header(
        &mut self,
        count: usize,
        packet_type: u8,
        words: usize,
    ) -> Result<(), NoRoom> {
        let count = u8::try_from(count).map_err(|_| NoRoom)?;
        let words = u16::try_from(words).map_err(|_| NoRoom)?;
        self.put(&[0x80 | count, packet_type])?;
        self.put(&words.to_be_bytes())
    }

    fn put_word(&mut self, word: u32) -> Result<(), NoRoom> {
        self.put(&word.to_be_bytes())
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), NoRoom> {
        let end = self.len + octets.len();
        self.buffer.get_mut(self.len..end).ok_or(NoRoom)?.copy_from_slice(octets);
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: SenderReport = SenderReport {
        ssrc: 0x1122_3344,
        ntp_time: NtpTime(0x83aa_7e80_8000_0000),
        rtp_timestamp: 160,
        packets: 2,
        octets: 320,
    };

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 0xcafe_babe,
        fraction_lost: 25,
        cumulative_lost: -3,
        highest_sequence: 0x0001_fffe,
        jitter: 17,
        last_sender_report: NtpShort(0x7e80_8000),
        delay: NtpShort(0x8000),
    };

    fn error(datagram: &[u8]) -> Option<MalformedRtcp> {
        Compound::parse(datagram).err()
    }

    #[test]
    fn sender_report_is_read_back() {
        let mut buffer = [0; 128];
        let len = write_sender_report(&mut buffer, &SENDER, &[BLOCK], b"sotto").unwrap();
        let packets: Vec<_> = Compound::parse(&buffer[..len]).unwrap().collect();
        let [
            RtcpPacket::SenderReport { sender, reports },
            RtcpPacket::SourceDescription(descriptions),
        ] = &packets[..]
        else {
            panic!("SR and SDES expected");
        };
        assert_eq!(*sender, SENDER);
        assert_eq!(reports.clone().collect::<Vec<_>>(), [BLOCK]);
        let names: Vec<_> = descriptions.clone().collect();
        assert_eq!(names, [Description { ssrc: SENDER.ssrc, cname: Some(b"sotto") }]);
    }

    #[test]
    fn receiver_report_fits_exactly_or_not_at_all() {
        let mut buffer = [0; 128];
        for name_len in 0..9 {
            let cname = &b"abcdefghi"[..name_len];
            let len = write_receiver_report(&mut buffer, 7, &[BLOCK, BLOCK], cname).unwrap();
            assert_eq!(len % 4, 0);
            assert_eq!(Compound::parse(&buffer[..len]).unwrap().count(), 2);
            for short in 0..len {
                let mut small = vec![0; short];
                let result = write_receiver_report(&mut small, 7, &[BLOCK, BLOCK], cname);
                assert_eq!(result, Err(NoRoom), "{short} of {len}");
            }
        }
    }

    #[test]
    fn limits_of_the_report_are_kept() {
        let mut buffer = [0; 2048];
        let blocks = [BLOCK; MAX_REPORTS + 1];
        assert!(write_receiver_report(&mut buffer, 7, &blocks[1..], &[b'a'; MAX_CNAME]).is_ok());
        assert_eq!(write_receiver_report(&mut buffer, 7, &blocks, b""), Err(NoRoom));
        let long = [b'a'; MAX_CNAME + 1];
        assert_eq!(write_receiver_report(&mut buffer, 7, &[], &long), Err(NoRoom));
    }

    #[test]
    fn cumulative_loss_is_clamped_to_24_bits() {
        let mut buffer = [0; 128];
        for (lost, seen) in [(i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1)] {
            let block = ReportBlock { cumulative_lost: lost, ..BLOCK };
            let len = write_receiver_report(&mut buffer, 7, &[block], b"").unwrap();
            let Some(RtcpPacket::ReceiverReport { mut reports, .. }) =
                Compound::parse(&buffer[..len]).unwrap().next()
            else {
                panic!("RR expected");
            };
            assert_eq!(reports.next().unwrap().cumulative_lost, seen);
        }
    }

    #[test]
    fn goodbye_gives_sources_and_reason() {
        let datagram = [0x81, 203, 0, 2, 0, 0, 0, 5, 2, b'o', b'k', 0];
        let Some(RtcpPacket::Goodbye { mut sources, reason }) =
            Compound::parse(&datagram).unwrap().next()
        else {
            panic!("BYE expected");
        };
        assert_eq!((sources.next(), sources.next(), reason), (Some(5), None, &b"ok"[..]));
    }

    /// A reason longer than the packet (the fault behind CVE-2021-43804).
    #[test]
    fn goodbye_reason_past_the_end_is_refused() {
        let datagram = [0x81, 203, 0, 2, 0, 0, 0, 5, 4, b'o', b'k', 0];
        assert_eq!(error(&datagram), Some(MalformedRtcp::Body));
        // Six sources announced, one given.
        assert_eq!(error(&[0x86, 203, 0, 1, 0, 0, 0, 5]), Some(MalformedRtcp::Body));
    }

    /// Packets of a single word (AST-2017-008): an empty goodbye is whole, an empty report is not.
    #[test]
    fn four_octet_packets() {
        assert_eq!(Compound::parse(&[0x80, 203, 0, 0]).unwrap().count(), 1);
        assert_eq!(Compound::parse(&[0x80, 202, 0, 0]).unwrap().count(), 1);
        assert_eq!(Compound::parse(&[0x80, 207, 0, 0]).unwrap().count(), 1);
        for packet_type in [200, 201, 204] {
            assert_eq!(error(&[0x80, packet_type, 0, 0]), Some(MalformedRtcp::Body));
        }
        assert_eq!(error(&[]), Some(MalformedRtcp::Length));
        assert_eq!(error(&[0x80, 201, 0]), Some(MalformedRtcp::Length));
        assert_eq!(error(&[0x80, 201, 0xff, 0xff]), Some(MalformedRtcp::Length));
        assert_eq!(error(&[0x40, 201, 0, 0]), Some(MalformedRtcp::Version));
    }

    /// Extended reports whose blocks have length zero would hold up a walker for ever.
    #[test]
    fn extended_reports_are_not_walked() {
        let datagram = [0x80, 207, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let Some(RtcpPacket::Unknown { packet_type: 207, body }) =
            Compound::parse(&datagram).unwrap().next()
        else {
            panic!("unknown expected");
        };
        assert_eq!(body.len(), 12);
    }

    #[test]
    fn number_of_packets_is_bounded() {
        let datagram = [0x80, 203, 0, 0].repeat(MAX_PACKETS);
        assert_eq!(Compound::parse(&datagram).unwrap().count(), MAX_PACKETS);
        let datagram = [0x80, 203, 0, 0].repeat(MAX_PACKETS + 1);
        assert_eq!(error(&datagram), Some(MalformedRtcp::TooMany));
    }

    #[test]
    fn padding_only_at_the_end_and_of_whole_words() {
        let padded = |count| [0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, count];
        assert_eq!(Compound::parse(&padded(4)).unwrap().count(), 1);
        for count in [0, 1, 3, 16] {
            assert_eq!(error(&padded(count)), Some(MalformedRtcp::Padding), "{count}");
        }
        // Padding that eats the report itself.
        assert_eq!(error(&padded(8)), Some(MalformedRtcp::Body));
        let followed = [&padded(4)[..], &[0x80, 203, 0, 0]].concat();
        assert_eq!(error(&followed), Some(MalformedRtcp::Padding));
    }

    #[test]
    fn description_chunks_are_checked() {
        // Two chunks; the first has a NAME item before its CNAME.
        let datagram = [
            0x82, 202, 0, 6, 0, 0, 0, 1, 2, 1, b'n', 1, 1, b'c', 0, 0, // first chunk
            0, 0, 0, 2, 1, 1, b'd', 0, 0, 0, 0, 0,
        ];
        let Some(RtcpPacket::SourceDescription(descriptions)) =
            Compound::parse(&datagram).unwrap().next()
        else {
            panic!("SDES expected");
        };
        let names: Vec<_> = descriptions.map(|d| (d.ssrc, d.cname.unwrap())).collect();
        assert_eq!(names, [(1, &b"c"[..]), (2, &b"d"[..])]);
        // An item without its end, a length past the end, a chunk announced and missing.
        assert_eq!(
            error(&[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'a', b'b']),
            Some(MalformedRtcp::Body)
        );
        assert_eq!(
            error(&[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 9, b'a', b'b']),
            Some(MalformedRtcp::Body)
        );
        assert_eq!(error(&[0x82, 202, 0, 2, 0, 0, 0, 1, 1, 1, b'a', 0]), Some(MalformedRtcp::Body));
    }
}

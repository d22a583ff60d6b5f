//! `Offer`: a session description as its author wrote it, read and bounded.

use super::address::Connection;
use super::browser::BrowserOffer;
use super::direction::Direction;
use super::line::{Line, decimal, lines};
use super::stream::{Stream, last_direction, only_connection};
use super::{MAX_STREAMS, SdpError};

/// A caller's offer. It may hold SRTP keys, so it has neither `Debug` nor `Clone`.
///
/// [`Offer::agree`] is what it is for.
pub struct Offer {
    pub(super) session: Session,
    pub(super) streams: Vec<Stream>,
}

/// What stands before the first `m=` line and holds for all streams.
pub(super) struct Session {
    pub(super) connection: Option<Connection>,
    pub(super) direction: Direction,
    pub(super) browser: BrowserOffer,
    /// Start and stop of `t=`, which the answer must repeat (RFC 3264 section 6).
    pub(super) timing: (u64, u64),
}

impl Offer {
    /// Reads an offer; lines may end in CRLF or LF, unknown attributes are skipped.
    ///
    /// # Errors
    /// [`SdpError`] if the text is not SDP, or larger than any sensible offer.
    pub fn parse(text: &[u8]) -> Result<Self, SdpError> {
        let lines = lines(text)?.collect::<Result<Vec<_>, _>>()?;
        check_version(&lines)?;
        let count = lines.iter().filter(|(_, line)| matches!(line, Line::Stream(_))).count();
        if count > MAX_STREAMS {
            return Err(SdpError::TooManyStreams);
        }
        let mut sections = lines.chunk_by(|_, (_, next)| !matches!(next, Line::Stream(_)));
        let session = Session::parse(sections.next().unwrap_or_default())?;
        let mut streams = Vec::with_capacity(count);
        for section in sections {
            if let Some(((line, Line::Stream(value)), rest)) = section.split_first() {
                streams.push(Stream::parse(&session, *line, value, rest)?);
            }
        }
        if streams.is_empty() {
            return Err(SdpError::NoStream);
        }
        assert_eq!(streams.len(), count, "every m= line begins a section");
        Ok(Self { session, streams })
    }
}

/// `v=0` stands first (RFC 8866 section 5.1) and once: a second one would begin another session.
fn check_version(lines: &[(usize, Line<'_>)]) -> Result<(), SdpError> {
    let Some(((_, Line::Version("0")), rest)) = lines.split_first() else {
        return Err(SdpError::NoVersion);
    };
    match rest.iter().any(|(_, line)| matches!(line, Line::Version(_))) {
        true => Err(SdpError::NoVersion),
        false => Ok(()),
    }
}

impl Session {
    fn parse(section: &[(usize, Line<'_>)]) -> Result<Self, SdpError> {
        Ok(Self {
            connection: only_connection(section)?,
            direction: last_direction(section).unwrap_or(Direction::BOTH),
            browser: BrowserOffer::parse(section),
            timing: first_timing(section)?.unwrap_or((0, 0)),
        })
    }
}

fn first_timing(section: &[(usize, Line<'_>)]) -> Result<Option<(u64, u64)>, SdpError> {
    for (line, content) in section {
        if let Line::Timing(value) = content {
            let times = value.trim().split_once(' ');
            let times = times.and_then(|(start, stop)| Some((decimal(start)?, decimal(stop)?)));
            return times.map(Some).ok_or(SdpError::BadTiming { line: *line });
        }
    }
    Ok(None)
}

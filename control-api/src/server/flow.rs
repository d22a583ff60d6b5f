//! Flow: bodies as they come from a client and go to it, each at a least pace.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::{Body as Flowing, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::meter::Turn;
use crate::clock;

/// Time that any body may take before its pace counts.
const BODY_GRACE: Duration = Duration::from_secs(5);
/// Octets a second that a body comes with after that.
const BODY_PACE: u64 = 1024;
/// Time for a whole body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Octets handed on at a time, so that little of an answer lies ready for who does not take it.
const PIECE: usize = 16 * 1024;

/// A request's body: an error once it comes too slowly.
pub(super) struct Inflow {
    body: Incoming,
    came: u64,
    begun: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Inflow {
    pub(super) fn new(body: Incoming) -> Inflow {
        Inflow { body, came: 0, begun: None, alarm: None }
    }

    /// Time from the first look at the body until what has come is too little.
    fn patience(came: u64) -> Duration {
        (BODY_GRACE + Duration::from_millis(came.saturating_mul(1000) / BODY_PACE))
            .min(BODY_TIMEOUT)
    }
}

impl Flowing for Inflow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let begun = *this.begun.get_or_insert_with(clock::monotonic);
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.alarm = None;
            let octets = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            this.came += octets.map_or(0, |octets| octets.len() as u64);
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let left = Self::patience(this.came)
            .saturating_sub(clock::monotonic().saturating_duration_since(begun));
        let alarm = this.alarm.get_or_insert_with(|| Box::pin(sleep(left)));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body in pieces. The meter of its connection learns how long each waits for the client.
pub(super) struct Outflow {
    body: Body,
    /// What is left of the last frame.
    rest: Bytes,
    turn: Turn,
}

impl Outflow {
    pub(super) fn new(body: Body, mut turn: Turn) -> Outflow {
        if body.is_end_stream() {
            turn.answered();
        } else {
            turn.waits_for_client();
        }
        Outflow { body, rest: Bytes::new(), turn }
    }
}

impl Flowing for Outflow {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.turn.is_taken();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(octets) => this.rest = octets,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                None => {
                    this.turn.answered();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        if this.is_end_stream() {
            this.turn.answered();
        } else {
            this.turn.waits_for_client();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, Bytes};
    use http_body_util::BodyExt;
    use hyper::body::Body as _;

    use super::{BODY_GRACE, BODY_TIMEOUT, Inflow, Outflow, PIECE};
    use crate::clock;
    use crate::server::meter::Meter;
    use crate::server::places::Standing;

    #[test]
    fn a_body_has_more_time_the_more_has_come_and_an_end() {
        assert_eq!(Inflow::patience(0), BODY_GRACE);
        assert_eq!(Inflow::patience(4096), BODY_GRACE + Duration::from_secs(4));
        assert_eq!(Inflow::patience(u64::MAX), BODY_TIMEOUT);
    }

    #[tokio::test]
    async fn an_answer_is_the_same_in_pieces() {
        let octets: Vec<u8> = (0..3 * PIECE + 7).map(|at| at as u8).collect();
        let meter = Meter::new(Standing::default(), clock::monotonic());
        let body = Body::from(Bytes::from(octets.clone()));
        let mut flow = Outflow::new(body, Meter::begin(&meter));
        let (mut seen, mut left) = (Vec::new(), octets.len() as u64);
        while let Some(frame) = flow.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            left -= piece.len() as u64;
            assert_eq!(flow.size_hint().exact(), Some(left));
            seen.extend_from_slice(&piece);
        }
        assert!(seen == octets && flow.is_end_stream());
    }
}

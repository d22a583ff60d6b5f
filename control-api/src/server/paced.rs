//! Paced: a client's connection, which takes what it is sent at a least pace, and holds its place.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::places::Place;

/// Time in which a client takes [`LEAST_TAKEN`] of what waits for it, or all of it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
/// Octets taken within [`WRITE_TIMEOUT`]: 2 kB a second, the pace of the slowest line that a recording
/// is fetched by. The kernel's own buffer, which fills first, is not counted.
const LEAST_TAKEN: usize = 16 * 1024;

/// A stream whose peer must take what it is sent; its place is free again when it is dropped.
pub(super) struct Paced {
    stream: TcpStream,
    /// Runs while something waits for the peer.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Octets that it has taken since then.
    taken: usize,
    _place: Place,
}

impl Paced {
    pub(super) fn new(stream: TcpStream, place: Place) -> Paced {
        Paced { stream, waiting: None, taken: 0, _place: place }
    }

    /// Passes on what came of a write. A little at a time is no pace: the wait ends when enough of it
    /// was taken.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.wait(context).map(Err),
            Poll::Ready(written) => {
                self.taken += written.as_ref().map_or(0, |octets| *octets);
                if self.taken >= LEAST_TAKEN {
                    self.waiting = None;
                }
                Poll::Ready(written)
            }
        }
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let waiting = self.waiting.get_or_insert_with(|| {
            self.taken = 0;
            Box::pin(sleep(WRITE_TIMEOUT))
        });
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        // Whoever flushes has nothing left to write.
        self.waiting = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

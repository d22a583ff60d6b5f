//! TCP: messages one behind the other, a reply for each in their order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ng_protocol::{MAX_MESSAGE, first_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use zeroize::{Zeroize, Zeroizing};

use super::faults::Fault;
use super::{Peer, handle};
use crate::Control;
use crate::peers::Peers;

/// Connections at a time: a proxy has one for each of its processes. Each takes 64 KiB.
const MAX_CONNECTIONS: usize = 128;
/// Time for the rest of a message that has begun. Between messages a proxy may be quiet.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time in which a peer must take its reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets that are read at a time.
const PART: usize = 4096;
/// Pause after a failed accept, which is nearly always a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves those who may ask, until `stopping`. Others are cut off at once.
pub async fn serve(
    listener: TcpListener,
    peers: Peers,
    control: Arc<Control>,
    mut stopping: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        match accepted {
            Ok((stream, from)) if peers.admit(from.ip()) => begin(stream, from, &room, &control),
            Ok(_) => control.ng.faults.note(Fault::Stranger),
            Err(_) => {
                control.ng.faults.note(Fault::Socket);
                sleep(PAUSE).await;
            }
        }
    }
}

fn begin(stream: TcpStream, from: SocketAddr, room: &Arc<Semaphore>, control: &Arc<Control>) {
    let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
        return control.ng.faults.note(Fault::Busy);
    };
    let control = Arc::clone(control);
    tokio::spawn(async move {
        let mut stopping = control.stopping();
        let mut connection = Connection::new(stream, from);
        loop {
            let message = tokio::select! {
                message = connection.message(&control) => message,
                _ = stopping.wait_for(|stopping| *stopping) => break,
            };
            // Not to be cut off in the middle of its effect.
            let Some(message) = message else { break };
            if connection.reply(&control, &message).await.is_none() {
                break;
            }
        }
        drop(permit);
    });
}

/// One connection and what it has not been read of yet.
struct Connection {
    stream: TcpStream,
    received: Zeroizing<Vec<u8>>,
    peer: Peer,
}

impl Connection {
    fn new(stream: TcpStream, from: SocketAddr) -> Connection {
        // Room for all, so that no copy of what it holds is left behind.
        let received = Zeroizing::new(Vec::with_capacity(MAX_MESSAGE + 2 * PART));
        Connection { stream, received, peer: Peer::at(from) }
    }

    /// The next message; `None` when there will be none.
    async fn message(&mut self, control: &Control) -> Option<Zeroizing<Vec<u8>>> {
        loop {
            let blanks = self.received.len() - self.received.trim_ascii_start().len();
            self.forget(blanks);
            match first_message(&self.received) {
                Ok(Some(found)) => {
                    let message = Zeroizing::new(self.received[found.clone()].to_vec());
                    self.forget(found.end);
                    return Some(message);
                }
                Ok(None) => self.read().await?,
                Err(_) => {
                    control.ng.faults.note(Fault::NotAMessage);
                    return None;
                }
            }
        }
    }

    /// Wipes what was read first.
    fn forget(&mut self, first: usize) {
        let rest = self.received.len() - first;
        self.received.copy_within(first.., 0);
        self.received[rest..].zeroize();
        self.received.truncate(rest);
    }

    /// Reads on; `None` at the end, or when a message that has begun does not go on.
    async fn read(&mut self) -> Option<()> {
        let mut part = Zeroizing::new([0; PART]);
        let reading = self.stream.read(&mut *part);
        let read = match self.received.is_empty() {
            true => reading.await,
            false => timeout(MESSAGE_TIMEOUT, reading).await.ok()?,
        };
        let len = read.ok().filter(|&len| len > 0)?;
        self.received.extend_from_slice(&part[..len]);
        Some(())
    }

    async fn reply(&mut self, control: &Arc<Control>, message: &[u8]) -> Option<()> {
        let reply = handle(control, &self.peer, message).await?;
        timeout(WRITE_TIMEOUT, self.stream.write_all(&reply)).await.ok()?.ok()
    }
}

//! UDP: a datagram in, a datagram out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ng_protocol::MAX_MESSAGE;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};
use zeroize::{Zeroize, Zeroizing};

use super::faults::Fault;
use super::{Peer, handle};
use crate::Control;
use crate::peers::Peers;

/// Requests worked on at a time: each waits for a media worker, which takes about a thousand.
const MAX_IN_FLIGHT: usize = 512;
/// Pause after the system refused to receive.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers those who may ask, until `stopping`. Others get nothing: a reply would make this relay
/// a weapon against whoever is named as the sender.
pub async fn serve(
    socket: UdpSocket,
    peers: Peers,
    control: Arc<Control>,
    mut stopping: watch::Receiver<bool>,
) {
    let socket = Arc::new(socket);
    let room = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    // One octet more than a message may have.
    let mut buffer = Zeroizing::new(vec![0; MAX_MESSAGE + 1]);
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        match received {
            Ok((len, from)) if peers.admit(from.ip()) => {
                let octets = Zeroizing::new(buffer[..len].to_vec());
                buffer[..len].zeroize();
                begin(&socket, &room, &control, from, octets);
            }
            Ok(_) => control.ng.faults.note(Fault::Stranger),
            Err(_) => {
                control.ng.faults.note(Fault::Socket);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Works on a request beside others; one for which there is no room is not answered, and comes
/// again.
fn begin(
    socket: &Arc<UdpSocket>,
    room: &Arc<Semaphore>,
    control: &Arc<Control>,
    from: SocketAddr,
    octets: Zeroizing<Vec<u8>>,
) {
    let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
        return control.ng.faults.note(Fault::Busy);
    };
    let (socket, control) = (Arc::clone(socket), Arc::clone(control));
    tokio::spawn(async move {
        if let Some(reply) = handle(&control, &Peer::by_datagram(from), &octets).await
            && socket.send_to(&reply, from).await.is_err()
        {
            control.ng.faults.note(Fault::Socket);
        }
        drop(permit);
    });
}

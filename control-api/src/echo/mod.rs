//! Echo: an engine in this process, for demos, tests and pages, so that a first call needs none.
//!
//! To the relay it is an engine like any other, at an address: it gets nothing but the RTP that is
//! sent there, and so nothing that `route()` does not let through. One task a call, woken once a
//! packet time, is cheap enough for what it is for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use relay::switchboard::{LegMedia, Refusal};
use relay::wire::sdp::AddressPolicy;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;

pub mod api;
mod chime;
mod ear;
pub mod hearing;
mod party;
mod spectrum;

use crate::index::CallEntry;
use crate::problem::{Code, Problem};
use crate::{chance, clock};
use hearing::Hearing;
use party::{Format, MAX_PACKET, Party};

/// Echo engines at a time. One takes two sockets, 20 kB and about a thousandth of a core.
pub const MAX_ENGINES: usize = 256;
/// Ports tried for one engine: a free one, whose neighbour is free too, outside the relay's range.
const TRIES: usize = 16;
/// Datagrams read at a time: more than the relay sends in a packet time, so that a flood from this
/// machine can't keep the engine from speaking.
const MAX_DATAGRAMS: usize = 64;
/// Longest datagram that is read whole; the relay sends none as long.
const MAX_DATAGRAM: usize = 2048;

/// A place for one engine: its sockets, and its share of [`MAX_ENGINES`].
pub(crate) struct Seat {
    rtp: UdpSocket,
    /// Held so that the relay's reports are not answered by "port unreachable"; never read, and what
    /// the kernel keeps of it is bounded.
    _rtcp: UdpSocket,
    address: SocketAddr,
    _room: OwnedSemaphorePermit,
}

impl Seat {
    /// A free place on the relay's media address.
    ///
    /// # Errors
    /// [`Code::NoCapacity`] if there is none.
    pub(crate) async fn take(
        room: &Arc<Semaphore>,
        addresses: &AddressPolicy,
    ) -> Result<Seat, Problem> {
        let no_room = || {
            let detail = format!(
                "At most {MAX_ENGINES} echo engines run at once: end a call of one, or name an \
                 engine of your own."
            );
            Problem::new(Code::NoCapacity, detail)
        };
        let permit = Arc::clone(room).try_acquire_owned().map_err(|_| no_room())?;
        let ours = addresses.own_media.first().map(|own| own.address);
        let ip = ours.ok_or(Problem::from(Refusal::NoAddressFamily))?;
        for _ in 0..TRIES {
            if let Some((rtp, rtcp, address)) = bind_pair(ip).await
                && addresses.admit(address).is_ok()
            {
                return Ok(Seat { rtp, _rtcp: rtcp, address, _room: permit });
            }
        }
        Err(Refusal::NoPort.into())
    }

    /// Where the engine receives and sends from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// An engine for a leg, which neither hears nor speaks yet.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn engine(self, leg: &LegMedia) -> Result<Engine, Problem> {
        let mut random = chance::generator().map_err(|_| Problem::internal())?;
        let hearing = Arc::new(Hearing::default());
        // What was asked for was looked at before it was agreed to.
        let format = Format::of(leg).ok_or_else(Problem::internal)?;
        let party = Party::new(format, Arc::clone(&hearing), &mut random);
        Ok(Engine { seat: self, format, party, hearing })
    }
}

/// Waits until no engine runs any more; none begins meanwhile.
pub async fn all_gone(room: &Semaphore) {
    // An error means that the semaphore is closed, which nobody does.
    let _ = room.acquire_many(MAX_ENGINES as u32).await;
}

/// Two sockets on neighbouring ports, the lower one for RTP.
async fn bind_pair(ip: IpAddr) -> Option<(UdpSocket, UdpSocket, SocketAddr)> {
    let rtp = UdpSocket::bind((ip, 0)).await.ok()?;
    let address = rtp.local_addr().ok()?;
    let rtcp = UdpSocket::bind((ip, address.port().checked_add(1)?)).await.ok()?;
    Some((rtp, rtcp, address))
}

/// An engine.
pub(crate) struct Engine {
    seat: Seat,
    format: Format,
    party: Party,
    hearing: Arc<Hearing>,
}

impl Engine {
    /// Begins to speak to `relay` and to hear it, until the call is over or gets another engine, or
    /// the process stops.
    pub(crate) fn begin(
        self,
        relay: SocketAddr,
        entry: &Arc<CallEntry>,
        stopping: watch::Receiver<bool>,
    ) {
        entry.hears_by(Arc::clone(&self.hearing));
        let entry = Arc::clone(entry);
        tokio::spawn(self.live(relay, move || entry.story.is_closed() || *stopping.borrow()));
    }

    async fn live(mut self, relay: SocketAddr, is_over: impl Fn() -> bool) {
        let mut ticks = tokio::time::interval(self.format.ptime);
        // Who was late goes on from there: frames in a burst would help nobody.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !is_over() && !self.hearing.is_over() {
            ticks.tick().await;
            // In this order its transcript begins before the call does.
            self.speak(relay);
            self.hear(relay);
        }
    }

    fn hear(&mut self, relay: SocketAddr) {
        let mut datagram = [0; MAX_DATAGRAM];
        for _ in 0..MAX_DATAGRAMS {
            match self.seat.rtp.try_recv_from(&mut datagram) {
                // As the relay hears none but the signalled address, so does its engine.
                Ok((length, from)) if from == relay => {
                    self.party.hear(clock::monotonic(), &datagram[..length]);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }

    fn speak(&mut self, relay: SocketAddr) {
        let mut packet = [0; MAX_PACKET];
        let length = self.party.speak(clock::monotonic(), &mut packet);
        // What the kernel has no room for is lost, as on any line.
        let _ = self.seat.rtp.try_send_to(&packet[..length], relay);
    }
}

impl Drop for Engine {
    /// However it ends, its listeners are told.
    fn drop(&mut self) {
        self.hearing.end();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use dtmf::g711::Law;
    use relay::codec::Codec;
    use relay::switchboard::{EventKind, LegMedia, SourceRule};
    use relay::wire::sdp::{AddressPolicy, OwnMedia};
    use tokio::net::UdpSocket;
    use tokio::sync::{Semaphore, watch};

    use super::{MAX_ENGINES, Seat, all_gone};
    use crate::dto::id;
    use crate::engines::EngineProfile;
    use crate::index::CallEntry;
    use crate::{clock, echo::hearing::Next};

    fn policy(ports: std::ops::RangeInclusive<u16>) -> AddressPolicy {
        let own = OwnMedia { address: [127, 0, 0, 1].into(), ports };
        AddressPolicy { loopback: true, own_media: vec![own] }
    }

    fn leg(remote: SocketAddr) -> LegMedia {
        LegMedia {
            remote_rtp: remote,
            remote_rtcp: remote,
            rtcp_mux: false,
            codec: Codec::G711(Law::A),
            payload_type: 8,
            telephone_event: Some(101),
            redundancy: None,
            wants_events: true,
            ptime: Duration::from_millis(20),
            they_send: true,
            they_receive: true,
            srtp: None,
            source: SourceRule::Signalled,
        }
    }

    /// An engine that has spoken once, and all that could end it.
    struct Running {
        address: SocketAddr,
        entry: Arc<CallEntry>,
        stopping: watch::Sender<bool>,
    }

    async fn start(room: &Arc<Semaphore>) -> Running {
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let seat = Seat::take(room, &policy(1..=1)).await.ok().unwrap();
        let address = seat.address();
        let profile = EngineProfile::default();
        let entry = CallEntry::new(id::new_call(), clock::now(), false, false, profile);
        let (entry, stopping) = (Arc::new(entry), watch::Sender::new(false));
        let engine = seat.engine(&leg(address)).ok().unwrap();
        engine.begin(relay.local_addr().unwrap(), &entry, stopping.subscribe());
        let mut packet = [0; 2048];
        let (length, from) = relay.recv_from(&mut packet).await.unwrap();
        assert_eq!((length, from, packet[1]), (172, address, 0x88), "A-law, a first packet");
        assert!(UdpSocket::bind(address).await.is_err(), "the port is taken");
        Running { address, entry, stopping }
    }

    #[tokio::test]
    async fn however_it_ends_no_task_and_no_socket_is_left() {
        let ends: [fn(&Running); 3] = [
            |it| it.entry.story.handle_event(clock::now(), EventKind::Closed),
            |it| assert!(!it.stopping.send_replace(true)),
            |it| it.entry.dismiss_echo(),
        ];
        for end in ends {
            let room = Arc::new(Semaphore::new(MAX_ENGINES));
            let running = start(&room).await;
            let hearing = running.entry.hearing().unwrap();
            assert_eq!(room.available_permits(), MAX_ENGINES - 1);
            end(&running);
            tokio::time::timeout(Duration::from_secs(5), all_gone(&room)).await.unwrap();
            assert_eq!(room.available_permits(), MAX_ENGINES);
            let rtcp = SocketAddr::new(running.address.ip(), running.address.port() + 1);
            for address in [running.address, rtcp] {
                UdpSocket::bind(address).await.unwrap();
            }
            let mut after = 0;
            while let Next::Told(told) = hearing.next(after) {
                after = told.sequence;
            }
            assert_eq!(hearing.next(after), Next::End);
            // Of the engine nothing holds the call or its transcript any more.
            let holders = usize::from(running.entry.hearing().is_some());
            assert_eq!(
                (Arc::strong_count(&running.entry), Arc::strong_count(&hearing)),
                (1, 1 + holders)
            );
        }
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_none_among_the_relays_ports() {
        let room = Arc::new(Semaphore::new(1));
        let seat = Seat::take(&room, &policy(1..=1)).await.ok().unwrap();
        assert!(Seat::take(&room, &policy(1..=1)).await.is_err());
        drop(seat);
        assert!(Seat::take(&room, &policy(1..=u16::MAX)).await.is_err());
        assert!(Seat::take(&room, &AddressPolicy::default()).await.is_err());
        assert!(Seat::take(&room, &policy(1..=1)).await.is_ok(), "what was refused holds nothing");
    }
}

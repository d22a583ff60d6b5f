//! Desk: the one task that holds the agent. It reads datagrams and what streams bring, and sends.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sip_server::{Agent, Event, Flow, Invitation, LegId, MAX_MESSAGE, Transport};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::sleep_until;
use zeroize::{Zeroize, Zeroizing};

use super::callers::{Caller, Order, Wish};
use super::config::SipConfig;
use super::streams::{Mail, Outbox};
use super::{GOODBYE, refusal};
use crate::{Control, clock};

/// What a caller may ask before it is served; keys come a few a second.
const WISHES: usize = 64;
/// Answers that wait to be sent.
const ORDERS: usize = 256;

/// The one task that holds the agent.
pub(super) struct Desk {
    control: Arc<Control>,
    config: Arc<SipConfig>,
    agent: Agent,
    udp: Option<UdpSocket>,
    /// Where that one is bound.
    bound: Option<SocketAddr>,
    /// What is written to each connection.
    streams: HashMap<u64, Outbox>,
    /// What each caller asks; whoever is no longer here is gone.
    callers: HashMap<LegId, mpsc::Sender<Wish>>,
    orders: mpsc::Sender<Order>,
    ordered: mpsc::Receiver<Order>,
    is_stopping: bool,
}

impl Desk {
    pub(super) fn new(
        control: Arc<Control>,
        config: SipConfig,
        agent: Agent,
        udp: Option<UdpSocket>,
    ) -> Desk {
        let (orders, ordered) = mpsc::channel(ORDERS);
        Desk {
            control,
            config: Arc::new(config),
            agent,
            bound: udp.as_ref().and_then(|udp| udp.local_addr().ok()),
            udp,
            streams: HashMap::new(),
            callers: HashMap::new(),
            orders,
            ordered,
            is_stopping: false,
        }
    }

    /// Answers until the process is stopping and every caller was told.
    pub(super) async fn attend(mut self, mut mail: mpsc::Receiver<Mail>) {
        let mut stopping = self.control.stopping();
        let mut datagram = vec![0; MAX_MESSAGE];
        let mut last = clock::monotonic() + GOODBYE;
        while !self.is_over(last) {
            let due = self.agent.poll_time().unwrap_or(last + GOODBYE);
            let due = if self.is_stopping { due.min(last) } else { due };
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping), if !self.is_stopping => {
                    self.stop();
                    last = clock::monotonic() + GOODBYE;
                }
                read = receive(self.udp.as_ref(), &mut datagram) => if let Some((length, remote)) = read {
                    self.take_datagram(datagram.get_mut(..length).unwrap_or_default(), remote);
                },
                Some(mail) = mail.recv() => self.take_mail(mail),
                Some(order) = self.ordered.recv() => self.obey(order),
                () = sleep_until(due.into()) => self.agent.handle_time(clock::monotonic()),
            }
            self.serve().await;
        }
    }

    fn is_over(&self, last: std::time::Instant) -> bool {
        self.is_stopping && (self.agent.calls() == 0 || clock::monotonic() >= last)
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        let now = clock::monotonic();
        for (leg, _) in self.callers.drain() {
            self.agent.hang_up(now, leg);
        }
    }

    fn take_datagram(&mut self, datagram: &mut [u8], remote: SocketAddr) {
        if let Some(bound) = self.bound {
            let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
            let local = self.known_as(bound, remote);
            let flow = Flow { transport: Transport::Udp, connection: 0, remote, local };
            self.agent.handle(clock::monotonic(), flow, datagram);
        }
        // It may have held a key.
        datagram.zeroize();
    }

    fn take_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Opened(connection, outbox) => {
                self.streams.insert(connection, outbox);
            }
            Mail::Message(mut flow, octets) => {
                flow.local = self.known_as(flow.local, flow.remote);
                self.agent.handle(clock::monotonic(), flow, &octets);
            }
            Mail::Idle(connection) if self.agent.is_used(connection) => {}
            // Whoever writes to it no longer does, which ends it.
            Mail::Idle(connection) | Mail::Closed(connection) => {
                self.streams.remove(&connection);
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let now = clock::monotonic();
        match order {
            Order::Answer(leg, sdp) => self.agent.answer(now, leg, &sdp),
            Order::Refuse(leg, refusal) => self.agent.refuse(now, leg, &refusal),
            Order::HangUp(leg) => {
                self.callers.remove(&leg);
                self.agent.hang_up(now, leg);
            }
        }
    }

    /// Sends what is to be sent, and passes on what has happened.
    async fn serve(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            self.take_event(event);
        }
        while let Some(transmit) = self.agent.poll_transmit() {
            self.send(transmit.flow, transmit.octets).await;
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Invited(invitation) => self.invited(invitation),
            Event::Offered { leg, sdp } => self.wish(leg, Wish::Offer(sdp)),
            Event::Keyed { leg, key } => self.wish(leg, Wish::Key(key)),
            Event::Ended { leg } => {
                self.callers.remove(&leg);
            }
        }
    }

    fn invited(&mut self, invitation: Invitation) {
        let leg = invitation.leg;
        if self.is_stopping {
            return self.agent.refuse(clock::monotonic(), leg, &refusal::stopping());
        }
        let (sender, wishes) = mpsc::channel(WISHES);
        self.callers.insert(leg, sender);
        let caller = Caller {
            control: Arc::clone(&self.control),
            config: Arc::clone(&self.config),
            orders: self.orders.clone(),
        };
        tokio::spawn(caller.attend(invitation, wishes));
    }

    fn wish(&mut self, leg: LegId, wish: Wish) {
        let Some(caller) = self.callers.get(&leg) else { return };
        let Err(TrySendError::Full(wish)) = caller.try_send(wish) else { return };
        tracing::warn!("a caller asks faster than it can be served");
        match wish {
            Wish::Offer(_) => self.agent.refuse(clock::monotonic(), leg, &refusal::too_fast()),
            Wish::Key(_) => {}
        }
    }

    async fn send(&mut self, flow: Flow, octets: Zeroizing<Vec<u8>>) {
        match flow.transport {
            Transport::Udp => {
                if let Some(udp) = &self.udp {
                    // What is lost is sent again.
                    let _ = udp.send_to(&octets, self.reached_at(flow.remote)).await;
                }
            }
            Transport::Tcp | Transport::Tls => {
                let outbox = self.streams.get(&flow.connection);
                let sent = outbox.map(|outbox| outbox.try_send(octets));
                if matches!(sent, Some(Err(_))) {
                    // A peer that takes nothing is cut off.
                    self.streams.remove(&flow.connection);
                }
            }
        }
    }

    /// A socket of IPv6 knows peers of IPv4 by addresses of its own kind.
    fn reached_at(&self, remote: SocketAddr) -> SocketAddr {
        match (self.bound, remote.ip()) {
            (Some(SocketAddr::V6(_)), IpAddr::V4(ip)) => {
                SocketAddr::new(ip.to_ipv6_mapped().into(), remote.port())
            }
            (_, IpAddr::V4(_) | IpAddr::V6(_)) => remote,
        }
    }

    /// What a peer is to know us by: what callers are told of our media, unless a socket knows
    /// better. A peer on this machine is told an address of this machine.
    fn known_as(&self, local: SocketAddr, remote: SocketAddr) -> SocketAddr {
        let is_v4 = remote.is_ipv4();
        let policy = &self.control.policy;
        let own = local.ip().to_canonical();
        let told = policy.advertised.iter().copied().find(|ip| ip.is_ipv4() == is_v4);
        let told = told.filter(|_| !remote.ip().is_loopback());
        let bound = (!own.is_unspecified()).then_some(own);
        let loopback = remote.ip().is_loopback().then(|| remote.ip());
        let media = policy.addresses.own_media.iter().map(|own| own.address);
        let media = media.into_iter().find(|ip| ip.is_ipv4() == is_v4);
        let ip = told.or(bound).or(loopback).or(media);
        SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), local.port())
    }
}

/// The next datagram. What could not be read is passed over: an error of a datagram socket is about
/// something that was sent before.
async fn receive(udp: Option<&UdpSocket>, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match udp {
        Some(udp) => udp.recv_from(buffer).await.ok(),
        None => std::future::pending().await,
    }
}

//! Resolver: the thread that asks the kernel how peers are reached, and hears when that changes.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};

use super::clock::Clock;
use super::kernel_tables::{KernelNews, KernelTables};
use super::neighbourhood::{Answer, Answers, FRESH, Hop, Neighbourhood, Path, QUESTIONS, Way};
use super::waker::Waker;
use crate::privileges;
use crate::wire::netlink::{Link, Message, Neighbour, Route, RouteKind};
use crate::wire::udp::Macs;

/// The index of loopback in every network namespace.
const LOOPBACK: u32 = 1;
/// Most neighbours that are remembered: as many as the kernel's own table holds at most unless told
/// otherwise (`gc_thresh3`), and more than a segment has hosts.
const MAX_NEIGHBOURS: usize = 1024;

/// The thread's possessions.
struct Resolver {
    tables: KernelTables,
    news: KernelNews,
    answers: Answers,
    questions: Receiver<Path>,
    waker: Waker,
    clock: Clock,
    /// Where routes lead and what is there: many peers are behind one router.
    neighbours: HashMap<(u32, IpAddr), Known>,
    /// Until something is said of links.
    links: HashMap<u32, Link>,
    /// What the kernel would take from itself over loopback.
    loopback: LoopbackRules,
}

struct Known {
    neighbour: Option<Neighbour>,
    found: Instant,
}

/// Whether frames of ours on loopback reach the sockets of this machine.
///
/// What the kernel sends itself has its route with it. A frame has none, and to look for one is to
/// find that it comes from ourselves, which IPv4 takes for a forgery unless told otherwise.
#[derive(Clone, Copy, Debug)]
struct LoopbackRules {
    /// From an address of this machine.
    takes_local: bool,
    /// From and to 127.0.0.0/8.
    takes_loopback: bool,
}

impl LoopbackRules {
    fn read() -> LoopbackRules {
        let is_set = |name: &str| {
            ["all", "lo"].iter().any(|link| {
                let path = format!("/proc/sys/net/ipv4/conf/{link}/{name}");
                std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
            })
        };
        let takes_local = is_set("accept_local");
        LoopbackRules { takes_local, takes_loopback: takes_local && is_set("route_localnet") }
    }

    fn takes(self, to: IpAddr) -> bool {
        match to {
            IpAddr::V4(to) if to.is_loopback() => self.takes_loopback,
            IpAddr::V4(_) => self.takes_local,
            IpAddr::V6(_) => true,
        }
    }
}

/// Starts the thread. It ends when every [`Neighbourhood`] is gone.
pub(super) fn start(clock: Clock) -> io::Result<(Neighbourhood, JoinHandle<()>)> {
    let (sender, questions) = sync_channel(QUESTIONS);
    let waker = Waker::new()?;
    let neighbourhood = Neighbourhood::new(sender, waker.clone());
    let resolver = Resolver {
        tables: KernelTables::open()?,
        news: KernelNews::open()?,
        answers: Answers::new(&neighbourhood),
        questions,
        waker,
        clock,
        neighbours: HashMap::new(),
        links: HashMap::new(),
        loopback: LoopbackRules::read(),
    };
    let thread = std::thread::Builder::new().name("neighbours".into()).spawn(|| {
        privileges::keep_only(privileges::NONE);
        resolver.run();
    })?;
    Ok((neighbourhood, thread))
}

impl Resolver {
    fn run(mut self) {
        while self.answers.are_wanted() {
            if self.wait().is_err() {
                tracing::error!("waiting for the kernel's news failed; media goes by sockets");
                self.answers.forget(|_| true);
                return;
            }
            self.waker.rest();
            self.hear();
            let now = self.clock.now();
            // A bound, so that news are heard too.
            for _ in 0..QUESTIONS {
                let Ok(path) = self.questions.try_recv() else { break };
                let answer = self.find(now, path);
                self.answers.give(now, path, answer);
            }
        }
    }

    fn wait(&self) -> rustix::io::Result<()> {
        let mut watched = [
            PollFd::new(self.waker.counter(), PollFlags::IN),
            PollFd::new(&self.news, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the kernel's news into account.
    fn hear(&mut self) {
        let Resolver { news, neighbours, links, answers, .. } = self;
        let (mut is_void, mut is_doubtful) = (false, false);
        let heard = news.read(|message| match message {
            Message::Neighbour(neighbour) => renew(neighbours, answers, &neighbour, neighbour.mac),
            Message::NeighbourGone(neighbour) => renew(neighbours, answers, &neighbour, None),
            Message::Link(_) | Message::LinkGone(_) => is_void = true,
            // Routes of a busy router change all the time, and few of those changes matter here.
            Message::Route(_) | Message::Address(..) | Message::Other => is_doubtful = true,
            Message::End | Message::Nothing => {}
        });
        if is_void || heard.is_err() {
            neighbours.clear();
            links.clear();
            answers.forget(|_| true);
        } else if is_doubtful {
            answers.doubt(self.clock.now());
        }
    }

    fn find(&mut self, now: Instant, path: Path) -> Answer {
        let found = self.hop(now, path).ok().flatten();
        let is_stale = AtomicBool::new(found.is_some_and(|(_, is_stale)| is_stale));
        let way = found.map_or(Way::Kernel, |(hop, _)| Way::Frames(hop));
        Answer { way, found: now, is_stale }
    }

    /// The next station to a peer, and whether it is stale; none where frames are no way to it.
    fn hop(&mut self, now: Instant, path: Path) -> io::Result<Option<(Hop, bool)>> {
        let Some(route) = self.tables.route(path.from, path.to)? else { return Ok(None) };
        let Route { kind, link: Some(link), gateway, mtu, is_wrapped: false } = route else {
            return Ok(None);
        };
        match kind {
            // IPv6 names the link that has the address; packets go over loopback all the same.
            RouteKind::Local if self.loopback.takes(path.to) => {
                let hop = self.hop_on(LOOPBACK, mtu, [0; 6])?;
                Ok(hop.map(|hop| (hop, false)))
            }
            RouteKind::Unicast => {
                let neighbour = self.neighbour(now, link, gateway.unwrap_or(path.to))?;
                let Some(Neighbour { mac: Some(mac), is_stale, .. }) = neighbour else {
                    return Ok(None);
                };
                let hop = self.hop_on(link, mtu, mac)?;
                Ok(hop.map(|hop| (hop, is_stale)))
            }
            RouteKind::Local | RouteKind::Other => Ok(None),
        }
    }

    /// Frames to `to` on a link, if it is one for frames.
    fn hop_on(&mut self, link: u32, mtu: Option<u32>, to: [u8; 6]) -> io::Result<Option<Hop>> {
        if !self.links.contains_key(&link) {
            let Some(found) = self.tables.link(link)? else { return Ok(None) };
            self.links.insert(link, found);
        }
        let link = self.links.get(&link).filter(|link| link.is_up && link.is_ethernet);
        Ok(link.map(|Link { index, mac: from, mtu: most, .. }| {
            let mtu = mtu.filter(|mtu| *mtu > 0).unwrap_or(*most).min(*most) as usize;
            Hop { link: *index, macs: Macs { from: *from, to }, mtu }
        }))
    }

    fn neighbour(&mut self, now: Instant, link: u32, to: IpAddr) -> io::Result<Option<Neighbour>> {
        let known = self.neighbours.get(&(link, to));
        if let Some(known) =
            known.filter(|known| now.saturating_duration_since(known.found) < FRESH)
        {
            return Ok(known.neighbour.clone());
        }
        let neighbour = self.tables.neighbour(link, to)?;
        let known = Known { neighbour: neighbour.clone(), found: now };
        // The kernel's own table is bounded, and so is this copy of a part of it.
        if self.neighbours.len() >= MAX_NEIGHBOURS {
            self.neighbours.clear();
        }
        self.neighbours.insert((link, to), known);
        Ok(neighbour)
    }
}

/// A neighbour of whom something was said is asked for anew, if what was said differs.
fn renew(
    neighbours: &mut HashMap<(u32, IpAddr), Known>,
    answers: &Answers,
    said: &Neighbour,
    mac: Option<[u8; 6]>,
) {
    let Some(known) = neighbours.get(&(said.link, said.address)) else { return };
    let before = known.neighbour.as_ref().and_then(|neighbour| neighbour.mac);
    if before == mac {
        return;
    }
    neighbours.remove(&(said.link, said.address));
    answers.forget(|way| match way {
        Way::Frames(hop) => hop.link == said.link && Some(hop.macs.to) == before,
        // Whose neighbour was missing may have been this one.
        Way::Kernel => true,
    });
}

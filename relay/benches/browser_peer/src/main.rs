//! What a packet costs on a browser's leg: Sotto, the crate `webrtc`, and Sotto with SDES, in turns.
//!
//! The relay is a process of its own on core 1; callers and engines are here, on core 0. Both ways
//! are PCMU, 20 ms; the callers' side is SRTP, the engines' plain. What counts is the processor time
//! of the relay's process for a packet that it hears.
//!
//! usage: relay/benches/browser_peer/run [ROUNDS [SECONDS [CALLS [SLICES [sockets|packet|xdp]]]]]
//!
//! By rings relay and callers are in namespaces of their own, joined by a pair of links, whatever the
//! contender; else both are on loopback.
//!
//! In each slice of a packet time a part of the callers speak: in one slice all at once, which costs
//! fewest wake-ups; in as many as there are callers each alone, as callers do who know nothing of
//! each other.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod handshake;
mod load;
mod place;
mod signal;
mod sotto;
mod whole;

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use handshake::Identity;
use load::{Ends, Load};
use relay::switchboard::SrtpKeys;
use signal::{Answer, Contender, Ice, Offer, sdes};
use sotto::Sotto;
use whole::Whole;

const RELAY_CORE: usize = 1;
const CALLER_CORE: usize = 0;
/// Time in which everybody gets to know everybody.
const WARM_UP: Duration = Duration::from_secs(2);
/// Share of packets that may be lost where a price is to mean something.
const MOST_LOST: f64 = 0.02;
/// What is to be held: a browser's leg to one with SDES, and to the crate `webrtc`.
const BARS: [(Contender, f64); 2] = [(Contender::Sdes, 1.2), (Contender::Webrtc, 0.25)];

/// What a round has measured of one relay.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// Processor time a packet heard, in microseconds.
    price: f64,
    /// Share of the callers' packets that did not come back.
    lost: f64,
    /// Share of its core that the relay was at work.
    busy: f64,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name, way] = &words[..]
        && first == "serve"
    {
        return serve(Contender::named(name).unwrap(), way);
    }
    let number = |place: usize| words.get(place).map(|word| word.parse::<u64>().unwrap());
    let rounds = number(0).unwrap_or(5);
    let time = Duration::from_secs(number(1).unwrap_or(5));
    let calls = number(2).unwrap_or(50) as usize;
    let slices = number(3).unwrap_or(40) as usize;
    let way = words.get(4).map_or("sockets", String::as_str);
    pin_to(CALLER_CORE);
    compare(rounds, &Trial { time, calls, slices, way });
}

/// What each relay is given to do.
struct Trial<'a> {
    time: Duration,
    calls: usize,
    slices: usize,
    /// How Sotto takes media.
    way: &'a str,
}

/// All in turns, and the medians of the rounds' figures and ratios.
fn compare(rounds: u64, trial: &Trial<'_>) {
    let Trial { calls, slices, way, .. } = trial;
    let rounds: Vec<[Figures; 3]> =
        (0..rounds).map(|_| Contender::ALL.map(|one| measure(one, trial))).collect();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load = load.split(' ').next().unwrap();
    let heard = 2 * calls * 50;
    println!(
        "{calls} calls in {slices} slices, {heard} packets a second heard, Sotto by {way}, load \
         average {load}"
    );
    println!("relay    us/packet   of a core    lost");
    let place = |contender| Contender::ALL.iter().position(|one| *one == contender).unwrap();
    for (at, contender) in Contender::ALL.into_iter().enumerate() {
        let of = |pick: fn(&Figures) -> f64| median(rounds.iter().map(|round| pick(&round[at])));
        let (price, busy, lost) = (of(|one| one.price), of(|one| one.busy), of(|one| one.lost));
        println!("{:8} {price:9.2}   {busy:9.3} {lost:7.4}", contender.name());
    }
    for (other, bar) in BARS {
        let ours = place(Contender::Sotto);
        let ratios = rounds.iter().map(|round| round[ours].price / round[place(other)].price);
        let ratio = median(ratios.clone());
        let (least, most) = (ratios.clone().fold(f64::MAX, f64::min), ratios.fold(0.0, f64::max));
        let lost = rounds.iter().flatten().any(|one| one.lost > MOST_LOST);
        let outcome = match ratio <= bar {
            _ if lost => "not judged: packets were lost",
            true => "held",
            false => "MISSED",
        };
        let name = other.name();
        println!("browser / {name:6} {ratio:6.3} ({least:.3} to {most:.3}), bar {bar}: {outcome}");
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One relay, from its start to its end.
fn measure(contender: Contender, trial: &Trial<'_>) -> Figures {
    let Trial { time, calls, slices, way } = *trial;
    let bind = || UdpSocket::bind((place::FAR.ip(), 0)).unwrap();
    let ends = Ends { callers: bind(), engines: bind() };
    let ice = Ice { ufrag: "them".to_owned(), password: "t".repeat(24) };
    let identity = Identity::generate();
    let mut relay = Process::start(contender, way);
    let offer = Offer {
        caller: ends.callers.local_addr().unwrap(),
        engine: ends.engines.local_addr().unwrap(),
        ice: ice.clone(),
        fingerprint: identity.fingerprint(),
    };
    let answers: Vec<Answer> = (0..calls).map(|_| relay.ask(&offer)).collect();
    let (ice, keys) = match contender {
        Contender::Sdes => (None, answers.iter().map(|_| sdes()).collect()),
        Contender::Sotto | Contender::Webrtc => {
            let agreed = handshake::agree(&ends.callers, &identity, &ice, &answers);
            let keys = agreed.into_iter();
            let keys = keys.map(|it| SrtpKeys { inbound: it.client, outbound: it.server });
            (Some(ice), keys.collect::<Vec<_>>())
        }
    };
    let calls = answers.into_iter().zip(keys).collect();
    let load = Load::start(&ends, ice.as_ref(), calls, slices);
    std::thread::sleep(WARM_UP);
    let (cpu, before) = (relay.time(), load.count());
    std::thread::sleep(time);
    let (cpu, after) = (relay.time() - cpu, load.count());
    load.stop();
    relay.end();
    let [sent, echoed, came] = std::array::from_fn(|at| (after[at] - before[at]) as f64);
    Figures {
        price: cpu.as_secs_f64() * 1e6 / (sent + echoed),
        lost: 1.0 - came / sent,
        busy: cpu.as_secs_f64() / time.as_secs_f64(),
    }
}

/// A relay's process.
struct Process {
    child: Child,
    offers: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(contender: Contender, way: &str) -> Process {
        let mut child = place::near(std::env::current_exe().unwrap())
            .args(["serve", contender.name(), way])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let offers = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, offers, answers }
    }

    fn ask(&mut self, offer: &Offer) -> Answer {
        writeln!(self.offers, "{}", offer.line()).unwrap();
        Answer::read(&self.answers.next().unwrap().unwrap())
    }

    /// Processor time of all its threads: the first figure of `schedstat`, in nanoseconds.
    fn time(&self) -> Duration {
        let folder = format!("/proc/{}/task", self.child.id());
        let threads = std::fs::read_dir(folder).unwrap().map(|thread| thread.unwrap().path());
        let nanos = |thread: std::path::PathBuf| {
            let told = std::fs::read_to_string(thread.join("schedstat")).unwrap();
            told.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        Duration::from_nanos(threads.map(nanos).sum())
    }

    fn end(self) {
        let Process { mut child, offers, .. } = self;
        drop(offers);
        assert!(child.wait().unwrap().success());
    }
}

/// A relay: an offer a line in, an answer a line out, until there are no more.
fn serve(contender: Contender, way: &str) {
    // Its threads stay where the one that starts them was.
    pin_to(RELAY_CORE);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match contender {
        Contender::Sotto | Contender::Sdes => {
            let mut sotto = Sotto::start(contender, way);
            for_each_offer(|offer| runtime.block_on(sotto.answer(offer)));
        }
        Contender::Webrtc => {
            let mut whole = Whole::default();
            for_each_offer(|offer| runtime.block_on(whole.answer(offer)));
        }
    }
    // Calls that go on are no reason to stay.
    std::process::exit(0);
}

fn for_each_offer(mut answer: impl FnMut(&Offer) -> Answer) {
    for line in std::io::stdin().lines() {
        println!("{}", answer(&Offer::read(&line.unwrap())).line());
    }
}

fn pin_to(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}

//! Rig: one relay, freshly started on a core of its own, and the load it is put under.

use std::sync::Arc;
use std::time::Duration;

use loadtest::relay_process::Failure;
use loadtest::{KeyMethod, Voice};
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay::io::Clock;

use super::contender::Contender;
use super::generator::{CallPlan, Load, Totals};
use super::network::Network;
use super::peer::{CallKind, Peer};
use super::process::{Process, core_busy_ns, datagrams_dropped};
use super::tally::Tally;
use super::wall;
use super::watch::Watch;

/// How long the last packets may take on their way.
const LAST_PACKETS: Duration = Duration::from_millis(500);

/// Where and for how long trials run.
pub(crate) struct Terms {
    /// The network between the relay and the load.
    pub(crate) network: Network,
    /// The cores of the relay and of the load.
    pub(crate) cores: [usize; 2],
    /// How long calls talk before they are counted.
    pub(crate) warm_up: Duration,
    /// How long they are counted.
    pub(crate) counted: Duration,
    /// Seeds keys.
    pub(crate) seed: u64,
    /// What callers and engines say.
    pub(crate) voice: Voice,
}

/// Where the relay runs; the generator has a core to itself unless the relay may have it too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// On one core, so that its price can be told from the generator's.
    OneCore,
    /// On both, as it would without a load test.
    AnyCore,
}

/// A call of the rig.
pub(crate) struct RigCall {
    /// Its number.
    pub(crate) number: usize,
    /// The relay's name for it.
    pub(crate) id: String,
    /// What its engine hears in a cut.
    pub(crate) watch: Arc<Watch>,
}

/// A relay under load.
pub(crate) struct Rig {
    /// The relay.
    pub(crate) peer: Box<dyn Peer>,
    /// The callers and engines.
    pub(crate) load: Load,
    /// The calls that talk.
    pub(crate) calls: Vec<RigCall>,
    /// The relay's, if it was put on one.
    core: Option<usize>,
    rng: StdRng,
    opened: usize,
}

/// What was counted over a stretch of time.
pub(crate) struct Counted {
    /// Packets and their times.
    pub(crate) tally: Tally,
    /// Time on a processor of the relay's process, in ns.
    pub(crate) cpu: f64,
    /// Time for which its core did anything, in ns.
    pub(crate) core: f64,
    /// How long it was counted, in ns.
    pub(crate) span: u64,
    /// Datagrams that found no room in a socket of the relay's network.
    pub(crate) dropped: u64,
    /// Octets by which the relay's memory has grown meanwhile.
    pub(crate) grown: f64,
}

/// Processor time of the relay for one call, in us.
#[derive(Clone, Copy)]
pub(crate) struct CostOfCalls {
    /// To open it.
    pub(crate) open: f64,
    /// Octets of memory that it has taken.
    pub(crate) resident: f64,
}

impl Rig {
    /// Starts a relay and a generator, and does something with them on a thread that is where the
    /// relay is.
    pub(crate) fn with<T: Send>(
        contender: &Contender,
        terms: &Terms,
        place: Place,
        act: impl FnOnce(&mut Rig) -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        let Terms { network, cores, seed, voice, .. } = terms;
        let cores = *cores;
        network.at_relay(|| {
            // A child runs where the thread may run that starts it.
            match place {
                Place::OneCore => pin(&cores[..1])?,
                Place::AnyCore => pin(&cores)?,
            }
            let peer = contender.meet(network.relay)?;
            pin(&cores[1..])?;
            let pinned = move || drop(pin(&cores[1..]));
            let start = || Load::start(network.load, voice.clone(), Clock::new(), pinned);
            let load = network.at_load(start)?;
            let load = load.map_err(Failure::kernel("open the generator's sockets"))?;
            let (calls, rng) = (Vec::new(), StdRng::seed_from_u64(*seed));
            let core = contender.is_started().then_some(cores[0]);
            let mut rig = Rig { peer, load, calls, core, rng, opened: 0 };
            let done = act(&mut rig)?;
            rig.load.stop();
            Ok(done)
        })?
    }

    /// The relay's process.
    pub(crate) fn process(&self) -> Process {
        self.peer.process()
    }

    /// Opens calls, all of them before the first one talks.
    pub(crate) fn open(
        &mut self,
        calls: usize,
        kind: CallKind,
        method: KeyMethod,
    ) -> Result<CostOfCalls, Failure> {
        let (cpu, resident) = (self.cpu()?, self.resident()?);
        let mut plans = Vec::with_capacity(calls);
        for _ in 0..calls {
            let (call, plan) = self.agree(kind, method)?;
            self.calls.push(call);
            plans.push(plan);
        }
        let (calls, open) = (calls.max(1) as f64, self.cpu()? - cpu);
        plans.into_iter().for_each(|plan| self.load.add(plan));
        // What a call takes with its first packets is its own as well.
        std::thread::sleep(LAST_PACKETS);
        let resident = (self.resident()? - resident) / calls;
        Ok(CostOfCalls { open: open / calls / 1e3, resident })
    }

    /// Opens a call that is not one of [`Rig::calls`]; it talks at once.
    pub(crate) fn open_one(
        &mut self,
        kind: CallKind,
        method: KeyMethod,
    ) -> Result<RigCall, Failure> {
        let (call, plan) = self.agree(kind, method)?;
        self.load.add(plan);
        Ok(call)
    }

    /// Ends a call of [`Rig::open_one`]. Returns what became of its packets.
    pub(crate) fn close_one(&mut self, call: &RigCall) -> Result<Totals, Failure> {
        let totals = self.load.remove(call.number);
        self.peer.close(&call.id)?;
        Ok(totals)
    }

    fn agree(&mut self, kind: CallKind, method: KeyMethod) -> Result<(RigCall, CallPlan), Failure> {
        let call = self.opened;
        let opened = self.peer.open(self.load.ends(call), kind, &mut self.rng)?;
        self.opened += 1;
        let watch = Arc::new(Watch::default());
        let plan = CallPlan { call, legs: opened.legs, method, watch: Arc::clone(&watch) };
        Ok((RigCall { number: call, id: opened.id, watch }, plan))
    }

    /// Keeps the callers' keys from the engines, on all calls.
    pub(crate) fn enter_all(&mut self) -> Result<(), Failure> {
        self.calls.iter().try_for_each(|call| self.peer.enter(&call.id))
    }

    /// Counts for a while.
    pub(crate) fn count(&self, span: Duration) -> Result<Counted, Failure> {
        let dropped = dropped()?;
        self.load.mark();
        let resident = self.resident()?;
        let (from, cpu, core) = (wall::now(), self.cpu()?, self.core_busy()?);
        std::thread::sleep(span);
        let (to, cpu, core) = (wall::now(), self.cpu()? - cpu, self.core_busy()? - core);
        let tally = self.load.mark();
        let dropped = self::dropped()? - dropped;
        let grown = self.resident()? - resident;
        Ok(Counted { tally, cpu, core, span: to - from, dropped, grown })
    }

    /// All fall silent; what became of every packet since the beginning.
    pub(crate) fn hush(&self) -> Totals {
        self.load.hush();
        std::thread::sleep(LAST_PACKETS);
        self.load.totals()
    }

    /// Ends all calls. Returns the relay's processor time for one, in us.
    pub(crate) fn close_all(&mut self) -> Result<f64, Failure> {
        let (cpu, calls) = (self.cpu()?, self.calls.len().max(1) as f64);
        for call in std::mem::take(&mut self.calls) {
            self.load.remove(call.number);
            self.peer.close(&call.id)?;
        }
        Ok((self.cpu()? - cpu) / calls / 1e3)
    }

    /// Time on a processor of the relay's process so far, in ns.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        self.process().cpu_ns().map_err(measuring)
    }

    fn resident(&self) -> Result<f64, Failure> {
        self.process().resident().map_err(measuring)
    }

    fn core_busy(&self) -> Result<f64, Failure> {
        self.core.map_or(Ok(f64::NAN), core_busy_ns).map_err(measuring)
    }
}

fn dropped() -> Result<u64, Failure> {
    datagrams_dropped().map_err(measuring)
}

fn measuring(source: std::io::Error) -> Failure {
    Failure::Kernel { doing: "measure the relay", source }
}

/// Keeps the calling thread, and what it starts, on these cores.
fn pin(cores: &[usize]) -> Result<(), Failure> {
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    let pinned = rustix::thread::sched_setaffinity(None, &set);
    pinned.map_err(|error| Failure::Kernel { doing: "stay on a core", source: error.into() })
}

//! `sotto-loadtest`: puts real calls on a relay, and tells what became of every packet.

mod arrivals;
mod bencode;
mod compare;
mod contender;
mod course;
mod flips;
mod generator;
mod line;
mod network;
mod peer;
mod play;
mod ports;
mod probe;
mod process;
mod progress;
mod ramp;
mod report;
mod rig;
mod rtpengine;
mod scenario;
mod sotto;
mod table;
mod tally;
mod wall;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use compare::{Comparison, FULL, Measured, SHORT};
use contender::Contender;
use course::Course;
use dtmf::g711::Law;
use loadtest::Voice;
use loadtest::relay_process::Failure;
use loadtest::voice::VoiceError;
use network::Network;
use peer::CallKind;
use progress::Progress;
use ramp::HELD;
use rig::Terms;
use scenario::{Scenario, ScenarioError};

const EXAMPLES: &str = "\
Examples:
  sotto-loadtest run                             calls that come and go, some of which pay by card
  sotto-loadtest run --scenario mine.toml --html report.html
  sotto-loadtest hold --calls 500 --secure --record
                                                 what a packet of such calls costs
  sotto-loadtest ramp                            more and more calls until the relay meets its limit
  sotto-loadtest ramp --relay rtpengine
  sotto-loadtest compare                         Sotto and rtpengine in turn: the whole table
  sotto-loadtest compare --short                 one round at a light load; fails only on a leak or
                                                 a loss
  SOTTO_KEY=... sotto-loadtest run --at 127.0.0.1:8080 --from 192.0.2.7
                                                 on a Sotto that runs already
  sotto-loadtest ramp --ng 127.0.0.1:2223 --pid \"$(pidof rtpengine)\"
                                                 on any rtpengine that runs already

Unless told of one that runs, it starts the relays itself, one at a time, and gives the relay and the
load a core each. Sotto's program is looked for beside this one; cargo build --release builds both.
rtpengine is Debian's package rtpengine-daemon. Without root, say --network loopback.

A scenario's file is explained in loadtest/scenarios/payments.toml.";

/// What a comparison of running relays cannot see.
const ELSEWHERE: &str = "
Measured apart, in the repository:
  SRTP beside Debian's libsrtp2            relay/benches/peer/run
  the tone detector beside spandsp         dtmf/benches/peer/compare
  a packet beside its bare price           cargo bench -p relay --bench io_floor
  the switchboard alone                    cargo bench -p relay --bench packet_path
  allocations on the way of a packet: 0    cargo test -p relay --test no_allocation
";

/// Puts real calls on a media relay, and tells what became of every packet.
#[derive(Parser)]
#[command(name = "sotto-loadtest", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays a scenario on Sotto: calls that come and go, and secure sessions.
    Run(RunArgs),
    /// Holds calls of one kind for a while: what a packet of them costs.
    Hold(HoldArgs),
    /// Adds plain calls until a limit is met.
    Ramp(RampArgs),
    /// Sotto and rtpengine in turn, under the same load on the same machine.
    Compare(CompareArgs),
}

#[derive(Args)]
struct RunArgs {
    /// The scenario, as loadtest/scenarios/payments.toml explains it [default: that one].
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Media I/O of Sotto.
    #[arg(long, default_value = "auto")]
    io: String,
    #[command(flatten)]
    running: RunningArgs,
    #[command(flatten)]
    stage: StageArgs,
}

#[derive(Args)]
struct HoldArgs {
    /// The relay.
    #[arg(long, value_enum, default_value_t = Relay::Sotto)]
    relay: Relay,
    /// Media I/O of Sotto.
    #[arg(long, default_value = "auto")]
    io: String,
    /// How many calls.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=2500))]
    calls: u16,
    /// Seconds that are counted, after two that are not.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Callers speak SRTP.
    #[arg(long)]
    srtp: bool,
    /// Calls are recorded.
    #[arg(long)]
    record: bool,
    /// Calls are in a secure session, or rtpengine's mode that comes next to it.
    #[arg(long)]
    secure: bool,
    #[command(flatten)]
    running: RunningArgs,
    #[command(flatten)]
    stage: StageArgs,
}

#[derive(Args)]
struct RampArgs {
    /// The relay.
    #[arg(long, value_enum, default_value_t = Relay::Sotto)]
    relay: Relay,
    /// Media I/O of Sotto.
    #[arg(long, default_value = "auto")]
    io: String,
    /// Calls that each step adds.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=1000))]
    step: u16,
    #[command(flatten)]
    running: RunningArgs,
    #[command(flatten)]
    stage: StageArgs,
}

#[derive(Args)]
struct CompareArgs {
    /// How often each is tried, in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Loads of plain calls.
    #[arg(long, value_delimiter = ',', default_values_t = [500, 1000])]
    calls: Vec<u16>,
    /// One round at 50 calls, without ramps; only a leak or a loss fails it.
    #[arg(long)]
    short: bool,
    /// Media I/O of Sotto that is set against rtpengine beside `sockets`.
    #[arg(long, value_name = "IO", default_value = "xdp")]
    io: String,
    #[command(flatten)]
    stage: StageArgs,
}

/// A relay that runs already, instead of one that is started.
#[derive(Args)]
struct RunningArgs {
    /// A Sotto that runs already: where its REST API listens. An operator's key is read from the
    /// environment, SOTTO_KEY.
    #[arg(long, value_name = "ADDRESS:PORT")]
    at: Option<SocketAddr>,
    /// An rtpengine that runs already: where it listens for NG commands.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "at")]
    ng: Option<SocketAddr>,
    /// The address of this machine that callers and engines of a running relay talk from.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    from: Ipv4Addr,
    /// The running relay's process, if it is on this machine: what a packet costs is told then.
    #[arg(long)]
    pid: Option<u32>,
}

impl RunningArgs {
    fn relay(&self) -> Result<Option<Contender>, Ended> {
        let pid = self.pid;
        Ok(match (self.at, self.ng) {
            (Some(address), _) => {
                let key = std::env::var("SOTTO_KEY").map_err(|_| Ended::NoKey)?;
                Some(Contender::SottoAt { address, key, pid })
            }
            (None, Some(address)) => Some(Contender::RtpengineAt { address, pid }),
            (None, None) => None,
        })
    }

    /// The network between a running relay and the load.
    fn network(&self) -> Option<Network> {
        self.at.or(self.ng).map(|_| Network::own(self.from))
    }
}

/// Where and with what a load test runs.
#[derive(Args)]
struct StageArgs {
    /// Sotto's program [default: the one beside this].
    #[arg(long, value_name = "FILE")]
    sotto: Option<PathBuf>,
    /// rtpengine's program.
    #[arg(long, value_name = "FILE", default_value = "rtpengine")]
    rtpengine: PathBuf,
    /// Where packets travel.
    #[arg(long, value_enum, default_value_t = NetworkKind::Cable)]
    network: NetworkKind,
    /// Core of the relay.
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    relay_core: usize,
    /// Core of the load.
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    load_core: usize,
    /// Print everything measured as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Write a report with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// What callers and engines say, in a loop: a WAV of 8000 Hz, mono, 16 bit [default: a
    /// sentence].
    #[arg(long, value_name = "FILE")]
    voice: Option<PathBuf>,
    /// Seeds the keys of SRTP calls.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Relays that a ramp can be run on.
#[derive(Clone, Copy, ValueEnum)]
enum Relay {
    /// Sotto, over REST.
    Sotto,
    /// rtpengine, over NG.
    Rtpengine,
}

/// Networks between a relay and its load.
#[derive(Clone, Copy, ValueEnum)]
enum NetworkKind {
    /// Two network namespaces and a virtual cable; needs root and iproute2.
    Cable,
    /// Loopback.
    Loopback,
}

/// Why a load test ends before its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Voice(#[from] VoiceError),
    #[error("a scenario has secure sessions, which rtpengine does not; hold and ramp take --ng")]
    NoSessions,
    #[error("the environment has no SOTTO_KEY; `sotto keys add` makes one (role: operator)")]
    NoKey,
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let done = match command {
        Command::Run(arguments) => run(&arguments),
        Command::Hold(arguments) => hold(&arguments),
        Command::Ramp(arguments) => ramp(&arguments),
        Command::Compare(arguments) => compare(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(ended) => {
            eprintln!("sotto-loadtest: {ended}");
            ExitCode::from(2)
        }
    }
}

/// True if nothing leaked, nothing was lost, and everybody passed who keyed a right number.
fn run(RunArgs { scenario, io, running, stage }: &RunArgs) -> Result<bool, Ended> {
    if running.ng.is_some() {
        return Err(Ended::NoSessions);
    }
    let scenario = match scenario {
        Some(file) => {
            let text =
                std::fs::read_to_string(file).map_err(Failure::kernel("read the scenario"))?;
            Scenario::parse(&text)?
        }
        None => Scenario::default(),
    };
    let progress = Progress::new();
    progress.begin(scenario.calls as u64);
    let relay = running.relay()?.map_or_else(|| stage.sotto_with(io), Ok)?;
    let terms = stage.terms(running.network(), FULL)?;
    let played = play::run(&relay, &scenario, &terms, |sample, played| {
        progress.at(played.calls as u64);
        progress.note(&format!(
            "{:.0} s: {} calls, p99 {:.2} ms, {} passed, {} octets leaked",
            sample.at, sample.calls, sample.latency_ms[1], played.passed, played.leaked
        ));
    })?;
    stage.tell(&played, || played.to_string(), || report::of_play(&played))?;
    Ok(played.is_clean())
}

/// True if nothing was lost of what was to be forwarded.
fn hold(arguments: &HoldArgs) -> Result<bool, Ended> {
    let HoldArgs { relay, io, calls, seconds, srtp, record, secure, running, stage } = arguments;
    let kind = CallKind { srtp: *srtp, record: *record, secure: *secure };
    let course = Course { calls: (*calls).into(), kind };
    let relay = running.relay()?.map_or_else(|| stage.relay(*relay, io), Ok)?;
    let counted = Duration::from_secs((*seconds).into());
    let terms = stage.terms(running.network(), [FULL[0], counted])?;
    let outcome = course.run(&relay, &terms)?;
    let text = || format!("{}, {course}: {outcome}\n", relay.name());
    stage.tell(&outcome, text, || report::of_hold(&relay.name(), &course, &outcome))?;
    Ok(*secure || outcome.lost == 0)
}

/// True if anything was held.
fn ramp(RampArgs { relay, io, step, running, stage }: &RampArgs) -> Result<bool, Ended> {
    let relay = running.relay()?.map_or_else(|| stage.relay(*relay, io), Ok)?;
    let progress = Progress::new();
    let terms = stage.terms(running.network(), FULL)?;
    let ramp = ramp::run(&relay, usize::from(*step), HELD, &terms, |step| {
        progress.note(&step.to_string());
    })?;
    let text = || format!("{} holds {} calls; it ended by {}\n", relay.name(), ramp.held, ramp.end);
    stage.tell(&ramp, text, || report::of_ramp(&relay.name(), &ramp))?;
    Ok(ramp.held > 0)
}

/// True if all that has to hold does.
fn compare(arguments: &CompareArgs) -> Result<bool, Ended> {
    let CompareArgs { rounds, calls, short, io, stage } = arguments;
    let loads = if *short { vec![50] } else { calls.iter().map(|&it| it.into()).collect() };
    let comparison = Comparison {
        sotto: stage.sotto()?,
        rtpengine: stage.rtpengine.clone(),
        rounds: if *short { 1 } else { (*rounds).into() },
        loads,
        ramp_step: (!short).then_some(200),
        rings: io.clone(),
    };
    let terms = stage.terms(None, if *short { SHORT } else { FULL })?;
    let measured = comparison.run(&terms, &Progress::new())?;
    let text = || table::text(&measured.rows) + ELSEWHERE;
    stage.tell(&measured, text, || report::of_comparison(&measured))?;
    Ok(if *short { is_clean(&measured) } else { measured.rows.iter().all(table::Row::is_met) })
}

/// Nothing leaked, lost or reordered.
fn is_clean(measured: &Measured) -> bool {
    measured.rows.iter().filter(|row| row.is_count).all(table::Row::is_met)
}

impl StageArgs {
    fn terms(
        &self,
        running: Option<Network>,
        [warm_up, counted]: [Duration; 2],
    ) -> Result<Terms, Ended> {
        let cores = [self.relay_core, self.load_core];
        let network = match (running, self.network) {
            (Some(network), _) => network,
            (None, NetworkKind::Cable) => Network::cable(cores)?,
            (None, NetworkKind::Loopback) => Network::own(Ipv4Addr::LOCALHOST),
        };
        let voice =
            self.voice.as_deref().map_or_else(|| Ok(Voice::shipped(Law::Mu)), read_voice)?;
        Ok(Terms { network, cores, warm_up, counted, seed: self.seed, voice })
    }

    fn sotto(&self) -> Result<PathBuf, Failure> {
        let beside = || {
            let own = std::env::current_exe().map_err(Failure::kernel("find its own program"));
            own.map(|own| own.with_file_name("sotto"))
        };
        self.sotto.clone().map_or_else(beside, Ok)
    }

    fn relay(&self, relay: Relay, io: &str) -> Result<Contender, Failure> {
        match relay {
            Relay::Sotto => self.sotto_with(io),
            Relay::Rtpengine => Ok(Contender::Rtpengine { binary: self.rtpengine.clone() }),
        }
    }

    fn sotto_with(&self, io: &str) -> Result<Contender, Failure> {
        Ok(Contender::Sotto { binary: self.sotto()?, io: io.to_owned() })
    }

    /// Prints a result, and writes the report if one was asked for.
    fn tell(
        &self,
        result: &impl serde::Serialize,
        text: impl FnOnce() -> String,
        page: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            println!("{}", serde_json::to_string(result).expect("figures are JSON"));
        } else {
            print!("{}", text());
        }
        self.html.as_deref().map_or(Ok(()), |file| write_page(file, &page()))
    }
}

fn read_voice(file: &Path) -> Result<Voice, Ended> {
    let wav = std::fs::File::open(file).map_err(Failure::kernel("open the voice"))?;
    Ok(Voice::from_wav(std::io::BufReader::new(wav), Law::Mu)?)
}

fn write_page(file: &Path, page: &str) -> Result<(), Failure> {
    std::fs::write(file, page).map_err(Failure::kernel("write the report"))
}

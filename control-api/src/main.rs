//! The composition root: arguments in, exit code out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use control_api::audit::{self, command::AuditArgs};
use control_api::check::{self, Facts, Report};
use control_api::clock;
use control_api::config::show::Shown;
use control_api::config::{Config, ConfigError, RawConfig};
use control_api::demo;
use control_api::hardening::{Hardening, privileges};
use control_api::keys::KeyStore;
use control_api::keys::command::{self, KeysAction};
use control_api::process::{self, Asked, Signals};
use control_api::prompts;
use control_api::recordings_command::{self, RecordingsArgs};
use control_api::serve::{Running, StartError, default_state_dir};
use loadtest::KeyMethod;

const EXAMPLES: &str = "\
Examples:
  sotto demo                                     one payment call from end to end, on this machine
  sotto serve                                    on loopback; a first start prints an API key
  sotto serve --media-ip 192.0.2.1               callers and engines send to this address
  sotto serve --config /etc/sotto.toml           all settings from a file
  sotto check --config /etc/sotto/sotto.toml     what is missing for production, and what to do
  sotto keys add --role engine                   a key for the AI engine: it may enter a secure
                                                 session, and learns pass or fail

Open a call (the answer holds the SDP for the caller and the address for the engine):
  curl -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\
    -d '{\"caller\":{\"sdp\":\"...\"},\"engine\":{\"type\":\"rtp\",\"address\":\"127.0.0.1:40000\"}}' \\
    http://127.0.0.1:8080/v1/calls

All operations: http://127.0.0.1:8080/v1/openapi.json";

/// A voice media relay between callers and AI engines that keeps what callers key to itself.
#[derive(Parser)]
#[command(name = "sotto", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show one payment call from end to end, and what each party could know of it.
    Demo(DemoArgs),
    /// Run the relay and its REST API.
    Serve(Box<ServeCommand>),
    /// Add, list, rotate, revoke or remove API keys.
    Keys(KeysArgs),
    /// Write the built-in prompts into a folder, or check a folder that replaces them.
    #[command(after_help = prompts::HELP)]
    Prompts {
        #[command(subcommand)]
        action: PromptsAction,
    },
    /// List, verify, rewrap or erase recordings.
    Recordings(RecordingsArgs),
    /// Verify, export or show the audit log.
    Audit(AuditArgs),
    /// Show the settings that are in force.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Check a set-up for production: settings, files and the machine.
    #[command(after_help = check::HELP)]
    Check(SettingsArgs),
}

#[derive(Subcommand)]
enum ConfigAction {
    /// Print every setting, where it comes from, and no secret.
    ///
    /// Files are named and not read; of a URL its host alone is shown.
    Show(SettingsArgs),
}

/// What shows or checks settings takes those of `sotto serve`.
#[derive(Args)]
struct SettingsArgs {
    #[command(flatten)]
    settings: ServeArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct ServeCommand {
    #[command(flatten)]
    settings: ServeArgs,
    /// Run as root all the same; a relay needs none of root's rights.
    #[arg(long, env = "SOTTO_ALLOW_ROOT", value_parser = FalseyValueParser::new())]
    allow_root: bool,
    /// Breaks a protection on purpose, so that checks can be seen to fail.
    #[cfg(feature = "sabotage")]
    #[arg(long = "break", value_name = "PROTECTION")]
    broken: Option<Protection>,
}

#[derive(Args, Clone)]
struct ServeArgs {
    /// Settings, as deploy/sotto.example.toml shows them; flags win over them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the REST API [default: 127.0.0.1:8080].
    #[arg(long, value_name = "IP:PORT")]
    control: Option<String>,
    /// A TLS proxy stands before the API; this or a certificate is needed on any address but loopback.
    #[arg(long)]
    behind_tls_proxy: bool,
    /// Certificate chain of the API, in PEM: it then speaks TLS itself. Read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key, in PEM, mode 0600.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Address of /livez, /readyz and /metrics [default: 127.0.0.1:8081].
    #[arg(long, value_name = "IP:PORT")]
    health: Option<String>,
    /// Address for media; give it twice for IPv4 and IPv6 [default: 127.0.0.1].
    #[arg(long, value_name = "IP")]
    media_ip: Vec<String>,
    /// Public address to tell callers, behind a NAT that leaves ports as they are; twice for both
    /// families.
    #[arg(long, value_name = "IP")]
    advertised_ip: Vec<String>,
    /// UDP ports for media [default: 10000-20000].
    #[arg(long, value_name = "FIRST-LAST")]
    ports: Option<String>,
    /// Media worker threads [default: one a core].
    #[arg(long, value_name = "NUMBER")]
    workers: Option<usize>,
    /// Answer SIP here, by UDP and TCP; who may call and who answers is said in [sip].
    #[arg(long, value_name = "IP:PORT")]
    sip: Option<String>,
    /// Address of UDP for SIP proxies that speak rtpengine's control protocol [default: none].
    #[arg(long, value_name = "IP:PORT")]
    ng: Option<String>,
    /// How media comes and goes: auto, sockets, packet or xdp [default: auto, the best there is].
    #[arg(long, value_name = "WAY")]
    io: Option<String>,
    /// Where recordings are kept [default: recordings in the state directory].
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Args)]
struct DemoArgs {
    /// The caller presses keys as tones in the audio, not as RFC 4733 events.
    #[arg(long)]
    in_band: bool,
    /// Breaks a protection on purpose: the demo has to notice and fail.
    #[cfg(feature = "sabotage")]
    #[arg(long = "break", value_name = "PROTECTION")]
    broken: Option<Protection>,
}

#[cfg(feature = "sabotage")]
#[derive(Clone, Copy, clap::ValueEnum)]
enum Protection {
    /// A secure session no longer withholds the caller.
    Masking,
}

#[derive(Args, Clone)]
struct StateArgs {
    /// The key file [default: keys.json in the state directory].
    #[arg(long, value_name = "FILE", global = true)]
    keys: Option<PathBuf>,
    /// Where keys and recordings are kept
    /// [default: $STATE_DIRECTORY, $XDG_STATE_HOME/sotto, ~/.local/state/sotto or /var/lib/sotto].
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

#[derive(Args)]
struct KeysArgs {
    #[command(subcommand)]
    action: KeysAction,
    /// Settings, as for `sotto serve`: they may say where the keys are; flags win over them.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Subcommand)]
enum PromptsAction {
    /// Write the built-in prompts, their texts and a README into an empty folder.
    Export {
        /// The folder; it is made if it is not there.
        folder: PathBuf,
    },
    /// Tell which prompts a folder has, which come from elsewhere, and all that is wrong.
    Check {
        /// The folder.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => return demo(&args),
        Command::Serve(args) => serve(&args),
        Command::Keys(args) => keys(args),
        Command::Config { action: ConfigAction::Show(args) } => show_config(&args),
        Command::Check(args) => match check_setup(&args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Prompts { action } => return speak_of_prompts(&action),
        Command::Audit(args) => return audit::command::run(args, &state_dir()),
        Command::Recordings(args) => return recordings_command::run(args, &state_dir()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sotto: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn demo(args: &DemoArgs) -> ExitCode {
    let method = if args.in_band { KeyMethod::Tones } else { KeyMethod::Events };
    #[cfg(feature = "sabotage")]
    let broken = args.broken.map(|Protection::Masking| demo::Broken::Masking);
    #[cfg(not(feature = "sabotage"))]
    let broken = None;
    match demo::run(demo::DemoOptions { method, broken }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sotto: {error}");
            ExitCode::FAILURE
        }
    }
}

fn speak_of_prompts(action: &PromptsAction) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let outcome = match action {
        PromptsAction::Export { folder } => prompts::export_to(folder, &mut out),
        PromptsAction::Check { folder } => prompts::check(folder, &mut out),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sotto: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeCommand) -> Result<(), StartError> {
    privileges::check_user(args.allow_root)?;
    process::start_logs();
    process::guard_panics();
    #[cfg(feature = "sabotage")]
    match args.broken {
        Some(Protection::Masking) => relay::sabotage::break_masking(),
        None => {}
    }
    let args = &args.settings;
    let (merged, config) = args.clone().read()?;
    let needs = process::needs(&merged.effective(&config), args.config.as_deref());
    // There is one thread until here: all others begin with what it leaves.
    let hardening = Hardening::begin(&needs);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name(process::CONTROL_THREAD)
        .on_thread_start(process::give_up_privileges)
        .enable_all()
        .build()
        .map_err(|source| StartError::Listen { address: config.control, source })?;
    runtime.block_on(run(config, hardening, || args.clone().resolve()))
}

async fn run(
    config: Config,
    hardening: Hardening,
    read_again: impl Fn() -> Result<Config, ConfigError>,
) -> Result<(), StartError> {
    let (address, grace) = (config.control, config.drain);
    let mut signals = Signals::listen().map_err(|source| StartError::Listen { address, source })?;
    let mut running = Running::start(config).await?;
    hardening.complete().log();
    if let Some(key) = running.first_key.take() {
        println!("{}", key.reveal());
        println!(
            "This operator's API key is shown once: send it as Authorization: Bearer KEY to {}\n\
             A lost key is replaced by another: sotto keys add --role operator --keys {}",
            running.url(),
            running.keys().display()
        );
    }
    tell_console(&running.url());
    let reload = |running: &Running| reload_keys(running, &read_again);
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => break,
                Asked::Drain => {
                    let_calls_end(&running, &mut signals, grace, reload).await;
                    break;
                }
                Asked::ReloadKeys => reload(&running),
            },
            () = running.relay_gone() => {
                tracing::error!("the media plane is gone");
                std::process::abort();
            }
        }
    }
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// Returns when no call is left, the grace is over, or the process is asked to stop once more.
async fn let_calls_end(
    running: &Running,
    signals: &mut Signals,
    grace: Duration,
    reload: impl Fn(&Running),
) {
    let mut draining = pin!(running.drain(grace));
    loop {
        tokio::select! {
            () = draining.as_mut() => return,
            asked = signals.next() => match asked {
                Asked::Stop | Asked::Drain => return,
                Asked::ReloadKeys => reload(running),
            },
        }
    }
}

/// Reads keys and the certificate anew; what can't be read changes nothing.
fn reload_keys(running: &Running, read_again: impl Fn() -> Result<Config, ConfigError>) {
    running.reload_certificate();
    if let Err(error) = running.reload_keys() {
        tracing::error!(%error, "the old keys stay valid");
    }
    let reloaded = read_again()
        .map_err(StartError::from)
        .and_then(|config| running.reload_recording_keys(&config).map_err(StartError::from));
    if let Err(error) = reloaded {
        tracing::error!(%error, "the old keys of recordings stay in use");
    }
}

/// Where people look. A relay serves on if nobody reads what it prints.
fn tell_console(url: &str) {
    let _ = writeln!(std::io::stdout(), "Console: {url}/");
}

fn show_config(args: &SettingsArgs) -> Result<(), StartError> {
    let (merged, config) = args.settings.clone().read()?;
    let (text, file) = match &args.settings.config {
        Some(path) => {
            let text = RawConfig::text(path)?;
            let file = RawConfig::parse(path, &text)?;
            (text, file)
        }
        None => (String::new(), RawConfig::default()),
    };
    let shown = Shown::new(&merged.clone().effective(&config), &merged, (&text, &file));
    let mut out = std::io::stdout().lock();
    // Nobody who reads it has to read all of it.
    let _ = match shown {
        Ok(shown) if args.json => writeln!(out, "{:#}", shown.json()),
        Ok(shown) => shown.write(&mut out),
        Err(error) => writeln!(std::io::stderr(), "sotto: {error}"),
    };
    Ok(())
}

fn check_setup(args: &SettingsArgs) -> Result<ExitCode, StartError> {
    let (merged, config) = args.settings.clone().read()?;
    let facts = Facts::gather(&merged, &config, args.settings.config.as_deref());
    let report = Report::of(&facts);
    let mut out = std::io::stdout().lock();
    // The code says it, whoever reads.
    let _ = if args.json { writeln!(out, "{:#}", report.json()) } else { report.write(&mut out) };
    Ok(if report.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn keys(args: KeysArgs) -> Result<(), StartError> {
    let store = args.state.key_store(args.config.as_deref())?;
    command::run(&store, args.action, clock::now(), &mut std::io::stdout().lock())?;
    Ok(())
}

impl ServeArgs {
    fn resolve(self) -> Result<Config, ConfigError> {
        self.read().map(|(_, config)| config)
    }

    /// What was typed, and what is meant.
    fn read(self) -> Result<(RawConfig, Config), ConfigError> {
        let merged = self.merge()?;
        let config = merged.clone().resolve(&state_dir(), cores())?;
        Ok((merged, config))
    }

    /// The file with the flags, which win over it.
    fn merge(self) -> Result<RawConfig, ConfigError> {
        let mut raw = match &self.config {
            Some(path) => RawConfig::read(path)?,
            None => RawConfig::default(),
        };
        raw.control.address = self.control.or(raw.control.address);
        raw.control.keys = self.state.keys.or(raw.control.keys);
        raw.control.tls.certificate = self.tls_certificate.or(raw.control.tls.certificate);
        raw.control.tls.key = self.tls_key.or(raw.control.tls.key);
        raw.ng.address = self.ng.or(raw.ng.address);
        raw.health.address = self.health.or(raw.health.address);
        raw.media.ports = self.ports.or(raw.media.ports);
        raw.media.workers = self.workers.or(raw.media.workers);
        raw.media.io = self.io.or(raw.media.io);
        raw.recordings.directory = self.recordings.or(raw.recordings.directory);
        raw.sip.address = self.sip.or(raw.sip.address);
        raw.state_dir = self.state.state_dir.or(raw.state_dir);
        if self.behind_tls_proxy {
            raw.control.behind_tls_proxy = Some(true);
        }
        if !self.media_ip.is_empty() {
            raw.media.addresses = Some(self.media_ip);
        }
        if !self.advertised_ip.is_empty() {
            raw.media.advertised = Some(self.advertised_ip);
        }
        Ok(raw)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl StateArgs {
    /// The keys that `sotto serve` would read with the same flags.
    fn key_store(self, config: Option<&Path>) -> Result<KeyStore, ConfigError> {
        let mut raw = match config {
            Some(path) => RawConfig::read(path)?,
            None => RawConfig::default(),
        };
        raw.state_dir = self.state_dir.or(raw.state_dir);
        raw.control.keys = self.keys.or(raw.control.keys);
        raw.key_store(&state_dir())
    }
}

fn state_dir() -> PathBuf {
    default_state_dir(|name| std::env::var_os(name).map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    /// Whoever may list processes reads their arguments: secrets come from files.
    #[test]
    fn no_flag_takes_a_secret() {
        let words = ["secret", "password", "token", "pass", "pin", "credential", "bearer", "user"];
        let is_secret = |name: &str| name.split(['-', '_']).any(|word| words.contains(&word));
        let mut commands = vec![Cli::command()];
        let mut seen = 0;
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments() {
                let takes = argument.get_action().takes_values();
                let value = argument.get_value_names().unwrap_or_default();
                let is_file = value.iter().any(|it| ["FILE", "DIR"].contains(&it.as_str()));
                let name = argument.get_id().as_str();
                assert!(!takes || is_file || !is_secret(name), "{name} of {}", command.get_name());
                seen += 1;
            }
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(seen > 30, "they are looked at: {seen}");
        assert!(is_secret("api-token"), "the control");
    }
}

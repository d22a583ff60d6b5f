//! Command: `sotto audit`, which reads the log's files, with a running relay or without.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use audit_log::export::{self, Exported, ocsf, syslog};
use audit_log::{
    Ending, KeyFileError, Record, Time, Verified, VerifierKey, VerifyError, open_segments,
    read_key, verify_directory,
};
use clap::{Args, Subcommand, ValueEnum};

use super::config::AuditConfig;
use crate::config::{ConfigError, RawConfig};
use crate::serve::EXIT_CONFIG;

/// Entries that `tail` shows unless it is told otherwise, and at most.
const TAIL: usize = 20;
const MAX_TAIL: usize = 100_000;

const HELP: &str = "\
The log is a directory of files that the running relay adds to; these commands read them, and a
relay may run meanwhile. Say where it is as for `sotto serve`: --config FILE or --state-dir DIR.

Verifying needs the public half of the signing key: `sotto audit key` prints it. Keep it, and the
anchor, where whoever may write to this machine can't, and verify with those:
  sotto audit key --config /etc/sotto.toml > sotto-audit.pub
  sotto audit verify /copy/of/audit --public-key sotto-audit.pub --anchor /other/disk/anchor

Examples:
  sotto audit verify --config /etc/sotto.toml
  sotto audit export --format ocsf --since 2026-11-01 --config /etc/sotto.toml
  sotto audit tail --config /etc/sotto.toml

Exit codes: 0 all is well; 1 the log is not as it was written, or can't be read; 2 the command line
is wrong; 78 the configuration or the key is.";

/// What `sotto audit` is asked.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct AuditArgs {
    #[command(subcommand)]
    action: Action,
    /// Settings, as for `sotto serve`; flags win over them.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where state is kept
    /// [default: $STATE_DIRECTORY, $XDG_STATE_HOME/sotto, ~/.local/state/sotto or /var/lib/sotto].
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

#[derive(Args)]
struct Sealed {
    /// The log's directory [default: audit.directory].
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// What `sotto audit key` printed [default: the public half of audit.key_file].
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// The anchor [default: audit.anchor, if that is there].
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Check every entry and every checkpoint, and name the first that is wrong.
    Verify(Sealed),
    /// Verify the log, then write its entries to standard output, one a line.
    Export {
        #[command(flatten)]
        sealed: Sealed,
        /// JSON as in the log, RFC 5424 syslog, or OCSF.
        #[arg(long)]
        format: Format,
        /// Only entries from then on: 2026-11-30 or 2026-11-30T18:34:05Z, UTC.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        since: Option<Time>,
        /// Only entries before then.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        until: Option<Time>,
        /// The host that syslog names.
        #[arg(long, value_name = "NAME", default_value = "sotto")]
        hostname: String,
    },
    /// Print the public half of the signing key.
    Key,
    /// Show the newest entries as they are, without verifying them.
    Tail {
        /// How many.
        #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = TAIL)]
        number: usize,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Syslog,
    Ocsf,
}

/// Why nothing was done, or not all.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}; or give what `sotto audit key` once printed: --public-key FILE")]
    Key(#[from] KeyFileError),
    #[error("{0} is no public key as `sotto audit key` prints it")]
    NotAKey(PathBuf),
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error("there is no audit log at {0}: say where with a DIR, --config or --state-dir")]
    NoDirectory(PathBuf),
    #[error("--hostname must have 1 to 255 visible ASCII characters")]
    Hostname,
    #[error("the audit log {0} is not as it was written: {1}")]
    Bad(PathBuf, VerifyError),
    #[error("audit log: {0}")]
    Io(#[from] io::Error),
}

/// Does what is asked; the exit code is as its help says.
#[must_use]
pub fn run(args: AuditArgs, default_state_dir: &Path) -> ExitCode {
    let done = resolve(args.config.as_deref(), args.state_dir, default_state_dir)
        .map_err(CommandError::from)
        .and_then(|config| obey(args.action, &config));
    match done {
        // Who reads no more, such as `head`, has seen what he wanted.
        Err(CommandError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sotto: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

impl CommandError {
    const fn exit_code(&self) -> u8 {
        match self {
            CommandError::Bad(..) | CommandError::Io(_) => 1,
            CommandError::Config(_)
            | CommandError::Key(_)
            | CommandError::NotAKey(_)
            | CommandError::File(..)
            | CommandError::NoDirectory(_)
            | CommandError::Hostname => EXIT_CONFIG,
        }
    }
}

fn resolve(
    config: Option<&Path>,
    state: Option<PathBuf>,
    default_state_dir: &Path,
) -> Result<AuditConfig, ConfigError> {
    let raw = match config {
        Some(path) => RawConfig::read(path)?,
        None => RawConfig::default(),
    };
    let state = state.or(raw.state_dir).unwrap_or_else(|| default_state_dir.to_owned());
    let resolved = raw.audit.resolve(&state);
    resolved.map_err(|(member, reason)| ConfigError::Invalid { member, reason: reason.to_owned() })
}

fn obey(action: Action, config: &AuditConfig) -> Result<(), CommandError> {
    let mut out = BufWriter::new(io::stdout().lock());
    match action {
        Action::Verify(sealed) => {
            let log = Log::find(sealed, config)?;
            tell(&mut out, &log, &log.verify()?)?;
        }
        Action::Export { sealed, format, since, until, hostname } => {
            let sender = syslog::Sender::new(&hostname, syslog::EXAMPLE_ENTERPRISE);
            let sender = sender.ok_or(CommandError::Hostname)?;
            let is_asked = |at: Time| {
                since.is_none_or(|since| since <= at) && until.is_none_or(|until| at < until)
            };
            export(&mut out, &Log::find(sealed, config)?, is_asked, |entry| match format {
                Format::Json => entry.line.clone(),
                Format::Syslog => sender.message(entry),
                Format::Ocsf => ocsf::event(entry).to_string(),
            })?;
        }
        Action::Key => writeln!(out, "{}", own_key(config)?)?,
        Action::Tail { number } => tail(&mut out, config, number.min(MAX_TAIL))?,
    }
    Ok(out.flush()?)
}

fn own_key(config: &AuditConfig) -> Result<VerifierKey, KeyFileError> {
    Ok(read_key(&config.key_file, config.name.clone())?.verifier().clone())
}

/// A log, and what it is verified with.
struct Log {
    directory: PathBuf,
    anchor: Option<PathBuf>,
    key: VerifierKey,
}

impl Log {
    fn find(sealed: Sealed, config: &AuditConfig) -> Result<Log, CommandError> {
        let Sealed { directory, public_key, anchor } = sealed;
        let directory = directory.unwrap_or_else(|| config.directory.clone());
        if !directory.is_dir() {
            return Err(CommandError::NoDirectory(directory));
        }
        let key = match public_key {
            None => own_key(config)?,
            Some(path) => {
                let text = fs::read_to_string(&path);
                let text = text.map_err(|error| CommandError::File(path.clone(), error))?;
                text.trim().parse().map_err(|_| CommandError::NotAKey(path))?
            }
        };
        let known = config.anchor.clone().filter(|path| path.exists());
        Ok(Log { directory, anchor: anchor.or(known), key })
    }

    fn verify(&self) -> Result<Verified, CommandError> {
        // A relay that runs may be in the middle of a line.
        let anchor = self.anchor.as_deref();
        let verified = verify_directory(&self.directory, anchor, &self.key, Ending::MayBeTorn);
        verified.map_err(|error| self.bad(error))
    }

    fn bad(&self, error: VerifyError) -> CommandError {
        match error {
            VerifyError::Io(error) => CommandError::File(self.directory.clone(), error),
            bad @ VerifyError::Bad(_) => CommandError::Bad(self.directory.clone(), bad),
        }
    }
}

fn tell(out: &mut impl Write, log: &Log, verified: &Verified) -> io::Result<()> {
    let Verified { entries, attested, anchored, checkpoints, root, .. } = verified;
    writeln!(out, "{entries} entries, {checkpoints} checkpoints: all are as they were written")?;
    writeln!(out, "a signed checkpoint attests to the first {attested}; the others are chained")?;
    match &log.anchor {
        Some(path) => writeln!(out, "the anchor {} attests to {anchored}", path.display())?,
        None => writeln!(out, "no anchor: whoever has the signing key could have rewritten all")?,
    }
    if verified.torn_octets > 0 {
        let octets = verified.torn_octets;
        writeln!(out, "{octets} octets of a line are behind them: a crash, or one being written")?;
    }
    writeln!(out, "root {root}")
}

fn export(
    out: &mut impl Write,
    log: &Log,
    is_asked: impl Fn(Time) -> bool,
    write: impl Fn(&Exported) -> String,
) -> Result<(), CommandError> {
    let verified = log.verify()?;
    for entry in export::entries(&verified, open_segments(&log.directory)?) {
        let entry = entry.map_err(|error| log.bad(error))?;
        if is_asked(entry.record.entry.at) {
            writeln!(out, "{}", write(&entry))?;
        }
    }
    Ok(())
}

/// The newest entries, oldest first.
fn tail(out: &mut impl Write, config: &AuditConfig, number: usize) -> Result<(), CommandError> {
    if !config.directory.is_dir() {
        return Err(CommandError::NoDirectory(config.directory.clone()));
    }
    let mut newest = VecDeque::with_capacity(number.min(TAIL));
    for segment in open_segments(&config.directory)? {
        for line in segment?.reader.lines() {
            // What is no entry may be anything, and is not put on a terminal.
            let line = line.ok().filter(|line| Record::read(line.as_bytes()).is_ok());
            newest.extend(line);
            if newest.len() > number {
                newest.pop_front();
            }
        }
    }
    newest.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(())
}

fn parse_time(text: &str) -> Result<Time, &'static str> {
    let forms = [text.to_owned(), format!("{text}T00:00:00.000Z"), text.replace('Z', ".000Z")];
    let read = forms.iter().find_map(|text| Time::read(text));
    read.ok_or("a time is 2026-11-30 or 2026-11-30T18:34:05Z")
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_are_read_as_they_are_typed() {
        let midnight = parse_time("2026-11-30").unwrap();
        assert_eq!(parse_time("2026-11-30T00:00:00Z"), Ok(midnight));
        assert_eq!(parse_time("2026-11-30T00:00:00.000Z"), Ok(midnight));
        for bad in ["", "yesterday", "2026-11-31", "2026-11-30 18:34", "2026-11-30T18:34:05"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}

//! RelayProcess: a `sotto serve` of its own, with its own keys, ports and log.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::DemoError;
use super::http::Client;

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to stop: a recording may have to be synced.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How often it is asked whether it has started.
const LOOK: Duration = Duration::from_millis(50);

/// A protection that the relay is told to break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// The cut no longer withholds the caller.
    Masking,
}

/// A running relay and the folder in which it keeps everything.
pub(super) struct RelayProcess {
    child: Child,
    folder: PathBuf,
    pub(super) operator: Client,
    pub(super) engine: Client,
    pub(super) payment: Client,
}

/// The name by which the relay knows the merchant's key.
pub(super) const MERCHANT_KEY: &str = "merchant";

impl RelayProcess {
    /// Starts a relay with API keys for an operator, an engine and a merchant, whose public key it
    /// seals to. It logs all it can, since the log is part of the evidence.
    pub(super) fn start(
        merchant_key: &str,
        broken: Option<Broken>,
    ) -> Result<RelayProcess, DemoError> {
        let folder = new_folder()?;
        let config = write_config(&folder, merchant_key).map_err(kernel("write a file"))?;
        let (control, health) = (free_address()?, free_address()?);
        let operator = Client::new(control, &add_key(&folder, "operator")?);
        let engine = Client::new(control, &add_key(&folder, "engine")?);
        let payment = Client::new(control, &add_key(&folder, "payment")?);
        let log = File::create(folder.join("relay.log")).map_err(kernel("write a log"))?;
        let mut serve = sotto()?;
        serve.arg("serve").arg("--config").arg(config).arg("--control").arg(control.to_string());
        serve.arg("--health").arg(health.to_string());
        serve.args(["--media-ip", "127.0.0.1", "--workers", "1"]);
        serve.arg("--state-dir").arg(&folder).env("RUST_LOG", "trace");
        match broken {
            Some(Broken::Masking) => drop(serve.args(["--break", "masking"])),
            None => {}
        }
        let child = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(kernel("start the relay"))?;
        let mut relay = RelayProcess { child, folder, operator, engine, payment };
        relay.wait_until_ready(health)?;
        Ok(relay)
    }

    /// Stops the relay in order, and returns its log.
    pub(super) fn stop(mut self) -> Result<String, DemoError> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..STOP_LIMIT.as_millis() / LOOK.as_millis() {
            if self.child.try_wait().map_err(kernel("wait for the relay"))?.is_some() {
                return self.log();
            }
            std::thread::sleep(LOOK);
        }
        Err(DemoError::Relay { doing: "stop", detail: self.log()? })
    }

    /// What the relay has logged.
    pub(super) fn log(&self) -> Result<String, DemoError> {
        let mut log = String::new();
        let file = File::open(self.folder.join("relay.log"));
        file.and_then(|mut file| file.read_to_string(&mut log)).map_err(kernel("read a log"))?;
        Ok(log)
    }

    /// All files the relay keeps, log aside, as octets.
    pub(super) fn stored(&self) -> Result<Vec<u8>, DemoError> {
        let mut octets = Vec::new();
        gather(&self.folder, &mut octets).map_err(kernel("read the relay's files"))?;
        Ok(octets)
    }

    fn wait_until_ready(&mut self, health: SocketAddr) -> Result<(), DemoError> {
        let probe = Client::new(health, "");
        for _ in 0..START_LIMIT.as_millis() / LOOK.as_millis() {
            if probe.get("/readyz").is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if let Ok(Some(_)) = self.child.try_wait() {
                break;
            }
            std::thread::sleep(LOOK);
        }
        Err(DemoError::Relay { doing: "start", detail: self.log()? })
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn kernel(doing: &'static str) -> impl Fn(std::io::Error) -> DemoError {
    move |source| DemoError::Kernel { doing, source }
}

fn sotto() -> Result<Command, DemoError> {
    std::env::current_exe().map(Command::new).map_err(kernel("find its own program"))
}

fn new_folder() -> Result<PathBuf, DemoError> {
    let folder = std::env::temp_dir().join(format!("sotto-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(kernel("make a folder"))?;
    Ok(folder)
}

/// What no flag says: the key to seal to.
fn write_config(folder: &Path, merchant_key: &str) -> std::io::Result<PathBuf> {
    let (key, config) = (folder.join("merchant.jwk"), folder.join("sotto.toml"));
    std::fs::write(&key, merchant_key)?;
    let seal = format!("[[sinks.seal.keys]]\nid = '{MERCHANT_KEY}'\nfile = '{}'\n", key.display());
    std::fs::write(&config, seal)?;
    Ok(config)
}

fn free_address() -> Result<SocketAddr, DemoError> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    listener.and_then(|listener| listener.local_addr()).map_err(kernel("find a free port"))
}

fn add_key(folder: &Path, role: &str) -> Result<String, DemoError> {
    let mut keys = sotto()?;
    keys.args(["keys", "add", "--role", role]).arg("--state-dir").arg(folder);
    let output = keys.output().map_err(kernel("make a key"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn gather(folder: &Path, octets: &mut Vec<u8>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, octets)?;
        } else if path.extension().is_none_or(|extension| extension != "log") {
            File::open(path)?.read_to_end(octets)?;
        }
    }
    Ok(())
}

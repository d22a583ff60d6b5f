//! RelayProcess: a `sotto serve` of its own, with its own keys, ports and log.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::{Client, NotDone, unanswered};

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to stop: a recording may have to be synced.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How often it is asked whether it has started or stopped.
const LOOK: Duration = Duration::from_millis(50);

/// Why something could not be shown to the end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The kernel refused something.
    #[error("cannot {doing}: {source}")]
    Kernel {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The relay did not answer as it should.
    #[error(transparent)]
    Relay(#[from] NotDone),
}

impl Failure {
    /// Turns the kernel's errors into failures of `doing`.
    pub fn kernel(doing: &'static str) -> impl Fn(std::io::Error) -> Failure {
        move |source| Failure::Kernel { doing, source }
    }
}

/// A folder for one relay and its API keys; removed when dropped.
pub struct RelayFolder {
    binary: PathBuf,
    path: PathBuf,
}

impl RelayFolder {
    /// An empty folder for the relay that `binary` is. `name` tells folders of one process apart.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(binary: PathBuf, name: &str) -> Result<RelayFolder, Failure> {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(Failure::kernel("make a folder"))?;
        Ok(RelayFolder { binary, path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        std::fs::write(&path, text).map_err(Failure::kernel("write a file"))?;
        Ok(path)
    }

    /// Makes an API key with a role. A relay knows those that were made before it started.
    ///
    /// # Errors
    /// The relay's program cannot be run, or refuses.
    pub fn add_key(&self, role: &str) -> Result<String, Failure> {
        let mut keys = Command::new(&self.binary);
        keys.args(["keys", "add", "--role", role]).arg("--state-dir").arg(&self.path);
        let output = keys.output().map_err(Failure::kernel("run sotto"))?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
        if !output.status.success() {
            return Err(NotDone { doing: "make a key", detail: text(&output.stderr) }.into());
        }
        Ok(text(&output.stdout))
    }
}

impl Drop for RelayFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A running relay; ended when dropped.
pub struct RelayProcess {
    child: Child,
    folder: RelayFolder,
    control: SocketAddr,
    health: SocketAddr,
}

impl RelayProcess {
    /// Starts a relay on loopback in `folder` with the settings of `config` (TOML) and further
    /// `arguments` and environment, and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started, or does not become ready; its log says why.
    pub fn start(
        folder: RelayFolder,
        config: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<RelayProcess, Failure> {
        let config = folder.write("sotto.toml", config)?;
        let (control, health) = (free_address()?, free_address()?);
        let log = File::create(folder.path.join("relay.log"));
        let log = log.map_err(Failure::kernel("write a log"))?;
        let mut serve = Command::new(&folder.binary);
        serve.arg("serve").arg("--config").arg(config).arg("--control").arg(control.to_string());
        serve.arg("--health").arg(health.to_string()).arg("--state-dir").arg(&folder.path);
        // Who makes network namespaces is root, and so is the relay in there.
        serve.env("SOTTO_ALLOW_ROOT", "1");
        serve.args(arguments).envs(environment.iter().copied());
        let child = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(Failure::kernel("start the relay"))?;
        let mut relay = RelayProcess { child, folder, control, health };
        relay.wait_until_ready()?;
        Ok(relay)
    }

    /// Access to it with an API key.
    #[must_use]
    pub fn client(&self, key: &str) -> Client {
        Client::new(self.control, key)
    }

    /// Its figures, as Prometheus reads them.
    ///
    /// # Errors
    /// It does not tell them.
    pub fn metrics(&self) -> Result<String, NotDone> {
        let doing = "tell its figures";
        let answer = Client::new(self.health, "").get("/metrics").map_err(unanswered(doing))?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops the relay in order, and returns its log.
    ///
    /// # Errors
    /// It does not stop in time.
    pub fn stop(mut self) -> Result<String, Failure> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..STOP_LIMIT.as_millis() / LOOK.as_millis() {
            if self.child.try_wait().map_err(Failure::kernel("wait for the relay"))?.is_some() {
                return self.log();
            }
            std::thread::sleep(LOOK);
        }
        Err(NotDone { doing: "stop", detail: self.log()? }.into())
    }

    /// What the relay has logged.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<String, Failure> {
        let log = std::fs::read(self.folder.path.join("relay.log"));
        let log = log.map_err(Failure::kernel("read a log"))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// All files the relay keeps, log aside, as octets.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn stored(&self) -> Result<Vec<u8>, Failure> {
        let mut octets = Vec::new();
        let gathered = gather(&self.folder.path, &mut octets);
        gathered.map_err(Failure::kernel("read the relay's files"))?;
        Ok(octets)
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let probe = Client::new(self.health, "");
        for _ in 0..START_LIMIT.as_millis() / LOOK.as_millis() {
            if probe.get("/readyz").is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if let Ok(Some(_)) = self.child.try_wait() {
                break;
            }
            std::thread::sleep(LOOK);
        }
        Err(NotDone { doing: "start", detail: self.log()? }.into())
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(Failure::kernel("find a free port"))
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

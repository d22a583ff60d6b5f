//! Syslog: the log's entries for a collector, RFC 5424 over TLS (RFC 5425).
//!
//! What counts is the file, so it is also what waits: a collector that is slow or gone holds nothing
//! up, costs no memory, and gets what it has missed. Behind a lost connection the last entries go out
//! once more, since nobody can say which of them arrived; their numbers tell.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use audit_log::export::syslog::{EXAMPLE_ENTERPRISE, Sender, frame};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::config::Wrong;
use super::tail::Tail;
use crate::Control;
use crate::outbound::endpoint::Endpoint;
use crate::outbound::tls::{Identity, TlsError, TlsFiles};
use crate::outbound::{Outbound, Stream};

/// Entries sent together, 400 kB at most.
const BATCH: usize = 256;
/// Entries that go out once more behind a lost connection: 4 MB, which is what the kernel may hold of
/// one.
const AGAIN: u64 = 4096;
/// How often the log is looked at for more.
const LOOK: Duration = Duration::from_secs(1);
/// Time to connect, and for a collector to take a batch.
const TIME: Duration = Duration::from_secs(20);
/// Pauses between attempts to connect, the last one for ever.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
];

/// The collector, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSyslog {
    /// Host and port.
    pub address: Option<String>,
    /// What this host calls itself.
    pub hostname: Option<String>,
    /// The number that names the structured data.
    pub enterprise: Option<u32>,
    /// Whom to trust.
    pub ca_file: Option<PathBuf>,
    /// What to show.
    pub client_cert: Option<PathBuf>,
    /// And its key.
    pub client_key: Option<PathBuf>,
}

/// Where a collector is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyslogConfig {
    endpoint: Endpoint,
    tls: TlsFiles,
    sender: Sender,
}

impl RawSyslog {
    /// Checks what was typed; none without an address.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn resolve(self) -> Result<Option<SyslogConfig>, Wrong> {
        let Some(address) = self.address else { return Ok(None) };
        // A port of its own is needed: TLS has 443 where none is said.
        let endpoint = Endpoint::parse(&format!("https://{address}/"))
            .ok()
            .filter(|endpoint| address.ends_with(&format!(":{}", endpoint.port)));
        let wrong = "must be a host and a port, such as syslog.example:6514";
        let endpoint = endpoint.ok_or(("audit.syslog.address", wrong))?;
        let hostname = self.hostname.as_deref().unwrap_or("-");
        let sender = Sender::new(hostname, self.enterprise.unwrap_or(EXAMPLE_ENTERPRISE));
        let wrong = "must have 1 to 255 visible ASCII characters";
        let sender = sender.ok_or(("audit.syslog.hostname", wrong))?;
        let identity = match (self.client_cert, self.client_key) {
            (Some(chain), Some(key)) => Some(Identity { chain, key }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(("audit.syslog.client_key", "goes with client_cert: say both"));
            }
        };
        let tls = TlsFiles { authorities: self.ca_file, identity };
        Ok(Some(SyslogConfig { endpoint, tls, sender }))
    }
}

/// What sends entries to a collector.
pub struct Syslog {
    config: SyslogConfig,
    tls: Arc<ClientConfig>,
    outbound: Outbound,
    tail: Tail,
    /// The file with the number of the first entry that was not sent.
    position: PathBuf,
}

impl Syslog {
    /// One that goes on where the last one ended, for the log in `directory`. The position lies beside
    /// that, as `<directory>.syslog`.
    ///
    /// # Errors
    /// If certificates or a key can't be used.
    pub fn open(
        config: SyslogConfig,
        outbound: Outbound,
        directory: PathBuf,
    ) -> Result<Syslog, TlsError> {
        let tls = config.tls.load()?;
        let position = directory.with_added_extension("syslog");
        let read = fs::read_to_string(&position).ok();
        let next = read.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(Syslog { config, tls, outbound, tail: Tail::new(directory, next), position })
    }

    /// Sends until the process stops.
    pub async fn attend(mut self, control: Arc<Control>) {
        let mut stopping = control.stopping();
        let mut attempt = 0;
        loop {
            let sending = self.connect_and_send(&control, &mut attempt);
            tokio::select! {
                error = sending => control.audit.collector_is_lost(&error),
                _ = stopping.wait_for(|it| *it) => return,
            }
            let pause = PAUSES[attempt.min(PAUSES.len() - 1)];
            attempt += 1;
            if tokio::time::timeout(pause, stopping.wait_for(|it| *it)).await.is_ok() {
                return;
            }
        }
    }

    /// Sends until something fails, and returns what.
    async fn connect_and_send(&mut self, control: &Control, attempt: &mut usize) -> io::Error {
        let connecting = self.outbound.connect_media(&self.config.endpoint, Some(&self.tls));
        let mut stream = match tokio::time::timeout(TIME, connecting).await {
            Ok(Ok(Stream::Tls(stream))) => stream,
            Ok(Ok(Stream::Clear(_))) => return io::Error::other("the collector has no TLS"),
            Ok(Err(error)) => return io::Error::other(error),
            Err(_) => return io::ErrorKind::TimedOut.into(),
        };
        let begun = self.tail.next().saturating_sub(AGAIN);
        let sent = self.send(control, &mut stream, attempt).await;
        self.tail.seek(self.tail.next().saturating_sub(AGAIN).max(begun));
        match sent {
            Ok(()) => io::ErrorKind::UnexpectedEof.into(),
            Err(error) => error,
        }
    }

    /// Sends until the collector closes the connection.
    async fn send(
        &mut self,
        control: &Control,
        stream: &mut TlsStream<TcpStream>,
        attempt: &mut usize,
    ) -> io::Result<()> {
        loop {
            let end = control.audit.figures().map_or(0, |figures| figures.counts.entries);
            let entries = self.tail.read(end, BATCH)?;
            if entries.is_empty() {
                let mut nothing = [0; 64];
                let read = tokio::time::timeout(LOOK, stream.read(&mut nothing)).await;
                match read {
                    Ok(Ok(0)) => return Ok(()),
                    Ok(Err(error)) => return Err(error),
                    // A collector says nothing that matters; or the time is over.
                    Ok(Ok(_)) | Err(_) => continue,
                }
            }
            let frames = entries.iter().map(|entry| frame(&self.config.sender.message(entry)));
            let octets: Vec<u8> = frames.flatten().collect();
            let write = async {
                stream.write_all(&octets).await?;
                stream.flush().await
            };
            tokio::time::timeout(TIME, write).await.map_err(io::Error::from)??;
            *attempt = 0;
            let next = self.tail.next();
            control.audit.collector_has(next);
            // Lost with a crash it is an older number, and some entries go out twice.
            fs::write(&self.position, format!("{next}\n"))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RawSyslog;

    #[test]
    fn a_collector_has_a_host_and_a_port() {
        let resolve = |text: &str| toml::from_str::<RawSyslog>(text).unwrap().resolve();
        assert!(resolve("").unwrap().is_none());
        assert!(resolve("address = 'syslog.example:6514'").unwrap().is_some());
        assert!(resolve("address = '[2001:db8::1]:6514'").unwrap().is_some());
        for bad in ["syslog.example", "", "a b:1", "u@h:1", "h:0", "h:1/x", "https://h:1"] {
            let error = resolve(&format!("address = '{bad}'")).unwrap_err();
            assert_eq!(error.0, "audit.syslog.address", "{bad}");
        }
        let half = resolve("address = 'h:1'\nclient_cert = '/c'").unwrap_err();
        assert_eq!(half.0, "audit.syslog.client_key");
    }
}

//! Sip: telephones and trunks that call Sotto itself, with no PBX between.
//!
//! `sip-server` holds the protocol; here are its sockets and what becomes of a call: it is placed as
//! by REST, and is a call like any other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sip_server::{Access, Agent, Settings, Users};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

mod callers;
pub mod config;
mod desk;
mod refusal;
mod streams;

use crate::outbound::FileSecret;
use crate::outbound::secret_file::FileSecretError;
use crate::outbound::tls::TlsError;
use crate::serve::StartError;
use crate::{Control, chance, clock};
use config::SipConfig;
use desk::Desk;
use streams::{Door, Streams};

/// Messages of streams that wait to be looked at; whoever sends more waits with reading.
const INBOX: usize = 256;
/// Time for callers to answer our BYE when the process stops.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why nobody can call by SIP.
#[derive(Debug, thiserror::Error)]
pub enum SipError {
    /// The users can't be read.
    #[error("sip.users_file: {0}")]
    UsersFile(#[from] FileSecretError),
    /// A line of the users is none.
    #[error("sip.users_file: line {0} must be a user, a colon and a secret")]
    Users(usize),
    /// The certificate or its key can't be used.
    #[error("sip.tls_certificate, sip.tls_key: {0}")]
    Tls(#[from] TlsError),
}

/// Sockets that nobody is answered on yet.
pub(crate) struct Sip {
    config: SipConfig,
    agent: Agent,
    udp: Option<UdpSocket>,
    doors: Vec<(TcpListener, Door)>,
}

impl Sip {
    /// Binds the sockets of a configuration.
    ///
    /// # Errors
    /// The first thing that prevents it.
    pub(crate) async fn bind(config: SipConfig) -> Result<Sip, StartError> {
        let users = users(&config)?;
        let access = Access { users, trunks: config.trunks.clone() };
        let seed = chance::octets().map_err(|_| StartError::NoRandom)?;
        let settings = Settings { access, max_calls: config.max_calls, seed };
        let agent = Agent::new(settings, clock::monotonic());
        let (mut udp, mut doors) = (None, Vec::new());
        if let Some(address) = config.address {
            let failed = |source| StartError::Listen { address, source };
            let socket = UdpSocket::bind(address).await.map_err(failed)?;
            // With port 0 both are on the port that the first one got.
            let address = socket.local_addr().map_err(failed)?;
            doors.push((TcpListener::bind(address).await.map_err(failed)?, Door::Open));
            udp = Some(socket);
        }
        if let Some(tls) = &config.tls {
            let server = tls.files.load_server().map_err(SipError::Tls)?;
            let address = tls.address;
            let failed = |source| StartError::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            doors.push((listener, Door::Locked(server)));
        }
        Ok(Sip { config, agent, udp, doors })
    }

    /// Where UDP and TCP are answered.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.udp.as_ref().and_then(|udp| udp.local_addr().ok())
    }

    /// Begins to answer. The tasks end when the process is stopping.
    pub(crate) fn start(self, control: &Arc<Control>) -> Vec<JoinHandle<()>> {
        let Sip { config, agent, udp, doors } = self;
        let (inbox, mail) = mpsc::channel(INBOX);
        let streams = Streams::new(inbox, control.stopping());
        let mut tasks = Vec::new();
        for (listener, door) in doors {
            log_listener(listener.local_addr().ok(), door.transport());
            tasks.push(tokio::spawn(Arc::clone(&streams).serve(listener, door)));
        }
        if let Some(udp) = &udp {
            log_listener(udp.local_addr().ok(), sip_server::Transport::Udp);
        }
        let desk = Desk::new(Arc::clone(control), config, agent, udp);
        tasks.push(tokio::spawn(desk.attend(mail)));
        tasks
    }
}

fn log_listener(address: Option<SocketAddr>, transport: sip_server::Transport) {
    tracing::info!(?address, ?transport, "SIP is answered");
}

/// The users of a file, one a line: a name, a colon and a secret.
fn users(config: &SipConfig) -> Result<Option<Users>, SipError> {
    let Some(path) = &config.users_file else { return Ok(None) };
    let file = FileSecret::read(path)?;
    let mut secrets = Vec::new();
    for (at, line) in file.reveal().lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.split_once(':').map(|(user, secret)| (user.trim(), secret.trim()));
        let pair = pair.filter(|(user, secret)| !user.is_empty() && !secret.is_empty());
        secrets.push(pair.ok_or(SipError::Users(at + 1))?);
    }
    Ok(Some(Users::new(&config.realm, config.digest, secrets)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::config::RawSip;
    use super::{SipError, users};
    use crate::engines::EngineProfiles;

    #[test]
    fn users_are_read_line_by_line() {
        let path = std::env::temp_dir().join(format!("sotto-sip-users-{}", std::process::id()));
        let raw = RawSip {
            address: Some("127.0.0.1:0".to_owned()),
            users_file: Some(path.clone()),
            ..RawSip::default()
        };
        let config = raw.resolve(&EngineProfiles::default()).unwrap().unwrap();
        fs::write(&path, "# phones\nphone: s3cret:with colon\n\nother:x\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(users(&config).unwrap().is_some());
        fs::write(&path, "phone:a\nno secret\n").unwrap();
        assert!(matches!(users(&config), Err(SipError::Users(2))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(users(&config), Err(SipError::UsersFile(_))));
        fs::remove_file(&path).unwrap();
    }
}

//! Listeners: the doors of a running process: of the API, of health, of SIP proxies.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::limits::LimitsConfig;
use crate::ng::config::{NgConfig, Peers};
use crate::process::{self, CONTROL_THREAD};
use crate::serve::StartError;
use crate::server::certificate::Certificate;
use crate::server::{API_BOUNDS, Front, HEALTH_BOUNDS};
use crate::{Control, app, health, ng, server};

/// How the API is reached, and by which certificate.
///
/// # Errors
/// If its files can't be used.
pub(crate) fn open_front(config: &Config) -> Result<(Front, Option<Arc<Certificate>>), StartError> {
    let certificate = config.front.tls.clone().map(Certificate::open).transpose();
    let certificate = certificate.map_err(StartError::Tls)?;
    let proxies = config.front.proxies.clone();
    let front = Front { bounds: API_BOUNDS, certificate: certificate.clone(), proxies };
    Ok((front, certificate))
}

/// Serves the API within its limits, looks after its certificate, and shows that the control plane runs.
pub(crate) fn attend_api(
    control: &Arc<Control>,
    listener: TcpListener,
    front: Front,
    limits: LimitsConfig,
) -> impl Iterator<Item = JoinHandle<()>> + use<> {
    control.limit(limits);
    let beating = tokio::spawn(health::beat(Arc::clone(control)));
    let keeping = front.certificate.clone().map(|it| tokio::spawn(it.keep(control.stopping())));
    let serving = server::serve(listener, front, app(control), control.stopping());
    [beating, tokio::spawn(serving)].into_iter().chain(keeping)
}

/// Serves health on a thread of its own: a flood of the API's listener keeps the others busy. It ends
/// with the process, or a moment later.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn attend_health(
    control: &Arc<Control>,
    listener: TcpListener,
    address: SocketAddr,
) -> Result<(), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = listener.into_std().map_err(failed)?;
    let (app, stopping) = (health::app(control), control.stopping());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let serve = move || {
        process::give_up_privileges();
        runtime.block_on(async {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    server::serve(listener, Front::bare(HEALTH_BOUNDS), app, stopping).await;
                }
                Err(error) => tracing::error!(%error, "health can't be told"),
            }
        });
    };
    std::thread::Builder::new().name(CONTROL_THREAD.to_owned()).spawn(serve).map_err(failed)?;
    Ok(())
}

/// Binds the listeners of the API and of health, and tells where they are.
///
/// # Errors
/// The first that can't be.
pub(crate) async fn bind(
    config: &Config,
) -> Result<(TcpListener, TcpListener, (SocketAddr, SocketAddr)), StartError> {
    let (api, health) = (listen(config.control).await?, listen(config.health).await?);
    let addresses = (local(&api)?, local(&health)?);
    Ok((api, health, addresses))
}

/// Binds a listener.
///
/// # Errors
/// If it can't be.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Listen { address: unknown, source })
}

/// Where SIP proxies are listened to.
pub(crate) struct Proxies {
    udp: Option<UdpSocket>,
    tcp: Option<TcpListener>,
}

impl Proxies {
    /// Binds them.
    ///
    /// # Errors
    /// The first that can't be.
    pub(crate) async fn listen(config: &NgConfig) -> Result<Proxies, StartError> {
        let udp = match config.udp {
            Some(address) => {
                let bound = UdpSocket::bind(address).await;
                Some(bound.map_err(|source| StartError::Listen { address, source })?)
            }
            None => None,
        };
        let tcp = match config.tcp {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        Ok(Proxies { udp, tcp })
    }

    /// The tasks that serve them.
    pub(crate) fn attend(self, control: &Arc<Control>, peers: &Peers) -> Vec<JoinHandle<()>> {
        let Proxies { udp, tcp } = self;
        let shared = || (peers.clone(), Arc::clone(control), control.stopping());
        let mut tasks = vec![tokio::spawn(ng::tend(Arc::clone(control)))];
        if let Some(socket) = udp {
            let address = socket.local_addr().ok();
            tracing::info!(?address, "SIP proxies may speak NG over UDP");
            let (peers, control, stopping) = shared();
            tasks.push(tokio::spawn(ng::serve_udp(socket, peers, control, stopping)));
        }
        if let Some(listener) = tcp {
            let address = listener.local_addr().ok();
            tracing::info!(?address, "SIP proxies may speak NG over TCP");
            let (peers, control, stopping) = shared();
            tasks.push(tokio::spawn(ng::serve_tcp(listener, peers, control, stopping)));
        }
        tasks
    }
}

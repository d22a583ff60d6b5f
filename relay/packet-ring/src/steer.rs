//! Steer: the program on an interface that picks out packets for the workers' AF_XDP sockets.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{Array, MapData, MapError, XskMap};
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader};

use crate::XdpSocket;

/// What `bpf/build.sh` has made of `bpf/steer.bpf.c`.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/steer.bpf.o");

/// What is ours on an interface.
#[derive(Clone, Copy, Debug)]
pub struct Ours {
    /// The interface's own address; zeros on loopback.
    pub mac: [u8; 6],
    /// Our IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Our IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

/// Why a program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The program or its maps were refused.
    #[error("the kernel does not load the program: {}", told(.0))]
    Load(#[source] EbpfError),
    /// A map can't be used.
    #[error("the program's maps can't be used: {}", told(.0))]
    Map(#[from] MapError),
    /// The verifier refused it, or the interface has no place for it.
    #[error("the program is refused: {}", told(.0))]
    Program(#[from] ProgramError),
    /// The kernel is older than 5.9, and would leave the program behind when the process dies.
    #[error("the kernel has no links for XDP programs (they came with 5.9)")]
    NoLink(#[from] LinkError),
}

/// An error and its causes in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let said = causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"));
    said.replace('\n', " ")
}

/// The program on one interface. It leaves with this value, and with the process however that ends.
pub struct Steer {
    owners: Array<MapData, u32>,
    sockets: XskMap<MapData>,
    workers: u32,
    program: Ebpf,
    link: Option<FdLink>,
}

impl Steer {
    /// Loads the program for `queues` queues and `workers` workers. It steers nothing yet.
    ///
    /// # Errors
    /// If the kernel refuses it: without `CAP_BPF` and `CAP_NET_ADMIN`, say.
    pub fn load(ours: Ours, queues: u32, workers: u32) -> Result<Steer, SteerError> {
        let mut program = EbpfLoader::new()
            .btf(None)
            .map_max_entries("sockets", queues * workers)
            .load(OBJECT)
            .map_err(SteerError::Load)?;
        // Before the maps are taken out and one of them is dropped: loaded, it keeps them itself.
        steer_in(&mut program)?.load()?;
        let mut take = |name| program.take_map(name).expect("the object has three maps");
        let mut settings = Array::<_, [u8; 32]>::try_from(take("settings"))?;
        let (owners, sockets) = (take("owners").try_into()?, take("sockets").try_into()?);
        settings.set(0, settings_of(ours, workers), 0)?;
        Ok(Steer { owners, sockets, workers, program, link: None })
    }

    /// Names the socket of a worker for a queue.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_socket(
        &mut self,
        queue: u32,
        worker: u32,
        socket: &XdpSocket,
    ) -> Result<(), SteerError> {
        let index = queue * self.workers + worker;
        Ok(self.sockets.set(index, socket.as_fd().as_raw_fd(), 0)?)
    }

    /// Begins to steer on an interface, in generic mode: after the driver, before the stack.
    ///
    /// # Errors
    /// `EBUSY` where another program is there.
    pub fn attach(&mut self, interface: u32) -> Result<(), SteerError> {
        let program = steer_in(&mut self.program)?;
        let link = program.attach_to_if_index(interface, XdpMode::Skb)?;
        // A link that is no descriptor would outlive the process: dropped, it is taken off at once.
        self.link = Some(program.take_link(link)?.try_into()?);
        Ok(())
    }

    /// From now on packets to `port` are for `worker`.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn own(&mut self, port: u16, worker: u32) -> Result<(), SteerError> {
        Ok(self.owners.set(u32::from(port), worker + 1, 0)?)
    }

    /// From now on packets to `port` go up the stack.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn disown(&mut self, port: u16) -> Result<(), SteerError> {
        Ok(self.owners.set(u32::from(port), 0, 0)?)
    }
}

fn steer_in(object: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    object.program_mut("steer").expect("the object has this program").try_into()
}

/// `struct ours` of steer.bpf.c.
fn settings_of(Ours { mac, v4, v6 }: Ours, workers: u32) -> [u8; 32] {
    let mut octets = [0; 32];
    octets[..6].copy_from_slice(&mac);
    octets[6..8].copy_from_slice(&[v4.is_some().into(), v6.is_some().into()]);
    octets[8..12].copy_from_slice(&v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    octets[12..28].copy_from_slice(&v6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
    octets[28..].copy_from_slice(&workers.to_ne_bytes());
    octets
}

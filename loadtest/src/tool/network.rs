//! Network: two network namespaces joined by a virtual cable, the relay in one and the load in the
//! other, so that packets take the way they take between hosts and meet nothing else.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use loadtest::client::NotDone;
use loadtest::relay_process::Failure;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The addresses of both ends of the cable.
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const LOAD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Where the two sides of a load test live.
pub(crate) struct Network {
    /// Where the relay receives media.
    pub(crate) relay: Ipv4Addr,
    /// Where callers and engines are.
    pub(crate) load: Ipv4Addr,
    spaces: Option<[Namespace; 2]>,
}

impl Network {
    /// The machine's own, from an address of it: the relay is wherever it is.
    pub(crate) fn own(load: Ipv4Addr) -> Network {
        Network { relay: load, load, spaces: None }
    }

    /// Two namespaces with a cable; needs root and `ip` of iproute2. What arrives on a side is
    /// handled by the kernel on that side's core, as a network card would have it.
    pub(crate) fn cable(cores: [usize; 2]) -> Result<Network, Failure> {
        remove_remains();
        let spaces = [Namespace::add(NAMES[0])?, Namespace::add(NAMES[1])?];
        let [relay, load] = [&spaces[0].name, &spaces[1].name];
        ip(&["-n", relay, "link", "add", "media", "type", "veth", "peer", "media", "netns", load])?;
        for (space, address, core) in [(&spaces[0], RELAY, cores[0]), (&spaces[1], LOAD, cores[1])]
        {
            ip(&["-n", &space.name, "address", "add", &format!("{address}/24"), "dev", "media"])?;
            ip(&["-n", &space.name, "link", "set", "media", "up"])?;
            ip(&["-n", &space.name, "link", "set", "lo", "up"])?;
            // Receive packet steering: /sys is of the namespace only where `ip` has mounted it.
            let mask =
                format!("echo {:x} > /sys/class/net/media/queues/rx-0/rps_cpus", 1u64 << core);
            ip(&["netns", "exec", &space.name, "sh", "-c", &mask])?;
        }
        Ok(Network { relay: RELAY, load: LOAD, spaces: Some(spaces) })
    }

    /// Does something where the relay is.
    pub(crate) fn at_relay<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        self.at(0, act)
    }

    /// Does something where the load is.
    pub(crate) fn at_load<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        self.at(1, act)
    }

    fn at<T: Send>(&self, side: usize, act: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        match &self.spaces {
            Some(spaces) => spaces[side].inside(act),
            None => Ok(act()),
        }
    }
}

struct Namespace {
    name: String,
}

/// How namespaces of load tests are called, before the number of the process.
const NAMES: [&str; 2] = ["sotto-relay-", "sotto-load-"];

/// Removes namespaces of load tests that were interrupted and so could not.
fn remove_remains() {
    let Ok(spaces) = std::fs::read_dir("/run/netns") else { return };
    for name in spaces.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = NAMES.iter().find_map(|ours| name.strip_prefix(ours)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another load test may be at it too.
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

impl Namespace {
    fn add(named: &str) -> Result<Namespace, Failure> {
        let name = format!("{named}{}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Namespace { name })
    }

    fn enter(&self) -> Result<(), Failure> {
        let doing = "enter a network namespace";
        let space = File::open(format!("/run/netns/{}", self.name));
        let space = space.map_err(Failure::kernel(doing))?;
        let moved = move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&space),
            Some(LinkNameSpaceType::Network),
        );
        moved.map_err(|error| Failure::Kernel { doing, source: error.into() })
    }

    /// On a thread of its own, since a thread is in one namespace at a time.
    fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| act()));
            thread.join().expect("what is done in a namespace does not panic")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with either end.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(Failure::kernel("run ip (of iproute2)"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NotDone { doing: "set up a network", detail: why }.into())
}

//! Process: what another process has cost so far.

use std::fs;
use std::io;

/// What /proc/stat counts in: 100 a second on every architecture that Linux has today.
const TICK_NS: u64 = 10_000_000;

/// A process that is measured, if it is known which. What is not measured is not a number, and
/// `null` in JSON.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pid: Option<u32>,
}

impl Process {
    /// The process with this id.
    pub(crate) fn new(pid: u32) -> Process {
        Process { pid: Some(pid) }
    }

    /// A relay that was started elsewhere, and its process if that is on this machine.
    pub(crate) fn elsewhere(pid: Option<u32>) -> Process {
        Process { pid }
    }

    /// Time on a processor of all its threads that live, in ns (proc(5), schedstat).
    pub(crate) fn cpu_ns(self) -> io::Result<f64> {
        let Some(pid) = self.pid else { return Ok(f64::NAN) };
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let stat = fs::read_to_string(task?.path().join("schedstat"))?;
            total += first_number(&stat)?;
        }
        Ok(total as f64)
    }

    /// Octets of it that are in memory.
    pub(crate) fn resident(self) -> io::Result<f64> {
        let Some(pid) = self.pid else { return Ok(f64::NAN) };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        first_number(line.unwrap_or_default()).map(|kib| (kib * 1024) as f64)
    }
}

/// A figure with two digits behind the point, or that it was not measured.
pub(crate) fn figure(value: f64) -> String {
    if value.is_nan() { "?".to_owned() } else { format!("{value:.2}") }
}

/// Time for which a core did anything at all, in ns, since the machine started (proc(5), stat).
pub(crate) fn core_busy_ns(core: usize) -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name));
    let line = line.ok_or_else(|| io::Error::other("no such core"))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|tick| tick.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal, guest ...; guest is within user.
    let busy = [0, 1, 2, 5, 6].map(|at| ticks.get(at).copied().unwrap_or(0));
    Ok((busy.iter().sum::<u64>() * TICK_NS) as f64)
}

/// Datagrams that found no room in a socket of this network namespace (RFC 4113).
pub(crate) fn datagrams_dropped() -> io::Result<u64> {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (udp.next().unwrap_or_default(), udp.next().unwrap_or_default());
    let at = names.split(' ').position(|name| name == "RcvbufErrors");
    first_number(at.and_then(|at| values.split(' ').nth(at)).unwrap_or_default())
}

fn first_number(text: &str) -> io::Result<u64> {
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other("an entry of /proc that is no number"))
}

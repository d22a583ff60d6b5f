//! Filters for AF_PACKET rings and for the sockets beside them: classic BPF, which the kernel runs
//! on each packet (`Documentation/networking/filter.rst`).
//!
//! A ring beside the stack sees a copy of every packet, and the stack goes on with it. So the two
//! are divided by length and link: a ring takes whole datagrams of our own, the sockets all else.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd};

use libc::{
    BPF_ABS, BPF_B, BPF_H, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LEN,
    BPF_RET, BPF_W, sock_filter, sock_fprog,
};

/// Reads at these offsets give what the kernel knows of a packet (`SKF_AD_` in `linux/filter.h`).
const KNOWN: u32 = (-0x1000_i32) as u32;
const PACKET_KIND: u32 = KNOWN + 4;
const LINK: u32 = KNOWN + 8;
const TAG_PRESENT: u32 = KNOWN + 48;

/// A packet that is for this host.
const TO_US: u32 = 0;
const TYPE_IPV4: u32 = 0x0800;
const TYPE_IPV6: u32 = 0x86dd;
const UDP: u32 = 17;
/// IPv4: more fragments, and the offset.
const FRAGMENT: u32 = 0x3fff;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
/// All of a packet.
const WHOLE: u32 = u32::MAX;
/// Most links whose packets sockets leave to rings: jumps reach 255 instructions.
const MAX_LINKS: usize = 32;

/// Which datagrams a ring takes.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Our IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Our IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// Our ports.
    pub ports: RangeInclusive<u16>,
    /// The longest IP packet.
    pub longest: u32,
}

/// A filter in the making.
#[derive(Default)]
struct Program(Vec<sock_filter>);

impl Program {
    fn add(&mut self, code: u32, k: u32, jt: u8, jf: u8) {
        self.0.push(sock_filter { code: code as u16, jt, jf, k });
    }

    fn load(&mut self, size: u32, at: u32) {
        self.add(BPF_LD | BPF_ABS | size, at, 0, 0);
    }

    fn end(&mut self, taken: u32) {
        self.add(BPF_RET | BPF_K, taken, 0, 0);
    }

    /// Goes on only if what was loaded compares as wanted.
    fn require(&mut self, comparison: u32, k: u32, is_wanted: bool) {
        let (jt, jf) = if is_wanted { (1, 0) } else { (0, 1) };
        self.add(BPF_JMP | BPF_K | comparison, k, jt, jf);
        self.end(0);
    }

    fn require_value(&mut self, size: u32, at: u32, value: u32) {
        self.load(size, at);
        self.require(BPF_JEQ, value, true);
    }

    /// Runs `inner` if what was loaded is `value`, else goes on behind it.
    fn when(&mut self, value: u32, inner: Program) {
        let past = u8::try_from(inner.0.len()).expect("a filter of ours is short");
        self.add(BPF_JMP | BPF_K | BPF_JEQ, value, 0, past);
        self.0.extend(inner.0);
    }

    fn attach(mut self, socket: &impl AsFd) -> io::Result<()> {
        let len = self.0.len() as u16;
        let program = sock_fprog { len, filter: self.0.as_mut_ptr() };
        set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }
}

/// The filter of a ring.
fn ring_filter(wanted: &Wanted) -> Program {
    let mut program = Program::default();
    program.require_value(BPF_W, TAG_PRESENT, 0);
    program.require_value(BPF_W, PACKET_KIND, TO_US);
    program.load(BPF_H, 12);
    if let Some(address) = wanted.v4 {
        program.when(TYPE_IPV4, ipv4_filter(address, wanted));
    }
    if let Some(address) = wanted.v6 {
        program.when(TYPE_IPV6, ipv6_filter(address, wanted));
    }
    program.end(0);
    program
}

fn ipv4_filter(address: Ipv4Addr, wanted: &Wanted) -> Program {
    let mut program = Program::default();
    program.require_value(BPF_B, 14, 0x45);
    program.require_value(BPF_B, 23, UDP);
    program.load(BPF_H, 20);
    program.require(BPF_JSET, FRAGMENT, false);
    program.require_value(BPF_W, 30, address.to_bits());
    program.load(BPF_H, 16);
    program.require(BPF_JGT, wanted.longest, false);
    port_filter(&mut program, 36, wanted);
    program
}

fn ipv6_filter(address: Ipv6Addr, wanted: &Wanted) -> Program {
    let mut program = Program::default();
    program.require_value(BPF_B, 20, UDP);
    for (word, at) in address.octets().as_chunks::<4>().0.iter().zip((38..).step_by(4)) {
        program.require_value(BPF_W, at, u32::from_be_bytes(*word));
    }
    program.load(BPF_H, 18);
    program.require(BPF_JGT, wanted.longest - IPV6_HEADER, false);
    port_filter(&mut program, 56, wanted);
    program
}

fn port_filter(program: &mut Program, at: u32, wanted: &Wanted) {
    program.load(BPF_H, at);
    program.require(BPF_JGE, u32::from(*wanted.ports.start()), true);
    program.require(BPF_JGT, u32::from(*wanted.ports.end()), false);
    program.end(WHOLE);
}

/// Has a ring's socket take only what is wanted.
pub(crate) fn attach_to_ring(socket: &impl AsFd, wanted: &Wanted) -> io::Result<()> {
    ring_filter(wanted).attach(socket)
}

/// Has a UDP socket leave to the rings what they take: packets of `links`, by index, that are no
/// longer than `longest` octets of IP. What came in fragments and is that short is lost.
///
/// # Errors
/// Those of the kernel.
pub fn leave_to_rings(
    socket: &impl AsFd,
    links: &[u32],
    longest: u32,
    is_v6: bool,
) -> io::Result<()> {
    let header = if is_v6 { IPV6_HEADER } else { IPV4_HEADER };
    // A filter of a UDP socket sees the packet from its UDP header on.
    let mut short = Program::default();
    short.add(BPF_LD | BPF_W | BPF_LEN, 0, 0, 0);
    short.require(BPF_JGT, longest - header, true);
    short.end(WHOLE);
    let mut program = Program::default();
    program.load(BPF_W, LINK);
    for link in links.iter().take(MAX_LINKS) {
        program.when(*link, Program(short.0.clone()));
    }
    program.end(WHOLE);
    program.attach(socket)
}

/// `setsockopt(2)` with a value of a plain type.
pub(crate) fn set_option<T>(
    socket: &impl AsFd,
    level: i32,
    name: i32,
    value: &T,
) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open while `socket` is borrowed, and the kernel reads `length`
    // octets of `value`, and what a filter in it points to, during the call alone.
    let set =
        unsafe { libc::setsockopt(descriptor, level, name, (&raw const *value).cast(), length) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

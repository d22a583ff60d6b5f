//! KernelTables: what the kernel knows of links, routes and neighbours, asked one thing at a time.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use crate::wire::netlink::{self as wire, Link, Message, Neighbour, Route};

/// A datagram of the kernel is no longer (`NLMSG_GOODSIZE` is 8 KiB, dumps come in up to 32).
const DATAGRAM: usize = 32 << 10;
/// The kernel answers at once; where it does not, a peer is sent to by the socket.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// Groups of messages that the kernel sends unasked (`RTMGRP_` in `linux/rtnetlink.h`).
const LINKS: u32 = 0x1;
const NEIGHBOURS: u32 = 0x4;
const IPV4_ADDRESSES: u32 = 0x10;
const IPV4_ROUTES: u32 = 0x40;
const IPV4_RULES: u32 = 0x80;
const IPV6_ADDRESSES: u32 = 0x100;
const IPV6_ROUTES: u32 = 0x400;
const IPV6_RULES: u32 = 1 << (19 - 1);

/// A socket to ask the kernel by.
pub(super) struct KernelTables {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl KernelTables {
    pub(super) fn open() -> io::Result<KernelTables> {
        let socket = netlink_socket(SocketFlags::CLOEXEC, 0)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(KernelTables { socket, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// The link of an address of ours.
    pub(super) fn link_of(&mut self, address: IpAddr) -> io::Result<Option<Link>> {
        let index = self.ask(wire::ask_addresses, |message| {
            let Message::Address(ours, link) = message else { return None };
            (ours == address).then_some(link)
        })?;
        index.map_or(Ok(None), |index| self.link(index))
    }

    pub(super) fn link_named(&mut self, name: &str) -> io::Result<Option<Link>> {
        self.ask(wire::ask_links, |message| {
            let Message::Link(link) = message else { return None };
            (link.name == name).then_some(link)
        })
    }

    pub(super) fn link(&mut self, index: u32) -> io::Result<Option<Link>> {
        let request = |sequence| wire::ask_link(sequence, index);
        self.ask(
            request,
            |message| if let Message::Link(link) = message { Some(link) } else { None },
        )
    }

    pub(super) fn route(&mut self, from: IpAddr, to: IpAddr) -> io::Result<Option<Route>> {
        let request = |sequence| wire::ask_route(sequence, from, to);
        self.ask(
            request,
            |message| if let Message::Route(route) = message { Some(route) } else { None },
        )
    }

    pub(super) fn neighbour(&mut self, link: u32, to: IpAddr) -> io::Result<Option<Neighbour>> {
        let request = |sequence| wire::ask_neighbour(sequence, link, to);
        self.ask(request, |message| {
            if let Message::Neighbour(neighbour) = message { Some(neighbour) } else { None }
        })
    }

    /// Asks, and reads on until `find` has found something or all is said.
    fn ask<T>(
        &mut self,
        request: impl FnOnce(u32) -> Vec<u8>,
        find: impl Fn(Message) -> Option<T>,
    ) -> io::Result<Option<T>> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &request(self.sequence), SendFlags::empty())?;
        loop {
            let (_, length) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
            // What is left of an answer that was not read to its end has another number.
            let answers = wire::messages(&self.buffer[..length])
                .filter(|(number, _)| *number == self.sequence);
            for (_, message) in answers {
                if message == Message::End {
                    return Ok(None);
                }
                if let Some(found) = find(message) {
                    return Ok(Some(found));
                }
            }
        }
    }
}

/// What the kernel tells unasked.
pub(super) struct KernelNews {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl KernelNews {
    pub(super) fn open() -> io::Result<KernelNews> {
        let groups = LINKS
            | NEIGHBOURS
            | IPV4_ADDRESSES
            | IPV4_ROUTES
            | IPV4_RULES
            | IPV6_ADDRESSES
            | IPV6_ROUTES
            | IPV6_RULES;
        let socket = netlink_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, groups)?;
        Ok(KernelNews { socket, buffer: vec![0; DATAGRAM] })
    }

    /// Hands the news so far to `tell`. An error other than "no more" means that some were lost.
    pub(super) fn read(&mut self, mut tell: impl FnMut(Message)) -> io::Result<()> {
        loop {
            match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => {
                    wire::messages(&self.buffer[..length]).for_each(|(_, message)| tell(message));
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for KernelNews {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn netlink_socket(flags: SocketFlags, groups: u32) -> io::Result<OwnedFd> {
    // Protocol 0 is rtnetlink.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

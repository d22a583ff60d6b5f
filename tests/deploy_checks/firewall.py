"""Firewall: the nftables rules, seen at work between two network namespaces, and ufw's profiles."""

import re
import shutil
import socket
import subprocess
import sys
import threading
import time

from checks import attempt, equal, expect, tool
from relay import fresh

HOST, USER, STRANGER, TRUNK = "192.0.2.1", "192.0.2.5", "198.51.100.9", "192.0.2.70"
FLOOD = 12_000


def read(deploy):
    """nft reads the rules, twice over, and they drop what they do not name."""
    rules = deploy / "firewall/sotto.nft"
    tool("nft", "-c", "-f", rules)
    for _ in range(2):
        tool("nft", "-f", rules)
    listed = tool("nft", "list", "table", "inet", "sotto")
    expect("hook input priority filter; policy drop;" in listed, "what is not named is let in")
    tool("nft", "delete", "table", "inet", "sotto")


def at_work(deploy):
    """Who may reach a port does, who may not does not, and a flood of one stranger is cut down."""
    with Outside() as outside:
        tool("nft", "-f", deploy / "firewall/sotto.nft")
        try:
            for source, port, wanted in (
                (USER, 443, True),
                (STRANGER, 443, False),
                (USER, 8080, False),
                (USER, 8081, False),
                ("192.0.2.10", 8081, True),
                (STRANGER, 5060, True),
                (USER, 2223, False),
            ):
                found = outside.connects(source, port)
                equal(found, wanted, f"{source} reaches TCP {port}")
            equal(outside.sends(STRANGER, 10_000, 50), 50, "packets of a call that arrive")
            flood = outside.sends(STRANGER, 10_002, FLOOD)
            expect(0 < flood < FLOOD / 2, f"{flood} of {FLOOD} packets of a flood arrive")
            trunk = outside.sends(TRUNK, 10_004, FLOOD)
            expect(trunk > flood * 2, f"{trunk} of {FLOOD} packets of a trunk arrive")
            equal(outside.sends(STRANGER, 9_000, 5), 0, "packets to another port that arrive")
        finally:
            tool("nft", "delete", "table", "inet", "sotto")


# Of the kernel's asm-generic/socket.h; Python has no name for it.
SO_RCVBUFFORCE = 33


class Outside:
    """A namespace behind a virtual cable, from which anybody's address sends to this one."""

    def __enter__(self):
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "120"])
        time.sleep(0.2)
        pid = str(self._holder.pid)
        tool("ip", "link", "add", "inside", "type", "veth", "peer", "name", "outside")
        tool("ip", "link", "set", "outside", "netns", pid)
        tool("ip", "address", "add", f"{HOST}/24", "dev", "inside")
        tool("ip", "link", "set", "inside", "up")
        tool("ip", "route", "add", "198.51.100.0/24", "dev", "inside")
        self._within = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        for address in (USER, "192.0.2.10", TRUNK, STRANGER):
            tool(*self._within, "ip", "address", "add", f"{address}/24", "dev", "outside")
        tool(*self._within, "ip", "link", "set", "outside", "up")
        tool(*self._within, "ip", "route", "replace", f"{HOST}/32", "dev", "outside")
        time.sleep(0.3)
        return self

    def __exit__(self, *_):
        attempt("ip", "link", "delete", "inside")
        self._holder.kill()
        self._holder.wait()

    def connects(self, source, port):
        """Whether a connection from there comes about."""
        with socket.create_server((HOST, port)):
            script = (
                "import socket,sys; s=socket.socket(); s.settimeout(0.4); "
                f"s.bind(({source!r}, 0)); sys.exit(s.connect_ex(({HOST!r}, {port})) != 0)"
            )
            return attempt(*self._within, sys.executable, "-c", script).returncode == 0

    def sends(self, source, port, count):
        """How many of so many datagrams, sent as fast as can be, arrive."""
        script = (
            "import socket; s=socket.socket(type=socket.SOCK_DGRAM); "
            f"s.bind(({source!r}, 0))\n"
            f"for _ in range({count}): s.sendto(bytes(172), ({HOST!r}, {port}))"
        )
        with socket.socket(type=socket.SOCK_DGRAM) as ear:
            ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
            ear.bind((HOST, port))
            ear.settimeout(0.4)
            heard = Counter(ear)
            tool(*self._within, sys.executable, "-c", script)
            return heard.total()


class Counter(threading.Thread):
    """Counts datagrams until none comes."""

    def __init__(self, ear):
        super().__init__(daemon=True)
        self._ear, self._count, self._sent = ear, 0, False
        self.start()

    def run(self):
        while True:
            try:
                self._ear.recv(2048)
                self._count += 1
            except TimeoutError:
                if self._sent:
                    return

    def total(self):
        """The number, once all has been sent."""
        self._sent = True
        self.join()
        return self._count


def profiles(deploy, work):
    """ufw knows each profile, and takes the commands that README.md has."""
    root = fresh(work / "ufw")
    for folder in ("etc/ufw", "lib/ufw", "usr/share/ufw"):
        shutil.copytree(f"/{folder}", root / folder)
    (root / "etc/default").mkdir()
    shutil.copy("/etc/default/ufw", root / "etc/default/ufw")
    for old in (root / "etc/ufw/applications.d").iterdir():
        old.unlink()
    shutil.copy(deploy / "firewall/ufw-sotto", root / "etc/ufw/applications.d/sotto")
    ufw = "ufw", f"--rootdir={root}", f"--datadir={root}"
    listed = tool(*ufw, "app", "list")
    names = re.findall(r"^\[(.*)\]$", (deploy / "firewall/ufw-sotto").read_text(), re.M)
    for name in names:
        expect(name in listed, f"ufw does not list {name!r}: {listed}")
        told = tool(*ufw, "app", "info", name)
        expect("Ports:" in told or "Port:" in told, f"{name} has no ports: {told}")
    readme = (deploy / "firewall/README.md").read_text()
    used = set(re.findall(r"^ufw allow .*'(.*)'$", readme, re.M))
    equal(used, set(names), "profiles that README.md allows")
    for command in re.findall(r"^ufw (allow .*)$", readme, re.M):
        words = re.findall(r"'[^']*'|\S+", command)
        words = [word.strip("'") for word in words]
        said = tool(*ufw, "--dry-run", *words)
        expect("ERROR" not in said, f"ufw {command}: {said}")

"""Bad engines: slow, dead, lying, flooding ones, and what becomes of their calls and all others."""

import base64
import itertools
import json
import socket
import struct
import threading
import time
from pathlib import Path

import bots
import checks
import g711
import party
import sotto
import web_socket

GOOD = 20  # calls to engines over RTP, beside the bad ones
BAD = 3  # calls to each kind of bad engine
SECONDS = 8  # that all of them talk
RATE = 10_000_000  # octets per second of a flood
MOST_GROWTH = 64 << 20  # octets that the process may take for all bad calls
LATE = 0.5  # seconds at either end of a call in which a packet may be on its way

MEDIA = json.dumps(
    {"event": "media", "media": {"payload": base64.b64encode(bytes(8000)).decode()}}
).encode()
# What is no message of the dialect, one after the other, each to a connection of its own if the one
# before has cost it the last.
LIES = (
    web_socket.frame(b"not JSON"), web_socket.frame(b"[" * 100_000),
    web_socket.frame(b"\xff\xfe"), web_socket.frame(b'{"event":"media","media":{"payload":"?"}}'),
    web_socket.frame(b'{"event":"media","media":7}'), web_socket.frame(bytes(1000), 2),
    web_socket.frame(b'{"event":"mark","mark":{"name":"' + b"n" * 60_000 + b'"}}'),
    web_socket.frame(b"", 0), web_socket.frame(b"x", 3), b"\xff" * 64,
    web_socket.frame(b"{", web_socket.TEXT, length=1 << 62),
)  # fmt: skip


def slow(connection, _):
    """Reads nothing, says nothing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    threading.Event().wait()


def dead(connection, _):
    """Resets the connection in the middle of a word."""
    time.sleep(1)
    connection.send(web_socket.frame(MEDIA)[:100])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


_lies = itertools.cycle(LIES)


def lying(connection, _):
    """Says what means nothing, until it is hung up on."""
    while True:
        connection.sendall(next(_lies))
        time.sleep(0.05)


def marking(connection, _):
    """Asks for marks without an end, and hears none of them."""
    marks = b"".join(
        web_socket.frame(b'{"event":"mark","mark":{"name":"%d"}}' % number)
        for number in range(1000)
    )
    connection.sendall(web_socket.frame(MEDIA) * 20)
    while True:
        connection.sendall(marks)


def endless(connection, _):
    """Sends one message of which no end is in sight."""
    connection.sendall(web_socket.frame(b"", length=1 << 40))
    while True:
        connection.sendall(bytes(65_536))


def flooding(connection, _):
    """Says far more than can be heard."""
    message = web_socket.frame(MEDIA)
    for due in itertools.count(time.monotonic(), len(message) / RATE):
        connection.sendall(message)
        time.sleep(max(0, due - time.monotonic()))


def framing(connection, _):
    """Speaks AudioSocket with types that there are none of, odd samples, and too much."""
    frames = b"\x10\x00\x03abc" + b"\x77\xff\xff" + bytes(65_535) + b"\x10\x01\x40" + bytes(320)
    while True:
        connection.sendall(frames)


WEB = (slow, dead, lying, marking, endless, flooding)


class Good:
    """A call between two parties that nothing is wrong with."""

    def __init__(self, relay, number):
        self.caller, self.engine = party.Caller(f"good {number}"), party.Engine()
        call = relay.open_call(sotto.offer(self.caller), self.engine.address)
        self.caller.target, self.engine.target = call.caller_port, call.engine_port

    def lost(self, begin, end):
        """Packets of the caller's that the engine has not heard, and how many there were."""
        heard = {packet.payload for packet in self.engine.heard}
        sent = [one for at, _, one in self.caller.sent if begin < at < end]
        return sum(one not in heard for one in sent), len(sent)


class Bad:
    """A call to an engine that something is wrong with."""

    def __init__(self, relay, kind):
        self.kind = kind
        self.caller = party.Caller(f"bad {kind}")
        self.call = relay.open_to(sotto.offer(self.caller), {"profile": kind})
        self.caller.target = self.call.caller_port

    def verdict(self):
        """What the payment came to."""
        return self.call.wait_for("ended")["result"]


def settings(servers, refused):
    """A profile of each bad engine; none of them ends its call."""
    ports = {behave.__name__: servers[behave].port for behave in WEB} | {"refusing": refused}
    profiles = {
        name: f"type = 'websocket'\ndialect = 'twilio'\nurl = 'ws://127.0.0.1:{port}/ws'"
        for name, port in ports.items()
    }
    profiles["framing"] = f"type = 'audiosocket'\naddress = '127.0.0.1:{servers[framing].port}'"
    return bots.SETTINGS + "".join(
        f"[engines.{name}]\n{profile}\non_close = 'keep'\nreconnect_attempts = 10\n"
        for name, profile in profiles.items()
    )


def resident(pid):
    """Octets of memory that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10


def check_refused(relay):
    """Where nobody listens no call begins, and whoever asked for it learns why."""
    caller = party.Caller("refused")
    body = {"caller": {"sdp": sotto.offer(caller)}, "engine": {"profile": "refusing"}}
    status, answer = relay.ask("POST", "/v1/calls", body)
    checks.equal((status, json.loads(answer)["code"]), (502, "engine-unreachable"), "a refusal")
    caller.stop()


def watch(pid, seconds):
    """The most memory that a process has in a while."""
    end, most = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        most = max(most, resident(pid))
        time.sleep(0.05)
    return most


def together(binary):
    """Other calls lose nothing, memory has a bound, and a payment can be made on every bad call."""
    servers = {behave: web_socket.Server(behave) for behave in WEB}
    servers[framing] = web_socket.Server(framing, is_web=False)
    with socket.create_server(("127.0.0.1", 0)) as one:
        refused = one.getsockname()[1]
    kinds = [behave.__name__ for behave in (*WEB, framing)]
    with sotto.Sotto(binary, settings=settings(servers, refused), trace=False) as relay:
        for server in servers.values():
            server.__enter__()
        good = [Good(relay, number) for number in range(GOOD)]
        parties = [one for call in good for one in (call.caller, call.engine)]
        for one in parties:
            one.start()
        time.sleep(1)
        before = resident(relay.pid)
        check_refused(relay)
        bad = [Bad(relay, kind) for kind in BAD * kinds]
        for one in bad:
            one.caller.start()
        begin = time.time()
        most = watch(relay.pid, SECONDS / 2)
        for one in bad:
            one.call.enter()
        # A tone in the very first packet may have begun before the session.
        time.sleep(0.2)
        for one in bad:
            one.caller.press(sotto.KEYS)
        most = max(most, watch(relay.pid, SECONDS / 2))
        verdicts = {}
        for one in bad:
            verdicts.setdefault(one.kind, []).append(one.verdict())
        end = time.time()
        for one in [*parties, *(call.caller for call in bad)]:
            one.stop()
        for server in servers.values():
            server.__exit__()
    lost = [call.lost(begin + LATE, end - LATE) for call in good]
    missing, sent = (sum(column) for column in zip(*lost, strict=True))
    checks.figure(
        f"{len(bad)} calls to bad engines beside {GOOD} good ones: {missing} of {sent} packets of "
        f"those lost; memory {before >> 20} MB, with all of them at most {most >> 20} MB; "
        f"verdicts on bad calls: {verdicts}"
    )
    checks.expect(sent > GOOD * SECONDS * 40, f"voices in good calls, not {sent} packets")
    checks.equal(missing, 0, "packets lost of calls that nothing is wrong with")
    checks.expect(most - before < MOST_GROWTH, "memory that bad engines cost has a bound")
    passed = {kind: ["pass"] * BAD for kind in verdicts}
    checks.equal(verdicts, passed, "payments on calls with bad engines")

"""What an engine behind a WebSocket costs, against the same one over RTP: latency and processor.

Callers and engines are one loop, without threads, so that what is measured is the relay's.
"""

import base64
import contextlib
import os
import re
import select
import statistics
import time
import types
from pathlib import Path

import bots
import checks
import g711
import party
import rtp
import sotto
import web_socket

TICK = 0.02
LATENCY_CALLS, LATENCY_SECONDS = 10, 6
MOST_MS = 30  # that 99 of 100 frames may take from the caller's socket to the engine's
CALLS, SECONDS, ROUNDS = 50, 1, 5
MOST_TIMES = 3  # that a call's processor time may grow
SETTLE = 0.5  # seconds until a line is steady

_PAYLOAD = re.compile(rb'"payload": ?"([^"]+)"')
_ECHO = b'{"event":"media","media":{"payload":"%b"}}'


class Line:
    """Callers who speak in turn, spread over each 20 ms, and what their engines hear."""

    def __init__(self, relay, count):
        self._relay, self._count = relay, count
        self._poll = select.epoll()
        self._by_file, self._kept, self.calls, self._callers = {}, [], [], []
        self.sent, self.heard, self.echoed = {}, {}, 0
        self._voice, self._sequence = g711.Canary("cost"), 0

    def _watch(self, one, hear):
        one.setblocking(False)
        self._by_file[one.fileno()] = hear
        self._poll.register(one, select.EPOLLIN)
        self._kept.append(one)

    def dial(self, leg):
        """Opens the calls, each to a leg of its own."""
        for _ in range(self._count):
            pair = party.bind_pair()
            self._kept += pair
            caller = pair[0]
            offer = sotto.offer(types.SimpleNamespace(address=caller.getsockname()))
            call = self._relay.open_to(offer, leg())
            self._watch(caller, self._from_relay(caller))
            self._callers.append((caller, call.caller_port, int.from_bytes(os.urandom(4))))
            self.calls.append(call)

    def rtp_leg(self):
        """An engine over RTP that repeats what it hears."""
        pair = party.bind_pair()
        self._kept += pair
        engine = pair[0]

        def hear():
            datagram, source = engine.recvfrom(2048)
            self._note(datagram[12:])
            engine.sendto(datagram, source)

        self._watch(engine, hear)
        return {"type": "rtp", "address": sotto.written(engine.getsockname()), "codec": "PCMU"}

    def join(self, connection, rest):
        """An engine over a WebSocket that repeats what it hears, as Twilio's do."""
        frames = web_socket.Frames()

        def hear(octets=None):
            for opcode, payload in frames.add(octets or connection.recv(65_536)):
                found = opcode == web_socket.TEXT and _PAYLOAD.search(payload)
                if found:
                    self._note(base64.b64decode(found[1]))
                    connection.sendall(web_socket.frame(_ECHO % found[1]))

        if rest:
            hear(rest)
        self._watch(connection, hear)

    def _from_relay(self, caller):
        def hear():
            caller.recv(2048)
            self.echoed += 1

        return hear

    def _note(self, payload):
        if payload in self.sent:
            self.heard.setdefault(payload, time.monotonic())

    def talk(self, seconds):
        """All of them speak so long."""
        step = TICK / self._count
        due = time.monotonic()
        for turn in range(int(seconds / TICK) * self._count):
            self._attend(due)
            due += step
            number = turn % self._count
            if number == 0:
                self._sequence += 1
            self._speak(*self._callers[number])
        self._attend(time.monotonic() + TICK)

    def _speak(self, caller, target, ssrc):
        frame = self._voice.frame()
        timestamp = self._sequence * g711.FRAME
        datagram = rtp.write(0, self._sequence & 0xFFFF, timestamp, ssrc, frame, False)
        self.sent[frame] = time.monotonic()
        caller.sendto(datagram, target)

    def _attend(self, until):
        while (left := until - time.monotonic()) > 0:
            for file, _ in self._poll.poll(left):
                self._by_file[file]()

    def close(self):
        """Hangs up."""
        for call in self.calls:
            call.close()
        for one in self._kept:
            one.close()


def processor(pid):
    """Seconds of processor that all threads of a process have had (schedstats of Linux)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextlib.contextmanager
def talking(relay, count, is_web):
    """A line whose calls are up, and steady."""
    line = Line(relay, count)
    with web_socket.Server(line.join) as server:
        leg = bots.websocket("twilio", "/ws")(server.port)
        line.dial((lambda: leg) if is_web else line.rtp_leg)
        line.talk(SETTLE)
        line.sent.clear()
        line.heard.clear()
        yield line
        line.close()
    checks.expect(len(line.heard) > 0.95 * len(line.sent), "engines that hear their callers")
    checks.expect(line.echoed > 0.9 * len(line.sent), "callers who hear their engines")


def measure(relay, is_web):
    """Seconds of processor that the relay takes for one second of one call."""
    with talking(relay, CALLS, is_web) as line:
        before, begun = processor(relay.pid), time.monotonic()
        line.talk(SECONDS)
        return (processor(relay.pid) - before) / (time.monotonic() - begun) / CALLS


def added_processor(binary):
    """A call to a WebSocket takes less than three times what the same takes to an engine over RTP."""
    rows = {False: [], True: []}
    with sotto.Sotto(binary, settings=bots.SETTINGS, trace=False) as relay:
        for _ in range(ROUNDS):
            for is_web, row in rows.items():
                row.append(1e3 * measure(relay, is_web))
    over_rtp, over_web = (statistics.median(row) for row in rows.values())
    checks.figure(
        f"figure: processor for a second of a call, ms, medians of {ROUNDS} of {CALLS} calls: "
        f"{over_rtp:.2f} with an engine over RTP, {over_web:.2f} over a WebSocket: "
        f"{over_web / over_rtp:.2f} times"
    )
    checks.expect(over_web < MOST_TIMES * over_rtp, f"less than {MOST_TIMES} times")


def added_latency(binary):
    """What the relay adds between the caller's socket and the engine's, in either kind of leg."""
    tails = {}
    with sotto.Sotto(binary, settings=bots.SETTINGS, trace=False) as relay:
        for is_web in (False, True):
            with talking(relay, LATENCY_CALLS, is_web) as line:
                line.talk(LATENCY_SECONDS)
            took = sorted(1e3 * (at - line.sent[one]) for one, at in line.heard.items())
            tails[is_web] = took[len(took) * 99 // 100]
            checks.figure(
                f"figure: from a caller's socket to an engine's over "
                f"{'a WebSocket' if is_web else 'RTP'}: p50 {took[len(took) // 2]:.2f} ms, "
                f"p99 {tails[is_web]:.2f} ms"
            )
    checks.expect(tails[True] < MOST_MS, f"p99 below {MOST_MS} ms")

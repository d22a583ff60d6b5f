"""Party: one end of a call on a UDP port pair, sending every 20 ms and recording what it hears."""

import contextlib
import itertools
import os
import select
import socket
import struct
import threading
import time

import g711
import rtp

TICK = 0.02  # seconds between packets
SO_TIMESTAMPNS = 35
_ports = itertools.count(30000, 2)  # no two parties of one run share a port


def use_ports_from(first):
    """Begins the search for free ports here, so that parties in several processes don't meet."""
    global _ports
    _ports = itertools.count(first, 2)


def bind_pair(address="127.0.0.1"):
    """An even RTP port and the odd RTCP port above it."""
    for port in _ports:
        pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        try:
            for offset, one in enumerate(pair):
                one.bind((address, port + offset))
            return pair
        except OSError:
            for one in pair:
                one.close()
    raise RuntimeError("no port pair is free")


class Party(threading.Thread):
    """Speaks frames from `next_frame` to `target` once it has one; keeps all it hears in `heard`.

    Times are the kernel's where it received, so that they don't tell of this process' own delays.
    """

    def __init__(self, payload_type=0):
        super().__init__(daemon=True)
        self.rtp, self.rtcp = bind_pair()
        self.rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.address = self.rtp.getsockname()
        self.payload_type = payload_type
        self.target = None
        self.heard, self.reports, self.sent = [], [], []
        self.ssrc = int.from_bytes(os.urandom(4))
        self.sequence, self.timestamp = 1000, 160000
        self.stopping = False

    def next_packets(self):
        """What to send at this tick, as (payload type, payload, marker) at the present time."""
        raise NotImplementedError

    def sealed(self, datagram):
        """What goes over the wire for a datagram: itself, unless the leg is SRTP."""
        return datagram

    def opened(self, datagram):
        """What came over the wire, opened; None if it can't be."""
        return datagram

    def run(self):
        """Sends and receives until stopped."""
        due = time.time()
        while not self.stopping:
            ready, _, _ = select.select([self.rtp, self.rtcp], [], [], max(0, due - time.time()))
            if self.rtp in ready:
                self._receive()
            if self.rtcp in ready:
                self.reports.append((time.time(), *self.rtcp.recvfrom(2048)))
            if time.time() >= due:
                due += TICK
                if self.target:
                    self._send()

    def stop(self):
        """Ends the party; what it heard stays."""
        self.stopping = True
        if self.is_alive():
            self.join()
        self.rtp.close()
        self.rtcp.close()

    def _receive(self):
        datagram, ancillary, _, source = self.rtp.recvmsg(2048, 64)
        at = time.time()
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("qq", data)
                at = seconds + nanoseconds / 1e9
        opened = self.opened(datagram)
        packet = opened and rtp.Packet.read(at, source, opened)
        if packet:
            self.heard.append(packet)

    def _send(self):
        for payload_type, payload, marker, back in self.next_packets():
            datagram = rtp.write(
                payload_type, self.sequence, self.timestamp - back, self.ssrc, payload, marker
            )
            self.sent.append((time.time(), payload_type, payload))
            with contextlib.suppress(ConnectionError):  # the far end has closed its port
                self.rtp.sendto(self.sealed(datagram), self.target)
            self.sequence += 1
        self.timestamp += g711.FRAME


class Engine(Party):
    """An AI engine: says a steady 1000 Hz tone, u-law or A-law as silent as its codec has it."""

    VOICE = 1000

    def __init__(self, payload_type=0):
        super().__init__(payload_type)
        self._frame = g711.encode(g711.tone([self.VOICE], 8000, g711.FRAME), payload_type)

    def next_packets(self):
        """20 ms of tone."""
        return [(self.payload_type, self._frame, False, 0)]


class Caller(Party):
    """A caller with a canary's voice, who keys what is put into `press`."""

    HELD, PAUSED = 5, 3  # ticks: 100 ms down, 60 ms up

    def __init__(self, seed):
        super().__init__(0)
        self._voice = g711.Canary(seed)
        self._script = []
        self._lock = threading.Lock()

    def press(self, keys, in_band=False):
        """Keys what is given, one after the other, and returns how many seconds that takes."""
        ticks = []
        for key in keys:
            ticks += self._tone(key) if in_band else self._event(key)
            ticks += [None] * self.PAUSED
        with self._lock:
            self._script += ticks
        return len(ticks) * TICK

    def is_pressing(self):
        """Whether keys are still to be pressed."""
        with self._lock:
            return bool(self._script)

    def next_packets(self):
        """The next tick of what is keyed, else voice."""
        with self._lock:
            tick = self._script.pop(0) if self._script else None
        return tick or [(self.payload_type, self._voice.frame(), False, 0)]

    def _event(self, key):
        """Five updates, the last with the end bit and sent three times (RFC 4733 section 2.5.1)."""
        ticks = []
        for index in range(self.HELD):
            last = index == self.HELD - 1
            payload = rtp.event(key, (index + 1) * g711.FRAME, last)
            packet = (rtp.EVENT_TYPE, payload, index == 0, index * g711.FRAME)
            ticks.append([packet] * (3 if last else 1))
        return ticks

    def _tone(self, key):
        frequencies = g711.KEYPAD[key]
        frames = [
            g711.tone(frequencies, 6000, g711.FRAME, index * g711.FRAME)
            for index in range(self.HELD)
        ]
        return [[(self.payload_type, self._voice.over(frame), False, 0)] for frame in frames]

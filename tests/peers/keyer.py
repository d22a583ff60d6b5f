"""Keyer: a caller who keys by events, tones or REST at a person's uneven pace, and an engine.

Both speak SRTP where they are given keys.
"""

import collections
import queue
import random
import time

import g711
import party
import rtp
import sotto

FULL_SCALE = 22_300  # amplitude of a sine at 0 dBm0 (G.711: 3.17 dB below the largest)
NOISE = 25  # dB that the line's noise lies below a tone
HELD, PAUSED = (3, 6), (3, 8)  # ticks of 20 ms: shortest and longest

_NO_MARK = (None, None)


class Sealed(party.Party):
    """A party whose packets are sealed by one stream and opened by another, if it has them."""

    sealer = opener = None

    def sealed(self, datagram):
        """The datagram under the key that this party sends with."""
        return self.sealer.work(datagram) if self.sealer else datagram

    def opened(self, datagram):
        """The datagram within what came."""
        return self.opener.work(datagram) if self.opener else datagram


class Engine(Sealed, party.Engine):
    """An engine over RTP or SRTP."""


class Keyer(Sealed, party.Caller):
    """A caller who keys a script prepared beforehand, so that keying costs no time of its own.

    `pressed` and `released` are when keys went down and up; `to_post` holds the keys that are to
    be handed in by REST, when they are due, and None behind the last key.
    """

    def __init__(self, number, payload_type, level, twist):
        super().__init__(f"canary {number}")
        self.payload_type = payload_type
        self.pressed, self.released, self.to_post = [], [], queue.SimpleQueue()
        self._level, self._twist = level, twist
        self._random = random.Random(f"pace {number}")
        self._ticks = collections.deque()

    def offer(self, protocol="RTP/AVP", extra=""):
        """What this caller offers, its own law first."""
        offered = sotto.offer(self, protocol, extra)
        return offered.replace(" 0 8 101", " 8 0 101") if self.payload_type == 8 else offered

    def connect(self, call):
        """Speaks to where the call's answer says."""
        self.target = call.caller_port

    def prepare(self, keys, way):
        """What `press_all` will key, and the way to key it."""
        ways = {"event": self._event, "tone": self._tone, "rest": self._rest,
                "event and rest": self._both}  # fmt: skip
        self._prepared = []
        for key in keys:
            self._prepared += ways[way](key, self._random.randint(*HELD))
            paused = self._random.randint(*PAUSED)
            self._prepared += [(_NO_MARK, None)] * paused
        self._prepared.append((("last", None), None))

    def press_all(self):
        """Begins to key."""
        self._ticks.extend(self._prepared)

    def press_no_more(self):
        """Leaves what is left of the script."""
        self._ticks.clear()
        self.to_post.put(None)

    def next_packets(self):
        """The next tick of what is keyed, else voice."""
        (mark, key), packets = self._ticks.popleft() if self._ticks else (_NO_MARK, None)
        if mark == "down":
            self.pressed.append(time.time())
        elif mark == "up":
            self.released.append(time.time())
        elif mark:
            self.to_post.put(key)
        if packets:
            return packets
        frame = g711.transcode(self._voice.frame(), 0, self.payload_type)
        return [(self.payload_type, frame, False, 0)]

    def _event(self, key, held):
        """Updates every 20 ms, the end three times (RFC 4733 section 2.5.1)."""
        ticks = []
        for index in range(held):
            last = index == held - 1
            payload = rtp.event(key, (index + 1) * g711.FRAME, last)
            packet = (rtp.EVENT_TYPE, payload, index == 0, index * g711.FRAME)
            ticks.append((_mark(index, held), [packet] * (3 if last else 1)))
        return ticks

    def _tone(self, key, held):
        """Both frequencies at the level, the twist between them, and noise."""
        amplitude = FULL_SCALE * 10 ** (self._level / 20)
        tilt = 10 ** (self._twist / 40)
        noise = amplitude * 10 ** (-NOISE / 20)
        low, high = (
            g711.tone([hertz], scale * amplitude, held * g711.FRAME)
            for hertz, scale in zip(g711.KEYPAD[key], (1 / tilt, tilt), strict=True)
        )
        samples = [
            int(one + other + self._random.gauss(0, noise))
            for one, other in zip(low, high, strict=True)
        ]
        ticks = []
        for index in range(held):
            part = samples[index * g711.FRAME : (index + 1) * g711.FRAME]
            frame = g711.encode(part, self.payload_type)
            ticks.append((_mark(index, held), [(self.payload_type, frame, False, 0)]))
        return ticks

    def _rest(self, key, _):
        """A key for REST; the voice goes on."""
        return [(("rest", key), None)]

    def _both(self, key, held):
        """As a gateway does that turns SIP INFO into REST and sends events on as well."""
        return self._event(key, held) + self._rest(key, held)


def _mark(index, held):
    if index == 0:
        return "down", None
    return ("up", None) if index == held - 1 else _NO_MARK

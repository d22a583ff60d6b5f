"""Canary: secure sessions of every kind, each with digits of its own, and what is left of them.

A session keys random digits, a published test card and more; afterwards they are looked for in
whatever came out of the relay or stayed behind in it.
"""

import base64
import json
import random
import re
import time
from dataclasses import dataclass, field

import checks
import g711
import keyer
import party
import rtp
import scan
import sotto
import srtp
import web_keyer

# Published test numbers whose runs of digits are unlike anything else's.
CARDS = (
    ("4012888888881881", 3), ("5200828282828210", 3), ("6011000990139424", 3),
    ("378282246310005", 4), ("3566002020360505", 3), ("371449635398431", 4),
)  # fmt: skip
WAYS = ("event", "tone", "rest", "event and rest")
LEVELS = (-6, -12, -18, -24, -30)  # dBm0 of each frequency
TWISTS = (0, 3, -3)  # dB by which the high frequency is louder, as far as the decoder follows
SUITES = (None, *srtp.SUITES)
ENDINGS = ("pass", "pass", "pass", "pass", "pass", "pass", "retry", "early")  # by turns
EARLY = ("hang-up", "cancel", "star")
PLAN = {
    "fields": [
        {"type": "postal-code", "min_digits": 10, "max_digits": 10},
        {"type": "payment-card-number"},
        {"type": "expiration-date"},
        {"type": "security-code"},
    ]
}
# What becomes of what was keyed, by turns.
SINKS = (
    {"type": "discard"}, {"type": "seal", "key_id": "merchant"},
    {"type": "connector", "name": "payments"},
)  # fmt: skip
# What an engine may be told.
ENGINE_EVENTS = [b"secure_session.started", b"secure_session.ended"]
# Packets that were on their way at an edge of the window belong to either side of it; a browser's
# go through one process more.
EDGE, BROWSER_EDGE = 0.02, 0.1
# Sessions from this number on are a browser's. They key in each way and in both codecs, and half of
# them a wrong card first.
BROWSER = 1012
BROWSERS = 8


@dataclass
class Kind:
    """What sort of session the one of this number is, and what is keyed in it."""

    number: int

    def __post_init__(self):
        pick = random.Random(f"kind {self.number}")
        self.way = WAYS[self.number % len(WAYS)]
        self.caller_suite = SUITES[self.number % len(SUITES)]
        self.engine_suite = SUITES[self.number // len(SUITES) % len(SUITES)]
        self.caller_law, self.engine_law = pick.choice((0, 8)), pick.choice((0, 8))
        self.level, self.twist = pick.choice(LEVELS), pick.choice(TWISTS)
        ending = ENDINGS[self.number // len(WAYS) % len(ENDINGS)]
        turn = self.number // len(WAYS) // len(ENDINGS)
        self.ending = EARLY[(turn + self.number) % len(EARLY)] if ending == "early" else ending
        self.sink = SINKS[self.number % len(SINKS)]
        # A browser's codec, if it is one: what it says has the keys of DTLS and no others.
        self.web_codec = None
        if self.number >= BROWSER:
            self.web_codec = list(web_keyer.TYPES)[self.number // len(WAYS) % len(web_keyer.TYPES)]
            self.caller_suite, self.caller_law = None, 0
        self.stays_open = self.number % 2 == 1
        self._draw()

    def _draw(self):
        """The entries: in front of the card one that is random from end to end."""
        card, length = CARDS[self.number % len(CARDS)]
        postal, code = (scan.draw(f"{self.number} {what}", 10) for what in ("postal", "code"))
        # The last digit is not the check digit.
        wrong = "4" + scan.draw(f"{self.number} wrong", 14)
        wrong += next(digit for digit in "0123456789" if not sotto._luhn(wrong + digit))
        retried = [wrong] if self.ending == "retry" else []
        self.entries = [postal, *retried, card, sotto.EXPIRY, code[:length]]
        self.keys = "".join([postal, *(one + "#" for one in [*retried, card]), *self.entries[-2:]])
        if self.ending in EARLY:
            # In the middle of the card number.
            self.keys = self.keys[:22] + ("**" if self.ending == "star" else "")

    @property
    def is_lossy(self):
        """Whether the relay hears other samples than the caller has said."""
        return self.web_codec == "OPUS"

    @property
    def edge(self):
        """Seconds at an edge of the cut in which a packet of the caller's may be on its way."""
        return BROWSER_EDGE if self.web_codec else EDGE

    @property
    def is_fetched(self):
        """Whether the merchant fetches what was sealed; else it waits to the end."""
        return self.sink["type"] == "seal" and self.result == "pass" and not self.stays_open

    @property
    def result(self):
        """The verdict that this must come to."""
        return "fail" if self.ending in EARLY else "pass"


@dataclass
class Found:
    """What a session left, and what was found of it; plain data, since it crosses processes."""

    kind: Kind
    cut: float
    still_cut: float
    result: str
    call_id: str
    pressed: list
    released: list
    # Packets of the engine's leg while the cut held, without what is in them.
    stream: list = field(default_factory=list)
    reports: list = field(default_factory=list)
    # What the engine heard meanwhile, 16-bit samples at 8 kHz.
    audio: bytes = b""
    # By sink: octets or occurrences that should not be there.
    hits: dict = field(default_factory=dict)
    told: dict = field(default_factory=dict)
    loud: list = field(default_factory=list)
    secret: int = 0
    # Whether no quiet was heard in time, so that an operator had the call drained once more.
    was_held: bool = False
    # Whether the merchant has what was keyed, if it fetched it.
    is_with_merchant: bool = False
    # Whether the engine heard the caller before the cut, and after it.
    open_heard: tuple = (False, False)


class Session:
    """One call with one secure session."""

    def __init__(self, relay, number, keys, listeners, far_side):
        self.relay, self.kind, self._far_side = relay, Kind(number), far_side
        self._payment = keys["payment"]
        self._keys = {role: keys[role] for role in listeners.ROLES}
        self._is_with_merchant = False
        kind, self._listeners, self._told = self.kind, listeners, []
        if kind.web_codec:
            self.caller = web_keyer.WebKeyer(number, kind.level, kind.twist, kind.web_codec)
        else:
            self.caller = keyer.Keyer(number, kind.caller_law, kind.level, kind.twist)
        self.engine = keyer.Engine(kind.engine_law)
        self.caller.prepare(kind.keys, kind.way)

    def play(self):
        """Talks, keys inside a secure session, talks again; the call stays."""
        self.call = call = self._open()
        opened = time.time()
        self._events = self._listeners.follow(call)
        self.caller.connect(call)
        self.engine.target = call.engine_port
        self.caller.start()
        self.engine.start()
        time.sleep(0.4)
        call.enter(PLAN | {"sink": self.kind.sink})
        self.cut = time.time()
        self.begin = self.cut - opened
        time.sleep(0.2)
        self.caller.press_all()
        self._post_keys()
        self._look()
        self._end()
        self.result, self.still_cut = call.see_through(30, drains_again=True)
        if self.kind.is_fetched:
            self._fetch()
        self._look()
        time.sleep(0.5)
        self.stayed = time.time()
        if not self.kind.stays_open:
            self.close()
        return self

    def close(self):
        """Ends the call and fetches its recording."""
        self.call.close()
        self.caller.stop()
        self.engine.stop()
        self.recorded = self.call.recording()

    def find(self, canaries):
        """What there is of the session in all that came out of the relay for it."""
        found = Found(
            self.kind, self.cut, self.still_cut, self.result, self.call.id,
            self.caller.pressed, self.caller.released,
        )  # fmt: skip
        during = [one for one in self.engine.heard
                  if self.cut + EDGE <= one.at <= self.still_cut - EDGE]  # fmt: skip
        found.stream = [
            (one.at, one.sequence, one.timestamp, one.ssrc, one.payload_type, one.marker,
             len(one.payload)) for one in during
        ]  # fmt: skip
        found.reports = [(at, len(octets)) for at, octets, _ in self.engine.reports]
        law = self.kind.engine_law
        samples = [sample.to_bytes(2, "little", signed=True) for sample in g711.PCM[law]]
        found.audio = b"".join(
            samples[octet] for one in during if one.payload_type == law for octet in one.payload
        )
        found.was_held = self.call.was_held
        found.told, found.is_with_merchant = self._told_by_role(), self._is_with_merchant
        found.secret = sum(len(payload) for _, payload in self._secret_frames())
        found.open_heard = self._is_heard_when_open()
        found.hits = self._hits(during, canaries)
        silence = g711.SILENCE[law]
        # When what was not silent came, from the cut on and until the reopening.
        found.loud = [
            (round(one.at - self.cut, 3), round(self.still_cut - one.at, 3)) for one in during
            if one.payload.count(silence) < len(one.payload)
        ]  # fmt: skip
        return found

    def _hits(self, during, canaries):
        law, number = self.kind.engine_law, self.kind.number
        silence = g711.SILENCE[law]
        heard = {one.payload for one in self.engine.heard}
        secret = [self._as_sent(payload) for at, payload in self._secret_frames()]
        told = b"\n".join(octets for octets in self._octets_told())
        whole = b"".join(one.payload for one in self.engine.heard)
        channels = [g711.encode(channel) for channel in self.recorded]
        taped = [g711.transcode(payload, self.kind.caller_law, 0)
                 for _, payload in self._secret_frames()]  # fmt: skip
        at_engine = sum(frame in heard for frame in secret)
        recorded = sum(any(frame in channel for channel in channels) for frame in taped)
        if self.kind.is_lossy:
            # Its frames are not to be known again: each sound in the cut is one.
            at_engine = sum(one.payload.count(silence) < len(one.payload) for one in during)
            recorded = self._frames_not_silent(channels[0])
        return {
            "caller's frames at the engine": at_engine,
            "octets at the engine that are not silence": sum(
                len(one.payload) - one.payload.count(silence) for one in during
            ),
            "key events at the engine": sum(one.payload_type != law for one in during),
            "caller's frames in the recording": recorded,
            "digits in engine packets": _of(number, canaries.find(whole)),
            "digits in events and answers": _of(number, canaries.find(told)),
        }

    def _frames_not_silent(self, channel):
        """By how many frames the recording's longest silence is shorter than the cut."""
        longest = max(map(len, re.findall(rb"%c+" % g711.SILENCE[0], channel)), default=0)
        cut = self.still_cut - self.cut - 2 * self.kind.edge
        return max(0, int(cut / party.TICK) - longest // g711.FRAME)

    def _as_sent(self, payload):
        """The caller's frame in the engine's codec."""
        law, to = self.kind.caller_law, self.kind.engine_law
        return payload if law == to else g711.transcode(payload, law, to)

    def _secret_frames(self):
        """Audio that the caller sent while the cut was in force."""
        return [
            (at, payload)
            for at, kind, payload in self.caller.sent
            if self.cut <= at <= self.still_cut - self.kind.edge and kind != rtp.EVENT_TYPE
        ]

    def _is_heard_when_open(self):
        """Whether the engine has the caller's voice from before the cut, and from after it."""
        spans = (0, self.cut - 0.1), (self.still_cut + 0.2, self.stayed - 0.1)
        return tuple(2 * heard >= sent > 0 for heard, sent in map(self._voice_within, spans))

    def _voice_within(self, span):
        """How many frames of the caller's the engine has heard of those sent between two times."""
        sent = [payload for at, kind, payload in self.caller.sent
                if span[0] < at < span[1] and kind != rtp.EVENT_TYPE]  # fmt: skip
        if self.kind.is_lossy:
            silence = g711.SILENCE[self.kind.engine_law]
            sounds = [one for one in self.engine.heard if span[0] < one.at < span[1]
                      and one.payload.count(silence) < len(one.payload)]  # fmt: skip
            return len(sounds), len(sent)
        heard = {one.payload for one in self.engine.heard}
        return sum(self._as_sent(payload) in heard for payload in sent), len(sent)

    def _told_by_role(self):
        """By role, when and what its event stream told."""
        told = {}
        for role, heard in self._events.items():
            told[role] = [
                (at, kind) for at, octets in heard for kind in re.findall(rb"event: ?(\S+)", octets)
            ]
        return told

    def _octets_told(self):
        streams = [b"".join(octets for _, octets in heard) for heard in self._events.values()]
        return [*streams, *self._told]

    def _open(self):
        kind, extra, secured = self.kind, {}, ()
        if kind.caller_suite:
            key = srtp.new_key(kind.caller_suite)
            self.caller.sealer = srtp.Stream(kind.caller_suite, key, outbound=True)
            inline = base64.b64encode(key).decode()
            secured = ("RTP/SAVP", f"a=crypto:1 {kind.caller_suite} inline:{inline}")
        if kind.engine_suite:
            ours, theirs = (srtp.new_key(kind.engine_suite) for _ in range(2))
            self.engine.opener = srtp.Stream(kind.engine_suite, ours, outbound=False)
            self.engine.sealer = srtp.Stream(kind.engine_suite, theirs, outbound=True)
            extra["srtp"] = {
                "suite": kind.engine_suite,
                "send_key": base64.b64encode(ours).decode(),
                "receive_key": base64.b64encode(theirs).decode(),
            }
        # While the line is open the engine may have key events; inside a session it may not.
        extra["telephone_event_payload_type"] = rtp.EVENT_TYPE
        offered = self.caller.offer(*secured)
        return self.relay.open_call(
            offered, self.engine.address, kind.engine_law, engine_options=extra
        )

    @staticmethod
    def post(call, key):
        """Hands in one key by REST."""
        call.do("POST", "/dtmf", {"digit": key})

    def _post_keys(self):
        """Hands in by REST what is due, until the whole script is keyed."""
        while key := self.caller.to_post.get(timeout=60):
            if self.kind.way == "rest":
                self.caller.pressed.append(time.time())
            self.post(self.call, key)

    def _fetch(self):
        """As the merchant, who opens what was sealed."""
        path = f"/v1/calls/{self.call.id}/secure-session/sealed"
        answer = self.relay.ask_as(self._payment, "POST", path)
        self._told.append(answer)
        sealed = json.loads(answer[answer.index(b"{") :])
        keyed = self._far_side.open_sealed(sealed["jwe"])
        names = [field["type"] for field in PLAN["fields"]]
        entries = [self.kind.entries[0], *self.kind.entries[-3:]]
        self._is_with_merchant = [keyed[name] for name in names] == entries

    def _end(self):
        """Leaves a session whose script ends in the middle."""
        if self.kind.ending == "cancel":
            self.call.do("DELETE", "/secure-session")
        elif self.kind.ending == "hang-up":
            self.call.close()

    def _look(self):
        """What each role is told of the session and the call at this moment."""
        for key in self._keys.values():
            for path in ("", "/secure-session"):
                self._told.append(self.relay.ask_as(key, "GET", f"/v1/calls/{self.call.id}{path}"))


def _of(number, found):
    """How many hits are of one session."""
    return sum(owner == number for owner, _ in found)


def canaries_of(numbers):
    """The canaries of these sessions."""
    return scan.Canaries({number: Kind(number).entries for number in numbers})


def check(found, count):
    """Ends the scenario unless all sessions went as meant, so that nothing found means something."""
    strange = [(one.kind.number, one.kind.way, one.kind.level, one.kind.ending, one.result)
               for one in found if one.result != one.kind.result]  # fmt: skip
    checks.equal(len(found), count, "sessions")
    # On a machine that stalls, what reports a key by REST may come so late that it is another key.
    checks.expect(
        len(strange) <= 0.01 * count, f"sessions with another verdict than they should have: {strange}"
    )
    others = {number for number, *_ in strange}
    lost = [one.kind.number for one in found
            if one.kind.is_fetched != one.is_with_merchant and one.kind.number not in others]  # fmt: skip
    checks.equal(lost, [], "sessions whose sealed data is not what was keyed")
    # What stalls the callers keeps the relay from hearing the quiet that it waits for.
    held = sum(one.was_held for one in found)
    checks.expect(held < 0.05 * len(found), f"calls that were held: {held}")
    unheard = [one.kind.number for one in found if not one.open_heard[0]]
    checks.equal(unheard, [], "sessions whose caller was not heard before the cut")
    # The moment behind the cut is short, and a stall of the machine may swallow it.
    stayed = [one.open_heard[1] for one in found if one.kind.ending != "hang-up"]
    checks.expect(sum(stayed) > 0.9 * len(stayed), f"callers heard after the cut: {sum(stayed)}")

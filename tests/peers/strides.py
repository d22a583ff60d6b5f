"""Strides: what one session's keys by REST leave in the relay's memory, however far apart.

A queue's places, or the buffers of many requests, hold one key each; they are the same number of
octets apart. With one session at a time nothing else comes between them.
"""

import json
import re
import socket
import time

import canary
import checks
import far_side
import listeners
import memory
import scan
import sotto

STRIDES = range(1, 257)  # octets; the relay's largest command takes about a hundred
NUMBER = 2  # of the first session that keys by REST alone
BODY = re.compile(rb'digit": ?"[0-9*#]"')  # a request that is still there
_NO_DIGIT = re.compile(rb"[^0-9]")
_VALUES = bytes(48 + octet if octet < 10 else 120 for octet in range(256))
_RUN = re.compile(rb"[0-9]{%d,}" % scan.RUN)


class AtOnce:
    """Posts keys with head and body in one segment, over one connection or one for each key."""

    def __init__(self, relay, stays):
        self._relay, self._stays, self._connection = relay, stays, None

    def post(self, call, key):
        """One key."""
        if not self._connection or not self._stays:
            self._connection = socket.create_connection(sotto.CONTROL, 10)
        body = json.dumps({"digit": key})
        self._connection.sendall(
            f"POST /v1/calls/{call.id}/dtmf HTTP/1.1\r\nHost: sotto\r\n"
            f"Authorization: Bearer {self._relay.operator_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        answer = self._connection.recv(4096)
        checks.expect(b" 204 " in answer.split(b"\r\n")[0], f"a key that is taken, not {answer}")


def one_session(binary):
    """No run of the keys is left at any stride, whichever way the requests came."""
    with far_side.FarSide() as outside, sotto.Sotto(
        binary, trace=False, settings=outside.settings
    ) as relay:
        keys, kept = relay.keys(), memory.Memory(relay.pid)
        ears = listeners.Listeners(keys)
        ears.start()
        ways = {
            "as http.client does": None,
            "in one segment each": AtOnce(relay, stays=True),
            "over a connection each": AtOnce(relay, stays=False),
        }
        left = {
            way: play(relay, outside, kept, keys, ears, poster) for way, poster in ways.items()
        }
        entries = canary.Kind(NUMBER).entries
        digits = "".join(entries).encode()
        planted = b"".join(bytes([octet - 48]) + b"\xa5" * 95 for octet in digits)
        kept.remember()
        kept.plant(planted)
        found = search(scan.Canaries({NUMBER: entries}), kept.changed())
        ears.stop()
    for way, (size, hits, bodies) in left.items():
        checks.figure(
            f"figure: strides: keys by REST {way}: {len(hits)} hits at {len(STRIDES)} strides over "
            f"{size >> 10} KB that changed, {bodies} requests with a key still there"
        )
    checks.figure(f"figure: strides: planted 96 octets apart: found at {sorted(found)}")
    checks.equal(found, {96}, "the stride at which planted digits are found")
    checks.equal({way: (hits, bodies) for way, (_, hits, bodies) in left.items()},
                 dict.fromkeys(left, (set(), 0)), "what is left of keys")  # fmt: skip


def play(relay, outside, kept, keys, ears, poster):
    """One session, and a second later what has changed: its size, hits, and requests left."""
    kept.remember()
    session = canary.Session(relay, NUMBER, keys, ears, outside)
    if poster:
        session.post = poster.post
    session.play()
    checks.equal(session.result, "pass", "verdict")
    time.sleep(1)
    changed = kept.changed()
    if session.kind.stays_open:
        session.close()
    canaries = scan.Canaries({NUMBER: session.kind.entries})
    bodies = sum(len(BODY.findall(part)) for part in changed)
    return sum(map(len, changed)), search(canaries, changed), bodies


def search(canaries, parts):
    """The strides at which there are hits, as values or as characters."""
    hits = set()
    for part in parts:
        values, characters = part.translate(_VALUES), _NO_DIGIT.sub(b"x", part)
        for stride in STRIDES:
            if len(part) < scan.RUN * stride:
                break
            for octets in (values, characters):
                column = b"x".join(octets[offset::stride] for offset in range(stride))
                for run in _RUN.finditer(column.replace(b"000", b"xxx")):
                    if canaries.has(run[0]):
                        hits.add(stride)
    return hits

"""Sessions: fifty real payment calls, with a canary's voice to find in what should be silent."""

import concurrent.futures
import time

import checks
import g711
import party
import sotto
import wire

COUNT, AT_ONCE = 50, 10
LONGEST_GAP, TRIES = 35, 3  # ms, less than the 40 of a packet left out; how often it is tried
# Packets that were on their way at an edge of the window belong to either side of it.
EDGE = 0.02


class Session:
    """One call with one secure session, and what was found of it afterwards."""

    def __init__(self, relay, number):
        self.relay, self.number = relay, number
        self.in_band = number % 2 == 1
        self.caller, self.engine = party.Caller(f"canary {number}"), party.Engine()

    def play(self):
        """Talks, keys a card inside a secure session, talks again, hangs up."""
        offer = sotto.offer(self.caller)
        # While the line is open the engine may have key events; inside a session it may not.
        events = {"telephone_event_payload_type": 101}
        call = self.relay.open_call(offer, self.engine.address, engine_options=events)
        opened = time.time()
        self.caller.target, self.engine.target = call.caller_port, call.engine_port
        self.caller.start()
        self.engine.start()
        try:
            # Four times what the recording takes back at the cut, so that half is never near.
            time.sleep(1)
            call.enter()
            self.cut = time.time()
            self._key(call)
            time.sleep(0.5)
            call.close()
            self.closed = time.time()
        finally:
            self.caller.stop()
            self.engine.stop()
        self.recorded = call.recording()
        self.begin = self.cut - opened
        return self

    def _key(self, call):
        # A tone in the very first packet may have begun before the session, and doesn't count.
        time.sleep(0.2)
        self.caller.press(sotto.KEYS, self.in_band)
        self.result, self.still_cut = call.see_through()

    def secret_frames(self):
        """What the caller sent while the cut was in force."""
        return [
            payload
            for at, _, payload in self.caller.sent
            if self.cut <= at <= self.still_cut - EDGE
        ]

    def open_frames(self):
        """Voice that the engine was meant to hear."""
        return [payload for at, _, payload in self.caller.sent if at < self.cut - 0.1]

    def octets_at_engine(self):
        """Octets of the caller's secret frames in what the engine heard, at any time."""
        heard = {packet.payload for packet in self.engine.heard}
        return sum(len(frame) for frame in self.secret_frames() if frame in heard)

    def unsilent_octets_at_engine(self):
        """Octets that the engine heard during the cut and that are not silence."""
        during = [
            packet
            for packet in self.engine.heard
            if self.cut + EDGE <= packet.at <= self.still_cut - EDGE
        ]
        silence = g711.SILENCE[0]
        return sum(len(packet.payload) - packet.payload.count(silence) for packet in during)

    def octets_in_recording(self):
        """Octets of the caller's secret frames in either channel of the recording."""
        channels = [g711.encode(channel) for channel in self.recorded]
        secret = (frame for frame in self.secret_frames() if len(frame) == g711.FRAME)
        return sum(len(frame) for frame in secret if any(frame in one for one in channels))

    def not_heard(self):
        """Where the caller's voice outside of the cut is missing: frames found and frames sent."""
        heard = {packet.payload for packet in self.engine.heard}
        before = [frame in heard for frame in self.open_frames()]
        after = [
            payload in heard
            for at, _, payload in self.caller.sent
            if self.still_cut + 0.2 < at < self.closed - 0.1
        ]
        recorded = g711.encode(self.recorded[0])
        found = [frame in recorded for frame in self.open_frames()]
        parts = {"before": before, "after": after, "recorded": found}
        return {
            (self.number, name): (sum(part), len(part))
            for name, part in parts.items()
            if sum(part) <= len(part) // 2
        }


def play_all(relay):
    """All the sessions, some at a time."""
    sessions = [Session(relay, number) for number in range(COUNT)]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(Session.play, sessions))


def fifty_sessions(binary):
    """No octet of the caller at the engine or in the recording, and every verdict is a pass."""
    with sotto.Sotto(binary) as relay:
        sessions = play_all(relay)
    at_engine = sum(session.octets_at_engine() for session in sessions)
    unsilent = sum(session.unsilent_octets_at_engine() for session in sessions)
    recorded = sum(session.octets_in_recording() for session in sessions)
    sent = sum(len(frame) for session in sessions for frame in session.secret_frames())
    passed = sum(session.result == "pass" for session in sessions)
    missing = [session.not_heard() for session in sessions]
    missing = {where: count for one in missing for where, count in one.items()}
    checks.figure(
        f"{COUNT} sessions, half by events, half in-band: {sent} caller octets sent between 201 "
        f"and reopening; {at_engine} of them at the engine, {recorded} in the recording, "
        f"{unsilent} octets at the engine that are not silence; {passed} verdicts pass"
    )
    checks.equal((at_engine, recorded, unsilent), (0, 0, 0), "octets that came through the cut")
    checks.equal((passed, missing), (COUNT, {}), "verdicts that pass, calls not heard when open")


def control(binary):
    """With masking broken the same search finds the caller in every session."""
    with sotto.Sotto(binary, broken=True, trace=False) as relay:
        sessions = play_all(relay)
    engine = sum(session.octets_at_engine() > 0 for session in sessions)
    unsilent = sum(session.unsilent_octets_at_engine() > 0 for session in sessions)
    recorded = sum(session.octets_in_recording() > 0 for session in sessions)
    checks.figure(
        f"masking broken: the caller is found at the engine in {engine}, in the recording in "
        f"{recorded} of {COUNT} sessions, and {unsilent} were not silent"
    )
    checks.equal((engine, recorded, unsilent), (COUNT,) * 3, "sessions in which it is found")


def cadence(binary):
    """What the engine is sent is one stream across two flips, and all goes where it should.

    The best of some tries counts: a machine that stalls can only make gaps longer.
    """
    longest = []
    while not longest or (min(longest) > LONGEST_GAP and len(longest) < TRIES):
        longest.append(play_cadence(binary))
    gap = min(longest)
    checks.expect(gap <= LONGEST_GAP, f"longest gap {gap:.1f} ms at best, {TRIES} times tried")


def play_cadence(binary):
    """The longest gap of a session with two flips, in ms."""
    with sotto.Sotto(binary) as relay, wire.Capture() as capture:
        session = Session(relay, 0).play()
    # Speech before and after has the caller's own pace; the flips are what is looked at.
    around = (session.cut - 0.3, session.still_cut + 0.4)
    stream = capture.stream(session.engine.address)
    flips = [one for one in stream if around[0] < one.at < around[1]]
    gap = wire.check_cadence(flips, "engine leg")
    check_targets(capture, relay.ports, [session.caller, session.engine])
    return gap


def check_targets(capture, ports, parties):
    """Nothing was sent to anyone but the addresses that were signalled."""
    signalled = {one.address for one in parties}
    signalled |= {(host, port + 1) for host, port in signalled}
    octets, targets = capture.sent_elsewhere(ports, signalled)
    total = sum(ports[0] <= one.source[1] <= ports[1] for one in capture.datagrams)
    checks.figure(
        f"bytes sent to an address that was not signalled or proven, any port, any state: "
        f"{octets} (of {total} datagrams sent)"
    )
    checks.expect(total > 100, f"media on the wire, not {total} datagrams")
    checks.equal((octets, targets), (0, set()), "bytes sent elsewhere")

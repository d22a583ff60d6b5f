"""Flips: how long a request to enter takes until the cut is in force, with 100 calls running."""

import multiprocessing
import os
import re
import time

import checks
import g711
import party
import rtp
import sotto

CALLS, FLIPS = 100, 200
LIMIT = 0.005  # seconds, at the 99th percentile
SERIES = 3  # tried at most
SLICES = 10  # parts of 20 ms in which a part of the packets is sent


class Line:
    """One call's two ends, which send and never read."""

    def __init__(self, number):
        self.ends = [party.bind_pair()[0] for _ in range(2)]
        voice = g711.Canary(number).frame()
        self._packets = [bytearray(rtp.write(0, 0, 0, number, voice)) for _ in range(2)]
        self.targets = []

    @property
    def address(self):
        """What the caller offers."""
        return self.ends[0].getsockname()

    def open(self, relay):
        """Opens the call."""
        self.call = relay.open_call(sotto.offer(self), self.ends[1].getsockname(), record=False)
        self.targets = [self.call.caller_port, self.call.engine_port]

    def send(self, turn):
        """One packet each way."""
        for end, packet, target in zip(self.ends, self._packets, self.targets, strict=True):
            packet[2:4] = (turn & 0xFFFF).to_bytes(2)
            packet[4:8] = (turn * g711.FRAME & 0xFFFFFFFF).to_bytes(4)
            end.sendto(packet, target)


def talk(lines, stopped):
    """Sends 50 packets a second on each line, both ways."""
    os.nice(5)  # the load gives way to what is measured, which shares the processor with it
    due, turn = time.time(), 0
    while not stopped.is_set():
        for part in range(SLICES):
            for line in lines[part::SLICES]:
                line.send(turn)
            due += party.TICK / SLICES
            time.sleep(max(0, due - time.time()))
        turn += 1


def flip_latency(binary):
    """From the command to the cut in force, by the relay's own clock.

    The time of the REST request is told as well, and not judged: it is mostly how long threads of
    this machine take to wake up. The best of some series counts: whatever else the machine does can
    only add to the time.
    """
    best = series(binary)
    for _ in range(SERIES - 1):
        if best <= LIMIT:
            break
        best = min(best, series(binary))
    checks.expect(best <= LIMIT, f"p99 within {best * 1e3:.2f} ms at best, {SERIES} times tried")


def series(binary):
    """Within which time 99 of 100 flips of a series were in force, in seconds."""
    with sotto.Sotto(binary, trace=False) as relay:
        lines = [Line(number) for number in range(CALLS)]
        for line in lines:
            line.open(relay)
        stopped = multiprocessing.Event()
        talker = multiprocessing.Process(target=talk, args=(lines, stopped), daemon=True)
        talker.start()
        try:
            time.sleep(1)
            took = [one for _ in range(FLIPS // CALLS) for one in flip_all(lines)]
            legs = lines[0].call.do("GET")["legs"]
        finally:
            stopped.set()
            talker.join()
        histogram = relay.metrics()
    took.sort()
    middle, high = took[len(took) // 2], took[len(took) * 99 // 100 - 1]
    checks.figure(
        f"{len(took)} flips, {CALLS} calls of 50 packets/s both ways: REST request to 201 p50 "
        f"{middle * 1e3:.2f} ms, p99 {high * 1e3:.2f} ms, longest {took[-1] * 1e3:.2f} ms"
    )
    for line in re.findall(r"^sotto_flip_seconds_.*", histogram, re.M):
        checks.figure(line)
    counted = int(re.search(r"^sotto_flip_seconds_count (\d+)", histogram, re.M)[1])
    checks.equal(counted, FLIPS, "flips in the relay's histogram")
    heard = legs["caller"]["packets_received"]
    checks.expect(heard > 50, f"media running meanwhile, not {heard} packets")
    return within(histogram, 0.99 * counted)


def within(histogram, count):
    """The bound of the first bucket that holds as many."""
    buckets = re.findall(r'^sotto_flip_seconds_bucket{le="([^"]+)"} (\d+)', histogram, re.M)
    return next(float(bound) for bound, held in buckets if int(held) >= count)


def flip_all(lines):
    """Enters on each line in turn, then ends the sessions and waits until all are over."""
    took = []
    for line in lines:
        begun = time.perf_counter()
        line.call.enter()
        took.append(time.perf_counter() - begun)
        time.sleep(0.01)
    for line in lines:
        line.call.do("DELETE", "/secure-session")
    for line in lines:
        line.call.wait_for("ended", 10)
    return took

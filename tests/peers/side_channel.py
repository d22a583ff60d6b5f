"""Side channel: whether the engine's packets tell when keys went down or up, by permutation.

Each packet of a session's cut has a few values: how late it is, its size, jumps of its numbers,
reports beside it. A statistic adds up one of them over the packets right behind the keys, over all
sessions. Chance is what the same sum gives when each session's keys are turned round by a random
number of packets: that keeps the rhythm of the keys and of the packets, and breaks only what is
between them. The largest of all statistics is held against the largest by chance, so that many
statistics are one test.
"""

import bisect
import operator
import random
import statistics

import checks

PERMUTATIONS = 4000
LEVEL, CONTROL_LEVEL = 0.01, 0.001
WINDOWS = (1, 3)  # packets behind a key that may tell of it: the very next, and 60 ms
AROUND = 0.2  # seconds before the first key and behind the last that belong to the test
SHORTEST = 40  # packets; a session with fewer has nothing to turn
LEAK, LEAK_WINDOW = 0.001, 0.02  # seconds: the delay of the synthetic leak, and how long it lasts


class Line:
    """What was seen of one session: packets in the order of their times, and the keys' times."""

    def __init__(self, found):
        self.stream, self.reports = found.stream, found.reports
        self.keys = {"press": found.pressed, "release": found.released}

    def leaking(self):
        """The same, had each key delayed the packets of the next moment a little."""
        line = object.__new__(Line)
        line.reports, line.keys = self.reports, self.keys
        pressed = sorted(self.keys["press"])

        def delay(at):
            last = bisect.bisect(pressed, at) - 1
            return LEAK if last >= 0 and at - pressed[last] < LEAK_WINDOW else 0

        line.stream = [(one[0] + delay(one[0]), *one[1:]) for one in self.stream]
        return line

    def statistics(self):
        """By name, its sum for each number of packets that the keys may be turned by."""
        every = [at for times in self.keys.values() for at in times]
        if not every:
            return {}
        begin, end = min(every) - AROUND, max(every) + AROUND
        packets = [one for one in self.stream if begin <= one[0] <= end]
        if len(packets) < SHORTEST:
            return {}
        values, times = self._values(packets), [one[0] for one in packets[1:]]
        sums = {}
        for name, value in values.items():
            for window in WINDOWS:
                windowed = [sum(_around(value, at, window)) for at in range(len(value))]
                for edge, keys in self.keys.items():
                    places = [bisect.bisect(times, at) % len(times) for at in keys]
                    sums[name, edge, window] = _turned(windowed, places)
        return sums

    def _values(self, packets):
        """The values of each packet but the first."""
        pairs = list(zip(packets, packets[1:], strict=False))
        gaps = [second[0] - first[0] for first, second in pairs]
        usual = statistics.median(gaps)
        size, step = (
            statistics.mode(sizes)
            for sizes in ([one[-1] for one in packets], [_step(*pair) for pair in pairs])
        )
        return {
            # Ranks, so that one stall of the machine doesn't outweigh all keys.
            "delay": _ranks(gaps),
            "jitter": _ranks([abs(gap - usual) for gap in gaps]),
            "size": [float(second[-1] != size) for _, second in pairs],
            "numbers": [float(_step(*pair) != step) for pair in pairs],
            "reports": [
                float(sum(first[0] < at <= second[0] for at, _ in self.reports))
                for first, second in pairs
            ],
        }


def p_value(lines):
    """The probability of what is seen if packets don't depend on keys; and what stands out most."""
    sums = [found for found in (line.statistics() for line in lines) if found]
    checks.expect(len(sums) > len(lines) // 2, f"sessions long enough, not {len(sums)}")
    source = random.Random("turns")
    names = sorted(sums[0])
    lengths = [len(next(iter(found.values()))) for found in sums]
    turns = [
        [source.randrange(length) for length in lengths] for _ in range(PERMUTATIONS)
    ]
    largest, seen, most = [0.0] * PERMUTATIONS, 0.0, "nothing"
    for name in names:
        tables = [found.get(name, (0.0,)) for found in sums]
        chance = [
            sum(table[turn % len(table)] for table, turn in zip(tables, turned, strict=True))
            for turned in turns
        ]
        middle, spread = statistics.fmean(chance), statistics.pstdev(chance)
        if spread == 0:
            continue  # a value that never varies tells nothing
        score = abs(sum(table[0] for table in tables) - middle) / spread
        if score > seen:
            value, edge, window = name
            seen, most = score, f"{value} in {window} packets after a {edge}, {score:.1f} sigma"
        largest = [max(one, abs(value - middle) / spread)
                   for one, value in zip(largest, chance, strict=True)]  # fmt: skip
    beyond = sum(one >= seen for one in largest)
    return (beyond + 1) / (PERMUTATIONS + 1), most


def judge(found, what):
    """The p-value of real sessions, printed; and of the same ones with a small leak put in."""
    lines = [Line(one) for one in found]
    keys = sum(len(line.keys["press"]) for line in lines)
    packets = sum(len(line.stream) for line in lines)
    p, most = p_value(lines)
    checks.figure(
        f"figure: side channel: {what}: {len(lines)} sessions, {keys} keys, {packets} engine "
        f"packets, {PERMUTATIONS} permutations: p = {p:.4f} (most: {most})"
    )
    return p


def check_power(found):
    """A delay of a millisecond behind each key would have been noticed."""
    p, most = p_value([Line(one).leaking() for one in found])
    checks.figure(
        f"figure: side channel: control, packets within {LEAK_WINDOW * 1e3:.0f} ms of a key "
        f"{LEAK * 1e3:.0f} ms later: p = {p:.5f} (most: {most})"
    )
    checks.expect(p < CONTROL_LEVEL, f"the synthetic leak is noticed, not p = {p}")


def check_broken(found):
    """Without masking the keys are seen."""
    p = judge(found, "control, masking broken")
    checks.expect(p < CONTROL_LEVEL, f"the broken masking is noticed, not p = {p}")


def _around(values, at, window):
    """Values from one place on, over the end to the begin."""
    part = values[at : at + window]
    return part if len(part) == window else part + values[: window - len(part)]


def _turned(values, places):
    """For each turn, the sum of the values at the places turned by it."""
    total = [0.0] * len(values)
    for place in places:
        total = list(map(operator.add, total, values[place:] + values[:place]))
    return total


def _step(first, second):
    """How the numbers of a packet follow from those of the one before."""
    return (
        (second[1] - first[1]) % 65536, (second[2] - first[2]) % 2**32, second[3] - first[3],
        second[4], second[5],
    )  # fmt: skip


def _ranks(values):
    """Ranks from -0.5 to 0.5."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    for rank, at in enumerate(order):
        ranks[at] = rank / len(values) - 0.5
    return ranks

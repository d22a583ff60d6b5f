"""Told: what an engine of ours or around a library tells its scenario, as lines of JSON."""

import json
import sys
import time
from pathlib import Path

# Behind what is installed: a module of the suite may have the name of a library's.
sys.path.append(str(Path(__file__).parents[1]))
import g711  # noqa: E402

TONE = 0.8  # share of a frame's energy at one frequency, from which on it is that tone


def tell(was, **what):
    """One line for the scenario."""
    print(json.dumps({"was": was, "at": time.time(), **what}), flush=True)


class Ear:
    """Hears a caller whose voice is a tone of one frequency, and tells runs of the same kind."""

    def __init__(self, hertz):
        self._hertz, self._run = hertz, None

    def hear(self, samples):
        """Some samples at 8 kHz, a frame or so: all silence, the tone, or something else."""
        loud = len(samples) - samples.count(0)
        tone = g711.power(samples, self._hertz) > TONE
        kind = "silence" if not loud else "tone" if tone else "other"
        now = time.time()
        if self._run is None or self._run["kind"] != kind:
            self.end_run()
            self._run = {"kind": kind, "begin": now, "samples": 0, "loud": 0}
        self._run["end"] = now
        self._run["samples"] += len(samples)
        self._run["loud"] += loud

    def end_run(self):
        """Tells the run so far."""
        if self._run:
            tell("heard", **self._run)
        self._run = None

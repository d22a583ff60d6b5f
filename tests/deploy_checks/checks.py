"""Checks: what a check of the deployment files expects, and how it runs a tool."""

import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Seconds for any one tool.
TIME_LIMIT = 60
# Seconds for something to come about.
PATIENCE = 20


class Failure(Exception):
    """A check that did not hold."""


def expect(holds, what):
    """Ends the check unless `holds`."""
    if not holds:
        raise Failure(what)


def equal(found, wanted, what):
    """Ends the check unless both are the same."""
    expect(found == wanted, f"{what}: {found!r}, not {wanted!r}")


def tool(*command, **options):
    """Runs a tool, which must be content; returns what it has said."""
    ran = attempt(*command, **options)
    said = (ran.stdout + ran.stderr).strip()
    expect(ran.returncode == 0, f"{Path(str(command[0])).name} ended with {ran.returncode}: {said}")
    return said


def attempt(*command, **options):
    """Runs a tool, however it ends."""
    command = [str(word) for word in command]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False, **options
    )


def replaced(text, *pairs):
    """The text with each first of a pair replaced by the second; each has to be there."""
    for old, new in pairs:
        expect(old in text, f"{old!r} is not there to be replaced")
        text = text.replace(old, new)
    return text


def wait_until(holds, what):
    """Waits for something to become true; what refuses a connection is not there yet."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise Failure(f"not within {PATIENCE} s: {what}")

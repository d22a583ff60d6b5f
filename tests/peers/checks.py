"""Checks: what a scenario expects, waits for and measures."""

import time


class Failure(Exception):
    """A check that did not hold."""


def expect(holds, what):
    """Ends the scenario unless `holds`."""
    if not holds:
        raise Failure(what)


def equal(found, wanted, what):
    """Ends the scenario unless both are the same."""
    expect(found == wanted, f"{what}: {found!r}, not {wanted!r}")


def figure(text):
    """Prints a measured figure."""
    print(f"      {text}", flush=True)


def wait_until(holds, seconds, what):
    """Waits for something to become true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise Failure(f"{what} did not happen within {seconds} s")

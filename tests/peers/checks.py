"""Checks: PASS and FAIL lines, figures, and the totals that `tests/run` adds up."""

import sys
import time
import traceback


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


def run(scenarios):
    """Runs (name, function) pairs, prints a line for each, and exits by the outcome."""
    failed = 0
    for name, scenario in scenarios:
        begun = time.monotonic()
        try:
            scenario()
            outcome = "PASS"
        except Exception as error:  # whatever goes wrong, the next scenario still runs
            outcome = "FAIL"
            failed += 1
            if isinstance(error, Failure):
                print(f"      {error}")
            else:
                traceback.print_exc(file=sys.stdout)
        print(f"{outcome}  {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    print(f"peers: {len(scenarios) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0

"""The XDP program goes with the process that attached it, however that ends."""

import json
import subprocess

import checks
import sotto


def is_attached():
    """Whether a program is on loopback, where these tests have their media."""
    shown = subprocess.check_output(["ip", "-json", "-details", "link", "show", "lo"])
    return "xdp" in json.loads(shown)[0]


def ended(binary):
    """After an end in order, and after a kill."""
    checks.expect(not is_attached(), "nothing attached before")
    with sotto.Sotto(binary):
        checks.expect(is_attached(), "the program attached while the relay runs")
    checks.expect(not is_attached(), "nothing attached after an end in order")
    relay = sotto.Sotto(binary)
    checks.expect(is_attached(), "the program attached once more")
    relay.kill()
    checks.wait_until(lambda: not is_attached(), 2, "nothing attached after a kill")
    # What was left behind must not be in the way of the next one.
    with sotto.Sotto(binary):
        checks.expect(is_attached(), "the program attached after a kill")

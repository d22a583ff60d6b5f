"""The XDP program goes with the process that attached it, however that ends."""

import json
import re
import subprocess
from pathlib import Path

import checks
import sotto


def is_attached():
    """Whether a program is on loopback, where these tests have their media."""
    shown = subprocess.check_output(["ip", "-json", "-details", "link", "show", "lo"])
    return "xdp" in json.loads(shown)[0]


STEERING = 1 << 39  # CAP_BPF


def privileges(pid):
    """What each thread may do that others may not, by its name."""
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    field = r"^Name:\s+(.+?)-?\d*$.*^CapPrm:\s+(\w+)$"
    found = [re.search(field, status, re.M | re.S).groups() for status in statuses]
    return {name: int(mask, 16) for name, mask in found}


def ended(binary):
    """After an end in order, and after a kill."""
    checks.expect(not is_attached(), "nothing attached before")
    with sotto.Sotto(binary) as relay:
        checks.expect(is_attached(), "the program attached while the relay runs")
        kept = {name: mask for name, mask in privileges(relay.pid).items() if mask}
        checks.equal(kept, {"media": STEERING}, "what threads kept of root's privileges")
    checks.expect(not is_attached(), "nothing attached after an end in order")
    relay = sotto.Sotto(binary)
    checks.expect(is_attached(), "the program attached once more")
    relay.kill()
    checks.wait_until(lambda: not is_attached(), 2, "nothing attached after a kill")
    # What was left behind must not be in the way of the next one.
    with sotto.Sotto(binary):
        checks.expect(is_attached(), "the program attached after a kill")

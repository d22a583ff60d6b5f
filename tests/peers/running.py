"""The load test on relays that run already: any Sotto over REST, any rtpengine over NG."""

import json
import os
import subprocess
from pathlib import Path

import checks
import ng
import sotto

CALLS, SECONDS = 20, 1
PORTS = (20000, 20999)


def hold(binary, *words, key=None):
    """Holds calls on a running relay; the exit code and what was printed."""
    program = Path(binary).with_name("sotto-loadtest")
    command = [program, "hold", f"--calls={CALLS}", f"--seconds={SECONDS}", "--json", *words]
    environment = os.environ | ({"SOTTO_KEY": key} if key else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def relays(binary):
    """Both are driven, every packet is accounted for, and one costs something."""
    with sotto.Sotto(binary, trace=False) as relay:
        at = f"--at={sotto.written(sotto.CONTROL)}"
        look(hold(binary, at, f"--pid={relay.pid}", key=relay.operator_key), "Sotto")
        code, _, said = hold(binary, at, key="sto_none")
        checks.expect(code == 2 and "401" in said, f"a wrong key told, not {code}: {said}")
    with ng.Rtpengine(PORTS) as relay:
        look(hold(binary, f"--ng={sotto.written(ng.NG)}", f"--pid={relay.pid}"), "rtpengine")
    code, _, said = hold(binary, f"--ng={sotto.written(ng.NG)}")
    checks.expect(code == 2 and "rtpengine" in said, f"nobody there, told, not {code}: {said}")


def look(done, name):
    """Looks at what a load test has printed."""
    code, printed, said = done
    checks.equal(code, 0, f"exit code on {name}: {said}")
    outcome = json.loads(printed)
    checks.equal((outcome["lost"], outcome["reordered"]), (0, 0), f"lost and reordered by {name}")
    sent, cost = outcome["sent"], outcome["cpu_us"]
    checks.expect(sent > CALLS * 100 * SECONDS, f"{CALLS} calls talk through {name}, not {sent}")
    checks.expect(cost > 0, f"what a packet costs {name}")
    checks.figure(f"{name} that runs already: {sent} packets, 0 lost, {cost:.1f} us each")

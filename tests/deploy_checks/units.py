"""Units: the service of systemd: what systemd says of it, and whether a relay can live in it."""

import re
import subprocess

from checks import attempt, equal, expect, replaced, tool, wait_until
from container import STOP
from relay import NOBODY, fresh, key_of, play_call, request

# Of 100, in tenths of systemd's own scale; what README.md states.
EXPOSURE, EXPOSURE_XDP = 12, 23
NEEDED = {
    "LimitCORE": "0",
    "MemorySwapMax": "0",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "RestartPreventExitStatus": "78",
    "Restart": "on-failure",
    "AssertPathExists": "/var/lib/sotto/keys.json",
    "User": "sotto",
}
# A way that the relay may take, and then do without: what answers EPERM there is no fault.
HOW = "sockets"


def verified(deploy, work, program):
    """systemd-analyze verify says nothing, with and without the drop-in; what matters is set."""
    for drop_in in (False, True):
        unit = _laid(deploy, work, program, drop_in)
        equal(tool("systemd-analyze", "verify", unit), "", "what systemd says of the service")
    text = (deploy / "systemd/sotto.service").read_text()
    for name, wanted in NEEDED.items():
        found = re.findall(rf"^{name}=(.*)$", text, re.M)
        equal(found, [wanted], name)
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)[1])
    readme = (deploy / "systemd/README.md").read_text()
    grace = int(re.search(r"`drain_s = (\d+)`", readme)[1])
    expect(stop >= grace + STOP, f"calls have {grace} s, and the service {stop} s to stop")
    users = (deploy / "systemd/sotto.sysusers").read_text()
    expect(re.search(r"^u sotto - ", users, re.M), "no user sotto is made")


def handed_over(deploy, work):
    """What the unit does before the start gives the service its secrets, and nobody else."""
    folder = fresh(work / "secrets")
    (folder / "given").mkdir()
    (folder / "run").mkdir()
    for name in ("recordings.kek", "a b"):
        (folder / "given" / f"secrets_{name}").write_text(name)
    tool("sh", "-c", _copying(deploy, folder / "run"), env=_given(folder / "given"))
    found = {path.name: path.stat().st_mode & 0o777 for path in (folder / "run").iterdir()}
    equal(found, {"recordings.kek": 0o400, "a b": 0o400}, "what the service gets")
    ended = attempt("sh", "-c", _copying(deploy, folder / "none"), env=_given(folder / "given"))
    expect(ended.returncode != 0, "the service starts without its secrets")


def _given(folder):
    return {"PATH": "/usr/bin:/bin", "CREDENTIALS_DIRECTORY": str(folder)}


def _copying(deploy, runtime):
    """The script of ExecStartPre, as systemd hands it to sh."""
    unit = (deploy / "systemd/sotto.service").read_text()
    script = re.search(r"^ExecStartPre=/bin/sh -c '(.*)'$", unit, re.M)[1].replace("$$", "$")
    return replaced(script, ("/run/sotto/", f"{runtime}/"))


def exposure(deploy, work, program):
    """The exposure that systemd-analyze finds is no worse than README.md states."""
    readme = (deploy / "systemd/README.md").read_text()
    for drop_in, most in ((False, EXPOSURE), (True, EXPOSURE_XDP)):
        unit = _laid(deploy, work, program, drop_in)
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={most}", unit]
        said = tool(*command)
        found = re.search(r"exposure level for sotto.service: ([0-9.]+)", said)[1]
        expect(f" {found}" in readme, f"README.md does not state the exposure {found}")


def system_calls(deploy, work, program):
    """All that a relay asks of the kernel, over a call, is what the service lets through."""
    allowed = _filter((deploy / "systemd/sotto.service").read_text())
    asked = _asked(deploy, fresh(work / "strace"), program)
    expect({"mmap", "sendto", "futex"} < asked, f"hardly anything was seen: {sorted(asked)}")
    refused = sorted(asked - allowed)
    equal(refused, [], "system calls that the service does not let through")


def _laid(deploy, work, program, drop_in):
    """The unit as it is installed, but for the place of the program."""
    folder = fresh(work / "unit")
    unit = folder / "sotto.service"
    text = (deploy / "systemd/sotto.service").read_text()
    unit.write_text(replaced(text, ("/usr/bin/sotto", str(program))))
    if drop_in:
        (folder / "sotto.service.d").mkdir()
        text = (deploy / "systemd/sotto.service.d/xdp.conf").read_text()
        (folder / "sotto.service.d/xdp.conf").write_text(text)
    return unit


def _filter(unit):
    """Names of system calls that the lines of a unit leave, as systemd.exec(5) has it."""
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.M):
        names = set()
        for word in line.lstrip("~").split():
            names |= _group(word) if word.startswith("@") else {word}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def _group(name):
    said = tool("systemd-analyze", "syscall-filter", name)
    words = [line.strip() for line in said.splitlines()[1:]]
    found = set()
    for word in (word for word in words if word and not word.startswith("#")):
        found |= _group(word) if word.startswith("@") else {word}
    return found


def _asked(deploy, folder, program):
    """Names of the system calls of what the unit runs: copying secrets, and a relay in use."""
    (folder / "state").mkdir()
    (folder / "given").mkdir()
    (folder / "given/secrets_one").write_text("secret")
    trace = folder / "trace"
    trace.touch()
    for path in (folder / "state", trace):
        tool("chown", f"{NOBODY}:{NOBODY}", path)
    copy = ["sh", "-c", _copying(deploy, folder / "state")]
    strace = ["strace", "-f", "-qq", "-A", "-o", trace]
    tool(*strace, *_as_nobody(*copy), env=_given(folder / "given"))
    key = key_of(tool(*_as_nobody(program, "keys", "add", "--role", "operator", *_state(folder))))
    _use(strace, folder, program, key)
    names = set()
    for line in trace.read_text(errors="replace").splitlines():
        found = re.match(r"\d+ +([a-z0-9_]+)\(", line)
        names |= {found[1]} if found else set()
    # By setpriv, before the program was there.
    return names - {"setresuid", "setresgid", "setgroups", "capset"}


def _as_nobody(*command):
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [*nobody, "--no-new-privs", *map(str, command)]


def _state(folder):
    return ["--state-dir", str(folder / "state")]


def _use(strace, folder, program, key):
    control, health = "127.0.0.1:8080", "127.0.0.1:8081"
    command = [*strace, *_as_nobody(program, "serve", *_state(folder), "--io", HOW)]
    with (folder / "log").open("wb") as log:
        traced = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
    try:
        wait_until(lambda: request(health, "GET", "/readyz")[0] == 200, "the relay is ready")
        call = play_call(control, key)
        equal(request(control, "GET", f"/v1/calls/{call}/recording", key)[0], 200, "a recording")
    finally:
        attempt("pkill", "-TERM", "-P", traced.pid)
        traced.wait(30)

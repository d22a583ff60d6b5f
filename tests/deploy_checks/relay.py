"""Relay: the real program, run as the deployment files have it: as nobody, on a read-only root."""

import http.client
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from checks import ROOT, Failure, expect, tool

NOBODY = 65532
OFFER = (
    "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=audio 45000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n"
)
PLAN = {"fields": [{"type": "payment-card-number"}], "prompts": {"enabled": False}}
START, STOP = 15, 30
# Nothing else of the environment: the relay's state is where the files say.
PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Image:
    """The file system of the container's image, laid out once by its own script."""

    def __init__(self, folder, program, script=ROOT / "deploy/container/root.sh"):
        self.folder = Path(folder)
        tool(script, program, self.folder)

    def files(self):
        """What is in it, as paths from its root."""
        return {"/" + str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


class Relay:
    """A `sotto serve` in an image; use it in a `with` block. `given` are files by path, 0400."""

    def __init__(self, image, work, given, arguments, state=None):
        self.work = Path(work)
        self._image, self._arguments, self._process = image, arguments, None
        self._log = self.work / "log"
        self.mounted = {"/etc/sotto": self.work / "etc", "/run": self.work / "run"}
        self.mounted["/var/lib/sotto"] = state or self.work / "state"
        for folder in self.mounted.values():
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, NOBODY, NOBODY)
        for path, text in given.items():
            self._give(path, text)

    def _give(self, path, text):
        place = next(at for at in self.mounted if path.startswith(at + "/"))
        file = self.mounted[place] / path[len(place) + 1 :]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o400)
        for one in (file, file.parent):
            os.chown(one, NOBODY, NOBODY)

    def command(self, *arguments):
        """What runs `sotto` there: an image that can't be written, a few folders that can."""
        root = shlex.quote(str(self._image.folder))
        mounts = [f"mount --bind {root} {root}", f"mount -o remount,bind,ro {root}"]
        mounts += [
            f"mount --bind {shlex.quote(str(folder))} {root}{place}"
            for place, folder in self.mounted.items()
        ]
        run = [
            "setpriv", "--no-new-privs", "--inh-caps=-all",
            "chroot", f"--userspec={NOBODY}:{NOBODY}", str(self._image.folder),
            "/usr/bin/sotto", *arguments,
        ]  # fmt: skip
        script = " && ".join(
            [*mounts, f"mount -t proc proc {root}/proc", "exec " + shlex.join(run)]
        )
        return ["unshare", "--mount", "sh", "-c", script]

    def sotto(self, *arguments):
        """Runs a command of the program's, and returns what it printed."""
        return tool(*self.command(*arguments), env=PATH)

    def __enter__(self):
        with self._log.open("wb") as log:
            command = self.command(*self._arguments)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=PATH)
        return self

    def __exit__(self, kind, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        expect(kind is not None or code == 0, f"sotto ended with {code}: {self.said()}")

    def said(self):
        """Its log."""
        return self._log.read_text(errors="replace")

    def wait_ready(self, health, path="/readyz"):
        """Waits until it says that it is ready."""
        end = time.monotonic() + START
        while time.monotonic() < end:
            try:
                if request(health, "GET", path)[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
            if self._process.poll() is not None:
                break
        raise Failure(f"sotto is not ready: {self.said()[-2000:]}")


def request(at, method, path, key=None, body=None):
    """One request in clear: status, headers, body."""
    host, port = at.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    text = None if body is None else json.dumps(body)
    connection.request(method, path, body=text, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def speak(port, seconds):
    """Sends the noise of a caller, in PCMU, to a port of the relay's."""
    noise = random.Random(1)
    with socket.socket(type=socket.SOCK_DGRAM) as caller:
        caller.bind(("127.0.0.1", 45000))
        for number in range(int(seconds * 50)):
            head = struct.pack("!BBHII", 0x80, 0, number, number * 160, 7)
            caller.sendto(head + noise.randbytes(160), ("127.0.0.1", port))
            time.sleep(0.02)


def play_call(at, key, seconds=0.2):
    """A call of the echo in which the caller speaks so long, and a secure session is cancelled.

    Returns its id once it has ended.
    """
    status, _, body = request(
        at, "POST", "/v1/calls", key, {"caller": {"sdp": OFFER}, "engine": {"type": "echo"}}
    )
    expect(status == 201, f"a call is opened with {status}: {body}")
    opened = json.loads(body)
    call = opened["id"]
    speak(int(re.search(r"m=audio (\d+)", opened["caller"]["sdp"])[1]), seconds)
    status, _, body = request(at, "POST", f"/v1/calls/{call}/secure-session", key, PLAN)
    expect(status == 201, f"a secure session is entered with {status}: {body}")
    status, _, body = request(at, "DELETE", f"/v1/calls/{call}/secure-session", key)
    expect(status < 300, f"a secure session is cancelled with {status}: {body}")
    status, _, body = request(at, "DELETE", f"/v1/calls/{call}", key)
    expect(status < 300, f"a call is ended with {status}: {body}")
    return call


def key_of(printed):
    """The API key in what `sotto keys add` printed."""
    return next(line for line in printed.splitlines() if line.startswith("sto_"))


def fresh(folder):
    """An empty folder that everybody may pass through."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o711)
    return folder

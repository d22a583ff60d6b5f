"""NG: a client of rtpengine's control protocol (a cookie and bencode).

It drives Sotto as a SIP proxy would, and Debian's rtpengine, which is the control of attacks.
"""

import itertools
import json
import re
import socket
import subprocess
import time

import checks
import party
import sotto

NG = ("127.0.0.1", 2223)
SETTINGS = f'[ng]\naddress = "{sotto.written(NG)}"\n'
# Packets that were on their way at an edge of the window belong to either side of it.
EDGE = 0.02
_cookies = itertools.count()


def bencode(value):
    """Octets of a value made of dictionaries, lists, texts and numbers."""
    if isinstance(value, dict):
        inside = b"".join(bencode(key) + bencode(value[key]) for key in sorted(value))
        return b"d" + inside + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    if isinstance(value, int):
        return b"i%de" % value
    octets = value.encode()
    return b"%d:%s" % (len(octets), octets)


def text_of(reply, name):
    """A text in a bencoded dictionary, found by its name."""
    found = re.search(rb"%d:%s(\d+):" % (len(name), name.encode()), reply)
    checks.expect(found, f"{name} in the reply {reply[:200]!r}")
    return reply[found.end() : found.end() + int(found[1])].decode()


class Client:
    """Asks a relay for one call; use it in a `with` block."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0.5)
        self._ids = {"call-id": "control", "from-tag": "caller"}

    def __enter__(self):
        checks.wait_until(self._answers, 10, "an answer to a ping")
        return self

    def __exit__(self, *_):
        self._socket.close()

    def open_call(self, caller, engine):
        """Where the caller and the engine are to send."""
        offered = self.ask("offer", sdp=sotto.offer(caller))
        answered = self.ask("answer", sdp=sotto.offer(engine), **{"to-tag": "engine"})
        return sotto.media_of(text_of(answered, "sdp")), sotto.media_of(text_of(offered, "sdp"))

    def close_call(self):
        """Ends the call."""
        self.ask("delete")

    def ask(self, command, **members):
        """The reply to a command about the call."""
        cookie = b"control%d" % next(_cookies)
        request = bencode({"command": command, **self._ids, **members})
        self._socket.sendto(cookie + b" " + request, NG)
        reply = self._socket.recv(65536)
        checks.expect(reply.startswith(cookie + b" "), "the reply to this request")
        return reply

    def _answers(self):
        try:
            return text_of(self.ask("ping"), "result") == "pong"
        except OSError:
            return False


class Rtpengine(Client):
    """A running rtpengine with its defaults, in user space."""

    def __init__(self, ports):
        super().__init__()
        self.ports = ports

    def __enter__(self):
        command = [
            "rtpengine", "--table=-1", "--interface=127.0.0.1", f"--listen-ng={sotto.written(NG)}",
            f"--port-min={self.ports[0]}", f"--port-max={self.ports[1]}",
            "--foreground", "--log-stderr", "--log-level=3",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        return super().__enter__()

    @property
    def pid(self):
        """The process."""
        return self._process.pid

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)
        super().__exit__()


def payment(binary):
    """A payment call of a proxy: one command more than rtpengine has, and nothing gets out."""
    caller, engine = party.Caller("by a proxy"), party.Engine()
    with sotto.Sotto(binary, settings=SETTINGS), Client() as proxy:
        caller.target, engine.target = proxy.open_call(caller, engine)
        caller.start()
        engine.start()
        time.sleep(1)
        entered = proxy.ask("secure session", plan=json.dumps(sotto.PLAN))
        checks.equal(text_of(entered, "result"), "ok", "the reply once the cut is in force")
        cut = time.time()
        time.sleep(0.2)
        caller.press(sotto.KEYS)
        held = cut

        def ended():
            nonlocal held
            asked = time.time()
            seen = proxy.ask("secure session query")
            if text_of(seen, "state") == "ended":
                return text_of(seen, "session-result")
            held = asked
            return None

        checks.equal(checks.wait_until(ended, 40, "the end of the session"), "pass", "verdict")
        time.sleep(0.5)
        proxy.close_call()
        caller.stop()
        engine.stop()
    heard = {packet.payload for packet in engine.heard}
    secret = [payload for at, _, payload in caller.sent if cut <= at <= held - EDGE]
    before = [payload for at, _, payload in caller.sent if at < cut - 0.1]
    leaked = sum(len(frame) for frame in secret if frame in heard)
    checks.figure(f"{len(secret)} packets of the caller in the cut, {leaked} octets got out")
    checks.expect(len(secret) > 100, f"a cut with packets in it, not {len(secret)}")
    checks.expect(sum(frame in heard for frame in before) > len(before) // 2, "voice before it")
    checks.equal(leaked, 0, "octets of the caller at the engine")

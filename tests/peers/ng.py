"""rtpengine as a control: Debian's build, driven over its NG protocol (a cookie and bencode)."""

import itertools
import re
import socket
import subprocess

import checks
import sotto

NG = ("127.0.0.1", 2223)
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


class Rtpengine:
    """A running rtpengine with its defaults, in user space."""

    def __init__(self, ports):
        self.ports = ports
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0.5)

    def __enter__(self):
        command = [
            "rtpengine", "--table=-1", "--interface=127.0.0.1", f"--listen-ng={sotto.written(NG)}",
            f"--port-min={self.ports[0]}", f"--port-max={self.ports[1]}",
            "--foreground", "--log-stderr", "--log-level=3",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        checks.wait_until(self._answers, 10, "an answer of rtpengine")
        return self

    @property
    def pid(self):
        """The process."""
        return self._process.pid

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)
        self._socket.close()

    def open_call(self, caller, engine):
        """Where the caller and the engine are to send."""
        ids = {"call-id": "control", "from-tag": "caller"}
        offered = self._ask("offer", sdp=sotto.offer(caller), **ids)
        answered = self._ask("answer", sdp=sotto.offer(engine), **ids, **{"to-tag": "engine"})
        self._ids = ids
        return sotto.media_of(text_of(answered, "sdp")), sotto.media_of(text_of(offered, "sdp"))

    def close_call(self):
        """Ends the call."""
        self._ask("delete", **self._ids)

    def _answers(self):
        try:
            return text_of(self._ask("ping"), "result") == "pong"
        except OSError:
            return False

    def _ask(self, command, **members):
        cookie = b"control%d" % next(_cookies)
        self._socket.sendto(cookie + b" " + bencode({"command": command, **members}), NG)
        reply = self._socket.recv(65536)
        checks.expect(reply.startswith(cookie + b" "), "the reply to this request")
        return reply

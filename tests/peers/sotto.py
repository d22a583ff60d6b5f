"""Sotto under test: the real process, its REST API, its log and its recordings."""

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import wave
from pathlib import Path

import checks

CONTROL, HEALTH = ("127.0.0.1", 8080), ("127.0.0.1", 8081)
MEDIA = "127.0.0.1"
IDLE = 2  # seconds after which a connection is not used again: the server may be closing it

CARD, CODE = "4242424242424242", "987"
EXPIRY = f"12{(time.gmtime().tm_year + 2) % 100:02}"
KEYS = f"{CARD}#{EXPIRY}{CODE}"  # a number may be longer still, the others end by their length
PLAN = {
    "fields": [
        {"type": "payment-card-number"},
        {"type": "expiration-date"},
        {"type": "security-code"},
    ],
    # What callers hear in the cut is then the engine's or nothing.
    "prompts": {"enabled": False},
}


class Sotto:
    """A running `sotto serve`; use it in a `with` block, which also searches its log at the end."""

    def __init__(self, binary, ports=(10000, 10999), broken=False, trace=True, settings=None):
        self.ports, self._binary = ports, binary
        self._state = tempfile.TemporaryDirectory(prefix="sotto-peers-")
        state = Path(self._state.name)
        command = [
            # Network namespaces are made by root.
            binary, "serve", "--allow-root", "--state-dir", str(state / "state"),
            "--control", written(CONTROL), "--health", written(HEALTH),
            "--media-ip", MEDIA, "--ports", f"{ports[0]}-{ports[1]}",
            "--recordings", str(state / "recordings"),
        ]  # fmt: skip
        if broken:
            command += ["--break", "masking"]
        if "SOTTO_IO" in os.environ:
            command += ["--io", os.environ["SOTTO_IO"]]
        if settings:
            (state / "sotto.toml").write_text(settings)
            command += ["--config", str(state / "sotto.toml")]
        self._log, self._out = state / "log", state / "out"
        level = {"RUST_LOG": "trace" if trace else "info"}
        with self._log.open("wb") as log, self._out.open("wb") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=log, env=os.environ | level
            )
        self._connections = threading.local()
        try:
            self._key = self._find_key()
            checks.wait_until(self._is_ready, 10, "readiness")
        except BaseException:
            self._process.kill()
            print(self.log()[-2000:])
            raise

    def kill(self):
        """Ends it as a crash would."""
        self._process.kill()
        self._process.wait()
        self._state.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(30)
        log = self.log()
        self._state.cleanup()
        if kind is None:
            checks.equal(code, 0, "exit code on SIGTERM")
            checks.equal(leaks(log), [], "what was keyed in the log")

    @property
    def pid(self):
        """The process."""
        return self._process.pid

    @property
    def operator_key(self):
        """The key that the first start made."""
        return self._key

    @property
    def console_url(self):
        """Where it says that its console is."""
        return re.search(r"^Console: (http://\S+/)$", self._out.read_text(), re.M)[1]

    def files(self):
        """The octets of every file that it has written, its log aside."""
        folder = Path(self._state.name)
        files = [one for one in folder.rglob("*") if one.is_file() and one != self._log]
        return [one.read_bytes() for one in files]

    def keys(self):
        """A key of each role, by role; the running process knows them."""
        keys = {"operator": self._key}
        state = str(Path(self._state.name) / "state")
        for role in ("script", "engine", "payment"):
            command = [self._binary, "keys", "add", "--role", role, "--state-dir", state]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            keys[role] = done.stdout.strip()
        # It notices by itself, and may have noticed the first of them already.
        before = self.log().count("read again")
        self._process.send_signal(signal.SIGHUP)
        checks.wait_until(lambda: self.log().count("read again") > before, 10, "the new keys")
        return keys

    def log(self):
        """All that the process has written to standard error."""
        return self._log.read_text(errors="replace")

    def request(self, method, path, body=None, expected=(200, 201, 204)):
        """One REST request; the JSON of the answer, or its octets."""
        status, answer = self.ask(method, path, body)
        told = f"{method} {path}: {status} {answer[:300]!r}"
        checks.expect(status in expected, told)
        return json.loads(answer) if answer[:1] in (b"{", b"[") else answer

    def ask(self, method, path, body=None):
        """One REST request; status and octets, whatever they are."""
        kept = self._connections
        if time.monotonic() - getattr(kept, "used", 0) > IDLE:
            kept.one = http.client.HTTPConnection(*CONTROL, timeout=10)
        kept.used, connection = time.monotonic(), kept.one
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()

    def ask_as(self, key, method, path, body=None, headers=()):
        """One request under another key, its body as octets; all of the answer as octets."""
        connection = http.client.HTTPConnection(*CONTROL, timeout=10)
        sent = {"Authorization": f"Bearer {key}", **dict(headers)}
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        head = f"{response.status} {response.reason}\n{response.headers}".encode()
        return head + response.read()

    def open_call(self, sdp, engine, payload_type=0, **options):
        """Opens a call from an offer to an engine's address; the engine knows no key events."""
        leg = {
            "type": "rtp",
            "address": written(engine),
            "codec": {0: "PCMU", 8: "PCMA"}[payload_type],
        }
        leg |= options.pop("engine_options", {})
        return self.open_to(sdp, leg, **options)

    def open_to(self, sdp, leg, **options):
        """Opens a call from an offer to an engine of any kind, as the REST API describes it."""
        body = {"caller": {"sdp": sdp}, "engine": leg, **options}
        return Call(self, self.request("POST", "/v1/calls", body))

    def metrics(self):
        """The text that Prometheus would read."""
        connection = http.client.HTTPConnection(*HEALTH, timeout=5)
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()

    def _find_key(self):
        def key():
            checks.expect(self._process.poll() is None, "sotto ended at its start")
            return re.search(r"sto_[A-Za-z0-9]+_[A-Za-z0-9_-]+", self._out.read_text())

        return checks.wait_until(key, 10, "an API key")[0]

    def _is_ready(self):
        try:
            connection = http.client.HTTPConnection(*HEALTH, timeout=1)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False


class Call:
    """One call as the REST API shows it."""

    def __init__(self, sotto, opened):
        self.sotto, self.id, self.was_held = sotto, opened["id"], False
        self.answer = opened["caller"]["sdp"]
        if opened["engine"]["address"]:
            host, port = opened["engine"]["address"].rsplit(":", 1)
            self.engine_port = (host, int(port))
        self.caller_port = media_of(self.answer)

    def do(self, method, path="", body=None, **options):
        """A request below the call's own path."""
        return self.sotto.request(method, f"/v1/calls/{self.id}{path}", body, **options)

    def enter(self, plan=None):
        """Enters a secure session; returns when the cut is in force."""
        return self.do("POST", "/secure-session", plan or PLAN, expected=(201,))

    def session(self):
        """The last secure session."""
        return self.do("GET", "/secure-session")

    def wait_for(self, state, seconds=20):
        """The session once it is in this state."""

        def reached():
            session = self.session()
            return session if session["state"] == state else None

        return checks.wait_until(reached, seconds, f"a session that is {state}")

    def see_through(self, seconds=40, drains_again=False):
        """Waits for the end of a session: its result, and the last time it was seen to hold.

        On a stalling line no quiet may be heard in time; an operator then has it drained once more.
        """
        begun = held = time.time()
        while True:
            asked = time.time()
            session = self.session()
            if session["state"] == "ended":
                return session["result"], held
            held = asked
            if drains_again and session["state"] == "held":
                self.do("DELETE", "/secure-session", expected=(200, 202, 204))
                self.was_held = True
            checks.expect(held < begun + seconds, f"a session that is still {session['state']}")
            time.sleep(0.05)

    def close(self):
        """Ends the call."""
        self.do("DELETE", expected=(204,))

    def recording(self):
        """Samples of the caller's and the engine's channel."""

        def export():
            status, octets = self.sotto.ask("GET", f"/v1/calls/{self.id}/recording")
            return octets if status == 200 else None

        return read_wav(checks.wait_until(export, 5, "a recording"))


def written(address):
    """An address as text."""
    host, port = address
    return f"{host}:{port}"


def read_wav(octets):
    """The channels of a 16-bit WAV, each a list of samples."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        file.write(octets)
        file.flush()
        with wave.open(file.name) as reader:
            channels = reader.getnchannels()
            checks.equal(reader.getframerate(), 8000, "sample rate")
            samples = memoryview(reader.readframes(reader.getnframes())).cast("h")
    return [list(samples[channel::channels]) for channel in range(channels)]


def media_of(sdp):
    """Where an SDP wants audio."""
    host = re.search(r"^c=IN IP4 ([0-9.]+)", sdp, re.M)[1]
    return host, int(re.search(r"^m=audio (\d+)", sdp, re.M)[1])


def offer(party, protocol="RTP/AVP", extra=""):
    """A plain offer of a party, for the codecs that all parties here speak."""
    host, port = party.address
    lines = [
        "v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0",
        f"m=audio {port} {protocol} 0 8 101", "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15", "a=ptime:20", *extra.splitlines(), "",
    ]  # fmt: skip
    return "\r\n".join(lines)


def leaks(text):
    """What was keyed, in any of the writings in which it could appear in a text."""
    found = []
    for secret in (CARD, EXPIRY + CODE):
        fours = [secret[at : at + 4] for at in range(0, len(secret), 4)]
        spaced = {" ".join(secret), ", ".join(secret), "-".join(fours), " ".join(fours)}
        codes = ", ".join(str(ord(digit)) for digit in secret)
        encoded = {base64.b64encode(secret.encode()).decode().rstrip("="), secret.encode().hex()}
        named = {", ".join(_NAMES[int(digit)] for digit in secret)}
        for writing in {secret, secret[::-1], codes} | spaced | encoded | named:
            if writing.lower() in text.lower():
                found.append(writing)
    # Any run of digits that could be a card, ids in hexadecimal aside.
    runs = re.findall(r"(?<![0-9A-Za-z.])[0-9]{13,19}(?![0-9A-Za-z])", text)
    return found + [run for run in runs if _luhn(run)]


_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _luhn(number):
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0

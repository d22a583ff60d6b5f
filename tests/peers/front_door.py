"""Front door: slow and hasty clients, thousands of event streams, and what a scanner says of TLS."""

import asyncio
import contextlib
import http.client
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import checks
import model
import party
import sotto

CLIENTS = 1000
SECONDS = 12  # for one attack: two more than a connection may last
CUT_WITHIN = 10
P99_MS = 100
ATTACKER = "127.0.0.1"
# By the letter of slowhttptest's mode: what it asks for, and how.
ATTACKS = {
    "H": ("/v1/calls", ["-i", "1", "-x", "24"]),
    "B": ("/v1/calls", ["-i", "1", "-s", "60000", "-f", "application/json"]),
    "X": ("/v1/openapi.json", ["-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-k", "3"]),
}
STREAMS = 3000
STREAMS_OF_A_KEY = 1024
TOGETHER = 100  # streams that are being opened
SOURCES = [f"127.0.1.{at}" for at in range(1, 9)]
RESETS = 1000
RESETS_TAKEN = 100
NAME = "localhost"
HASTE = Path(__file__).with_name("haste.py")


class Probe:
    """Asks for one path again and again, each time by a new connection, in a process of its own."""

    def __init__(self, address, path, source, key=None, pause=0.02):
        self._asked = (address, path, source, {"Authorization": f"Bearer {key}"} if key else {})
        self._pause, self._over = pause, multiprocessing.Event()
        self._outcome = multiprocessing.Queue()
        self._process = multiprocessing.Process(target=self._run, daemon=True)
        self.times, self.failures = [], []

    def _run(self):
        times, failures = [], []
        while not self._over.wait(self._pause):
            begun = time.monotonic()
            try:
                status = self._ask()
                failures += [] if status == 200 else [status]
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
            times.append((time.monotonic() - begun) * 1000)
        self._outcome.put((times, failures))

    def _ask(self):
        address, path, source, headers = self._asked
        connection = http.client.HTTPConnection(*address, timeout=5, source_address=(source, 0))
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
            return response.status

    def __enter__(self):
        self._process.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.times, self.failures = self._outcome.get(timeout=20)
        self._process.join()

    @property
    def p99(self):
        """In milliseconds."""
        return sorted(self.times)[len(self.times) * 99 // 100]


class Ages(threading.Thread):
    """How long an address' connections to a port stay established, as the kernel lists them."""

    def __init__(self, port, source):
        super().__init__(daemon=True)
        octets = bytes(map(int, source.split(".")))
        # Local and remote address in hexadecimal, then the state: 01 is established.
        remote = octets[::-1].hex().upper()
        self._line = re.compile(rf": [0-9A-F]{{8}}:{port:04X} {remote}:([0-9A-F]{{4}}) 01 ")
        self._over = threading.Event()
        self.seen, self.longest, self.most = {}, 0, 0

    def run(self):
        while not self._over.wait(0.2):
            now = time.monotonic()
            open_now = set(self._line.findall(Path("/proc/net/tcp").read_text()))
            self.seen = {one: self.seen.get(one, now) for one in open_now}
            self.most = max(self.most, len(open_now))
            self.longest = max([self.longest, *(now - since for since in self.seen.values())])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join(10)


def attack(mode, key):
    """Runs slowhttptest to its end; how long connections lasted, and how many there were."""
    path, words = ATTACKS[mode]
    # It has no option for a key; what it says that it accepts is sent as it stands.
    accept = f"*/*\r\nAuthorization: Bearer {key}" if mode == "B" else "*/*"
    command = [
        "slowhttptest", f"-{mode}", "-c", str(CLIENTS), "-r", "500", "-l", str(SECONDS), "-m", accept,
        *words, "-u", f"http://{sotto.written(sotto.CONTROL)}{path}",
    ]  # fmt: skip
    with Ages(sotto.CONTROL[1], ATTACKER) as ages:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        # What is open when it ends is its own to close.
    checks.expect(ages.most > 50, f"an attack, not {ages.most} connections: {done.stdout[-500:]}")
    return ages


def slow(binary, mode):
    """A thousand slow clients are cut off, and keep nobody else from anything."""
    with sotto.Sotto(binary, trace=False) as relay:
        key = relay.operator_key
        live = Probe(sotto.HEALTH, "/livez", "127.0.0.2")
        other = Probe(sotto.CONTROL, "/v1/calls", "127.0.0.3", key, 0.1)
        # Who has a key is let in where the attacker is, too, unless the attacker has one itself.
        beside = Probe(sotto.CONTROL, "/v1/calls", ATTACKER, key, 0.1)
        with live, other, beside if mode != "B" else contextlib.nullcontext():
            ages = attack(mode, key)
    checks.figure(
        f"slowhttptest -{mode}, {CLIENTS} clients: {ages.most} connections at a time, none longer than "
        f"{ages.longest:.1f} s; /livez p99 {live.p99:.0f} ms of {len(live.times)}"
    )
    failed = live.failures + other.failures + beside.failures
    checks.equal(failed, [], "requests that others failed with meanwhile")
    checks.expect(ages.longest <= CUT_WITHIN, f"no connection longer than {ages.longest} s")
    checks.expect(live.p99 < P99_MS, f"p99 of /livez, not {live.p99} ms")
    checks.expect(len(live.times) > 100 and len(other.times) > 20, "others asked meanwhile")


def slow_control(mode):
    """The same attack on a server without deadlines, whose connections it holds."""
    server = multiprocessing.Process(target=patient_server, daemon=True)
    server.start()
    time.sleep(0.5)
    ages = attack(mode, "none")
    server.kill()
    checks.figure(f"slowhttptest -{mode}, nobody's deadlines: {ages.longest:.1f} s")
    checks.expect(ages.longest > CUT_WITHIN, f"connections that stay, not {ages.longest} s")


def patient_server():
    """Waits for whatever comes, and for as long as it takes to be taken."""

    async def attend(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"Content-Length: (\d+)", head, re.I)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + bytes(4000000))
                await writer.drain()
        writer.close()

    async def listen():
        server = await asyncio.start_server(attend, *sotto.CONTROL, backlog=CLIENTS)
        async with server:
            await server.serve_forever()

    asyncio.run(listen())


def streams(binary):
    """Three thousand event streams hear the same, and one key does not take them all."""
    raise_file_limit()
    with sotto.Sotto(binary, trace=False) as relay:
        keys = relay.keys()
        caller = party.Caller("followed")
        call = relay.open_to(sotto.offer(caller), {"type": "echo"})
        before = resident(relay.pid)
        with Probe(sotto.HEALTH, "/livez", "127.0.0.2") as live:
            asyncio.run(follow(relay, keys, call, before))
    checks.figure(f"/livez p99 {live.p99:.0f} ms of {len(live.times)} meanwhile")
    checks.equal(live.failures, [], "failures of /livez")
    checks.expect(live.p99 < P99_MS, f"p99 of /livez, not {live.p99} ms")


async def follow(relay, keys, call, before):
    """Opens the streams, closes the call, and reads each to its end."""
    roles, gate = ("operator", "script", "engine"), asyncio.Semaphore(TOGETHER)

    async def one(at):
        async with gate:
            return await stream(call, keys[roles[at % 3]], SOURCES[at % 8])

    opened = await asyncio.gather(*(one(at) for at in range(STREAMS)))
    heads = [head for head, *_ in opened]
    checks.equal(heads.count(b"HTTP/1.1 200 OK"), STREAMS, "streams that were opened")
    each = (resident(relay.pid) - before) / STREAMS
    # Of this key a thousand are open: it may have a few more, and no others.
    spare = STREAMS_OF_A_KEY - STREAMS // 3
    more = [await stream(call, keys["operator"], SOURCES[at % 8]) for at in range(spare + 1)]
    statuses = [head.split()[1] for head, *_ in more]
    checks.equal(statuses, [b"200"] * spare + [b"429"], "more streams of one key")
    begun = time.monotonic()
    await asyncio.to_thread(call.close)
    told = await asyncio.gather(*(reader.read() for _, reader, _ in opened))
    took = (time.monotonic() - begun) * 1000
    for _, _, writer in opened + more:
        writer.close()
    heard = sum(b"call.closed" in one for one in told)
    checks.figure(
        f"{STREAMS} event streams: {each / 1024:.0f} kB each, all told of an end within {took:.0f} ms"
    )
    # An engine is told nothing of it but that the stream ends.
    checks.equal(heard, STREAMS * 2 // 3, "streams that heard that the call is over")
    checks.equal(
        sum(one.endswith(b"0\r\n\r\n") for one in told), STREAMS, "streams that ended in order"
    )


async def stream(call, key, source):
    """One event stream once it has begun: the first line of its head, its reader and its writer."""
    reader, writer = await asyncio.open_connection(*sotto.CONTROL, local_addr=(source, 0))
    path = f"/v1/calls/{call.id}/events"
    asked = ["GET " + path + " HTTP/1.1", f"Host: {NAME}", f"Authorization: Bearer {key}",
             "Connection: close", "", ""]  # fmt: skip
    writer.write("\r\n".join(asked).encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    return head.split(b"\r\n")[0], reader, writer


def resident(pid):
    """Memory of a process in octets."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def raise_file_limit():
    """As many sockets as the system allows."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def certified():
    """An authority's certificate and one that it signed, as files: authority, chain, key."""
    with tempfile.TemporaryDirectory(prefix="sotto-front-") as folder:
        ca, ca_key, chain, key = (
            f"{folder}/{name}.pem" for name in ("ca", "ca-key", "chain", "key")
        )
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
               "-nodes", "-days", "90"]  # fmt: skip
        openssl([*new, "-keyout", ca_key, "-out", ca, "-subj", "/CN=an authority of these tests",
                 "-addext", "keyUsage=critical,keyCertSign"])  # fmt: skip
        leaf = ["-keyout", key, "-out", chain, "-subj", f"/CN={NAME}", "-CA", ca, "-CAkey", ca_key]
        for extension in (
            f"subjectAltName=DNS:{NAME}", "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth",
        ):  # fmt: skip
            leaf += ["-addext", extension]
        openssl([*new, *leaf])
        os.chmod(key, 0o600)
        yield ca, chain, key


def openssl(command):
    """Runs openssl."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    checks.equal(done.returncode, 0, f"openssl: {done.stderr}")


def locked(binary, chain, key):
    """A relay whose API speaks TLS."""
    settings = f'[control.tls]\ncertificate = "{chain}"\nkey = "{key}"\n'
    return sotto.Sotto(binary, trace=False, settings=settings)


def resets(binary):
    """Who opens streams of HTTP/2 and resets them in haste loses the connection."""
    with certified() as (_, chain, key), locked(binary, chain, key):
        for way in ("burst", "single"):
            taken, ended = haste(way)
            checks.figure(f"HTTP/2, {way}: closed after {taken} of {RESETS} resets")
            checks.expect(ended and taken < RESETS_TAKEN, f"an end before {taken} resets ({way})")


def resets_control():
    """A server without such a bound takes them all."""
    with certified() as (_, chain, key):
        command = [str(model.PYTHON), str(HASTE), "serve", str(sotto.CONTROL[1]), chain, key]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            server.stdout.readline()
            for way in ("burst", "single"):
                taken, ended = haste(way)
                checks.figure(f"HTTP/2, {way}, nobody's bound: {taken} resets")
                checks.equal((taken, ended), (RESETS, False), f"all resets taken ({way})")
        finally:
            server.kill()


def haste(way):
    """Resets that were taken before the connection ended, and whether it did."""
    command = [str(model.PYTHON), str(HASTE), way, str(sotto.CONTROL[1]), str(RESETS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    checks.equal(done.returncode, 0, f"the client's end: {done.stderr[-1000:]}")
    taken, ended = done.stdout.split()
    return int(taken), ended == "ended"


def scanned(binary):
    """A scanner finds what Mozilla's guideline calls intermediate, and nothing below it."""
    with certified() as (ca, chain, key), locked(binary, chain, key):
        said = scan(ca)
    verdict = [line.strip() for line in said.splitlines() if f"{NAME}:" in line][-1]
    checks.figure(f"sslyze, Mozilla's intermediate configuration: {verdict}")
    checks.expect("OK - Compliant" in verdict, f"compliance: {said[-2000:]}")


def scanned_control():
    """A server that takes old suites does not pass."""
    with certified() as (ca, chain, key):
        command = ["openssl", "s_server", "-accept", sotto.written(sotto.CONTROL), "-cert", chain,
                   "-key", key, "-www", "-quiet", "-cipher", "ALL:@SECLEVEL=0"]  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            said = scan(ca)
        finally:
            server.kill()
    checks.expect(
        "FAILED - Not compliant" in said and "ciphers" in said, f"a fault: {said[-2000:]}"
    )


def scan(ca):
    """What sslyze says of the API's listener."""
    command = [str(model.PYTHON), "-m", "sslyze", "--mozilla_config", "intermediate",
               "--certinfo_ca_file", ca, f"{NAME}:{sotto.CONTROL[1]}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit("see run.py")

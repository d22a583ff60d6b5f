"""Browsers: GStreamer's webrtcbin and Chromium as callers, by WHIP."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import checks
import g711
import party
import rtp
import sotto

CLIENT = Path(__file__).with_name("browser") / "webrtcbin.py"
# Where `tests/run` has put playwright-core.
MODULES = Path(__file__).resolve().parents[2] / "target/tools/npm/node_modules"
VOICE = 440  # Hz, of the client


class Client:
    """A webrtcbin that calls through a relay."""

    def __init__(self, relay, engine, wav, codec):
        url = f"http://{sotto.written(sotto.CONTROL)}/v1/whip?engine={sotto.written(engine.address)}"
        command = ["/usr/bin/python3", CLIENT, url, relay.operator_key, wav, codec]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.states = []
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self):
        for line in self._process.stdout:
            self.states.append(line.strip())

    def is_connected(self):
        """Whether ICE and DTLS are done."""
        checks.expect(self._process.poll() is None, "a client that goes on")
        return "connected" in self.states

    def stop(self):
        """Hangs up."""
        self._process.send_signal(signal.SIGINT)
        _, errors = self._process.communicate(timeout=20)
        checks.equal(self._process.returncode, 0, f"exit code of the client, which says {errors}")


def only_call(relay):
    """The one call there is."""
    return checks.wait_until(lambda: relay.request("GET", "/v1/calls")["data"], 5, "a call")[0]


def webrtcbin(binary, codec):
    """Voice both ways, a cut with nothing of the caller's in it, a pass, and a hang-up."""
    with sotto.Sotto(binary) as relay, tempfile.TemporaryDirectory(prefix="sotto-whip-") as folder:
        wav = Path(folder) / "heard.wav"
        engine = party.Engine()
        engine.start()
        client = Client(relay, engine, wav, codec)
        checks.wait_until(client.is_connected, 15, f"a connection, not {client.states}")
        path = f"/v1/calls/{only_call(relay)['id']}"
        answer(engine)
        time.sleep(2)
        before = len(engine.heard)
        relay.request("POST", f"{path}/secure-session", sotto.PLAN, expected=(201,))
        cut = time.time()
        for key in sotto.KEYS:
            relay.request("POST", f"{path}/dtmf", {"digit": key})
            time.sleep(0.05)

        result, still_cut = see_through(relay, path)
        time.sleep(1.5)
        leg = relay.request("GET", path)["legs"]["caller"]
        client.stop()
        engine.stop()
        look(engine, before, (cut, still_cut))
        checks.equal(result, "pass", "verdict")
        checks.expect(leg["packets_received"] > 150, f"what the relay heard: {leg}")
        heard = sotto.read_wav(wav.read_bytes())[0] if wav.exists() else []
        checks.expect(len(heard) > 8000, f"what the client heard: {len(heard)} samples")
        share = g711.power(heard[8000:16000], party.Engine.VOICE)
        checks.expect(share > 0.5, f"the engine's tone at the client, not {share:.2f}")
        checks.figure(
            f"{len(engine.heard)} packets to the engine, {len(heard) / 8000:.1f} s heard of it "
            f"(tone's share {share:.2f}), loss {leg['packets_lost']}"
        )


def answer(engine):
    """The engine speaks to where it is spoken to from, as engines do that nobody tells more."""
    first = checks.wait_until(lambda: engine.heard[:1], 5, "a packet at the engine")[0]
    engine.target = first.source


def see_through(relay, path):
    """The verdict of a session once it has ended, and when it was last seen to last."""
    still_cut = asked = time.time()

    def ended():
        nonlocal still_cut, asked
        still_cut, asked = asked, time.time()
        session = relay.request("GET", f"{path}/secure-session")
        return session["result"] if session["state"] == "ended" else None

    return checks.wait_until(ended, 20, "the session's end"), still_cut


def look(engine, before, span):
    """What the engine heard: the client's tone, nothing in the cut, the tone again."""
    voice = [one for one in engine.heard[:before] if one.payload_type == 0]
    samples = [sample for one in voice[-50:] for sample in g711.decode(one.payload)]
    checks.expect(g711.power(samples, VOICE) > 0.5, "the client's tone at the engine")
    silent(engine, span)
    after = [one for one in engine.heard if one.at > span[1] + 0.5]
    samples = [sample for one in after[-50:] for sample in g711.decode(one.payload)]
    checks.expect(g711.power(samples, VOICE) > 0.5, "the client's tone after the cut")


def control(binary, codec):
    """With masking broken the same look finds the browser's voice in the cut."""
    with (
        sotto.Sotto(binary, broken=True) as relay,
        tempfile.TemporaryDirectory(prefix="sotto-whip-") as folder,
    ):
        engine = party.Engine()
        engine.start()
        client = Client(relay, engine, Path(folder) / "heard.wav", codec)
        checks.wait_until(client.is_connected, 15, f"a connection, not {client.states}")
        answer(engine)
        path = f"/v1/calls/{only_call(relay)['id']}"
        relay.request("POST", f"{path}/secure-session", sotto.PLAN, expected=(201,))
        cut = time.time()
        time.sleep(2)
        still_cut = time.time()
        client.stop()
        engine.stop()
        loud = loud_octets(engine, (cut, still_cut))
        checks.figure(f"masking broken: {len(loud)} values of octets at the engine are not silence")
        checks.expect(loud, "a leak of the control")


class Chromium:
    """A page in Chromium that calls through a relay."""

    PROGRAM = Path(__file__).with_name("browser") / "call.mjs"

    def __init__(self, relay, engine, codec, client="page"):
        url = f"http://{sotto.written(sotto.CONTROL)}/v1/whip?engine={sotto.written(engine.address)}"
        self._process = subprocess.Popen(
            ["node", self.PROGRAM, "/usr/bin/chromium", url, relay.operator_key, codec, client],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"NODE_PATH": str(MODULES)},
        )  # fmt: skip
        self.placed = self._hear("placed")

    def does(self, what, **more):
        """One step; what came of it."""
        self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._process.stdin.flush()
        return self._hear({"end": "ended"}.get(what, what))

    def end(self):
        """Hangs up and closes the browser."""
        status = self.does("end")["status"]
        self._process.communicate(timeout=20)
        return status

    def _hear(self, what):
        line = self._process.stdout.readline()
        if not line:
            raise checks.Failure(f"the page: {self._process.stderr.read()[-2000:]}")
        fact = json.loads(line)
        checks.equal(fact["was"], what, "the next step")
        return fact


def chromium(binary, codec, client="page"):
    """A page calls, talks, keys a card in a secure session, passes and hangs up."""
    with sotto.Sotto(binary) as relay:
        engine = party.Engine()
        engine.start()
        page = Chromium(relay, engine, codec, client)
        if client == "page":
            checks.equal(page.placed["patched"], 204, "answer to what was trickled")
        checks.expect(page.placed["canInsertDTMF"], "that the page can send keys")
        path = f"/v1/calls/{only_call(relay)['id']}"
        answer(engine)
        time.sleep(1.5)
        checks.equal(page.does("dtmf", keys="12#")["tones"], "12#", "keys of the open")
        # A busy browser tells its page that they were sent before they are.
        checks.wait_until(lambda: events(engine) == {1, 2, 11}, 5, "keys of the open at the engine")
        relay.request("POST", f"{path}/secure-session", sotto.PLAN, expected=(201,))
        cut = time.time()
        page.does("dtmf", keys=sotto.KEYS)

        result, still_cut = see_through(relay, path)
        time.sleep(1)
        found = page.does("stats")
        checks.equal(page.end(), 204, "status of the hang-up")
        engine.stop()
        checks.equal(result, "pass", "verdict")
        checks.equal(events(engine), {1, 2, 11}, "keys at the engine: those of the open")
        silent(engine, (cut, still_cut))
        checks.equal(found["dtls"], "FEFD", "DTLS 1.2")
        checks.expect(found["packetsReceived"] > 100, f"what the page heard: {found}")
        checks.expect(found["totalAudioEnergy"] > 0.1, f"what the page heard: {found}")
        checks.equal(found["codec"].lower(), codec.lower(), "codec of the call")
        checks.figure(f"Chromium: {found}")


def events(engine):
    """Codes of the key events that the engine has got."""
    return {one.payload[0] for one in engine.heard if one.payload_type == rtp.EVENT_TYPE}


def silent(engine, span):
    """Nothing but silence between two times, and that without a pause."""
    checks.equal(loud_octets(engine, span), set(), "octets that are not silence in the cut")


def loud_octets(engine, span):
    """Octets between two times that are not silence, of a stream that goes on."""
    cut = [one for one in engine.heard if span[0] < one.at < span[1]]
    checks.expect(len(cut) > 20, f"a stream that goes on in the cut, not {len(cut)} packets")
    return {octet for one in cut for octet in one.payload} - {0xFF, 0x7F}

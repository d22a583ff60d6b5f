"""Whether what Sotto says to a Twilio-shaped engine is what another's simulator of Twilio says.

Both call the same engine, and each message of either is brought down to its shape.
"""

import base64
import json
import queue
import subprocess
import tempfile
import time
from pathlib import Path

import bots
import checks
import g711
import party
import sotto
import web_socket

SIMULATOR = bots.PYTHON.with_name("streamdouble")
# Waits, in which silence goes on, a key, and what the engine marked.
SCENARIO = """
name: a key and a mark
steps:
  - wait: 0.5
  - dtmf: "5"
  - wait_for: mark
  - wait: 0.5
"""
EVENTS = ["connected", "dtmf", "mark", "media", "start", "stop"]
FRAME = base64.b64encode(g711.encode(g711.tone([bots.VOICE], 8000, g711.FRAME))).decode()


class Engine:
    """Says a second of tone with a mark behind it, and keeps what it is told."""

    def __init__(self):
        self.told, self.over = [], queue.Queue()

    def behave(self, connection, rest):
        """One connection."""
        frames = web_socket.Frames()
        while True:
            for opcode, payload in frames.add(rest):
                if opcode == web_socket.TEXT:
                    self._take(connection, json.loads(payload))
                elif opcode == web_socket.PING:
                    connection.sendall(web_socket.frame(payload, web_socket.PONG))
                elif opcode == web_socket.CLOSE:
                    connection.sendall(web_socket.frame(payload, web_socket.CLOSE))
                    self.over.put(self.told)
                    self.told = []
                    return
                else:
                    self.told.append({"event": f"opcode {opcode}"})
            rest = connection.recv(65_536)
            if not rest:
                self.over.put([{"event": "no close"}])
                return

    def _take(self, connection, message):
        self.told.append(message)
        if message["event"] == "start":
            stream = message["streamSid"]
            media = {"event": "media", "streamSid": stream, "media": {"payload": FRAME}}
            mark = {"event": "mark", "streamSid": stream, "mark": {"name": "a mark"}}
            for said in [media] * 50 + [mark]:
                connection.sendall(web_socket.frame(json.dumps(said).encode()))


# Members whose value is Twilio's own word.
WORDS = {"event", "protocol", "version", "encoding", "track", "tracks", "sampleRate", "channels"}


def shape(value):
    """Types instead of values, but for fixed words; numbers as text are told from other text."""
    if isinstance(value, dict):
        return {
            name: one if name in WORDS else shape(one) for name, one in sorted(value.items())
        }
    if isinstance(value, str):
        return "digits" if value.isdecimal() else "text"
    return type(value).__name__


def shapes(told):
    """By event, the shapes that it had."""
    found = {}
    for message in told:
        seen = found.setdefault(message["event"], [])
        if shape(message) not in seen:
            seen.append(shape(message))
    return found


def check_numbers(told):
    """What is counted is counted as Twilio does: messages, chunks, 20 ms each."""
    numbers = [int(one["sequenceNumber"]) for one in told if "sequenceNumber" in one]
    checks.equal(numbers, list(range(1, len(numbers) + 1)), "numbers of messages")
    media = [one["media"] for one in told if one["event"] == "media"]
    counted = [(int(one["chunk"]), int(one["timestamp"])) for one in media]
    wanted = [(at + 1, 20 * at) for at in range(len(media))]
    checks.equal(counted, wanted, "chunks and timestamps")
    checks.equal({len(base64.b64decode(one["payload"])) for one in media}, {160}, "frames")
    names = [one["event"] for one in told]
    checks.equal((names[0], names[1], names[-1]), ("connected", "start", "stop"), "order")


def simulated(port):
    """A call by the simulator."""
    checks.expect(SIMULATOR.exists(), f"{SIMULATOR}, which tests/run makes")
    with tempfile.TemporaryDirectory(prefix="sotto-simulator-") as folder:
        scenario = Path(folder) / "scenario.yaml"
        scenario.write_text(SCENARIO)
        command = [SIMULATOR, "scenario", scenario, f"ws://127.0.0.1:{port}/ws"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    checks.equal(done.returncode, 0, f"exit code of the simulator, which says {done.stderr}")


def called(relay, port):
    """The same call by Sotto."""
    caller = party.Caller("shape")
    leg = bots.websocket("twilio", "/ws")(port)
    call = relay.open_to(sotto.offer(caller), leg)
    caller.target = call.caller_port
    caller.start()
    time.sleep(0.5)
    caller.press("5")
    time.sleep(1.5)
    call.close()
    caller.stop()


def same(binary):
    """Every message of Sotto's has the simulator's shape and counting, and nothing is missing."""
    engine = Engine()
    with web_socket.Server(engine.behave) as server:
        simulated(server.port)
        theirs = engine.over.get(timeout=5)
        with sotto.Sotto(binary, settings=bots.SETTINGS) as relay:
            called(relay, server.port)
            ours = engine.over.get(timeout=5)
    for told in (theirs, ours):
        checks.equal(sorted({one["event"] for one in told}), EVENTS, "events")
        check_numbers(told)
    checks.equal(shapes(ours), shapes(theirs), "shapes of messages")
    ours[-1]["sequenceNumber"] = int(ours[-1]["sequenceNumber"])
    checks.expect(shapes(ours) != shapes(theirs), "a number that is no text is seen")
    checks.figure(f"{len(ours)} messages of six events, shaped as the simulator's {len(theirs)}")

"""The console and its softphone, as a person uses them in Chromium.

SOTTO_SHOTS=FOLDER keeps a picture of every state. With SOTTO_DOCS=docs the two of the documentation
are made anew: python3 tests/peers/run.py peers target/release/sotto - "console sees"
"""

import json
import math
import os
import random
import shutil
import struct
import subprocess
import tempfile
import wave
from pathlib import Path

import checks
import sotto
import whip

PROGRAM = Path(__file__).with_name("browser") / "console.mjs"
PICTURES = ("console.png", "softphone.png")
MOST_OCTETS = 150_000  # of a picture in the documentation
RATE = 48_000
# A card as any, but with time enough to look at the pages meanwhile.
SETTINGS = """
[plans.patient]
deadline_ms = 300000
[[plans.patient.fields]]
type = "payment-card-number"
first_key_timeout_ms = 60000
inter_key_timeout_ms = 60000
field_timeout_ms = 120000
[[plans.patient.fields]]
type = "expiration-date"
first_key_timeout_ms = 60000
[[plans.patient.fields]]
type = "security-code"
first_key_timeout_ms = 60000
"""
# Seconds until the engine's ear is sure of a silence: it waits out the pauses of a sentence.
SURE = 0.6


def voice(path):
    """Something like a voice, for the fake microphone: buzz and breath in syllables."""
    chance, phase, samples = random.Random(1), 0.0, []
    for at in range(4 * RATE):
        seconds = at / RATE
        pitch = 130 + 25 * math.sin(2 * math.pi * 0.7 * seconds)
        phase += 2 * math.pi * pitch / RATE
        buzz = sum(math.sin(n * phase) / n for n in range(1, 14))
        syllable = 0.25 + 0.75 * abs(math.sin(2 * math.pi * 1.9 * seconds))
        samples.append(int(5000 * syllable * (buzz + 0.3 * chance.uniform(-1, 1))))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


def person(relay, journey):
    """What the pages showed on a journey."""
    with tempfile.TemporaryDirectory(prefix="sotto-console-") as folder:
        spoken = Path(folder) / "voice.wav"
        voice(spoken)
        shots = Path(os.environ.get("SOTTO_SHOTS", folder))
        shots.mkdir(parents=True, exist_ok=True)
        keys = relay.keys()
        done = subprocess.run(
            ["node", PROGRAM, "/usr/bin/chromium", relay.console_url, keys["operator"],
             keys["script"], spoken, shots, journey],
            capture_output=True, text=True, env=os.environ | {"NODE_PATH": str(whip.MODULES)},
        )  # fmt: skip
        said = done.stderr[-2000:]
        checks.equal(done.returncode, 0, f"exit code of the browser, which says {said}")
        if "SOTTO_DOCS" in os.environ and journey == "pays":
            document(shots, Path(os.environ["SOTTO_DOCS"]))
    fact = json.loads(done.stdout)
    checks.equal(fact["errors"], [], "errors of the pages")
    return fact


def document(shots, folder):
    """Puts the pictures of the documentation where it shows them."""
    for name in PICTURES:
        octets = (shots / name).stat().st_size
        checks.expect(octets < MOST_OCTETS, f"a small picture, not {octets} octets of {name}")
        shutil.copy(shots / name, folder)


def silent(fact):
    """By the page's own entries the engine heard nothing but silence from the cut to the verdict."""
    engine, end = fact["engine"], fact["resultAt"]
    begin = engine["cut"]["from"] + SURE * 1000
    runs = [run for run in engine["runs"] if run["to"] > begin and run["from"] < end]
    checks.equal({run["kind"] for run in runs}, {"silence"}, "what the engine heard in the cut")
    heard = max(run["to"] for run in runs) - max(begin, min(run["from"] for run in runs))
    checks.expect(heard > 0.8 * (end - begin), f"entries all through the cut, not {heard} ms")
    return end - begin


def pays(binary):
    """A person calls the echo engine, pays by card on the dial pad, and sees what was heard."""
    with sotto.Sotto(binary, settings=SETTINGS) as relay:
        fact = person(relay, "pays")
    checks.equal(fact["result"], "pass", "result on the page")
    cut = silent(fact)
    engine = fact["engine"]
    before = {run["kind"] for run in engine["runs"] if run["from"] < engine["cut"]["from"]}
    checks.expect({"voice", "key_event"} <= before, f"voice and keys before the cut: {before}")
    checks.expect("tone" in fact["tones"], f"the test tone: {fact['tones']}")
    checks.equal(
        engine["told"],
        [["secure_session.started", None], ["secure_session.ended", "pass"]],
        "what the engine was told",
    )
    shown(fact)
    checks.equal(fact["violations"], [], "what hinders people")
    checks.equal(fact["overflows"], [], "pages wider than the screen")
    checks.equal(fact["looks"], 9, "states looked at, each in two themes and widths")
    checks.figure(f"{fact['looks']} states without a fault; {cut / 1000:.1f} s of silence in the cut")


def shown(fact):
    """Digits in the open alone, and a timeline with both tellings side by side."""
    checks.equal(fact["shownOpen"], "12", "keys shown in the open")
    checks.equal(set(fact["shownSecure"]), {"•"}, "keys shown in the cut")
    checks.equal(fact["progress"], 3, "groups of keys begun, of ten keys")
    checks.equal(fact["kept"][:2], [0, ""], "storage beyond the tab, and cookies")
    checks.expect("sto_" not in fact["kept"][2], "an address without the key")
    kinds = [kind for kind, _ in fact["timeline"]]
    session = [kind.removeprefix("secure_session.") for kind in kinds if kind.startswith("secure")]
    fields = ["field_started", "field_accepted"] * 3
    checks.equal(session, ["started", *fields, "concluded", "ended"], "the timeline")
    told = [told for _, told in fact["timeline"] if told]
    checks.equal(told, ["a secure session is on", "it is over: pass"], "told beside it")
    checks.equal(fact["codec"], ["opus · WebRTC", "PCMU · RTP"], "codecs")
    done = {"entered a secure session", "placed a call from a browser"}
    checks.expect(done <= set(fact["activity"]), f"activity: {fact['activity']}")
    checks.equal(fact["roles"], ["operator", "script"], "roles of the two people")
    checks.expect("operators" in fact["scriptActivity"], f"a script's: {fact['scriptActivity']}")


def control(binary):
    """With masking broken the same look at the page finds that the engine heard the caller."""
    with sotto.Sotto(binary, broken=True, settings=SETTINGS) as relay:
        fact = person(relay, "control")
    try:
        silent(fact)
    except checks.Failure as failure:
        checks.figure(f"masking broken: {failure}")
        return
    raise checks.Failure("a leak of the control is seen on the page")


def keyboard(binary):
    """The whole of it without a mouse; a cancelled session fails, and a call is hung up twice."""
    with sotto.Sotto(binary) as relay:
        fact = person(relay, "keyboard")
    checks.equal(fact["shownOpen"], "789", "keys of the keyboard and the pad")
    checks.expect("cancelled" in fact["resultText"], f"the result: {fact['resultText']}")
    checks.equal(fact["stillThere"], "open", "a call that was not hung up after all")

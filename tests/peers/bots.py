"""Bots: engines that others have written, over the sockets that they speak, each in its process."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import baresip
import checks
import g711
import sotto
import whip

ENGINES = Path(__file__).with_name("engines")
# A Python of its own, with the versions of python.txt: made by tests/run.
PYTHON = Path(__file__).resolve().parents[2] / "target/tools/python/bin/python"
VOICE = 1000  # Hz of what a bot says
START = 90  # seconds for a process to listen: the first has its libraries compiled
ACCOUNT = "AC" + "0" * 32  # what an engine is told if nothing else is configured
# Engines here are on loopback.
SETTINGS = "[outbound]\nallow = ['127.0.0.0/8']\n"
# Seconds in which what was on its way at an edge of the cut reaches a bot's pipeline.
EDGE = 0.15


class Bot:
    """An engine in a process of its own; use it in a `with` block, or by `answer` until `stop`.

    `told` are its lines, as dictionaries with what it `was` and when (`at`).
    """

    def __init__(self, command, leg):
        self._leg, self.told = leg, []
        # A library is compiled once, whatever is so of the suite's own modules.
        cache = str(PYTHON.parents[1] / "cache")
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache, "LOGURU_LEVEL": "WARNING"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1, env=environment,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = self.wait("port", START)["port"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def answer(self, relay, offer):
        """A call to this engine, and itself: what a gateway wants."""
        return relay.open_to(offer, self._leg(self.port)), self

    def do(self, *command):
        """Gives it a command."""
        self._process.stdin.write(" ".join(map(str, command)) + "\n")

    def all(self, was, after=0.0):
        """What it told of a kind since a moment."""
        return [one for one in list(self.told) if one["was"] == was and one["at"] >= after]

    def wait(self, was, seconds=10, after=0.0, **what):
        """The first of these lines since a moment, which may be still to come."""

        def found():
            checks.expect(self._process.poll() is None or self.all(was), "an engine that goes on")
            return next(
                (one for one in self.all(was, after) if what.items() <= one.items()), None
            )

        return checks.wait_until(found, seconds, f"{was} {what} of an engine")

    def stop(self):
        """Ends the process."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(10)
        self._reader.join()

    def _read(self):
        for line in self._process.stdout:
            self.told.append(json.loads(line))


def websocket(dialect, path, **options):
    """An engine's leg over a WebSocket, by the port that it listens on."""
    return lambda port: {
        "type": "websocket", "dialect": dialect, "url": f"ws://127.0.0.1:{port}{path}", **options
    }  # fmt: skip


def pipecat(relay):
    """A pipeline of Pipecat's that hangs up by our route in Twilio's manner."""
    checks.expect(PYTHON.exists(), f"{PYTHON}, which tests/run makes")
    leg = websocket("twilio", "/ws", codec="PCMU", parameters={"lang": "en"})
    base = f"http://{sotto.written(sotto.CONTROL)}"
    arguments = [baresip.VOICE, ACCOUNT, relay.keys()["engine"], base]
    return Bot([PYTHON, ENGINES / "pipecat_bot.py", *arguments], leg)


def audiosocket(_relay):
    """A server of the npm package asterisk-audiosocket."""
    command = ["node", ENGINES / "audiosocket.mjs", whip.MODULES, baresip.VOICE]
    return Bot(
        command,
        lambda port: {"type": "audiosocket", "address": f"127.0.0.1:{port}", "codec": "L16/8000"},
    )


def jambonz(_relay):
    """A server of jambonz' own SDK."""
    command = ["node", ENGINES / "jambonz.mjs", whip.MODULES, baresip.VOICE]
    return Bot(command, websocket("jambonz", "/audio", codec="L16/8000"))


class Talk(baresip.Payment):
    """A call from baresip to a bot, with what all bots are looked at for."""

    def __init__(self, binary, bot, settings=SETTINGS, **options):
        super().__init__(binary, bot=bot, settings=settings, **options)

    @property
    def bot(self):
        """The engine."""
        return self.dialog.engine

    def pay(self):
        """A card inside a secure session: when the cut was in force, as two times."""
        self.enter()
        self.phone.press(sotto.KEYS)
        verdict, still_cut = self.call.see_through()
        checks.equal(verdict, "pass", "verdict")
        return self.cut, still_cut

    def is_over(self):
        """The engine has hung up: Sotto's call is closed, and the phone learns of it."""
        closed = lambda: self.call.do("GET")["state"] == "closed"  # noqa: E731
        checks.wait_until(closed, 5, "the end of the call")
        self.dialog.ended.set()
        self.phone.do("hangup")

    def spoken(self):
        """Seconds of the bot's voice in what the phone has heard, once the call is over."""
        checks.wait_until(self.phone.heard, 3, "what the phone heard")
        voiced = [
            g711.power(part, VOICE) > 0.9 for part in baresip.parts(self.phone.heard(), 800)
        ]
        return sum(voiced) / 10


def heard_in(bot, cut, still_cut):
    """By kind, the samples that a bot heard in runs that lie in the cut, and those not silent.

    A run is told as one with its begin and end; the cut's silence is one run.
    """
    begin, end = cut + EDGE, still_cut
    runs = [run for run in bot.all("heard") if run["end"] > begin and run["begin"] < end]
    silent = sum(
        min(run["end"], end) - max(run["begin"], begin) for run in runs if run["kind"] == "silence"
    )
    return silent, [run for run in runs if run["kind"] != "silence"]


def check_cut(bot, cut, still_cut):
    """Silence without a gap, and no key."""
    silent, loud = heard_in(bot, cut, still_cut)
    keys = [one for one in bot.all("key", cut) if one["at"] < still_cut]
    checks.figure(
        f"a cut of {still_cut - cut:.2f} s: {silent:.2f} s of it silence at the bot, "
        f"{sum(run['loud'] for run in loud)} samples of anything else, {len(keys)} keys"
    )
    checks.equal((loud, keys), ([], []), "what the bot heard and was told in the cut")
    checks.expect(silent > still_cut - cut - 0.5, "silence all through the cut")


def check_leak(bot, cut, still_cut):
    """Of a broken Sotto: the same look finds the caller's voice in the cut."""
    _, loud = heard_in(bot, cut, still_cut)
    samples = sum(run["loud"] for run in loud)
    checks.figure(f"masking broken: {samples} samples of the caller's at the bot in the cut")
    checks.expect(samples > 8000, "a second of the caller at least")


def check_voice(bot, seconds, after=0.0):
    """The bot hears the phone's tone."""
    runs = [run for run in bot.all("heard", after) if run["kind"] == "tone"]
    samples = sum(run["samples"] for run in runs if run["end"] > after)
    checks.expect(samples > seconds * 8000, f"the phone's tone at the bot, not {samples} samples")


def pipecat_call(binary):
    """All that a bot of Pipecat's is for; in the cut it hears silence, and its turn ends by that."""
    with Talk(binary, pipecat) as talk:
        bot = talk.bot
        hello = bot.wait("call")
        checks.equal((hello["kind"], hello["body"]["lang"]), ("twilio", "en"), "what it is told")
        bot.wait("speech", begins=True)
        talk.phone.press("5")
        bot.wait("key", key="5")
        bot.do("say", 10)
        time.sleep(2)
        bot.do("interrupt")
        time.sleep(1)
        cut, still_cut = talk.pay()
        stopped = bot.wait("speech", begins=False, after=cut)["at"] - cut
        bot.wait("speech", begins=True, after=still_cut)
        time.sleep(1)
        warned = bot.all("warning")
        bot.do("end")
        bot.wait("over")
        talk.is_over()
        spoken = talk.spoken()
    check_cut(bot, cut, still_cut)
    check_voice(bot, 2)
    checks.figure(
        f"its turn ended {stopped:.2f} s after the cut; of 10 s said and interrupted after 2 s "
        f"the phone heard {spoken:.1f} s"
    )
    checks.equal([one["key"] for one in bot.all("key")], ["5"], "keys")
    # Behind its own hang-up it also finds that the socket is closed already, and says so.
    warned += [one for one in bot.all("warning") if "Twilio" in one["text"]]
    checks.equal(warned, [], "what the library warns of")
    # It waits 0.2 s; its watchdog for audio that is missing would take 1 s more.
    checks.expect(stopped < 0.8, "a turn that ends on silence, not because nothing came")
    checks.expect(1.5 < spoken < 2.9, "what was interrupted was cleared, what was said was heard")


def pipecat_control(binary):
    """Without masking the same look finds the caller in what the pipeline heard."""
    with Talk(binary, pipecat, broken=True, trace=False) as talk:
        bot = talk.bot
        bot.wait("speech", begins=True)
        cut, still_cut = talk.pay()
        bot.do("end")
        bot.wait("over")
        talk.is_over()
    check_leak(bot, cut, still_cut)


def by_socket(binary, engine):
    """Another's server: both voices, silence in the cut, and the engine hangs up."""
    with Talk(binary, engine) as talk:
        bot = talk.bot
        bot.wait("call")
        time.sleep(1)
        bot.do("say", 2)
        time.sleep(2.5)
        cut, still_cut = talk.pay()
        time.sleep(1)
        bot.do("end")
        bot.wait("over")
        talk.is_over()
        spoken = talk.spoken()
    check_cut(bot, cut, still_cut)
    check_voice(bot, 2)
    checks.figure(f"of 2 s said the phone heard {spoken:.1f} s")
    checks.equal(bot.all("warning"), [], "what the library warns of")
    checks.expect(1.7 <= spoken <= 2.3, "what the bot said, at the phone")


def marks(binary):
    """A mark comes back when what was said before it has been played, or at once if cleared."""
    with Talk(binary, jambonz) as talk:
        bot = talk.bot
        bot.wait("call")
        asked = time.time()
        bot.do("say", 1)
        bot.do("mark", "played")
        played = bot.wait("mark", name="played", event="playout")["at"] - asked
        bot.do("say", 10)
        bot.do("mark", "cleared")
        time.sleep(0.5)
        asked = time.time()
        bot.do("interrupt")
        cleared = bot.wait("mark", name="cleared", event="cleared")["at"] - asked
        talk.hang_up()
        bot.wait("over", 5)
        spoken = talk.spoken()
    checks.figure(
        f"a mark behind 1 s came back after {played:.2f} s, one cleared after {cleared:.2f} s"
    )
    checks.expect(0.9 < played < 1.5 and cleared < 0.3, "marks in time")
    checks.expect(1.3 <= spoken <= 2.0, f"what was heard, not {spoken:.1f} s")


def hung_up(binary, engine):
    """The caller hangs up: the engine is told."""
    with Talk(binary, engine) as talk:
        bot = talk.bot
        bot.wait("call")
        time.sleep(0.5)
        talk.hang_up()
        bot.wait("over", 5)
    check_voice(bot, 0.3)
    checks.equal(bot.all("warning"), [], "what the library warns of")

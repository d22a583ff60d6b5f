"""A model behind OpenAI's Realtime API: what it is told and hears, and how it has a card taken.

Every event of Sotto's is checked by the types of OpenAI's own Python package.
"""

import contextlib
import os
import tempfile
import time
from pathlib import Path

import baresip
import bots
import checks
import sotto

KEY = "sk-test-of-the-suite"
PROFILE = """
[plans.card-payment]
prompts = {{ enabled = false }}
fields = [
  {{ type = "payment-card-number" }}, {{ type = "expiration-date" }}, {{ type = "security-code" }},
]
[engines.model]
type = "openai"
url = "ws://127.0.0.1:{port}/v1/realtime"
model = "gpt-realtime"
codec = "PCMU"
secret_file = "{key_file}"
instructions = "Be brief."
plans = ["card-payment"]
"""


@contextlib.contextmanager
def talk(binary, **options):
    """A call to the model."""
    with tempfile.TemporaryDirectory(prefix="sotto-model-") as folder:
        key_file = Path(folder) / "key"
        with open(os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(KEY)
        checks.expect(bots.PYTHON.exists(), f"{bots.PYTHON}, which tests/run makes")
        command = [bots.PYTHON, bots.ENGINES / "realtime.py", baresip.VOICE, KEY]
        with bots.Bot(command, lambda _: {"profile": "model"}) as bot:
            settings = bots.SETTINGS + PROFILE.format(port=bot.port, key_file=key_file)
            with bots.Talk(binary, lambda _: bot, settings=settings, **options) as call:
                bot.wait("call", known=True)
                yield call


def wait_event(bot, kind, after=0.0, seconds=10):
    """The first event of a type since a moment, and when it came."""

    def found():
        events = [one for one in bot.all("event", after) if one["event"]["type"] == kind]
        return events[0] if events else None

    one = checks.wait_until(found, seconds, kind)
    return one["event"], one["at"]


def check_session(bot):
    """The session that is asked for: formats, turns and the one function."""
    session = wait_event(bot, "session.update")[0]["session"]
    audio = session["audio"]
    checks.equal(
        (audio["input"]["format"], audio["output"]["format"]), ({"type": "audio/pcmu"},) * 2,
        "formats",
    )  # fmt: skip
    checks.equal(audio["input"]["turn_detection"], {"type": "server_vad"}, "turns")
    checks.equal([one["name"] for one in session["tools"]], ["collect_payment"], "tools")


def barge_in(bot):
    """What was said is thrown away, and the model learns how much of it was heard."""
    bot.do("say", 10)
    said = bot.wait("said")
    time.sleep(2)
    bot.do("barge")
    event, at = wait_event(bot, "conversation.item.truncate", said["at"])
    passed = 1000 * (at - said["at"])
    checks.figure(f"interrupted after {passed:.0f} ms, of which {event['audio_end_ms']} were heard")
    checks.equal(event["item_id"], said["item"], "what was interrupted")
    checks.expect(passed - 500 < event["audio_end_ms"] <= passed + 50, "what was really played")


def collect(call, result):
    """The model calls its function: the caller keys, and the verdict is all that it is told."""
    asked = time.time()
    call.bot.do("collect", "card-payment")
    called = call.bot.wait("called", after=asked)
    call.call.wait_for("collecting", 5)
    cut = time.time()
    call.phone.press(sotto.KEYS if result == "pass" else sotto.KEYS[:7])
    if result == "fail":
        call.call.do("DELETE", "/secure-session", expected=(200, 202, 204))
    verdict, still_cut = call.call.see_through()
    checks.equal(verdict, result, "verdict")
    event, _ = wait_event(call.bot, "conversation.item.create", cut)
    wanted = {"type": "function_call_output", "call_id": called["call"],
              "output": f'{{"result":"{result}"}}'}  # fmt: skip
    checks.equal(event["item"], wanted, "what the model is told")
    wait_event(call.bot, "response.create", cut)
    during = [one["event"]["type"] for one in call.bot.all("event", cut) if one["at"] < still_cut]
    allowed = {"session.update", "input_audio_buffer.clear"}
    checks.expect(set(during) <= allowed, f"no event while keys are pressed, not {during}")
    return cut, still_cut


def payments(binary):
    """A session, both voices, an interruption, a payment that passes and one that fails."""
    with talk(binary) as call:
        bot = call.bot
        check_session(bot)
        barge_in(bot)
        time.sleep(0.5)
        cuts = [collect(call, "pass")]
        time.sleep(1.5)
        cuts.append(collect(call, "fail"))
        time.sleep(1.5)
        call.hang_up()
        bot.wait("over")
        spoken = call.spoken()
    for cut in cuts:
        bots.check_cut(bot, *cut)
    bots.check_voice(bot, 3)
    checks.equal(bot.all("warning"), [], "what OpenAI's types don't know")
    checks.expect(1.5 < spoken < 2.9, f"what was heard of the model, not {spoken:.1f} s")


def control(binary):
    """Without masking the model hears the caller in the cut."""
    with talk(binary, broken=True, trace=False) as call:
        cut = collect(call, "pass")
        time.sleep(0.5)
        call.hang_up()
        call.bot.wait("over")
        bot = call.bot
    bots.check_leak(bot, *cut)

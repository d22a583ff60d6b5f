"""Runs scenarios against a built Sotto, each in a network namespace of its own.

usage: [TIMES=N] run.py peers|attacks|canary SOTTO SABOTAGED [NAME...]; each N times, once if not said
"""

import concurrent.futures
import os
import subprocess
import sys
import time
from pathlib import Path

import attacks
import bad_engines
import baresip
import bots
import checks
import console
import contract
import detach
import dtls
import engine_cost
import flips
import front_door
import gstreamer
import hunt
import kamailio
import model
import phones
import ng
import realtime_model
import running
import scan
import sessions
import sipp
import sotto
import strides
import twilio_shape
import whip

TOGETHER = 5  # scenarios at a time, of those that mostly wait
PAIRED = 2  # of those that take a core: a browser that looks at pages, fifty sessions in one process
SECONDS = int(os.environ.get("SCENARIO_SECONDS", "240"))  # for one scenario
CANARY_SECONDS = 900  # for one that plays hundreds of sessions, twice if chance is in doubt
NETNS = Path(__file__).with_name("netns.sh")


def table(binary, sabotaged):
    """By suite: scenarios that mostly wait, those that take a core, those that are measured alone."""
    return {
        "peers": (
            {
                "the search for leaks finds planted ones": searches_find,
                "sipp keys a card from its own captures": lambda: sipp.card(binary),
                "schemathesis finds nothing against the contract": lambda: contract.holds(binary),
                "control: schemathesis finds a broken contract": lambda: contract.control(binary),
                "sipp keys by SIP INFO": lambda: sipp.info(binary),
                "ffmpeg as engine decodes voice, silence, voice": lambda: sipp.ffmpeg(binary),
                **{
                    f"baresip keys a card, {mode}": lambda mode=mode: baresip.card(binary, mode)
                    for mode in baresip.MODES
                },
                "rtpengine's protocol sees a payment through": lambda: ng.payment(binary),
                "baresip keys a wrong card, then the right one": lambda: baresip.twice(binary),
                **{
                    f"baresip calls Sotto by SIP over {transport}": lambda transport=transport: (
                        phones.card(binary, transport)
                    )
                    for transport in phones.TRANSPORTS
                },
                "the echo answers a phone that knows its secret": lambda: phones.echo(binary),
                **{
                    f"sipp calls Sotto over {transport} and keys by SIP INFO": (
                        lambda transport=transport: phones.info(binary, transport)
                    )
                    for transport in ("UDP", "TCP")
                },
                "control: without masking a phone's voice is heard": lambda: phones.control(
                    sabotaged
                ),
                **{
                    f"Kamailio calls through NG, {way}, and a secure session passes": lambda way=way: (
                        kamailio.secure(binary, way)
                    )
                    for way in kamailio.WAYS
                },
                **{
                    f"Kamailio plays a file and presses keys, {way}": lambda way=way: (
                        kamailio.plays(binary, way)
                    )
                    for way in ("plain", "SDES")
                },
                "control: without masking Kamailio's callee hears": lambda: kamailio.control(
                    sabotaged
                ),
                "the load test drives relays that run already": lambda: running.relays(binary),
                "control: 50 sessions without masking leak": lambda: sessions.control(sabotaged),
                "GStreamer's webrtcbin calls by WHIP in Opus": lambda: whip.webrtcbin(binary, "OPUS"),
                "GStreamer's webrtcbin calls by WHIP in PCMU": lambda: whip.webrtcbin(binary, "PCMU"),
                "control: without masking a browser is heard": lambda: whip.control(
                    sabotaged, "OPUS"
                ),
                "Chromium calls, keys and passes by WHIP in Opus": lambda: whip.chromium(
                    binary, "audio/opus"
                ),
                "Chromium calls, keys and passes by WHIP in PCMU": lambda: whip.chromium(
                    binary, "audio/PCMU"
                ),
                "whip-whep calls, keys and passes, unchanged": lambda: whip.chromium(
                    binary, "audio/opus", client="whip-whep"
                ),
                "Chromium calls, keys and passes by WHIP in G.722": lambda: whip.chromium(
                    binary, "audio/G722"
                ),
                "DTLS: certificates and versions that others come with": lambda: dtls.versions(
                    binary
                ),
                "DTLS: telephones that wait for the relay to begin": lambda: dtls.telephones(binary),
                "baresip holds and resumes while secure": lambda: baresip.hold(binary),
                "baresip hangs up in the middle": lambda: baresip.hang_up(binary),
                **{
                    f"GStreamer speaks and decodes {suite}": lambda suite=suite: gstreamer.srtp(
                        binary, suite
                    )
                    for suite in gstreamer.SUITES
                },
                **{
                    f"an MCP client sees payments through, {mode}": lambda mode=mode: model.payment(
                        binary, mode
                    )
                    for mode in model.MODES
                },
                "Pipecat as engine, unchanged": lambda: bots.pipecat_call(binary),
                "control: without masking Pipecat hears the caller": lambda: bots.pipecat_control(
                    sabotaged
                ),
                "asterisk-audiosocket as engine, unchanged": lambda: bots.by_socket(
                    binary, bots.audiosocket
                ),
                "a caller hangs up on asterisk-audiosocket": lambda: bots.hung_up(
                    binary, bots.audiosocket
                ),
                "jambonz' SDK as engine, unchanged": lambda: bots.by_socket(binary, bots.jambonz),
                "jambonz' SDK marks what it says": lambda: bots.marks(binary),
                "a caller hangs up on jambonz' SDK": lambda: bots.hung_up(binary, bots.jambonz),
                "a model behind OpenAI's Realtime API": lambda: realtime_model.payments(binary),
                "control: without masking the model hears the caller": lambda: realtime_model.control(
                    sabotaged
                ),
                "Twilio's messages, as a simulator has them": lambda: twilio_shape.same(binary),
            },
            {
                # These two first: half a core each, and they mind it most.
                "50 sessions leak nothing": lambda: sessions.fifty_sessions(binary),
                "50 sessions as frames leak nothing": frames(sessions.fifty_sessions, binary),
                "a person at the console sees a payment through": lambda: console.pays(binary),
                "control: without masking the console shows it": lambda: console.control(sabotaged),
                "a person without a mouse does so too": lambda: console.keyboard(binary),
                "bad engines harm no other call": lambda: bad_engines.together(binary),
                "an engine behind a WebSocket costs less than three of RTP": lambda: (
                    engine_cost.added_processor(binary)
                ),
            },
            {
                "an engine behind a WebSocket hears in time": lambda: engine_cost.added_latency(binary),
                "one stream across two flips, seen by tshark": lambda: sessions.cadence(binary),
                "a flip takes less than 5 ms": lambda: flips.flip_latency(binary),
            },
        ),
        "attacks": (
            {
                "spray on a plain call": lambda: attacks.plain(binary),
                "spray on an SRTP call": lambda: attacks.srtp(binary),
                "spray on a plain call, as frames": frames(attacks.plain, binary),
                "spray on an SRTP call, as frames": frames(attacks.srtp, binary),
                "the XDP program goes with the process": frames(detach.ended, binary),
                "control: the same spray on rtpengine": attacks.control,
                **{
                    f"control: slow clients (-{mode}) stay where nothing has a deadline": lambda mode=mode: (
                        front_door.slow_control(mode)
                    )
                    for mode in front_door.ATTACKS
                },
                "streams that are reset in haste end their connection": lambda: front_door.resets(
                    binary
                ),
                "control: without a bound all resets are taken": front_door.resets_control,
                "a scanner finds TLS as Mozilla has it": lambda: front_door.scanned(binary),
                "control: the scanner finds old suites": front_door.scanned_control,
            },
            {
                **{
                    f"a thousand slow clients (-{mode}) are cut off and harm nobody": lambda mode=mode: (
                        front_door.slow(binary, mode)
                    )
                    for mode in front_door.ATTACKS
                },
                "three thousand event streams": lambda: front_door.streams(binary),
            },
            {},
        ),
        "canary": (
            {
                "every form of a planted canary is found": scan.check_forms,
                "keys by REST are not left at any stride": lambda: strides.one_session(binary),
                "control: without masking telephones and browsers are found": lambda: hunt.control(
                    sabotaged
                ),
            },
            {},
            {
                "canary sessions of 200 telephones and 8 browsers leave nothing": lambda: hunt.sessions(
                    binary
                )
            },
        ),
    }


def frames(scenario, binary):
    """A scenario whose relay takes media as frames (AF_XDP) instead of by sockets."""

    def run():
        os.environ["SOTTO_IO"] = "xdp"
        scenario(binary)

    return run


def apart(arguments, name):
    """Runs one scenario in a process and a network of its own; whether it passed."""
    command = [NETNS, sys.executable, __file__, *arguments, "--here", name]
    begun, limit = time.monotonic(), CANARY_SECONDS if "canary" in arguments else SECONDS
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit
        )
        output, passed = done.stdout, done.returncode == 0
    except subprocess.TimeoutExpired as error:
        output, passed = f"{error.stdout}\nnot over after {limit} s\n", False
    outcome = "PASS" if passed else "FAIL"
    print(f"{output}{outcome}  {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    return passed


def main(suite, binary, sabotaged, *names):
    """All scenarios of a suite, or those whose names contain one of `names`."""
    beside, paired, alone = table(binary, sabotaged)[suite]
    if names[:1] == ("--here",):
        (beside | paired | alone)[names[1]]()
        return True
    arguments = (suite, binary, sabotaged)

    def wanted(scenarios):
        found = [one for one in scenarios if not names or any(name in one for name in names)]
        return found * int(os.environ.get("TIMES", "1"))

    passed = []
    for scenarios, at_once in ((beside, TOGETHER), (paired, PAIRED), (alone, 1)):
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            passed += pool.map(lambda one: apart(arguments, one), wanted(scenarios))
    print(f"{suite}: {sum(passed)} passed, {len(passed) - sum(passed)} failed", flush=True)
    return passed and all(passed)


def searches_find():
    """What looks for leaks in logs does find them."""
    clean = "2030-01-01T00:00:00.123456Z call_0198c0f3a1b27c3e8d4f5a6b7c8d9e0f 127.0.0.1:10000"
    checks.equal(sotto.leaks(clean), [], "leaks in a clean line")
    for planted in (
        "number=4242 4242 4242 4242", "4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2",
        "NDI0MjQyNDI0MjQyNDI0Mg", "other 5555555555554444", sotto.CARD[::-1],
        f"code {sotto.EXPIRY}{sotto.CODE}",
    ):  # fmt: skip
        checks.expect(sotto.leaks(planted), f"{planted} is found")


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)

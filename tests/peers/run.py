"""Runs scenarios against a built Sotto: run.py peers|attacks SOTTO SABOTAGED [NAME...]."""

import sys

import attacks
import baresip
import checks
import flips
import gstreamer
import sessions
import sipp
import sotto


def table(suite, binary, sabotaged):
    """The scenarios of a suite, fast ones first."""
    suites = {
        "peers": [
            ("the search for leaks finds planted ones", searches_find),
            ("sipp keys a card from its own captures", lambda: sipp.card(binary)),
            ("sipp keys by SIP INFO", lambda: sipp.info(binary)),
            ("ffmpeg as engine decodes voice, silence, voice", lambda: sipp.ffmpeg(binary)),
            ("one stream across two flips, seen by tshark", lambda: sessions.cadence(binary)),
            *(
                (f"baresip keys a card, {mode}", lambda one=mode: baresip.card(binary, one))
                for mode in baresip.MODES
            ),
            *(
                (
                    f"GStreamer speaks and decodes {suite}",
                    lambda one=suite: gstreamer.srtp(binary, one),
                )
                for suite in gstreamer.SUITES
            ),
            ("baresip keys a wrong card, then the right one", lambda: baresip.twice(binary)),
            ("baresip holds and resumes while secure", lambda: baresip.hold(binary)),
            ("baresip hangs up in the middle", lambda: baresip.hang_up(binary)),
            ("a flip takes less than 5 ms", lambda: flips.flip_latency(binary)),
            ("50 sessions leak nothing", lambda: sessions.fifty_sessions(binary)),
            ("control: 50 sessions without masking leak", lambda: sessions.control(sabotaged)),
        ],
        "attacks": [
            ("spray on a plain call", lambda: attacks.plain(binary)),
            ("spray on an SRTP call", lambda: attacks.srtp(binary)),
            ("control: the same spray on rtpengine", attacks.control),
        ],
    }
    return suites[suite]


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
    suite, binary, sabotaged, *names = sys.argv[1:]
    chosen = table(suite, binary, sabotaged)
    if names:
        chosen = [one for one in chosen if any(name in one[0] for name in names)]
    sys.exit(checks.run(chosen))

"""sipp as caller: Debian's test tool, whose captures nobody here made.

Its voice is G.711 A-law in packets of 30 ms. Its keys are captured telephone-events with an SSRC
and timestamps of their own, the same ones whenever a key is pressed again, and three ends with
one sequence number. So a collector that trusts either loses a key.
"""

import signal
import subprocess
import tempfile
import time
from pathlib import Path

import checks
import g711
import party
import sip_gateway
import sotto
import wire

CAPTURES = "/usr/share/sip-tester"
PORT, MEDIA_PORT = 5071, 6000
BEFORE, BETWEEN = 2500, 600  # ms of voice before the first key, and from key to key
LENGTH = 7050  # ms that the captured voice lasts
# A capture that is played again repeats its sequence numbers, which after a cut look like packets
# sent during it; Sotto lets them through 10 s after the cut.
REPLAYED = (10.5, 11.5)

SDP = """v=0
o=sipp 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:30
"""


def message(method, sequence, body="", kind="application/sdp", tag="[peer_tag_param]"):
    """One request, as sipp's scenarios write it."""
    lines = [
        f"{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0",
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
        "From: <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]",
        f"To: <sip:[service]@[remote_ip]:[remote_port]>{tag}",
        "Call-ID: [call_id]",
        f"CSeq: {sequence} {method}",
        "Contact: <sip:sipp@[local_ip]:[local_port]>",
        "Max-Forwards: 70",
        *([f"Content-Type: {kind}"] if body else []),
        "Content-Length: [len]",
        "",
        body,
    ]
    return f"<send><![CDATA[\n{chr(10).join(lines)}\n]]></send>"


def play(capture):
    """Sends the packets of a capture."""
    action = f'<exec play_pcap_audio="{CAPTURES}/{capture}.pcap"/>'
    return f"<nop><action>{action}</action></nop>"


def pause(milliseconds):
    """Goes on as it is."""
    return f'<pause milliseconds="{milliseconds}"/>'


def press(key):
    """Keys one digit from its capture, and waits until the next is due."""
    name = {"#": "pound", "*": "star"}.get(key, key)
    return play(f"dtmf_2833_{name}") + pause(BETWEEN)


def inform(sequence, key):
    """Keys one digit by SIP INFO, and waits until the next is due."""
    body = f"Signal={key}\nDuration=100\n"
    sent = message("INFO", sequence, body, "application/dtmf-relay")
    return sent + '<recv response="200"/>' + pause(100)


class Sipp:
    """A sipp process in one call: voice, and what `steps` do meanwhile and after it."""

    def __init__(self, *steps, transport="UDP"):
        scenario = [
            '<?xml version="1.0" encoding="ISO-8859-1"?><scenario name="caller">',
            message("INVITE", 1, SDP, tag=""),
            '<recv response="100" optional="true"/>',
            '<recv response="200" rrs="true"/>',
            message("ACK", 1),
            play("g711a"),
            *steps,
            message("BYE", 999),
            '<recv response="200"/></scenario>',
        ]
        self._folder = tempfile.TemporaryDirectory(prefix="sotto-sipp-")
        file = Path(self._folder.name) / "scenario.xml"
        file.write_text("\n".join(scenario))
        command = [
            "sipp", sotto.written(sip_gateway.ADDRESS), "-sf", str(file), "-s", "pay",
            "-i", "127.0.0.1", "-p", str(PORT), "-mi", "127.0.0.1", "-mp", str(MEDIA_PORT),
            "-m", "1", "-nostdin", "-timeout", "60s", "-t", {"UDP": "u1", "TCP": "t1"}[transport],
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, cwd=self._folder.name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def wait(self, gateway):
        """Waits for the end of the call, which must have gone as the scenario says."""
        output, _ = self._process.communicate(timeout=90)
        self._folder.cleanup()
        checks.equal(gateway.failures, [], "what the gateway could not do")
        checks.equal(self._process.returncode, 0, f"sipp's exit code, after {output[-800:]!r}")


def card(binary):
    """The whole card, keyed from sipp's captures, passes; engine and recording hear silence."""
    keys = sotto.CARD + "#" + sotto.EXPIRY + "#" + sotto.CODE + "#"
    with sotto.Sotto(binary) as relay, sip_gateway.Gateway(relay) as gateway:
        with wire.Capture() as capture:
            again = play("g711a") + pause(LENGTH)
            sipp = Sipp(pause(BEFORE), *map(press, keys), again, again)
            dialog = gateway.calls.get(timeout=10)
            cut, still_cut = through_session(dialog)
            sipp.wait(gateway)
        check_silence(dialog, cut, still_cut, REPLAYED)
        signalled = {("127.0.0.1", MEDIA_PORT), ("127.0.0.1", MEDIA_PORT + 1)}
        signalled |= {one.getsockname() for one in (dialog.engine.rtp, dialog.engine.rtcp)}
        octets, targets = capture.sent_elsewhere(relay.ports, signalled)
        checks.figure(f"bytes sent to an address that was not signalled: {octets}")
        checks.equal((octets, targets), (0, set()), "bytes sent elsewhere")


def info(binary):
    """A card keyed by SIP INFO, over a voice that goes on, passes too."""
    steps = [inform(2 + index, key) for index, key in enumerate(sotto.KEYS)]
    with sotto.Sotto(binary) as relay, sip_gateway.Gateway(relay) as gateway:
        sipp = Sipp(pause(1500), *steps, pause(2500))
        dialog = gateway.calls.get(timeout=10)
        cut, still_cut = through_session(dialog)
        sipp.wait(gateway)
        check_silence(dialog, cut, still_cut)


def through_session(dialog):
    """Enters after some voice; the time of the cut and the last time it was seen to hold."""
    time.sleep(1)
    dialog.call.enter()
    cut = time.time()
    result, still_cut = dialog.call.see_through()
    checks.equal(result, "pass", "verdict")
    return cut, still_cut


def check_silence(dialog, cut, still_cut, after=(0.3, 1.5)):
    """The engine heard voice, then nothing but silence, then voice; so did the recording.

    `after` says when, counted from the reopening, voice must have come through again.
    """
    engine = dialog.engine
    silence = g711.SILENCE[engine.payload_type]
    edge = 0.05

    def unsilent(begin, end):
        heard = [packet for packet in engine.heard if begin < packet.at < end]
        octets = sum(len(packet.payload) for packet in heard)
        return octets - sum(packet.payload.count(silence) for packet in heard), octets

    before, during = unsilent(cut - 0.8, cut - edge), unsilent(cut + edge, still_cut - edge)
    after = unsilent(*(still_cut + seconds for seconds in after))
    caller, _ = dialog.call.recording()
    loud = [sum(map(abs, caller[at : at + 800])) > 8 * 800 for at in range(0, len(caller), 800)]
    begin, end = longest_run(loud, False)
    quiet = (end - begin) / 10
    checks.figure(
        f"octets at the engine that are not silence: {before[0]} of {before[1]} before, "
        f"{during[0]} of {during[1]} between 201 and reopening, {after[0]} of {after[1]} after; "
        f"recording silent for {quiet:.1f} s of a cut of {still_cut - cut:.1f} s"
    )
    checks.equal(during[0], 0, "octets that are not silence during the cut")
    checks.expect(before[0] > 0 and after[0] > 0, "voice before and after the cut")
    checks.expect(quiet > still_cut - cut - 0.3, "silence in the recording during the cut")
    checks.expect(any(loud[:begin]) and any(loud[end:]), "voice in the recording around it")
    others = {packet.payload_type for packet in engine.heard} - {engine.payload_type}
    checks.equal(others, set(), "other payload types at the engine")


def longest_run(values, wanted):
    """Begin and end of the longest run of `wanted`."""
    longest, begin = (0, 0), 0
    for at, value in enumerate(values):
        if value != wanted:
            begin = at + 1
        elif at + 1 - begin > longest[1] - longest[0]:
            longest = (begin, at + 1)
    return longest


def ffmpeg(binary):
    """ffmpeg stands where the engine would and decodes: voice, digital silence, voice."""
    caller, place = party.Caller("ffmpeg"), party.bind_pair()
    address = place[0].getsockname()
    for one in place:
        one.close()
    with sotto.Sotto(binary) as relay, tempfile.TemporaryDirectory() as folder:
        decoded, sdp = Path(folder) / "engine.wav", Path(folder) / "engine.sdp"
        host, port = address
        sdp.write_text(f"v=0\nc=IN IP4 {host}\nm=audio {port} RTP/AVP 0\na=rtpmap:0 PCMU/8000\n")
        command = ["ffmpeg", "-v", "error", "-y", "-protocol_whitelist", "file,udp,rtp"]
        command += ["-i", str(sdp), "-ac", "1", "-ar", "8000", "-c:a", "pcm_s16le", str(decoded)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(1)
        call = relay.open_call(sotto.offer(caller), address)
        caller.target = call.caller_port
        caller.start()
        time.sleep(1.5)
        call.enter()
        begun = time.time()
        caller.press(sotto.KEYS)
        result = call.wait_for("ended")["result"]
        held = time.time() - begun
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)  # while packets come: it looks only after each
        _, errors = process.communicate(timeout=20)
        call.close()
        caller.stop()
        samples = sotto.read_wav(decoded.read_bytes())[0]
    # ffmpeg calls an end by signal an error, but completes its file.
    checks.equal((result, process.returncode), ("pass", 255), f"verdict, exit code ({errors!r})")
    begin, end = longest_run(samples, 0)
    before, after = (sum(map(abs, part)) / max(1, len(part))
                     for part in (samples[:begin], samples[end:]))  # fmt: skip
    checks.figure(
        f"decoded by ffmpeg: {begin / 8000:.2f} s of voice (mean level {before:.0f}), "
        f"{(end - begin) / 8000:.2f} s all zero, {(len(samples) - end) / 8000:.2f} s of voice "
        f"(mean level {after:.0f}); the session lasted {held:.2f} s"
    )
    checks.expect((end - begin) / 8000 > held - 0.15, "as much silence as the session is long")
    checks.expect(min(before, after) > 100, "voice before and after")

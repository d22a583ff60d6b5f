"""Kamailio with Sotto in rtpengine's place: a baresip calls another one through both.

The caller speaks plain RTP. The callee is the engine of the call, called plain, with keys by SDES or
by DTLS: what it heard is the file that it keeps of what it decoded.
"""

import itertools
import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
import wave
from pathlib import Path

import baresip
import checks
import g711
import ng
import sotto

# How the callee is called, and the parameters of its account.
WAYS = {
    "plain": ("", "rtp"),
    "SDES": (";mediaenc=srtp-mand", "srtp"),
    "DTLS": (";mediaenc=dtls_srtp", "srtp"),
}
SETTINGS = f'[ng]\naddress = "{sotto.written(ng.NG)}"\n'
ENGINE_VOICE = 1000  # Hz
SOUND = 700  # Hz, of the file that is played
PART = 160  # samples: a packet
HUSHED = 8  # the loudest sample that is silence, in either law
_cookies = itertools.count()


class Kamailio:
    """The proxy, with the configuration beside this file."""

    def __enter__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="sotto-kamailio-"))
        command = [
            "kamailio", "-f", str(Path(__file__).with_suffix(".cfg")), "-DD", "-E",
            "-m", "64", "-M", "8", "-w", str(self._folder), "-Y", str(self._folder),
        ]  # fmt: skip
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        time.sleep(1)  # it tells nobody when it is up; who dials too early is not answered
        checks.equal(self._process.poll(), None, "kamailio's exit code at its start")
        return self

    def __exit__(self, kind, *_):
        if kind:
            print((self._folder / "log").read_text(errors="replace")[-2000:])
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder)


class Payment:
    """A call through the proxy, both telephones talking."""

    def __init__(self, binary, way, broken=False, settings=SETTINGS):
        account, self.transport = WAYS[way]
        self.way = way.lower()
        self.relay = sotto.Sotto(binary, settings=settings, broken=broken)
        self.proxy = Kamailio()
        self.callee = baresip.Baresip(f"{account};answermode=auto", 1, ENGINE_VOICE)
        self.caller = baresip.Baresip()

    def __enter__(self):
        for part in (self.relay, self.proxy, self.callee, self.caller):
            part.__enter__()
        self.caller.dial(self.way)
        self.call = Placed(self.relay, checks.wait_until(self._call, 10, "a call")["id"])
        checks.wait_until(self._talks, 10, "voice both ways")
        time.sleep(1)
        return self

    def __exit__(self, *error):
        for part in (self.caller, self.callee, self.proxy, self.relay):
            part.__exit__(*error)

    def legs(self):
        """Caller and engine, as REST shows them."""
        view = self.call.do("GET")
        return [view["legs"][side] for side in ("caller", "engine")]

    def hold(self):
        """Two re-INVITEs of the caller's, through the proxy, and voice both ways again."""
        self.caller.do("hold")
        time.sleep(0.5)
        self.caller.do("resume")
        time.sleep(0.5)
        before = self._received()
        checks.wait_until(
            lambda: all(now > then + 25 for now, then in zip(self._received(), before)),
            10, "voice both ways after a hold",
        )  # fmt: skip

    def see_through(self, enter):
        """A card keyed in a secure session, which `enter` begins: the span of the cut."""
        self.caller.press("5")
        checks.equal(self.callee.keys_heard(), 1, "control: keys that reach the callee in the open")
        enter(self.call)
        cut = time.time()
        self.caller.press(sotto.KEYS)
        verdict, still_cut = self.call.see_through()
        checks.equal(verdict, "pass", "verdict")
        time.sleep(1.5)
        checks.equal(self.callee.keys_heard(), 1, "keys that reached the callee")
        return still_cut - cut

    def hang_up(self):
        """The end, by the caller; what both have heard, in parts as long as a packet."""
        self.caller.do("hangup")
        checks.wait_until(
            lambda: self.call.do("GET")["state"] == "closed", 5, "the end of the call"
        )
        return [
            baresip.parts(checks.wait_until(phone.heard, 3, "what a telephone heard"), PART)
            for phone in (self.caller, self.callee)
        ]

    def _call(self):
        return next(iter(self.relay.request("GET", "/v1/calls")["data"]), None)

    def _received(self):
        return [leg["packets_received"] for leg in self.legs()]

    def _talks(self):
        return all(packets > 25 for packets in self._received())


class Placed(sotto.Call):
    """A call that a proxy has opened."""

    def __init__(self, relay, call):
        self.sotto, self.id, self.was_held = relay, call, False


def ask(command, **members):
    """The reply to one command of rtpengine's protocol."""
    cookie = b"peer%d" % next(_cookies)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(cookie + b" " + ng.bencode({"command": command, **members}), ng.NG)
        return client.recv(65536)


def enter_by_ng(call):
    """Enters a secure session by the protocol of proxies."""
    listed = ask("list")
    (call_id,) = (one.decode() for one in calls_in(listed))
    reply = ask("secure session", **{"call-id": call_id, "plan": json.dumps(sotto.PLAN)})
    checks.equal(ng.text_of(reply, "result"), "ok", "the reply once the cut is in force")
    checks.expect(call.session()["state"] != "ended", "the session, as REST knows it")


def calls_in(reply):
    """The texts of the list of calls in a bencoded reply."""
    rest = reply.split(b"5:callsl", 1)[1]
    while rest[:1] != b"e":
        length, rest = rest.split(b":", 1)
        yield rest[: int(length)]
        rest = rest[int(length) :]


def is_hushed(part):
    """Digital silence, in either law."""
    return max(map(abs, part)) <= HUSHED


def quiet_at(callee):
    """The silence that the callee heard, in seconds, how many packets in it were none, and the share
    of the caller's tone before it and after."""
    hushed = [at for at, part in enumerate(callee) if is_hushed(part)]
    begin, end = (hushed[0], hushed[-1] + 1) if hushed else (len(callee), len(callee))
    tones = [
        max([0, *(g711.power(one, baresip.VOICE) for one in baresip.parts(sum(part, []), 1600))])
        for part in (callee[:begin], callee[end:])
    ]
    return len(hushed) * PART / 8000, end - begin - len(hushed), tones


def secure(binary, way):
    """A card keyed through the proxy passes, and its callee hears not one sample of it."""
    # By the protocol of proxies once, else by REST.
    enter = enter_by_ng if way == "SDES" else sotto.Call.enter
    with Payment(binary, way) as payment:
        checks.equal(
            [leg["transport"] for leg in payment.legs()], ["rtp", payment.transport], "transports"
        )
        span = payment.see_through(enter)
        # What is heard behind a hold this baresip doesn't keep.
        payment.hold()
        caller, callee = payment.hang_up()
        quiet, loud, tones = quiet_at(callee)
        told = max(g711.power(one, ENGINE_VOICE) for one in baresip.parts(sum(caller, []), 1600))
        checks.figure(
            f"digital silence of {quiet:.1f} s at the callee in a cut of {span:.1f} s, {loud} packets "
            f"in it that are none; share of the caller's tone before it {tones[0]:.2f}, after it "
            f"{tones[1]:.2f}; of the callee's tone at the caller {told:.2f}"
        )
        checks.equal(loud, 0, "packets of the cut that are not silence at the callee")
        # On a busy machine a telephone plays less than it was sent.
        checks.expect(quiet > span / 2, "silence at the callee during the cut")
        checks.expect(min(*tones, told) > 0.9, "both tones around it")


def script(user, call_id, tag):
    """What Kamailio's script says to an OPTIONS of a party, which has it play, stop or press."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.bind(("127.0.0.1", 0))
        own = sotto.written(client.getsockname())
        number = next(_cookies)
        lines = [
            f"OPTIONS sip:{user}@127.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/UDP {own};branch=z9hG4bK{number}",
            f"From: <sip:script@127.0.0.1>;tag={tag}", "To: <sip:script@127.0.0.1>",
            f"Call-ID: {call_id}", f"CSeq: {number + 1} OPTIONS", "Max-Forwards: 10",
            "Content-Length: 0", "", "",
        ]  # fmt: skip
        client.sendto("\r\n".join(lines).encode(), ("127.0.0.1", 5060))
        return client.recv(65536).split(b"\r\n")[0].decode()


def spans(heard, hertz):
    """Seconds of what was heard in which a tone is most of it."""
    seconds = baresip.parts(sum(heard, []), 800)
    return sum(g711.power(one, hertz) > 0.8 for one in seconds) / 10


def plays(binary, way):
    """Kamailio's play_media, stop_media and play_dtmf: a caller hears a file in place of its callee,
    who hears the caller's keys."""
    with tempfile.TemporaryDirectory(prefix="sotto-media-") as folder:
        with wave.open(f"{folder}/hello.wav", "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            samples = g711.tone([SOUND / 2], 6000, 8000)  # at twice the rate: half a second
            file.writeframes(b"".join(one.to_bytes(2, "little", signed=True) for one in samples))
        settings = f'{SETTINGS}media_directory = "{folder}"\n'
        with Payment(binary, way, settings=settings) as payment:
            (call_id,) = (one.decode() for one in calls_in(ask("list")))
            reply = ask("query", **{"call-id": call_id})
            caller, callee = tags_in(reply)
            checks.equal(script("play", call_id, "nobody")[8:11], "500", "a party of no call")
            said = script("play", call_id, caller)
            checks.equal(said, "SIP/2.0 200 500", "the reply, with the sound's length in ms")
            time.sleep(3)
            checks.equal(script("stop", call_id, caller)[8:11], "200", "the reply to its end")
            time.sleep(2)
            for key in ("5", "11", "7"):
                checks.equal(script(key, call_id, caller)[8:11], "200", "the reply to a key")
            checks.wait_until(
                lambda: payment.callee.keys_heard() == 3, 5, "the caller's keys at the callee"
            )
            entered = time.time()
            payment.call.enter()
            checks.equal(script("play", call_id, callee)[8:11], "500", "a sound in a session")
            checks.equal(script("9", call_id, caller)[8:11], "500", "a key in a session")
            payment.caller.press(sotto.KEYS)
            checks.equal(payment.call.see_through()[0], "pass", "verdict")
            checks.equal(payment.callee.keys_heard(), 3, "keys at the callee")
            held = time.time() - entered
            heard, _ = payment.hang_up()
        sound, voice = spans(heard, SOUND), spans(heard, ENGINE_VOICE)
        checks.figure(
            f"the caller heard {sound:.1f} s of the file, {voice:.1f} s of the callee, in a call "
            f"with a session of {held:.1f} s"
        )
        # It plays for three seconds; on a busy machine a telephone hears less than it was sent.
        checks.expect(2 < sound < 3.6, "the file, for as long as it played")
        checks.expect(voice > 2, "the callee, before and after")


def tags_in(reply):
    """The tags of the caller and of the callee in a bencoded reply to a query."""
    tags = [
        reply[found.end() : found.end() + int(found[1])].decode()
        for found in re.finditer(rb"3:tag(\d+):", reply)
    ]
    roles = [found.decode() for found in re.findall(rb"4:role6:(caller|engine)", reply)]
    party = dict(zip(roles, tags, strict=True))
    return party["caller"], party["engine"]


def control(sabotaged):
    """What looks for silence at the callee finds a relay that does not mask."""
    with Payment(sabotaged, "SDES", broken=True) as payment:
        payment.call.enter()
        time.sleep(4)
        _, callee = payment.hang_up()
        quiet, _, _ = quiet_at(callee)
        checks.figure(f"digital silence of {quiet:.1f} s at the callee in a cut of 4 s")
        checks.expect(quiet < 1, "a callee that hears the caller in the cut")

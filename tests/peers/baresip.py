"""baresip as caller: a real phone, plain, with SDES-SRTP and with DTLS-SRTP, driven over its control
port."""

import json
import shutil
import socket
import subprocess
import tempfile
import time
import wave
from pathlib import Path

import checks
import g711
import sip_gateway
import sotto
from sipp import check_silence

SIP_PORT, CONTROL_PORT, MEDIA_PORT = 5084, 4481, 33000  # of the first
VOICE = 440  # Hz
KEY_TIME = 0.3  # seconds from key to key

# Parameters of the account, and the profile by which it then calls. As an offerer, this baresip
# knows one suite of SDES; with DTLS it shakes hands on the port of RTCP too, which Sotto lets be.
MODES = {
    "plain RTP": ("", "RTP/AVP"),
    "SRTP": (";mediaenc=srtp-mand", "RTP/SAVP"),
    "DTLS": (";mediaenc=dtls_srtp", "UDP/TLS/RTP/SAVPF"),
}

CONFIG = """poll_method epoll
sip_listen 127.0.0.1:{sip}
call_local_timeout 120
call_max_calls 4
audio_player aubridge,null
audio_source aufile,{folder}/voice.wav
audio_alert aubridge,alert
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
audio_buffer 20-160
rtp_ports {media}-{media_end}
rtcp_mux no
jitter_buffer_delay 0-10
net_interface 127.0.0.1
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
module dtls_srtp.so
module_tmp uuid.so
module_tmp account.so
module_app ctrl_tcp.so
module_app menu.so
module_app debug_cmd.so
ctrl_tcp_listen 127.0.0.1:{control}
snd_path {folder}
"""


class Baresip:
    """A baresip process; in a `with` block it is up and can dial. Several have numbers from 0."""

    def __init__(self, account="", number=0, voice=VOICE):
        self._account, self._voice = account, voice
        self.sip_port, self._control_port = SIP_PORT + 6 * number, CONTROL_PORT + number
        self._media_port, self._said = MEDIA_PORT + 200 * number, b""

    def __enter__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="sotto-baresip-"))
        config = CONFIG.format(
            sip=self.sip_port, control=self._control_port, folder=self._folder,
            media=self._media_port, media_end=self._media_port + 100,
        )  # fmt: skip
        (self._folder / "config").write_text(config)
        account = f"<sip:phone@127.0.0.1>;regint=0;audio_codecs=pcmu,pcma;ptime=20{self._account}"
        (self._folder / "accounts").write_text(account + "\n")
        (self._folder / "contacts").write_text("")
        with wave.open(str(self._folder / "voice.wav"), "wb") as voice:
            voice.setparams((1, 2, 8000, 0, "NONE", ""))
            samples = g711.tone([self._voice], 6000, 60 * 8000)
            voice.writeframes(b"".join(one.to_bytes(2, "little", signed=True) for one in samples))
        with (self._folder / "log").open("wb") as log:
            command = ["baresip", "-f", str(self._folder), "-v"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._control = checks.wait_until(self._connect, 10, "baresip's control port")
        return self

    def __exit__(self, kind, *_):
        if kind:
            print((self._folder / "log").read_text(errors="replace")[-1500:])
        self._process.terminate()
        self._process.wait(10)
        self._control.close()
        shutil.rmtree(self._folder)

    def do(self, command, parameters=""):
        """One command of baresip's, as its control port takes it: a netstring of JSON."""
        text = json.dumps({"command": command, "params": parameters, "token": "t"})
        self._control.sendall(f"{len(text)}:{text},".encode())
        time.sleep(0.05)
        self._said += self._control.recv(65536)  # answers and events

    def log(self):
        """What it has said."""
        return (self._folder / "log").read_text(errors="replace")

    def keys_heard(self):
        """How many keys of the other side it has been told of, by events."""
        self.do("about")  # whatever it is, its answer comes behind the events of before
        return self._said.count(b"CALL_DTMF_START")

    def dial(self, who="pay", at=sip_gateway.ADDRESS):
        """Calls the gateway, or what stands in its place."""
        self.do("dial", f"sip:{who}@{sotto.written(at)}")

    def press(self, keys):
        """Keys digits, one after the other."""
        for key in keys:
            self.do("sndcode", key)
            time.sleep(KEY_TIME - 0.05)

    def heard(self):
        """What it decoded, from the file that it keeps of a call once that has ended."""
        (file,) = self._folder.glob("dump-*-dec.wav")
        return sotto.read_wav(file.read_bytes())[0]

    def _connect(self):
        try:
            return socket.create_connection(("127.0.0.1", self._control_port), 5)
        except OSError:
            return None


class Payment:
    """A call from baresip through the gateway, in which a secure session runs.

    `bot` makes of the running relay an engine that is none over RTP.
    """

    def __init__(self, binary, mode="plain RTP", bot=None, **options):
        self.relay = sotto.Sotto(binary, **options)
        self.gateway = sip_gateway.Gateway(self.relay)
        account, self.profile = MODES[mode]
        self.phone = Baresip(account)
        self._bot = bot

    def __enter__(self):
        for part in (self.relay, self.gateway, self.phone):
            part.__enter__()
        if self._bot:
            self.gateway.answer = self._bot(self.relay).answer
        self.phone.dial()
        self.dialog = self.gateway.calls.get(timeout=10)
        self.call = self.dialog.call
        time.sleep(1.5)
        return self

    def __exit__(self, *error):
        for part in (self.phone, self.gateway, self.relay):
            part.__exit__(*error)
        checks.equal(self.gateway.failures, [], "what the gateway could not do")

    def enter(self):
        """Enters a secure session."""
        self.call.enter()
        self.cut = time.time()

    def end(self, result):
        """Waits for the verdict and the reopening, lets some voice through, and hangs up."""
        verdict, self.still_cut = self.call.see_through()
        checks.equal(verdict, result, "verdict")
        time.sleep(2)
        self.hang_up()

    def hang_up(self):
        """Ends the call from the phone."""
        self.phone.do("hangup")
        checks.expect(self.dialog.ended.wait(5), "a BYE")

    def check_both_directions(self):
        """The engine heard the phone's tone, and the phone the engine's."""
        payload_type = self.dialog.engine.payload_type
        before = [packet.payload for packet in self.dialog.engine.heard if packet.at < self.cut]
        at_engine = g711.decode(b"".join(before[-40:-10]), payload_type)
        checks.wait_until(self.phone.heard, 3, "what the phone heard")
        at_phone = max(
            g711.power(part, self.dialog.engine.VOICE)
            for part in parts(self.phone.heard()[:16000], 1600)
        )
        checks.figure(
            f"share of the other side's tone: {g711.power(at_engine, VOICE):.2f} at the engine, "
            f"{at_phone:.2f} at the phone"
        )
        checks.expect(g711.power(at_engine, VOICE) > 0.9 and at_phone > 0.9, "both tones")


def parts(samples, length):
    """Whole parts of a length."""
    return [samples[at : at + length] for at in range(0, len(samples) - length + 1, length)]


def card(binary, mode):
    """A card keyed on the phone passes; the engine hears the phone before and after only."""
    with Payment(binary, mode) as payment:
        checks.expect(f" {payment.profile} " in payment.call.answer, "its profile in the answer")
        payment.enter()
        payment.phone.press(sotto.KEYS)
        payment.end("pass")
        check_silence(payment.dialog, payment.cut, payment.still_cut)
        payment.check_both_directions()


def twice(binary):
    """A number whose check digit is wrong, then the right one: one more attempt, then a pass."""
    with Payment(binary) as payment:
        payment.enter()
        payment.phone.press(sotto.CARD[:-1] + "1#")
        session = payment.call.session()
        checks.equal(session["attempt"], 2, "attempt")
        payment.phone.press(sotto.KEYS)
        payment.end("pass")
        check_silence(payment.dialog, payment.cut, payment.still_cut)


def hold(binary):
    """Two re-INVITEs in the middle of a card: the cut and what was keyed outlast them."""
    with Payment(binary) as payment:
        payment.enter()
        payment.phone.press(sotto.KEYS[:7])
        payment.phone.do("hold")
        time.sleep(0.5)
        payment.phone.do("resume")
        time.sleep(0.5)
        payment.phone.press(sotto.KEYS[7:])
        payment.end("pass")
        offers = payment.dialog.offers
        checks.expect(any("a=sendonly" in one or "a=inactive" in one for one in offers), "a hold")
        checks.equal(len(offers), 3, "offers")
        check_silence(payment.dialog, payment.cut, payment.still_cut)


def hang_up(binary):
    """The caller leaves in the middle of a card: the session fails, the recording stays masked."""
    with Payment(binary) as payment:
        payment.enter()
        payment.phone.press(sotto.KEYS[:7])
        payment.hang_up()
        session = payment.call.wait_for("ended", 5)
        checks.equal(session["result"], "fail", "verdict")
        checks.equal(payment.call.do("GET")["state"], "closed", "state of the call")
        ended = time.time()
        heard = [one for one in payment.dialog.engine.heard if payment.cut + 0.05 < one.at < ended]
        loud = sum(len(one.payload) - one.payload.count(g711.SILENCE[0]) for one in heard)
        caller, _ = payment.call.recording()
        tail = caller[-int((ended - payment.cut - 0.5) * 8000) :]
        checks.figure(f"{loud} loud octets at the engine, {sum(map(bool, tail))} in the recording")
        checks.expect(heard, "silence at the engine while the caller keyed")
        checks.equal((loud, any(tail)), (0, False), "what came through the cut")

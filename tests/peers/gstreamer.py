"""GStreamer as caller and engine over SRTP: libsrtp at both ends, in every suite Sotto speaks."""

import base64
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import checks
import g711
import party
import sotto
from sipp import longest_run

VOICE = 440  # Hz
# By suite: octets of key and salt, and GStreamer's names of cipher and authentication.
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (30, "aes-128-icm", "hmac-sha1-80"),
    "AES_CM_128_HMAC_SHA1_32": (30, "aes-128-icm", "hmac-sha1-32"),
    "AEAD_AES_128_GCM": (28, "aes-128-gcm", "null"),
    "AEAD_AES_256_GCM": (44, "aes-256-gcm", "null"),
}


def launch(pipeline):
    """A gst-launch process, which ends its stream well on SIGINT."""
    command = ["gst-launch-1.0", "-q", "-e", *pipeline.split()]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def finish(process):
    """Ends a pipeline."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    checks.equal(process.returncode, 0, f"exit code of gst-launch, which says {errors!r}")


class Tap(threading.Thread):
    """Keeps the datagrams that come to a port, for what decodes them later."""

    def __init__(self):
        super().__init__(daemon=True)
        self._rtp, self._rtcp = party.bind_pair()
        self._rtp.settimeout(0.1)
        self.address, self.datagrams = self._rtp.getsockname(), []
        self._stopping = False

    def run(self):
        """Receives until stopped."""
        while not self._stopping:
            try:
                self.datagrams.append(self._rtp.recv(2048))
            except TimeoutError:
                continue

    def stop(self):
        """Receives no more."""
        self._stopping = True
        self.join()
        self._rtp.close()
        self._rtcp.close()


def speak(suite, key, port, target):
    """A caller: a steady tone in packets of 20 ms."""
    _, cipher, authentication = SUITES[suite]
    return launch(
        f"audiotestsrc is-live=true freq={VOICE} samplesperbuffer=160 "
        "! audio/x-raw,rate=8000,channels=1 ! mulawenc "
        "! rtppcmupay min-ptime=20000000 max-ptime=20000000 "
        f"! srtpenc key={key.hex()} rtp-cipher={cipher} rtp-auth={authentication} "
        f"rtcp-cipher={cipher} rtcp-auth={authentication} "
        f"! udpsink host={target[0]} port={target[1]} bind-address=127.0.0.1 bind-port={port}"
    )


def decode(suite, key, datagrams):
    """Samples of the voice in SRTP packets, as GStreamer decrypts and decodes them."""
    _, cipher, authentication = SUITES[suite]
    ssrc = int.from_bytes(datagrams[0][8:12])  # in clear in every packet
    (rtp, rtcp), sender = party.bind_pair(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    host, port = rtp.getsockname()
    rtp.close()
    rtcp.close()
    with tempfile.TemporaryDirectory(prefix="sotto-gst-") as folder:
        wav = Path(folder) / "engine.wav"
        process = launch(
            f"udpsrc address={host} port={port} buffer-size=4000000 caps=application/x-srtp,"
            f"media=audio,clock-rate=8000,encoding-name=PCMU,payload=0,ssrc=(uint){ssrc},"
            f"srtp-key=(buffer){key.hex()},srtp-cipher={cipher},srtp-auth={authentication},"
            f"srtcp-cipher={cipher},srtcp-auth={authentication} "
            f"! srtpdec ! rtppcmudepay ! mulawdec ! wavenc ! filesink location={wav}"
        )
        time.sleep(1)
        for datagram in datagrams:
            sender.sendto(datagram, (host, port))
            time.sleep(0.001)
        time.sleep(0.5)
        finish(process)
        return sotto.read_wav(wav.read_bytes())[0]


def srtp(binary, suite):
    """Voice, digital silence, voice: sent and decoded by GStreamer, with other keys each way."""
    length = SUITES[suite][0]
    caller_key, send_key, receive_key = (os.urandom(length) for _ in range(3))
    place, tap = party.bind_pair(), Tap()
    address = place[0].getsockname()
    for one in place:
        one.close()
    inline = base64.b64encode(caller_key).decode()
    offer = sotto.offer(
        SimpleNamespace(address=address), "RTP/SAVP", f"a=crypto:1 {suite} inline:{inline}"
    )
    keys = {
        "suite": suite,
        "send_key": base64.b64encode(send_key).decode(),
        "receive_key": base64.b64encode(receive_key).decode(),
    }
    with sotto.Sotto(binary) as relay:
        call = relay.open_call(offer, tap.address, engine_options={"srtp": keys})
        checks.expect(f" {suite} inline:" in call.answer, "the suite in the answer")
        checks.expect(inline not in call.answer, "another key in the answer")
        tap.start()
        caller = speak(suite, caller_key, address[1], call.caller_port)
        time.sleep(2)
        call.enter()
        begun = time.time()
        for key in sotto.KEYS:
            call.do("POST", "/dtmf", {"digit": key})
            time.sleep(0.1)
        result = call.wait_for("ended")["result"]
        held = time.time() - begun
        time.sleep(1.5)
        call.close()
        finish(caller)
        tap.stop()
    samples = decode(suite, send_key, tap.datagrams)
    begin, end = longest_run(samples, 0)
    voices = samples[:begin][-8000:], samples[end : end + 8000]
    tones = [g711.power(voice, VOICE) for voice in voices]
    checks.figure(
        f"{len(tap.datagrams)} packets, {len(samples) / 8000:.2f} s decrypted: tone's share "
        f"{tones[0]:.2f} before, {(end - begin) / 8000:.2f} s all zero, {tones[1]:.2f} after; the "
        f"session lasted {held:.2f} s"
    )
    checks.equal(result, "pass", "verdict")
    checks.equal(len(samples), 160 * len(tap.datagrams), "samples of the packets sent")
    checks.expect((end - begin) / 8000 > held - 0.15, "as much silence as the session is long")
    checks.expect(min(tones) > 0.9, "the tone before and after")

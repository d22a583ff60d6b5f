"""A WHIP client of GStreamer's webrtcbin: says 440 Hz and writes what it hears into a WAV at 8 kHz.

usage: /usr/bin/python3 webrtcbin.py URL KEY WAV PCMU|OPUS; ends on SIGINT, and prints the states it was in.
"""

import signal
import sys
import urllib.request

from gi.repository import GLib
from peer import Gst, Peer

VOICE = {
    "PCMU": "audiotestsrc is-live=true freq=440 samplesperbuffer=160 "
    "! audio/x-raw,rate=8000,channels=1 "
    "! mulawenc ! rtppcmupay pt=0 min-ptime=20000000 max-ptime=20000000 "
    "! application/x-rtp,media=audio,encoding-name=PCMU,payload=0,clock-rate=8000",
    "OPUS": "audiotestsrc is-live=true freq=440 samplesperbuffer=960 "
    "! audio/x-raw,rate=48000,channels=1 "
    "! opusenc frame-size=20 ! rtpopuspay pt=111 "
    "! application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,"
    "encoding-params=(string)2",
}
EAR = {"PCMU": "rtppcmudepay ! mulawdec", "OPUS": "rtpopusdepay ! opusdec"}


class Client(Peer):
    """One call, from the offer to the end."""

    def __init__(self, url, key, wav, codec):
        super().__init__(VOICE[codec])
        self.url, self.key, self.wav, self.codec = url, key, wav, codec
        self.location, self.loop = None, GLib.MainLoop()

    def run(self):
        """Talks until interrupted."""
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGINT, self.loop.quit)
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        if self.location:
            self.ask("DELETE", self.location)
        # The WAV gets its length at the end of the stream.
        self.pipeline.send_event(Gst.Event.new_eos())
        self.pipeline.get_bus().timed_pop_filtered(2 * Gst.SECOND, Gst.MessageType.EOS)
        self.pipeline.set_state(Gst.State.NULL)

    def offered(self, sdp):
        """To the relay with it."""
        answer = self.ask("POST", self.url, sdp.encode())
        self.location = answer.headers["Location"]
        self.accept(answer.read().decode())

    def heard(self, pad):
        """Into the file."""
        self.play_into(
            f"{EAR[self.codec]} ! audioconvert ! audioresample "
            f"! audio/x-raw,format=S16LE,rate=8000,channels=1 "
            f"! wavenc ! filesink location={self.wav}", pad
        )

    def changed(self, state):
        """Tells how the connection stands."""
        print(state, flush=True)

    def ask(self, method, url, body=None):
        """A request as RFC 9725 has it."""
        if url.startswith("/"):
            url = "/".join(self.url.split("/")[:3]) + url
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/sdp"}
        return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method))


Client(*sys.argv[1:5]).run()

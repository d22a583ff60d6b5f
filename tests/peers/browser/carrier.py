"""Carries RTP that is made elsewhere through GStreamer's webrtcbin: ICE, DTLS and SRTP around it.

usage: /usr/bin/python3 carrier.py PORT SSRC PCMU|OPUS
What comes to the UDP port of loopback goes to the relay as it is, its type of payload too. Prints
the offer as a line of JSON, takes the answer as another, then prints the states of the connection,
a line each; ends with its input.
"""

import json
import queue
import sys

from peer import Gst, Peer

CODECS = {
    "PCMU": "encoding-name=PCMU,payload=0,clock-rate=8000",
    "OPUS": "encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2",
}


class Carrier(Peer):
    """One call's packets."""

    def __init__(self, port, ssrc, codec):
        caps = f"application/x-rtp,media=audio,ssrc=(uint){ssrc},{CODECS[codec]}"
        # Told by the source itself, so that there is an offer before there is a packet.
        super().__init__(f'udpsrc address=127.0.0.1 port={port} caps="{caps}"')
        self._offers = queue.SimpleQueue()

    def run(self):
        """Carries until there is nobody who wants it."""
        self.pipeline.set_state(Gst.State.PLAYING)
        print(json.dumps(self._offers.get(timeout=30)), flush=True)
        if answer := sys.stdin.readline():
            self.accept(json.loads(answer))
            sys.stdin.read()
        self.pipeline.set_state(Gst.State.NULL)

    def offered(self, sdp):
        """For `run`, so that the answer is waited for in no thread of the pipeline's."""
        self._offers.put(sdp)

    def heard(self, pad):
        """Nobody listens here."""
        self.play_into("fakesink", pad)

    def changed(self, state):
        """Tells how the connection stands."""
        print(state, flush=True)


Carrier(*sys.argv[1:4]).run()

"""A WHIP client of GStreamer's webrtcbin: says 440 Hz and writes what it hears into a WAV at 8 kHz.

usage: /usr/bin/python3 webrtcbin.py URL KEY WAV PCMU|OPUS; ends on SIGINT, and prints the states it was in.
Needs python3-gst-1.0, gir1.2-gst-plugins-bad-1.0 and gstreamer1.0-nice.
"""

import signal
import sys
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

VOICE = {
    "PCMU": "audiotestsrc is-live=true freq=440 samplesperbuffer=160 "
    "! audio/x-raw,rate=8000,channels=1 "
    "! mulawenc ! rtppcmupay pt=0 min-ptime=20000000 max-ptime=20000000 "
    "! application/x-rtp,media=audio,encoding-name=PCMU,payload=0,clock-rate=8000 ! w. ",
    "OPUS": "audiotestsrc is-live=true freq=440 samplesperbuffer=960 "
    "! audio/x-raw,rate=48000,channels=1 "
    "! opusenc frame-size=20 ! rtpopuspay pt=111 "
    "! application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,"
    "encoding-params=(string)2 ! w. ",
}
EAR = {"PCMU": "rtppcmudepay ! mulawdec", "OPUS": "rtpopusdepay ! opusdec"}
BROWSER = "webrtcbin name=w bundle-policy=max-bundle"


class Client:
    """One call, from the offer to the end."""

    def __init__(self, url, key, wav, codec):
        self.url, self.key, self.wav, self.codec = url, key, wav, codec
        self.pipeline = Gst.parse_launch(VOICE[codec] + BROWSER)
        self.webrtc = self.pipeline.get_by_name("w")
        # Kept: the one that is handed out is not counted, and would be gone with its last name.
        self.ice = self.webrtc.get_property("ice-agent")
        self.ice.emit("add-local-ip-address", "127.0.0.1")
        self.webrtc.connect("on-negotiation-needed", self.negotiate)
        self.webrtc.connect("notify::ice-gathering-state", self.gathered)
        self.webrtc.connect("notify::connection-state", self.changed)
        self.webrtc.connect("pad-added", self.heard)
        self.location, self.kept = None, []
        self.loop = GLib.MainLoop()

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

    def negotiate(self, _):
        """An offer is wanted."""

        def made(promise, *_):
            promise.wait()
            reply = promise.get_reply()
            offer = reply["offer"]
            # The offer is a part of the reply, and that of the promise.
            self.kept += [promise, reply, offer]
            self.webrtc.emit("set-local-description", offer, Gst.Promise.new())

        self.webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(made, None))

    def gathered(self, *_):
        """All candidates are in the offer: it goes to the relay."""
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if self.webrtc.get_property("ice-gathering-state") != complete or self.location:
            return
        offer = self.webrtc.get_property("local-description").sdp.as_text()
        answer = self.ask("POST", self.url, offer.encode())
        self.location = answer.headers["Location"]
        _, sdp = GstSdp.SDPMessage.new_from_text(answer.read().decode())
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        described = GstWebRTC.WebRTCSessionDescription.new(kind, sdp)
        self.webrtc.emit("set-remote-description", described, Gst.Promise.new())

    def heard(self, _, pad):
        """The relay speaks: into the file."""
        if pad.direction != Gst.PadDirection.SRC:
            return
        sink = Gst.parse_bin_from_description(
            f"{EAR[self.codec]} ! audioconvert ! audioresample "
            f"! audio/x-raw,format=S16LE,rate=8000,channels=1 "
            f"! wavenc ! filesink location={self.wav}", True
        )
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def changed(self, *_):
        """Tells how the connection stands."""
        print(self.webrtc.get_property("connection-state").value_nick, flush=True)

    def ask(self, method, url, body=None):
        """A request as RFC 9725 has it."""
        if url.startswith("/"):
            url = "/".join(self.url.split("/")[:3]) + url
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/sdp"}
        return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method))


Gst.init(None)
Client(*sys.argv[1:5]).run()

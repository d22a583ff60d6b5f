"""Peer: one webrtcbin of GStreamer with a description of what it says, from the offer to the end.

Needs python3-gst-1.0, gir1.2-gst-plugins-bad-1.0 and gstreamer1.0-nice.
"""

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402

BROWSER = "webrtcbin name=w bundle-policy=max-bundle"


class Peer:
    """Offers once it plays; subclasses bring the offer to a relay and the answer back."""

    def __init__(self, voice):
        """`voice` is a pipeline as text, which ends in RTP."""
        self.pipeline = Gst.parse_launch(f"{voice} ! w. {BROWSER}")
        self.webrtc = self.pipeline.get_by_name("w")
        # Kept: the one that is handed out is not counted, and would be gone with its last name.
        self.ice = self.webrtc.get_property("ice-agent")
        self.ice.emit("add-local-ip-address", "127.0.0.1")
        # It asks no router for a port: it would bind some of its own for that.
        self.ice.get_property("agent").set_property("upnp", False)
        self.webrtc.connect("on-negotiation-needed", self._negotiate)
        self.webrtc.connect("notify::ice-gathering-state", self._gathered)
        self.webrtc.connect("notify::connection-state", self._changed)
        self.webrtc.connect("pad-added", self._heard)
        self._has_offered, self._kept = False, []

    def offered(self, sdp):
        """All candidates are in the offer, which is text: it can go to the relay."""
        raise NotImplementedError

    def changed(self, state):
        """The connection stands otherwise than before."""
        raise NotImplementedError

    def heard(self, pad):
        """The relay speaks, as RTP out of this pad."""
        raise NotImplementedError

    def accept(self, sdp):
        """Takes the relay's answer, which is text."""
        _, message = GstSdp.SDPMessage.new_from_text(sdp)
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        described = GstWebRTC.WebRTCSessionDescription.new(kind, message)
        self.webrtc.emit("set-remote-description", described, Gst.Promise.new())

    def play_into(self, description, pad):
        """Plays what comes out of a pad into a pipeline's end, given as text."""
        sink = Gst.parse_bin_from_description(description, True)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def _negotiate(self, _):
        """An offer is wanted."""

        def made(promise, *_):
            promise.wait()
            reply = promise.get_reply()
            offer = reply["offer"]
            # The offer is a part of the reply, and that of the promise.
            self._kept += [promise, reply, offer]
            self.webrtc.emit("set-local-description", offer, Gst.Promise.new())

        self.webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(made, None))

    def _gathered(self, *_):
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if self.webrtc.get_property("ice-gathering-state") == complete and not self._has_offered:
            self._has_offered = True
            self.offered(self.webrtc.get_property("local-description").sdp.as_text())

    def _changed(self, *_):
        self.changed(self.webrtc.get_property("connection-state").value_nick)

    def _heard(self, _, pad):
        if pad.direction == Gst.PadDirection.SRC:
            self.heard(pad)


Gst.init(None)

"""Web keyer: a keyer whose packets go through a browser's ICE, DTLS and SRTP, in PCMU or Opus."""

import json
import queue
import re
import struct
import subprocess
import threading
from pathlib import Path

import checks
import g711
import keyer
import opus
import party
import rtp

CARRIER = Path(__file__).with_name("browser") / "carrier.py"
PATIENCE = 30  # seconds for a process that starts beside fifty calls
# By codec: types of the voice's payload and of key events, and how many of the clock's ticks one of
# 8 kHz is: events have the clock of the voice.
TYPES = {"PCMU": (0, rtp.EVENT_TYPE, 1), "OPUS": (111, 110, 6)}


class WebKeyer(keyer.Keyer):
    """A caller in a browser. What it has `sent` is told as a telephone would have sent it."""

    def __init__(self, number, level, twist, codec):
        super().__init__(number, 0, level, twist)
        self._voice_type, self._event_type, self._ticks_each = TYPES[codec]
        self._encoder = opus.Encoder() if codec == "OPUS" else None
        # The carrier has a port of a pair of this process' own.
        entrance, other = party.bind_pair()
        self._entrance = entrance.getsockname()
        entrance.close()
        other.close()
        command = ["/usr/bin/python3", CARRIER, str(self._entrance[1]), str(self.ssrc), codec]
        self._carrier = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._says = queue.SimpleQueue()
        threading.Thread(target=self._follow, daemon=True).start()

    def offer(self):
        """The offer of webrtcbin, which has no key events, with key events."""
        sdp, kind = json.loads(self._says.get(timeout=PATIENCE)), self._event_type
        lines = f"a=rtpmap:{kind} telephone-event/{8000 * self._ticks_each}\r\na=fmtp:{kind} 0-15"
        return re.sub(r"(m=audio [^\r]*)", rf"\1 {kind}", sdp).rstrip() + f"\r\n{lines}\r\n"

    def connect(self, call):
        """Returns once ICE and DTLS are done."""
        checks.expect(f"a=rtpmap:{self._event_type} telephone-event" in call.answer,
                      f"key events in the answer: {call.answer}")  # fmt: skip
        # Of what webrtcbin has not offered it is not told.
        known = re.sub(rf"a=(rtpmap|fmtp):{self._event_type} [^\r]*\r\n", "", call.answer)
        known = re.sub(rf"(m=audio [^\r]*) {self._event_type}\b", r"\1", known)
        self._carrier.stdin.write(json.dumps(known) + "\n")
        self._carrier.stdin.flush()
        while (state := self._says.get(timeout=PATIENCE)) != "connected":
            checks.expect(state in ("new", "connecting"), f"a connection of the browser's: {state}")
        self.target = self._entrance

    def sealed(self, datagram):
        """The packet as a browser has it; the carrier seals it."""
        packet = rtp.Packet.read(0, None, datagram)
        kind, payload = self._voice_type, packet.payload
        if packet.payload_type == rtp.EVENT_TYPE:
            code, flags, duration = struct.unpack(">BBH", payload)
            kind = self._event_type
            payload = struct.pack(">BBH", code, flags, duration * self._ticks_each)
        elif self._encoder:
            payload = self._encoder.encode(g711.decode(payload))
        timestamp = packet.timestamp * self._ticks_each
        return rtp.write(kind, packet.sequence, timestamp, packet.ssrc, payload, packet.marker)

    def stop(self):
        """Ends the party, and the carrier with it."""
        super().stop()
        self._carrier.stdin.close()
        try:
            self._carrier.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._carrier.kill()

    def _follow(self):
        for line in self._carrier.stdout:
            self._says.put(line.strip())
        self._says.put("the carrier has ended")

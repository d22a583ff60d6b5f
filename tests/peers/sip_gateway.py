"""SIP gateway: answers calls over UDP and hands their media to Sotto, as a small PBX would.

INVITE opens a call, another one re-offers, INFO carries keys, BYE closes. Messages are answered
at once and never sent again: on loopback nothing is lost.
"""

import queue
import re
import socket
import threading

import party
import sotto

ADDRESS = ("127.0.0.1", 5060)
TAG = "sotto-gateway"


class Request:
    """One SIP request, read as far as a gateway needs it."""

    def __init__(self, text):
        head, _, self.body = text.partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        self.method, _ = start.split(" ", 1)
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]

    def all(self, *names):
        """Values of a header by its long or short name, in order."""
        return [value for name, value in self.headers if name.lower() in names]

    def first(self, *names):
        """The first of them, or nothing."""
        return next(iter(self.all(*names)), "")

    def response(self, status, body=""):
        """The text that answers it."""
        to = self.first("to", "t")
        lines = [f"SIP/2.0 {status}"]
        lines += [f"Via: {via}" for via in self.all("via", "v")]
        lines += [f"Record-Route: {route}" for route in self.all("record-route")]
        lines += [
            f"From: {self.first('from', 'f')}",
            f"To: {to}" if "tag=" in to else f"To: {to};tag={TAG}",
            f"Call-ID: {self.first('call-id', 'i')}",
            f"CSeq: {self.first('cseq')}",
            f"Contact: <sip:gateway@{sotto.written(ADDRESS)}>",
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        lines.append(f"Content-Length: {len(body.encode())}")
        return "\r\n".join([*lines, "", body])


class Dialog:
    """One answered call: its SIP side, its engine and its call in Sotto."""

    def __init__(self, call, engine, offer):
        self.call, self.engine = call, engine
        self.offers = [offer]
        self.ended = threading.Event()


def answer_by_rtp(relay, offer):
    """A call to an engine over RTP, and that engine, which speaks at once."""
    engine = party.Engine()
    call = relay.open_call(offer, engine.address, engine.payload_type)
    engine.target = call.engine_port
    engine.start()
    return call, engine


class Gateway(threading.Thread):
    """The answering party. Each new call appears in `calls` as a Dialog.

    `answer` makes of an offer a call and the engine that it goes to.
    """

    def __init__(self, relay, answer=answer_by_rtp):
        super().__init__(daemon=True)
        self.answer = answer
        self.relay, self.calls, self.failures = relay, queue.Queue(), []
        self._dialogs = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(ADDRESS)
        self._socket.settimeout(0.2)
        self._stopping = False

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._stopping = True
        self.join()
        self._socket.close()
        for dialog in self._dialogs.values():
            dialog.engine.stop()

    def run(self):
        """Answers requests until stopped."""
        while not self._stopping:
            try:
                datagram, source = self._socket.recvfrom(65536)
            except TimeoutError:
                continue
            text = datagram.decode(errors="replace")
            if text.startswith("SIP/2.0") or not text.strip():
                continue
            answer = self._answer(Request(text))
            if answer:
                self._socket.sendto(answer.encode(), source)

    def _answer(self, request):
        handlers = {
            "INVITE": self._invite, "BYE": self._bye, "INFO": self._info,
            "CANCEL": self._done, "OPTIONS": self._done, "ACK": lambda *_: None,
        }  # fmt: skip
        handler = handlers.get(request.method)
        if handler is None:
            return request.response("405 Method Not Allowed")
        try:
            return handler(request, self._dialogs.get(request.first("call-id", "i")))
        except Exception as error:  # told to the peer, and to the scenario by `failures`
            self.failures.append(error)
            return request.response("488 Not Acceptable Here")

    def _invite(self, request, dialog):
        offer = request.body
        if dialog:
            dialog.offers.append(offer)
            answer = dialog.call.do("POST", "/caller/offer", {"sdp": offer})["sdp"]
            return request.response("200 OK", answer)
        call, engine = self.answer(self.relay, offer)
        dialog = self._dialogs[request.first("call-id", "i")] = Dialog(call, engine, offer)
        self.calls.put(dialog)
        return request.response("200 OK", call.answer)

    def _bye(self, request, dialog):
        if dialog and not dialog.ended.is_set():
            dialog.call.close()
            dialog.ended.set()
        return request.response("200 OK")

    def _info(self, request, dialog):
        key = re.search(r"^Signal\s*=\s*(\S)", request.body, re.M)
        if dialog and key:
            dialog.call.do("POST", "/dtmf", {"digit": key[1]})
        return request.response("200 OK")

    def _done(self, request, _dialog):
        return request.response("200 OK")


if __name__ == "__main__":
    # By hand: python3 tests/peers/sip_gateway.py target/release/sotto
    import sys

    with sotto.Sotto(sys.argv[1]) as relay, Gateway(relay) as gateway:
        while True:
            print("answered", gateway.calls.get().call.id)

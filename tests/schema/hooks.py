"""Hooks: what schemathesis can't know of the API: how an offer looks."""

import random

import schemathesis

PLAIN = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
BROWSER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 0 101\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\n"
    "a=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)
ENGINE = "127.0.0.1:9"
# How many of the offers that may be good are: the rest are what was generated.
GOOD = 0.7

_chance = random.Random(1)


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def sdp(context, value):
    """A body as it stands."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schemathesis.deserializer("audio/wav")
def wav(context, response):
    """A recording is octets, of which the contract says no more."""
    assert response.content[:4] == b"RIFF", "a recording that is no WAV"
    return response.content.decode("latin-1")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes offers that can be answered."""
    label = case.operation.label
    if not case.meta or not case.meta.generation.mode.is_positive or _chance.random() > GOOD:
        return
    if label == "POST /v1/calls" and isinstance(case.body, dict):
        case.body["caller"] = {"sdp": PLAIN.format(port=_chance.randrange(2000, 60000) & ~1)}
        case.body["engine"] = {"type": "rtp", "address": ENGINE}
    elif label == "POST /v1/calls/{call_id}/caller/offer" and isinstance(case.body, dict):
        case.body["sdp"] = PLAIN.format(port=_chance.randrange(2000, 60000) & ~1)
    elif label == "POST /v1/whip":
        case.body = BROWSER
        case.query = {"engine": ENGINE}

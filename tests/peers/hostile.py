"""Hostile: requests with digits wherever a request can have any, whose answers must not repeat them.

The API's own contract says which places there are, so that new ones are tried as they come.
"""

import copy
import json
import re
import socket
from types import SimpleNamespace

import checks
import scan
import sotto

LENGTH = 16  # digits of each canary, as a card number
METHODS = ("get", "post", "put", "patch", "delete")  # what ends something comes last
HEADERS = (
    "Authorization", "Idempotency-Key", "Last-Event-ID", "X-Request-Id", "Content-Type", "Accept",
    "Cookie", "User-Agent", "Origin", "Traceparent", "X-Forwarded-For", "Mcp-Session-Id",
)  # fmt: skip
PATIENCE = 0.2  # seconds for the next octets of an answer that may be a stream


class Requests:
    """Requests that were made, each with a canary of its own, and all their answers."""

    def __init__(self, relay):
        self._key = relay.operator_key
        self._drawn, self._answers = {}, []

    @property
    def canaries(self):
        """What was sent."""
        return scan.Canaries({name: [digits] for digits, name in self._drawn.items()})

    @property
    def count(self):
        """How many requests were made."""
        return len(self._answers)

    def octets(self):
        """All that was answered, heads and bodies."""
        return b"\n".join(self._answers)

    def statuses(self):
        """How many answers there were by status."""
        counted = {}
        for answer in self._answers:
            status = answer[9:12].decode(errors="replace")
            counted[status] = counted.get(status, 0) + 1
        return counted

    def draw(self, place):
        """A canary for one place of one request."""
        digits = scan.draw(f"hostile {len(self._drawn)}", LENGTH)
        self._drawn[digits] = place
        return digits

    def send(self, method, path, body=None, headers=()):
        """One request on a connection of its own, as it is: nothing is checked on the way."""
        fields = {"Host": "sotto", "Authorization": f"Bearer {self._key}", "Connection": "close"}
        if body is not None:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        fields |= dict(headers)
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send_raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b""))

    def send_raw(self, octets):
        """Any octets, and what comes back within a while."""
        with socket.create_connection(sotto.CONTROL, 10) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(octets)
            answer = b""
            try:
                while part := connection.recv(65536):
                    answer += part
            except (TimeoutError, ConnectionError):
                pass
        self._answers.append(answer)


def requests(relay):
    """Makes them all, on a call with a secure session."""
    party = SimpleNamespace(address=("127.0.0.1", 29_000))
    offer = sotto.offer(party)
    call = relay.open_call(offer, ("127.0.0.1", 29_002), record=False)
    call.enter()
    made = Requests(relay)
    contract = relay.request("GET", "/v1/openapi.json")
    operations = [
        (method, path, contract["paths"][path][method])
        for method in METHODS
        for path in contract["paths"]
        if method in contract["paths"][path]
    ]
    for method, path, operation in operations:
        skeleton = _body(contract, operation, offer)
        _try_parameters(made, method, path, operation, call, skeleton)
        _try_headers(made, method, path, call, skeleton)
        if skeleton is not None:
            _try_body(made, method, path, call, skeleton)
    _try_offers(made, offer)
    _try_http(made)
    statuses = made.statuses()
    checks.expect(statuses.get("400", 0) > 50, f"requests that are refused, not {statuses}")
    return made


def _try_parameters(made, method, path, operation, call, skeleton):
    octets = None if skeleton is None else json.dumps(skeleton).encode()
    names = re.findall(r"{(\w+)}", path)
    for name in names:
        digits = made.draw(f"{method} {path} {name}")
        for value in (digits, f"call_{digits.zfill(32)}", f"%20{digits}"):
            made.send(method.upper(), _filled(path, call, {name: value}), octets)
    query = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    for name in (*query, "unknown"):
        digits = made.draw(f"{method} {path} ?{name}")
        made.send(method.upper(), f"{_filled(path, call)}?{name}={digits}", octets)
    digits = made.draw(f"{method} {path} a name in the query")
    made.send(method.upper(), f"{_filled(path, call)}?{digits}=1", octets)


def _try_headers(made, method, path, call, skeleton):
    if method == "delete":
        return  # each of them would end what the others are tried on
    octets = None if skeleton is None else json.dumps(skeleton).encode()
    for name in (*HEADERS, "X-Unknown"):
        digits = made.draw(f"{method} {path} {name}")
        value = f"Bearer {digits}" if name == "Authorization" else digits
        made.send(method.upper(), _filled(path, call), octets, {name: value})


def _try_body(made, method, path, call, skeleton):
    """A canary instead of each value, as each type of JSON, and as the name of a member."""
    target, places = _filled(path, call), list(_places(skeleton))
    for place in places:
        for wrap in (str, int, lambda digits: [digits], lambda digits: {digits: digits}):
            digits = made.draw(f"{method} {path} {place}")
            changed = _with(skeleton, place, wrap(digits))
            made.send(method.upper(), target, json.dumps(changed).encode())
        if isinstance(_at(skeleton, place), dict):
            digits = made.draw(f"{method} {path} {place} unknown")
            changed = _with(skeleton, (*place, digits), digits)
            made.send(method.upper(), target, json.dumps(changed).encode())
    for broken in ('{"%s', '"%s"', "%s", '{"a":"%s\\q"}', '[[["%s"]]]', '{"%s":1,"%s":2}',
                   '{"digit":"%s"', "\xff%s"):  # fmt: skip
        digits = made.draw(f"{method} {path} broken JSON")
        text = broken.replace("%s", digits)
        made.send(method.upper(), target, text.encode("latin-1"))


def _try_offers(made, offer):
    """A canary in each line of an offer, and as lines of its own."""
    lines = offer.strip().split("\r\n")
    changed = [[*lines[:at], line[:2] + "%s", *lines[at + 1 :]] for at, line in enumerate(lines)]
    changed += [[*lines[:at], line + " %s", *lines[at + 1 :]] for at, line in enumerate(lines)]
    for line in ("a=%s", "a=%s:1", "%s", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:%s",
                 "a=crypto:%s AES inline:x", "a=rtpmap:%s PCMU/8000", "a=ptime:%s", "a=mid:%s",
                 "a=ssrc:%s cname:%s", "a=ice-ufrag:%s", "a=fingerprint:sha-256 %s",
                 "m=audio %s RTP/AVP 0", "a=rtcp:%s", "i=%s", "b=AS:%s"):  # fmt: skip
        changed.append([*lines, line])
    for one in changed:
        digits = made.draw(f"offer {one}")
        sdp = "\r\n".join(one).replace("%s", digits) + "\r\n"
        engine = {"type": "rtp", "address": "127.0.0.1:29004"}
        body = {"caller": {"sdp": sdp}, "engine": engine, "record": False}
        made.send("POST", "/v1/calls", json.dumps(body).encode())


def _try_http(made):
    """What is no request of the API's at all."""
    for text in (
        "GET /%s HTTP/1.1\r\nHost: sotto\r\n\r\n", "GET /v1/%s HTTP/1.1\r\nHost: sotto\r\n\r\n",
        "%s / HTTP/1.1\r\n\r\n", "GET / HTTP/%s\r\n\r\n", "GET / HTTP/1.1\r\n%s\r\n\r\n",
        "GET / HTTP/1.1\r\n%s: %s\r\nHost: %s\r\n\r\n", "%s\r\n\r\n",
        "POST /v1/calls HTTP/1.1\r\nContent-Length: %s\r\n\r\n",
        "POST /v1/calls HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
        "GET / HTTP/1.1\r\nX: " + "%s" * 2000 + "\r\n\r\n",
    ):  # fmt: skip
        digits = made.draw(f"HTTP {text[:40]!r}")
        made.send_raw(text.replace("%s", digits).encode())


def _filled(path, call, values=None):
    values = {"call_id": call.id} | (values or {})
    return re.sub(r"{(\w+)}", lambda name: values.get(name[1], "1"), path)


def _body(contract, operation, offer):
    """A body that the contract allows, or None if there is none."""
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return None if media is None else _example(contract, media["schema"], offer, "")


def _example(contract, schema, offer, name):
    """A value of a schema, all members of objects being there."""
    if "$ref" in schema:
        part = contract
        for step in schema["$ref"].removeprefix("#/").split("/"):
            part = part[step]
        return _example(contract, part, offer, name)
    for several in ("oneOf", "anyOf", "allOf"):
        if several in schema:
            known = [one for one in schema[several] if one.get("type") != "null"]
            return _example(contract, known[0], offer, name)
    if name == "sdp":
        return offer
    if "example" in schema:
        return schema["example"]
    if "enum" in schema:
        return schema["enum"][0]
    kinds = schema.get("type", "object")
    kind = next(one for one in ([kinds] if isinstance(kinds, str) else kinds) if one != "null")
    if kind == "object":
        members = schema.get("properties", {}).items()
        return {key: _example(contract, one, offer, key) for key, one in members}
    if kind == "array":
        return [_example(contract, schema["items"], offer, name)]
    return {"string": "x", "integer": schema.get("minimum", 1), "number": 1, "boolean": False}[kind]


def _places(value, place=()):
    """The way to each value inside of one, itself included."""
    yield place
    inside = value.items() if isinstance(value, dict) else ()
    inside = enumerate(value) if isinstance(value, list) else inside
    for key, one in inside:
        yield from _places(one, (*place, key))


def _at(value, place):
    for key in place:
        value = value[key]
    return value


def _with(value, place, new):
    """A copy in which something else stands at a place."""
    if not place:
        return new
    changed = copy.deepcopy(value)
    _at(changed, place[:-1])[place[-1]] = new
    return changed


"""Model: a payment that the official Python client of the Model Context Protocol sees through."""

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

import checks
import party
import sotto

# A Python of its own, with the versions of python.txt: made by tests/run.
PYTHON = Path(__file__).parents[2] / "target/tools/python/bin/python"
CLIENT = Path(__file__).with_name("model_client.py")
MODES = ("legacy", "auto")  # with a handshake, and with discovery
SETTINGS = """
[plans.card-payment]
fields = [{ type = "payment-card-number" }, { type = "expiration-date" }, { type = "security-code" }]
[plans.date]
fields = [{ type = "expiration-date", max_attempts = 1 }]
"""
TOOLS = ["start_secure_session", "wait_for_secure_result", "read_secure_state"]


class Client:
    """The client in a process of its own: a line in is a tool to call, a line out its answer."""

    def __init__(self, issued, mode):
        command = [str(PYTHON), str(CLIENT), issued["mcp_url"], issued["token"], mode]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.hello = self._read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        checks.equal(self._process.wait(10), 0, "exit code of the client")

    def ask(self, tool, **arguments):
        """Asks for a tool without waiting for its answer."""
        self._process.stdin.write(json.dumps([tool, arguments]) + "\n")

    def call(self, tool, **arguments):
        """Calls a tool: whether it refused, and what it answered."""
        self.ask(tool, **arguments)
        return self.answer()

    def answer(self):
        """The answer to what was asked."""
        answer = self._read()
        return answer["refused"], answer["answer"]

    def _read(self):
        line = self._process.stdout.readline()
        checks.expect(line, "the client's answer")
        return json.loads(line)


def payment(binary, mode):
    """Pass, fail, and no more than that; then the call ends, and the token with it."""
    checks.expect(PYTHON.exists(), f"{PYTHON}, which tests/run makes")
    with sotto.Sotto(binary, settings=SETTINGS) as relay:
        caller, engine = party.Caller(f"model {mode}"), party.Engine()
        call = relay.open_call(sotto.offer(caller), engine.address)
        caller.target, engine.target = call.caller_port, call.engine_port
        caller.start()
        engine.start()
        issued = call.do("POST", "/model-tokens", {"plans": ["card-payment", "date"]})
        try:
            with Client(issued, mode) as client:
                checks.equal(client.hello["tools"], TOOLS, "tools")
                checks.equal(client.hello["plans"], issued["plans"], "plans in the schema")
                see_through(client, caller, "card-payment", sotto.KEYS, "pass")
                see_through(client, caller, "date", "1399", "fail")
                refuse(client)
                check_doors(call, issued["token"])
                call.close()
                # Its address has sent it wrongly ten times by now, and is locked out.
                refused = post(issued["token"], call.id)
                checks.expect(refused in (401, 429), f"after the call's end: {refused}")
        finally:
            caller.stop()
            engine.stop()


def see_through(client, caller, plan, keys, result):
    """One session, from its start to what the model learns of it."""
    refused, started = client.call("start_secure_session", plan=plan)
    checks.equal((refused, started["state"]), (False, "collecting"), "the start")
    checks.equal(client.call("start_secure_session", plan=plan), (False, started), "a second start")
    client.ask("wait_for_secure_result", timeout_s=20)
    time.sleep(0.2)  # a tone in the very first packet may have begun before the session
    caller.press(keys)
    refused, ended = client.answer()
    checks.equal((refused, ended["state"], ended["result"]), (False, "ended", result), "the end")
    checks.equal(sorted(ended), ["id", "next", "result", "state"], "what the model is told")
    checks.equal(client.call("read_secure_state"), (False, ended), "what is read afterwards")


def refuse(client):
    """What a model is talked into is refused in the same words each time."""
    texts = {
        client.call("start_secure_session", **arguments)
        for arguments in (
            {"plan": "code"}, {"plan": f"date {sotto.CARD}"}, {"plan": "date", "note": sotto.CARD},
            {"plan": ["date"]}, {"fields": [{"type": "expiration-date"}]}, {},
        )
    }  # fmt: skip
    checks.equal(len(texts), 1, "sentences for what is wrong with a plan")
    refused, text = texts.pop()
    checks.expect(refused and sotto.CARD not in text, "a refusal that repeats nothing")


def check_doors(call, token):
    """The token opens its call's server alone."""
    other = call.sotto.open_call(call_offer(), ("127.0.0.1", 39998))
    checks.equal(post(token, call.id), 200, "its own call")
    checks.equal(post(token, other.id), 401, "another call")
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("GET", "/secure-session"), ("DELETE", "/secure-session"),
        ("POST", "/secure-session"), ("GET", "/events"), ("GET", "/recording"),
        ("POST", "/dtmf"), ("POST", "/model-tokens"), ("DELETE", "/model-tokens"),
    ):  # fmt: skip
        status = request(method, f"/v1/calls/{call.id}{path}", token)
        # Who goes on with a token that is good for nothing is locked out.
        checks.expect(status in (401, 429), f"{method} {path} with a model's token: {status}")
    other.close()


def call_offer():
    """The offer of a caller who never speaks."""
    silent = party.Caller("nobody")
    offer = sotto.offer(silent)
    silent.stop()
    return offer


def post(token, call):
    """The status of a ping to a call's server."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    return request("POST", f"/v1/calls/{call}/mcp", token, body)


def request(method, path, token, body=None):
    """The status of one request with a token."""
    connection = http.client.HTTPConnection(*sotto.CONTROL, timeout=10)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    return connection.getresponse().status


if __name__ == "__main__":
    sys.exit("run tests/run peers")

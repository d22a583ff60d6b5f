"""Phones that call Sotto by SIP themselves, with nothing in between: baresip and sipp."""

import subprocess
import tempfile
import time
from pathlib import Path

import baresip
import checks
import g711
import party
import sipp
import sotto

USER, SECRET = "phone", "a secret of the phone's"
ADDRESS, TLS_ADDRESS = ("127.0.0.1", 5060), ("127.0.0.1", 5061)

# How a phone's account and what it dials say the transport.
TRANSPORTS = {"UDP": (ADDRESS, "udp"), "TCP": (ADDRESS, "tcp"), "TLS": (TLS_ADDRESS, "tls")}

SETTINGS = """[sip]
address = "{address}"
engine = "{engine}"
{more}
"""

TLS_SETTINGS = """tls_address = "{address}"
tls_certificate = "{folder}/certificate.pem"
tls_key = "{folder}/key.pem"
"""


class Answered(sotto.Call):
    """A call that was not opened by REST."""

    def __init__(self, relay, name):
        self.sotto, self.id, self.was_held = relay, name, False

    def is_over(self):
        """Whether it has ended."""
        return self.do("GET")["state"] == "closed"


class Line:
    """A relay that answers SIP, and the engine behind it."""

    failures = []  # as a gateway has them, for what takes either

    def __init__(self, binary, engine="", broken=False, users=True):
        self._folder = tempfile.TemporaryDirectory(prefix="sotto-sip-")
        folder = Path(self._folder.name)
        more = TLS_SETTINGS.format(address=sotto.written(TLS_ADDRESS), folder=folder)
        if users:
            file = folder / "users"
            file.write_text(f"{USER}:{SECRET}\n")
            file.chmod(0o600)
            more += f'users_file = "{file}"\n'
        make_certificate(folder)
        self.engine = None if engine else party.Engine()
        settings = SETTINGS.format(
            address=sotto.written(ADDRESS), more=more,
            engine=engine or sotto.written(self.engine.address),
        )  # fmt: skip
        self.relay = sotto.Sotto(binary, broken=broken, settings=settings)

    def __enter__(self):
        if self.engine:
            self.engine.start()
        return self

    def __exit__(self, *error):
        if self.engine:
            self.engine.stop()
        self.relay.__exit__(*error)
        self._folder.cleanup()

    def answer(self):
        """The call, once somebody calls; its engine then speaks to where it is spoken to from."""

        def there():
            calls = self.relay.request("GET", "/v1/calls")["data"]
            return calls[0]["id"] if calls else None

        self.call = Answered(self.relay, checks.wait_until(there, 10, "a call"))
        if self.engine:
            heard = checks.wait_until(lambda: self.engine.heard[:1], 5, "audio at the engine")
            self.engine.target = heard[0].source
        return self.call


def make_certificate(folder):
    """A certificate that says nothing but that it is one."""
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", folder / "key.pem", "-out", folder / "certificate.pem",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    (folder / "key.pem").chmod(0o600)


def account(secret=SECRET, more=""):
    """What makes a baresip account know a secret."""
    return f';auth_user={USER};auth_pass="{secret}"{more}'


def uri(transport, user="pay"):
    """What is dialled."""
    address, name = TRANSPORTS[transport]
    return f"sip:{user}@{sotto.written(address)};transport={name}"


def hung_up(phone):
    """The phone was told that the call is over."""
    checks.wait_until(lambda: "terminated (duration" in phone.log(), 5, "a BYE at the phone")


def card(binary, transport):
    """A card keyed on a phone that knows its secret, over each transport; with TLS in SRTP too.

    In the middle it holds and resumes. In the end the phone hangs up, or is hung up on.
    """
    more = ";mediaenc=srtp-mand" if transport == "TLS" else ""
    with Line(binary) as line, baresip.Baresip(account(more=more)) as phone:
        phone.do("dial", uri(transport))
        call = line.answer()
        time.sleep(1.5)
        call.enter()
        cut = time.time()
        phone.press(sotto.KEYS[:7])
        if transport == "UDP":
            phone.do("hold")
            time.sleep(0.5)
            phone.do("resume")
            time.sleep(0.5)
        phone.press(sotto.KEYS[7:])
        verdict, still_cut = call.see_through()
        checks.equal(verdict, "pass", "verdict")
        time.sleep(2)
        if transport == "UDP":
            phone.do("hangup")
            checks.wait_until(call.is_over, 5, "the end of the call")
        else:
            call.close()
            hung_up(phone)
        sipp.check_silence(line, cut, still_cut)
        check_both_directions(line, phone, cut)


def check_both_directions(line, phone, cut):
    """The engine heard the phone's tone, and the phone the engine's."""
    payload_type = line.engine.payload_type
    before = [packet.payload for packet in line.engine.heard if packet.at < cut]
    at_engine = g711.power(g711.decode(b"".join(before[-40:-10]), payload_type), baresip.VOICE)
    checks.wait_until(phone.heard, 3, "what the phone heard")
    parts = baresip.parts(phone.heard()[:16000], 1600)
    at_phone = max(g711.power(part, line.engine.VOICE) for part in parts)
    checks.figure(
        f"share of the other side's tone: {at_engine:.2f} at the engine, {at_phone:.2f} at the phone"
    )
    checks.expect(at_engine > 0.9 and at_phone > 0.9, "both tones")


def echo(binary):
    """The echo greets a phone; who has a wrong secret hears nothing."""
    with Line(binary, engine="echo") as line:
        with baresip.Baresip(account(secret="a guess")) as phone:
            phone.do("dial", uri("UDP"))
            closed = "session closed: 401"
            checks.wait_until(lambda: closed in phone.log(), 5, "a refusal")
            checks.equal(line.relay.request("GET", "/v1/calls")["data"], [], "calls")
        with baresip.Baresip(account()) as phone:
            phone.do("dial", uri("TCP"))
            call = line.answer()
            time.sleep(2.5)
            call.close()
            hung_up(phone)
            checks.wait_until(phone.heard, 3, "what the phone heard")
            loud = [sum(map(abs, part)) > 100 * 160 for part in baresip.parts(phone.heard(), 160)]
            checks.figure(f"the phone heard the echo for {sum(loud) / 50:.1f} s")
            checks.expect(sum(loud) > 25, "a chime and an echo")


def info(binary, transport, broken=False):
    """sipp keys a card by SIP INFO, over a voice that goes on; the engine hears nothing of it.

    sipp knows no secret here: without users, this machine may call.
    """
    steps = [sipp.inform(2 + index, key) for index, key in enumerate(sotto.KEYS)]
    with Line(binary, broken=broken, users=False) as line:
        caller = sipp.Sipp(sipp.pause(1500), *steps, sipp.pause(2500), transport=transport)
        call = line.answer()
        cut, still_cut = sipp.through_session(line)
        caller.wait(line)
        checks.wait_until(call.is_over, 5, "the end of the call")
        sipp.check_silence(line, cut, still_cut)


def control(sabotaged):
    """Without masking the engine hears the caller in the cut, and this is noticed."""
    try:
        info(sabotaged, "UDP", broken=True)
    except checks.Failure as failure:
        checks.expect("octets that are not silence during the cut" in str(failure), str(failure))
    else:
        raise checks.Failure("a broken mask was not noticed")

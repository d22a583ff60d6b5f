"""Phones that call Sotto by SIP themselves, with nothing in between: baresip and sipp."""

import re
import subprocess
import tempfile
import time
from pathlib import Path

import baresip
import checks
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
users_file = "{folder}/users"
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

    failures = ()

    def __init__(self, binary, engine="", broken=False, more=""):
        self._folder = tempfile.TemporaryDirectory(prefix="sotto-sip-")
        folder = Path(self._folder.name)
        users = folder / "users"
        users.write_text(f"{USER}:{SECRET}\n")
        users.chmod(0o600)
        make_certificate(folder)
        self.engine = None if engine else party.Engine()
        settings = SETTINGS.format(
            address=sotto.written(ADDRESS), folder=folder,
            engine=engine or sotto.written(self.engine.address),
            more=TLS_SETTINGS.format(address=sotto.written(TLS_ADDRESS), folder=folder) + more,
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

    def call(self):
        """The call, once somebody calls; its engine then speaks to where it is spoken to from."""

        def there():
            calls = self.relay.request("GET", "/v1/calls")["data"]
            return calls[0]["id"] if calls else None

        self.answered = Answered(self.relay, checks.wait_until(there, 10, "a call"))
        if self.engine:
            heard = checks.wait_until(lambda: self.engine.heard[:1], 5, "audio at the engine")
            self.engine.target = heard[0].source
        return self.answered


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

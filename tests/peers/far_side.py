"""Far side: a payment service over TLS and a receiver of webhooks, both on loopback."""

import http.server
import json
import os
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

HOST = "127.0.0.1"
# Debian's own, which has jwcrypto.
MERCHANT = ("/usr/bin/python3", Path(__file__).with_name("merchant.py"))
SECRET = "whsec_" + "QUFB" * 8
AUDIENCES = ("staff", "engine")


class FarSide:
    """Servers, and the settings that make a relay use them; use it in a `with` block.

    `told` are the requests of webhooks, as octets by audience; `paid` the sessions that the
    payment service gave a token for.
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="sotto-far-side-")
        self.folder = Path(self._folder.name)
        self.told, self.paid = {audience: [] for audience in AUDIENCES}, []
        self._servers = {"payments": self._server(self._pay), "webhooks": self._server(self._hear)}

    def __enter__(self):
        certificate, key = (self.folder / name for name in ("payments.crt", "payments.key"))
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                   "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=payments",
                   "-addext", f"subjectAltName=IP:{HOST}",
                   "-addext", "basicConstraints=critical,CA:FALSE",
                   "-keyout", key, "-out", certificate]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        payments = self._servers["payments"]
        payments.socket = context.wrap_socket(payments.socket, server_side=True)
        subprocess.run([*MERCHANT, "key", "EC", self.folder], check=True)
        with open(os.open(self.folder / "secret", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(SECRET)
        for server in self._servers.values():
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        self._folder.cleanup()

    @property
    def settings(self):
        """The relay's configuration: a key to seal to, a connector, a webhook of each audience."""
        port = {name: server.server_address[1] for name, server in self._servers.items()}
        webhooks = "".join(
            f"[[webhooks]]\nname = '{audience}'\naudience = '{audience}'\n"
            f"url = 'http://{HOST}:{port['webhooks']}/{audience}'\n"
            f"secret_files = ['{self.folder}/secret']\n"
            for audience in AUDIENCES
        )
        return (
            f"[outbound]\nallow = ['{HOST}/32']\n"
            f"[[sinks.seal.keys]]\nid = 'merchant'\nfile = '{self.folder}/public.jwk'\n"
            f"[[sinks.connectors]]\nname = 'payments'\nmode = 'test'\n"
            f"url = 'https://{HOST}:{port['payments']}/'\nca_file = '{self.folder}/payments.crt'\n"
            f"{webhooks}"
        )

    def open_sealed(self, jwe):
        """What the merchant finds in sealed data."""
        command = [*MERCHANT, "open", self.folder]
        done = subprocess.run(command, input=jwe, text=True, check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout)["content"]

    def _pay(self, _, body):
        """Gives a token, as Twilio's Generic Pay Connector does."""
        self.paid.append(json.loads(body))
        return {"token_id": f"token-{len(self.paid)}", "error_code": None}

    def _hear(self, request, body):
        octets = f"{request.requestline}\n{request.headers}\n".encode() + body
        self.told[request.path.strip("/")].append(octets)
        return {}

    @staticmethod
    def _server(answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # noqa: N802, a name that http.server gives
                body = self.rfile.read(int(self.headers["Content-Length"]))
                said = json.dumps(answer(self, body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        return http.server.ThreadingHTTPServer((HOST, 0), Handler)

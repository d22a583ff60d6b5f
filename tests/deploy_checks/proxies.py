"""Proxies: nginx and Caddy as the files have them, in front of a relay: what comes through."""

import json
import re
import socket
import ssl
import subprocess
import threading

from checks import Failure, attempt, equal, expect, replaced, tool, wait_until
from relay import PATH, Relay, fresh, key_of, play_call

NAME = "relay.example"
OPENS = {"caller": {"sdp": "v=0"}, "engine": {"type": "echo"}}
FLOOD = 600
TICKET = "0123456789abcdef" * 4
NGINX = """daemon off;
pid {work}/pid;
error_log {work}/error.log info;
events {{ }}
http {{
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    include {work}/site.conf;
}}
"""
OTHERS = {  # Caddyfiles that are for other places, and where their certificates are
    "container": ("/run/secrets/relay-certificate.pem", "/run/secrets/relay-key.pem"),
    "kubernetes": ("/run/certificate/tls.crt", "/run/certificate/tls.key"),
}
PAIR = ("/etc/sotto/relay-certificate.pem", "/etc/sotto/relay-key.pem")


def made_certificate(work):
    """A throwaway certificate of the proxy's name, and its key."""
    folder = fresh(work / "certificate")
    paths = folder / "certificate.pem", folder / "key.pem"
    tool(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
        "-days", "2", "-out", paths[0], "-keyout", paths[1],
    )  # fmt: skip
    return [str(path) for path in paths]


def nginx_reads(deploy, work):
    """nginx -t takes the file, without a warning."""
    said = tool("nginx", "-t", "-c", _nginx(deploy, work, made_certificate(work)))
    expect("[warn]" not in said and "[emerg]" not in said, said)


def caddy_reads(deploy, work):
    """caddy validate takes each Caddyfile, and none writes lines of requests."""
    pair = made_certificate(work)
    for folder in ("proxy", *OTHERS):
        source = deploy / folder / "Caddyfile"
        text = source.read_text()
        file = work / "Caddyfile"
        file.write_text(replaced(text, *zip(OTHERS.get(folder, PAIR), pair)))
        tool("caddy", "validate", "--adapter", "caddyfile", "--config", file, env=_home(work))
        equal(attempt("caddy", "fmt", source).stdout.strip(), text.strip(), f"{source}, formatted")
        equal(re.findall(r"^\s*log\b.*", text, re.M), [], "access logs")
        for wanted in ("auto_https off", "max_size 64KiB", "flush_interval -1", "protocols h1"):
            expect(wanted in text, f"{folder}/Caddyfile has no {wanted}")


def nginx_serves(deploy, image, work):
    """A relay behind nginx: TLS, events, WebSocket, bodies, health, limits, and the log."""
    pair = made_certificate(work)
    command = ["nginx", "-c", str(_nginx(deploy, work, pair))]
    with Behind(image, work, command, pair[0]) as proxy:
        proxy.see_through(too_long={413})
        equal(proxy.ask("GET", f"/v1/calls?ticket={TICKET}")[0], 401, "a ticket that is none")
        proxy.flood()
        log = (work / "nginx/access.log").read_text()
    expect("/v1/calls" in log, f"the log has no requests: {log}")
    equal([line for line in log.splitlines() if "/dtmf" in line], [], "lines for keys")
    expect(TICKET not in log, "the log holds a ticket")
    expect("Bearer" not in log and "sto_" not in log, "the log holds a key of the API")


def caddy_serves(deploy, image, work):
    """The same behind Caddy."""
    pair = made_certificate(work)
    file = work / "Caddyfile"
    text = (deploy / "proxy/Caddyfile").read_text()
    file.write_text(replaced(text, *zip(PAIR, pair)))
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]
    with Behind(image, work, command, pair[0]) as proxy:
        # Caddy finds out when it reads on, and older ones then blame whom they were passing it to.
        proxy.see_through(too_long={413, 502})


def caddy_beside(deploy, folder, work, key, port=8443):
    """A Caddyfile that is for another place, in front of the relay that runs as it does there."""
    pair = made_certificate(work)
    file = work / "Caddyfile"
    file.write_text(
        replaced((deploy / folder / "Caddyfile").read_text(), *zip(OTHERS[folder], pair))
    )
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]
    with (work / "proxy.log").open("wb") as log:
        proxy = subprocess.Popen(command, stdout=log, stderr=log, env=_home(work))
    try:
        wait_until(lambda: socket.create_connection(("127.0.0.1", port)).close() is None, "TLS")
        asked = ("curl", "--silent", "--cacert", pair[0], "--resolve", f"{NAME}:{port}:127.0.0.1")
        asked += ("--output", "/dev/null", "--write-out", "%{http_code}")
        for path, wanted in (("/v1/calls", "200"), ("/metrics", "404"), ("/", "200")):
            header = ("--header", f"Authorization: Bearer {key}")
            found = tool(*asked, *header, f"https://{NAME}:{port}{path}")
            equal(found, wanted, f"{folder}: {path} by TLS")
    finally:
        proxy.terminate()
        proxy.wait(20)


def _nginx(deploy, work, pair):
    folder = fresh(work / "nginx")
    folder.chmod(0o755)
    log = ("/var/log/nginx/sotto.log", f"{folder}/access.log")
    text = (deploy / "proxy/nginx.conf").read_text()
    (folder / "site.conf").write_text(replaced(text, *zip(PAIR, pair), log))
    main = folder / "nginx.conf"
    main.write_text(NGINX.format(work=folder))
    return main


def _home(work):
    return PATH | {"XDG_DATA_HOME": str(work / "caddy"), "HOME": str(work)}


class Behind:
    """A relay on loopback, and a proxy in front of it."""

    def __init__(self, image, work, command, certificate):
        self._relay = Relay(image, fresh(work / "behind"), {}, ["serve", "--io", "sockets"])
        self._command, self._home = command, _home(work)
        self._trust = ssl.create_default_context(cafile=certificate)
        self._log = work / "proxy.log"

    def __enter__(self):
        self.key = key_of(self._relay.sotto("keys", "add", "--role", "operator"))
        self._relay.__enter__()
        with self._log.open("wb") as log:
            self._proxy = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._home)
        try:
            self._relay.wait_ready("127.0.0.1:8081")
            wait_until(self._listens, "the proxy listens")
        except Failure:
            self.__exit__(Failure)
            raise
        return self

    def __exit__(self, *error):
        self._proxy.terminate()
        self._proxy.wait(20)
        self._relay.__exit__(*error)

    def _listens(self):
        expect(self._proxy.poll() is None, f"the proxy has ended: {self._log.read_text()[-900:]}")
        return self._accepts(443)

    def _accepts(self, port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def _connect(self, trust=None):
        plain = socket.create_connection(("127.0.0.1", 443), timeout=5)
        return (trust or self._trust).wrap_socket(plain, server_hostname=NAME)

    def ask(self, method, path, body=b"", **headers):
        """One request by TLS, with the key: status, headers, body."""
        with self._connect() as stream:
            lines = [f"{method} {path} HTTP/1.1", f"Host: {NAME}", "Connection: close"]
            lines += [f"Authorization: Bearer {self.key}", f"Content-Length: {len(body)}"]
            lines += ["Content-Type: application/json"] if body else []
            lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
            stream.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            answer = b""
            try:
                while part := stream.recv(65536):
                    answer += part
            except OSError:
                pass
        head, _, rest = answer.partition(b"\r\n\r\n")
        head = head.decode("latin-1")
        expect(head.startswith("HTTP/1.1 "), f"{method} {path} is answered {answer[:200]!r}")
        return int(head[9:12]), head.lower(), rest

    def see_through(self, too_long):
        """All that both proxies promise; `too_long` is what a long body may be answered with."""
        status, head, body = self.ask("GET", "/v1/calls")
        equal(status, 200, f"a request: {body}")
        expect("strict-transport-security: max-age=31536000" in head, f"no HSTS: {head}")
        server = re.search(r"^server: (.*)$", head, re.M)
        expect(not server or not re.search(r"\d", server[1]), f"its version is told: {head}")
        equal(self.ask("GET", "/")[0], 200, "the console by the proxy's name")
        for path in ("/livez", "/readyz", "/metrics"):
            status, _, body = self.ask("GET", path)
            equal(status, 404, path)
            expect(b"sotto:problem" not in body, f"{path} gets to the relay")
        status, _, body = self.ask("POST", "/v1/calls", b"x" * 70_000)
        expect(status in too_long, f"a body beyond the bound is answered {status}")
        expect(b"sotto:problem" not in body, "a body beyond the bound gets to the relay")
        expect(not self._accepts(80), "something listens on port 80")
        self._versions()
        self._events()
        self._web_socket()
        self._keys()

    def _versions(self):
        for version, wanted in (
            (ssl.TLSVersion.TLSv1_1, False),
            (ssl.TLSVersion.TLSv1_2, True),
            (ssl.TLSVersion.TLSv1_3, True),
        ):
            trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trust.load_verify_locations(self._trust_file())
            # Our own side would take any: what is refused is refused by the proxy.
            trust.set_ciphers("ALL:@SECLEVEL=0")
            trust.minimum_version = trust.maximum_version = version
            try:
                self._connect(trust).close()
                found = True
            except OSError:
                found = False
            equal(found, wanted, f"{version.name} is taken")

    def _trust_file(self):
        return str(self._log.parent / "certificate/certificate.pem")

    def _events(self):
        """An event is there at once, though the stream goes on."""
        call = play_call("127.0.0.1:8080", self.key)
        with self._connect() as stream:
            ask = f"GET /v1/calls/{call}/events HTTP/1.1\r\nHost: {NAME}\r\n"
            stream.sendall(f"{ask}Authorization: Bearer {self.key}\r\n\r\n".encode())
            stream.settimeout(3)
            heard = b""
            while b"secure_session.started" not in heard:
                part = stream.recv(65536)
                expect(part, f"the stream of events ends: {heard!r}")
                heard += part

    def flood(self):
        """More requests at once than an address may have are refused."""
        ask = f"GET /v1/calls HTTP/1.1\r\nHost: {NAME}\r\n"
        with self._connect() as stream:
            asked = [ask + "\r\n"] * (FLOOD - 1) + [ask + "Connection: close\r\n\r\n"]
            sending = threading.Thread(target=stream.sendall, args=("".join(asked).encode(),))
            sending.start()
            answers = b""
            while part := stream.recv(1 << 20):
                answers += part
            sending.join()
        answered = answers.count(b"HTTP/1.1 401"), answers.count(b"HTTP/1.1 429")
        expect(
            min(answered) > 0, f"of {FLOOD} requests at once {answered} are answered 401 and 429"
        )

    def _web_socket(self):
        """NG by WebSocket comes about."""
        with self._connect() as stream:
            stream.sendall(
                f"GET /ng HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {self.key}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Protocol: ng.rtpengine.com\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            answer = stream.recv(4096)
        expect(answer.startswith(b"HTTP/1.1 101 "), f"an upgrade is answered {answer[:300]!r}")

    def _keys(self):
        """A key by signalling goes through; what the log says of it is looked at by the caller."""
        call = "call_0198c0f3a1b27c3e8d4f5a6b7c8d9e0f"
        body = json.dumps({"digit": "5"}).encode()
        expect(
            self.ask("POST", f"/v1/calls/{call}/dtmf", body)[0] in (404, 410, 422), "no such call"
        )

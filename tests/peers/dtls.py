"""DTLS: OpenSSL as the transport of browsers and telephones, with certificates and versions that
browsers don't have.

A shim does ICE for a browser's: it proves an address to the relay and passes on what is no STUN. A
telephone's waits for the relay to begin, at the address that is signalled.
"""

import hashlib
import hmac
import re
import secrets
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request
import zlib
from pathlib import Path

import checks
import sotto

MAGIC = 0x2112A442
BINDING, SUCCESS = 0x0001, 0x0101
USERNAME, INTEGRITY, PRIORITY, USE_CANDIDATE = 0x0006, 0x0008, 0x0024, 0x0025
MAPPED, FINGERPRINT, CONTROLLING = 0x0020, 0x8028, 0x802A
OURS = "abcd", "0123456789abcdefghijklmn"
SERVER = ("127.0.0.1", 4433)
KEYS = {
    "RSA": ["-newkey", "rsa:2048"],
    "ECDSA": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
}


def attribute(kind, value):
    """One attribute of a STUN message (RFC 8489 section 14)."""
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(kind, transaction, body, password):
    """A STUN message whose integrity a password proves (RFC 8489 sections 14.5 and 14.7)."""

    def head(length):
        return struct.pack(">HHI", kind, length, MAGIC) + transaction

    signed = head(len(body) + 24) + body
    body += attribute(INTEGRITY, hmac.digest(password.encode(), signed, "sha1"))
    whole = head(len(body) + 8) + body
    return whole + attribute(FINGERPRINT, struct.pack(">I", zlib.crc32(whole) ^ 0x5354554E))


def check(theirs, password):
    """A connectivity check that nominates (RFC 8445 section 7.2.2)."""
    body = attribute(USERNAME, f"{theirs}:{OURS[0]}".encode())
    body += attribute(PRIORITY, struct.pack(">I", 0x6E7F1EFF)) + attribute(USE_CANDIDATE, b"")
    body += attribute(CONTROLLING, secrets.token_bytes(8))
    return message(BINDING, secrets.token_bytes(12), body, password)


def consent(request, relay):
    """The answer to a check of the relay's, which it goes on for (RFC 7675)."""
    address, port = socket.inet_aton(relay[0]), relay[1] ^ (MAGIC >> 16)
    mapped = bytes(one ^ two for one, two in zip(address, MAGIC.to_bytes(4, "big"), strict=True))
    body = attribute(MAPPED, struct.pack(">BBH", 0, 1, port) + mapped)
    return message(SUCCESS, request[8:20], body, OURS[1])


def certificate(folder, key, lies):
    """Where a new key lies, its certificate beside it, and the fingerprint to be signalled."""
    pem = Path(folder) / f"{key}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", *KEYS[key], "-nodes", "-days", "2", "-subj", "/CN=caller",
         "-keyout", pem, "-out", f"{pem}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    der = ssl.PEM_cert_to_DER_cert(Path(f"{pem}.crt").read_text())
    digest = hashlib.sha256(der + (b"x" if lies else b"")).hexdigest().upper()
    return pem, ":".join(re.findall("..", digest))


class Peer:
    """A call by WHIP whose DTLS is OpenSSL's."""

    def __init__(self, relay, folder, key, version, lies=False):
        pem, written = certificate(folder, key, lies)
        url = f"http://{sotto.written(sotto.CONTROL)}/v1/whip?engine=echo"
        headers = {"Authorization": f"Bearer {relay.operator_key}"}
        headers["Content-Type"] = "application/sdp"
        asked = urllib.request.Request(url, offer(written).encode(), headers, method="POST")
        with urllib.request.urlopen(asked, timeout=10) as answer:
            text = answer.read().decode()
        port = int(re.search(r"m=audio (\d+)", text)[1])
        ufrag = re.search(r"a=ice-ufrag:(\S+)", text)[1]
        password = re.search(r"a=ice-pwd:(\S+)", text)[1]
        self._relay, self.srtp, self.proven = (sotto.MEDIA, port), 0, False
        self._outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._outside.bind(("127.0.0.1", 0))
        self._inside.bind(("127.0.0.1", 0))
        self._client, self._over = None, False
        threading.Thread(target=self._from_relay, daemon=True).start()
        threading.Thread(target=self._from_openssl, daemon=True).start()
        for _ in range(20):
            self._outside.sendto(check(ufrag, password), self._relay)
            time.sleep(0.05)
            if self.proven:
                break
        checks.expect(self.proven, "an answer to a check")
        self.said = self._shake(pem, version)
        self._over = True

    def _shake(self, pem, version):
        command = ["openssl", "s_client", version, "-connect",
                   "127.0.0.1:%d" % self._inside.getsockname()[1], "-cert", f"{pem}.crt",
                   "-key", pem, "-use_srtp", "SRTP_AES128_CM_SHA1_80",
                   "-cipher", "DEFAULT@SECLEVEL=0", "-mtu", "1200"]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        time.sleep(2.5)  # the handshake, and some of what the engine says
        try:
            said, _ = process.communicate(b"Q\n", timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
        return said.decode(errors="replace")

    def _from_relay(self):
        while not self._over:
            datagram, _ = self._outside.recvfrom(2048)
            kind = int.from_bytes(datagram[:2])
            if kind == BINDING:
                self._outside.sendto(consent(datagram, self._relay), self._relay)
            elif kind == SUCCESS:
                self.proven = True
            elif 20 <= datagram[0] < 64:
                if self._client:
                    self._inside.sendto(datagram, self._client)
            elif 128 <= datagram[0] < 192 and not 64 <= datagram[1] & 0x7F < 96:
                self.srtp += 1

    def _from_openssl(self):
        while not self._over:
            datagram, self._client = self._inside.recvfrom(2048)
            self._outside.sendto(datagram, self._relay)


class Telephone:
    """A call whose caller waits for DTLS where it signals that it is; the waiting is OpenSSL's."""

    def __init__(self, relay, folder, key, lies=False):
        pem, fingerprint = certificate(folder, key, lies)
        self._outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._outside.bind(("127.0.0.1", 0))
        self._inside.bind(("127.0.0.1", 0))
        self._relay, self.srtp, self._over = None, 0, False
        command = ["openssl", "s_server", "-dtls1_2", "-accept", sotto.written(SERVER),
                   "-cert", f"{pem}.crt", "-key", pem, "-Verify", "1", "-mtu", "1200",
                   "-use_srtp", "SRTP_AES128_CM_SHA1_80"]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        time.sleep(0.5)
        for turn in (self._from_relay, self._from_openssl):
            threading.Thread(target=turn, daemon=True).start()
        lines = [
            "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
            f"m=audio {self._outside.getsockname()[1]} UDP/TLS/RTP/SAVP 0", "a=rtcp-mux",
            f"a=fingerprint:sha-256 {fingerprint}", "a=setup:passive", "",
        ]  # fmt: skip
        body = {"caller": {"sdp": "\r\n".join(lines)}, "engine": {"type": "echo"}}
        self.answer = relay.request("POST", "/v1/calls", body)["caller"]["sdp"]
        time.sleep(4)  # the handshake, and some of what the engine says
        self._over = True
        process.terminate()
        said, _ = process.communicate()
        self.said = said.decode(errors="replace")

    def _from_relay(self):
        while not self._over:
            datagram, self._relay = self._outside.recvfrom(2048)
            if 20 <= datagram[0] < 64:
                self._inside.sendto(datagram, SERVER)
            elif 128 <= datagram[0] < 192 and not 64 <= datagram[1] & 0x7F < 96:
                self.srtp += 1

    def _from_openssl(self):
        while not self._over:
            self._outside.sendto(self._inside.recv(2048), self._relay)


def offer(fingerprint):
    """As a browser offers, of PCMU alone."""
    return "\r\n".join([
        "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 0", "c=IN IP4 0.0.0.0", "a=rtcp-mux", "a=mid:0",
        f"a=ice-ufrag:{OURS[0]}", f"a=ice-pwd:{OURS[1]}",
        f"a=fingerprint:sha-256 {fingerprint}", "a=setup:actpass", "a=sendrecv", "",
    ])  # fmt: skip


def versions(binary):
    """RSA and ECDSA are taken at DTLS 1.2; anything older, and another certificate, is not."""
    with sotto.Sotto(binary) as relay, tempfile.TemporaryDirectory(prefix="sotto-dtls-") as folder:
        for key in KEYS:
            peer = Peer(relay, folder, key, "-dtls1_2")
            checks.expect("DTLSv1.2" in peer.said, f"{key}: DTLS 1.2, not {peer.said[-900:]}")
            checks.expect("SRTP_AES128_CM_SHA1_80" in peer.said, f"{key}: SRTP's profile")
            checks.expect(peer.srtp > 50, f"{key}: the engine's voice, not {peer.srtp} packets")
            checks.figure(f"DTLS 1.2 with {key}: {peer.srtp} packets of SRTP heard")
        old = Peer(relay, folder, "ECDSA", "-dtls1")
        checks.expect("alert" in old.said, f"DTLS 1.0 is refused, not {old.said[-900:]}")
        checks.equal(old.srtp, 0, "packets of SRTP to who speaks DTLS 1.0")
        other = Peer(relay, folder, "ECDSA", "-dtls1_2", lies=True)
        checks.equal(other.srtp, 0, "packets of SRTP to who has another certificate")


def telephones(binary):
    """The relay begins where a telephone waits: RSA and ECDSA are taken, another certificate not."""
    with sotto.Sotto(binary) as relay, tempfile.TemporaryDirectory(prefix="sotto-dtls-") as folder:
        for key in KEYS:
            peer = Telephone(relay, folder, key)
            checks.expect("a=setup:active" in peer.answer, "the relay as the one who begins")
            checks.expect("SRTP_AES128_CM_SHA1_80" in peer.said, f"{key}: {peer.said[-900:]}")
            checks.expect(peer.srtp > 50, f"{key}: the engine's voice, not {peer.srtp} packets")
            checks.figure(f"DTLS 1.2, a server with {key}: {peer.srtp} packets of SRTP heard")
        other = Telephone(relay, folder, "ECDSA", lies=True)
        checks.equal(other.srtp, 0, "packets of SRTP to who has another certificate")

"""WebSocket server of ours (RFC 6455), as small as can be: it can also send what no library would."""

import base64
import contextlib
import hashlib
import socket
import struct
import threading

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
PATIENCE = 10  # seconds for a request


def frame(payload, opcode=TEXT, length=None):
    """One final frame from a server, which may lie about its length."""
    size = len(payload) if length is None else length
    head = bytes([0x80 | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + struct.pack(">BH", 126, size) + payload
    return head + struct.pack(">BQ", 127, size) + payload


class Frames:
    """Takes a client's octets apart into frames, unmasked."""

    def __init__(self):
        self._left = b""

    def add(self, octets):
        """Opcode and payload of each frame that is complete."""
        self._left += octets
        while (found := self._first()) is not None:
            yield found

    def _first(self):
        left = self._left
        if len(left) < 2:
            return None
        size, at = left[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(left) < 2 + width:
                return None
            size, at = int.from_bytes(left[2 : 2 + width]), 2 + width
        end = at + 4 + size
        if len(left) < end:
            return None
        mask, masked = left[at : at + 4], left[at + 4 : end]
        self._left = left[end:]
        whole = int.from_bytes(masked) ^ int.from_bytes((mask * (size // 4 + 1))[:size])
        return left[0] & 0x0F, whole.to_bytes(size)


def upgrade(connection):
    """Reads a request and accepts it; what the client sent behind it."""
    connection.settimeout(PATIENCE)
    request = b""
    while b"\r\n\r\n" not in request:
        part = connection.recv(4096)
        if not part:
            raise ConnectionError("a client that goes before it has asked")
        request += part
    head, _, rest = request.partition(b"\r\n\r\n")
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    key = next(value for name, value in lines.items() if name.lower() == b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key.strip() + GUID).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    connection.settimeout(None)
    return rest


class Server:
    """Accepts connections on loopback and lets `behave` have each in a thread of its own.

    It gets the connection, as a socket, and what came behind the request of a WebSocket; of a plain
    TCP server, nothing has been read. Use it in a `with` block.
    """

    def __init__(self, behave, is_web=True):
        self._behave, self._is_web = behave, is_web
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self.connections = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # A thread that waits for a connection is woken by this, and not by a close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self.connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError, StopIteration):
            self._behave(connection, upgrade(connection) if self._is_web else b"")

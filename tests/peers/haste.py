"""A client of HTTP/2 that resets each stream it opens, and a server that takes any number of them.

usage: haste.py burst|single PORT RESETS | haste.py serve PORT CERTIFICATE KEY

The client says how many resets were taken, and whether the connection "ended" or is still "open".
"""

import socket
import ssl
import sys
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

PATIENCE = 2  # seconds for a server to end a connection
PAUSE = 0.002  # between two single resets: enough for each to be looked at


def connect(port):
    """A connection that speaks HTTP/2, without looking at the certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    wrapped = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=5))
    assert wrapped.selected_alpn_protocol() == "h2"
    return wrapped


def attack(way, port, count):
    """Opens and resets streams: how many the server has taken, and whether it ended the connection."""
    wire, state = connect(port), h2.connection.H2Connection()
    state.initiate_connection()
    wire.sendall(state.data_to_send())
    # The server's settings are there before anything is asked for.
    receive(wire, state, 0.5)
    sent, known, ended = 0, None, False
    while sent < count and not ended:
        for _ in range(count if way == "burst" else 1):
            sent += 1
            stream = state.get_next_available_stream_id()
            state.send_headers(stream, HEADERS, end_stream=True)
            state.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        try:
            wire.sendall(state.data_to_send())
        except OSError:
            ended = True
        told, gone = receive(wire, state, PAUSE)
        known, ended = known if told is None else told, ended or gone
    if not ended:
        told, ended = receive(wire, state, PATIENCE)
        known = known if told is None else told
    if way == "burst" and ended:
        # All were sent at once: what the server says is what it has taken.
        sent = 0 if known is None else (known + 1) // 2
    return sent, ended


HEADERS = [(":method", "GET"), (":path", "/v1/openapi.json"), (":scheme", "https"),
           (":authority", "localhost")]  # fmt: skip


def receive(wire, state, seconds):
    """The last stream that the server says it has taken, if it does, and whether it has gone."""
    known, end = None, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        wire.settimeout(left)
        try:
            octets = wire.recv(65536)
        except TimeoutError:
            break
        except OSError:
            return known, True
        if not octets:
            return known, True
        for event in state.receive_data(octets):
            if isinstance(event, h2.events.ConnectionTerminated):
                known = event.last_stream_id
                return known, True
    return known, False


def serve(port, certificate, key):
    """Serves one connection after the other, and minds nothing."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", port))
    print("ready", flush=True)
    while True:
        try:
            wire = context.wrap_socket(listener.accept()[0], server_side=True)
            state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            state.initiate_connection()
            wire.sendall(state.data_to_send())
            while octets := wire.recv(65536):
                state.receive_data(octets)
                wire.sendall(state.data_to_send())
        except (OSError, h2.exceptions.ProtocolError) as error:
            print(repr(error), file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), *sys.argv[3:])
    taken, has_ended = attack(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(taken, "ended" if has_ended else "open")

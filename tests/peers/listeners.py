"""Listeners: every role's event stream of every call, kept as the octets that came."""

import selectors
import socket
import threading
import time

import sotto


class Listeners(threading.Thread):
    """Reads event streams, all in one thread, until stopped."""

    # Who may hear a call's events.
    ROLES = ("operator", "script", "engine")

    def __init__(self, keys):
        super().__init__(daemon=True)
        self._keys = {role: keys[role] for role in self.ROLES}
        self._selector, self._stopping = selectors.DefaultSelector(), False
        self._lock = threading.Lock()

    def follow(self, call):
        """By role, what comes of a call's events from now on: pairs of a time and octets."""
        heard = {}
        for role, key in self._keys.items():
            connection = socket.create_connection(sotto.CONTROL, 10)
            connection.sendall(
                f"GET /v1/calls/{call.id}/events HTTP/1.1\r\nHost: sotto\r\n"
                f"Authorization: Bearer {key}\r\n\r\n".encode()
            )
            connection.setblocking(False)
            heard[role] = []
            with self._lock:
                self._selector.register(connection, selectors.EVENT_READ, heard[role])
        return heard

    def run(self):
        """Receives until stopped."""
        while not self._stopping:
            with self._lock:
                ready = self._selector.select(0)
                for key, _ in ready:
                    octets = key.fileobj.recv(65536)
                    if octets:
                        key.data.append((time.time(), octets))
                    else:
                        self._selector.unregister(key.fileobj)
                        key.fileobj.close()
            time.sleep(0.01)

    def stop(self):
        """Ends it; what was heard stays."""
        self._stopping = True
        self.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()

"""RTP packets, read and written (RFC 3550), and the key events inside them (RFC 4733)."""

import struct
from dataclasses import dataclass

EVENT_CODES = {key: code for code, key in enumerate("0123456789*#ABCD")}
EVENT_TYPE = 101  # the payload type that all parties here give to telephone-event


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet as it was seen: when, from where, and what it says."""

    at: float
    source: tuple
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    @classmethod
    def read(cls, at, source, datagram):
        """The packet in a datagram, or None if it is something else."""
        if len(datagram) < 12 or datagram[0] >> 6 != 2 or 192 <= datagram[1] <= 223:
            return None
        _, second, sequence, timestamp, ssrc = struct.unpack_from(">BBHII", datagram)
        start = 12 + 4 * (datagram[0] & 0x0F)
        kind, marker = second & 0x7F, second > 0x7F
        return cls(at, source, kind, sequence, timestamp, ssrc, datagram[start:], marker)


def write(payload_type, sequence, timestamp, ssrc, payload, marker=False):
    """A datagram."""
    second = payload_type | (0x80 if marker else 0)
    header = struct.pack(
        ">BBHII", 0x80, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc & 0xFFFFFFFF
    )
    return header + payload


def event(key, duration, end=False):
    """The payload of one telephone-event packet; the duration is in units of 1/8000 s."""
    return struct.pack(">BBH", EVENT_CODES[key], (0x80 if end else 0) | 10, duration)

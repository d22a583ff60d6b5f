"""Wire: what tshark saw on loopback, outside of every process that is tested."""

import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import checks
import rtp


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram."""

    at: float
    source: tuple
    target: tuple
    payload: bytes


class Capture:
    """A capture of loopback's UDP; `datagrams` are there once the `with` block has ended."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="sotto-wire-")
        self._file = Path(self._folder.name) / "capture.pcap"
        command = ["tshark", "-i", "lo", "-f", "udp", "-B", "64", "-q", "-w", str(self._file)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        checks.wait_until(self._has_begun, 15, "the start of tshark")
        time.sleep(0.3)  # the file is there a moment before the first packet is
        return self

    def __exit__(self, *_):
        time.sleep(0.3)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        self.datagrams = list(_read(self._file))
        self._folder.cleanup()

    def _has_begun(self):
        return self._file.exists() and self._file.stat().st_size > 0

    def sent_elsewhere(self, ports, signalled):
        """Octets that left the relay's ports for an address nobody signalled, and to how many."""
        stray = [
            datagram
            for datagram in self.datagrams
            if ports[0] <= datagram.source[1] <= ports[1] and datagram.target not in signalled
        ]
        return sum(len(one.payload) for one in stray), {one.target for one in stray}

    def stream(self, target):
        """The RTP packets that went to one address."""
        to_target = (one for one in self.datagrams if one.target == target)
        packets = (rtp.Packet.read(one.at, one.source, one.payload) for one in to_target)
        return [packet for packet in packets if packet]


def _read(file):
    fields = ("frame.time_epoch", "ip.src", "udp.srcport", "ip.dst", "udp.dstport", "udp.payload")
    command = ["tshark", "-r", str(file), "-Y", "udp and not icmp", "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        at, source, source_port, target, target_port, payload = line.split("\t")
        yield Datagram(
            float(at),
            (source, int(source_port)),
            (target, int(target_port)),
            bytes.fromhex(payload.replace(":", "")),
        )


def check_cadence(packets, what):
    """An unbroken stream: nothing skipped, one size. Its longest gap in ms; prints the figures."""
    checks.expect(len(packets) > 50, f"{what}: a stream, not {len(packets)} packets")
    pairs = list(zip(packets, packets[1:], strict=False))
    longest = max(second.at - first.at for first, second in pairs) * 1000
    jumps = sum((second.sequence - first.sequence) % 65536 != 1 for first, second in pairs)
    skips = sum(
        (second.timestamp - first.timestamp) % 2**32 != len(first.payload)
        for first, second in pairs
    )
    sizes = {len(packet.payload) for packet in packets}
    sources = {packet.ssrc for packet in packets}
    checks.figure(
        f"{what}: {len(packets)} packets, longest gap {longest:.1f} ms, "
        f"{jumps} sequence and {skips} timestamp jumps, payloads of {sorted(sizes)} octets"
    )
    checks.equal((jumps, skips), (0, 0), "sequence and timestamp jumps")
    checks.equal((len(sizes), len(sources)), (1, 1), "sizes and SSRCs")
    return longest

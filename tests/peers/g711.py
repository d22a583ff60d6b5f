"""G.711 and keypad tones: what the synthetic parties say, by table (ITU-T G.711, Q.23)."""

import math
import random

SILENCE = {0: 0xFF, 8: 0xD5}  # by payload type: the octet for 0 in u-law and A-law
FRAME = 160  # octets of 20 ms at 8 kHz

_ROWS, _COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
KEYPAD = {
    key: (_ROWS[row], _COLUMNS[column])
    for row, keys in enumerate(("123A", "456B", "789C", "*0#D"))
    for column, key in enumerate(keys)
}


def _decode_ulaw(octet):
    octet ^= 0xFF
    magnitude = (((octet & 0x0F) << 3) + 0x84 << ((octet & 0x70) >> 4)) - 0x84
    return -magnitude if octet & 0x80 else magnitude


def _decode_alaw(octet):
    octet ^= 0x55
    step, segment = (octet & 0x0F) << 4, (octet & 0x70) >> 4
    magnitude = step + 8 if segment == 0 else step + 0x108 << (segment - 1)
    return magnitude if octet & 0x80 else -magnitude


def _encode_table(decoded):
    """Octets by the upper 14 bits of a sample: the nearest of the decoded ones."""
    octets = {decoded[octet]: octet for octet in range(256)}
    levels = sorted(octets)
    table, at = [], 0
    for sample in range(-32768, 32768, 4):
        while at + 1 < len(levels) and abs(levels[at + 1] - sample) <= abs(levels[at] - sample):
            at += 1
        table.append(octets[levels[at]])
    return table


# By payload type: u-law (0) and A-law (8).
PCM = {
    0: [_decode_ulaw(octet) for octet in range(256)],
    8: [_decode_alaw(octet) for octet in range(256)],
}
_ENCODE = {law: _encode_table(decoded) for law, decoded in PCM.items()}


def encode(samples, payload_type=0):
    """PCM samples as octets of a law."""
    table = _ENCODE[payload_type]
    return bytes(table[(sample + 32768) >> 2] for sample in samples)


def decode(octets, payload_type=0):
    """Octets of a law as PCM samples."""
    table = PCM[payload_type]
    return [table[octet] for octet in octets]


_TRANSCODE = {
    (law, to): bytes(_ENCODE[to][(sample + 32768) >> 2] for sample in decoded)
    for law, decoded in PCM.items()
    for to in PCM
}


def transcode(octets, law, to):
    """Octets of one law as those of the other, or the same."""
    return octets.translate(_TRANSCODE[law, to])


def tone(frequencies, amplitude, length, start=0):
    """Samples of a sum of sines, each of this amplitude."""
    steps = [2 * math.pi * hertz / 8000 for hertz in frequencies]
    return [
        int(sum(amplitude * math.sin(step * at) for step in steps))
        for at in range(start, start + length)
    ]


def power(samples, hertz):
    """Share of the samples' energy that lies at one frequency, 0 to 1 (Goertzel)."""
    energy = sum(sample * sample for sample in samples)
    if not energy:
        return 0.0
    turn = 2 * math.pi * hertz / 8000
    real = sum(sample * math.cos(turn * at) for at, sample in enumerate(samples))
    imaginary = sum(sample * math.sin(turn * at) for at, sample in enumerate(samples))
    return 2 * (real * real + imaginary * imaginary) / (len(samples) * energy)


class Canary:
    """A voice whose every frame is unlike any other, so that one octet of it can be told again.

    Pseudo-random u-law octets of middle loudness; never an octet that silence has.
    """

    _MIDDLE = [octet for octet in range(256) if 100 < abs(PCM[0][octet]) < 900]
    _TABLE = bytes((_MIDDLE * 4)[:256])

    def __init__(self, seed):
        self._random = random.Random(seed)

    def frame(self):
        """20 ms of voice."""
        return self._random.randbytes(FRAME).translate(self._TABLE)

    def over(self, samples):
        """20 ms of something else with the voice faintly below it."""
        noise = self._random.randbytes(FRAME)
        return encode(
            sample + (octet >> 1) - 64 for sample, octet in zip(samples, noise, strict=True)
        )

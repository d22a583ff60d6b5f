"""Scan: finds keyed digits in octets, in every form in which a program could come to hold them."""

import base64
import binascii
import random
import re
import struct
import time

import checks

# Digits in a row that make a hit. A masked card number may show six or eight in one piece, so
# more than that is a leak whoever reads it; and by chance eight given ones stand at a place once
# in 10^8, which over all that is scanned here is less than one false alarm in fifty runs.
RUN = 8
# In forms that use every bit any four octets are eight digits of something: there it takes more.
DENSE_RUN = 12
# A whole entry as one number is looked for from this length on: shorter ones are counters' values.
NUMBER = 10

# What is full of digits by chance and no key gets into: ids in hexadecimal, times, the one address
# that all parties here have, and the random number by which an SDP names itself. Times in seconds
# or ms since 1970 are numbers of their own that begin as the present does: over the minutes of a
# hunt eight digits of some second would be a key's, forwards or backwards, too often.
_ID = re.compile(rb"[0-9a-f]*[a-f][0-9a-f]+[a-f][0-9a-f]+[a-f][0-9a-f]*")
_USUAL = re.compile(
    rb"(?:[0-9]{2}:)+[0-9]{2}\.[0-9]{3,9}|127\.0\.0\.[0-9]{1,3}(?::[0-9]{1,5})?|"
    rb"o=- [0-9]{1,20} [0-9]{1,20} |(?<![0-9])%d[0-9]{5}(?:[0-9]{3})?(?![0-9])"
    % (time.time() // 10**5)
)
_ID_LENGTH = 20
# What glibc's malloc keeps for each thread: 64 counts of 16 bits, none above 7, which look like
# digits. They stand behind the head of their own chunk (656 octets, in the main arena or another);
# those of a thread that has ended behind that of whatever the chunk was given back to, and all of
# their 64 lists are empty then.
_COUNTS = rb"(?:[\0-\x07]\0){64}"
_IN_USE = b"".join(b"\\x%02x" % octet for octet in range(256) if octet & 15 in (1, 5))
_FREE_CHUNKS = re.compile(
    rb"(?:[\x91\x95]\x02\0{6}%b|[%b][\0-\xff]{2}\0{5}%b(?=\0{512}))"
    % (_COUNTS, _IN_USE, _COUNTS)
)
_FREE_CHUNKS_LENGTH = 8 + 2 * 64
# Addresses of a process: where the kernel puts a program, its libraries, heaps and stacks. Their
# octets from the third to the sixth are the same for all that lies nearby, so that a column of them
# has few values, and a relay's memory is full of columns of addresses.
_ADDRESS = re.compile(rb"[\0-\xff]{5}[\x55\x56\x7f]\0\0")
_SHARED_BY_NEIGHBOURS = range(2, 6)
_WORDS = (b"zero", b"one", b"two", b"three", b"four", b"five", b"six", b"seven", b"eight", b"nine")
_WORD = b"[zotfsen](?:" + b"|".join(sorted({word[1:] for word in _WORDS})) + b")"
_CODE = rb"(?:4[89]|5[0-7])"  # an ASCII digit's code, in decimal

# Runs as text: in groups with the same between all, digit by digit with the same between all (as
# in UTF-16), in hexadecimal, as codes, as names.
_PLAIN = re.compile(rb"[0-9]+(?:([ ,.:;/_\\\-]{1,3})[0-9]+(?:\1[0-9]+)*)?")
_SPACED = re.compile(rb"[0-9]([^0-9]{1,16})[0-9](?:\1[0-9]){%d,}" % (RUN - 2))
_HEX = re.compile(rb"(?:3[0-9]){%d,}" % RUN)
_HEX_VALUES = re.compile(rb"(?:0[0-9]){%d,}" % RUN)
_CODES = re.compile(rb"%s(?:[, ]{1,2}%s){%d,}" % (_CODE, _CODE, RUN - 1))
_NAMED = re.compile(rb"%s(?:[^a-z]{1,3}%s){%d,}" % (_WORD, _WORD, RUN - 1))
# Base64 of ASCII digits has a class of its own for each of four characters; any eight digits hold
# two whole groups of it, and what stands before and behind is decoded along.
_BASE64 = re.compile(rb"(?:[MNO][DTjz][AEIMQUYcgk][w-z0-5]){2,}")
_DIGITS = re.compile(rb"[0-9]{%d,}" % RUN)
_DENSE_DIGITS = re.compile(rb"[0-9]{%d,}" % DENSE_RUN)

_VALUES = bytes(48 + octet if octet < 10 else 120 for octet in range(256))
_SWAPPED = bytes((octet & 15) << 4 | octet >> 4 for octet in range(256))
_NOT_DIGIT = bytes(octet for octet in range(256) if not 48 <= octet <= 57)
_STRIDES = (1, 2, 4, 8)  # octets from value to value: octets, half words, words, key events ...


def is_telling(digits):
    """Whether a run of digits is unlike what is anywhere: tables, padding, round numbers."""
    return len(set(digits)) >= 4 and b"000" not in digits


def draw(seed, length):
    """Random digits each of whose runs is telling."""
    source = random.Random(seed)
    while True:
        digits = "".join(source.choice("0123456789") for _ in range(length))
        if all(map(is_telling, _runs(digits.encode(), RUN))):
            return digits


class Canaries:
    """Digits that were keyed, by whose they are; and the search for them."""

    def __init__(self, keyed):
        """Takes entries (texts of digits) by owner; they were keyed one after the other."""
        self._runs, self._dense, self._numbers = {}, {}, {}
        for owner, entries in keyed.items():
            for joined in ("".join(entries).encode(), *(entry.encode() for entry in entries)):
                self._add(self._runs, joined, RUN, owner)
                self._add(self._dense, joined, DENSE_RUN, owner)
            for entry in entries:
                # An accumulator also holds what was keyed so far.
                for length in range(NUMBER, min(len(entry), 19) + 1):
                    self._numbers.setdefault(int(entry[:length]), set()).add(owner)

    def find(self, octets):
        """Hits, as pairs of owner and form."""
        return self._in_text(octets) | self._in_strides(octets) | self._in_nibbles(octets) | (
            self._as_numbers(octets)
        )  # fmt: skip

    def has(self, digits):
        """Whether a run of ASCII digits has a hit in it."""
        return bool(self._look_up(digits, "digits"))

    def _in_text(self, octets):
        found = set()
        words = _USUAL.sub(b"t", _ID.sub(_without_id, octets))
        for form, pattern in (("digits", _PLAIN), ("spaced", _SPACED)):
            for run in pattern.finditer(words):
                # With what stands around it, which says whose mistake it is.
                seen = f"{form} in {words[max(0, run.start() - 24) : run.end() + 24]!r}"
                found |= self._look_up(run[0].translate(None, _NOT_DIGIT), seen)
        for form, pattern in (("hexadecimal", _HEX), ("hexadecimal values", _HEX_VALUES)):
            for run in pattern.finditer(octets):
                found |= self._look_up(run[0][1::2], form)
        for run in _CODES.finditer(octets):
            codes = re.findall(rb"\d+", run[0])
            found |= self._look_up(bytes(int(code) for code in codes), "codes")
        for run in _NAMED.finditer(octets.lower()):
            names = [name for name in re.findall(_WORD, run[0]) if name in _WORDS]
            found |= self._look_up(bytes(48 + _WORDS.index(name) for name in names), "names")
        for run in _BASE64.finditer(octets):
            whole = octets[max(0, run.start() - 4) : run.end() + 4]
            found |= self._look_up_base64(whole, min(4, run.start()))
        return found

    def _look_up_base64(self, text, before):
        """Looks into text whose groups of four begin at `before`; what is no Base64 is left out."""
        decoded = b""
        for at in range(before % 4, len(text) - 3, 4):
            try:
                decoded += base64.b64decode(text[at : at + 4], b"+/", validate=True)
            except ValueError:
                decoded += b"-"
        found = set()
        for run in _DIGITS.finditer(decoded):
            found |= self._look_up(run[0], "Base64")
        return found

    def _in_strides(self, octets):
        """Digits as their values, 1, 2, 4 or 8 octets apart."""
        found = set()
        octets = _FREE_CHUNKS.sub(b"\xff" * _FREE_CHUNKS_LENGTH, octets)
        values = octets.translate(_VALUES)
        for stride in _STRIDES:
            for offset in range(stride):
                for run in _DIGITS.finditer(_without_zeros(values[offset::stride])):
                    start, end = (offset + stride * at for at in run.span())
                    around = octets[max(0, start - 32) : end + 32].hex()
                    form = f"values, {stride} apart, in {around}"
                    hits = self._look_up(run[0], form)
                    if hits and stride == 8 and offset in _SHARED_BY_NEIGHBOURS:
                        words = octets[start - offset : end - offset]
                        hits = self._look_up(_without_addresses(words, offset), form)
                    found |= hits
        return found

    def _in_nibbles(self, octets):
        """Binary-coded decimal, either nibble first."""
        found = set()
        for form, packed in (("BCD", octets), ("BCD swapped", octets.translate(_SWAPPED))):
            for run in _DENSE_DIGITS.finditer(_without_zeros(binascii.hexlify(packed))):
                found |= self._look_up(run[0], form, self._dense, DENSE_RUN)
        return found

    def _as_numbers(self, octets):
        """Whole entries as 64-bit numbers in either order of octets, at places of 4 octets."""
        found = set()
        for offset in (0, 4):
            whole = octets[offset:]
            whole = whole[: len(whole) // 8 * 8]
            for order in "<>":
                numbers = struct.unpack(f"{order}{len(whole) // 8}Q", whole)
                for number in self._numbers.keys() & set(numbers):
                    found |= {(owner, "number") for owner in self._numbers[number]}
        return found

    def _look_up(self, digits, form, index=None, length=RUN):
        index = self._runs if index is None else index
        found = set()
        for run in _runs(digits, length):
            for owner, backwards in index.get(run, ()):
                found.add((owner, f"{form}, backwards" if backwards else form))
        return found

    @staticmethod
    def _add(index, digits, length, owner):
        for backwards, order in ((False, digits), (True, digits[::-1])):
            for run in filter(is_telling, _runs(order, length)):
                index.setdefault(run, set()).add((owner, backwards))


def forms(digits):
    """The digits in each form, for what is planted to see that it is found."""
    text = digits.encode()
    values = bytes(octet - 48 for octet in text)
    even = digits[: len(digits) // 2 * 2]
    return {
        "digits": text,
        "backwards": text[::-1],
        "grouped": "-".join(digits[at : at + 4] for at in range(0, len(digits), 4)).encode(),
        "characters of JSON": str(list(digits)).replace("'", '"').encode(),
        "debug of a type": ", ".join(f"Digit({digit})" for digit in digits).encode(),
        "codes": ", ".join(str(octet) for octet in text).encode(),
        "names": b" ".join(_WORDS[value] for value in values),
        "hexadecimal": text.hex().encode(),
        **{f"Base64 after {before}": base64.b64encode(b"x" * before + text) for before in range(3)},
        "UTF-16": digits.encode("utf-16-le"),
        "UTF-32": digits.encode("utf-32-be"),
        "values": values,
        "values as words": struct.pack(f"<{len(values)}I", *values),
        "values as long words": struct.pack(f">{len(values)}Q", *values),
        "key events": b"".join(struct.pack(">BBH", value, 0x8A, 800) for value in values),
        "BCD": bytes.fromhex(even),
        "BCD swapped": bytes.fromhex(even).translate(_SWAPPED),
    }


def numbers(entry):
    """An entry as one number, in either order of octets."""
    return struct.pack("<Q", int(entry)), struct.pack(">Q", int(entry))


def _without_id(run):
    """Nothing, of what is long enough for an id."""
    return b"i" if len(run[0]) >= _ID_LENGTH else run[0]


def _without_zeros(digits):
    """Memory is full of zeros: runs are cut where three stand in a row, which no canary has."""
    return digits.replace(b"000", b"xxx")


def _without_addresses(words, offset):
    """The digits at one place of words of 8 octets, cut where a word is an address."""
    return b"".join(
        b"x" if _ADDRESS.fullmatch(word) else b"%d" % word[offset]
        for word in (words[at : at + 8] for at in range(0, len(words), 8))
    )


def _runs(digits, length):
    return (digits[at : at + length] for at in range(len(digits) - length + 1))


def check_forms():
    """Every form of a planted canary is found among other octets, and nothing else is."""
    digits, others = draw("planted", 16), {"other": [draw("other", 16)]}
    source = random.Random("noise")
    hunt, missed = Canaries({"planted": [digits], **others}), []
    planted = [*forms(digits).items(), *(("number", one) for one in numbers(digits))]
    for form, octets in planted:
        for noise in (b"\0" * 4096, source.randbytes(4096), b"see 10.1.2.3, then " * 200):
            at = 8 * source.randrange(100)
            found = hunt.find(noise[:at] + octets + noise[at:])
            if {owner for owner, _ in found} != {"planted"}:
                missed.append((form, found))
    usual = b'{"at":"2026-11-24T16:50:57.123456Z","to":"127.0.0.1:10604","call":"call_%s"}'
    clean = hunt.find(source.randbytes(1 << 21) + usual % b"0198c0f3a1b27c3e8d4f5a6b7c8d9e0f")
    checks.figure(f"figure: scan: {len(planted)} forms planted among zeros, noise and text")
    checks.equal((missed, clean), ([], set()), "forms that are missed, and false alarms")
    check_free_chunks()
    check_addresses()


def check_addresses():
    """Octets that neighbours' addresses share are no digits; any other column of words is."""
    digits, found = "20830808", set()
    hunt = Canaries({"column": [digits]})
    tops = {"program": b"\xa2\x55\0\0", "library": b"\xa5\x7f\0\0", "none": b"\xa5\x7f\0\1"}
    for name, top in tops.items():
        for place in range(4):
            before, behind = b"\xee" * place, b"\xee" * (3 - place)
            if hunt.find(b"".join(b"%b%c%b" % (before, int(one), behind + top) for one in digits)):
                found.add((name, place))
    harmless = {(name, place) for name in ("program", "library") for place in (2, 3)}
    every = {(name, place) for name in tops for place in range(4)}
    checks.equal(found, every - harmless, "columns that count as digits")


def check_free_chunks():
    """What malloc counts is no digits; the same behind any other head, or before anything, is."""
    digits = "1234567123456712"
    table = b"".join(struct.pack("<H", int(digit)) for digit in digits * 4)
    hunt, empty = Canaries({"table": [digits]}), bytes(512)
    heads = {"living": 0x295, "no such size": 0x2A5, "given back": 0x20731, "not in use": 0x20732}
    found = {
        (name, len(behind)) for name, head in heads.items() for behind in (b"", empty[1:], empty)
        if hunt.find(struct.pack("<Q", head) + table + behind)
    }  # fmt: skip
    harmless = {("living", 0), ("living", 511), ("living", 512), ("no such size", 512),
                ("given back", 512)}  # fmt: skip
    all_of_them = {(name, length) for name in heads for length in (0, 511, 512)}
    checks.equal(found, all_of_them - harmless, "tables that count as digits")

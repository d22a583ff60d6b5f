"""Audit log: verifies one, in code of its own that shares nothing with the relay's.

    tests/audit_log.py verify DIRECTORY KEY [ANCHOR]   KEY as `audit_driver key` prints it
    tests/audit_log.py tree                            roots that control-api/audit/src/tree.rs has

Recomputes the chain of hashes, the canonical form of each line, the tree by its definition in
RFC 6962, and each checkpoint's root and signature (Ed25519 by python3-cryptography).
"""

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SEGMENT = re.compile(r"audit-(\d{20})\.jsonl")
NOTE_LINES = 5
TREE_SIZES = (0, 1, 2, 3, 7, 8, 1000, 65537)


class Wrong(Exception):
    """Something in a log that is not as it should be."""


def main():
    action, *arguments = sys.argv[1:]
    if action == "tree":
        for size in TREE_SIZES:
            print(size, root([leaf(b"leaf %d" % number) for number in range(size)]).hex())
        return
    try:
        entries, attested = verify(*(Path(arguments[0]), arguments[1], *map(Path, arguments[2:])))
    except Wrong as wrong:
        sys.exit(f"audit_log: {wrong}")
    print(f"{entries} entries, {attested} attested")


def verify(directory, key, anchor=None):
    """Number of entries, and of those that a checkpoint attests to."""
    lines = read_lines(directory)
    before = bytes(32)
    for seq, line in enumerate(lines):
        entry = json.loads(line)
        if canonical(entry) != line:
            raise Wrong(f"entry {seq} is not canonical")
        if entry["seq"] != seq:
            raise Wrong(f"entry {seq} says that it is {entry['seq']}")
        if entry["prev"] != before.hex():
            raise Wrong(f"entry {seq} is not chained")
        before = hashlib.sha256(line).digest()
    leaves = [leaf(line) for line in lines]
    attested = 0
    for file in filter(None, (directory / "checkpoints", anchor)):
        for size, hash_ in read_checkpoints(file, key):
            if size > len(lines) or root(leaves[:size]) != hash_:
                raise Wrong(f"{file.name} does not attest to the first {size} entries")
            attested = max(attested, size)
    return len(lines), attested


def read_lines(directory):
    lines = []
    for path in sorted(directory.iterdir()):
        named = SEGMENT.fullmatch(path.name)
        if not named:
            continue
        if int(named[1]) != len(lines):
            raise Wrong(f"{path.name} does not begin with entry {len(lines)}")
        *whole, rest = path.read_bytes().split(b"\n")
        if rest:
            raise Wrong(f"{path.name} ends within a line")
        lines += whole
    return lines


def canonical(entry):
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def read_checkpoints(file, key):
    """Size and root of each checkpoint in a file, their signatures verified."""
    if not file.exists():
        return
    name, key_id, encoded = key.split("+", 2)
    typed_key = base64.b64decode(encoded)
    if typed_key[0] != 1 or sha256(name.encode() + b"\n" + typed_key)[:4].hex() != key_id:
        raise Wrong("no verifier key")
    public = Ed25519PublicKey.from_public_bytes(typed_key[1:])
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    if len(lines) % NOTE_LINES:
        raise Wrong(f"{file.name} ends within a checkpoint")
    for at in range(0, len(lines), NOTE_LINES):
        origin, size, hash_, empty, signature = lines[at : at + NOTE_LINES]
        dash, signer, encoded = signature.split()
        octets = base64.b64decode(encoded, validate=True)
        is_ours = (origin, empty, dash, signer) == (f"{name}\n", "\n", "\u2014", name)
        if not is_ours or octets[:4].hex() != key_id:
            raise Wrong(f"{file.name} line {at + 1}: not a checkpoint of this log")
        try:
            public.verify(octets[4:], (origin + size + hash_).encode())
        except InvalidSignature:
            raise Wrong(f"{file.name} line {at + 1}: the signature is wrong") from None
        yield int(size), base64.b64decode(hash_.strip(), validate=True)


def root(leaves):
    """MTH of RFC 6962 section 2.1, over leaves that are hashed already."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:]))


def leaf(line):
    return sha256(b"\x00" + line)


def sha256(octets):
    return hashlib.sha256(octets).digest()


if __name__ == "__main__":
    main()

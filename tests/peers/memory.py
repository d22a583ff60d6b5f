"""Memory: what a process holds, read as root from outside; its core; and octets planted in it."""

import re
import struct
import subprocess
import tempfile
from pathlib import Path

import checks

PAGE = 4096
FAR = 1 << 20  # octets of a stack that a thread which waits will not need
MAX_REGION = 1 << 30  # octets; nothing of Sotto's is larger, a reservation of address space may be
VECTORS = 16  # vector registers that every processor of this kind has


class Memory:
    """A process' memory, of which only what has changed since `remember` is looked at again.

    A page that is as it was before the first key can't hold what was keyed since.
    """

    def __init__(self, pid):
        self._pid, self._known = pid, set()
        self.secret = self.read = 0  # octets that can't be read even by root, and that can

    def remember(self):
        """Takes all pages as they are now for harmless."""
        for _, octets in self._regions():
            self._known.update(map(hash, _pages(octets)))

    def changed(self):
        """Stretches of new pages."""
        return [part for _, octets in self._regions() for part in self._new(octets)]

    def core(self, before=(), after=()):
        """Notes, which hold the registers, and stretches of new pages of a core by gdb's gcore.

        All mappings that gdb can read are in it, also those that are marked as not to be dumped.
        What else gdb is to do comes before and after it.
        """
        with tempfile.TemporaryDirectory(prefix="sotto-core-") as folder:
            file = Path(folder) / "core"
            lines = ["set dump-excluded-mappings on", *before, f"gcore {file}", *after]
            run_gdb(self._pid, lines)
            core = file.read_bytes()
        notes = []
        for kind, octets in _segments(core):
            if kind == "note":
                notes.append(octets)
            else:
                notes.extend(self._new(octets))
        return notes

    def registers(self, canaries, octets):
        """Owners of what is found in a core whose process had 16 octets in two registers.

        They are general ones: gdb 13 can't write vector registers where the processor has many. That
        those are in the core too is seen by what they hold. Registers are restored.
        """
        low, high = struct.unpack("<2Q", octets)
        before = ["set $kept15 = $r15", "set $kept14 = $r14"]
        before += [f"set $r15 = {low}", f"set $r14 = {high}"]
        after = ["set $r15 = $kept15", "set $r14 = $kept14"]
        with tempfile.TemporaryDirectory(prefix="sotto-vectors-") as folder:
            files = [Path(folder) / str(number) for number in range(VECTORS)]
            before += [f"dump binary value {file} $xmm{number}" for number, file in enumerate(files)]
            parts = self.core(before, after)
            vectors = [file.read_bytes() for file in files]
        held = [vector for vector in vectors if vector.strip(b"\0")]
        checks.expect(held, "a vector register that holds anything")
        missing = [vector for vector in held if not any(vector in part for part in parts)]
        checks.equal(missing, [], "vector registers that are not in the core")
        return {owner for part in parts for owner, _ in canaries.find(part)}

    def plant(self, octets):
        """Writes into the unused end of a thread's stack: a copy that was left behind."""
        start = next(self._unused_stacks(len(octets)))
        with open(f"/proc/{self._pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(octets)

    def _unused_stacks(self, length):
        """Where the stacks end of threads that wait far from there (proc_pid_syscall(5))."""
        pointers = []
        for thread in Path(f"/proc/{self._pid}/task").iterdir():
            words = (thread / "syscall").read_text().split()
            pointers += [int(words[-2], 16)] if len(words) > 2 else []
        for start, end, rights, name in _maps(self._pid):
            inside = [one for one in pointers if start <= one < end]
            if inside and rights == "rw-p" and name != "[stack]":
                if min(inside) - start > FAR + length:
                    yield start

    def _regions(self):
        self.secret = self.read = 0
        with open(f"/proc/{self._pid}/mem", "rb", buffering=0) as memory:
            for start, end, rights, name in _maps(self._pid):
                if rights[0] != "r" or name in ("[vvar]", "[vsyscall]"):
                    continue
                checks.expect(end - start <= MAX_REGION, f"a region of {end - start} octets")
                octets = _read(memory, start, end)
                self.read += len(octets)
                self.secret += end - start - len(octets)
                yield start, octets

    def _new(self, octets):
        stretch = []
        for page in _pages(octets):
            if hash(page) in self._known:
                if stretch:
                    yield b"".join(stretch)
                stretch = []
            else:
                stretch.append(page)
        if stretch:
            yield b"".join(stretch)


def run_gdb(pid, lines):
    """Lets gdb do something to a process that it stops meanwhile."""
    command = ["gdb", "-nx", "-batch", "--readnever", "-iex", "set auto-load off", "-p", str(pid)]
    for line in lines:
        command += ["-ex", line]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    saved = "Saved corefile" in done.stdout
    checks.expect(saved, f"a core by gdb, which says {done.stdout[-500:]} {done.stderr[-500:]}")


def _maps(pid):
    """Start, end, rights and name of each region, as proc_pid_maps(5) has them."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        start, end, rights, name = re.match(
            r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line
        ).groups()
        yield int(start, 16), int(end, 16), rights, name


def _read(memory, start, end):
    """What can be read of a region: memory that is secret can't be, not even by root."""
    memory.seek(start)
    parts = []
    try:
        while start < end:
            part = memory.read(min(end - start, 1 << 24))
            if not part:
                break
            parts.append(part)
            start += len(part)
    except OSError:
        pass
    return b"".join(parts)


def _pages(octets):
    return (octets[at : at + PAGE] for at in range(0, len(octets), PAGE))


def _segments(core):
    """Notes and memory of a 64-bit ELF core (elf(5))."""
    checks.equal(core[:5], b"\x7fELF\x02", "begin of a core")
    (offset,) = struct.unpack_from("<Q", core, 32)
    size, count = struct.unpack_from("<HH", core, 54)
    for index in range(count):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", core, offset + index * size)
        yield "note" if kind == 4 else "memory", core[start : start + length]

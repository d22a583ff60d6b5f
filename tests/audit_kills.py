"""Audit kills: a process that is killed, and whose disk fails, at each write and sync of its log.

    tests/audit_kills.py DRIVER

strace kills the driver as it enters the n-th write, sync, rename or cut of a file of the log, for
every n, or has that call fail. After each, no entry that was acknowledged may be missing, the log
must open and go on, and it must be right by the relay's own verifier and by another one.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import audit_log

ENTRIES = 16
TOGETHER = 60
SYSTEM_CALLS = ("write", "fsync", "fdatasync", "rename", "ftruncate")
# More system calls of one kind than any action makes.
MOST = 200
TIME_LIMIT = 20
SEGMENT = "audit-%020d.jsonl"
TREE = "audit-%020d.tree"
NEW_TREE = "audit-%020d.tree.new"
CREATED = re.compile(r'\d+ +openat\(.*"[^"]*/(audit-\d{20}\.jsonl)", [A-Z_|]*O_CREAT.*\) += \d+')
WROTE = re.compile(r'\d+ +write\(\d+<[^>]*/(audit-\d{20}\.jsonl)>, "(.*)", \d+\) += \d+$')
SEQ = re.compile(r'\\"seq\\":(\d+)\}')
SYNCED = re.compile(r"\d+ +fdatasync\(\d+<[^>]*/(audit-\d{20}\.jsonl)>\) += 0$")
NAMED = re.compile(r"\d+ +fsync\(\d+<[^>]*/log>\) += 0$")
TOLD = re.compile(r'\d+ +write\(1<[^>]*>, "acknowledged (\d+)\\n"')
UNFINISHED = re.compile(r"((\d+) +.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")


class Wrong(Exception):
    """Something that must not be after a fault."""


def main():
    driver = os.path.abspath(sys.argv[1])
    passed, failed = 0, 0
    # A kill takes nothing from the kernel, so that memory shows the same as a disk, sooner.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        kills = Kills(driver, Path(folder))
        cases = [
            ("without a fault", kills.without_a_fault),
            ("killed while appending", lambda: kills.appending("append", ENTRIES)),
            ("killed while many wait", lambda: kills.appending("append-together", TOGETHER)),
            ("killed at the first start", kills.first_start),
            ("killed while a torn end is cut off", kills.cutting),
            ("a disk that is full", lambda: kills.failing("write", "ENOSPC")),
            ("a disk that fails to write", lambda: kills.failing("write", "EIO")),
            ("a disk that fails to sync", lambda: kills.failing("fdatasync", "EIO")),
            ("a disk that is full within a line", kills.short_writes),
            ("acknowledged behind the sync", lambda: kills.order("append")),
            ("control: told before it is written is lost by a kill", kills.early_is_lost),
            ("control: told before it is synced is seen", kills.early_is_seen),
            ("control: a sync that is left out is seen", kills.order_is_watched),
            ("control: a line that is missing is found", kills.missing_is_found),
        ]
        for name, case in cases:
            try:
                print(f"{name}: {case()}", flush=True)
                passed += 1
            except Wrong as wrong:
                print(f"{name}: FAILED: {wrong}", flush=True)
                failed += 1
        print(
            f"figure: {kills.count} kills and faults at a write, sync, rename or cut: "
            f"{kills.acknowledged} entries acknowledged, {kills.lost} of them lost"
        )
    print(f"audit: {passed} passed, {failed} failed")
    sys.exit(failed > 0)


class Kills:
    """The driver, a folder to work in, and what the faults have shown."""

    def __init__(self, driver, folder):
        self.driver = driver
        self.folder = folder
        self.keys = {}
        self.count = self.acknowledged = self.lost = 0

    def without_a_fault(self):
        target = self.fresh()
        said = self.run([self.driver, "append", target, ENTRIES])
        if len(acknowledged(said)) != ENTRIES or "done" not in said:
            raise Wrong(f"the driver says {said}")
        self.judge(target, said)
        return f"{ENTRIES} entries acknowledged, verified by both"

    def appending(self, action, count):
        return self.everywhere(action, count, self.begun, {"write", "fdatasync"})

    def first_start(self):
        return self.everywhere("append", 2, lambda target: None, {"write", "fsync", "rename"})

    def cutting(self):
        return self.everywhere("append", 2, self.torn, {"ftruncate", "fsync"})

    def everywhere(self, action, count, prepare, wanted):
        """Kills an action at each system call of each kind, and judges what is left each time."""
        counts = {}
        for system_call in SYSTEM_CALLS:
            for number in range(1, MOST):
                target = self.fresh()
                prepare(target)
                fault = f"{system_call}:signal=KILL:when={number}"
                said = self.inject([action, target, count], target, system_call, fault)
                self.judge(target, said)
                if "done" in said:
                    break
                self.count += 1
                counts[system_call] = counts.get(system_call, 0) + 1
            else:
                raise Wrong(f"{system_call} has no end")
        if not wanted <= counts.keys():
            raise Wrong(f"strace saw {counts} only")
        return ", ".join(f"{number} at {name}" for name, number in counts.items())

    def failing(self, system_call, error):
        """Each call fails once: what comes later is refused, and the log is as it was promised."""
        for number in range(1, MOST):
            target = self.fresh()
            self.begun(target)
            fault = f"{system_call}:error={error}:when={number}"
            said = self.inject(["append", target, ENTRIES], target, system_call, fault)
            self.judge(target, said)
            if "closed" in said:
                break
            if "writable true" not in said:
                self.judge_refusals(said)
            self.count += 1
        else:
            raise Wrong(f"{system_call} has no end")
        if number < ENTRIES:
            raise Wrong(f"{system_call} failed {number - 1} times only")
        return f"{number - 1} faults, all that came later was refused"

    def short_writes(self):
        """A limit of the file's size cuts a write in the middle of a line, as a full disk does."""
        torn = 0
        for limit in range(700, 3500, 97):
            target = self.fresh()
            self.begun(target)

            def limited(limit=limit):
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

            said = self.run([self.driver, "append", target, ENTRIES], preexec_fn=limited)
            self.judge_refusals(said)
            first = (target / (SEGMENT % 0)).read_bytes()
            torn += not first.endswith(b"\n")
            self.judge(target, said)
            self.count += 1
        if torn < 20:
            raise Wrong(f"{torn} writes were cut only")
        return f"{torn} writes cut within a line, cut off at the next start"

    def order(self, action):
        """No entry is told before the sync of its line, and of its file's name, has come back."""
        trace = self.trace(action)
        told, early = synced_before_told(trace)
        if told != ENTRIES:
            raise Wrong(f"the trace tells of {told} entries")
        if early:
            raise Wrong(f"entries {early} were told before they were synced")
        return f"{told} entries, each told behind the sync of its line and of its file's name"

    def trace(self, action):
        """What the driver does, a line for each system call that has come back."""
        target = self.fresh()
        self.begun(target)
        trace = self.folder / "trace"
        calls = "trace=openat,write,fsync,fdatasync"
        strace = ["strace", "-f", "-y", "-s", "65536", "-o", trace, "-e", calls, "--"]
        self.run([*strace, self.driver, action, target, ENTRIES])
        return list(whole_calls(trace.read_text().splitlines()))

    def order_is_watched(self):
        """Without a sync of one kind in the trace, the same trace is found fault with."""
        trace = self.trace("append")
        found = []
        for kind in (SYNCED, NAMED):
            _, early = synced_before_told([line for line in trace if not kind.match(line)])
            if not early:
                raise Wrong("a trace without syncs passes")
            found.append(len(early))
        return f"{found[0]} without syncs of lines, {found[1]} without those of names"

    def early_is_lost(self):
        """A driver that tells before the write loses what it told."""
        lost = 0
        for number in range(1, MOST):
            target = self.fresh()
            self.begun(target)
            fault = f"write:signal=KILL:when={number}"
            said = self.inject(["append-early", target, ENTRIES], target, "write", fault)
            lost += len(self.missing(target, said))
            if "done" in said:
                break
        if not lost:
            raise Wrong("nothing was lost")
        return f"{lost} entries that were told are missing"

    def early_is_seen(self):
        try:
            self.order("append-early")
        except Wrong as wrong:
            if "before they were synced" not in str(wrong):
                raise
            return str(wrong)[:60]
        raise Wrong("it was not seen")

    def missing_is_found(self):
        """Both verifiers notice a line that is taken out, and say where."""
        target = self.fresh()
        self.run([self.driver, "append", target, ENTRIES])
        first = target / (SEGMENT % 0)
        lines = first.read_bytes().splitlines(keepends=True)
        first.write_bytes(b"".join(lines[:3] + lines[4:]))
        ours = self.run([self.driver, "verify", target, self.key(target)])
        if not ours[0].startswith("bad:") or "entry 3" not in ours[0]:
            raise Wrong(f"our own says {ours}")
        try:
            audit_log.verify(target, self.key(target))
        except audit_log.Wrong as wrong:
            return f"{ours[0]}; {wrong}"
        raise Wrong("the other one has not noticed")

    def judge(self, target, said):
        """Nothing acknowledged is missing; the log opens, goes on, and is right for both."""
        self.acknowledged += len(acknowledged(said))
        missing = self.missing(target, said)
        if missing:
            self.lost += len(missing)
            raise Wrong(f"acknowledged and lost: {missing}")
        self.open(target)
        self.both_verify(target)

    def missing(self, target, said):
        present = set()
        for path in target.glob("audit-*.jsonl"):
            present |= {int(seq) for seq in re.findall(rb'"seq":(\d+)\}\n', path.read_bytes())}
        return sorted(acknowledged(said) - present)

    def open(self, target):
        said = self.run([self.driver, "check", target])
        if "done" not in said or any(line.startswith("not opened") for line in said):
            raise Wrong(f"the log does not open: {said}")

    def both_verify(self, target):
        key = self.key(target)
        anchor = target.with_suffix(".anchor")
        ours = self.run([self.driver, "verify", target, key, anchor])
        try:
            entries, attested = audit_log.verify(target, key, anchor)
        except audit_log.Wrong as wrong:
            raise Wrong(f"for another verifier it is not right: {wrong}") from None
        if ours[0] != f"{entries} entries, {attested} attested" or entries != attested:
            raise Wrong(f"ours: {ours}; the other: {entries} entries, {attested} attested")

    @staticmethod
    def judge_refusals(said):
        """Behind the first refusal nothing is acknowledged."""
        kinds = [line.split()[0] for line in said if line.startswith(("acknowledged", "refused"))]
        if "refused" not in kinds or "acknowledged" in kinds[kinds.index("refused") :]:
            raise Wrong(f"acknowledged behind a refusal: {said}")
        if "writable false" not in said:
            raise Wrong(f"a log that has failed says that it can be written: {said}")

    def key(self, target):
        """The public half of a log's key, asked for once."""
        file = target.with_suffix(".key").read_bytes()
        if file not in self.keys:
            self.keys[file] = self.run([self.driver, "key", target])[0]
        return self.keys[file]

    def begun(self, target):
        """A log that was opened and closed once."""
        sample = self.folder / "sample"
        if not sample.exists():
            self.run([self.driver, "append", sample, 1])
        self.copy(sample, target)

    def torn(self, target):
        """A log whose last line and last checkpoint have no end."""
        self.begun(target)
        with open(target / (SEGMENT % 0), "ab") as segment:
            segment.write(b'{"actor":"rel')
        with open(target / "checkpoints", "ab") as checkpoints:
            checkpoints.write(b"relay-1.example/audit\n7\n")

    @staticmethod
    def copy(sample, target):
        shutil.copytree(sample, target)
        for kind in (".key", ".anchor"):
            shutil.copy(sample.with_suffix(kind), target.with_suffix(kind))

    def fresh(self):
        target = self.folder / "log"
        shutil.rmtree(target, ignore_errors=True)
        for path in self.folder.glob("log.*"):
            path.unlink()
        return target

    def inject(self, arguments, target, system_call, fault):
        """What the driver said, with a fault at a system call on a file of the log."""
        forms = (SEGMENT, TREE, NEW_TREE)
        names = [form % first for form in forms for first in range(2 * TOGETHER)]
        paths = [target, *(target / name for name in [*names, "checkpoints"])]
        paths += [target.with_suffix(kind) for kind in (".key", ".key.new", ".anchor.new")]
        watched = [word for path in paths for word in ("-P", path)]
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", *watched]
        strace += ["-e", f"trace={system_call}", "-e", f"inject={fault}", "--"]
        return self.run([*strace, self.driver, *arguments])

    @staticmethod
    def run(command, **options):
        done = subprocess.run(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT, check=False, text=True, **options,
        )
        return done.stdout.splitlines()


def acknowledged(said):
    return {int(line.split()[1]) for line in said if line.startswith("acknowledged")}


def whole_calls(trace):
    """The lines of a trace, with those joined that another thread's call has parted."""
    begun = {}
    for line in trace:
        if unfinished := UNFINISHED.match(line):
            begun[unfinished[2]] = unfinished[1]
        elif resumed := RESUMED.match(line):
            yield begun.pop(resumed[1], "") + resumed[2]
        else:
            yield line


def synced_before_told(trace):
    """How many entries a trace tells of, and which of them before they were on the disk: their line
    synced, and the directory since it has their file's name."""
    file_of, synced, created, named, told, early = {}, set(), set(), set(), 0, []
    for line in trace:
        if opened := CREATED.match(line):
            created.add(opened[1])
        elif NAMED.match(line):
            named |= created
        elif wrote := WROTE.match(line):
            file_of.update(dict.fromkeys(map(int, SEQ.findall(wrote[2])), wrote[1]))
        elif sync := SYNCED.match(line):
            synced |= {seq for seq, file in file_of.items() if file == sync[1]}
        elif tells := TOLD.match(line):
            told += 1
            seq = int(tells[1])
            if seq not in synced or file_of[seq] not in named:
                early.append(seq)
    return told, early


if __name__ == "__main__":
    main()

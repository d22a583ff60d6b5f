"""Recording kills: a process that is killed at each system call it makes on recordings.

    tests/recording_kills.py DRIVER SABOTAGED_DRIVER

strace kills the driver as it enters the n-th write, sync, rename, unlink or open of a file of a
recording, for every n and each of recording, rewrapping and erasing. After each kill no file may
hold audio in clear, what was complete must be whole, of the running recording at most one chunk of
what had been handed over may be lost, and what was interrupted must be possible again.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CALLS = (1, 2, 3)
BLOCKS = 12
CHUNK_BLOCKS = 5
MARKS = (b"CLEAR-CALLER-VOICE;", b"CLEAR-ENGINE-VOICE;")
SYSTEM_CALLS = ("write", "fsync", "fdatasync", "rename", "unlink", "openat")
# More system calls of one kind than any action makes.
MOST = 200
TIME_LIMIT = 20


class Wrong(Exception):
    """Something that must not be after a kill."""


def main():
    driver, sabotaged = (os.path.abspath(path) for path in sys.argv[1:3])
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(driver, Path(folder))
        cases = [
            ("killed while recording", kills.recording),
            ("killed while rewrapping", kills.rewrapping),
            ("killed while erasing", kills.erasing),
            ("control: audio in clear is found", lambda: kills.control(sabotaged)),
        ]
        for name, case in cases:
            try:
                print(f"{name}: {case()}", flush=True)
                passed += 1
            except Wrong as wrong:
                print(f"{name}: FAILED: {wrong}", flush=True)
                failed += 1
        print(
            f"figure: {kills.count} kills at a write, sync, rename, unlink or open: "
            f"{kills.clear} clear octet runs on the disk, {kills.lost_complete} completed "
            f"recordings lost, {kills.worst_loss} of {CHUNK_BLOCKS} blocks of a chunk lost at most"
        )
    print(f"recording: {passed} passed, {failed} failed")
    sys.exit(failed > 0)


class Kills:
    """The driver, a folder to work in, and what the kills have shown."""

    def __init__(self, driver, folder):
        self.driver = driver
        self.folder = folder
        self.keys = [self.key(name) for name in ("old", "new")]
        self.count = self.clear = self.lost_complete = self.worst_loss = 0

    def key(self, name):
        path = self.folder / name
        path.write_text(os.urandom(32).hex())
        path.chmod(0o600)
        return path

    def recording(self):
        """Kills the making of three recordings."""
        old, _ = self.keys
        killed = self.everywhere("record", [old], lambda target: None, self.after_recording)
        # strace counts by thread, and the thread that writes the ends comes second to each count.
        for number in range(1, MOST):
            target = self.fresh("record")
            said = self.kill_thread("recorder-sync", "write", number, target, [old])
            self.scan(target)
            self.after_recording(target, said)
            if "done" in said:
                break
            self.count += 1
        if number <= len(CALLS):
            raise Wrong(f"{number - 1} kills at the writing of {len(CALLS)} ends")
        return f"{killed}, {number - 1} at the write of an end"

    def after_recording(self, target, said):
        handed = dict.fromkeys(CALLS, 0)
        completed = set()
        for word, *numbers in (line.split() for line in said):
            if word == "handed":
                handed[int(numbers[0])] = int(numbers[1])
            elif word == "completed":
                completed.add(int(numbers[0]))
        held = self.check(target, self.keys[:1])
        for call in CALLS:
            state, blocks = held[call]
            if call in completed and (state, blocks) != ("complete", BLOCKS):
                self.lost_complete += 1
                raise Wrong(f"recording {call} was complete and is {state} with {blocks} blocks")
            self.worst_loss = max(self.worst_loss, handed[call] - blocks)
            if handed[call] - blocks > CHUNK_BLOCKS:
                raise Wrong(f"of {handed[call]} blocks handed over {blocks} are left")
            if state not in ("complete", "interrupted") and blocks + handed[call] > CHUNK_BLOCKS:
                raise Wrong(f"recording {call} is {state}")
            if state in ("altered", "damaged", "headless"):
                raise Wrong(f"recording {call} is {state} by a kill alone")

    def rewrapping(self):
        """Kills the rewrapping of three recordings, then completes it."""
        old, new = self.keys
        return self.everywhere("rewrap", [new, old], self.make_three, self.after_rewrapping)

    def after_rewrapping(self, target, _said):
        old, new = self.keys
        self.expect(self.check(target, [new, old]), dict.fromkeys(CALLS, "complete"))
        self.drive("rewrap", target, [new, old])
        self.expect(self.check(target, [new]), dict.fromkeys(CALLS, "complete"))
        self.expect(self.stray_files(target), [])

    def erasing(self):
        """Kills the erasure of one recording, then completes it; nothing brings it back."""
        old, _ = self.keys
        return self.everywhere("erase", [old], self.make_three, self.after_erasing)

    def after_erasing(self, target, said):
        old, _ = self.keys
        others = {1: "complete", 3: "complete"}
        ciphertext = self.folder / "sample" / self.names(2)[0]
        state = self.check(target, [old])[2][0]
        allowed = ("none",) if "erased true" in said else ("complete", "erased", "none")
        if state not in allowed:
            raise Wrong(f"the erased recording is {state}")
        self.drive("erase", target, [old])
        self.expect(self.check(target, [old]), {**others, 2: "none"})
        shutil.copy(ciphertext, target)
        self.expect(self.check(target, [old]), {**others, 2: "erased"})
        self.expect(self.stray_files(target), [])

    def control(self, sabotaged):
        """A writer that does not seal is caught by the same scan."""
        target = self.fresh("clear")
        self.drive("record-in-clear", target, self.keys[:1], driver=sabotaged)
        found = [path.name for path in target.iterdir() if runs_in_clear(path)]
        if len(found) != len(CALLS):
            raise Wrong(f"audio in clear was found in {found} only")
        return f"in each of {len(found)} recordings"

    def everywhere(self, action, keys, prepare, judge):
        """Kills an action at each system call of each kind, and judges what is left each time."""
        counts = {}
        for system_call in SYSTEM_CALLS:
            for number in range(1, MOST):
                target = self.fresh(action)
                prepare(target)
                said = self.kill(action, target, keys, system_call, number)
                self.scan(target)
                judge(target, said)
                if "done" in said:
                    break
                self.count += 1
                counts[system_call] = counts.get(system_call, 0) + 1
            else:
                raise Wrong(f"{system_call} has no end")
        if not {"write", "fsync", "openat"} <= counts.keys():
            raise Wrong(f"strace saw {counts} only")
        return ", ".join(f"{count} at {name}" for name, count in counts.items())

    def kill(self, action, target, keys, system_call, number):
        """What the driver said until strace killed it, or all if it made fewer calls."""
        paths = [target] + [target / name for call in CALLS for name in self.names(call)]
        watched = [word for path in paths for word in ("-P", str(path))]
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", *watched, "-e", f"trace={system_call}"]
        strace += ["-e", f"inject={system_call}:signal=KILL:when={number}"]
        return self.run([*strace, self.driver, action, target, *keys])[1]

    def kill_thread(self, thread, system_call, number, target, keys):
        """As `kill`, but counts the system calls of one thread of the recorder."""
        command = [self.driver, "record-when-told", target, *keys]
        driver = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        try:
            if driver.stdout.readline() != "ready\n":
                raise Wrong("the driver is not ready")
            task = self.task_of(driver.pid, thread)
            strace = ["strace", "-o", "/dev/null", "-p", task, "-e", f"trace={system_call}"]
            strace += ["-e", f"inject={system_call}:signal=KILL:when={number}"]
            with subprocess.Popen(strace, stderr=subprocess.PIPE, text=True) as tracer:
                if "attached" not in tracer.stderr.readline():
                    raise Wrong("strace can't attach")
                said, _ = driver.communicate("go\n", timeout=TIME_LIMIT)
        finally:
            driver.kill()
            driver.wait()
        return said.splitlines()

    @staticmethod
    def task_of(process, thread):
        """The id of a process's thread; a new thread takes a moment to give itself its name."""
        end = time.monotonic() + TIME_LIMIT
        while time.monotonic() < end:
            for task in Path(f"/proc/{process}/task").iterdir():
                if (task / "comm").read_text().strip() == thread:
                    return task.name
            time.sleep(0.001)
        raise Wrong(f"there is no thread {thread}")

    def drive(self, action, target, keys, driver=None):
        status, said = self.run([driver or self.driver, action, target, *keys])
        if status != 0 or "done" not in said:
            raise Wrong(f"{action} failed: {said}")
        return said

    def run(self, command):
        done = subprocess.run(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT, check=False, text=True,
        )
        return done.returncode, done.stdout.splitlines()

    def check(self, target, keys):
        """State and blocks of each recording."""
        said = self.drive("check", target, keys)
        calls = [line.split() for line in said if line.startswith("call ")]
        return {int(call): (state, int(blocks)) for _, call, state, blocks in calls}

    def expect(self, found, wanted):
        if isinstance(found, dict):
            found = {call: state for call, (state, _) in found.items()}
        if found != wanted:
            raise Wrong(f"found {found}, not {wanted}")

    def scan(self, target):
        runs = sum(runs_in_clear(path) for path in target.iterdir())
        self.clear += runs
        if runs:
            raise Wrong(f"{runs} runs of audio in clear")

    def make_three(self, target):
        """A copy of three complete recordings under the old key."""
        sample = self.folder / "sample"
        if not sample.exists():
            self.drive("record", sample, self.keys[:1])
        shutil.copytree(sample, target, dirs_exist_ok=True)

    def fresh(self, name):
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700)
        return target

    def stray_files(self, target):
        return [path.name for path in target.iterdir() if path.suffix == ".new"]

    @staticmethod
    def names(call):
        return [f"{call:032x}.{end}" for end in ("sotto-recording", "key", "key.new")]


def runs_in_clear(path):
    """How often a file holds what the driver recorded."""
    octets = path.read_bytes()
    return sum(octets.count(mark) for mark in MARKS)


if __name__ == "__main__":
    main()

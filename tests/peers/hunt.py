"""Hunt: canary sessions of telephones and browsers, and a search of every sink for their keys."""

import multiprocessing
import os
import queue
import re
import subprocess
import threading
import time
import traceback

import canary
import checks
import far_side
import g711
import hostile
import listeners
import memory
import party
import scan
import side_channel
import sotto
import web_keyer

COUNT = 200
PROCESSES, AT_ONCE = 2, 25  # of callers and engines, and sessions that each plays at a time
BROWSERS_AT_ONCE = 2  # beside them
START = 1.0  # seconds over which the sessions of a batch begin
MIDDLE = 6.0  # seconds from the begin until memory is looked at for the first time
REST = 1.0  # seconds from the end of the last session until memory is looked at
PATIENCE = 90  # seconds for one batch
MARK = "A"  # a key that no card has, between the sessions' audio for the decoder
_fork = multiprocessing.get_context("fork")


class Batch:
    """Sessions that are played at a time, over processes that leave a core to the relay."""

    def __init__(self, relay, numbers, keys, canaries, outside):
        self._numbers = numbers
        self._over, self._looked = _fork.Semaphore(0), _fork.Event()
        self._results = _fork.Queue()
        self._processes = [
            _fork.Process(
                target=self._play,
                args=(relay, numbers[index::PROCESSES], keys, canaries, outside, index),
            )
            for index in range(PROCESSES)
        ]

    def __enter__(self):
        for process in self._processes:
            process.start()
        return self

    def wait(self):
        """Returns when all sessions are over, half of the calls being still open."""
        end = time.monotonic() + PATIENCE
        for _ in self._numbers:
            left = end - time.monotonic()
            if not self._over.acquire(timeout=max(0, left)):
                break  # what went wrong is told by the results

    def __exit__(self, kind, *_):
        self._looked.set()
        self.found = []
        for _ in self._processes if not kind else ():
            found, error = self._results.get(timeout=PATIENCE)
            checks.expect(not error, f"a batch of sessions: {error}")
            self.found += found
        for process in self._processes:
            if kind:
                process.kill()
            process.join()

    def _play(self, relay, numbers, keys, canaries, outside, index):
        try:
            os.nice(5)  # the relay comes first, as if it had the machine to itself
            party.use_ports_from(30_000 + 10_000 * index)
            ears = listeners.Listeners(keys)
            ears.start()
            sessions = [canary.Session(relay, number, keys, ears, outside) for number in numbers]
            failures = queue.SimpleQueue()
            threads = [
                threading.Thread(target=self._play_one, args=(session, number, failures))
                for number, session in enumerate(sessions)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if not failures.empty():
                raise failures.get()
            # What is over is searched while the relay's memory is.
            found = [one.find(canaries) for one in sessions if not one.kind.stays_open]
            self._looked.wait(PATIENCE)
            open_still = [one for one in sessions if one.kind.stays_open]
            for session in open_still:
                session.close()
            ears.stop()
            self._results.put((found + [one.find(canaries) for one in open_still], None))
        except BaseException:
            self._results.put(([], traceback.format_exc()))

    def _play_one(self, session, place, failures):
        try:
            time.sleep(START * place / AT_ONCE)
            session.play()
        except BaseException as error:
            failures.put(error)
        finally:
            self._over.release()


def play_all(relay, outside, count, look):
    """All the sessions, batch by batch.

    `look` is called in the middle of each batch, while keys are pressed, and a moment after its end.
    """
    batches = list(batches_of(count))
    keys, canaries = relay.keys(), canary.canaries_of(sum(batches, []))
    found = []
    for numbers in batches:
        with Batch(relay, numbers, keys, canaries, outside) as batch:
            time.sleep(MIDDLE)
            look("while keying", canaries)
            batch.wait()
            time.sleep(REST)
            look("afterwards", canaries)
        found += batch.found
    canary.check(found, len(sum(batches, [])))
    return found, canaries


def batches_of(count):
    """The numbers of telephones' sessions, batch by batch, and of browsers' beside them."""
    browsers = list(range(canary.BROWSER, canary.BROWSER + canary.BROWSERS))
    for start in range(0, count, PROCESSES * AT_ONCE):
        telephones = range(start, min(count, start + PROCESSES * AT_ONCE))
        yield [*browsers[:BROWSERS_AT_ONCE], *telephones]
        del browsers[:BROWSERS_AT_ONCE]


def sessions(binary, count=COUNT):
    """Nothing of what was keyed is in any sink, nor can the engine tell when a key was pressed."""
    with far_side.FarSide() as outside, sotto.Sotto(binary, settings=outside.settings) as relay:
        kept, left, secret = memory.Memory(relay.pid), {}, []
        kept.remember()

        def look(when, canaries):
            # A core takes a second in which the process stands still.
            looks = {f"process memory {when}": kept.changed()}
            if when == "afterwards":
                looks["cores"] = kept.core()
            else:
                secret.append(kept.secret)
            for sink, parts in looks.items():
                left.setdefault(sink, set()).update(search(canaries, parts))

        found, canaries = play_all(relay, outside, count, look)
        check_deliveries(found, outside)
        told = [octets for requests in outside.told.values() for octets in requests]
        left["webhooks"] = canaries.find(b"\n".join(told))
        left["metrics"] = canaries.find(relay.metrics().encode())
        left["files"] = search(canaries, relay.files())
        answers = hostile.requests(relay)
        log = relay.log().encode()
        left["log"] = canaries.find(log)
        left["answers to hostile requests"] = answers.canaries.find(answers.octets())
        left["log of hostile requests"] = answers.canaries.find(log)
        checks.figure(
            f"figure: memory: {kept.read >> 20} MB readable by root; of up to {max(secret) >> 10} "
            f"KB more, while keys are pressed, not one octet"
        )
        planted = find_planted(kept, canaries, found, log)
    report(found, left, planted, answers)
    check_engine_events(found)
    side_channel.check_power(found)
    if side_channel.judge(found, "masked") <= side_channel.LEVEL:
        # By chance alone one run in a hundred comes here; what is no chance comes again.
        with far_side.FarSide() as outside, sotto.Sotto(binary, settings=outside.settings) as relay:
            again, _ = play_all(relay, outside, count, lambda *_: None)
        p = side_channel.judge(again, "masked, once more")
        checks.expect(p > side_channel.LEVEL, f"the engine's packets don't tell of keys: p = {p}")


def check_deliveries(found, outside):
    """What was keyed went where it was ordered to, and webhooks told what they tell."""
    paid = sum(one.kind.sink["type"] == "connector" and one.result == "pass" for one in found)
    checks.equal(len(outside.paid), paid, "sessions that the payment service gave a token for")
    cards = {one["cardnumber"] for one in outside.paid}
    checks.expect(cards <= {card for card, _ in canary.CARDS}, "cards that were keyed")
    # A start and an end for the engine's receiver; staff's also hears of fields.
    counts = {audience: len(requests) for audience, requests in outside.told.items()}
    checks.equal(counts["engine"], 2 * len(found), "webhooks for an engine's receiver")
    checks.expect(counts["staff"] > counts["engine"], f"webhooks for staff, not {counts}")
    fetched = sum(one.is_with_merchant for one in found)
    checks.figure(
        f"figure: canary: {paid} cards at the payment service, {fetched} sealed ones opened by "
        f"the merchant, {sum(counts.values())} webhooks"
    )


def search(canaries, parts):
    """Hits over several parts, which are shared out over processes."""
    with _fork.Pool(PROCESSES, os.nice, (5,)) as pool:
        return set().union(*pool.map(canaries.find, parts, chunksize=1))


def report(found, left, planted, answers):
    """Prints what was found where, and ends the scenario if that was anything."""
    total = {}
    for one in found:
        for sink, hits in one.hits.items():
            total[sink] = total.get(sink, 0) + hits
    total |= {sink: len(hits) for sink, hits in left.items()}
    total["digits in engine audio"] = sum(len(heard) for heard in decoded(found))
    ways = ", ".join(
        f"{sum(one.kind.way == way for one in found)} by {way}" for way in canary.WAYS
    )
    srtp = sum(bool(one.kind.caller_suite and one.kind.engine_suite) for one in found)
    web = sum(bool(one.kind.web_codec) for one in found)
    early = sum(one.kind.ending != "pass" for one in found)
    checks.figure(
        f"figure: canary: {len(found)} sessions ({ways}; {srtp} with SRTP on both legs; {web} "
        f"browsers' in {' and '.join(web_keyer.TYPES)}; {early} "
        f"with a wrong entry, a cancel or a hang-up), {sum(one.secret for one in found)} octets "
        f"of the caller's audio behind the cut"
    )
    for sink, hits in total.items():
        checks.figure(f"figure: canary: hits in {sink}: {hits}")
    checks.figure(f"figure: canary: {answers.count} hostile requests, each with a canary in it")
    for sink, owners in planted.items():
        checks.figure(f"figure: canary: planted copies found in {sink}: {owners} of {len(found)}")
    for one in found:
        if any(one.hits.values()):
            checks.figure(
                f"session {one.kind.number} ({one.kind.way}, {one.kind.ending}): {one.hits}, loud "
                f"(after the cut, before the reopening): {one.loud[:3]} ... {one.loud[-3:]}"
            )
    hits = {sink: sorted(hits)[:8] for sink, hits in left.items() if hits}
    checks.equal({sink: hits for sink, hits in total.items() if hits}, {}, f"hits ({hits})")
    checks.equal(set(planted.values()), {len(found)}, "sessions whose planted copy is found")


def find_planted(kept, canaries, found, log):
    """Copies of every session's digits left in the process, its registers and its log."""
    forms = [list(scan.forms("".join(one.kind.entries)[:20]).values()) for one in found]
    # One form for each session, all forms by turns.
    planted = [one[number % len(one)] for number, one in enumerate(forms)]
    room = [one.ljust(256, b"\0") for one in planted]
    owners = {}
    kept.plant(b"".join(room))
    in_memory = search(canaries, kept.changed())
    owners["process memory"] = len({owner for owner, _ in in_memory})
    # Once more: the thread on whose stack it was may have ended meanwhile.
    kept.plant(b"".join(room))
    owners["cores"] = len({owner for owner, _ in search(canaries, kept.core())})
    lines = b"".join(b'{"level":"TRACE","message":"key %s"}\n' % one for one in planted)
    owners["log"] = len({owner for owner, _ in canaries.find(log + lines)})
    decoys = scan.Canaries({"register": [scan.draw("register", 16)]})
    digits = scan.draw("register", 16).encode()
    checks.equal(kept.registers(decoys, digits), {"register"}, "what a register is found to hold")
    return owners


def decoded(found):
    """By session, the digits that multimon-ng hears in what its engine heard during the cut."""
    silence = bytes(2 * 1600)
    tone = g711.tone(g711.KEYPAD[MARK], 8000, 1600)
    mark = silence + b"".join(one.to_bytes(2, "little", signed=True) for one in tone) + silence
    audio = mark + b"".join(one.audio + mark for one in found)
    wider = ["ffmpeg", "-v", "error", "-f", "s16le", "-ar", "8000", "-ac", "1", "-i", "-"]
    wider += ["-f", "s16le", "-ar", "22050", "-"]
    heard = subprocess.run(
        ["multimon-ng", "-q", "-t", "raw", "-a", "DTMF", "-"], capture_output=True, check=True,
        input=subprocess.run(wider, input=audio, capture_output=True, check=True).stdout,
    ).stdout.decode()  # fmt: skip
    keys = "".join(re.findall(r"DTMF: (\S)", heard))
    parts = keys.split(MARK)
    checks.equal(len(parts), len(found) + 2, "marks that multimon-ng hears between sessions")
    return parts[1:-1]


def check_engine_events(found):
    """The engine's stream tells the start and the end, and nothing while keys are pressed."""
    for one in found:
        told = one.told["engine"]
        checks.equal([kind for _, kind in told], canary.ENGINE_EVENTS, "what the engine was told")
        during = [kind for at, kind in told if one.pressed[0] < at < one.pressed[-1]]
        checks.equal(during, [], "what the engine was told while keys were pressed")
        checks.expect(len(one.told["script"]) > 3, "a script that is told more")


def control(binary, count=COUNT):
    """With masking broken the same search finds every session, and the keys' times too."""
    with far_side.FarSide() as outside, sotto.Sotto(
        binary, broken=True, trace=False, settings=outside.settings
    ) as relay:
        found, _ = play_all(relay, outside, count, lambda *_: None)
    sinks = {sink: sum(bool(one.hits[sink]) for one in found) for sink in found[0].hits}
    for sink, sessions in sinks.items():
        checks.figure(
            f"figure: control: masking broken: hits in {sink} in {sessions} of {len(found)}"
        )
    everywhere = ("caller's frames at the engine", "caller's frames in the recording",
                  "octets at the engine that are not silence")  # fmt: skip
    checks.equal([sinks[sink] for sink in everywhere], [len(found)] * 3, "sessions that leak")
    events = [bool(one.hits["key events at the engine"]) for one in found
              if one.kind.way.startswith("event")]  # fmt: skip
    tones = [len(keys) >= scan.RUN for one, keys in zip(found, decoded(found), strict=True)
             if one.kind.way == "tone"]  # fmt: skip
    checks.figure(
        f"figure: control: masking broken: key events in {sum(events)} of {len(events)} sessions "
        f"with events; multimon-ng hears {scan.RUN} keys or more in {sum(tones)} of {len(tones)} "
        f"with tones"
    )
    checks.expect(all(events) and all(tones), "keys in every session that has any in its media")
    side_channel.check_broken(found)

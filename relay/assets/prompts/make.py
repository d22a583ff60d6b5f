#!/usr/bin/env python3
"""Makes the built-in prompts: speaks each line of LANGUAGE/texts.tsv with espeak-ng.

  make.py              writes LANGUAGE/NAME.wav and made.sha256 beside this script
  make.py --check      makes all of it anew elsewhere, and fails if the committed files are of
                       other texts, or sound different by more than versions of the tools explain

Needs espeak-ng, ffmpeg and Python 3.11, as Debian 12 has them. A clip is mu-law at 8 kHz, its
speech at -20 dBFS, with 50 ms of silence before and behind.
"""

import hashlib
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MANIFEST = "made.sha256"
# Voice of espeak-ng and words a minute.
VOICES = {
    "ar": ("ar", 225),
    "de": ("de", 185),
    "en": ("en-us", 180),
    "es": ("es-419", 205),
    "fr": ("fr-fr", 190),
}
RATE = 8000
EDGE = RATE // 20
FRAME = RATE // 100
LONGEST_PAUSE = RATE // 5
LEVEL = 32768 * 10 ** (-20 / 20)
# Frames this far below the loudest one are pauses; samples this far below are silence.
PAUSE_DB, SILENCE_DB = 25, 45
HIGHEST_PEAK = 30000


def main(arguments):
    if arguments == ["--check"]:
        return check()
    if arguments:
        sys.exit(__doc__)
    print(f"{make(HERE)} prompts made")


def make(folder):
    """Makes all prompts into a folder, in place of those there."""
    manifest = []
    for language in sorted(VOICES):
        for old in (folder / language).rglob("*.wav"):
            old.unlink()
        for name, text in texts(language):
            wav = mu_law_wav(levelled(trimmed(spoken(language, text))))
            path = folder / language / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wav)
            manifest.append(f"{sha256(text.encode())}  {sha256(wav)}  {language}/{name}.wav\n")
    (folder / MANIFEST).write_text("".join(manifest))
    return len(manifest)


def check():
    """Compares the committed prompts with new ones: texts exactly, lengths within a tenth."""
    with tempfile.TemporaryDirectory() as temporary:
        made = pathlib.Path(temporary)
        count = make(made)
        faults = [
            f"{MANIFEST} is of other texts"
            for _ in [0]
            if spoken_texts(made) != spoken_texts(HERE)
        ]
        for new in sorted(made.rglob("*.wav")):
            path = new.relative_to(made)
            old = HERE / path
            if not old.exists():
                faults.append(f"{path} is missing")
            elif abs(old.stat().st_size / new.stat().st_size - 1) > 0.1:
                faults.append(f"{path} is not as long as what espeak-ng says now")
    if faults:
        sys.exit("\n".join(faults + ["run make.py and commit what it writes"]))
    print(f"{count} prompts are what their texts say")


def texts(language):
    """Names and texts of one language."""
    lines = (HERE / language / "texts.tsv").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines if line and not line.startswith("#")]


def spoken_texts(folder):
    """The manifest without the hashes of what was made."""
    lines = (folder / MANIFEST).read_text().splitlines()
    return [(line.split()[0], line.split()[2]) for line in lines]


def spoken(language, text):
    """The samples of a text, spoken, at 8 kHz."""
    voice, speed = VOICES[language]
    speak = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", text]
    convert = ["ffmpeg", "-v", "error", "-i", "-", "-ac", "1"]
    convert += ["-af", f"highpass=f=150,aresample={RATE}:filter_size=64:cutoff=0.92"]
    convert += ["-f", "s16le", "-"]
    wav = subprocess.run(speak, check=True, capture_output=True).stdout
    pcm = subprocess.run(convert, check=True, capture_output=True, input=wav).stdout
    return struct.unpack(f"<{len(pcm) // 2}h", pcm)


def trimmed(samples):
    """The samples that are heard, with short pauses between and silence at both edges."""
    least = max(map(abs, samples)) * 10 ** (-SILENCE_DB / 20)
    heard = [at for at, sample in enumerate(samples) if abs(sample) > least]
    kept = [0] * EDGE
    last = heard[0]
    for at in heard:
        pause = samples[last + 1 : at]
        if len(pause) > LONGEST_PAUSE:
            # Its middle goes, so that no sound is cut off.
            half = LONGEST_PAUSE // 2
            pause = pause[:half] + pause[-half:]
        kept += pause
        kept.append(samples[at])
        last = at
    return kept + [0] * EDGE


def levelled(samples):
    """The samples with their speech at the level of all prompts."""
    frames = [samples[at : at + FRAME] for at in range(0, len(samples), FRAME)]
    powers = [sum(sample * sample for sample in frame) / len(frame) for frame in frames]
    loud = [power for power in powers if power > max(powers) * 10 ** (-PAUSE_DB / 10)]
    gain = LEVEL / math.sqrt(sum(loud) / len(loud))
    gain = min(gain, HIGHEST_PEAK / max(map(abs, samples)))
    return [round(sample * gain) for sample in samples]


def mu_law_wav(samples):
    """A WAV file of mu-law samples."""
    codes = bytes(map(mu_law, samples))
    # An odd chunk is followed by an octet that does not count.
    padded = codes + b"\0" * (len(codes) % 2)
    form = struct.pack("<HHIIHHH", 7, 1, RATE, RATE, 1, 8, 0)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"fact" + struct.pack("<II", 4, len(codes))
    chunks += b"data" + struct.pack("<I", len(codes)) + padded
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def mu_law(sample):
    """The code of a sample (ITU-T G.711 table 2a, samples of 16 bits)."""
    magnitude = min(abs(sample), 32635) + 132
    segment = magnitude.bit_length() - 8
    code = segment << 4 | magnitude >> (segment + 3) & 0x0F
    return ~(code | (0x80 if sample < 0 else 0)) & 0xFF


def sha256(octets):
    """The hash of octets, in hexadecimal."""
    return hashlib.sha256(octets).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])

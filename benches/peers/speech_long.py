"""Long sounds and sounds without words through `coda run --audio`: word errors of prompts one behind the other, and
what is written of a minute of silence, noise and music.
    speech_long.py CODA PACKAGE SHORT CACHE
SHORT is a package with states of silence: it reads phrases at their own length."""
import json
import math
import re
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import av
import numpy as np

RATE, PROMPTS, MINUTE = 16000, 60, 60 * 16000
coda, package, short, cache = *sys.argv[1:4], Path(sys.argv[4])


def sound_of(path):
    with av.open(str(path), format="g722") as file:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frames = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)] + resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def heard(samples, *command):
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(RATE)
            sound.writeframes(np.asarray(samples, np.int16).tobytes())
        file.flush()
        command = command or ("run", package, "--audio")
        run = subprocess.run([coda, *command, file.name, "--json"], capture_output=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def words(text):
    return re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ")).split()


def edits(found, right):
    row = list(range(len(found) + 1))
    for i, word in enumerate(right, 1):
        before, row[0] = row[0], i
        for j, own in enumerate(found, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != own))
    return row[-1]


random = np.random.default_rng(1)
folder = cache / "sounds/usr/share/asterisk/sounds/en_US_f_Allison"
texts = json.loads((cache / "texts.json").read_text())[:PROMPTS]
names = json.loads((cache / "names.json").read_text())[:PROMPTS]
parts, alone, most = [], 0, 0.0
for name, text in zip(names, texts):
    sound = sound_of(folder / f"{name}.g722")
    [found] = heard(sound)
    alone += edits(words(found["text"]), words(text))
    most = max(most, *(window["no_speech"] for window in found["windows"]))
    parts += [sound, np.zeros(int(random.uniform(0.2, 1.2) * RATE), np.int16)]
long = np.concatenate(parts)
right = words(" ".join(texts))
[found] = heard(long)
seconds, ends = len(long) / RATE, [segment["end"] for segment in found["segments"]]
in_order = all(a["end"] <= b["start"] + 1e-6 for a, b in zip(found["segments"], found["segments"][1:]))
print(f"{len(texts)} prompts, {len(right)} words, one by one: word errors {100 * alone / len(right):.2f} %; "
      f"nobody speaks: at most {most:.2f}")
print(f"the same in one sound of {seconds:.1f} s, gaps of 0.2 to 1.2 s, {len(found['windows'])} windows: "
      f"word errors {100 * edits(words(found['text']), right) / len(right):.2f} %; segments in order: {in_order}, "
      f"last at {ends[-1]:.1f} s")
for name, command in (("30 s window", ("listen", package, "--from")),
                      ("their own length, silence appended", ("listen", short, "--unpadded", "--from"))):
    phrases = heard(long, *command)
    text = " ".join(phrase["text"] for phrase in phrases)
    latency = sorted(phrase["latency_ms"] for phrase in phrases)[len(phrases) // 2]
    print(f"`coda listen`, {name}: {len(phrases)} phrases, word errors {100 * edits(words(text), right) / len(right):.2f} %, "
          f"words {latency:.0f} ms behind the pause (median)")
time = np.arange(MINUTE) / RATE
chord = np.array([(261.6, 329.6, 392.0), (220.0, 261.6, 329.6), (174.6, 220.0, 261.6), (196.0, 246.9, 293.7)])
notes = chord[(time.astype(int) % 4)]
music = 3500 * np.exp(-2 * (time % 0.5)) * sum(
    np.sin(2 * math.pi * notes[:, i] * time) + 0.4 * np.sin(4 * math.pi * notes[:, i] * time) for i in range(3))
nothing = {"digital silence": np.zeros(MINUTE), "music (synthetic chords)": music, "hum of 50 Hz": 2000 * np.sin(100 * math.pi * time)}
nothing |= {f"noise of {level}": random.normal(0, level, MINUTE) for level in (3, 30, 300, 3000)}
for name, sound in nothing.items():
    [found] = heard(np.clip(sound, -32768, 32767))
    least = min(window["no_speech"] for window in found["windows"])
    print(f"a minute of {name}: {len(found['windows'])} windows, {found['text']!r}, nobody speaks: at least {least:.2f}")

"""Whisper beside CTranslate2, interleaved: speech.py WORKER CACHE ROUNDS THREADS (what speech.sh has made)

Every round answers each clip once in each series, one after the other. Times are medians over clips and rounds; ratios
are medians of the time over that of CTranslate2's int8 at the same clip in the same round.
"""
import json, pathlib, re, statistics, subprocess, sys, time
import ctranslate2, numpy as np
from tokenizers import Tokenizer

worker, cache, rounds, threads = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
texts = json.loads((cache / "texts.json").read_text())
tokenizer = Tokenizer.from_file(str(cache / "tiny.en/tokenizer.json"))
START, END = [50257, 50362], 50256


def clips(kind):
    for line in (cache / f"clips-{kind}.txt").read_text().splitlines():
        longest, file = line.split(" ", 1)
        yield int(longest), np.fromfile(file, np.float32).reshape(-1, 80)


class Ours:
    def __init__(self, package, kind):
        command = [worker, str(cache / f"{package}.coda"), str(cache / f"clips-{kind}.txt"), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.ready = json.loads(self.process.stdout.readline())

    def run(self, index):
        self.process.stdin.write(f"{index}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


class Peer:
    def __init__(self, kind, inputs):
        self.model = ctranslate2.models.Whisper(str(cache / "ctranslate2"), device="cpu", compute_type=kind, intra_threads=threads)
        self.inputs = list(clips(inputs))

    def run(self, index):
        longest, features = self.inputs[index]
        view = ctranslate2.StorageView.from_array(np.ascontiguousarray(features.T[None]))
        start = time.perf_counter()
        states = self.model.encode(view)
        # Waits until they are there.
        np.array(states)
        encoded = time.perf_counter()
        result = self.model.generate(states, [START], beam_size=1, max_length=longest + len(START), suppress_blank=True, suppress_tokens=[-1])
        end = time.perf_counter()
        ids = [id for id in result[0].sequences_ids[0] if id != END]
        return {"encode_ms": (encoded - start) * 1e3, "decode_ms": (end - encoded) * 1e3, "steps": len(ids) + 1, "ids": ids}


def words(text):
    return re.sub(r"[^a-z' ]+", " ", text.lower()).split()


def errors(found, expected):
    row = list(range(len(expected) + 1))
    for index, word in enumerate(found, 1):
        before, row[0] = row[0], index
        for place, other in enumerate(expected, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
series = {
    "CTranslate2 int8, padded": Peer("int8", "padded"), "CTranslate2 float32, padded": Peer("float32", "padded"),
    "CTranslate2 int8, cut": Peer("int8", "exact"), "coda f32, padded": Ours("f32", "padded"),
    "coda int8, padded": Ours("int8", "padded"), "coda int8, cut": Ours("int8", "exact"),
    "coda int8, cut, silence appended": Ours("int8-silence", "exact"), "coda int8, the same, grid r = 2": Ours("int8-grid-2", "exact")}
answers = {name: [] for name in series}
for round in range(rounds):
    for index in range(len(texts)):
        for name, one in series.items():
            if round == 0 and index == 0:
                one.run(index)
            answers[name].append(one.run(index))
        print(f"\r{round * len(texts) + index + 1} of {rounds * len(texts)}", end="", file=sys.stderr)
print(file=sys.stderr)
kernels = next(one.ready["kernels"] for one in series.values() if isinstance(one, Ours))
print(f"{cpu}, {kernels}, {time.strftime('%Y-%m-%d')}, {threads} thread(s), {rounds} round(s), CTranslate2 {ctranslate2.__version__}\n")
print("| series | word errors % | same ids as float32 | encoder ms | ms a step | whole ms | encoder ratio | step ratio | whole ratio | arena MB |")
print("|---|---|---|---|---|---|---|---|---|---|")
whole = lambda answer: answer["encode_ms"] + answer["decode_ms"]
step = lambda answer: answer["decode_ms"] / answer["steps"]
encode = lambda answer: answer["encode_ms"]
base, exact = answers["CTranslate2 int8, padded"], answers["CTranslate2 float32, padded"]
for name, own in answers.items():
    median = lambda value: statistics.median(map(value, own))
    ratio = lambda value: statistics.median(value(a) / value(b) for a, b in zip(own, base))
    found = [words(tokenizer.decode(answer["ids"])) for answer in own[:len(texts)]]
    wrong = sum(errors(a, words(b)) for a, b in zip(found, texts))
    same = sum(a["ids"] == b["ids"] for a, b in zip(own[:len(texts)], exact))
    arena = f"{series[name].ready['arena_bytes'] / 1e6:.1f}" if isinstance(series[name], Ours) else ""
    print(f"| {name} | {100 * wrong / sum(len(words(text)) for text in texts):.2f} | {same} of {len(texts)} | {median(encode):.1f} | "
          f"{median(step):.2f} | {median(whole):.1f} | {ratio(encode):.3f} | {ratio(step):.3f} | {ratio(whole):.3f} | {arena} |")

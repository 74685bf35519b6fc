"""Times encoders side by side: compare.py PLAN.json OUT (writes OUT.json, OUT.md, OUT.svg)

The plan lists series: {name, command, tokens, threads, reference}. All workers of one length and thread count are started
first; then every round runs one inference in each of them, one after the other, so that a change of this shared
machine's speed meets all of them. Figures are medians and 95th percentiles over the rounds; ratios are taken round by
round against the series named `reference`.
"""
import json, pathlib, platform, statistics, subprocess, sys, time
import numpy as np

plan, out = json.load(open(sys.argv[1])), pathlib.Path(sys.argv[2])
rounds = plan["rounds"]


class Worker:
    def __init__(self, series):
        self.series, self.times = series, []
        self.process = subprocess.Popen(series["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.ready = json.loads(self.process.stdout.readline())

    def run(self, index):
        self.process.stdin.write(f"{index}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def finish(self):
        self.process.stdin.close()
        self.last = json.loads(self.process.stdout.readline())
        self.process.wait()


def cosines(ours, reference):
    pairs = zip(np.array(ours), np.array(reference))
    return [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs]


def group(series, inputs):
    workers = []
    for entry in series:
        print(f"starting {entry['name']}, {entry['tokens']} tokens, {entry['threads']} thread(s)", file=sys.stderr)
        workers.append(Worker(entry))
    for round in range(rounds + 3):
        for worker in workers:
            milliseconds = worker.run(round % inputs)
            if round >= 3:
                worker.times.append(milliseconds)
    for worker in workers:
        worker.finish()
    reference = next(w for w in workers if w.series["name"] == plan["reference"])
    exact = next(w for w in workers if w.series["name"] == plan["exact"])
    lines = []
    for worker in workers:
        ratio = statistics.median(a / b for a, b in zip(worker.times, reference.times))
        same = cosines(worker.last["pooled"], exact.last["pooled"])
        lines.append({
            "name": worker.series["name"], "tokens": worker.series["tokens"], "threads": worker.series["threads"],
            "median_ms": statistics.median(worker.times), "p95_ms": sorted(worker.times)[int(0.95 * (rounds - 1))],
            "ratio": ratio, "cosine": min(same) if worker.series.get("dense", True) else None,
            "load_ms": worker.ready["load_ms"], "first_ms": worker.ready["first_ms"],
            "peak_mib": worker.last["peak_kib"] / 1024})
    return lines


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


lines = []
keys = sorted({(s["tokens"], s["threads"]) for s in plan["series"]})
for key in keys:
    lines += group([s for s in plan["series"] if (s["tokens"], s["threads"]) == key], plan["inputs"])
record = {"date": time.strftime("%Y-%m-%d"), "cpu": cpu(), "rounds": rounds, "versions": plan["versions"],
          "reference": plan["reference"], "lines": lines}
out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")

text = [f"# {plan['title']}", "", f"{record['cpu']}, {record['date']}, {rounds} rounds, interleaved. `ratio` is the median over rounds of the "
        f"time against `{plan['reference']}` in the same round: above 1 is slower than it. `cosine` is the smallest of the mean pooled "
        f"states against `{plan['exact']}`, over {plan['inputs']} real texts; none where tokens are routed (the answer is another one by design). "
        "No peer routes tokens: `@r` are this runtime's own lines, with adapters.", ""]
for key in keys:
    text += [f"## {key[0]} tokens, {key[1]} thread(s)", "", "| runtime | median ms | 95 % ms | ratio | cosine | load ms | first ms | peak MiB |",
             "|---|---|---|---|---|---|---|---|"]
    for line in sorted((l for l in lines if (l["tokens"], l["threads"]) == key), key=lambda l: l["median_ms"]):
        cosine = "" if line["cosine"] is None else f"{line['cosine']:.4f}"
        text.append(f"| {line['name']} | {line['median_ms']:.1f} | {line['p95_ms']:.1f} | {line['ratio']:.2f} | {cosine} | "
                    f"{line['load_ms']:.0f} | {line['first_ms']:.0f} | {line['peak_mib']:.0f} |")
    text.append("")
text.append("Versions: " + ", ".join(f"{name} {version}" for name, version in plan["versions"].items()) + ".")
out.with_suffix(".md").write_text("\n".join(text) + "\n")

import matplotlib
matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "coda"
from matplotlib import pyplot
figure, axes = pyplot.subplots(1, len(keys), figsize=(4.5 * len(keys), 5), squeeze=False)
for axis, key in zip(axes[0], keys):
    chosen = sorted((l for l in lines if (l["tokens"], l["threads"]) == key), key=lambda l: -l["median_ms"])
    colours = ["#d55e00" if l["name"].startswith("coda") else "#999999" for l in chosen]
    axis.barh([l["name"] for l in chosen], [l["median_ms"] for l in chosen], color=colours)
    axis.set(title=f"{key[0]} tokens, {key[1]} thread(s)", xlabel="median ms")
figure.suptitle(f"{plan['title']} ({record['cpu']}, {record['date']})")
figure.tight_layout()
figure.savefig(out.with_suffix(".svg"), metadata={"Date": None})
print("\n".join(text))

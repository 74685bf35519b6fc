"""Times encoders side by side: compare.py OUT PLAN.json... (writes OUT.json, OUT.md, OUT.svg)

A plan is of one model and lists series: {name, command, tokens, threads, disk}. All workers of one length and thread count are started
first; then every round runs one inference in each of them, one after the other, so that a change of this shared
machine's speed meets all of them. Figures are medians and 95th percentiles over the rounds; ratios are taken round by
round against the series named `reference`.
"""
import json, pathlib, platform, statistics, subprocess, sys, time
import numpy as np

out, plans = pathlib.Path(sys.argv[1]), [json.load(open(file)) for file in sys.argv[2:]]
rounds = plans[0]["rounds"]


class Worker:
    def __init__(self, series):
        self.series, self.times = series, []
        self.process = subprocess.Popen(series["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{series['name']} did not start")
        self.ready = json.loads(line)

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


def group(plan, key):
    workers = []
    for entry in (s for s in plan["series"] if (s["tokens"], s["threads"]) == key):
        print(f"starting {entry['name']}, {entry['tokens']} tokens, {entry['threads']} thread(s)", file=sys.stderr)
        workers.append(Worker(entry))
    for round in range(rounds + 3):
        for worker in workers:
            milliseconds = worker.run(round % plan["inputs"])
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
            "peak_mib": worker.last["peak_kib"] / 1024, "disk_mib": worker.series["disk"] / 2 ** 20,
            "mapped_mib": worker.last["mapped"] / 2 ** 20 if "mapped" in worker.last else None})
    return lines


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def keys(plan):
    return sorted({(s["tokens"], s["threads"]) for s in plan["series"]})


def chosen(lines, key):
    return sorted((l for l in lines if (l["tokens"], l["threads"]) == key), key=lambda l: l["median_ms"])


def heading(key):
    return f"{key[0]} tokens, {key[1]} thread{'s' if key[1] > 1 else ''}"


models = [(plan, [line for key in keys(plan) for line in group(plan, key)]) for plan in plans]
record = {"date": time.strftime("%Y-%m-%d"), "cpu": cpu(), "rounds": rounds, "versions": plans[0]["versions"],
          "models": [{"title": plan["title"], "reference": plan["reference"], "exact": plan["exact"], "lines": lines}
                     for plan, lines in models]}
out.with_name(out.name + ".json").write_text(json.dumps(record, indent=1) + "\n")

mapped = {line["name"].split()[0]: line["mapped_mib"] for _, lines in models for line in lines if line["mapped_mib"]}
text = ["# Beside other runtimes", "", f"{record['cpu']}, {record['date']}, {rounds} rounds, interleaved. `ratio` is the median over "
        "rounds of the time against the dense int8 line of this runtime in the same round: above 1 is slower than it. `cosine` is the smallest "
        "of the mean pooled states against ONNX Runtime's f32; none where tokens are routed (the answer is another one by design). No peer "
        "routes tokens: `@r` are this runtime's own lines, with adapters.", "",
        "`disk MiB` is what one CPU inference needs beside the model file, which is not counted: for Rust runtimes a stripped release binary "
        "with that runtime alone, for Python packages all shared libraries in the package's folder (also accelerators that are not used), "
        "without Python and numpy; llama.cpp is built here for this CPU. Of these an "
        "inference maps " + ", ".join(f"{size:.0f} MiB ({name})" for name, size in mapped.items()) + ".", ""]
for plan, lines in models:
    text += [f"## {plan['title']}", "", f"{plan['inputs']} inputs: {plan['kind']}.", ""]
    for key in keys(plan):
        text += [f"### {heading(key)}", "", "| runtime | median ms | 95 % ms | ratio | cosine | load ms | first ms | peak MiB | disk MiB |",
                 "|---|---|---|---|---|---|---|---|---|"]
        for line in chosen(lines, key):
            cosine = "" if line["cosine"] is None else f"{line['cosine']:.4f}"
            text.append(f"| {line['name']} | {line['median_ms']:.1f} | {line['p95_ms']:.1f} | {line['ratio']:.2f} | {cosine} | "
                        f"{line['load_ms']:.0f} | {line['first_ms']:.0f} | {line['peak_mib']:.0f} | {line['disk_mib']:.1f} |")
        text.append("")
text.append("Versions: " + ", ".join(f"{name} {version}" for name, version in record["versions"].items()) + ".")
out.with_name(out.name + ".md").write_text("\n".join(text) + "\n")

import matplotlib
matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "coda"
from matplotlib import pyplot
columns = max(len(keys(plan)) for plan in plans)
figure, axes = pyplot.subplots(len(models), columns, figsize=(5 * columns, 5 * len(models)), squeeze=False)
for row, (plan, lines) in zip(axes, models):
    for axis, key in zip(row, keys(plan)):
        slowest_first = chosen(lines, key)[::-1]
        colours = ["#d55e00" if l["name"].startswith("coda") else "#999999" for l in slowest_first]
        axis.barh([l["name"] for l in slowest_first], [l["median_ms"] for l in slowest_first], color=colours)
        axis.set(title=heading(key), xlabel="median ms")
    row[0].text(0, 1.12, plan["title"], transform=row[0].transAxes, fontsize="large", in_layout=False)
    for axis in row[len(keys(plan)):]:
        axis.set_axis_off()
figure.suptitle(f"batch 1, {record['cpu']}, {record['date']}")
figure.tight_layout(h_pad=3, rect=(0, 0, 1, 0.97))
figure.savefig(out.with_name(out.name + ".svg"), metadata={"Date": None})
print("\n".join(text))

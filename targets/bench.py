"""One table of what bench.sh measured: bench.py OUT CSV... (writes OUT.csv, OUT.md, OUT.svg)

Fails if the instructions of an inference, over those of the same task at r = 1 with its adapter, are above
a bound. Needs nothing but Python.
"""
import collections, csv, datetime, pathlib, sys

out, files = pathlib.Path(sys.argv[1]), sys.argv[2:]
MODES, REDUCTIONS = ("k-to-k", "k-to-all", "k-to-low-rank"), (1, 2, 4, 8)
# Machine and model: mode: the most at r = 4 and at r = 8.
BOUNDS = {"k-to-k": {4: 0.35, 8: 0.25}, "k-to-all": {4: 0.48, 8: 0.40}, "k-to-low-rank": {4: 0.40, 8: 0.28}}
BOUND = (("cortex-m7", "bundled"), ("cortex-a76", "minilm"))
ORDER = ("cortex-m4f", "cortex-m7", "cortex-m55", "riscv32", "cortex-a7", "cortex-a53", "cortex-a72", "cortex-a76", "max", "node")

rows = [row for name in files for row in csv.DictReader(open(name))]
place = lambda row: ORDER.index(row["machine"]) if row["machine"] in ORDER else len(ORDER)
rows.sort(key=lambda row: (row["model"], place(row)))
if not rows:
    sys.exit("bench.py: no rows")
counts = collections.defaultdict(dict)
for row in rows:
    if row["group"] == "inference":
        key = row["machine"], row["model"], row["kernels"], row["how"], row["unit"], int(row["tokens"])
        counts[key][row["mode"], float(row["r"])] = int(row["count"])

lines = ["| machine | kernels | model, tokens | mode | unit | r = 1 | r = 2 | r = 4 | r = 8 | of r = 1, at 4 | at 8 |",
         "|---|---|---|---|---|---|---|---|---|---|---|"]
broken, held = [], 0
for (machine, model, kernels, how, unit, tokens), found in counts.items():
    for mode in MODES:
        series = [found.get((mode, r)) for r in REDUCTIONS]
        if None in series:
            sys.exit(f"bench.py: {machine}, {model} has no {mode} at every reduction")
        shares = {r: count / series[0] for r, count in zip(REDUCTIONS, series)}
        what = f"{unit}, {how}"
        cells = [machine, kernels, f"{model}, {tokens}", mode, what, *(f"{count:,}" for count in series)]
        lines.append("| " + " | ".join(cells + [f"{shares[4]:.3f}", f"{shares[8]:.3f}"]) + " |")
        if (machine, model) in BOUND:
            for r, bound in BOUNDS[mode].items():
                held += shares[r] <= bound
                if shares[r] > bound:
                    broken.append(f"{machine}, {model}, {mode}: {shares[r]:.3f} of the dense instructions at r = {r}, bound {bound}")

if held + len(broken) == 0:
    sys.exit(f"bench.py: neither of {BOUND} was measured")

kernel = lambda row: (row["name"], row["rows"], row["inputs"], row["outputs"])
machines = list(dict.fromkeys((row["machine"], row["unit"]) for row in rows if row["group"] == "kernel" and row["model"] == "bundled"))
by_kernel = collections.defaultdict(dict)
for row in rows:
    if row["group"] == "kernel" and row["model"] == "bundled":
        by_kernel[kernel(row)][row["machine"]] = int(row["count"])
kernels = ["| kernel | rows x inputs x outputs | " + " | ".join(f"{m}, {u}" for m, u in machines) + " |",
           "|---|---|" + "---|" * len(machines)]
for (name, count, inputs, outputs), found in by_kernel.items():
    shape = " x ".join(part for part in (count, inputs, outputs) if part)
    kernels.append(f"| `{name}` | {shape} | " + " | ".join(f"{found.get(m, 0):,}" for m, _ in machines) + " |")


def plot():
    """Bars of what is left of the dense instructions, emulated machines only."""
    keys = [key for key in counts if key[3] == "emulated"]
    colours = {"k-to-k": "#33658a", "k-to-all": "#86bbd8", "k-to-low-rank": "#f6ae2d"}
    bar, gap, left, top, height = 9, 14, 60, 40, 220
    group = len(MODES) * bar * 2 + gap
    width = max(left + group * len(keys) + 20, 620)
    y = lambda share: top + height * (1 - share / 0.6)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + height + 70}" font-family="sans-serif" font-size="11">',
             f'<rect width="{width}" height="{top + height + 70}" fill="white"/>',
             f'<text x="{left}" y="16">Instructions of those at r = 1 with the adapter, emulated; left bars r = 4, right r = 8</text>']
    for step in range(0, 7):
        share = step / 10
        parts.append(f'<line x1="{left}" x2="{width - 10}" y1="{y(share):.1f}" y2="{y(share):.1f}" stroke="#ddd"/>'
                     f'<text x="{left - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.1f}</text>')
    for index, key in enumerate(keys):
        x = left + gap / 2 + index * group
        for at, r in enumerate((4, 8)):
            for place, mode in enumerate(MODES):
                share = counts[key][mode, r] / counts[key][mode, 1]
                corner = x + (at * len(MODES) + place) * bar
                parts.append(f'<rect x="{corner:.1f}" y="{y(share):.1f}" width="{bar - 1}" height="{top + height - y(share):.1f}" fill="{colours[mode]}"/>')
        for line, text in enumerate((key[0], f"{key[1]}, {key[5]}")):
            parts.append(f'<text x="{x + group / 2 - gap / 2:.1f}" y="{top + height + 16 + 13 * line}" text-anchor="middle" font-size="9">{text}</text>')
    for place, mode in enumerate(MODES):
        x = left + place * 100
        parts.append(f'<rect x="{x}" y="{top + height + 46}" width="10" height="10" fill="{colours[mode]}"/><text x="{x + 14}" y="{top + height + 55}">{mode}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


with open(out.with_suffix(".csv"), "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
out.with_suffix(".svg").write_text(plot())
out.with_suffix(".md").write_text(f"""# Instructions by target and reduction, {datetime.date.today()}

`targets/bench.sh`. "emulated": guest instructions in QEMU, one inference, never time and nothing about
caches; the other rows were timed on the machine that ran the script, beside whatever else ran there. Dense is r = 1 with the adapter: every
token passes every layer. Bundled: the Fashion-MNIST ViT, 50 tokens; the bundled task is k-to-all, the other
two are its adapters and routers, k-to-low-rank with random low-rank keys. MiniLM: all-MiniLM-L6-v2 with tasks of random weights,
adapters of 64, low-rank keys of 48. The plot and the CSV beside this file hold the same run.

{chr(10).join(lines)}

Single kernels, on the weights of the bundled model's first layer (`gelu_erf`: a GEMM with the activation less
one without; `layer_norm` and the rest: one row):

{chr(10).join(kernels)}
""")
print("\n".join(lines))
for line in broken:
    print(f"bench.py: {line}", file=sys.stderr)
print(f"{held} bounds hold, {len(broken)} are broken")
sys.exit(1 if broken else 0)

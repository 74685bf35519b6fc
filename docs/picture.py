#!/usr/bin/env python3
"""Draws the picture of the README: accuracy against speed, and the patches that pass each layer.

    coda demo -o fashion.coda
    coda eval fashion.coda --data T10K-IMAGES --reductions 1,2,3,4,6,8 --json > eval.json
    coda run fashion.coda --image converter/default/images/8.png --reduction 4 --trace --json > run.json
    docs/picture.py eval.json run.json converter/default/images/8.png "CPU, date" > docs/picture.svg
"""

import base64
import json
import sys

WIDTH, HEIGHT, SIDE = 860, 290, 96
STYLE = """<style>
text{font:13px system-ui,sans-serif;fill:#333} .small{font-size:11px;fill:#666} .axis{stroke:#999;fill:none}
.line{stroke:#1764ab;stroke-width:2;fill:none} .dot{fill:#1764ab} .on{fill:#ff9a1f;fill-opacity:.35;stroke:#ff9a1f;stroke-width:1.5} image{image-rendering:pixelated}
@media(prefers-color-scheme:dark){text{fill:#ddd} .small{fill:#aaa} .line{stroke:#7db7f0} .dot{fill:#7db7f0}}
</style>"""


def curve(rows):
    """Accuracy (per cent) over speed-up, one point for each reduction."""
    left, top, width, height = 60, 40, 300, 200
    low, high = 85.0, 95.0
    fastest = max(row["speed_up"] for row in rows)
    across = lambda speed: left + width * (speed - 1) / (fastest - 1)
    up = lambda accuracy: top + height * (high - accuracy) / (high - low)
    yield f'<text x="{left}" y="22">Accuracy, % against speed-up</text>'
    yield f'<path class="axis" d="M{left} {top}v{height}h{width + 15}"/>'
    for value in range(int(low), int(high) + 1, 5):
        yield f'<text class="small" x="{left - 26}" y="{up(value) + 4:.0f}">{value}</text>'
    points = [(across(row["speed_up"]), up(row["accuracy"])) for row in rows]
    yield f'<path class="line" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'
    for index, ((x, y), row) in enumerate(zip(points, rows)):
        beside = 20 if index % 2 else -10
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        yield f'<text class="small" x="{x - 12:.1f}" y="{y + beside:.1f}">r = {row["reduction"]:g}</text>'
        yield f'<text class="small" x="{x - 12:.1f}" y="{top + height + (30 if index % 2 else 16)}">{row["speed_up"]:.2f}x</text>'


def patches(run, path):
    """The image once for each layer, the patches that pass it framed; token 0 is the class token."""
    with open(path, "rb") as file:
        image = base64.b64encode(file.read()).decode()
    yield f'<defs><image id="image" width="{SIDE}" height="{SIDE}" href="data:image/png;base64,{image}"/></defs>'
    grid = int((run["tokens"] - 1) ** 0.5)
    cell = SIDE / grid
    for layer, selected in enumerate(run["selected"]):
        x, y = 440 + layer * (SIDE + 8), 76
        yield f'<text class="small" x="{x}" y="{y - 6}">layer {layer}</text>'
        yield f'<use href="#image" x="{x}" y="{y}"/>'
        for patch in (token - 1 for token in selected if token > 0):
            left, top = x + patch % grid * cell, y + patch // grid * cell
            yield f'<rect class="on" x="{left:.1f}" y="{top:.1f}" width="{cell:.1f}" height="{cell:.1f}"/>'


def main(evaluation, run, image, note):
    with open(evaluation) as file:
        rows = json.load(file)["reductions"]
    with open(run) as file:
        traced = json.load(file)
    shown = f'"{traced["label"]}" at r = 4: framed patches pass the layer,'
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{STYLE}')
    print("\n".join(curve(rows)))
    print(f'<text x="440" y="22">{shown}</text><text x="440" y="40">every patch takes the adapter</text>')
    print("\n".join(patches(traced, image)))
    print(f'<text class="small" x="60" y="{HEIGHT - 6}">Fashion-MNIST, 10,000 test images; {note}</text></svg>')


main(*sys.argv[1:])

#!/usr/bin/env python3
"""Draws the picture of the README: accuracy against speed, and the patches that pass each layer.

    coda demo -o fashion.coda
    coda eval fashion.coda --data T10K-IMAGES --reductions 1,2,3,4,6,8 --json > eval.json
    coda run fashion.coda --image converter/default/images/8.png --reduction 4 --trace --json > run.json
    docs/picture.py eval.json run.json converter/default/images/8.png "CPU, date" > docs/picture.svg

Needs Pillow.
"""

import json
import sys

WIDTH, HEIGHT = 860, 300
STYLE = """<style>
text{font:13px system-ui,sans-serif;fill:#333} .small{font-size:11px;fill:#666} .axis{stroke:#999;fill:none}
.line{stroke:#1764ab;stroke-width:2;fill:none} .dot{fill:#1764ab} .off{fill:#8883} .on{fill:#e07b00;fill-opacity:.85}
@media(prefers-color-scheme:dark){text{fill:#ddd} .small{fill:#aaa} .line{stroke:#7db7f0} .dot{fill:#7db7f0} .on{fill:#f5a742}}
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
    for (x, y), row in zip(points, rows):
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        yield f'<text class="small" x="{x - 10:.1f}" y="{y - 10:.1f}">r = {row["reduction"]:g}</text>'
        yield f'<text class="small" x="{x - 12:.1f}" y="{top + height + 16}">{row["speed_up"]:.2f}</text>'


def pixels(path):
    """Grey values 0 to 255, row by row, and the width."""
    from PIL import Image

    image = Image.open(path).convert("L")
    return list(image.tobytes()), image.width


def patches(run, path):
    """The image once for each layer, the patches that pass it in colour; token 0 is the class token."""
    values, side = pixels(path)
    grid = int((run["tokens"] - 1) ** 0.5)
    scale = 96 / side
    for layer, selected in enumerate(run["selected"]):
        x, y = 440 + (layer % 2) * 200, 40 + (layer // 2) * 122
        yield f'<text class="small" x="{x + 104}" y="{y + 52}">layer {layer}</text>'
        for i, value in enumerate(values):
            if value > 24:
                yield (f'<rect x="{x + i % side * scale:.1f}" y="{y + i // side * scale:.1f}" width="{scale:.1f}" '
                       f'height="{scale:.1f}" fill="#888" fill-opacity="{value / 255:.2f}"/>')
        cell = 96 / grid
        for patch in range(grid * grid):
            kind = "on" if patch + 1 in selected else "off"
            yield (f'<rect class="{kind}" x="{x + patch % grid * cell + 1:.1f}" '
                   f'y="{y + patch // grid * cell + 1:.1f}" width="{cell - 2:.1f}" height="{cell - 2:.1f}" '
                   f'fill-opacity="{".5" if kind == "on" else ".12"}"/>')


def main(evaluation, run, image, note):
    with open(evaluation) as file:
        rows = json.load(file)["reductions"]
    with open(run) as file:
        traced = json.load(file)
    shown = f'"{traced["label"]}" at r = 4: orange patches pass the layer, all take the adapter'
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{STYLE}')
    print("\n".join(curve(rows)))
    print(f'<text x="440" y="22">{shown}</text>')
    print("\n".join(patches(traced, image)))
    print(f'<text class="small" x="60" y="{HEIGHT - 12}">Fashion-MNIST, 10,000 test images; {note}</text></svg>')


main(*sys.argv[1:])

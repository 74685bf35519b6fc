#!/usr/bin/env python3
"""Writes grids.json: the patches that transformers' image processor of Pix2Struct makes of pictures of odd sizes
(`picture` of pictures.py): rows, columns, and of each patch two sums, which name every value and its place.

    python3 -m venv v && v/bin/pip install torch transformers pillow && v/bin/python tests/data/grids.py
"""
import json, os
import numpy as np
import transformers
from transformers.models.pix2struct.image_processing_pil_pix2struct import Pix2StructImageProcessorPil

# Width, height, side of a patch, most patches: larger, smaller, one pixel, two extreme strips, the size itself.
CASES = [(13, 7, 4, 12), (97, 61, 16, 6), (1, 1, 2, 4), (300, 2, 2, 8), (3, 90, 4, 5), (48, 32, 16, 6)]


def picture(width, height):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((x * x * (7 + 4 * c) + y * (13 + 50 * c) + x * y * 5) % 256).astype(np.uint8)


def main():
    found = []
    for width, height, side, most in CASES:
        own = Pix2StructImageProcessorPil(max_patches=most, patch_size={"height": side, "width": side})
        flat = own(picture(width, height), return_tensors="np", input_data_format="channels_last")
        flat = np.asarray(flat["flattened_patches"])[0].astype(np.float64)
        flat = flat[flat[:, 0] > 0]
        values = flat[:, 2:]
        weights = np.arange(values.shape[1]) % 11 - 5
        found.append({
            "width": width, "height": height, "side": side, "most": most,
            "rows": int(flat[:, 0].max()), "columns": int(flat[:, 1].max()),
            "places": [[int(at) for at in row] for row in flat[:, :2]],
            "sums": [round(float(x), 5) for x in values.sum(1)],
            "weighted": [round(float(x), 5) for x in (values * weights).sum(1)],
            "first": [round(float(x), 6) for x in values[0, :12]],
        })
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "grids.json")
    with open(path, "w") as file:
        json.dump({"transformers": transformers.__version__, "grids": found}, file, indent=None)
        file.write("\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes pictures.json: what Pillow makes of a picture of 23 by 17 pixels (`picture` below and in data.rs), and JPEG
files of its own.

    python3 -m venv v && v/bin/pip install numpy pillow && v/bin/python tests/data/pictures.py
"""
import io, json, os
import numpy as np
from PIL import Image, ImageOps

WIDTH, HEIGHT = 23, 17
FILTERS = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]


def picture():
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    return ((x * x * (7 + 4 * c) + y * (13 + 50 * c) + x * y * 5) % 256).astype(np.uint8)


def shortest_edge(image, edge, resample):
    """As transformers' get_resize_output_image_size with default_to_square=False."""
    short, long = sorted(image.size)
    long = int(edge * long / short)
    size = (edge, long) if image.size[0] <= image.size[1] else (long, edge)
    return image.resize(size, resample)


def center_crop(array, height, width):
    """As transformers' center_crop."""
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    if top >= 0 and left >= 0:
        return array[top:top + height, left:left + width]
    high, wide = max(height, array.shape[0]), max(width, array.shape[1])
    new = np.zeros((high, wide, 3), np.uint8)
    above, before = -(-(high - array.shape[0]) // 2), -(-(wide - array.shape[1]) // 2)
    new[above:above + array.shape[0], before:before + array.shape[1]] = array
    top, left = top + above, left + before
    return new[max(0, top):min(high, top + height), max(0, left):min(wide, left + width)]


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def smooth(size):
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    return Image.fromarray(np.stack([8 * x + 40, 8 * y + 20, 200 - 4 * x - 4 * y], -1).astype(np.uint8))


def main():
    image, found = Image.fromarray(picture()), {}
    for code, name in enumerate(FILTERS):
        found[f"down {name}"] = np.asarray(image.resize((16, 12), code))
    found["up bilinear"] = np.asarray(image.resize((29, 25), 2))
    found["up bicubic"] = np.asarray(image.resize((29, 25), 3))
    edge = np.asarray(shortest_edge(image, 12, 3))
    found["edge bicubic"] = edge
    found["edge bicubic, middle"] = center_crop(edge, 11, 11)
    found["middle beyond"] = center_crop(picture(), 20, 18)
    found["gray"] = np.asarray(image.convert("L"))
    found["upright 6"] = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    upright = smooth(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "turned": jpeg(upright.transpose(Image.Transpose.ROTATE_90), quality=95, exif=exif),
        "cmyk": jpeg(upright.convert("CMYK"), quality=95),
        "progressive": jpeg(upright, quality=95, progressive=True),
    }
    for name, file in files.items():
        opened = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
        found[name] = np.asarray(opened.convert("RGB"))
    values = {name: {"shape": list(array.shape), "hex": array.tobytes().hex()} for name, array in found.items()}
    files = {name: file.hex() for name, file in files.items()}
    path = os.path.join(os.path.dirname(__file__), "pictures.json")
    with open(path, "w") as out:
        json.dump({"pillow": Image.__version__, "values": values, "files": files}, out, indent=1)
        out.write("\n")


main()

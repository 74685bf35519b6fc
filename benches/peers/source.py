"""Hugging Face directories of a BERT or a DINOv2, as the exporters beside this file read them."""
import json, pathlib
import numpy as np
from safetensors.numpy import load_file


def read(directory, size):
    """Configuration, f32 weights by name, patches on a side (0: text) and tokens of an input of `size`."""
    directory = pathlib.Path(directory)
    config = json.loads((directory / "config.json").read_text())
    vision = config["model_type"] == "dinov2"
    side = size // config["patch_size"] if vision else 0
    weights = {k.removeprefix("backbone." if vision else "bert."): v.astype(np.float32)
               for k, v in load_file(directory / "model.safetensors").items() if not k.endswith("position_ids")}
    return config, weights, side, side * side + 1 if vision else size


def resized(table, side):
    """Patch positions of another grid, bicubic as the converter does it; the class token's stays."""
    before, d = round((len(table) - 1) ** 0.5), table.shape[1]
    weight = np.zeros((side, before))
    cubic = lambda x: (1.25 * x - 2.25) * x * x + 1 if x <= 1 else ((-0.75 * x + 3.75) * x - 6) * x + 3
    for index in range(side):
        position = (index + 0.5) * before / side - 0.5
        for tap in range(int(np.floor(position)) - 1, int(np.floor(position)) + 3):
            weight[index, min(max(tap, 0), before - 1)] += cubic(abs(tap - position))
    grid = np.einsum("ay,bx,yxd->abd", weight, weight, table[1:].reshape(before, before, d).astype(np.float64))
    return np.concatenate([table[:1], grid.reshape(-1, d).astype(np.float32)])

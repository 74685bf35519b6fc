#!/usr/bin/env python3
"""Writes a CoDA task from a PyTorch state_dict: write_task.py STATE.pt SETTINGS.json TASK.safetensors

STATE.pt is what torch.save wrote: a mapping of names to tensors with the names of README.md
("Tensor names"), or the same below one prefix, given with --prefix. SETTINGS.json is the `coda`
metadata, for instance

{"attention": "k-to-all", "router_input": "rms", "gate": "exact", "eps": 0.25,
 "adapter_activation": "relu", "pooling": "class token", "labels": ["no", "yes"],
 "pinned": [0], "reduction": 4.0, "max_tokens": 128}

Needs torch and safetensors; not part of the build.
"""

import argparse
import json
import re

import torch
from safetensors.torch import save_file

CODA = re.compile(
    r"coda\.layer\.\d+\.(router\.weight|adapter\.(down|up)\.(weight|bias)"
    r"|light_kv\.(down\.weight|up\.weight|up\.bias))$"
)
HEAD = re.compile(r"classifier\.(weight|bias)$")
NORM = re.compile(r".*([Ll]ayer_?[Nn]orm|layernorm_before|layernorm_after|norm[12])\.(weight|bias)$")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("state")
    parser.add_argument("settings")
    parser.add_argument("task")
    parser.add_argument("--prefix", default="", help="what stands before every name")
    arguments = parser.parse_args()

    state = torch.load(arguments.state, map_location="cpu", weights_only=True)
    with open(arguments.settings, encoding="utf-8") as file:
        settings = json.load(file)
    tensors, left_out = {}, []
    for name, tensor in state.items():
        name = name.removeprefix(arguments.prefix)
        if CODA.match(name) or HEAD.match(name) or NORM.match(name):
            tensors[name] = tensor.detach().float().contiguous()
        else:
            left_out.append(name)
    if not any(CODA.match(name) for name in tensors):
        parser.error("no coda.layer.* tensor: rename the tensors, or give --prefix")
    save_file(tensors, arguments.task, metadata={"coda": json.dumps(settings)})
    print(f"{len(tensors)} tensors written, {len(left_out)} frozen ones left out")


if __name__ == "__main__":
    main()

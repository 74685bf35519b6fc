"""Writes a CoDA task with random weights for a Hugging Face directory: make_task.py DIR MODE OUT.safetensors

For latency, which does not depend on the weights' values: adapters of 64, a router in every layer, and for k-to-low-rank
keys and values of rank 48. In vision models the class token is pinned.
"""
import json, pathlib, sys
import numpy as np
from safetensors.numpy import save_file

directory, mode, out = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
config = json.loads((directory / "config.json").read_text())
d, adapter, rank = config["hidden_size"], 64, 48
random = np.random.default_rng(1)
tensor = lambda *shape: (random.standard_normal(shape) * 0.01).astype(np.float32)
task = {"classifier.weight": tensor(2, d), "classifier.bias": tensor(2)}
for layer in range(config["num_hidden_layers"]):
    name = f"coda.layer.{layer}"
    task |= {f"{name}.router.weight": tensor(d),
             f"{name}.adapter.down.weight": tensor(adapter, d), f"{name}.adapter.down.bias": tensor(adapter),
             f"{name}.adapter.up.weight": tensor(d, adapter), f"{name}.adapter.up.bias": tensor(d)}
    if mode == "k-to-low-rank":
        task |= {f"{name}.light_kv.down.weight": tensor(rank, d), f"{name}.light_kv.up.weight": tensor(2 * d, rank),
                 f"{name}.light_kv.up.bias": tensor(2 * d)}
coda = {"labels": ["a", "b"], "pooling": "mean over valid tokens of the last layer", "adapter_hidden": adapter,
        "adapter_activation": "relu", "router_input": "rms", "gate": "ones", "attention": mode}
# The number of patches is the package's; texts are cut.
coda |= {"pinned": [0]} if "patch_size" in config else {"max_tokens": 256}
if mode == "k-to-low-rank":
    coda["low_rank"] = rank
save_file(task, out, metadata={"coda": json.dumps(coda)})

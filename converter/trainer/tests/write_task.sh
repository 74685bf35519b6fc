#!/usr/bin/env bash
# write_task.py in a real PyTorch: the bundled task as a state_dict below a prefix, beside frozen
# tensors, must give the package that the task itself gives, byte for byte.
#
#   converter/trainer/tests/write_task.sh
#
# Needs PyTorch and safetensors for python3; what is missing comes from Debian and PyPI, into the cache.
set -euo pipefail
cd "$(dirname "$0")/../../.."
venv=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge/torch-venv
python=/usr/bin/python3
if [ ! -x "$venv/bin/python" ]; then
  if command -v apt-get >/dev/null && ! "$python" -c 'import torch' 2>/dev/null; then
    apt-get update && apt-get install -y --no-install-recommends python3-torch python3-venv
  fi
  "$python" -m venv --system-site-packages "$venv"
fi
"$venv/bin/python" -c 'import torch' 2>/dev/null || "$venv/bin/pip" install --quiet torch
"$venv/bin/python" -c 'import safetensors' 2>/dev/null || "$venv/bin/pip" install --quiet safetensors==0.8.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
base=converter/default/fashion-vit
task=$base/coda.safetensors
"$venv/bin/python" - "$base/model.safetensors" "$task" "$work" <<'PYTHON'
import sys
import torch
from safetensors import safe_open

base, task, work = sys.argv[1:]
state = {}
for path in (base, task):  # the task last: its norms and its head replace the base's
    with safe_open(path, "pt") as file:
        state.update({"model." + name: file.get_tensor(name) for name in file.keys()})
        settings = (file.metadata() or {}).get("coda")
torch.save(state, work + "/state.pt")
with open(work + "/settings.json", "w", encoding="utf-8") as file:
    file.write(settings)
PYTHON
"$venv/bin/python" converter/trainer/write_task.py --prefix model. \
  "$work/state.pt" "$work/settings.json" "$work/task.safetensors"
cargo build --quiet --locked --release -p coda-converter
for name in "$task" "$work/task.safetensors"; do
  target/release/coda pack --base "$base" --task "$name" --weights int8 -o "$work/$(basename "$name").coda"
done
cmp "$work/$(basename "$task").coda" "$work/task.safetensors.coda"
echo "write_task.sh: the packages are the same, byte for byte"

#!/usr/bin/env bash
# The same MiniLM-L6 weights and texts through this runtime and its peers, interleaved in one run:
#   benches/peers/run.sh [ROUNDS]       (default 40; writes benches/record/peers-DATE.{json,md,svg})
# Sets up what it needs outside the tree: Python packages in a virtual environment, the model and the
# texts by tests/fetch.sh.
set -euo pipefail
cd "$(dirname "$0")"
rounds=${1:-40}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge
work=$cache/peers
mkdir -p "$work" ../record
../../tests/fetch.sh
[ -x "$cache/peers-venv/bin/python" ] || python3 -m venv "$cache/peers-venv"
python=$cache/peers-venv/bin/python
"$python" -m pip install -q -r requirements.txt
cargo build --release --locked -q
(cd ../.. && cargo build --release --locked -q --bin coda)
coda=../../target/release/coda
model=$cache/minilm

"$coda" pack --base "$model" --weights int8 -o "$work/minilm-int8.coda" >/dev/null
"$coda" pack --base "$model" --weights f32 -o "$work/minilm-f32.coda" >/dev/null
for mode in k-to-k k-to-all k-to-light; do
  "$python" make_task.py "$model" $mode "$work/$mode.safetensors"
  "$coda" pack --base "$model" --task "$work/$mode.safetensors" --weights int8 -o "$work/$mode.coda" >/dev/null
done
for tokens in 128 256; do
  "$python" export_onnx.py "$model" $tokens "$work/minilm-$tokens.onnx"
done
"$python" plan.py "$model" "$cache/20newsgroups-test.tsv" "$work" "$rounds" target/release/coda-peers >"$work/plan.json"
"$python" compare.py "$work/plan.json" "../record/peers-$(date +%F)"

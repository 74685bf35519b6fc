#!/usr/bin/env bash
# The same weights and inputs through this runtime and its peers, interleaved in one run:
#   benches/peers/run.sh [ROUNDS]       (default 40; writes benches/record/peers-DATE.{json,md,svg})
#   MODELS="minilm vit-s"               MiniLM-L6 on texts, a ViT-S/14 on images; default both
#   OUT=DIRECTORY/NAME                  another place of the record
# Sets up what it needs outside the tree: Python packages in a virtual environment, models and data by
# tests/fetch.sh and converter/trainer/results/dinov2.sh.
set -euo pipefail
out=$(realpath -m "${OUT:-$(dirname "$0")/../record/peers-$(date +%F)}")
cd "$(dirname "$0")"
rounds=${1:-40}
read -ra models <<<"${MODELS:-minilm vit-s}"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge
work=$cache/peers
mkdir -p "$work" "$(dirname "$out")"
../../tests/fetch.sh
[ -x "$cache/peers-venv/bin/python" ] || python3 -m venv "$cache/peers-venv"
python=$cache/peers-venv/bin/python
"$python" -m pip install -q -r requirements.txt
cargo build --release --locked -q
(cd ../.. && cargo build --release --locked -q --bin coda)
coda=../../target/release/coda

prepare() { # NAME DIRECTORY [PACK OPTION...]
  local name=$1 directory=$2 mode
  shift 2
  "$coda" pack --base "$directory" "$@" --weights int8 -o "$work/$name-int8.coda" >/dev/null
  "$coda" pack --base "$directory" "$@" --weights f32 -o "$work/$name-f32.coda" >/dev/null
  for mode in k-to-k k-to-all k-to-light; do
    "$python" make_task.py "$directory" $mode "$work/$name-$mode.safetensors"
    "$coda" pack --base "$directory" "$@" --task "$work/$name-$mode.safetensors" --weights int8 -o "$work/$name-$mode.coda" >/dev/null
  done
}

plans=()
for model in "${models[@]}"; do
  case $model in
    minilm)
      directory=$cache/minilm data=$cache/20newsgroups-test.tsv
      prepare minilm "$directory"
      for tokens in 128 256; do
        "$python" export_onnx.py "$directory" $tokens "$work/minilm-$tokens.onnx"
      done
      ;;
    vit-s)
      ../../converter/trainer/results/dinov2.sh >/dev/null
      directory=$cache/dinov2-s data=$cache/fashion-mnist/t10k-images-idx3-ubyte.gz
      prepare vit-s "$directory" --image-size 224
      "$python" export_onnx.py "$directory" 224 "$work/vit-s.onnx"
      ;;
    *)
      echo "run.sh: $model is not described; minilm and vit-s are" >&2
      exit 1
      ;;
  esac
  plans+=("$work/plan-$model.json")
  "$python" plan.py "$model" "$directory" "$data" "$work" "$rounds" target/release >"$work/plan-$model.json"
done
"$python" compare.py "$out" "${plans[@]}"

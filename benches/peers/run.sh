#!/usr/bin/env bash
# The same weights and inputs through this runtime and its peers, interleaved in one run:
#   benches/peers/run.sh [ROUNDS]       (default 40; writes benches/record/peers-DATE.{json,md,svg})
#   MODELS="minilm vit-s"               MiniLM-L6 on texts, a ViT-S/14 on images; default both
#   OUT=DIRECTORY/NAME                  another place of the record
# Sets up what it needs outside the tree: Python packages in virtual environments, models and data by
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
# Its package asks for PyTorch, which converting ONNX does not need.
"$python" -m pip install -q --no-deps pnnx==20261020
[ -x "$cache/tensorflow-venv/bin/python" ] || python3 -m venv "$cache/tensorflow-venv"
"$cache/tensorflow-venv/bin/python" -m pip install -q tensorflow-cpu==2.21.0 safetensors==0.8.0
cargo build --release --locked -q
(cd ../.. && cargo build --release --locked -q --bin coda)
coda=../../target/release/coda

prepare() { # NAME DIRECTORY [PACK OPTION...]
  local name=$1 directory=$2 mode
  shift 2
  "$coda" pack --base "$directory" "$@" --weights int8 -o "$work/$name-int8.coda" >/dev/null
  "$coda" pack --base "$directory" "$@" --weights f32 -o "$work/$name-f32.coda" >/dev/null
  for mode in k-to-k k-to-all k-to-low-rank; do
    "$python" make_task.py "$directory" $mode "$work/$name-$mode.safetensors"
    "$coda" pack --base "$directory" "$@" --task "$work/$name-$mode.safetensors" --weights int8 -o "$work/$name-$mode.coda" >/dev/null
  done
}

convert() { # ONNX DIRECTORY SIZE: the same model for LiteRT and ncnn
  local stem=${1%.onnx} kind
  for kind in f32 int8; do
    "$cache/tensorflow-venv/bin/python" export_tflite.py "$2" "$3" "$stem-$kind.tflite" $kind 2>"$work/tensorflow.log" ||
      { cat "$work/tensorflow.log" >&2; exit 1; }
  done
  # The program itself: the package's command imports PyTorch.
  (cd "$work" && "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pnnx/pnnx" "$1" fp16=0 ncnnparam="$stem.ncnn.param" ncnnbin="$stem.ncnn.bin" >"$work/pnnx.log") || { cat "$work/pnnx.log" >&2; exit 1; }
}

plans=()
for model in "${models[@]}"; do
  case $model in
    minilm)
      directory=$cache/minilm data=$cache/20newsgroups-test.tsv
      prepare minilm "$directory"
      for tokens in 128 256; do
        "$python" export_onnx.py "$directory" $tokens "$work/minilm-$tokens.onnx"
        convert "$work/minilm-$tokens.onnx" "$directory" $tokens
      done
      for kind in f32 q8_0; do
        "$python" export_gguf.py "$directory" "$work/minilm-$kind.gguf" $kind
      done
      ;;
    vit-s)
      ../../converter/trainer/results/dinov2.sh >/dev/null
      directory=$cache/dinov2-s data=$cache/fashion-mnist/t10k-images-idx3-ubyte.gz
      prepare vit-s "$directory" --image-size 224
      "$python" export_onnx.py "$directory" 224 "$work/vit-s.onnx"
      convert "$work/vit-s.onnx" "$directory" 224
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

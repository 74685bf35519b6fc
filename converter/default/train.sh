#!/usr/bin/env bash
# Trains the bundled task again: parallel adapter, then the elastic task, on the bundled base.
#
#   converter/default/train.sh OUT             the task, on the bundled base (two trainings)
#   converter/default/train.sh --base OUT      the base too, from nothing
#
# SEED=2 for another seed. It ends with the accuracy of the int8 package on the test set. Interrupted, it
# goes on where it was. Needs the Fashion-MNIST images of tests/fetch.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
with_base=
if [ "${1:-}" = --base ]; then
  with_base=1
  shift
fi
[ $# = 1 ] || { echo "usage: converter/default/train.sh [--base] OUT" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
images=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge/fashion-mnist
data=$images/train-images-idx3-ubyte.gz test=$images/t10k-images-idx3-ubyte.gz
[ -e "$data" ] || { echo "train.sh: no $data; tests/fetch.sh brings it" >&2; exit 1; }
# Large blocks are reused, not mapped anew for each step (glibc).
export MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184
cargo build --locked --release -p coda-trainer -p coda-converter ${FEATURES:+--features "$FEATURES"}
trainer=target/release/coda-trainer coda=target/release/coda
base=converter/default/fashion-vit
classes="T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
common=(--data "$data" --classes "$classes" --seed "${SEED:-1}" --flip --average 0.998 --validation 0.02)

if [ -n "$with_base" ]; then
  mkdir -p "$out/configuration"
  cp "$base/config.json" "$base/preprocessor_config.json" "$out/configuration"
  [ -e "$out/base/training.json" ] || "$trainer" train --base "$out/configuration" --from-scratch --method full \
    "${common[@]}" --steps 8000 --muon --rate 2.5e-3 --norm-rate 2.5e-3 --head-rate 2.5e-3 --weight-decay 0.05 \
    --smoothing 0.05 --keep-patches 0.5 --keep-until 0.5 --skip-layers --mix-layers \
    --reductions 1,1,2,4,8 --evaluate-every 1000 --test "$test" --out "$out/base"
  base=$out/base
fi
small=(--adapter-hidden 12 --adapter-activation gelu --head-rate 1e-3)
[ -e "$out/adapter/training.json" ] || "$trainer" train --base "$base" --method parallel-adapter "${common[@]}" \
  "${small[@]}" --steps 800 --rate 1e-3 --norm-rate 3e-4 --smoothing 0.05 --evaluate-every 200 \
  --test "$test" --out "$out/adapter"
adapter=$out/adapter/task.safetensors
[ -e "$out/task/training.json" ] || "$trainer" train --base "$base" --init "$adapter" \
  --teacher "$adapter" "${common[@]}" "${small[@]}" --attention k-to-all \
  --steps 3000 --rate 2e-3 --norm-rate 5e-4 --evaluate-every 500 --out "$out/task"
"$coda" pack --base "$base" --task "$out/task/task.safetensors" --weights int8 -o "$out/fashion.coda" >/dev/null
"$coda" eval "$out/fashion.coda" --data "$test" --reductions 1,2,3,4,6,8

#!/usr/bin/env bash
# Builds coda-bench for every target, runs what can be run or emulated here, and collects one table:
#   targets/bench.sh [--record | --boards | --ssh USER@HOST]
# Writes target/bench/boards.csv, .svg and .md; --record also writes them to benches/record with the date,
# --boards leaves out all but the bare-metal boards (part of `./ci.sh emulated`).
# --ssh runs it on a Linux board (ssh.sh).
# Emulated rows are guest instructions, never time. It fails if an inference takes more of the
# instructions of its dense reference (r = 1 with the adapter, same task) than the bounds of bench.py.
# MiniLM is measured if tests/fetch.sh has fetched it (--record fetches it).
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
built=$PWD/../target/cross
work=$PWD/../target/bench
minilm=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge/minilm
lines=$work/lines
record=no
boards_only=no
case ${1:-} in
  --record) record=yes ;;
  --boards) boards_only=yes ;;
  --ssh) exec ./ssh.sh "${2:-}" ;;
  "") ;;
  *) echo "usage: targets/bench.sh [--record | --boards | --ssh USER@HOST]" >&2; exit 1 ;;
esac
rm -rf "$lines"
mkdir -p "$lines"
export CODA_BENCH=$work/bundled

[ $record = no ] || ../tests/fetch.sh >/dev/null
make_packages() {
  cargo run -q --release --locked --manifest-path ../Cargo.toml --bin bench-packages -- "$@"
}
make_packages "$work/bundled"
[ -e "$minilm/model.safetensors" ] && [ $boards_only = no ] && minilm_here=yes || minilm_here=no
[ $minilm_here = no ] || make_packages "$work/minilm" "$minilm"

build() { # TRIPLE
  (cd bench && cross_cargo build -q --release --locked --target "$1" --target-dir "$built")
}

# Rows of one run, with the machine, how it was run and the model before them.
rows() { # MACHINE HOW MODEL COMMAND...
  local machine=$1 how=$2 model=$3 start=$SECONDS
  shift 3
  echo "== $machine, $model, $how" >&2
  "$@" >"$lines/run" || { cat "$lines/run" >&2; echo "bench.sh: $machine failed" >&2; return 1; }
  sed -e "1s/^/machine,how,model,/" -e "2,\$s/^/$machine,$how,$model,/" "$lines/run" >"$lines/$machine-$model.csv"
  echo "   $((SECONDS - start)) s" >&2
}

counted() { # EMULATOR CORE TRIPLE [ARGUMENT...]
  local emulator=$1 core=$2 triple=$3
  shift 3
  CODA_INSTRUCTIONS=$lines/count "$emulator" -cpu "$core" -plugin "$work/instructions.so,count=$lines/count" \
    "$built/$triple/release/coda-bench" "$@"
}

on_board() { # MACHINE TRIPLE
  local emulator=(qemu-system-arm)
  [ "$1" != virt ] || emulator=(qemu-system-riscv32 -bios none)
  timeout 900 "${emulator[@]}" -machine "$1" -icount shift=6 -nographic \
    -semihosting-config enable=on,target=native -kernel "$built/$2/release/coda-bench"
}

aarch64=aarch64-unknown-linux-gnu
armv7=armv7-unknown-linux-gnueabihf
riscv32=riscv32imac-unknown-none-elf
boards=(thumbv7em-none-eabihf thumbv8m.main-none-eabihf $riscv32)
triples=("${boards[@]}")
[ $boards_only = yes ] || triples+=($aarch64 $armv7 wasm32-unknown-unknown)
./setup.sh "${triples[@]}" >&2
for triple in "${triples[@]}"; do
  echo "== building $triple" >&2
  build $triple
done

if [ $boards_only = no ]; then
  cc -O2 -shared -fPIC -o "$work/instructions.so" bench/instructions.c
  cargo build -q --release --locked --manifest-path bench/Cargo.toml --target-dir "$built"
  rows "$(uname -m)" run bundled "$built/release/coda-bench"
  rows node run bundled node bench/run.mjs "$built/wasm32-unknown-unknown/release/coda-bench.wasm"
  for core in cortex-a53 cortex-a72 cortex-a76 max; do
    rows $core emulated bundled counted qemu-aarch64 $core $aarch64
  done
  rows cortex-a7 emulated bundled counted qemu-arm cortex-a7 $armv7
fi
rows cortex-m4f emulated bundled on_board mps2-an386 thumbv7em-none-eabihf
rows cortex-m7 emulated bundled on_board mps2-an500 thumbv7em-none-eabihf
rows cortex-m55 emulated bundled on_board mps3-an547 thumbv8m.main-none-eabihf
rows riscv32 emulated bundled on_board virt $riscv32
if [ $minilm_here = yes ]; then
  rows cortex-a76 emulated minilm counted qemu-aarch64 cortex-a76 $aarch64 --only inferences --tokens 256 "$work/minilm"
elif [ $boards_only = no ]; then
  echo "bench.sh: MiniLM is not measured; tests/fetch.sh fetches it" >&2
fi
python3 bench.py "$work/boards" "$lines"/*.csv
if [ $record = yes ]; then
  for kind in csv md svg; do cp "$work/boards.$kind" "../benches/record/boards-$(date +%F).$kind"; done
  echo "wrote benches/record/boards-$(date +%F).{csv,md,svg}"
fi

#!/usr/bin/env bash
# Builds `coda` and `coda-bench` as static programs for Arm Linux and compares what they answer, emulated,
# with this machine's `coda`, to the bit:
#   targets/linux/coda.sh [TRIPLE...]     default: aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf
# The programs are in target/coda/TRIPLE afterwards: copy them to a board. The first build takes some
# minutes for each triple, which is why no other script calls this.
set -euo pipefail
cd "$(dirname "$0")/.."
. ./env.sh
triples=("$@")
[ ${#triples[@]} -gt 0 ] || triples=(aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf)
root=$PWD/..
out=$root/target/coda
image=$root/converter/default/images/7.png
export CODA_BENCH=$root/target/bench/bundled

emulator() { # TRIPLE
  case $1 in
    aarch64-*) echo qemu-aarch64 -cpu max ;;
    armv7-*) echo qemu-arm -cpu cortex-a7 ;;
    *) echo "coda.sh: no emulator for $1" >&2; return 1 ;;
  esac
}

# Everything that `coda` says of a package and an image, without times, and the package itself.
answers() { # DIRECTORY COMMAND...
  local directory=$1 reduction
  shift
  mkdir -p "$directory"
  "$@" demo -o "$directory/model.coda" >"$directory/demo.txt"
  # From the table of latencies on, it is about this machine.
  sed -e '/^wrote /d' -e '/reduction ┆ median latency/,$d' "$directory/demo.txt" >"$directory/answers"
  for reduction in 1 4 8; do
    "$@" run "$directory/model.coda" --image "$image" --reduction $reduction --trace --json |
      sed 's/"milliseconds":[^,}]*//' >>"$directory/answers"
  done
  sha256sum <"$directory/model.coda" >>"$directory/answers"
}

say() { printf '%-32s %s\n' "$1" "$2"; }

cargo build -q --release --locked --manifest-path "$root/Cargo.toml" --bin coda
cargo run -q --release --locked --manifest-path "$root/Cargo.toml" --bin bench-packages -- "$CODA_BENCH"
answers "$out/host" "$root/target/release/coda"
./setup.sh "${triples[@]}"
for triple in "${triples[@]}"; do
  start=$SECONDS
  cross_cargo build -q --release --locked --manifest-path "$root/converter/Cargo.toml" --bin coda --target "$triple" --target-dir "$root/target/cross-coda"
  (cd bench && cross_cargo build -q --release --locked --target "$triple" --target-dir "$root/target/cross")
  mkdir -p "$out/$triple"
  cp "$root/target/cross-coda/$triple/release/coda" "$root/target/cross/$triple/release/coda-bench" "$out/$triple"
  say "$triple" "built in $((SECONDS - start)) s: coda $(stat -c %s "$out/$triple/coda") bytes, coda-bench $(stat -c %s "$out/$triple/coda-bench")"
  for program in coda coda-bench; do
    # A static program names no interpreter.
    ! readelf -l "$out/$triple/$program" | grep -q INTERP || { echo "coda.sh: $program is not static" >&2; exit 1; }
  done
  run=($(emulator "$triple") "$out/$triple/coda")
  answers "$out/$triple" "${run[@]}"
  diff "$out/host/answers" "$out/$triple/answers" >&2 || { echo "coda.sh: $triple answers otherwise" >&2; exit 1; }
  say "$triple" "coda demo, coda run: the answers, routed patches and package of this machine, to the bit"
  "${run[@]}" cpu | grep ' yes ┆    yes'
  "${run[@]}" bench "$out/$triple/model.coda" --runs 3 --json |
    python3 -c 'import json, sys; r = json.load(sys.stdin)["reductions"]; assert [x["reduction"] for x in r] == [1, 4, 8] and all(x["median_ms"] > 0 for x in r), r'
  say "$triple" "coda bench: a row for each of r = 1, 4, 8 (emulated: no times)"
  $(emulator "$triple") "$out/$triple/coda-bench" --runs 1 --json |
    python3 -c 'import json, sys; print(" " * 32, len(json.load(sys.stdin)), "rows of coda-bench")'
done

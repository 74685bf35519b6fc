#!/usr/bin/env bash
# Static throughput of the inner loops of the Arm GEMM kernels, by llvm-mca's models of the cores:
#   targets/throughput.sh [--json]
# Compiles the runtime to assembly, takes the loop of each kernel with the most products, and fails if
# one is below its bound. Nothing runs: loads hit the first cache, and a model can be rough.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
triples=(aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf)
./setup.sh "${triples[@]}" >&2
mca=$(command -v llvm-mca-19 || true)
if [ -z "$mca" ]; then
  if [ "$(id -u)" != 0 ]; then echo "throughput.sh: install llvm-19 first" >&2; exit 1; fi
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends llvm-19; } \
    >"$cross_cache/apt.log" 2>&1 || { tail -20 "$cross_cache/apt.log" >&2; exit 1; }
  mca=$(command -v llvm-mca-19)
fi
built=$(realpath -m ../target/throughput)
files=()
for triple in "${triples[@]}"; do
  rm -f "$built/$triple"/release/deps/coda_runtime*.s
  cross_cargo rustc -q --release --locked --lib --manifest-path ../runtime/Cargo.toml --features std --target "$triple" --target-dir "$built" -- \
    --emit asm -C codegen-units=1
  files+=("$(ls "$built/$triple"/release/deps/coda_runtime*.s)")
done
python3 throughput.py "$mca" "${files[@]}" "$@"

#!/usr/bin/env bash
# Compares every kernel table with the scalar one, bit for bit, here and on emulated machines:
#   targets/conformance.sh
# Each line says which tables must run; another set is a failure.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
built=../target/cross

suite() { # TRIPLE OPTION...
  local triple=$1
  shift
  cross_cargo build -q --release --locked --manifest-path ../tests/conformance/Cargo.toml --target "$triple" --target-dir "${checked:-$built}" "$@"
}

native() {
  local expected=()
  if [ "$(uname -m)" = x86_64 ]; then
    local tables="" flags
    flags=$(grep -m1 '^flags' /proc/cpuinfo)
    [[ " $flags " != *" amx_int8 "* ]] || tables+=amx_int8,
    [[ " $flags " != *" avx512_vnni "* ]] || tables+=avx512_vnni,
    [[ " $flags " != *" avx_vnni "* ]] || tables+=avx_vnni,
    [[ " $flags " != *" avx2 "* ]] || tables+=avx2,
    expected=(--expect "${tables}portable,compact,scalar")
  fi
  cargo run -q --release --locked --manifest-path ../Cargo.toml --bin coda-conformance -- "${expected[@]}"
}

echo "== $(uname -m), this machine"
native
./setup.sh
suite aarch64-unknown-linux-gnu
for core in cortex-a53:neon cortex-a72:neon cortex-a76:neon_dotprod,neon max:neon_i8mm,neon_dotprod,neon; do
  echo "== aarch64 ${core%%:*}, emulated"
  qemu-aarch64 -cpu "${core%%:*}" $built/aarch64-unknown-linux-gnu/release/coda-conformance --expect "${core##*:},portable,compact,scalar"
done
suite armv7-unknown-linux-gnueabihf
echo "== armv7 cortex-a7, emulated"
qemu-arm -cpu cortex-a7 $built/armv7-unknown-linux-gnueabihf/release/coda-conformance --expect armv7_neon,portable,compact,scalar
# Sizes of 32 bits with overflow checked: what a hostile package names, and long inputs.
checked=$built/checked suite armv7-unknown-linux-gnueabihf --config ../.ci/checked.toml
echo "== armv7 cortex-a7 with overflow checks, emulated"
qemu-arm -cpu cortex-a7 $built/checked/armv7-unknown-linux-gnueabihf/release/coda-conformance --expect armv7_neon,portable,compact,scalar
echo "== wasm32 with SIMD, in node"
cross_cargo build -q --release --locked --manifest-path ../tests/conformance/wasm/Cargo.toml --target wasm32-unknown-unknown --target-dir $built
node ../tests/conformance/wasm/run.mjs $built/wasm32-unknown-unknown/release/coda_conformance_wasm.wasm simd128,portable,compact,scalar
firmware() { # TRIPLE MACHINE TABLES
  echo "== $1 $2, emulated"
  EXPECT=$3 cross_cargo build -q --release --locked --manifest-path ../tests/conformance/cortex-m/Cargo.toml --target "$1" --target-dir $built
  timeout 600 qemu-system-arm -machine "$2" -nographic -semihosting-config enable=on,target=native \
    -kernel "$built/$1/release/coda-conformance-cortex-m"
}
firmware thumbv7em-none-eabihf mps2-an386 dsp,portable,compact,scalar       # Cortex-M4F
firmware thumbv7em-none-eabihf mps2-an500 dsp,portable,compact,scalar       # Cortex-M7
firmware thumbv8m.main-none-eabihf mps3-an547 mve,dsp,portable,compact,scalar # Cortex-M55
echo "every table has the scalar bits"

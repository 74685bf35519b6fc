#!/usr/bin/env bash
# Looks for calls of panics in the hot path of the runtime, built for every machine of setup.sh:
#   targets/no-panic.sh [TRIPLE...]
# The test `no_panic` reads the assembly, and for itself that of this host. Firmware is built for size.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
triples=("$@")
[ ${#triples[@]} -gt 0 ] || triples=(aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf wasm32-unknown-unknown
  thumbv7em-none-eabihf thumbv8m.main-none-eabihf riscv32imac-unknown-none-elf)

./setup.sh "${triples[@]}"
files=()
for triple in "${triples[@]}"; do
  built=$PWD/../target/no-panic/$triple
  flags=() level=3
  case $triple in
    *-linux-*) flags=(--features std) ;;
    thumb* | riscv*) level=s ;;
  esac
  # Assembly of an earlier compiler must not be read instead.
  rm -rf "$built"
  CARGO_PROFILE_RELEASE_OPT_LEVEL=$level cross_cargo rustc -q --release --locked --lib --manifest-path ../runtime/Cargo.toml \
    --target "$triple" --target-dir "$built" "${flags[@]}" -- --emit=asm -Ccodegen-units=1
  files+=("$(ls "$built/$triple"/release/deps/coda_runtime-*.s)")
done
CODA_ASSEMBLY=$(IFS=:; echo "${files[*]}") cargo test -q --release --locked --manifest-path ../Cargo.toml --test no_panic -- --nocapture

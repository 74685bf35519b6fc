#!/usr/bin/env bash
# Builds the programs of the boards, runs them emulated, compares every logit with this machine's to
# the bit, and prints one table:
#   targets/boards.sh
# Counts are instructions per inference in an emulator: not time. It fails on any difference.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
built=$PWD/../target/cross
export CODA_FIRMWARE=$PWD/../target/firmware
lines=$PWD/../target/boards
mkdir -p "$lines"

cargo run -q --release --locked --manifest-path ../Cargo.toml --bin coda -- demo --firmware "$CODA_FIRMWARE"
rows=()

# One target's output: the answers must be those of this machine.
compare() { # NAME
  grep '^answer ' "$lines/$1.txt" >"$lines/$1.answers"
  [ -s "$lines/$1.answers" ] || { echo "boards.sh: $1 answered nothing" >&2; return 1; }
  [ "$1" = host ] || diff -q "$lines/host.answers" "$lines/$1.answers" ||
    { echo "boards.sh: $1 has other bits" >&2; return 1; }
}

value() { # NAME PREFIX KEY
  sed -n "s/^$2.* *$3=\([0-9]*\).*/\1/p" "$lines/$1.txt"
}

row() { # NAME RUNTIME_BYTES
  local name=$1 cells=() ticks reduction count
  cells=("$name" "$(sed -n 's/^kernels //p' "$lines/$name.txt")" "$(wc -l <"$lines/$name.answers")")
  ticks=$(sed -n 's/^ticks-of-1024-instructions //p' "$lines/$name.txt")
  for reduction in 1 4 8; do
    count=$(value "$name" "count r=$reduction" per-inference)
    if [ -n "$ticks" ]; then cells+=($((count * 1024 / ticks))); else cells+=(-); fi
  done
  cells+=("$(value "$name" arena planned)/$(value "$name" arena touched)")
  if [ -n "$ticks" ]; then
    cells+=("$(value "$name" stack planned)/$(value "$name" stack touched)" "$2")
  else
    cells+=(- "$2")
  fi
  rows+=("$(printf '%-22s %-13s %7s %11s %11s %11s  %-15s %-11s %7s' "${cells[@]}")")
}

linux() { # NAME TRIPLE EMULATOR...
  local name=$1 triple=$2
  shift 2
  echo "== $name, emulated"
  "$@" "$built/$triple/release/coda-linux" >"$lines/$name.txt" || { cat "$lines/$name.txt"; return 1; }
  compare "$name"
  row "$name" -
}

build_linux() { # TRIPLE
  cross_cargo build -q --release --locked --manifest-path linux/Cargo.toml --target "$1" --target-dir "$built"
}

# .text and .rodata of the program without its text output; the package is a section of its own.
runtime_bytes() { # ELF
  size -A "$1" | awk '$1 == ".text" || $1 == ".rodata" { sum += $2 } END { print sum }'
}

# A figure of boards.csv, which `coda plan --target` reads too.
figure() { # NAME COLUMN
  awk -F, -v name="$1" -v column="$2" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i } $1 == name { print $at[column] }' boards.csv
}

board() { # FOLDER TRIPLE
  local limit machine
  limit=$(figure "$1" code_bytes)
  machine=$(figure "$1" emulated_by)
  local elf=$built/$2/release/coda-$1 silent=$built/silent/$2/release/coda-$1 bytes
  echo "== $1 $machine, emulated"
  (cd "$1" && cross_cargo build -q --release --locked --target-dir "$built")
  (cd "$1" && cross_cargo build -q --release --locked --no-default-features --target-dir "$built/silent")
  timeout 600 qemu-system-arm -machine "$machine" -icount shift=6 -nographic \
    -semihosting-config enable=on,target=native -kernel "$elf" >"$lines/$1.txt" ||
    { cat "$lines/$1.txt"; echo "boards.sh: $1 failed" >&2; return 1; }
  compare "$1"
  bytes=$(runtime_bytes "$silent")
  [ "$bytes" -le "$limit" ] || { echo "boards.sh: $1 has $bytes bytes of code and constants, above $limit" >&2; return 1; }
  [ "$(value "$1" stack planned)" = "$(figure "$1" stack_bytes)" ] || { echo "boards.sh: the stack of $1 is not that of boards.csv" >&2; return 1; }
  # What the linker kept says whether anything allocates or formats.
  local symbols
  symbols=$(nm -C "$silent")
  if grep -E '__rust_alloc|__rg_alloc|\b(malloc|calloc|realloc)\b' <<<"$symbols"; then
    echo "boards.sh: $1 has an allocator" >&2
    return 1
  fi
  if grep -E 'core::fmt::|core::str::from_utf8_lossy' <<<"$symbols"; then
    echo "boards.sh: $1 has formatting" >&2
    return 1
  fi
  row "$1" "$bytes"
}

echo "== $(uname -m), this machine"
cargo run -q --release --locked --manifest-path linux/Cargo.toml --target-dir "$built" >"$lines/host.txt"
compare host
row host -
./setup.sh aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf wasm32-unknown-unknown \
  thumbv7em-none-eabihf thumbv8m.main-none-eabihf
build_linux aarch64-unknown-linux-gnu
for core in cortex-a53 cortex-a72 cortex-a76 max; do
  linux "aarch64-$core" aarch64-unknown-linux-gnu qemu-aarch64 -cpu $core
done
build_linux armv7-unknown-linux-gnueabihf
linux armv7-cortex-a7 armv7-unknown-linux-gnueabihf qemu-arm -cpu cortex-a7
echo "== wasm32, in node"
cross_cargo build -q --release --locked --manifest-path wasm/Cargo.toml --target wasm32-unknown-unknown --target-dir "$built"
node wasm/run.mjs "$built/wasm32-unknown-unknown/release/coda_wasm.wasm" >"$lines/wasm32.txt"
compare wasm32
row wasm32 -
board cortex-m4f thumbv7em-none-eabihf
board cortex-m7 thumbv7em-none-eabihf
board cortex-m55 thumbv8m.main-none-eabihf
printf '\n%-22s %-13s %7s %11s %11s %11s  %-15s %-11s %7s\n' target kernels answers "count r=1" "r=4" "r=8" "arena plan/run" stack code
printf '%s\n' "${rows[@]}"
echo "every answer has this machine's bits; counts are emulated instructions"

#!/usr/bin/env bash
# Builds external-ram and runs it emulated: two tasks over one base, swapped and updated while it
# runs, an update cut by a reset, one that hangs on trial and is gone at the next start, and tasks that
# must be refused:
#   targets/swap.sh
# The program compares every logit with this machine's. Counts are emulated instructions.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
export CODA_SWAP=$PWD/../target/swap
built=$PWD/../target/cross
lines=$PWD/../target/boards
mkdir -p "$lines"
triple=thumbv7em-none-eabihf

cargo run -q --release --locked --manifest-path ../Cargo.toml --bin firmware-files -- --swap "$CODA_SWAP"
./setup.sh $triple
(cd external-ram && cross_cargo build -q --release --locked --target-dir "$built")
# What the program printed: its counts are ticks, which this says in instructions.
failed() {
  cat "$lines/external-ram.txt"
  awk '$1 == "ticks-of-1024-instructions" { print "swap.sh: counts above are ticks of " 1024 / $2 " instructions" }' "$lines/external-ram.txt"
}

echo "== external-ram mps2-an500, emulated"
timeout 300 qemu-system-arm -machine mps2-an500 -icount shift=6 -nographic \
  -semihosting-config enable=on,target=native -kernel "$built/$triple/release/coda-external-ram" \
  >"$lines/external-ram.txt" || { failed; echo "swap.sh: external-ram failed" >&2; exit 1; }

says() { # COUNT PATTERN
  local found
  found=$(grep -c "$2" "$lines/external-ram.txt" || true)
  [ "$found" = "$1" ] || { failed; echo "swap.sh: \"$2\" stands $found times, not $1" >&2; exit 1; }
}
says 3 '^start '
says 1 '^power cut$'
says 1 '^the task on trial hangs: watchdog$'
says 1 '^start 2 slots Some((3, '
says 1 '^update of the task in use: nothing to do$'
says 1 '^update refused: another package has release '
says 1 '^update refused: the envelope is of kind 1, '
says 5 '^update refused: case 0 of the self-test: value 0 is '
says 1 '^update refused: 4 updates of this key were begun since the start$'
says 2 '^update taken: '
says 1 '^update refused: the package is not signed$'
says 2 '^update refused: release [0-9]* is older than '
says 1 '^update refused: signed with key '
says 1 '^update refused: the signature is not that of this envelope$'
says 1 '^update refused: the package is not the one that was signed$'
says 9 '^answer .* of 10 '
says 9 '^answer .* of 4 '

number() { # LINE KEY
  sed -n "s/^$1.* *$2=\([0-9]*\).*/\1/p" "$lines/external-ram.txt" | tail -1
}
ticks=$(sed -n 's/^ticks-of-1024-instructions //p' "$lines/external-ram.txt")
instructions() { echo $(($(number "$1" "$2") * 1024 / ticks)); }
grep -E '^(start|update|power)' "$lines/external-ram.txt"
echo "swap of a task:           $(instructions use swap-ticks) instructions"
echo "check of a signature:     $(instructions ticks signature) instructions"
echo "SHA-512 of $(number ticks bytes) bytes:  $(instructions ticks digest) instructions"
echo "stack touched:            $(number stack touched) of $(number stack planned) bytes"
echo "heap in external RAM:     $(number use heap) bytes"
echo "18 answers of two tasks have this machine's bits; three starts, two resets, no task lost"

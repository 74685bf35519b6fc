#!/usr/bin/env bash
# Builds the programs of the boards, runs them emulated, compares every logit with this machine's to
# the bit, and prints one table:
#   targets/boards.sh [BOARD...]     only these boards, in place of everything
# Counts are instructions per inference in an emulator: not time. It fails on any difference, on bad
# input that is not refused, above a bound of boards.csv, and where the table of README.md is another (with
# the compiler that it names). BOARDS_TABLE=write writes it.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
built=$PWD/../target/cross
only=("$@")
lines=$PWD/../target/boards
mkdir -p "$lines"

# The files to embed: those of a directory that the caller names, or fresh ones.
if [ -z "${CODA_FIRMWARE:-}" ]; then
  export CODA_FIRMWARE=$PWD/../target/firmware
  cargo run -q --release --locked --manifest-path ../Cargo.toml --bin firmware-files -- "$CODA_FIRMWARE"
fi
rows=()
stale=no
compiler=$( ([ "$cross_way" = debian ] && /usr/bin/rustc --version || rustc --version) | cut -d' ' -f2)
columns='%-22s %-13s %7s %11s %11s %11s  %-15s %-12s %6s %8s %8s %7s'

# One target's output: the answers must be those of this machine.
compare() { # NAME
  grep '^answer ' "$lines/$1.txt" >"$lines/$1.answers"
  [ -s "$lines/$1.answers" ] || { echo "boards.sh: $1 answered nothing" >&2; return 1; }
  [ "$1" = host ] || diff -q "$lines/host.answers" "$lines/$1.answers" ||
    { echo "boards.sh: $1 has other bits" >&2; return 1; }
}

# The answers of models that write, where the program prints them.
compare_written() { # NAME
  grep '^written ' "$lines/$1.txt" >"$lines/$1.written"
  [ "$1" = host ] || diff -q "$lines/host.written" "$lines/$1.written" ||
    { echo "boards.sh: $1 writes otherwise" >&2; return 1; }
}

value() { # NAME PREFIX KEY
  sed -n "s/^$2.* *$3=\([0-9]*\).*/\1/p" "$lines/$1.txt"
}

row() { # NAME STACK CODE FAMILIES WRITES REFUSED
  local name=$1 cells=() ticks reduction count
  cells=("$name" "$(sed -n 's/^kernels //p' "$lines/$name.txt")" "$(wc -l <"$lines/$name.answers")")
  ticks=$(sed -n 's/^ticks-of-1024-instructions //p' "$lines/$name.txt")
  for reduction in 1 4 8; do
    count=$(value "$name" "count r=$reduction" per-inference)
    if [ -n "$ticks" ]; then cells+=($((count * 1024 / ticks))); else cells+=(-); fi
  done
  cells+=("$(value "$name" arena planned)/$(value "$name" arena touched)" "$2" "$3" "$4" "$5" "$6")
  rows+=("$(printf "$columns" "${cells[@]}")")
  [ -z "$(figure "$name" emulated_by)" ] || in_readme "$name" "${cells[@]:1:1}" "${cells[@]:3:3}" "$2" "$3" "$4" "$5"
}

# The line of a board in the table of README.md. Counts and stack are equal everywhere; the order in
# which the compiler lays functions down depends on the folder's path, and with it some padding: the
# sizes of code may differ by $padding bytes.
padding=64
in_readme() { # NAME KERNELS R1 R4 R8 STACK CODE FAMILIES WRITES
  local line
  line=$(printf "| \`%s\` | %s | %s | %s | %s | %s | %s, %s | %s | %s | %s |" "$1" "$(figure "$1" emulated_by)" \
    "$2" "$3" "$4" "$5" "${6%/*}" "${6#*/}" "$7" "$8" "$9" | sed -E ':a; s/([0-9])([0-9]{3})([^0-9])/\1,\2\3/; ta')
  if [ "${BOARDS_TABLE:-}" = write ]; then
    sed -i "s#^| \`$1\` .*#$line#" README.md
    sed -i "s/built with rustc [0-9.]*,/built with rustc $compiler,/" README.md
  elif grep -q "built with rustc $compiler," README.md && ! same_but_padding "$line" "$(grep "^| \`$1\` " README.md)"; then
    echo "boards.sh: the table of targets/README.md is stale (BOARDS_TABLE=write $0 writes it):" >&2
    echo "$line" >&2
    stale=yes
  fi
}

same_but_padding() { # FOUND WRITTEN
  printf '%s\n' "$1" "$2" | awk -F' [|] ' -v padding=$padding '
    { gsub(",", ""); sub(/ [|]$/, ""); for (i = 1; i <= NF; i++) cell[NR, i] = $i; cells[NR] = NF }
    END {
      same = cells[1] == cells[2]
      for (i = 1; i <= cells[1]; i++) {
        apart = cell[1, i] - cell[2, i]
        near = i > cells[1] - 3 && apart <= padding && -apart <= padding
        if (cell[1, i] != cell[2, i] && !near) same = 0
      }
      exit !same
    }'
}

linux() { # NAME TRIPLE EMULATOR...
  local name=$1 triple=$2
  shift 2
  echo "== $name, emulated"
  "$@" "$built/$triple/release/coda-linux" >"$lines/$name.txt" || { cat "$lines/$name.txt"; return 1; }
  compare "$name"
  compare_written "$name"
  "$@" "$built/$triple/release/coda-linux" bad-input >"$lines/$name.bad" || { cat "$lines/$name.bad"; return 1; }
  diff "$lines/host.bad" "$lines/$name.bad"
  row "$name" - - - - "$(grep -c '^refused' "$lines/$name.bad")"
}

build_linux() { # TRIPLE
  cross_cargo build -q --release --locked --manifest-path linux/Cargo.toml --target "$1" --target-dir "$built"
}

# .text and .rodata of a program without text; the package is a section of its own.
runtime_bytes() { # ELF
  size -A "$1" | awk '$1 == ".text" || $1 == ".rodata" { sum += $2 } END { print sum }'
}

# A figure of boards.csv, which `coda plan --target` reads too.
figure() { # NAME COLUMN
  awk -F, -v name="$1" -v column="$2" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i } $1 == name { print $at[column] }' boards.csv
}

at_most() { # NAME WHAT FOUND LIMIT
  [ "$3" -le "$4" ] || { echo "boards.sh: $1: $3 bytes of $2, above $4" >&2; return 1; }
}

emulate() { # MACHINE ELF
  local arguments=(-machine "$1" -icount shift=6 -nographic -semihosting-config "enable=on,target=native" -kernel "$2")
  case $1 in
    virt) timeout 900 qemu-system-riscv32 -bios none "${arguments[@]}" ;;
    *) timeout 900 qemu-system-arm "${arguments[@]}" ;;
  esac
}

# One program of a board.
build_board() { # NAME FOLDER TRIPLE PROGRAM CARGO_ARGUMENT...
  local name=$1 folder=$2 triple=$3 program=$4
  shift 4
  (cd "$folder" && cross_cargo build -q --release --locked --target-dir "$built" "$@")
  cp "$built/$triple/release/coda-$folder" "$lines/$name-$program.elf"
}

# What the linker kept says whether anything allocates or formats.
check_symbols() { # NAME ELF
  local symbols
  symbols=$(nm -C "$2")
  if grep -E '__rust_alloc|__rg_alloc|\b(malloc|calloc|realloc)\b' <<<"$symbols"; then
    echo "boards.sh: $1 has an allocator" >&2
    return 1
  fi
  if grep -E 'core::fmt::|core::str::from_utf8_lossy' <<<"$symbols"; then
    echo "boards.sh: $1 has formatting" >&2
    return 1
  fi
}

# A board has five programs: with text; without, for the bundled model; without, for every encoder
# family; the same with models that write; and the one that is given bad input.
board() { # NAME FOLDER TRIPLE
  local name=$1 machine code families writes painted bound of=$lines/$1
  machine=$(figure "$name" emulated_by)
  echo "== $name $machine, emulated"
  build_board "$@" text
  build_board "$@" silent --no-default-features
  build_board "$@" families --no-default-features --features families
  build_board "$@" writes --no-default-features --features writes
  build_board "$@" bad-input --features bad-input
  emulate "$machine" "$of-text.elf" >"$lines/$name.txt" ||
    { cat "$lines/$name.txt"; echo "boards.sh: $name failed" >&2; return 1; }
  compare "$name"
  emulate "$machine" "$of-bad-input.elf" >"$lines/$name.bad" ||
    { cat "$lines/$name.bad"; echo "boards.sh: $name accepts bad input" >&2; return 1; }
  diff "$lines/host.bad" "$lines/$name.bad" || { echo "boards.sh: $name gives another status" >&2; return 1; }
  grep -q '^refused a package without a signature: the package is not signed$' "$lines/$name.bad" ||
    { echo "boards.sh: $name does not say that a package is not signed" >&2; return 1; }
  emulate "$machine" "$of-silent.elf" >"$lines/$name.silent" || { echo "boards.sh: $name failed without text" >&2; return 1; }
  # It compares every golden answer, and exits 0 if all are right.
  emulate "$machine" "$of-writes.elf" >"$lines/$name.writes" ||
    { cat "$lines/$name.writes"; echo "boards.sh: $name writes otherwise, or needs more than its constants" >&2; return 1; }
  code=$(runtime_bytes "$of-silent.elf")
  families=$(runtime_bytes "$of-families.elf")
  writes=$(runtime_bytes "$of-writes.elf")
  at_most "$name" "code and constants" "$code" "$(figure "$name" code_bytes)"
  at_most "$name" "code and constants with every family" "$families" "$(figure "$name" families_code_bytes)"
  at_most "$name" "code and constants with models that write" "$writes" "$(figure "$name" decoder_code_bytes)"
  echo "$name writes: $((writes - families)) bytes of code more than with every family, $(cat "$lines/$name.writes")"
  check_symbols "$name" "$of-silent.elf"
  check_symbols "$name" "$of-families.elf"
  check_symbols "$name" "$of-writes.elf"
  painted=$(sed -n 's/^stack touched=//p' "$lines/$name.silent")
  at_most "$name" "stack" "$painted" "$(figure "$name" stack_bytes)"
  at_most "$name" "stack of a program that writes" "$(sed -n 's/^stack touched=//p' "$lines/$name.writes")" "$(figure "$name" decoder_stack_bytes)"
  bound=$(./stack.py "$of-silent.elf" "${name%f}" 2>"$lines/$name.stack") || { cat "$lines/$name.stack" >&2; return 1; }
  at_most "$name" "stack, its bound being $bound," "$painted" "$bound"
  at_most "$name" "stack by the bound" "$bound" "$(figure "$name" stack_bytes)"
  [ "$(value "$name" stack planned)" = "$(figure "$name" stack_bytes)" ] || { echo "boards.sh: the stack of $name is not that of boards.csv" >&2; return 1; }
  [ "$(value "$name" needs code)" = "$(figure "$name" code_bytes)" ] || { echo "boards.sh: the code of $name is not that of boards.csv" >&2; return 1; }
  row "$name" "$painted/$bound" "$code" "$families" "$writes" "$(grep -c '^refused' "$lines/$name.bad")"
}

echo "== $(uname -m), this machine"
cargo run -q --release --locked --manifest-path linux/Cargo.toml --target-dir "$built" >"$lines/host.txt"
compare host
compare_written host
cargo run -q --release --locked --manifest-path linux/Cargo.toml --target-dir "$built" -- bad-input >"$lines/host.bad"
row host - - - - "$(grep -c '^refused' "$lines/host.bad")"
if [ ${#only[@]} -eq 0 ]; then
  ./setup.sh aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf wasm32-unknown-unknown
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
  compare_written wasm32
  row wasm32 - - - - -
  only=(cortex-m4f cortex-m7 cortex-m55 riscv32)
fi
for name in "${only[@]}"; do
  folder=$name
  case $name in
    cortex-m4f | cortex-m7) folder=cortex-m triple=thumbv7em-none-eabihf ;;
    cortex-m55) triple=thumbv8m.main-none-eabihf ;;
    riscv32) triple=riscv32imac-unknown-none-elf ;;
    *) echo "boards.sh: no board \"$name\"" >&2; exit 1 ;;
  esac
  ./setup.sh $triple
  board "$name" $folder $triple
done
printf "\n$columns\n" target kernels answers "count r=1" "r=4" "r=8" "arena plan/run" stack/bound code families writes refused
printf '%s\n' "${rows[@]}"
echo "every answer has this machine's bits; counts are emulated instructions; code is .text and .rodata"
[ $stale = no ]

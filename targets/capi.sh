#!/usr/bin/env bash
# Builds the C library with CMake, installs it, finds it again, and runs a C and a C++ program with it on
# this machine, on 64-bit Arm Linux and on a Cortex-M7 (the last two emulated): every logit must have the
# bits of this machine's Rust runtime. Then it checks the packages for Zephyr, ESP-IDF and Arduino.
#   targets/capi.sh
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
capi=$PWD/../runtime/capi
work=$PWD/../target/capi
files=$work/files
mkdir -p "$work" "$files"

coda() { cargo run -q --release --locked --manifest-path ../Cargo.toml --bin coda -- "$@"; }

# CMake runs cargo by its own: with the compiler that has the libraries of the target.
cross_cmake() {
  if [ "$cross_way" = rustup ]; then
    cmake "$@"
  else
    env -u RUSTUP_TOOLCHAIN PATH="$toolchain/bin:$PATH" cmake "$@"
  fi
}

# The bundled model as a bundle and apart, its images, the sizes, and this machine's logits as lines.
make_files() {
  local model=../converter/default/fashion-vit
  coda demo --firmware "$files" >/dev/null
  coda pack --base $model --task $model/coda-k-to-light.safetensors --only base -o "$files/base.coda" >/dev/null
  coda pack --base $model --task $model/coda-k-to-light.safetensors --only task -o "$files/task.coda" >/dev/null
  coda plan "$files/model.coda" --c >"$files/arena.h.new"
  coda plan "$files/base.coda" --c | sed -n 's/CODA_ARENA_BYTES/CODA_DENSE_ARENA_BYTES/p' >>"$files/arena.h.new"
  cmp -s "$files/arena.h.new" "$files/arena.h" || mv "$files/arena.h.new" "$files/arena.h"
  od -An -v -tx4 -w40 "$files/answers.bin" | sed 's/^ *//' >"$work/expected"
}

# The answers of a program, as bits, are those of the Rust runtime.
compare() { # NAME PROGRAM
  grep '^answer ' "$work/$1-$2.txt" | awk '{ for (i = NF - 9; i < NF; i++) printf "%s ", $i; print $NF }' >"$work/$1-$2.bits"
  diff -q "$work/expected" "$work/$1-$2.bits" >/dev/null ||
    { cat "$work/$1-$2.txt"; echo "capi.sh: $2 on $1 has other bits than the runtime" >&2; return 1; }
  echo "$1 $2: $(wc -l <"$work/$1-$2.bits") answers with the runtime's bits"
}

# Library, installation, examples. CARGO_DIR is kept: cargo builds what changed.
build() { # NAME OPTION...
  local name=$1
  shift
  local cmake=cmake
  [ "$name" = host ] || cmake=cross_cmake
  $cmake --no-warn-unused-cli -S "$capi" -B "$work/$name/library" -DCMAKE_BUILD_TYPE=Release \
    -DCODA_CARGO_TARGET_DIR="$work/cargo" "$@" >"$work/$name.log"
  $cmake --build "$work/$name/library" >>"$work/$name.log"
  $cmake --install "$work/$name/library" --prefix "$work/$name/prefix" >>"$work/$name.log"
  examples "$name" "" "$@"
}

# An embedded program links what it calls: no allocator and no text of panics. Its code is what the
# packages are not.
check_smallest() { # NAME
  local elf=$work/$1/examples/smallest symbols
  symbols=$(arm-none-eabi-nm -C "$elf")
  if grep -E 'core::fmt::|\b(malloc|calloc|realloc)\b|__rust_alloc' <<<"$symbols"; then
    echo "capi.sh: smallest on $1 allocates or formats" >&2
    return 1
  fi
  local packages=0 file text
  for file in model base task; do packages=$((packages + $(stat -c %s "$files/$file.coda"))); done
  packages=$((packages + $(stat -c %s "$files/images.bin")))
  text=$(arm-none-eabi-size -A "$elf" | awk '$1 == ".text" || $1 == ".init" { sum += $2 } END { print sum }')
  echo "$1 smallest: $((text - packages)) bytes of code and constants beside the packages"
}

examples() { # NAME SUFFIX OPTION...
  local name=$1 folder=$work/$1/examples$2
  shift 2
  cmake --no-warn-unused-cli -S "$capi/examples" -B "$folder" -DCMAKE_BUILD_TYPE=MinSizeRel \
    -Dcoda_DIR="$work/$name/prefix/lib/cmake/coda" -DCODA_FIRMWARE="$files" "$@" >>"$work/$name.log"
  cmake --build "$folder" --clean-first >>"$work/$name.log"
}

run() { # NAME EMULATOR...
  local name=$1 program
  shift
  for program in classify swap; do
    timeout 600 "$@" "$work/$name/examples/$program" >"$work/$name-$program.txt" 2>&1 ||
      { cat "$work/$name-$program.txt"; echo "capi.sh: $program failed on $name" >&2; return 1; }
    compare "$name" $program
    grep '^dense ' "$work/$name-$program.txt" >"$work/$name.dense" || true
  done
  diff -q "$work/host.dense" "$work/$name.dense"
  # Image 7 is a sneaker, label 7.
  local status=0
  timeout 60 "$@" "$work/$name/examples/smallest" || status=$?
  [ $status = 7 ] || { echo "capi.sh: smallest on $name ends with $status instead of 7" >&2; return 1; }
}

./setup.sh --c aarch64-unknown-linux-gnu thumbv7em-none-eabihf
echo "== C on $(uname -m), this machine"
make_files
build host
run host

# The shared library, and a program that knows only pkg-config.
examples host -shared -DCODA_EXAMPLES_SHARED=ON
LD_LIBRARY_PATH=$work/host/prefix/lib "$work/host/examples-shared/classify" >"$work/host-shared.txt"
readelf -d "$work/host/examples-shared/classify" | grep -q 'NEEDED.*libcoda.so.0'
compare host shared
read -ra flags <<<"$(PKG_CONFIG_PATH=$work/host/prefix/lib/pkgconfig pkg-config --cflags --libs coda)"
(cd "$files" && cc -std=c11 -Wall -Wextra -Werror -I. -o "$work/host/by-pkg-config" \
  "$capi/examples/classify.c" "$capi/examples/packages.S" "${flags[@]}")
LD_LIBRARY_PATH=$work/host/prefix/lib "$work/host/by-pkg-config" >"$work/host-pkg-config.txt"
compare host pkg-config

echo "== C on aarch64 Linux, emulated"
build aarch64 -DCMAKE_TOOLCHAIN_FILE="$capi/cmake/aarch64-linux-gnu.cmake"
for core in cortex-a53 max; do run aarch64 qemu-aarch64 -cpu $core; done

echo "== C on a Cortex-M7, mps2-an500 emulated"
build cortex-m7 -DCMAKE_TOOLCHAIN_FILE="$capi/cmake/cortex-m7.cmake"
run cortex-m7 qemu-system-arm -machine mps2-an500 -nographic -semihosting-config enable=on,target=native -kernel
check_smallest cortex-m7

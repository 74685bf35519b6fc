#!/usr/bin/env bash
# Builds the C library with CMake, installs it, finds it again, and runs a C and a C++ program with it on
# this machine, on 64-bit Arm Linux and on a Cortex-M7 (the last two emulated): every logit must have the
# bits of this machine's Rust runtime. Then it checks the packages for Zephyr, ESP-IDF and Arduino.
#   targets/capi.sh
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
capi=$PWD/../runtime/capi
packaging=$capi/packaging
work=$PWD/../target/capi
files=$work/files
mkdir -p "$work" "$files"

program() { cargo run -q --release --locked --manifest-path ../Cargo.toml --bin "$1" -- "${@:2}"; }
coda() { program coda "$@"; }

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
  program firmware-files "$files" >/dev/null
  coda pack --base $model --task $model/coda.safetensors --only base -o "$files/base.coda" >/dev/null
  coda pack --base $model --task $model/coda.safetensors --only task -o "$files/task.coda" >/dev/null
  # One arena for both models that write.
  local writes larger=0 bytes
  for writes in texts pictures; do
    bytes=$(coda plan "$files/$writes.coda" --c --longest 12 --beams 3 | sed -n 's/.*CODA_ARENA_BYTES //p')
    [ "$bytes" -le "$larger" ] || larger=$bytes
  done
  echo "#define CODA_ARENA_BYTES $larger" >"$files/writing.h"
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
  $cmake --no-warn-unused-cli -S "$capi" -B "$work/$name/library" -DCMAKE_BUILD_TYPE=Release -DCODA_DECODER=ON \
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
    -Dcoda_DIR="$work/$name/prefix/lib/cmake/coda" -DCODA_FIRMWARE="$files" -DCODA_EXAMPLES_WRITE=ON "$@" >>"$work/$name.log"
  cmake --build "$folder" --clean-first >>"$work/$name.log"
}

# A program on a Cortex-M7; what it prints comes on the error output.
m7() { timeout 300 qemu-system-arm -machine mps2-an500 -nographic -semihosting-config enable=on,target=native -kernel "$1"; }

run() { # NAME EMULATOR...
  local name=$1 program
  shift
  for program in classify swap; do
    "$@" "$work/$name/examples/$program" >"$work/$name-$program.txt" 2>&1 ||
      { cat "$work/$name-$program.txt"; echo "capi.sh: $program failed on $name" >&2; return 1; }
    compare "$name" $program
    grep '^dense ' "$work/$name-$program.txt" >"$work/$name.dense" || true
  done
  diff -q "$work/host.dense" "$work/$name.dense"
  "$@" "$work/$name/examples/write" >"$work/$name-write.txt" 2>&1 || { cat "$work/$name-write.txt"; return 1; }
  diff "$files/written.txt" "$work/$name-write.txt" ||
    { echo "capi.sh: write on $name has other texts, ids or scores than the runtime" >&2; return 1; }
  echo "$name write: answers of two models with the runtime's text, ids and scores"
  # Image 7 is a sneaker, label 7.
  local status=0
  "$@" "$work/$name/examples/smallest" || status=$?
  [ $status = 7 ] || { echo "capi.sh: smallest on $name ends with $status instead of 7" >&2; return 1; }
}

./setup.sh --c aarch64-unknown-linux-gnu thumbv7em-none-eabihf riscv32imac-unknown-none-elf
echo "== C on $(uname -m), this machine"
make_files
build host -DCODA_UPDATES=ON
run host
# Signed packages and updates, as C calls them.
cc -std=c11 -Wall -Wextra -Wpedantic -Werror -I "$capi/include" -o "$work/host/updates" "$capi/tests/updates.c" \
  "$work/host/prefix/lib/libcoda.a" -lpthread -lm -ldl
"$work/host/updates" ../tests/golden/bert-int8-v1.0-named.signed

# The headers by themselves, in every standard they are for.
for standard in c99 c11 c17 c2x; do
  echo '#include <coda.h>' | cc -std=$standard -Wall -Wextra -Wpedantic -Wconversion -Werror -I "$capi/include" -fsyntax-only -x c -
done
for standard in c++11 c++17 c++20; do
  header=coda.hpp
  [ $standard != c++11 ] || header=coda.h
  echo "#include <$header>" | g++ -std=$standard -Wall -Wextra -Wpedantic -Wconversion -Werror -I "$capi/include" -fsyntax-only -x c++ -
done
# Nothing but the interface is exported.
if nm -D --defined-only "$work/host/prefix/lib/libcoda.so" | grep -v ' T coda_'; then
  echo "capi.sh: libcoda.so exports more than coda.h" >&2
  exit 1
fi
# The shared library, and a program that knows only pkg-config.
examples host -shared -DCODA_EXAMPLES_SHARED=ON
LD_LIBRARY_PATH=$work/host/prefix/lib "$work/host/examples-shared/classify" >"$work/host-shared.txt"
readelf -d "$work/host/examples-shared/classify" | grep -q 'NEEDED.*libcoda\.so\.1\]'
compare host shared
read -ra flags <<<"$(PKG_CONFIG_PATH=$work/host/prefix/lib/pkgconfig pkg-config --cflags --libs coda)"
(cd "$files" && cc -std=c11 -Wall -Wextra -Werror -I. -o "$work/host/by-pkg-config" \
  "$capi/examples/classify.c" "$capi/examples/packages.S" "${flags[@]}")
LD_LIBRARY_PATH=$work/host/prefix/lib "$work/host/by-pkg-config" >"$work/host-pkg-config.txt"
compare host pkg-config

echo "== C on aarch64 Linux, emulated as a Cortex-A53 and with every extension"
build aarch64 -DCMAKE_TOOLCHAIN_FILE="$capi/cmake/aarch64-linux-gnu.cmake"
for core in cortex-a53 max; do run aarch64 qemu-aarch64 -cpu $core; done

echo "== C on a Cortex-M7, mps2-an500 emulated"
build cortex-m7 -DCMAKE_TOOLCHAIN_FILE="$capi/cmake/cortex-m7.cmake"
run cortex-m7 m7
check_smallest cortex-m7
# The stack of the smallest program, its main and start-up code included, against what README.md says.
machine=(-mcpu=cortex-m7 -mfloat-abi=hard -mfpu=fpv5-d16 --specs=picolibc.specs)
link=(--oslib=semihost --crt0=semihost -Wl,--gc-sections -Wl,-z,noexecstack
  -Wl,--defsym=__flash=0,--defsym=__flash_size=2M,--defsym=__ram=0x20000000,--defsym=__ram_size=512K)
library=$work/cargo/thumbv7em-none-eabihf/capi
arm-none-eabi-gcc "${machine[@]}" "${link[@]}" -Os -Wall -Wextra -Werror -I "$capi/include" -I "$files" \
  -Wa,-I"$files" -o "$work/stack.elf" "$capi/tests/stack.c" "$capi/examples/smallest.c" \
  "$capi/examples/packages.S" -L "$library" -lcoda
depth=$(m7 "$work/stack.elf" 2>&1 | sed -n 's/^stack //p') || true
[ "$depth" -gt 1000 ] && [ "$depth" -le 8192 ] || { echo "capi.sh: a stack of $depth bytes" >&2; exit 1; }
echo "cortex-m7 smallest: $depth bytes of stack"

echo "== packages for other build systems: metadata, and builds with what is not here stood in for"
"$c_python/bin/python" "$packaging/check/metadata.py" "$packaging"
zephyr=$work/zephyr
cross_cmake --no-warn-unused-cli -S "$packaging/check/zephyr" -B "$zephyr" -DCMAKE_BUILD_TYPE=MinSizeRel \
  -DCMAKE_TOOLCHAIN_FILE="$capi/cmake/cortex-m7.cmake" -DCODA_FIRMWARE="$files" \
  -DCODA_CARGO_TARGET_DIR="$work/cargo" -DCONFIG_CODA=y -DCONFIG_CODA_RUST_TARGET=thumbv7em-none-eabihf >"$work/zephyr.log"
cross_cmake --build "$zephyr" >>"$work/zephyr.log"
m7 "$zephyr/app" >"$work/zephyr-app.txt" 2>&1
compare zephyr app
for chip in esp32 esp32s2 esp32s3 esp32c2 esp32c3 esp32c5 esp32c6 esp32h2 esp32p4; do
  cmake --no-warn-unused-cli -S "$packaging/check/esp-idf" -B "$work/esp-idf/$chip" -DIDF_TARGET=$chip >"$work/esp-idf.log"
  grep -rhoE -- '--target [a-z0-9_-]+' "$work/esp-idf/$chip/coda/CMakeFiles/coda_rust.dir/build.make" >>"$work/esp-idf.log"
done
# The library of one chip, built through the component: soft float and compressed instructions, as ESP-IDF
# compiles for it.
cross_cmake -S "$packaging/check/esp-idf" -B "$work/esp-idf/esp32c6" -DCODA_CARGO_TARGET_DIR="$work/cargo" >>"$work/esp-idf.log"
cross_cmake --build "$work/esp-idf/esp32c6" >>"$work/esp-idf.log"
riscv=$work/cargo/riscv32imac-unknown-none-elf/capi/libcoda.a
(cd "$work" && ar x "$riscv" "$(ar t "$riscv" | grep '^coda-' | sed -n 1p)" --output esp-idf)
readelf -h "$work"/esp-idf/coda-*.o | grep -q 'Flags:.*RVC, soft-float ABI'
echo "esp-idf: configured for 9 chips, the library of ESP32-C6 built"
"$packaging/arduino/make.sh" "$library/libcoda.a" "$files" "$work/CodaEdge"
sketch=(-std=gnu++17 -Os -Wall -Wextra -Werror -I "$work/CodaEdge/src")
echo '#include <CodaEdge.h>' | g++ "${sketch[@]}" -fsyntax-only -x c++ -
# As an Arduino core compiles and links a sketch for a Cortex-M7.
arm-none-eabi-g++ "${machine[@]}" "${sketch[@]}" -fno-exceptions -fno-rtti -I "$packaging/check/arduino" \
  -include Arduino.h -c -o "$work/sketch.o" -x c++ "$work/CodaEdge/examples/Classify/Classify.ino"
echo 'int main(void) { void setup(void) __asm__("_Z5setupv"); setup(); return 0; }' |
  arm-none-eabi-gcc "${machine[@]}" -c -o "$work/sketch-main.o" -x c -
arm-none-eabi-gcc "${machine[@]}" "${link[@]}" \
  -o "$work/sketch.elf" "$work/sketch-main.o" "$work/sketch.o" -L "$work/CodaEdge/src/cortex-m7/fpv5-d16-hard" -lcoda
m7 "$work/sketch.elf" 2>&1 | grep -qx Sneaker
echo "arduino: the sketch in the made library says Sneaker"

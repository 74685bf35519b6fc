#!/usr/bin/env bash
# Makes an Arduino library to copy into the sketchbook or to zip:
#   make.sh LIBCODA_A FILES OUT
# LIBCODA_A was built for thumbv7em-none-eabihf; FILES has model.coda, images.bin and arena.h.
# Boards whose core compiles with -mfloat-abi=softfp (Arduino's mbed core) need a library built for
# thumbv7em-none-eabi in a folder of that name.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
library=$1 files=$2 out=$3
rm -rf "$out"
mkdir -p "$out"
cp -r "$here/library.properties" "$here/src" "$here/examples" "$out/"
cp "$here/../../include/coda.h" "$here/../../include/coda.hpp" "$out/src/"
# src/{build.mcu}/{fpu}-{float abi}: one library suits every hard-float Cortex-M4 and M7.
for folder in cortex-m4/fpv4-sp-d16-hard cortex-m7/fpv4-sp-d16-hard cortex-m7/fpv5-sp-d16-hard \
  cortex-m7/fpv5-d16-hard imxrt1062/fpv5-d16-hard; do
  mkdir -p "$out/src/$folder"
  cp "$library" "$out/src/$folder/libcoda.a"
done

array() { # NAME: bytes on the input
  echo "alignas(64) static const unsigned char $1[] = {"
  od -An -v -tu1 -w24 | sed 's/  */ /g; s/^ //; s/ /,/g; s/$/,/'
  echo "};"
}
{
  echo "// Made by make.sh. Image: a sneaker."
  cat "$files/arena.h"
  array model <"$files/model.coda"
  dd if="$files/images.bin" bs=784 skip=7 count=1 status=none | array image
} >"$out/examples/Classify/model.h"

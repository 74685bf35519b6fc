#!/usr/bin/env bash
# Makes what a release has to download, into target/artefacts, with SHA256SUMS over all of it:
#   targets/artefacts.sh [--twice] [PART...]     default: every part
# programs   static coda for Linux on x86-64, aarch64 and armv7
# libraries  libcoda.a with its headers for Cortex-M4/M7, M33/M55, riscv32 and aarch64 Linux
# components the Arduino library, and the sources, in which the ESP-IDF component and the Zephyr module are
#            folders (they run cargo, so they cannot be without the workspace)
# The same commit, in the same place with the same compiler, gives the same bytes: --twice makes them again
# from nothing and compares. CODA_TOOLS names a folder with coda and firmware-files that are built already.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
root=$(cd .. && pwd)
again=no
if [ "${1:-}" = --twice ]; then again=yes; shift; fi
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(programs libraries components)

program_triples=(x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf)
library_triples=(thumbv7em-none-eabihf thumbv8m.main-none-eabihf riscv32imac-unknown-none-elf aarch64-unknown-linux-gnu)
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
[ -n "$version" ] || { echo "artefacts.sh: Cargo.toml has no version" >&2; exit 1; }
# Every file is as old as the commit; no path of this machine is in a program.
SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
remapped="--remap-path-prefix=$root=coda-edge --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"

# The compiler of the host is that of the workspace.
cargo_for() { # TRIPLE ARGUMENT...
  local triple=$1 flags=$remapped
  shift
  case $triple in *-linux-*) flags="$flags -Ctarget-feature=+crt-static" ;; esac
  if [ "$triple" = "$(rustc -vV | sed -n 's/^host: //p')" ]; then
    RUSTFLAGS=$flags cargo "$@" --target "$triple"
  else
    RUSTFLAGS=$flags cross_cargo "$@" --target "$triple"
  fi
}

# A folder as an archive of sorted names, without names of users.
pack() { # FOLDER NAME
  tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go+r --mtime="@$SOURCE_DATE_EPOCH" \
    -C "$1" -cf - "$2" | gzip -n9 >"$out/$2.tar.gz"
}

with_licences() { cp "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$1/"; }

programs() {
  local triple name
  for triple in "${program_triples[@]}"; do
    cargo_for "$triple" build -q --release --locked --manifest-path "$root/converter/Cargo.toml" --bin coda --target-dir "$build"
    name=coda-$version-$triple
    mkdir -p "$work/$name"
    cp "$build/$triple/release/coda" "$work/$name/"
    # A static program names no interpreter.
    ! readelf -l "$work/$name/coda" | grep -q INTERP || { echo "artefacts.sh: coda for $triple is not static" >&2; return 1; }
    with_licences "$work/$name"
    pack "$work" "$name"
  done
}

library() { # TRIPLE
  local features=panic-handler,updates
  case $1 in *-linux-*) features=std,updates ;; esac
  cargo_for "$1" rustc -q --locked --lib --profile capi --crate-type staticlib --features $features \
    --manifest-path "$root/runtime/capi/Cargo.toml" --target-dir "$build"
  ! grep -qF "$root" "$build/$1/capi/libcoda.a" || { echo "artefacts.sh: libcoda.a for $1 names $root" >&2; return 1; }
}

libraries() {
  local triple name
  for triple in "${library_triples[@]}"; do
    library "$triple"
    name=libcoda-$version-$triple
    mkdir -p "$work/$name/lib" "$work/$name/include"
    cp "$build/$triple/capi/libcoda.a" "$work/$name/lib/"
    cp "$root/runtime/capi/include/coda.h" "$root/runtime/capi/include/coda.hpp" "$work/$name/include/"
    with_licences "$work/$name"
    pack "$work" "$name"
  done
}

tool() { # PROGRAM ARGUMENT...
  local program=$1
  shift
  if [ -n "${CODA_TOOLS:-}" ]; then
    "$CODA_TOOLS/$program" "$@"
  else
    cargo run -q --release --locked --manifest-path "$root/Cargo.toml" --bin "$program" -- "$@"
  fi
}

components() {
  local name=CodaEdge-$version
  library thumbv7em-none-eabihf
  tool firmware-files "$work/files" >/dev/null
  tool coda plan "$work/files/model.coda" --c >"$work/files/arena.h"
  "$root/runtime/capi/packaging/arduino/make.sh" "$build/thumbv7em-none-eabihf/capi/libcoda.a" "$work/files" "$work/$name"
  with_licences "$work/$name"
  # Arduino's manager takes zip alone.
  python3 - "$work" "$name" "$out/$name.zip" <<'PYTHON'
import os, sys, time, zipfile
from pathlib import Path
folder, name, out = sys.argv[1:]
when = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for path in sorted(p for p in (Path(folder) / name).rglob("*") if p.is_file()):
        entry = zipfile.ZipInfo(str(path.relative_to(folder)), when)
        entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        archive.writestr(entry, path.read_bytes())
PYTHON
  name=coda-edge-$version
  git -C "$root" archive --format=tar --prefix="$name/" HEAD | gzip -n9 >"$out/$name.tar.gz"
}

# All parts into a folder, built in another.
make() { # OUT
  local part
  out=$1 build=$root/target/artefacts-build work=$root/target/artefacts-work
  rm -rf "$out" "$build" "$work"
  mkdir -p "$out" "$work"
  for part in "${parts[@]}"; do
    case $part in
      programs | libraries | components) $part ;;
      *) echo "artefacts.sh: no part \"$part\"" >&2; return 1 ;;
    esac
  done
  (cd "$out" && sha256sum -- * >SHA256SUMS)
  rm -rf "$build" "$work"
}

make "$root/target/artefacts"
cat "$root/target/artefacts/SHA256SUMS"
if [ $again = yes ]; then
  make "$root/target/artefacts-again"
  diff "$root/target/artefacts/SHA256SUMS" "$root/target/artefacts-again/SHA256SUMS" >&2 ||
    { echo "artefacts.sh: made again they are other bytes" >&2; exit 1; }
  rm -rf "$root/target/artefacts-again"
  echo "made twice: the same bytes"
fi

#!/usr/bin/env bash
# Sets up what it takes to build for other machines and to run the result here, in an emulator.
#
#   targets/setup.sh [--c] [TRIPLE...]   without arguments: every triple in `all` below, and --c
#
# --c adds what capi.sh takes: CMake, C and C++ compilers for 64-bit Arm Linux and Cortex-M, and Python
# packages (in the cache) that read the metadata of other build systems.
# Two ways to a compiler, chosen by itself or by CODA_CROSS:
#   rustup   `rustup target add`: the way of a developer's machine (default unless root on Debian)
#   debian   packages only: Debian's rustc and its sources, core or std built once for each triple
#            and cached outside the tree (default for root on Debian, as in CI)
# Cross linkers and QEMU come from Debian packages either way. It may be run again at any time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"

all=(aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf wasm32-unknown-unknown
  thumbv7em-none-eabihf thumbv8m.main-none-eabihf riscv32imac-unknown-none-elf)
[ $# -gt 0 ] || set -- --c "${all[@]}"
c_packages=()
c_requirements=../runtime/capi/packaging/check/requirements.txt
if [ "$1" = --c ]; then
  c_packages=(python3 python3-venv cmake make pkg-config g++ g++-aarch64-linux-gnu gcc-arm-none-eabi picolibc-arm-none-eabi libstdc++-arm-none-eabi-dev)
  shift
fi
triples=("$@")

# Linkers of Linux targets, emulators of each kind of target.
packages_for() {
  case $1 in
    aarch64-*-linux-*) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user ;;
    armv7-*-linux-*) echo gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user ;;
    thumb*) echo qemu-system-arm llvm ;;
    riscv32*-none-*) echo qemu-system-misc llvm ;;
    wasm32-*) command -v node >/dev/null || echo nodejs ;;
    *) echo "setup.sh: no recipe for $1" >&2; return 1 ;;
  esac
}

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

# qemu-system of the backports suite, if this machine has qemu-utils of that suite: the older one
# would remove it.
needs_backports() { [[ $1 == qemu-system-* ]] && dpkg-query -W -f='${Version}' qemu-utils 2>/dev/null | grep -q bpo; }

add_backports() {
  grep -rqs bookworm-backports /etc/apt/sources.list /etc/apt/sources.list.d && return
  local mirror
  # The mirror that this machine uses already.
  mirror=$(grep -hsv '^ *#' /etc/apt/sources.list /etc/apt/sources.list.d/* | grep -oE 'https?://[^ ]+/debian/?( |$)' | tr -d ' ' | sort -u | sed -n 1p || true)
  [ -n "$mirror" ] || { echo "setup.sh: no Debian mirror among the apt sources" >&2; return 1; }
  printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nArchitectures: amd64\nSigned-By: %s\n' \
    "$mirror" /usr/share/keyrings/debian-archive-keyring.gpg >/etc/apt/sources.list.d/coda-backports.sources
}

install_packages() {
  local missing=() package from=()
  for package in "$@"; do
    installed "$package" || installed "${package/system-misc/system-riscv}" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "setup.sh: install these first: ${missing[*]}" >&2
    return 1
  fi
  for package in "${missing[@]}"; do
    if needs_backports "$package"; then
      add_backports
      # There the emulators of RISC-V are a package of their own, with a newer firmware.
      [ "$package" != qemu-system-misc ] || from+=(opensbi/bookworm-backports)
      from+=("${package/misc/riscv}/bookworm-backports" qemu-system-common/bookworm-backports qemu-system-data/bookworm-backports)
    else
      from+=("$package")
    fi
  done
  echo "setup.sh: installing ${missing[*]}"
  apt-get update -q >"$cross_cache/apt.log" 2>&1 || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${from[@]}" >>"$cross_cache/apt.log" 2>&1 ||
    { tail -20 "$cross_cache/apt.log" >&2; return 1; }
}

# A toolchain directory that is Debian's compiler with the libraries built below.
make_toolchain() {
  local host=$1 tool
  mkdir -p "$toolchain/bin" "$toolchain/lib/rustlib/$host/bin"
  for tool in rustc rustdoc; do
    printf '#!/bin/sh\nexec /usr/bin/%s --sysroot %s "$@"\n' $tool "$toolchain" >"$toolchain/bin/$tool"
    chmod +x "$toolchain/bin/$tool"
  done
  ln -sfn /usr/bin/cargo "$toolchain/bin/cargo"
  ln -sfn "/usr/lib/rustlib/$host/lib" "$toolchain/lib/rustlib/$host/lib"
  ln -sfn /usr/lib/rustlib/src "$toolchain/lib/rustlib/src"
  local linker
  for linker in "$HOME"/.rustup/toolchains/*/lib/rustlib/"$host"/bin/rust-lld /usr/bin/lld-19; do
    [ -x "$linker" ] && break
  done
  ln -sfn "$linker" "$toolchain/lib/rustlib/$host/bin/rust-lld"
  if command -v rustup >/dev/null; then rustup toolchain link coda-cross "$toolchain"; fi
}

# core and alloc for bare metal and wasm, std for Linux, from the compiler's own sources.
build_library() {
  local triple=$1 version=$2 crates work
  local destination=$toolchain/lib/rustlib/$triple
  [ "$(cat "$destination/version" 2>/dev/null)" != "$version" ] || return 0
  local sources=/usr/src/rustc-$version/library
  work=$(mktemp -d)
  mkdir -p "$work/src" "$work/home"
  printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n' >"$work/Cargo.toml"
  case $triple in
    *-linux-*) crates=std,panic_unwind,panic_abort; : >"$work/src/lib.rs" ;;
    *) crates=core,alloc; echo '#![no_std]' >"$work/src/lib.rs" ;;
  esac
  # panic_abort itself must be compiled to abort.
  printf '%s\n' '#!/bin/sh' 'case " $* " in *" --crate-name panic_abort "*) set -- "$@" -Cpanic=abort ;; esac' 'exec "$@"' >"$work/wrapper"
  chmod +x "$work/wrapper"
  echo "setup.sh: building $crates for $triple"
  (cd "$work" && env -u RUSTUP_TOOLCHAIN CARGO_HOME="$work/home" RUSTC_BOOTSTRAP=1 RUSTC="$toolchain/bin/rustc" \
    RUSTC_WRAPPER="$work/wrapper" RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes" \
    /usr/bin/cargo build -q --offline --release --target "$triple" -Zbuild-std="$crates" --target-dir "$work/target" \
    --config 'source.crates-io.replace-with="vendor"' --config "source.vendor.directory=\"$sources/vendor\"")
  rm -rf "$destination"
  mkdir -p "$destination/lib"
  find "$work/target/$triple/release/deps" -name '*.rlib' ! -name 'libempty-*' -exec cp {} "$destination/lib/" \;
  echo "$version" >"$destination/version"
  rm -rf "$work"
}

mkdir -p "$cross_cache"
packages=("${c_packages[@]}")
for triple in "${triples[@]}"; do packages+=($(packages_for "$triple")); done
if [ "$cross_way" = debian ]; then
  packages+=(gcc libc6-dev rustc-web cargo-web rust-web-src)
  ls "$HOME"/.rustup/toolchains/*/lib/rustlib/*/bin/rust-lld >/dev/null 2>&1 || packages+=(lld-19)
fi
install_packages "${packages[@]}"
if [ ${#c_packages[@]} -gt 0 ] && ! cmp -s "$here/$c_requirements" "$c_python/requirements.txt"; then
  echo "setup.sh: installing the Python packages of capi.sh"
  python3 -m venv --clear "$c_python"
  "$c_python/bin/pip" install -q --disable-pip-version-check -r "$here/$c_requirements"
  cp "$here/$c_requirements" "$c_python/requirements.txt"
fi
if [ "$cross_way" = rustup ]; then
  rustup target add "${triples[@]}"
else
  version=$(/usr/bin/rustc --version | cut -d' ' -f2)
  make_toolchain "$(/usr/bin/rustc -vV | sed -n 's/^host: //p')"
  for triple in "${triples[@]}"; do build_library "$triple" "$version"; done
fi
echo "setup.sh: ready: ${triples[*]} ($cross_way)"

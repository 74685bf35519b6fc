#!/usr/bin/env bash
# Guest instructions of one inference of all-MiniLM-L6-v2 on emulated Arm cores, ours and ONNX Runtime's
# own aarch64 wheel, dense, one thread:
#   targets/peer-instructions.sh [CORE...]      (default: cortex-a53 cortex-a76)
# Not time: an emulator has no cache and no pipeline. Nothing is installed: a Python for arm64 is unpacked
# from Debian packages into a cache outside the tree, the wheels come from the Python registry, the ONNX
# files and their quantisation from benches/peers. Needs a Debian machine, root for apt's lists.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
cores=("$@")
[ ${#cores[@]} -gt 0 ] || cores=(cortex-a53 cortex-a76)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge
work=$cache/peers
root=$cache/cross/aarch64-python
built=$PWD/../target/cross
packages=$PWD/../target/bench/minilm
counting=$PWD/../target/bench
mkdir -p "$work" "$counting"

# A Python for arm64 in a directory of its own, from this machine's Debian release.
unpack_python() {
  [ ! -e "$root/ready" ] || return 0
  rm -rf "$root"
  mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial"
  local options=(-q -o Dir::State::Lists="$root/apt/lists" -o Dir::Cache::Archives="$root/apt/archives"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Architectures::=arm64
    -o APT::Sandbox::User=root -o Acquire::Languages=none)
  # Only the lists of the release: other sources of this machine may not have the architecture.
  local suites=$root/apt/release.list mirror
  mirror=$(grep -rhsv '^ *#' /etc/apt/sources.list /etc/apt/sources.list.d | grep -oE 'https?://[^ ]+/debian/?( |$)' | tr -d ' ' | sort -u | sed -n 1p || true)
  . /etc/os-release
  echo "deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $VERSION_CODENAME main" >"$suites"
  options+=(-o Dir::Etc::sourcelist="$suites" -o Dir::Etc::sourceparts=-)
  apt-get "${options[@]}" update >"$root/apt/log"
  (cd "$root/apt/archives" && apt-get "${options[@]}" download python3.11-minimal:arm64 \
    libpython3.11-minimal:arm64 libpython3.11-stdlib:arm64 libc6:arm64 libstdc++6:arm64 libgcc-s1:arm64 \
    zlib1g:arm64 libexpat1:arm64 libffi8:arm64 libbz2-1.0:arm64 liblzma5:arm64 libssl3:arm64 \
    libuuid1:arm64 >>"$root/apt/log")
  local deb
  for deb in "$root"/apt/archives/*.deb; do dpkg-deb -x "$deb" "$root"; done
  # The newest versions that benches/peers names; wheels of Python 3.11 for any Arm Linux.
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 --implementation cp \
    --platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
    -d "$root/wheels" $(grep -E '^(onnxruntime|numpy)==' ../benches/peers/requirements.txt)
  for deb in "$root"/wheels/*.whl; do python3 -m zipfile -e "$deb" "$root/site"; done
  # ONNX Runtime asks these files what the core can do; of this machine's own it would read the wrong.
  mkdir -p "$root/proc" "$root/sys/devices/system/cpu"
  echo 0 >"$root/sys/devices/system/cpu/possible"
  echo 0 >"$root/sys/devices/system/cpu/present"
  touch "$root/ready"
}

# What Linux on such a core says of it.
describe() { # CORE
  local common="fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid" features variant part
  case $1 in
    cortex-a53) features=$common variant=0x0 part=0xd03 ;;
    cortex-a72) features=$common variant=0x0 part=0xd08 ;;
    cortex-a76) features="$common atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp" variant=0x4 part=0xd0b ;;
    *) echo "peer-instructions.sh: $1 is not described; cortex-a53, cortex-a72 and cortex-a76 are" >&2; return 1 ;;
  esac
  printf '%s\n' "processor	: 0" "BogoMIPS	: 100.00" "Features	: $features" "CPU implementer	: 0x41" \
    "CPU architecture: 8" "CPU variant	: $variant" "CPU part	: $part" "CPU revision	: 1" "" >"$root/proc/cpuinfo"
}

# The ONNX files of benches/peers, if its run has not left them.
export_onnx() {
  local python=$cache/peers-venv/bin/python tokens
  for tokens in 128 256; do
    [ ! -e "$work/minilm-$tokens-int8.onnx" ] || continue
    [ -x "$python" ] || python3 -m venv "$cache/peers-venv"
    "$python" -m pip install -q -r ../benches/peers/requirements.txt
    "$python" ../benches/peers/export_onnx.py "$cache/minilm" $tokens "$work/minilm-$tokens.onnx"
    "$python" -c 'import sys; from onnxruntime.quantization import QuantType, quantize_dynamic
quantize_dynamic(sys.argv[1], sys.argv[2], weight_type=QuantType.QInt8)' \
      "$work/minilm-$tokens.onnx" "$work/minilm-$tokens-int8.onnx"
  done
}

# Instructions of a whole program under the plugin.
whole() { # CORE COMMAND...
  local core=$1
  shift
  PYTHONHASHSEED=0 PYTHONHOME=$root/usr PYTHONPATH=$root/site qemu-aarch64 -cpu "$core" -L "$root" \
    -plugin "$counting/instructions.so,count=$counting/peer.count" "$@" >&2
  od -An -tu8 "$counting/peer.count" | tr -d ' '
}

# The second of two inferences: two whole runs, subtracted.
theirs() { # CORE MODEL TOKENS
  local once twice
  once=$(whole "$1" "$root/usr/bin/python3.11" -S onnxruntime_runs.py "$2" "$3" 1)
  twice=$(whole "$1" "$root/usr/bin/python3.11" -S onnxruntime_runs.py "$2" "$3" 2)
  echo $((twice - once))
}

ours() { # CORE PACKAGE TOKENS
  CODA_INSTRUCTIONS=$counting/peer.count qemu-aarch64 -cpu "$1" \
    -plugin "$counting/instructions.so,count=$counting/peer.count" \
    "$built/aarch64-unknown-linux-gnu/release/coda-bench" --only inferences --tokens "$3" "$2" |
    awk -F, '$4 == "inference" { print $NF }'
}

../tests/fetch.sh >/dev/null
unpack_python
export_onnx
cargo run -q --release --locked --manifest-path ../Cargo.toml --bin bench-packages -- "$counting/bundled"
cargo run -q --release --locked --manifest-path ../Cargo.toml --bin bench-packages -- "$packages" "$cache/minilm"
./setup.sh aarch64-unknown-linux-gnu
cross_cargo build -q --release --locked --manifest-path bench/Cargo.toml --target aarch64-unknown-linux-gnu --target-dir "$built"
cc -O2 -shared -fPIC -o "$counting/instructions.so" bench/instructions.c

version=$(sed -n 's/^onnxruntime==//p' ../benches/peers/requirements.txt)
printf '%-11s %6s  %-7s %15s %15s %6s\n' core tokens weights "this runtime" "ORT $version" ratio
for core in "${cores[@]}"; do
  describe "$core"
  for tokens in 128 256; do
    for weights in int8 f32; do
      if [ $weights = int8 ]; then ours=base onnx=minilm-$tokens-int8; else ours=base-f32 onnx=minilm-$tokens; fi
      own=$(ours "$core" "$packages/$ours.coda" $tokens)
      peer=$(theirs "$core" "$work/$onnx.onnx" $tokens)
      printf '%-11s %6s  %-7s %15s %15s %6s\n' "$core" $tokens $weights "$own" "$peer" \
        "$(awk -v a="$peer" -v b="$own" 'BEGIN { printf "%.2f", a / b }')"
    done
  done
done
echo "guest instructions of one warm inference, emulated; ONNX Runtime int8 is its dynamic quantisation"

#!/usr/bin/env bash
# Sets up and passes the tests: ./ci.sh [STAGE...]
# Stages, in order: setup format lint docs test checked conformance boards demo. Without arguments all of them run.
# Everything is built with the release profile, so that one build of the dependencies serves all.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

stage_setup() {
  if ! command -v cargo >/dev/null; then
    echo "ci.sh: cargo is missing: install Rust (rustup) first" >&2
    exit 1
  fi
  # A C compiler links the build scripts; nm and unshare (binutils, util-linux) serve two tests.
  if ! command -v cc >/dev/null || ! command -v nm >/dev/null || ! command -v unshare >/dev/null; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
      apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q gcc libc6-dev binutils util-linux
    else
      echo "ci.sh: install a C compiler, binutils and util-linux" >&2
      exit 1
    fi
  fi
  cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
  cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
  cargo fetch --locked
}

stage_format() {
  cargo fmt --all --check
  cargo fmt --manifest-path targets/Cargo.toml --all --check
}

stage_lint() { cargo clippy --locked --release --workspace --all-targets -- -D warnings; }

stage_docs() {
  RUSTDOCFLAGS="-D warnings" cargo doc --locked --release --no-deps -p coda-runtime -p coda-converter -p coda-trainer --lib
}

stage_test() { cargo test --locked --release --workspace; }

# What cannot happen does not: the own assertions of runtime and converter, which a release leaves out.
stage_checked() {
  local checked=(--locked --release --config .ci/checked.toml) tests=() name
  for name in directories families tokenizers sentence vectors parity routing workers memory format hostile models deadline kernels; do
    tests+=(--test "$name")
  done
  cargo test "${checked[@]}" -p coda-runtime -p coda-tests --lib "${tests[@]}"
  cargo run -q "${checked[@]}" -p coda-conformance
}

stage_conformance() {
  targets/conformance.sh
  targets/no-panic.sh
}

stage_boards() {
  targets/boards.sh
  targets/capi.sh
  targets/swap.sh
  targets/bench.sh --boards
  targets/wasm/browser.sh
}

stage_demo() { cargo run --locked --release --bin coda -- demo; }

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(setup format lint docs test checked conformance boards demo)
for stage in "${stages[@]}"; do
  echo "== $stage"
  start=$SECONDS
  "stage_$stage"
  echo "== $stage passed in $((SECONDS - start)) s"
done

#!/usr/bin/env bash
# Passes the tests: ./ci.sh [STAGE...]
# Without arguments: tools format lint docs test checked demo. `./ci.sh emulated` is the second half, on
# emulated machines: conformance and assembly, boards; it installs cross compilers (targets/setup.sh).
# Everything is built with the release profile and for the whole workspace, so that one build of the
# dependencies serves all: with `-p` they would get other features, and be built again.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

# All that is missing, each with what brings it; nothing is installed here.
stage_tools() {
  local missing=0
  need() { # WHAT-IT-BRINGS COMMAND...
    local brings=$1
    shift
    "$@" >/dev/null 2>&1 || { echo "ci.sh: missing: $*; $brings" >&2; missing=1; }
  }
  need "install Rust: https://rustup.rs" cargo --version
  need "rustup component add rustfmt" cargo fmt --version
  need "rustup component add clippy" cargo clippy --version
  # A C compiler links the build scripts; nm and unshare serve two tests.
  need "apt-get install gcc libc6-dev" cc --version
  need "apt-get install binutils" nm --version
  need "apt-get install util-linux" unshare --version
  [ $missing = 0 ]
  cargo fetch --locked
}

stage_format() {
  cargo fmt --all --check
  cargo fmt --manifest-path targets/Cargo.toml --all --check
}

stage_lint() {
  cargo clippy --locked --release --workspace --all-targets -- -D warnings
  # Without the oracle, and so without tract.
  cargo clippy --locked --release -p coda-converter --no-default-features -- -D warnings
}

stage_docs() {
  RUSTDOCFLAGS="-D warnings" cargo doc --locked --release --no-deps --workspace --lib
}

stage_test() { cargo test --locked --release --workspace; }

# What cannot happen does not: the own assertions of runtime and converter, which a release leaves out.
stage_checked() {
  local checked=(--locked --release --config .ci/checked.toml) tests=() name
  for name in directories families tokenizers sentence vectors parity routing workers memory format hostile models deadline kernels; do
    tests+=(--test "$name")
  done
  cargo test "${checked[@]}" --workspace --lib "${tests[@]}"
  cargo run -q "${checked[@]}" --bin coda-conformance
}

# The assembly is built and read beside the rest: both are mostly one thread.
stage_emulated() {
  local log=target/no-panic.log reader
  mkdir -p target
  targets/setup.sh
  targets/no-panic.sh >$log 2>&1 &
  reader=$!
  trap "kill $reader 2>/dev/null || true" EXIT
  targets/conformance.sh
  targets/boards.sh
  tests/book.sh emulated
  targets/capi.sh
  targets/swap.sh
  targets/bench.sh --boards
  targets/wasm/browser.sh
  wait $reader || { cat $log; return 1; }
  tail -12 $log
}

stage_demo() { cargo run --locked --release --bin coda -- demo; }

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(tools format lint docs test checked demo)
for stage in "${stages[@]}"; do
  echo "== $stage"
  start=$SECONDS
  "stage_$stage"
  echo "== $stage passed in $((SECONDS - start)) s"
done

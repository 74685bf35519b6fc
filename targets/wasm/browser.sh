#!/usr/bin/env bash
# Builds the page of targets/wasm/web and tests it in a real browser without a window:
#   targets/wasm/browser.sh           test: every logit must have this machine's bits, every answer its text
#   targets/wasm/browser.sh --serve   serve it at port 8000 for people
# Uses BROWSER, or a Chromium or Firefox of this machine; as root on Debian it installs
# chromium-headless-shell (64 MB).
set -euo pipefail
cd "$(dirname "$0")"
. ../env.sh
built=$PWD/../../target/cross
page=$PWD/../../target/web
export CODA_FIRMWARE=$PWD/../../target/firmware

find_browser() {
  local name
  for name in ${BROWSER:-} chromium-headless-shell chromium chromium-browser google-chrome firefox-esr firefox; do
    command -v "$name" && return
  done
  return 1
}

cargo run -q --release --locked --manifest-path ../../Cargo.toml --bin firmware-files -- "$CODA_FIRMWARE"
../setup.sh wasm32-unknown-unknown
(cd web && cross_cargo build -q --release --locked --target wasm32-unknown-unknown --target-dir "$built")
mkdir -p "$page"
cp web/page/* "$built/wasm32-unknown-unknown/release/coda_web.wasm" "$CODA_FIRMWARE/images.bin" "$page"
if [ "${1:-}" = --serve ]; then exec node web/browser.mjs "$page" "$CODA_FIRMWARE"; fi
if ! find_browser >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "browser.sh: install Chromium or Firefox first, or set BROWSER" >&2
    exit 1
  fi
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    chromium-headless-shell; } >"$cross_cache/browser.log" 2>&1 || { tail -20 "$cross_cache/browser.log" >&2; exit 1; }
fi
node web/browser.mjs "$page" "$CODA_FIRMWARE" "$(find_browser)"

# `coda report` makes a page, too: it must draw itself without a complaint.
coda() { cargo run -q --release --locked --manifest-path ../../Cargo.toml --bin coda -- "$@"; }
coda demo -o "$page/fashion.coda" >/dev/null
mkdir -p "$page/images"
# One picture is copied into a folder for each class.
for class in Sneaker Bag; do
  mkdir -p "$page/images/$class"
  cp ../../converter/default/images/8.png "$page/images/$class"
done
coda report "$page/fashion.coda" --data "$page/images" -o "$page/report.html"
node web/report.mjs "$page/report.html" "$(find_browser)"

#!/usr/bin/env bash
# Whisper tiny.en on a sound of some minutes and on sounds without words. `speech.sh` must have run: it sets up.
#   benches/peers/speech-long.sh
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge/speech
[ -e "$cache/names.json" ] || { echo "speech-long.sh: run benches/peers/speech.sh first: it fetches weights and recordings" >&2; exit 1; }
(cd ../.. && cargo build --release --locked -q --bin coda)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
../../target/release/coda pack --base "$cache/tiny.en" --weights int8 -o "$work/int8.coda" >/dev/null
../../target/release/coda pack --base "$cache/tiny.en" --task "$cache/silence.safetensors" --weights int8 -o "$work/short.coda" >/dev/null
"$cache/venv/bin/python" speech_long.py ../../target/release/coda "$work/int8.coda" "$work/short.coda" "$cache"

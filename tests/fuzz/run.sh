#!/bin/sh
# Fuzzes every target for SECONDS (60 unless told), from a corpus that starts with the golden
# packages. Needs a nightly toolchain. Usage: run.sh [SECONDS]
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked

# bind_and_run reads 16 bytes of call before the package: one seed for each kind of budget.
mkdir -p corpus/parse corpus/bind_and_run corpus/mutant corpus/update corpus/tokenizer corpus/directory
for file in ../golden/*.coda ../golden/writers/*.coda; do
    name=$(basename "$file" .coda)
    cp "$file" "corpus/parse/$name"
    # mutant reads 8 bytes of choice before it.
    { printf 'field123'; cat "$file"; } >"corpus/mutant/$name"
    for kind in 0 1 2 3 4; do
        { printf "\\00$kind\\020\\000\\00$kind\\007abcdefghijk"; cat "$file"; } \
            >"corpus/bind_and_run/$name-$kind"
    done
done
# update reads 3 bytes of where and how power fails before a signed package or the flash.
for file in ../golden/*.signed; do
    for cut in 000 010 050 377; do
        { printf "\\$cut\\001\\125"; cat "$file"; } >"corpus/update/$(basename "$file")-$cut"
    done
done
# tokenizer reads tokenizer.json, three more files, vocab.txt and a text, with zero bytes between.
cp seeds/tokenizer-* corpus/tokenizer/
# directory reads twelve files of a model directory and the header of its weights, alike.
cp seeds/directory-* corpus/directory/
# Both write files: in memory, if that can be.
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm

passed=0
failed=0
for target in parse bind_and_run mutant update tokenizer directory; do
    echo "== $target, $seconds s"
    # The largest golden packages are whole.
    case $target in parse | bind_and_run | mutant) longest=98304 ;; *) longest=16384 ;; esac
    if cargo +nightly fuzz run --fuzz-dir . "$target" -- \
        -max_total_time="$seconds" -max_len="$longest" -timeout=10 -rss_limit_mb=1024 \
        -print_final_stats=1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

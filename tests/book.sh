#!/usr/bin/env bash
# Runs the blocks of the book that are marked `sh KIND`, page by page, in a directory of their own:
#   tests/book.sh emulated        on emulated boards (part of ./ci.sh emulated)
#   tests/book.sh network         with fetched data; trains: STEPS=20 LIMIT=50 tests/book.sh network takes minutes
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:?which blocks: emulated or network}
root=$PWD
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
[ "$kind" = emulated ] || cargo build --release --locked --bin coda --bin coda-trainer --bin letters
export PATH=$root/target/release:$PATH
for entry in converter targets tests docs target; do
  ln -s "$root/$entry" "$place/$entry"
done
found=0
for page in docs/*.md; do
  awk -v fence="\`\`\`sh $kind" '$0 == fence { inside = 1; next } /^```/ { inside = 0 } inside' "$page" >"$place/page.sh"
  [ -s "$place/page.sh" ] || continue
  found=$((found + 1))
  echo "== $page"
  (cd "$place" && bash -euo pipefail page.sh)
done
[ $found -gt 0 ] || { echo "book.sh: no page has such blocks" >&2; exit 1; }
echo "$found pages: every command succeeded"

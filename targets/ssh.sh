#!/usr/bin/env bash
# Runs the boards' checks and coda-bench on a Linux board, and prints one table to paste:
#   targets/ssh.sh USER@HOST          also targets/bench.sh --ssh USER@HOST
# Builds static programs for it here, copies them into a folder in its /tmp, compares every logit with this machine's
# to the bit, and takes the folder away again. Nothing is installed there.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
host=${1:?whom: ssh.sh USER@HOST}
remote=(ssh -o ConnectTimeout=10 "$host")
built=$PWD/../target/cross
lines=$PWD/../target/boards
mkdir -p "$lines"
export CODA_FIRMWARE=$PWD/../target/firmware CODA_BENCH=$PWD/../target/bench/bundled

machine=$("${remote[@]}" uname -m)
case $machine in
  aarch64) triple=aarch64-unknown-linux-gnu ;;
  armv7l | armv8l) triple=armv7-unknown-linux-gnueabihf ;;
  x86_64) triple=x86_64-unknown-linux-gnu ;;
  *) echo "ssh.sh: no program for a $machine" >&2; exit 1 ;;
esac
cargo run -q --release --locked --manifest-path ../Cargo.toml --bin firmware-files -- "$CODA_FIRMWARE"
cargo run -q --release --locked --manifest-path ../Cargo.toml --bin bench-packages -- "$CODA_BENCH" >/dev/null
cargo run -q --release --locked --manifest-path linux/Cargo.toml --target-dir "$built" >"$lines/host.txt"
build=(cargo)
if [ "$machine" != "$(uname -m)" ]; then
  ./setup.sh "$triple" >&2
  build=(cross_cargo)
fi
for program in linux bench; do
  (cd $program && "${build[@]}" build -q --release --locked --target "$triple" --target-dir "$built")
done

folder=$("${remote[@]}" mktemp -d /tmp/coda-XXXXXX)
trap '"${remote[@]}" rm -rf "$folder"' EXIT
for program in coda-linux coda-bench; do
  "${remote[@]}" "cat >$folder/$program && chmod +x $folder/$program" <"$built/$triple/release/$program"
done
# What the board says of itself. Frequency and governor are not everywhere.
about() { "${remote[@]}" "$1" 2>/dev/null | tr -d '\0' | head -1 || true; }
board=$(about 'cat /proc/device-tree/model || sed -n "s/^model name.*: //p" /proc/cpuinfo')
clock=$(about 'cat /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq')
governor=$(about 'cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')
system=$(about 'uname -sr')
"${remote[@]}" "$folder/coda-linux" >"$lines/ssh.txt"
"${remote[@]}" "$folder/coda-bench" >"$lines/ssh.csv"
grep '^answer ' "$lines/ssh.txt" >"$lines/ssh.answers"
grep '^answer ' "$lines/host.txt" >"$lines/host.answers"
diff -q "$lines/host.answers" "$lines/ssh.answers" || { echo "ssh.sh: $host has other bits" >&2; exit 1; }

echo "| board | system | kernels | clock, governor | answers with this machine's bits | date |"
echo "|---|---|---|---|---|---|"
echo "| ${board:-$machine} | $system | $(sed -n 's/^kernels //p' "$lines/ssh.txt") | ${clock:+$((clock / 1000)) MHz, }${governor:-not said} | $(wc -l <"$lines/ssh.answers") of $(wc -l <"$lines/host.answers") | $(date +%F) |"
echo
awk -F, '
  NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
  $at["group"] == "inference" {
    if (!($at["mode"] in seen)) { seen[$at["mode"]] = 1; order[++modes] = $at["mode"] }
    count[$at["mode"], $at["r"]] = $at["count"]; unit = $at["unit"]; rs[$at["r"]] = 1
  }
  END {
    print "| bundled model, " unit " of an inference | r = 1 | r = 2 | r = 4 | r = 8 |\n|---|---|---|---|---|"
    for (i = 1; i <= modes; i++) {
      line = "| " order[i]
      for (r = 1; r <= 8; r *= 2) line = line " | " count[order[i], r]
      print line " |"
    }
  }' "$lines/ssh.csv"

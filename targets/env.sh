# Sourced by the scripts of this folder: which compiler builds for other machines.
#   cross_way     rustup or debian; see setup.sh
#   cross_cache   what is built once, outside the tree
#   c_python      Python packages of capi.sh
#   cross_cargo   runs cargo with that compiler
cross_cache=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge/cross
toolchain=$cross_cache/toolchain
c_python=$cross_cache/c-python
if [ -n "${CODA_CROSS:-}" ]; then
  cross_way=$CODA_CROSS
elif [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then
  cross_way=debian
else
  cross_way=rustup
fi

cross_cargo() {
  if [ "$cross_way" = rustup ]; then
    cargo "$@"
  else
    env -u RUSTUP_TOOLCHAIN PATH="$toolchain/bin:$PATH" "$toolchain/bin/cargo" "$@"
  fi
}

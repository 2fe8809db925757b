# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What a step does, on stderr: stdout belongs to the command's own output.
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The version of a crate in Cargo.lock, empty if it is not there.
locked_version() {
  awk -v crate="name = \"$1\"" '$0 == crate { getline; gsub(/[^0-9.]/, "", $3); print $3; exit }' Cargo.lock
}

# Which of the two ways to WebAssembly serves this target, by looking:
#   rustup   the active toolchain has the target's standard library
#   debian   Debian's rustc builds the standard library from source
#   none     neither is installed yet
# PORTCULLIS_TOOLCHAIN=rustup or =debian forces one of them.
wasm_way() {
  local target=$1 libdir
  case "${PORTCULLIS_TOOLCHAIN:-auto}" in
    debian | rustup) echo "$PORTCULLIS_TOOLCHAIN"; return ;;
    auto) ;;
    *) die "PORTCULLIS_TOOLCHAIN is '$PORTCULLIS_TOOLCHAIN'; it can be rustup, debian or auto" ;;
  esac
  libdir=$(rustc --print target-libdir --target "$target" 2>/dev/null || true)
  if [ -n "$libdir" ] && compgen -G "$libdir/libcore-*.rlib" >/dev/null; then
    echo rustup
  elif debian_toolchain_installed; then
    echo debian
  else
    echo none
  fi
}

debian_toolchain_installed() {
  [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && [ -x /usr/bin/cargo-clippy ] && have wasm-ld-19 &&
    [ -d /usr/lib/wasm32-wasi ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]
}

#!/usr/bin/env bash
# Builds steer.bpf.o from steer.bpf.c with the clang of Debian 12 (package clang, 14.0.6): another
# version may order instructions in another way.
# usage: build.sh           writes the object
#        build.sh --check   fails if the object is not what the source gives
set -euo pipefail
cd "$(dirname "$0")"

build() {
  # Debian keeps <asm/types.h> in a folder of the machine's kind.
  clang -target bpf -mcpu=v2 -O2 -Wall -Wextra -Werror -fno-ident \
    -idirafter "/usr/include/$(uname -m)-linux-gnu" -c steer.bpf.c -o "$1"
  llvm-strip --strip-debug "$1"
}

case ${1:-} in
  "") build steer.bpf.o ;;
  --check)
    built=$(mktemp)
    trap 'rm -f "$built"' EXIT
    build "$built"
    cmp "$built" steer.bpf.o
    ;;
  *) sed -n '2,5s/^# //p' "$0" >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# Makes voice.wav, what the synthetic caller says: 8 kHz, mono, 16 bit. Needs espeak-ng and sox.
set -euo pipefail
cd "$(dirname "$0")"
espeak-ng -v en-us -s 165 --stdout \
  "Hello. I am calling about my invoice, and I would like to pay it by card today, please." |
  sox - -r 8000 -c 1 -b 16 voice.wav norm -12

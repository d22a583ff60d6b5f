#!/usr/bin/env bash
# Runs a command in a network namespace of its own, with loopback alone: no port is taken by
# anything else on the machine, and nothing sent can leave it. What it leaves running ends with it.
# Needs root.
# usage: netns.sh COMMAND...
set -euo pipefail
exec unshare --net --pid --fork --kill-child --mount-proc \
  bash -c 'ip link set lo up && exec "$@"' netns "$@"

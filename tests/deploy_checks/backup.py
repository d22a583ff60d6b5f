"""Backup: what deploy/backup.md tells to type, done with a recorded call."""

import os
import re
import shutil

from checks import attempt, equal, expect, tool
from container import SECRET
from relay import NOBODY, PATH, Relay, fresh, key_of, play_call, request

CONFIG = """state_dir = "/var/lib/sotto"
[recordings]
key_files = ["/run/recordings.kek"]
[media]
io = "sockets"
"""
OTHER = SECRET.replace("M", "N", 1)
HEALTH, CONTROL = "127.0.0.1:8081", "127.0.0.1:8080"


def restored(deploy, image, work):
    """A recorded call is copied, lost, restored and heard again, with its key and not without."""
    save, restore = _commands(deploy)
    place, archive = fresh(work / "backup"), work / "backup/sotto.tar.gz"
    given = {"/etc/sotto/sotto.toml": CONFIG, "/run/recordings.kek": SECRET}
    serve = ["serve", "--config", "/etc/sotto/sotto.toml"]
    relay = Relay(image, place, given, serve)
    state = relay.mounted["/var/lib/sotto"]
    (state / "recordings.kek").write_text(SECRET)  # where a first start makes one
    made = relay.sotto("keys", "add", "--role", "operator", *serve[1:])
    variables = {
        "STATE": state,
        "ARCHIVE": archive,
        "OWNER": f"{NOBODY}:{NOBODY}",
        "CONFIG": serve[2],
    }
    with relay:
        relay.wait_ready(HEALTH)
        call = play_call(CONTROL, key_of(made), seconds=1)
        heard = _recording(call, made)
        _type(save, place, relay, variables)
    held = tool("tar", "--list", "--file", archive)
    expect(".kek" not in held, "the copy holds a key that wraps recordings")
    for wanted in (".sotto-recording", "keys.json", "keys.pepper"):
        expect(wanted in held, f"the copy lacks {wanted}: {held}")
    equal(os.stat(archive).st_mode & 0o077, 0, "who may read the copy")
    shutil.rmtree(state)
    said = _type(restore, place, relay, variables)
    expect("1" in said, f"sotto recordings verify says: {said}")
    with Relay(image, place, {}, serve) as again:
        again.wait_ready(HEALTH)
        expect(_recording(call, made) == heard, "the recording is another one")
    (relay.mounted["/run"] / "recordings.kek").write_text(OTHER)
    verified = attempt(*relay.command("recordings", "verify", *serve[1:]), env=PATH)
    equal(
        verified.returncode, 1, f"verify with another key says {verified.stdout}{verified.stderr}"
    )
    (state / "keys.pepper").unlink()
    started = attempt(*relay.command(*serve), env=PATH)
    expect("keys.pepper is missing" in started.stderr, f"without its pepper: {started.stderr}")


def _recording(call, made):
    status, _, body = request(CONTROL, "GET", f"/v1/calls/{call}/recording", key_of(made))
    expect(
        status == 200 and len(set(body[44:])) > 100, f"no recording is heard: {status}, {len(body)}"
    )
    return body


def _commands(deploy):
    """The blocks under the two headings."""
    text = (deploy / "backup.md").read_text()
    found = re.findall(r"^## (?:Back up|Restore)\n.*?^```sh\n(.*?)^```", text, re.M | re.S)
    equal(len(found), 2, "blocks of commands")
    return found


def _type(commands, place, relay, variables):
    """Runs a block as it stands; `sotto` is the image's."""
    program = place / "bin/sotto"
    program.parent.mkdir(exist_ok=True)
    command = relay.command()
    script = command[-1]
    program.write_text(f'#!/bin/sh\nexec unshare --mount sh -c \'{script} "$@"\' sotto "$@"\n')
    program.chmod(0o755)
    env = {name: str(value) for name, value in variables.items()}
    env["PATH"] = f"{program.parent}:/usr/bin:/bin:/usr/sbin:/sbin"
    return tool("sh", "-ec", commands, env=env)

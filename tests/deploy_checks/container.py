"""Container: the Dockerfile and the compose file, and a relay that runs as they say."""

import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

import yaml
from checks import ROOT, Failure, attempt, equal, expect, tool
from compose_spec import PyCompose
from proxies import caddy_beside
from relay import PATH, Relay, fresh, key_of, request

BESIDE = Path(sys.executable).parent
SECRET = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"
# Seconds that a relay may take to stop once its calls have ended.
STOP = 20
CUT_OFF = "a relay is killed while calls may go on"
SHELLS = re.compile(r"/(?:sh|bash|dash|busybox|perl|python[0-9.]*|apt|dpkg)$")


def dockerfile(deploy):
    """hadolint finds nothing, and what the file says fits the rest of the project."""
    path = deploy / "container/Dockerfile"
    tool(BESIDE / "hadolint", "--no-color", path)
    text = path.read_text()
    channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    expect(f"RUSTUP_TOOLCHAIN={channel}" in text, f"the toolchain is not {channel}")
    expect(f"rust:{channel.rsplit('.', 1)[0]}-" in text, "the image has another toolchain")
    final = text.rsplit("\nFROM ", 1)[1]
    expect(final.startswith("scratch\n"), "the image is made of another one")
    expect(re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.M), "the user is root or has a name")
    expect("STOPSIGNAL SIGTERM" in final, "it is stopped by another signal")


def context(deploy, work):
    """The build gets every file of the workspace's members, and no secret that lies about."""
    lines = (deploy / "container/Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    equal(rules[0], "*", "what is not named is left out")
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    members = {member.split("/")[0] for member in manifest["workspace"]["members"]}
    for wanted in {"Cargo.toml", "Cargo.lock", *members}:
        expect(f"!{wanted}" in rules, f"{wanted} is left out of the build")
    hidden = [rule[3:].lstrip("*") for rule in rules if rule.startswith("**/*.")]
    keys = {".kek", ".key", ".pem", ".pepper"}
    expect(keys <= set(hidden), "keys that lie about get into the build")
    tracked = tool("git", "ls-files", *members, cwd=ROOT).splitlines()
    lost = [path for path in tracked if path.endswith(tuple(hidden))]
    lost = [path for path in lost if not path.startswith("tests/") and "/tests/" not in path]
    equal(lost, [], "files of the source that the build does not get")
    copied = fresh(work / "context")
    for path in ["Cargo.toml", "Cargo.lock", *tracked]:
        if not path.endswith(tuple(hidden)):
            (copied / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, copied / path)
    command = "cargo", "metadata", "--offline", "--locked", "--format-version", "1"
    told = json.loads(attempt(*command, cwd=copied).stdout or "{}")
    expect("sotto" in str(told.get("packages")), "cargo finds no workspace in what the build gets")


def compose(deploy):
    """The file is as the Compose Specification has it, and hardened as its README says."""
    text = (deploy / "container/compose.yaml").read_text()
    try:
        PyCompose.from_yaml(text).validate()
    except ValueError as error:
        raise Failure(str(error)) from error
    told = yaml.safe_load(text)
    for name, service in told["services"].items():
        for member, wanted in (
            ("read_only", True),
            ("cap_drop", ["ALL"]),
            ("security_opt", ["no-new-privileges:true"]),
        ):
            equal(service.get(member), wanted, f"{name}: {member}")
        equal(service["ulimits"]["core"], 0, f"{name}: cores")
        expect(re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(service.get("user"))), f"{name} runs as root")
        for member in ("mem_limit", "pids_limit", "restart"):
            expect(member in service, f"{name} has no {member}")
    sotto = told["services"]["sotto"]
    expect("privileged" not in text and "network_mode" not in sotto, "the relay has too much")
    equal(sotto.get("cap_add"), None, "capabilities of the relay")
    settings = tomllib.loads((deploy / "container/sotto.toml").read_text())
    grace = int(sotto["stop_grace_period"].rstrip("s"))
    expect(grace >= settings["process"]["drain_s"] + STOP, CUT_OFF)
    equal(sotto["memswap_limit"], sotto["mem_limit"], "memory and memory with swap")
    expect(told["networks"]["back"].get("internal") is True, "the network back leads out")
    _agrees(deploy, told, sotto)


def _agrees(deploy, told, sotto):
    settings = tomllib.loads((deploy / "container/sotto.toml").read_text())
    addresses = {name: net["ipv4_address"] for name, net in sotto["networks"].items()}
    equal(settings["media"]["addresses"], [addresses["front"]], "media.addresses")
    for part in ("control", "health"):
        equal(settings[part]["address"].split(":")[0], addresses["back"], f"{part}.address")
    ports = settings["media"]["ports"]
    expect(f"{ports}:{ports}/udp" in sotto["ports"], "media's ports are not published as they are")
    published = [port for port in sotto["ports"] if not port.endswith("/udp")]
    equal(published, [], "what is published besides media")
    for secret in sotto["secrets"]:
        expect(secret["source"] in told["secrets"], f"there is no secret {secret['source']}")
        path = f"/run/secrets/{secret['target']}"
        expect(path in str(settings), f"no setting reads {path}")


def runs(deploy, image, work):
    """What the image holds starts as compose.yaml has it, and refuses without keys."""
    found = sorted(path for path in image.files() if SHELLS.search(path))
    equal(found, [], "programs besides sotto")
    settings = (deploy / "container/sotto.toml").read_text()
    for address in ("172.30.0.2", "172.31.0.2"):
        tool("ip", "address", "replace", f"{address}/32", "dev", "lo")
    given = {"/etc/sotto/sotto.toml": settings, "/run/secrets/recordings.kek": SECRET}
    command = ["serve", "--config", "/etc/sotto/sotto.toml"]
    relay = Relay(image, fresh(work / "container"), given, command)
    refusal = attempt(*relay.command(*command), env=PATH)
    expect("holds no key" in refusal.stderr, f"without an API key it says {refusal.stderr}")
    equal(refusal.returncode, 78, "exit code without an API key")
    key = key_of(relay.sotto("keys", "add", "--role", "operator", *command[1:]))
    with relay:
        relay.wait_ready("172.31.0.2:8081")
        _takes_requests(key)
        caddy_beside(deploy, "container", work, key)
        expect("sto_" not in relay.said(), "the log holds an API key")
    kept = sorted(path.name for path in (relay.work / "state").iterdir())
    written = ["audit", "audit.key", "keys.json", "keys.lock", "keys.pepper", "recordings"]
    equal(kept, written, "what it has written")


def _takes_requests(key):
    status, _, body = request("172.31.0.2:8080", "GET", "/v1/calls", key)
    equal(status, 200, f"the API answers {body}")
    equal(request("172.31.0.2:8080", "GET", "/v1/calls")[0], 401, "without a key")
    expect(
        b"sotto_ports_free 200" in request("172.31.0.2:8081", "GET", "/metrics")[2], "other ports"
    )

"""Cluster: what kustomize makes of the files for Kubernetes, held against its schemas."""

import base64
import os
import re
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import yaml
from checks import equal, expect, tool, wait_until
from container import CUT_OFF, STOP
from proxies import caddy_beside
from relay import NOBODY, PATH, Relay, fresh, key_of, request

BESIDE = Path(sys.executable).parent
VERSIONS = ("1.29", "1.37")
KINDS = {
    "Namespace", "ConfigMap", "Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"
}  # fmt: skip
HEALTH, CONFIG = "127.0.0.1:8081", ("--config", "/etc/sotto/sotto.toml")
# Makes secrets as the real one does, without a cluster: the one there is lies in a folder.
KUBECTL = """#!/bin/sh
case "$*" in
  *"get secret sotto"*) shift 5; exec {real} --from-file={secret} "$@" ;;
  *"create secret generic sotto"*--dry-run*) shift 6; exec {real} "$@" ;;
  *"create secret generic sotto"*) shift 6; exec {real} "$@" -o yaml >{kept} ;;
  *"replace"*) cat >{kept} ;;
esac
"""


def rendered(deploy):
    """What kustomize makes of the folder."""
    text = tool(BESIDE / "kubectl", "kustomize", deploy / "kubernetes")
    return list(yaml.safe_load_all(text))


def valid(deploy):
    """Every object is as the schemas have it, from the oldest version that README.md names on."""
    objects = rendered(deploy)
    equal({one["kind"] for one in objects}, KINDS, "kinds of objects")
    for version in VERSIONS:
        for one in objects:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                what = f"{one['kind']} {error.path} {error.message}"
                expect(False, f"{version}: {what[:300]}")


def confined(deploy):
    """The pods may do what they need and no more, and what names something names what there is."""
    objects = {one["kind"]: one for one in rendered(deploy)}
    template = objects["StatefulSet"]["spec"]["template"]
    pod = template["spec"]
    equal(pod["securityContext"]["runAsNonRoot"], True, "runAsNonRoot")
    equal(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, "seccompProfile")
    equal(pod["automountServiceAccountToken"], False, "automountServiceAccountToken")
    for container in pod["containers"] + pod["initContainers"]:
        name, context = container["name"], container["securityContext"]
        equal(context["readOnlyRootFilesystem"], True, f"{name}: readOnlyRootFilesystem")
        equal(context["allowPrivilegeEscalation"], False, f"{name}: allowPrivilegeEscalation")
        equal(context["capabilities"]["drop"], ["ALL"], f"{name}: capabilities")
        expect("memory" in container["resources"]["limits"], f"{name} has no limit of memory")
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"] for volume in pod["volumes"]} | {"state"}
        equal(mounts - volumes, set(), f"{name}: volumes that are not there")
    relay = pod["containers"][0]
    equal(relay["securityContext"]["capabilities"].get("add"), None, "capabilities of the relay")
    settings = tomllib.loads((deploy / "kubernetes/sotto.toml").read_text())
    wait = settings["process"]["drain_s"]
    expect(pod["terminationGracePeriodSeconds"] >= wait + STOP, CUT_OFF)
    paths = [relay[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness")]
    equal(paths, ["/livez", "/readyz"], "probes")
    for one in (objects["PodDisruptionBudget"]["spec"]["selector"],
                {"matchLabels": objects["Service"]["spec"]["selector"]},
                objects["NetworkPolicy"]["spec"]["podSelector"]):  # fmt: skip
        wanted = one["matchLabels"].items()
        expect(wanted <= template["metadata"]["labels"].items(), f"{one} selects no relay")
    _policy_fits(deploy, objects["NetworkPolicy"]["spec"])


def _policy_fits(deploy, policy):
    settings = tomllib.loads((deploy / "kubernetes/sotto.toml").read_text())
    first, last = map(int, settings["media"]["ports"].split("-"))
    media = {"protocol": "UDP", "port": first, "endPort": last}
    expect({"ports": [media]} in policy["ingress"], "the policy does not let media in")


def runs(deploy, image, work):
    """A relay starts as the pod does, on the secret that README.md has made; its keys can change."""
    objects = {one["kind"]: one for one in rendered(deploy)}
    pod = objects["StatefulSet"]["spec"]["template"]["spec"]
    relay = pod["containers"][0]
    arguments = [re.sub(r"\$\(NODE_ADDRESS\)", "127.0.0.1", word) for word in relay["args"]]
    given = {"/etc/sotto/sotto.toml": objects["ConfigMap"]["data"]["sotto.toml"]}
    place = fresh(work / "cluster")
    started = Relay(image, place, given, arguments)
    typed = Typed(deploy, image, place)
    key = key_of(typed.block(0))
    typed.copied(pod["initContainers"][0], started)
    with started:
        started.wait_ready(HEALTH, path="/livez")
        equal(_status(key), 200, "a request")
        caddy_beside(deploy, "kubernetes", work, key)
        expect("sto_" not in started.said(), "the log holds an API key")
    later = key_of(typed.block(1))
    typed.copied(pod["initContainers"][0], started)
    with started:
        started.wait_ready(HEALTH, path="/livez")
        equal([_status(key), _status(later)], [200, 200], "requests with both keys")
        mounts = {mount["name"]: mount.get("readOnly", False) for mount in relay["volumeMounts"]}
        expect(not mounts["run"], "a key can't be ended while the pod runs")
        started.sotto("keys", "revoke", key.split("_")[2], *CONFIG)
        wait_until(lambda: _status(key) == 401, "a key that is revoked in the pod ends")
        equal(_status(later), 200, "another key")


def _status(key):
    return request("127.0.0.1:8080", "GET", "/v1/calls", key)[0]


class Typed:
    """What README.md tells to type, with a `kubectl` that keeps the one secret in a folder."""

    def __init__(self, deploy, image, place):
        self._folder, self._secret = deploy / "kubernetes", fresh(place / "secret")
        self._kept = place / "secret.yaml"
        bin_ = fresh(place / "bin")
        kubectl = bin_ / "kubectl"
        real = f"{BESIDE}/kubectl create secret generic sotto --dry-run=client"
        kubectl.write_text(KUBECTL.format(real=real, secret=self._secret, kept=self._kept))
        kubectl.chmod(0o755)
        self._env = {"PATH": f"{bin_}:{image.folder}/usr/bin:{PATH['PATH']}", "TMPDIR": str(place)}

    def block(self, number):
        """Types the commands of a block, as they stand, and returns what they have printed."""
        text = (self._folder / "README.md").read_text()
        blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
        said = tool("sh", "-ec", blocks[number], cwd=self._folder, env=self._env)
        for name, octets in yaml.safe_load(self._kept.read_text())["data"].items():
            (self._secret / name).write_bytes(base64.b64decode(octets))
        return said

    def copied(self, init, relay):
        """What the pod does first: as its user, from the secret as it is mounted."""
        for path in (self._secret, *self._secret.iterdir()):
            path.chmod(0o750 if path.is_dir() else 0o440)
            os.chown(path, 0, NOBODY)
        run = fresh(relay.mounted["/run"] / "sotto")
        os.chown(run, NOBODY, NOBODY)
        words = [*init["command"], *init["args"]]
        words = [re.sub("^/secrets/", f"{self._secret}/", word) for word in words]
        words = [str(run) if word == "/run/sotto" else word for word in words]
        tool("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *words)

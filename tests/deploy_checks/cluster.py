"""Cluster: what kustomize makes of the files for Kubernetes, held against its schemas."""

import re
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import yaml
from checks import equal, expect, tool
from container import CUT_OFF, SECRET, STOP
from proxies import caddy_beside
from relay import Relay, fresh, key_of, request

BESIDE = Path(sys.executable).parent
VERSIONS = ("1.29", "1.37")
KINDS = {
    "Namespace", "ConfigMap", "Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"
}  # fmt: skip


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
    """A relay starts with the settings and flags of the pod, on keys that were made elsewhere."""
    objects = {one["kind"]: one for one in rendered(deploy)}
    relay = objects["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]
    arguments = [re.sub(r"\$\(NODE_ADDRESS\)", "127.0.0.1", word) for word in relay["args"]]
    given = {
        "/etc/sotto/sotto.toml": objects["ConfigMap"]["data"]["sotto.toml"],
        "/run/sotto/recordings.kek": SECRET,
    }
    place = fresh(work / "cluster")
    maker = Relay(image, place, given, arguments)
    made = maker.sotto("keys", "add", "--role", "operator", "--keys", "/run/sotto/keys.json")
    with maker:
        maker.wait_ready("127.0.0.1:8081", path="/livez")
        equal(request("127.0.0.1:8080", "GET", "/v1/calls", key_of(made))[0], 200, "a request")
        caddy_beside(deploy, "kubernetes", work, key_of(made))
        expect("sto_" not in maker.said(), "the log holds an API key")

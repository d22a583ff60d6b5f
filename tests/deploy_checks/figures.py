"""Figures: alerts and the dashboard, and whether a relay serves what they name."""

import json
import re

import yaml
from checks import equal, expect, tool
from relay import Relay, fresh, request

# A selector: a name of ours, and what stands in braces behind it.
SELECTOR = re.compile(r"\b(sotto_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)(=~|=)"([^"]*)"')
# Labels that Prometheus gives, and the dashboard's variable.
NOT_OURS = {"job", "instance"}


def rules(deploy):
    """promtool takes the rules, and every alert is seen to fire and to be silent."""
    folder = deploy / "monitoring"
    tool("promtool", "check", "rules", folder / "alerts.yaml")
    tool("promtool", "check", "config", folder / "prometheus.yaml")
    tool("promtool", "test", "rules", folder / "alerts.test.yaml")
    tests = yaml.safe_load((folder / "alerts.test.yaml").read_text())["tests"]
    found = {(test["name"], bool(test["alert_rule_test"][0]["exp_alerts"])) for test in tests}
    names = [rule["alert"] for rule in _alerts(deploy)]
    wanted = {(f"{name} fires", True) for name in names}
    wanted |= {(f"{name} is silent", False) for name in names}
    equal(found ^ wanted, set(), "tests that are missing or test no alert")


def dashboard(deploy, work):
    """The dashboard is one, its panels do not overlap, and promtool understands what they ask."""
    told = json.loads((deploy / "monitoring/dashboard.json").read_text())
    panels = told["panels"]
    equal(len({panel["id"] for panel in panels}), len(panels), "panels with an id of their own")
    cells = set()
    for panel in panels:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        expect(max(x for x, _ in mine) < 24, f"{panel['title']} is wider than the page")
        expect(not mine & cells, f"{panel['title']} lies on another")
        cells |= mine
    asked = [ask.replace("$__rate_interval", "5m") for ask in _asks(told)]
    expect(asked, "no panel asks anything")
    made = [{"record": f"a:{index}", "expr": ask} for index, ask in enumerate(asked)]
    file = work / "dashboard.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    tool("promtool", "check", "rules", file)


def served(deploy, image, work):
    """Every figure, with every value of a label, that an alert or a panel names is on /metrics."""
    with Relay(image, fresh(work / "figures"), {}, ["serve", "--io", "sockets"]) as relay:
        relay.wait_ready("127.0.0.1:8081")
        text = request("127.0.0.1:8081", "GET", "/metrics")[2].decode()
    tool("promtool", "check", "metrics", input=text)
    there = {}
    for name, labels in re.findall(r"^(sotto_[a-z_]+)(?:\{(.*)\})? ", text, re.M):
        for label, _, value in MATCHER.findall(labels) or [("", "", "")]:
            there.setdefault(name, {}).setdefault(label, set()).add(value)
    told = json.loads((deploy / "monitoring/dashboard.json").read_text())
    asked = [rule["expr"] for rule in _alerts(deploy)] + _asks(told)
    named = set()
    for name, matchers in (found for ask in asked for found in SELECTOR.findall(ask)):
        named.add(name)
        expect(name in there, f"no relay serves {name}")
        for label, how, values in MATCHER.findall(matchers):
            wanted = set(values.split("|") if how == "=~" else [values])
            if label not in NOT_OURS:
                missing = wanted - there[name].get(label, set())
                equal(missing, set(), f"values of {label} that {name} does not have")
    for page in ("runbook.md", "incident-response.md"):
        for name in re.findall(r"`(sotto_[a-z_]+)", (deploy / page).read_text()):
            expect(name in there, f"{page}: no relay serves {name}")
    kinds = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
    unseen = [
        name
        for name, kind in kinds
        if not named & ({name} if kind != "histogram" else {f"{name}_bucket"})
    ]
    equal(unseen, [], "figures that no alert or panel shows")


def _alerts(deploy):
    groups = yaml.safe_load((deploy / "monitoring/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alert_names(deploy):
    """The names of all alerts."""
    return [rule["alert"] for rule in _alerts(deploy)]


def _asks(told):
    return [target["expr"] for panel in told["panels"] for target in panel.get("targets", [])]
